"""`messages`: what an MCAP container of a stranger holds, in order of time; the only module that touches `mcap`.

The library checks the CRCs; what it trusts and we do not are sizes: it unpacks a chunk to whatever the chunk says. So
chunks are unpacked here, no further than they may, and handed to it unpacked. The file is read from front to back:
indexes at its end are a stranger's claims, too. Recorders write nearly in order of time; a buffer of a few seconds
makes it exact. Rejected: salvaging cut-off containers (what is lost are inputs, and held keys would stay held).
"""

import dataclasses
import heapq
import io
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import lz4.frame  # ships no types
import zstandard
from mcap.exceptions import McapError
from mcap.records import Channel, Chunk, McapRecord, Schema
from mcap.records import Message as Record
from mcap.stream_reader import CRCValidationError, StreamReader, breakup_chunk

from gi_data.ingest.limits import MAX_EVENTS, check_file
from gi_model.errors import ClipError

MAX_RECORD_BYTES: Final = 32 * 2**20
MAX_CHUNK_BYTES: Final = 32 * 2**20  # unpacked; recorders write chunks of one
REORDER_NS: Final = 5 * 10**9
_LAST_NS: Final = 2**62
_MAX_CHANNELS: Final = 10_000
_MAX_WAITING: Final = 2_000_000
_DAMAGE: Final = (
    *(McapError, CRCValidationError, zstandard.ZstdError, RuntimeError, ValueError, KeyError),
    *(struct.error, EOFError, OSError, OverflowError, MemoryError),
)


class Message(NamedTuple):
    """One message: its time, the last part of its schema's name ("KeyboardEvent"), and JSON."""

    t_ns: int
    kind: str
    data: bytes


class _Bounded(io.BufferedReader):
    """A file that hands out no more at once than a record may have: the library asks for what the file says."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= MAX_RECORD_BYTES:
            raise ValueError(f"a part of {size} bytes, more than {MAX_RECORD_BYTES}")
        return super().read(size)


def messages(path: Path) -> Iterator[Message]:
    """Messages of a container in order of time. Raises ClipError where it is damaged or absurd."""
    check_file(path, "container")
    try:
        with _Bounded(path.open("rb", buffering=0)) as file:
            reader = StreamReader(file, emit_chunks=True, validate_crcs=True, record_size_limit=MAX_RECORD_BYTES)
            yield from _in_order(_named(_unpacked(reader.records), path.name), path.name)
    except _DAMAGE as error:
        raise _damaged(path.name, f"{type(error).__name__}: {str(error)[:200]}".removesuffix(": ")) from error


def _unpacked(records: Iterable[McapRecord]) -> Iterator[McapRecord]:
    for record in records:
        if isinstance(record, Chunk):
            yield from breakup_chunk(_unpack(record), validate_crc=True)
        else:
            yield record


def _unpack(chunk: Chunk) -> Chunk:
    """The chunk without compression. Raises ValueError if it is not of the size it says, or too large."""
    size = chunk.uncompressed_size
    if size > MAX_CHUNK_BYTES:
        raise ValueError(f"a chunk of {size} bytes, more than {MAX_CHUNK_BYTES}")
    match chunk.compression:
        case "":
            data = chunk.data
        case "zstd":
            if zstandard.frame_content_size(chunk.data) not in (-1, size):
                raise ValueError("a chunk of another size than it says")
            data = zstandard.decompress(chunk.data, max_output_size=size)
        case "lz4":
            data = lz4.frame.LZ4FrameDecompressor().decompress(chunk.data, max_length=size + 1)
        case other:
            raise ValueError(f"compression {other[:20]!r}")
    if len(data) != size:
        raise ValueError("a chunk of another size than it says")
    return dataclasses.replace(chunk, compression="", data=data)


def _named(records: Iterable[McapRecord], name: str) -> Iterator[Message]:
    """Messages with the names of their schemas."""
    schemas: dict[int, str] = {}
    channels: dict[int, str] = {}
    num_messages = 0
    for record in records:
        if isinstance(record, Schema):
            schemas[record.id] = record.name.replace("/", ".").rpartition(".")[2]
        elif isinstance(record, Channel):
            if record.message_encoding != "json":
                raise _damaged(name, f"messages encoded as {record.message_encoding[:20]!r}")
            channels[record.id] = schemas[record.schema_id]
        elif isinstance(record, Record):
            num_messages += 1
            yield Message(record.log_time, channels[record.channel_id], record.data)
        if num_messages > MAX_EVENTS or len(schemas) + len(channels) > _MAX_CHANNELS:
            raise _damaged(name, "absurdly many messages or channels")


def _in_order(source: Iterable[Message], name: str) -> Iterator[Message]:
    """The same by time; those of one time stay in order."""
    waiting: list[tuple[int, int, Message]] = []
    newest_ns = done_ns = 0
    for number, message in enumerate(source):
        if not done_ns <= message.t_ns < _LAST_NS:
            raise _damaged(name, f"a message of time {message.t_ns} ns after one of {newest_ns} ns")
        newest_ns = max(newest_ns, message.t_ns)
        if len(waiting) > _MAX_WAITING:
            raise _damaged(name, "absurdly many messages at once")
        heapq.heappush(waiting, (message.t_ns, number, message))
        while waiting[0][0] < newest_ns - REORDER_NS:
            done_ns, _, first = heapq.heappop(waiting)
            yield first
    while waiting:
        yield heapq.heappop(waiting)[-1]


def _damaged(name: str, got: str) -> ClipError:
    do = "Copy the file again; one that was cut off while recording lacks inputs and cannot be used."
    return ClipError(f"container {name} cannot be read", got=got, expected="a whole OWAMcap file", do=do)

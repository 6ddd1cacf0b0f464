"""Chunks of play as a page packs them (`packChunk` of shared/recorder.js)."""

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import simplejpeg

from gi_data.ingest.page import Upload, chunk_path
from gi_model.frames import Frame
from tests.conftest import HEIGHT, WIDTH, Barcodes

TICK_US = 50_000


def jpeg_of(frame: Frame) -> bytes:
    data: bytes = simplejpeg.encode_jpeg(frame, quality=95, colorsubsampling="444")
    return data


def pack(
    events: Sequence[Any], frames: Sequence[tuple[int, bytes]], *, from_us: int = 0, held: Sequence[str] = ()
) -> bytes:
    """The bytes of a chunk; nothing is checked."""
    rows = [[t_us, len(jpeg)] for t_us, jpeg in frames]
    head = json.dumps({"from_us": from_us, "held": list(held), "events": list(events), "frames": rows}).encode()
    return struct.pack("<I", len(head)) + head + b"".join(jpeg for _, jpeg in frames)


def upload_of(barcodes: Barcodes, **changes: Any) -> Upload:
    """What a page agreed to record: the barcode game at 20 ticks a second."""
    info = barcodes.info()
    facts: dict[str, Any] = {
        "recording_id": "page-1",
        "game": "web/barcode",
        "fps": 20.0,
        "height": HEIGHT,
        "width": WIDTH,
        "bindings": info.bindings,
        "demonstrator": "human",
        "license": "CC0-1.0",
        "consent": "given",
        "extra": {"player": "kim"},
    }
    return Upload(**{**facts, **changes})


def chunks_of(barcodes: Barcodes, numbers: Sequence[int], *, ticks_a_chunk: int = 10) -> list[bytes]:
    """Play that shows `numbers`, one a tick, and does in each tick what the barcode of its frame says."""
    chunks, held = [], frozenset[str]()
    for first in range(0, len(numbers), ticks_a_chunk):
        events: list[Any] = []
        frames, held_before = [], held
        for tick, number in enumerate(numbers[first : first + ticks_a_chunk], first):
            state, t_us = barcodes.state(number), tick * TICK_US
            frames.append((t_us, jpeg_of(barcodes.frame(number))))
            now = state.keys | state.buttons
            events += [[t_us, "up", control] for control in sorted(held - now)]
            events += [[t_us, "down", control] for control in sorted(now - held)]
            events += [[t_us, "move", *state.motion]] if any(state.motion) else []
            held = now
        chunks.append(pack(events, frames, from_us=first * TICK_US, held=sorted(held_before)))
    return chunks


def spool(folder: Path, upload: Upload, chunks: Sequence[bytes], *, without: Sequence[int] = ()) -> Path:
    """An upload on disk, some of whose chunks never arrived."""
    folder.mkdir(parents=True)
    upload.write(folder)
    for number, chunk in enumerate(chunks):
        if number not in without:
            chunk_path(folder, number).write_bytes(chunk)
    return folder

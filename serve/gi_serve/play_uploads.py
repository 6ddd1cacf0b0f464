"""`PlayUploads`: play that pages record, from its first chunk to a recording in a folder that `gi shard` takes.

A chunk is on disk before it is acknowledged, under `.uploads` of the folder; a recording is made of it when the page
says that it ended, when it fell silent (a tab was closed), or when the server ends or starts again after a crash. Who
plays has agreed (`play_consent`). Decoding and writing run in threads: players of the same server do not notice.
"""

import asyncio
import contextlib
import logging
import secrets
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from gi_data.ingest.convert import Ingested
from gi_data.ingest.page import UPLOAD_NAME, Upload, chunk_path, make_recording
from gi_data.ingest.page_chunk import PageChunk
from gi_data.recovery import locked
from gi_data.storage import write_atomic
from gi_model.errors import ClipError, GiError
from gi_serve.access import Caller
from gi_serve.limits import Bucket
from gi_serve.problems import CAPACITY_FULL, INTERNAL, RECORDING_FULL, RECORDING_UNKNOWN, REQUEST_INVALID, Problem

SPOOL: Final = ".uploads"
SWEEP_PERIOD_S: Final = 1.0
logger = logging.getLogger("gi_serve")
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """max_bytes: of one recording as it arrives; silence_s: after which it has ended."""

    max_bytes: int = 512 * 1024 * 1024
    max_open: int = 16
    chunks_per_s: float = 40.0  # a program records faster than a person plays
    silence_s: float = 30.0


@dataclass(slots=True, eq=False)
class OpenUpload:
    """One page that records. Everything but the files belongs to the event loop's thread."""

    upload: Upload
    folder: Path
    owner: str
    bucket: Bucket
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    num_bytes: int = 0
    active_s: float = field(default_factory=time.monotonic)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)  # chunks and the end of one recording take turns
    is_over: bool = False


class PlayUploads:
    """The uploads into `folder`. on_made hears of every recording, and of those of which nothing could be made."""

    def __init__(
        self,
        folder: Path,
        *,
        limits: UploadLimits | None = None,
        on_made: Callable[[Ingested], None] = lambda _made: None,
    ) -> None:
        self.folder, self.limits, self.on_made = folder, limits or UploadLimits(), on_made
        self._open: dict[str, OpenUpload] = {}
        self._held = ExitStack()
        self._sweeper: asyncio.Task[None] | None = None
        self._is_ending = asyncio.Event()

    # ------------------------------------------------------------------ life

    def start(self) -> None:
        """Take the folder, and make recordings of what a crash left. Raises CorpusError if another recorder has it."""
        self._held.enter_context(locked(self.folder))
        (self.folder / SPOOL).mkdir(exist_ok=True)
        folders = sorted(path.parent for path in (self.folder / SPOOL).glob(f"*/{UPLOAD_NAME}"))
        self._sweeper = asyncio.create_task(self._sweep(folders))

    async def stop(self) -> None:
        """Make recordings of all that is open, and give the folder back."""
        try:
            self._is_ending.set()
            if self._sweeper is not None:
                await self._sweeper
            for each in list(self._open.values()):
                await self._end_quietly(each)
        finally:
            self._held.close()

    async def _sweep(self, leftovers: list[Path]) -> None:
        """Make what a crash left; from then on, end the uploads that fall silent."""
        for folder in leftovers:
            with contextlib.suppress(GiError):
                await _in_thread(self._make, folder, None)
        while not self._is_ending.is_set():
            for each in list(self._open.values()):
                if time.monotonic() - each.active_s > self.limits.silence_s and not each.lock.locked():
                    await self._end_quietly(each)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._is_ending.wait(), SWEEP_PERIOD_S)

    # ------------------------------------------------------------------ one recording

    async def begin(self, upload: Upload, caller: Caller) -> OpenUpload:
        """Open an upload of `caller`. Raises Problem when too many are open."""
        if len(self._open) >= self.limits.max_open:
            raise Problem(CAPACITY_FULL, f"At most {self.limits.max_open} record at a time.", retry_after_s=30)
        folder = self.folder / SPOOL / upload.recording_id
        opened = OpenUpload(upload, folder, caller.id, Bucket(self.limits.chunks_per_s))
        self._open[opened.id] = opened
        try:
            await asyncio.to_thread(_open_spool, upload, folder)
        except (GiError, OSError) as error:
            del self._open[opened.id]
            raise _internal(error) from error
        return opened

    async def add(self, upload_id: str, number: int, data: bytes, caller: Caller) -> None:
        """Keep chunk `number`; one that is there already stays as it is. Raises Problem, ClipError."""
        opened = self._find(upload_id, caller)
        opened.bucket.check("chunks")
        opened.active_s = time.monotonic()
        async with opened.lock:
            if opened.is_over:
                raise Problem(RECORDING_UNKNOWN, "It has ended.")
            if opened.num_bytes + len(data) > self.limits.max_bytes:
                raise Problem(RECORDING_FULL, f"At most {self.limits.max_bytes} bytes are taken: begin another one.")
            opened.num_bytes += await _in_thread(_keep_chunk, opened, number, data)

    async def finish(self, upload_id: str, caller: Caller, *, end_us: int | None, score: float | None) -> Ingested:
        """Make the recording. Raises Problem if there is nothing to make it of."""
        opened = self._find(upload_id, caller)
        made = await self._end(opened, end_us=end_us, score=score)
        if made.failure:
            raise Problem(REQUEST_INVALID, made.failure)
        return made

    async def discard(self, upload_id: str, caller: Caller) -> None:
        """Delete all of it. Raises Problem."""
        opened = self._find(upload_id, caller)
        async with opened.lock:
            opened.is_over = True
            self._open.pop(opened.id, None)
            await asyncio.to_thread(shutil.rmtree, opened.folder, ignore_errors=True)

    def _find(self, upload_id: str, caller: Caller) -> OpenUpload:
        opened = self._open.get(upload_id)
        if opened is None or opened.owner != caller.id:
            raise Problem(RECORDING_UNKNOWN, "It ended, fell silent, or was never begun.")
        return opened

    # ------------------------------------------------------------------ its end

    async def _end(self, opened: OpenUpload, *, end_us: int | None = None, score: float | None = None) -> Ingested:
        async with opened.lock:
            if opened.is_over:
                raise Problem(RECORDING_UNKNOWN, "It has ended.")
            opened.is_over = True
            self._open.pop(opened.id, None)
            extra = opened.upload.extra | ({} if score is None else {"score": score})
            ended = replace(opened.upload, end_us=end_us, extra=extra)
            return await _in_thread(self._make, opened.folder, ended)

    async def _end_quietly(self, opened: OpenUpload) -> None:
        with contextlib.suppress(Problem):  # logged where it was raised
            await self._end(opened)

    def _make(self, folder: Path, upload: Upload | None) -> Ingested:
        """In a thread: the recording of a spool, deleted once it is made, or sure never to be."""
        if upload is not None:
            upload.write(folder)
        made = make_recording(folder, self.folder)
        if made.is_fatal:
            raise Problem(INTERNAL, made.failure)
        shutil.rmtree(folder, ignore_errors=True)
        logger.info("recording %s: %s", made.recording_id, made.failure or f"{made.seconds:.0f} s of play")
        self.on_made(made)
        return made


def _open_spool(upload: Upload, folder: Path) -> None:
    folder.mkdir(mode=0o700)
    upload.write(folder)


def _keep_chunk(opened: OpenUpload, number: int, data: bytes) -> int:
    """Check a chunk and write it; its bytes, 0 if it was there."""
    path, upload = chunk_path(opened.folder, number), opened.upload
    PageChunk.parse(data).check(upload.bindings, height=upload.height, width=upload.width)
    if path.exists():
        return 0
    write_atomic(path, data)
    return len(data)


async def _in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `work`; what is not the page's fault is logged, and leaves as `internal`. Raises Problem, ClipError."""
    try:
        return await asyncio.to_thread(work, *args, **kwargs)
    except ClipError:
        raise
    except (GiError, OSError) as error:
        raise _internal(error) from error


def _internal(error: Exception) -> Problem:
    logger.error("a recording of a page failed: %s", error)
    return Problem(INTERNAL, "What arrived is kept.")

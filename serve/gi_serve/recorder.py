"""`Recorder`: writes sessions to disk while they play, in a thread of its own: recording never holds up a frame.

If the disk is full, or slower than the frames come, the recording of that session ends there; the session plays on.
"""

import json
import logging
import os
import queue
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from gi_model.errors import ServeError
from gi_model.stepper import Sampling, Stepper
from gi_serve.protocol import FrameMessage
from gi_serve.session_record import (
    EVENTS,
    FORMAT,
    FRAMES,
    VERSION,
    answer_event,
    executed_event,
    frame_event,
    open_event,
)

if TYPE_CHECKING:
    from gi_model.adapters import AdapterConfig

MAX_WAITING_BYTES: Final = 256 * 1024 * 1024  # of one session, until the disk is too slow for it
logger = logging.getLogger("gi_serve")


class Recorder:
    """Recordings of a server, each a folder in `folder`. Raises ServeError if it cannot be written to."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            probe = folder / f".{secrets.token_hex(4)}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise ServeError(
                "cannot record sessions", got=f"{folder} ({error})", expected="a folder of ours"
            ) from error
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="record", daemon=True)

    def start(self) -> None:
        """Start writing."""
        self._thread.start()

    def stop(self) -> None:
        """Write what waits, and end."""
        self._jobs.put(None)
        self._thread.join()

    def begin(self, stepper: Stepper, adapter: "AdapterConfig | None" = None) -> "Recording":
        """A new recording of a session of `stepper`, played with `adapter`."""
        header = {
            "event": "session",
            "format": FORMAT,
            "version": VERSION,
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "model": stepper.name,
            "fingerprint": stepper.fingerprint,
            "height": stepper.height,
            "width": stepper.width,
            "fps": stepper.fps,
            "action_horizon": stepper.action_horizon,
            "factors": list(stepper.factors),
        }
        if adapter is not None:
            header |= {"adapter": adapter.name, "adapter_fingerprint": adapter.fingerprint}
        recording = Recording(self._new_path(), self._jobs)
        recording.put(header)
        return recording

    def fork(self, origin: "Recording") -> "Recording":
        """A recording that has all that `origin` has by now."""
        fork = Recording(self._new_path(), self._jobs, offset=origin.offset)
        fork.reopens = origin.reopens
        self._jobs.put(partial(fork.copy_from, origin))
        return fork

    def _new_path(self) -> Path:
        return self._folder / f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(4)}"

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


class Recording:
    """One session. `put` and what calls it belong to the event loop's thread, the rest to the recorder's."""

    def __init__(self, path: Path, jobs: "queue.SimpleQueue[Callable[[], None] | None]", *, offset: int = 0) -> None:
        self.path, self.offset = path, offset
        self._jobs = jobs
        self.reopens = False  # the last batch failed: the stream starts anew, whatever the engine thinks
        self._waiting = 0  # bytes given to the thread
        self._written = 0  # bytes it is done with
        self._is_broken = False
        self._files: tuple[BinaryIO, BinaryIO] | None = None  # of the recorder's thread

    # ------------------------------------------------------------------ the event loop's thread

    def frame(self, message: FrameMessage, received_ns: int) -> None:
        """A frame came."""
        if self.put(frame_event(message, received_ns, self.offset), message.data):
            self.offset += len(message.data)

    def step(self, seq: int, sampling: Sampling, *, opens: bool) -> None:
        """A frame went into the model."""
        if opens or self.reopens:
            self.put(open_event(sampling))
        self.reopens = False
        self.put({"event": "step", "seq": seq})

    def answer(
        self, seq: int, tokens: NDArray[np.int64], confidence: NDArray[np.float32], commands: Sequence[float] = ()
    ) -> None:
        """The model answered."""
        self.put(answer_event(seq, tokens, confidence, commands))

    def failed(self, seq: int) -> None:
        """The model failed."""
        self.reopens = True
        self.put({"event": "failed", "seq": seq})

    def executed(self, seq: int, tokens: NDArray[np.int64] | None, commands: Sequence[float] = ()) -> None:
        """Something else was held than was answered."""
        self.put(executed_event(seq, tokens, commands))

    def end(self, reason: str) -> None:
        """The session is over."""
        self.put({"event": "end", "reason": reason})
        self._jobs.put(self._close)

    def put(self, event: Mapping[str, Any], data: bytes = b"") -> bool:
        """Write an event and the bytes of a frame; False once the recording is over."""
        if self._is_broken:
            return False
        if self._waiting - self._written > MAX_WAITING_BYTES:
            self._is_broken = True
            logger.error("the disk is too slow: the recording %s ends here", self.path.name)
            self._jobs.put(self._close)
            return False
        line = json.dumps(event, separators=(",", ":")).encode() + b"\n"
        self._waiting += len(line) + len(data)
        self._jobs.put(partial(self._write, line, data))
        return True

    # ------------------------------------------------------------------ the recorder's thread

    def copy_from(self, origin: "Recording") -> None:
        """Begin with all that `origin` holds."""
        if origin._files is None:
            self._is_broken = True
            return
        try:
            for file in origin._files:
                file.flush()
            shutil.copytree(origin.path, self.path)
        except OSError:
            self._break()

    def _write(self, line: bytes, data: bytes) -> None:
        try:
            events, frames = self._files = self._files or self._open()
            if data:
                frames.write(data)
                frames.flush()
            events.write(line)
            events.flush()
        except OSError:
            self._break()
        self._written += len(line) + len(data)

    def _open(self) -> tuple[BinaryIO, BinaryIO]:
        self.path.mkdir(mode=0o700, exist_ok=True)
        events, frames = (self._open_file(name) for name in (EVENTS, FRAMES))
        return events, frames

    def _open_file(self, name: str) -> BinaryIO:
        return os.fdopen(os.open(self.path / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")

    def _break(self) -> None:
        if not self._is_broken:
            logger.exception("the recording %s ends here", self.path.name)
        self._is_broken = True
        self._close()

    def _close(self) -> None:
        files, self._files = self._files, None
        for file in files or ():
            try:
                file.close()
            except OSError:
                logger.exception("the recording %s may lack its end", self.path.name)

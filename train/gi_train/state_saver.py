"""`StateSaver`: saves a run's state beside the training of its next steps.

    start(position)   copies this rank's tensors to host memory (all that a step waits for) and starts a thread
    pending, failed   two flags a step, which ranks add up where they look at the loss anyway
    poll(...)         once nobody is pending, rank 0 makes the folder whole; a failure is raised on all ranks at once

Each rank writes its own file, so that a save takes a world-size-th of the time. An error waits for `poll`; it is never
lost. A second save waits for the first: memory holds one copy, which is used again.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

import torch
from safetensors import SafetensorError
from torch import Tensor

from gi_model.errors import CheckpointError
from gi_train.parallel import Parallel
from gi_train.train_state import Position, commit, owners, prune_states, sweep, write_tensors


class StateSaver:
    """Of one run; `folder` holds its steps."""

    def __init__(self, folder: Path, parallel: Parallel, *, keep: int) -> None:
        self.folder, self._parallel, self._keep = folder, parallel, keep
        self._owners = owners(parallel.sizes, parallel.world_size)
        self._buffers: dict[str, Tensor] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="save")
        self._open: Position | None = None  # started, and not yet whole
        self._written: Future[None] | None = None
        self._committed: Future[None] | None = None
        if parallel.is_main:
            sweep(folder)

    def start(self, position: Position) -> None:
        """Copy the state, and write it from a thread. Waits for the save before, and raises its CheckpointError."""
        self.finish()
        self._snapshot()
        self._open = position
        copied = _event(self._parallel.device)
        self._written = self._thread.submit(self._write, self._writing(position), copied)

    @property
    def flags(self) -> list[float]:
        """Whether this rank's work on a save is under way, and whether it failed: to be added up over ranks."""
        works = [work for work in (self._written, self._committed) if work is not None]
        failed = any(work.done() and work.exception() is not None for work in works)
        return [float(self._written is not None and not self._written.done()), float(failed)]

    def poll(self, num_pending: float, num_failed: float) -> None:
        """Go on with a save, given the flags of all ranks. Raises CheckpointError on all ranks alike."""
        if num_failed:
            self._fail()
        if self._open is None or num_pending:
            return
        position, self._open, self._written = self._open, None, None
        if self._parallel.is_main:
            self._committed = self._thread.submit(self._commit, position)

    def finish(self) -> None:
        """Wait for the save that is under way; all ranks must call it. Raises its CheckpointError on all of them."""
        for _ in ("written", "committed"):
            for work in (self._written, self._committed):
                if work is not None:
                    work.exception()  # waits
            self.poll(*self._parallel.sum(torch.tensor(self.flags)).tolist())
        self._committed = None

    def close(self) -> None:
        """`finish`, and stop the thread."""
        self.finish()
        self._thread.shutdown()

    def _fail(self) -> NoReturn:
        """Drop the save under way and raise its error, or say that it is another rank's."""
        works = [work for work in (self._written, self._committed) if work is not None]
        error = next((work.exception() for work in works if work.exception()), None)
        self._open = self._written = self._committed = None
        if self._parallel.is_main:
            sweep(self.folder)
        if error is not None and not isinstance(error, OSError | SafetensorError):
            raise error
        do = "Free disk space and run the same command again; it resumes from the newest step."
        raise CheckpointError(f"cannot save to {self.folder}", got=error or "another rank's error", do=do) from error

    # ------------------------------------------------------------------ the copy

    def _snapshot(self) -> None:
        """Copy what this rank writes to host memory; all ranks walk the names in one order."""
        for name, owner in self._owners.items():
            state = self._parallel.read(name)
            if owner == self._parallel.rank:
                for kind, value in state.items():
                    self._copy(f"{kind}/{name}", value)
        if self._parallel.is_main:
            for name, value in self._parallel.buffers.items():
                self._copy(f"weights/{name}", value)

    def _copy(self, name: str, value: Tensor) -> None:
        """On a GPU the copy only joins its queue of work, before the next step's."""
        if name not in self._buffers:
            self._buffers[name] = torch.empty(value.shape, dtype=value.dtype, pin_memory=value.is_cuda)
        self._buffers[name].copy_(value, non_blocking=True)

    # ------------------------------------------------------------------ the thread

    def _write(self, writing: Path, copied: "torch.cuda.Event | None") -> None:
        if copied is not None:
            copied.synchronize()
        write_tensors(writing, self._buffers, rank=self._parallel.rank, world_size=self._parallel.world_size)

    def _commit(self, position: Position) -> None:
        commit(self._writing(position), self.folder / f"{position.step:06d}", self._parallel.policy, position)
        prune_states(self.folder, self._keep)

    def _writing(self, position: Position) -> Path:
        return self.folder / f"writing-{position.step:06d}"


def _event(device: torch.device) -> "torch.cuda.Event | None":
    """Marks the end of the copies in the GPU's queue."""
    if device.type != "cuda":
        return None
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record()
    return event

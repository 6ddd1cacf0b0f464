"""`ModelThread`: the one thread that touches a `Stepper`. Jobs go in, outcomes come back to the event loop, in order.

The order of the jobs is the history of every stream: a correction put after a step and before the next lands between
them, and a copy takes exactly what was put before it, so nothing needs a lock or an answer first. Whether a slot is
sound is known here alone: after a failed batch its memory may be half written, so it is opened anew with its next
frame, and a copy of it is opened anew as well.
"""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gi_model.actions import InputState
from gi_model.shield import Outcome as ShieldOutcome
from gi_model.stepper import Sampling, Stepper, Steps
from gi_serve.sessions import ReadyFrame, Session

logger = logging.getLogger("gi_serve")


class Entry(NamedTuple):
    """One row of a batch, as it was when the batch was taken. opens: the slot must be opened first."""

    session: Session
    frame: ReadyFrame
    slot: int
    life: int
    opens: bool
    sampling: Sampling

    @property
    def is_wanted(self) -> bool:
        """Whether the session still lives the life that sent the frame."""
        return not self.session.is_closed and self.session.life == self.life


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the model made of a batch: tokens (B, N, K), confidence (B, N, F). steps None: it failed.

    started_ns: taken by the thread; stepped_ns: slots opened, frames in one array; done_ns: answered. judged: what the
    shield let through, by row.
    """

    entries: Sequence[Entry]
    steps: Steps | None
    started_ns: int
    stepped_ns: int
    done_ns: int
    judged: Mapping[int, tuple[InputState, ShieldOutcome]] = field(default_factory=dict)


Judge = Callable[[Sequence[Entry], Steps], Mapping[int, tuple[InputState, ShieldOutcome]]]


class ModelThread:
    """Runs one stepper. Every method belongs to the event loop's thread; `finished` is called there.

    judge: called on the model's thread with a batch and its answers; what it says is the outcome's `judged`.
    """

    def __init__(self, stepper: Stepper, finished: Callable[[Outcome], None], *, judge: Judge | None = None) -> None:
        self._stepper, self._finished, self._judge = stepper, finished, judge
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"step-{stepper.name}", daemon=True)
        self._unsound: set[int] = set()  # slots; of the model's thread, like the rows
        self._rows = np.empty((stepper.num_slots, stepper.height, stepper.width, 3), np.uint8)  # of its batches

    def start(self) -> None:
        """Start. Call on the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def stop(self) -> None:
        """End after the jobs there are."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    @property
    def is_alive(self) -> bool:
        """Whether it takes jobs."""
        return self._thread.is_alive()

    # ------------------------------------------------------------------ jobs

    def step(self, entries: Sequence[Entry]) -> None:
        """Play one tick of `entries`; `finished` hears of it."""
        self._jobs.put(partial(self._step, entries))

    def correct(self, slot: int, tokens: NDArray[np.int64]) -> None:
        """Let `tokens` be what was held in the newest tick of `slot`."""
        self._jobs.put(partial(self._correct, slot, tokens))

    def copy(self, source: int, target: int, failed: Callable[[], None]) -> None:
        """Let `target` go on as `source` would; `failed` is called, on the loop, if it cannot."""
        self._jobs.put(partial(self._copy, source, target, failed))

    async def between_steps(self, work: Callable[[], None]) -> None:
        """Let `work` change the stepper between two steps; raises what it raises. The steps wait for it."""
        done: asyncio.Future[None] = self._loop.create_future()
        self._jobs.put(partial(self._change, work, done))
        await done

    # ------------------------------------------------------------------ the model's thread

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except RuntimeError:  # the loop is closed: nobody is left to answer
                return

    def _step(self, entries: Sequence[Entry]) -> None:
        started_ns = stepped_ns = time.monotonic_ns()
        slots = [entry.slot for entry in entries]
        steps: Steps | None
        try:
            for entry in entries:
                if entry.opens or entry.slot in self._unsound:
                    self._stepper.open(entry.slot, entry.sampling, entry.session.options.adapter)
            self._unsound.difference_update(slots)
            frames = self._batch(entries)
            stepped_ns = time.monotonic_ns()
            steps = _by_tick(self._stepper.step(frames, slots))
            done_ns = time.monotonic_ns()
            judged = {} if self._judge is None else self._judge(entries, steps)
        except Exception:  # whatever the model, or a shield, raises ends this batch, not the server
            logger.exception("the model failed on a batch of %d", len(entries))
            self._unsound.update(slots)
            steps, judged, done_ns = None, {}, time.monotonic_ns()
        outcome = Outcome(entries, steps, started_ns, stepped_ns, done_ns, judged)
        self._loop.call_soon_threadsafe(self._finished, outcome)

    def _batch(self, entries: Sequence[Entry]) -> NDArray[np.uint8]:
        """The frames of `entries`, uint8 (B, H, W, 3), until the next batch."""
        if len(entries) == 1 and (pixels := entries[0].frame.pixels).flags.writeable:  # else torch would complain
            return pixels[None]
        for row, entry in enumerate(entries):
            self._rows[row] = entry.frame.pixels
        return self._rows[: len(entries)]

    def _correct(self, slot: int, tokens: NDArray[np.int64]) -> None:
        if slot in self._unsound:
            return
        try:
            self._stepper.correct(slot, tokens)
        except Exception:
            logger.exception("the model failed on a correction")
            self._unsound.add(slot)

    def _change(self, work: Callable[[], None], done: "asyncio.Future[None]") -> None:
        try:
            work()
        except Exception as error:
            self._loop.call_soon_threadsafe(_settle, done, error)
        else:
            self._loop.call_soon_threadsafe(_settle, done, None)

    def _copy(self, source: int, target: int, failed: Callable[[], None]) -> None:
        if source in self._unsound:
            self._unsound.add(target)
            return
        try:
            self._stepper.copy(source, target)
            self._unsound.discard(target)
        except Exception:
            logger.exception("the model failed to copy a stream")
            self._unsound.add(target)
            self._loop.call_soon_threadsafe(failed)


def _settle(done: "asyncio.Future[None]", error: Exception | None) -> None:
    if done.done():  # nobody waits any more
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)


def _by_tick(steps: Steps) -> Steps:
    """With an axis of ticks, also where there is one."""
    if steps.tokens.ndim == 3:
        return steps
    return replace(steps, tokens=steps.tokens[:, None], confidence=steps.confidence[:, None])

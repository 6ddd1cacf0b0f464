"""`RealTimeEnvironment`: any game, driven by the wall clock in a thread: the game does not wait for the player.

Substep k is played when its time is over, at `start + (k + 1) * period`, with the inputs held at that moment. So
whoever answers a frame within one substep plays exactly the lock-step game; whoever is later finds that keys stayed as
they were, and that the newest frame has replaced those that came up meanwhile. The motion of an input is spent once, in
equal shares over the substeps after its arrival, however late the next input is; where inputs overlap, their shares add
up.

Why our own clock and not ViZDoom's ASYNC_PLAYER: it works for every game, it can be tested without waiting, and it
counts: `late_substeps` says how often this machine could not keep up. A substep that is late by more than its period
moves the clock: the game slows down rather than run faster than real time to catch up.
"""

import threading
import time
from collections import deque
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from gi_data.envs.protocol import Environment, StepResult
from gi_model.actions import NEUTRAL, InputState
from gi_model.errors import GameError
from gi_model.frames import Frame

TIMEOUT_S: Final = 10.0  # for the next frame: a game that takes longer is stuck


class Clock(Protocol):
    """Seconds, and waiting."""

    def now(self) -> float:
        """Seconds since some moment."""
        ...

    def wait_until(self, due: float) -> None:
        """Return when `now() >= due`."""
        ...


class WallClock:
    """The real clock."""

    def now(self) -> float:
        """Seconds, monotonic."""
        return time.monotonic()

    def wait_until(self, due: float) -> None:
        """Sleep."""
        time.sleep(max(0.0, due - self.now()))


@dataclass(frozen=True, slots=True)
class Observation:
    """What the game showed after tick `tick` (0: at reset), at `captured_s` of the clock."""

    result: StepResult
    tick: int
    captured_s: float

    @property
    def is_last(self) -> bool:
        """Whether the episode is over."""
        return self.result[2] or self.result[3]


class RealTimeEnvironment:
    """An `Environment` whose `step` does not stop the game: it holds inputs and waits for the next unseen frame."""

    def __init__(self, env: Environment, *, clock: Clock | None = None) -> None:
        self._env, self._clock = env, clock or WallClock()
        self.name, self.fps, self.substeps, self.bindings = env.name, env.fps, env.substeps, env.bindings
        self.observation_space, self.action_space = env.observation_space, env.action_space
        self.embodiment = getattr(env, "embodiment", None)  # None where the game is no robot
        self.late_substeps = 0  # of this episode: begun more than half a period after their time
        self.dropped_frames = 0  # of this episode: replaced before `step` saw them
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._error: BaseException | None = None
        self._held = NEUTRAL
        self._unspent: deque[tuple[InputState, int]] = deque()  # inputs and how many shares of their motion are left
        self._newest: Observation | None = None
        self._tick_seen = 0

    def reset(self, *, seed: int | None = None) -> tuple[Frame, dict[str, Any]]:
        """Start an episode and its clock, with nothing held."""
        self._stop()
        frame, info = self._env.reset(seed=seed)
        self.late_substeps = self.dropped_frames = self._tick_seen = 0
        self._stopping, self._error, self._held = False, None, NEUTRAL
        self._unspent.clear()
        self._newest = Observation((frame, 0.0, False, False, info), 0, self._clock.now())
        self._thread = threading.Thread(target=self._drive, name=f"clock of {self.name}", daemon=True)
        self._thread.start()
        return frame, info

    def hold(self, state: InputState) -> None:
        """Hold `state` from now on; its motion is spent once."""
        with self._changed:
            self._held = state
            self._unspent.append((state, self.substeps))

    def latest(self) -> Observation:
        """The newest observation. Raises what the game raised."""
        with self._changed:
            return self._read()

    def wait(self, after_tick: int, *, timeout_s: float = TIMEOUT_S) -> Observation | None:
        """The newest observation after `after_tick`; None after `timeout_s`. Raises what the game raised."""
        with self._changed:
            self._changed.wait_for(lambda: self._error or self._read().tick > after_tick, timeout=timeout_s)
            newest = self._read()
        return newest if newest.tick > after_tick else None

    def step(self, state: InputState) -> StepResult:
        """Hold `state` and return the newest frame not seen before; the last one again after the end."""
        self.hold(state)
        if (last := self.latest()).is_last and last.tick == self._tick_seen:
            return last.result
        newest = self.wait(self._tick_seen)
        if newest is None:
            raise GameError(f"{self.name} showed nothing for {TIMEOUT_S:.0f} s", do="Start the episode again.")
        self.dropped_frames += newest.tick - self._tick_seen - 1
        self._tick_seen = newest.tick
        return newest.result

    def advance(self, state: InputState, *, share: float = 1.0) -> None:
        """Not here: the clock alone advances the game. Raises GameError."""
        del state, share
        raise GameError(f"{self.name} runs by the clock", do="Call step() or hold().")

    def observe(self) -> StepResult:
        """The newest frame, seen before or not."""
        return self.latest().result

    def close(self) -> None:
        """Stop the clock and release the game. Idempotent."""
        self._stop()
        self._env.close()

    # ------------------------------------------------------------------ the clock's thread

    def _drive(self) -> None:
        try:
            period = 1.0 / (self.fps * self.substeps)
            due, tick = self._clock.now(), 0
            while not self._stopping and not self._newest_is_last():
                for _ in range(self.substeps):
                    due = self._wait_for(due + period, period)
                    self._env.advance(self._take())
                tick += 1
                self._show(Observation(self._env.observe(), tick, self._clock.now()))
        except BaseException as error:
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _wait_for(self, due: float, period: float) -> float:
        """Wait for `due` and return it; or the moment it was reached at, if that was over a period late."""
        self._clock.wait_until(due)
        lateness = self._clock.now() - due
        self.late_substeps += lateness > period / 2
        return due + lateness if lateness > period else due

    def _take(self) -> InputState:
        """What is held now, with this substep's share of all motion that is not spent."""
        with self._changed:
            moving = [state for state, _ in self._unspent]
            self._unspent = deque((state, left - 1) for state, left in self._unspent if left > 1)
            motion = sum(state.motion[0] for state in moving), sum(state.motion[1] for state in moving)
            wheel = sum(state.wheel[0] for state in moving), sum(state.wheel[1] for state in moving)
            return replace(self._held, motion=motion, wheel=wheel)

    def _show(self, observation: Observation) -> None:
        with self._changed:
            self._newest = observation
            self._changed.notify_all()

    def _newest_is_last(self) -> bool:
        return self._newest is not None and self._newest.is_last

    def _read(self) -> Observation:
        if self._error is not None:
            raise self._error
        if self._newest is None:
            raise GameError(f"{self.name} is not running", do="Call reset() first.")
        return self._newest

    def _stop(self) -> None:
        self._stopping = True
        if self._thread is not None:
            self._thread.join()
        self._thread = None

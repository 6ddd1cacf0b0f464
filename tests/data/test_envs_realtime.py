"""Real time: an answer within a substep plays the lock-step game; later ones cost what they should, and are counted."""

import threading
import time
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gi_data.envs import make_environment
from gi_data.envs.protocol import InputSpace, StepResult, box
from gi_data.envs.realtime import RealTimeEnvironment, WallClock
from gi_model.actions import NEUTRAL, AxisBinding, Bindings, InputState
from gi_model.errors import GameError
from gi_model.frames import Frame


class Ledger:
    """A game that writes down what it is given; its frame shows the number of ticks played."""

    def __init__(self, *, substeps: int = 2, ticks: int = 1000) -> None:
        self.name, self.fps, self.substeps = "ledger", 10.0, substeps
        self.bindings = Bindings({"go": "KeyW"}, {"turn": AxisBinding("motion.x", 0.25)})
        self.observation_space, self.action_space = box(2, 2), InputSpace(self.bindings)
        self.executed: list[InputState] = []
        self.fails_at: int | None = None
        self._ticks = ticks

    def reset(self, *, seed: int | None = None) -> tuple[Frame, dict[str, Any]]:
        self.executed.clear()
        return self.observe()[0], {}

    def step(self, state: InputState) -> StepResult:
        for _ in range(self.substeps):
            self.advance(state)
        return self.observe()

    def advance(self, state: InputState, *, share: float = 1.0) -> None:
        if len(self.executed) == self.fails_at:
            raise GameError("the game died")
        self.executed.append(state)

    def observe(self) -> StepResult:
        ticks = len(self.executed) // self.substeps
        return np.full((2, 2, 3), ticks % 256, np.uint8), 0.0, ticks >= self._ticks, False, {}

    def close(self) -> None:
        self.fails_at = 0

    @property
    def turned(self) -> Fraction:
        """Counts turned in all: each substep executes its share of the motion it is given."""
        return sum((Fraction(state.motion[0], self.substeps) for state in self.executed), Fraction(0))


class HandClock:
    """A clock that the test moves, substep by substep."""

    def __init__(self) -> None:
        self.time, self.runs_free = 0.0, False
        self._moved = threading.Condition()
        self._waiting_for: float | None = None

    def now(self) -> float:
        with self._moved:
            return self.time

    def wait_until(self, due: float) -> None:
        with self._moved:
            self._waiting_for = due
            self._moved.notify_all()
            assert self._moved.wait_for(lambda: self.runs_free or self.time >= due - 1e-9, timeout=20)
            self._waiting_for = None

    def run_free(self) -> None:
        with self._moved:
            self.runs_free = True
            self._moved.notify_all()

    def tick_over(self, *, late: float = 0.0) -> None:
        """Let the substep that the game waits for begin, and wait until it waits for the next."""
        with self._moved:
            assert self._moved.wait_for(lambda: self._waiting_for is not None, timeout=20)
            assert self._waiting_for is not None
            self.time, self._waiting_for = self._waiting_for + late, None
            self._moved.notify_all()
            assert self._moved.wait_for(lambda: self._waiting_for is not None, timeout=20)


def by_hand(game: Ledger) -> tuple[RealTimeEnvironment, HandClock]:
    clock = HandClock()
    realtime = RealTimeEnvironment(game, clock=clock)
    realtime.reset(seed=0)
    return realtime, clock


def release(realtime: RealTimeEnvironment, clock: HandClock) -> None:
    closing = threading.Thread(target=realtime.close)
    closing.start()
    clock.run_free()
    closing.join()


@settings(max_examples=20, deadline=None)
@given(
    motions=st.lists(st.integers(-50, 50), min_size=1, max_size=6),
    substeps=st.integers(1, 4),
    data=st.data(),
)
def test_motion_is_spent_once_whenever_inputs_come(motions: list[int], substeps: int, data: st.DataObject) -> None:
    game = Ledger(substeps=substeps)
    realtime, clock = by_hand(game)
    for motion in motions:
        realtime.hold(InputState(motion=(motion, 0)))
        for _ in range(data.draw(st.integers(0, 5))):
            clock.tick_over()
    for _ in range(substeps):
        clock.tick_over()
    assert game.turned == sum(motions)
    release(realtime, clock)


@settings(max_examples=10, deadline=None)
@given(motions=st.lists(st.integers(-50, 50), min_size=1, max_size=8), substeps=st.integers(1, 3))
def test_answers_within_a_substep_are_executed_as_in_lock_step(motions: list[int], substeps: int) -> None:
    states = [
        InputState(keys=frozenset({"KeyW"} if m % 2 else ()), motion=(m, 0), commands=(m / 4,) if m % 3 else ())
        for m in motions
    ]
    lockstep, game = Ledger(substeps=substeps), Ledger(substeps=substeps)
    for state in states:
        lockstep.step(state)
    realtime, clock = by_hand(game)
    for tick, state in enumerate(states):
        assert realtime.latest().tick == tick
        realtime.hold(state)
        for _ in range(substeps):
            clock.tick_over()
    assert game.executed == lockstep.executed
    assert realtime.late_substeps == 0
    release(realtime, clock)


def test_keys_stay_held_and_motion_does_not_repeat_when_the_next_answer_is_late() -> None:
    game = Ledger(substeps=2)
    realtime, clock = by_hand(game)
    realtime.hold(InputState(keys=frozenset({"KeyW"}), motion=(30, 0)))
    for _ in range(6):
        clock.tick_over()
    assert [state.motion[0] for state in game.executed] == [30, 30, 0, 0, 0, 0]
    assert all(state.keys == {"KeyW"} for state in game.executed)
    release(realtime, clock)


def test_frames_that_came_up_meanwhile_are_dropped_and_counted() -> None:
    game = Ledger(substeps=1)
    realtime, clock = by_hand(game)
    for _ in range(3):
        clock.tick_over()
    assert realtime.step(NEUTRAL)[0].max() == 3
    assert realtime.dropped_frames == 2
    release(realtime, clock)


def test_a_late_substep_is_counted_and_moves_the_clock_instead_of_hurrying_the_game() -> None:
    game = Ledger(substeps=1)
    realtime, clock = by_hand(game)
    clock.tick_over(late=0.35)  # period 0.1 s
    began = clock.now()
    clock.tick_over()
    assert realtime.late_substeps == 1
    assert clock.now() - began == pytest.approx(0.1)
    clock.tick_over(late=0.06)
    clock.tick_over()
    assert realtime.late_substeps == 2
    assert clock.now() - began == pytest.approx(0.3)
    release(realtime, clock)


def test_waiting_gives_up_in_time_and_never_returns_an_old_frame() -> None:
    realtime, clock = by_hand(Ledger())
    assert realtime.wait(0, timeout_s=0.01) is None
    clock.tick_over()
    clock.tick_over()
    newest = realtime.wait(0, timeout_s=1.0)
    assert newest is not None
    assert newest.tick == 1
    release(realtime, clock)


def test_after_the_end_steps_return_the_last_frame_and_the_game_is_left_alone() -> None:
    game = Ledger(substeps=1, ticks=3)
    game.fps = 200.0
    realtime = RealTimeEnvironment(game)
    realtime.reset(seed=0)
    while not (last := realtime.step(NEUTRAL))[2]:
        pass
    assert realtime.step(NEUTRAL) is last
    assert len(game.executed) == 3
    realtime.close()
    realtime.close()


def test_a_game_that_dies_is_heard_of_by_whoever_waits_for_it() -> None:
    game = Ledger()
    game.fails_at, game.fps = 4, 200.0
    realtime = RealTimeEnvironment(game)
    realtime.reset(seed=0)
    with pytest.raises(GameError, match="the game died"):
        realtime.wait(3)
    with pytest.raises(GameError, match="clock"):
        realtime.advance(NEUTRAL)
    realtime.close()


def test_a_real_game_by_the_wall_clock_equals_lock_step_for_a_fast_player() -> None:
    env = make_environment("doom/defend_the_center")
    env.action_space.seed(1)
    inputs = [env.action_space.sample() for _ in range(25)]
    frame, _ = env.reset(seed=3)
    lockstep = [frame, *(env.step(state)[0] for state in inputs)]
    realtime = RealTimeEnvironment(env)
    for _attempt in range(5):  # a busy machine may be late, and says so; on time it must be equal
        began = time.monotonic()
        frame, _ = realtime.reset(seed=3)
        frames, slowest = [frame], 0.0
        for state in inputs:
            frames.append(realtime.step(state)[0])
            slowest = max(slowest, time.monotonic() - realtime.latest().captured_s)
        seconds = time.monotonic() - began
        if realtime.late_substeps == realtime.dropped_frames == 0 and slowest < 0.01:
            break
    realtime.close()
    assert all(np.array_equal(a, b) for a, b in zip(lockstep, frames, strict=True))
    assert seconds >= len(inputs) / env.fps


def test_the_wall_clock_waits_at_least_as_long_as_asked() -> None:
    clock = WallClock()
    due = clock.now() + 0.02
    clock.wait_until(due)
    assert clock.now() >= due
    clock.wait_until(due - 10)

"""Who goes first, how many at a time, and who may join: on a simulated clock, so that no machine is too slow for it."""

import random
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gi_model.stepper import Sampling
from gi_serve.admission import Demand, admits, count_on_time, worst_wait_s
from gi_serve.scheduling import choose, choose_size
from gi_serve.sessions import Nobody, ReadyFrame, Session, SessionOptions
from gi_serve.step_times import StepTimes, measure
from tests.serve.fake_steppers import EchoStepper

PERIOD_S = 0.05
TICK = Demand(1 / PERIOD_S, PERIOD_S)


def learned(base_s: float, per_session_s: float) -> StepTimes:
    """Times of a model that always takes as long as it says."""
    times = StepTimes()
    for size in (1, 2, 4, 8, 16, 32, 64):
        for _ in range(3):
            times.observe(size, base_s + per_session_s * size)
    return times


def ready(seq: int, received_s: float) -> ReadyFrame:
    received_ns = int(received_s * 1e9)
    deadline_ns = received_ns + int(PERIOD_S * 1e9)
    return ReadyFrame(np.zeros((1, 1, 3), np.uint8), seq, 0, received_ns, received_ns, deadline_ns)


@dataclass
class Simulation:
    """Players who send a frame a period, and the engine's own choice of who is answered, without its threads."""

    base_s: float
    per_session_s: float
    num_players: int
    answered_s: dict[int, list[float]] = field(default_factory=dict)  # by slot
    lags_s: list[float] = field(default_factory=list)  # arrival of a frame -> its answer
    num_sent: int = 0
    num_dropped: int = 0
    num_waiting: int = 0

    def run(self, seconds: float) -> None:
        choice = random.Random(0)
        times = learned(self.base_s, self.per_session_s)
        sessions = [Session(slot, SessionOptions(Sampling(), PERIOD_S), Nobody()) for slot in range(self.num_players)]
        phases = [choice.random() * PERIOD_S for _ in sessions]
        arrivals = sorted(
            (phase + tick * PERIOD_S, slot)
            for slot, phase in enumerate(phases)
            for tick in range(int(seconds / PERIOD_S))
        )
        now_s, arrived = 0.0, 0
        while arrived < len(arrivals):  # not on: once nobody sends, old frames are the newest
            while arrived < len(arrivals) and arrivals[arrived][0] <= now_s:
                at_s, slot = arrivals[arrived]
                self.num_dropped += sessions[slot].put_pending(ready(arrived, at_s)) is not None
                arrived += 1
            chosen = choose(sessions, times, int(now_s * 1e9))
            if not chosen:
                now_s = arrivals[arrived][0]
                continue
            frames = [session.take_pending() for session in chosen]
            now_s += self.base_s + self.per_session_s * len(frames)
            for session, frame in zip(chosen, frames, strict=True):
                self.answered_s.setdefault(session.slot, []).append(now_s)
                self.lags_s.append(now_s - frame.received_ns / 1e9)
        self.num_sent = arrived
        self.num_waiting = sum(session.pending is not None for session in sessions)


@pytest.mark.parametrize("base_s", [0.0, 0.002, 0.01])
def test_whom_admission_takes_is_on_time(base_s: float) -> None:
    per_session_s = 0.001
    times = learned(base_s, per_session_s)
    num_players = 0
    while admits(times, [TICK] * num_players, TICK):
        num_players += 1
    assert num_players == count_on_time(times, TICK, 999)
    simulation = Simulation(base_s, per_session_s, num_players)
    simulation.run(10.0)
    assert simulation.num_dropped == 0
    assert max(simulation.lags_s) <= PERIOD_S
    overfull = Simulation(base_s, per_session_s, 3 * num_players)
    overfull.run(10.0)
    assert max(overfull.lags_s) > PERIOD_S  # it was not over-careful by far


@pytest.mark.parametrize("base_s", [0.0, 0.002, 0.01])
def test_at_twice_the_load_lag_stays_within_two_periods_and_nobody_starves(base_s: float) -> None:
    num_players = 40
    per_session_s = 2 * PERIOD_S / num_players - base_s / num_players  # one step of all takes two periods
    simulation = Simulation(base_s, per_session_s, num_players)
    simulation.run(20.0)
    assert max(simulation.lags_s) <= 2 * PERIOD_S
    assert simulation.num_dropped + len(simulation.lags_s) + simulation.num_waiting == simulation.num_sent
    assert len(simulation.lags_s) >= 0.33 * simulation.num_sent  # of the half that is possible
    for answered_s in simulation.answered_s.values():
        assert max(np.diff(answered_s)) <= 5 * PERIOD_S
    counts = [len(answered_s) for answered_s in simulation.answered_s.values()]
    assert len(counts) == num_players
    assert max(counts) <= 2 * min(counts)


@given(st.floats(0, 0.02), st.floats(0, 0.01), st.lists(st.floats(-0.1, 0.1), min_size=1, max_size=40))
@example(5e-324, 0.0, [0.0, 0.0])  # a clock that stands still
def test_a_batch_is_the_largest_that_misses_no_deadline_it_could_meet(
    base_s: float, per_session_s: float, ages_s: list[float]
) -> None:
    times, now_s = learned(base_s, per_session_s), 1.0
    frames = [ready(seq, now_s - age_s) for seq, age_s in enumerate(sorted(ages_s, reverse=True))]
    size = choose_size(frames, times, int(now_s * 1e9))

    def spoils(num: int) -> bool:
        """Whether a batch of `num` misses what one of 1 would meet."""
        done_ns, alone_ns = (int((now_s + times.expect(each) * (1 + times.margin)) * 1e9) for each in (num, 1))
        limits = [(frame.deadline_ns, 2 * frame.deadline_ns - frame.received_ns) for frame in frames[:num]]
        kept = [min([limit for limit in each if limit >= alone_ns], default=done_ns) for each in limits]
        return any(limit < done_ns - 10 for limit in kept)

    a, b = times.line
    enough = min(len(frames), int(a / b) + 1) if b else len(frames)
    assert enough <= size <= len(frames)
    assert size == enough or not spoils(size)
    assert size == len(frames) or spoils(size + 1) or times.expect(size + 1) - times.expect(size) < 1e-7


def test_while_nothing_is_known_everybody_joins() -> None:
    assert choose_size([ready(seq, 0.0) for seq in range(9)], StepTimes(), 10**12) == 9
    assert choose_size([], learned(0.01, 0.01), 0) == 0
    assert admits(StepTimes(), [TICK] * 99, TICK)
    assert count_on_time(StepTimes(), TICK, 7) == 7


def test_who_is_late_by_its_own_choice_is_taken_and_holds_nobody_back() -> None:
    times, hasty = learned(0.005, 0.001), Demand(20.0, 0.001)
    assert admits(times, [TICK], hasty)
    assert admits(times, [hasty], TICK)
    crowd = [TICK] * count_on_time(times, TICK, 999)
    assert not admits(times, crowd, hasty)  # but not where others would be late for it


def test_a_long_deadline_does_not_admit_more_work_than_there_is_time() -> None:
    times, patient = learned(0.001, 0.01), Demand(20.0, 60.0)
    present: list[Demand] = []
    while admits(times, present, patient):
        present.append(patient)
    assert len(present) == 4  # 20 frames a second of 10 ms each: five would take all the time there is


def test_a_model_too_slow_for_one_player_says_so() -> None:
    assert count_on_time(learned(0.1, 0.0), TICK, 8) == 0
    assert count_on_time(learned(0.04, 0.0), TICK, 8) == 1  # alone it never waits for another's step
    assert admits(learned(0.04, 0.0), [], TICK)
    assert not admits(learned(0.04, 0.0), [TICK], TICK)


# ---------------------------------------------------------------------- step times


@given(st.floats(0.0, 0.1), st.floats(0.0, 0.01))
def test_times_are_learned(base_s: float, per_session_s: float) -> None:
    times = learned(base_s, per_session_s)
    for size in (1, 3, 24, 64):
        assert times.expect(size) == pytest.approx(base_s + per_session_s * size, abs=1e-6, rel=1e-3)


def test_hours_alone_do_not_wash_out_what_a_crowd_costs() -> None:
    times = learned(0.004, 0.001)
    for _ in range(10_000):
        times.observe(1, 0.005)
    assert times.expect(32) == pytest.approx(0.036, rel=0.01)


def test_a_pause_of_the_machine_is_forgiven_and_a_slower_machine_is_learned() -> None:
    times = learned(0.004, 0.001)
    before = times.expect(8)
    times.observe(8, 3.0)
    assert times.expect(8) == pytest.approx(before, rel=0.1)
    for _ in range(400):
        for size in (1, 2, 4, 8, 16, 32, 64):
            times.observe(size, 2 * (0.004 + 0.001 * size))
    assert times.expect(8) == pytest.approx(2 * before, rel=0.1)
    assert worst_wait_s(times, 8) >= 2 * 0.008 + 8 * 0.002 - 1e-3


def test_measuring_warms_the_model_up_and_stops_in_time() -> None:
    stepper = EchoStepper(num_slots=12, seconds=0.002)
    times = measure(stepper)
    assert set(stepper.batches) == {1, 2, 4, 8, 12}
    assert times.expect(12) >= 0.002
    slow = EchoStepper(num_slots=12)
    ticks = iter(range(10_000))
    measure(slow, seconds=5.0, clock=lambda: float(next(ticks)))
    assert set(slow.batches) == {1}

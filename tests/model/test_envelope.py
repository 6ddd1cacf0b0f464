"""Laws of the envelope: whatever is asked, whenever, no command leaves the range, the rate, or the jerk."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gi_model.embodiment import Actuator, Embodiment
from gi_model.envelope import KINDS, Envelope, Limited
from gi_model.errors import ConfigError
from tests.model.limited_body import EPS, FPS, HZ, STICKS, Observer, actuator, body

NUM_STEPS, DT = 10, 1 / HZ

numbers = st.floats(width=32) | st.floats(-5, 5, width=32)  # NaN and inf among them
durations = st.floats() | st.floats(1e-4, 0.2) | st.sampled_from([DT, 1 / FPS, 1.0])


@st.composite
def bodies(draw: st.DrawFn) -> Embodiment:
    """One to three actuators with limits of any proportion, also a neutral at an edge, also without jerk limit."""

    def limits(index: int) -> Actuator:
        low, high = sorted(draw(st.lists(st.floats(-50, 50, width=32), min_size=2, max_size=2, unique=True)))
        return actuator(
            f"a{index}",
            STICKS[index],
            minimum=low,
            maximum=high,
            neutral=draw(st.sampled_from([low, high]) | st.floats(low, high, width=32)),
            max_rate=draw(st.floats(0.01, 200)),
            max_jerk=draw(st.none() | st.floats(0.01, 5000)),
        )

    return body(*(limits(index) for index in range(draw(st.integers(1, 3)))))


asks = st.tuples(st.lists(numbers, min_size=3, max_size=3), durations)
operations = st.lists(
    st.one_of(
        st.tuples(st.just("advance"), asks),
        st.tuples(st.just("chase"), asks),
        st.tuples(st.just("plan"), asks),
        st.tuples(st.sampled_from(["stop", "release", "copy"]), st.none()),
    ),
    max_size=40,
)


@settings(max_examples=60)
@given(limits=bodies(), script=operations)
def test_no_command_leaves_the_limits_whatever_is_asked_and_whenever(limits: Embodiment, script: Any) -> None:
    envelope, observer = Envelope(limits), Observer(limits)
    for name, argument in script:
        if name in ("stop", "release"):
            getattr(envelope, name)()
        elif name == "copy":
            envelope = envelope.copy()
        else:
            target, dt_s = np.array(argument[0][: limits.num_actuators], np.float32), argument[1]
            match name:
                case "plan":
                    limited = envelope.plan(target, NUM_STEPS, dt_s)
                case "chase":
                    limited = envelope.advance(target, dt_s, pace=target[::-1])
                case _:
                    limited = envelope.advance(target, dt_s)
            for command in limited.commands:
                observer.see(command, dt_s)


@settings(max_examples=25)
@given(limits=bodies(), seed=st.integers(0, 2**32 - 1), pull=st.floats(0.5, 20))
def test_no_command_leaves_the_limits_over_long_plays(limits: Embodiment, seed: int, pull: float) -> None:
    """Targets far beyond the range pull toward both edges at full rate; time runs unevenly."""
    choice = np.random.default_rng(seed)
    envelope, observer = Envelope(limits), Observer(limits)
    middle, half = (limits.minimum + limits.maximum) / 2, (limits.maximum - limits.minimum) / 2
    target = limits.neutral
    for _ in range(400):
        if choice.random() < 0.05:
            target = (middle + pull * half * choice.choice([-1.0, 0.0, 1.0], limits.num_actuators)).astype(np.float32)
        dt_s = DT if choice.random() < 0.5 else float(choice.uniform(1e-4, 1 / FPS))
        observer.see(envelope.advance(target, dt_s).command, dt_s)


def seconds_to_settle(limits: Embodiment) -> float:
    """Time in which any change must be over: brake, go from edge to edge, brake again."""
    worst = 1.0
    for each in limits.actuators:
        span = each.maximum - each.minimum
        jerk = np.inf if each.max_jerk is None else each.max_jerk
        worst = max(worst, 2 * (span / each.max_rate + 3 * each.max_rate / jerk + 3 * np.sqrt(span / jerk)) + 0.1)
    return worst


@settings(max_examples=25)
@given(
    limits=bodies().filter(lambda each: seconds_to_settle(each) < 6),
    parts=st.lists(st.floats(0, 1), min_size=3, max_size=3),
    before=st.lists(st.floats(-2, 2, width=32), min_size=3, max_size=3),
)
def test_a_constant_target_in_range_is_reached(limits: Embodiment, parts: list[float], before: list[float]) -> None:
    share = np.array(parts[: limits.num_actuators])
    target = (limits.minimum + share * (limits.maximum - limits.minimum)).astype(np.float32)
    target = target.clip(limits.minimum, limits.maximum)
    envelope = Envelope(limits)
    for _ in range(20):
        envelope.advance((limits.maximum * before[: limits.num_actuators]).astype(np.float32), DT)
    for _ in range(int(seconds_to_settle(limits) * FPS)):
        last = envelope.plan(target, NUM_STEPS, DT)
    np.testing.assert_array_equal(last.commands, np.tile(target, (NUM_STEPS, 1)))
    assert not last.clamps.any()


@settings(max_examples=25)
@given(limits=bodies().filter(lambda each: seconds_to_settle(each) < 6), part=st.floats(0, 1), wild=numbers)
def test_a_stop_goes_to_neutral_and_holds_until_release(limits: Embodiment, part: float, wild: float) -> None:
    envelope, observer = Envelope(limits), Observer(limits)
    target = (limits.minimum + np.float32(part) * (limits.maximum - limits.minimum)).astype(np.float32)

    def play(asked: NDArray[np.float32], seconds: float) -> Limited:
        for _ in range(int(seconds * FPS)):
            limited = envelope.plan(asked, NUM_STEPS, DT)
            for command in limited.commands:
                observer.see(command, DT)
        return limited

    play(target, 1.0)
    envelope.stop()
    stopped = play(np.full_like(target, wild), seconds_to_settle(limits))
    assert stopped.is_stopped
    assert not stopped.clamps.any()
    np.testing.assert_array_equal(stopped.commands, np.tile(limits.neutral, (NUM_STEPS, 1)))
    np.testing.assert_array_equal(stopped.target, limits.neutral)
    assert envelope.is_neutral
    envelope.release()
    settled = play(target.clip(limits.minimum, limits.maximum), seconds_to_settle(limits))
    np.testing.assert_array_equal(settled.command, target.clip(limits.minimum, limits.maximum))


@settings(max_examples=60)
@given(limits=bodies(), script=st.lists(asks, min_size=1, max_size=20))
def test_clamps_are_counted_exactly_where_the_emitted_differs_from_the_asked(limits: Embodiment, script: Any) -> None:
    envelope = Envelope(limits)
    for wanted, _ in script:
        asked, before = np.array(wanted[: limits.num_actuators], np.float32), envelope.command
        limited = envelope.plan(asked, NUM_STEPS, DT)
        flags = {kind: limited.clamps[:, index].astype(bool) for index, kind in enumerate(KINDS)}
        finite = np.isfinite(asked)
        np.testing.assert_array_equal(flags["invalid"], ~finite)
        meant = np.where(finite, asked, limits.neutral)
        np.testing.assert_array_equal(flags["range"], (meant < limits.minimum) | (meant > limits.maximum))
        is_clamped = flags["range"] | flags["rate"] | flags["jerk"]
        size = np.maximum(np.abs(limits.minimum), np.abs(limits.maximum))
        assert np.all((limited.command != meant)[is_clamped])
        assert np.all((np.abs(limited.command - meant) <= 8 * EPS * size)[~is_clamped])
        far = np.abs(limited.target.astype(np.float64) - before) - limits.max_rate.astype(np.float64) / FPS
        assert np.all(flags["rate"][far > 1e-4])
        assert not np.any(flags["rate"][far < -1e-4])
        assert not np.any(flags["jerk"][np.isinf(limits.max_jerk)])


# ---------------------------------------------------------------------- examples


def test_a_plan_goes_to_its_target_evenly_and_is_there_at_its_end() -> None:
    envelope = Envelope(body(actuator("drive", "left_stick.y", max_jerk=None)))
    limited = envelope.plan(np.array([0.1], np.float32), NUM_STEPS, DT)
    np.testing.assert_allclose(limited.commands[:, 0], np.arange(1, 11) / 100, atol=1e-7)
    assert not limited.clamps.any()


def test_it_brakes_before_the_edge_and_does_not_go_beyond_a_target() -> None:
    """At full rate toward the edge, only a brake that began early keeps both range and jerk."""
    envelope = Envelope(body(actuator("drive", "left_stick.y", max_rate=2.0, max_jerk=4.0)))
    commands = np.concatenate([envelope.plan(np.array([9.0], np.float32), 10, DT).commands[:, 0] for _ in range(60)])
    rates = np.diff(commands) / DT
    assert commands.max() == commands[-1] == 1.0
    assert rates.max() > 1.5
    assert np.abs(np.diff(rates)).max() <= 4.0 * DT + 1e-3
    assert np.all(rates >= -1e-3)


def test_a_stall_is_not_made_up_for() -> None:
    envelope = Envelope(body(actuator("drive", "left_stick.y", max_jerk=None)))
    assert envelope.advance(np.array([1.0], np.float32), 60.0).command[0] == pytest.approx(2.0 / FPS)


@pytest.mark.parametrize("dt_s", [0.0, -1.0, float("nan"), float("-inf")])
def test_no_time_moves_nothing(dt_s: float) -> None:
    envelope = Envelope(body(actuator("drive", "left_stick.y")))
    assert envelope.advance(np.array([1.0], np.float32), dt_s).command[0] == 0.0


@pytest.mark.parametrize(("size", "steps"), [(2, 1), (0, 1), (1, 0), (1, 10_001)])
def test_another_body_is_refused(size: int, steps: int) -> None:
    envelope = Envelope(body(actuator("drive", "left_stick.y")))
    with pytest.raises(ConfigError, match="not a target of this body"):
        envelope.plan(np.zeros(size, np.float32), steps, DT)

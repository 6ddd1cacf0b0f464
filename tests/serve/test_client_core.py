"""What a client does with answers and time, on a clock of its own: chunks, the fail-safe contract, what is resent."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gi_model.actions import NEUTRAL, ActionSpace, InputState
from gi_model.errors import ConfigError, ServeError
from gi_model.stepper import Steps
from gi_serve.client_core import LateActionError, OnLate, ResumeRefusedError, SessionConfig, SessionCore
from gi_serve.clock_offset import ClockOffset
from gi_serve.protocol import ActionMessage, Codec, decode_frame, encode_action
from tests.serve.fake_steppers import EchoStepper
from tests.serve.pictures import HEIGHT, WIDTH, paint
from tests.serve.serving import serving

MS = 1_000_000
SPACE = ActionSpace()


class Clock:
    """Nanoseconds that pass when told."""

    def __init__(self) -> None:
        self.ns = 10**12

    def __call__(self) -> int:
        return self.ns

    def sleep(self, ms: float) -> None:
        self.ns += int(ms * MS)


def tick_state(tick: int) -> InputState:
    return InputState(keys=frozenset({"KeyW"}), motion=(tick, 0))


def answer(seq: int, capture_ns: int, horizon: int = 1) -> bytes:
    states = tuple(tick_state(tick) for tick in range(horizon))
    tokens = np.stack([SPACE.encode(state) for state in states])
    confidence = np.full((horizon, 1), 0.5, np.float32)
    return encode_action(ActionMessage(seq, capture_ns, 0, 0, False, states, tokens, confidence))


def opened(config: SessionConfig | None = None, *, fps: float = 20.0) -> tuple[SessionCore, Clock]:
    clock = Clock()
    core = SessionCore(config or SessionConfig(), clock=clock)
    core.read(json.dumps(created(fps)))
    return core, clock


def created(fps: float, **changes: Any) -> dict[str, Any]:
    shape = {"shape": [HEIGHT, WIDTH, 3]}
    model = {"name": "m", "fingerprint": "f", "fps": fps, "factors": ["all"], "observation_space": shape}
    session = {"id": "s", "seed": 4}
    event = {"type": "session.created", "stream_id": 0, "session": session, "model": model | {"action_horizon": 1}}
    return event | {"resume": {"token": "t", "timeout_s": 30.0}} | changes


def receive(core: SessionCore, data: bytes, *, waits: bool = False) -> InputState:
    message = core.read(data)
    assert isinstance(message, ActionMessage)
    return core.hold(message, 0, waits=waits).state


# ---------------------------------------------------------------------- chunks


@pytest.mark.parametrize(("delay_ms", "first"), [(0, 0), (49, 0), (51, 1), (130, 2), (380, 7), (5000, 7)])
def test_a_chunk_is_played_from_the_tick_that_is_due(delay_ms: float, first: int) -> None:
    core, clock = opened()
    captured_ns = clock.ns
    clock.sleep(delay_ms)
    assert receive(core, answer(0, captured_ns, horizon=8)) == tick_state(first)
    assert core.state == tick_state(first)
    assert core.due() == tick_state(first)


def test_every_tick_of_a_chunk_is_due_once_and_its_end_is_held() -> None:
    core, clock = opened(SessionConfig(on_late="neutral", patience_s=1.0))
    captured_ns = clock.ns
    clock.sleep(60)  # the link takes a tick
    receive(core, answer(0, captured_ns, horizon=8))
    shown = []
    for _ in range(80):
        shown.append(core.due())
        clock.sleep(10)
    assert [state for state in shown if state is not None] == [tick_state(tick) for tick in range(1, 8)]
    clock.sleep(1000)
    assert core.due() == NEUTRAL


def test_a_newer_chunk_takes_over_at_its_own_tick() -> None:
    core, clock = opened()
    first_ns = clock.ns
    clock.sleep(50)
    second_ns = clock.ns
    clock.sleep(60)
    receive(core, answer(0, first_ns, horizon=8))
    assert core.due() == tick_state(2)
    receive(core, answer(1, second_ns, horizon=8))
    assert core.due() == tick_state(1)


def test_in_lock_step_a_chunk_starts_at_its_first_tick() -> None:
    core, clock = opened()
    captured_ns = clock.ns
    clock.sleep(900)  # the game stood still
    assert receive(core, answer(0, captured_ns, horizon=8), waits=True) == tick_state(0)


class ChunkStepper(EchoStepper):
    """Answers eight ticks: the identity it saw, then one more a tick."""

    name, action_horizon = "chunks", 8

    def step(self, frames: Any, slots: Any) -> Steps:
        """Eight ticks."""
        super().step(frames, slots)
        ticks = np.stack([self.action_space.encode(tick_state(tick)) for tick in range(8)])
        tokens = np.repeat(ticks[None], len(slots), axis=0)
        return Steps(tokens, np.full((len(slots), 8, 4), 0.5, np.float32))


@pytest.mark.parametrize("is_realtime", [True, False])
def test_a_chunk_crosses_the_wire(*, is_realtime: bool) -> None:
    with serving(ChunkStepper()) as running, running.session() as session:
        assert session.model.action_horizon == 8
        if is_realtime:
            import time

            session.send(paint(1), capture_ns=time.monotonic_ns() - 210 * MS)
            action = session.latest(5.0)
            assert action is not None
            assert action.state.motion[0] >= 4  # 210 ms at 20 Hz: four ticks are over
        else:
            action = session.act(paint(1))
            assert action.state == tick_state(0)
        assert action.states == tuple(tick_state(tick) for tick in range(8))


# ---------------------------------------------------------------------- the fail-safe contract


@pytest.mark.parametrize("on_late", ["hold", "neutral", "stop"])
def test_what_is_held_when_no_answer_comes(on_late: OnLate) -> None:
    core, clock = opened(SessionConfig(on_late=on_late, patience_s=0.2))
    receive(core, answer(0, clock.ns))
    assert core.due() == core.state == tick_state(0)
    clock.sleep(199)
    assert core.due() is None
    clock.sleep(2)
    assert not core.is_fresh
    if on_late == "stop":
        for _ in range(2):
            with pytest.raises(LateActionError, match="released"):
                _ = core.state
        receive(core, answer(1, clock.ns))
        with pytest.raises(LateActionError):
            core.due()
    else:
        expected = InputState(keys=frozenset({"KeyW"})) if on_late == "hold" else NEUTRAL
        assert core.due() == core.state == expected
        receive(core, answer(1, clock.ns))
        assert core.due() == tick_state(0)


@pytest.mark.parametrize("on_late", ["hold", "neutral", "stop"])
def test_while_the_connection_is_down_all_is_released(on_late: OnLate) -> None:
    core, clock = opened(SessionConfig(on_late=on_late, patience_s=60.0))
    receive(core, answer(0, clock.ns))
    core.lose()
    assert core.due() == core.state == NEUTRAL
    core.is_down = False
    assert core.state == NEUTRAL  # until an answer comes: what was held before the gap is history


def test_an_unknown_contract_is_refused() -> None:
    with pytest.raises(ConfigError, match="on_late"):
        SessionConfig(on_late="panic")  # type: ignore[arg-type]


# ---------------------------------------------------------------------- what is sent again


def resumed(core: SessionCore, last_seq: int, executed_seq: int = -1) -> list[str | bytes]:
    event = created(20.0, type="session.resumed", last_seq=last_seq, executed_seq=executed_seq)
    read = core.read(json.dumps(event))
    assert isinstance(read, dict)
    return core.after_resume(read)


@given(num_sent=st.integers(1, 9), num_arrived=st.integers(0, 9))
def test_only_the_newest_frame_is_sent_again_and_only_if_it_was_lost(num_sent: int, num_arrived: int) -> None:
    core, clock = opened()
    for identity in range(num_sent):
        core.frame(paint(identity), None)
    last_seq = min(num_sent, num_arrived) - 1
    again = resumed(core, last_seq)
    if last_seq == num_sent - 1:
        assert again == []
    else:
        (data,) = again
        assert isinstance(data, bytes)
        assert (decode_frame(data).seq, decode_frame(data).codec) == (num_sent - 1, Codec.RAW)
        message = core.read(answer(num_sent - 1, clock.ns))
        assert isinstance(message, ActionMessage)
        assert core.hold(message, 0).num_dropped == num_sent - 1 - (last_seq + 1)


def test_feedback_is_sent_again_if_it_still_counts() -> None:
    core, clock = opened()
    core.frame(paint(0), None)
    core.read(answer(0, clock.ns))
    said = core.execute(NEUTRAL, None)
    assert json.loads(said) == {"type": "action.executed", "seq": 0, "action": {}}
    assert resumed(core, 0) == [said]
    assert resumed(core, 0, executed_seq=0) == []
    core.frame(paint(1), None)
    assert resumed(core, 0)[0] == said  # before the frame that it must precede
    assert resumed(core, 1) == []


def test_a_reset_is_sent_again_until_it_is_confirmed_and_nothing_of_the_life_before() -> None:
    core, _clock = opened()
    core.frame(paint(0), None)
    said = core.reset(9)
    assert resumed(core, -1) == [said]
    core.read(json.dumps({"type": "session.updated", "session": {"seed": 9}}))
    assert core.seed == 9
    assert resumed(core, -1) == []


def test_answers_of_the_life_before_are_not_read() -> None:
    core, clock = opened()
    core.frame(paint(0), None)
    core.reset(9)
    assert core.read(answer(0, clock.ns)) is None
    core.frame(paint(1), None)
    assert isinstance(core.read(answer(1, clock.ns)), ActionMessage)


def test_problems_are_told_and_late_feedback_is_counted() -> None:
    core, _clock = opened()
    for kind, error in (("resume-refused", ResumeRefusedError), ("step-failed", ServeError)):
        with pytest.raises(error, match="because"):
            core.read(json.dumps(problem(kind)))
    assert core.read(json.dumps(problem("feedback-late"))) is None
    assert core.num_late_feedback == 1


def problem(kind: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": f"urn:gi:problem:{kind}", "title": "No", "detail": "because"}}


# ---------------------------------------------------------------------- clocks


@given(offset=st.integers(-(10**15), 10**15), up=st.integers(0, 10**9), down=st.integers(0, 10**9))
def test_an_offset_errs_by_half_a_round_trip_at_most(offset: int, up: int, down: int) -> None:
    sent, worked = 10**12, 12345
    received = sent + up + offset
    found = ClockOffset.of(sent, received, received + worked, sent + up + worked + down)
    assert found.round_trip_ns == up + down
    assert abs(found.offset_ns - offset) <= found.round_trip_ns / 2 + 1


def test_the_clock_of_a_server_on_this_machine_is_this_clock() -> None:
    with serving(EchoStepper()) as running, running.session() as session:
        session.send(paint(5))
        offset = session.sync_clock()
        assert abs(offset.offset_ns) <= offset.round_trip_ns
        action = session.latest(5.0)  # what came meanwhile is not lost
        assert action is not None
        assert action.seq == 0

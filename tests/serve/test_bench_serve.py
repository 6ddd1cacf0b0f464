"""Laws of `gi bench serve`, its generator, and its stand-in of a model; small runs of both commands."""

import os
import time
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st

from gi_model.errors import ConfigError
from gi_model.stepper import Sampling
from gi_serve.bench_serve import ECHO, OURS, Bar, Row, Scenario, ServeBench, Trial, find_most, run
from gi_serve.bench_serve_echo import answer as echo_answer
from gi_serve.bench_serve_load import JPEG_QUALITY, LoadJob, Player, natural, sum_up
from gi_serve.bench_serve_process import Cores, cpu_s, num_files, resident_mb
from gi_serve.bench_serve_stepper import NUM_PLAYERS, Answer, BenchStepper, paint, read_answer, see, to_state
from gi_serve.controls import pack_state
from gi_serve.protocol import Codec, FrameMessage, decode_action, encode_frame

PLAYERS = st.integers(0, NUM_PLAYERS - 1)


# ---------------------------------------------------------------------- who is seen


@given(PLAYERS, st.booleans(), st.booleans())
def test_an_answer_says_whom_the_model_saw(player: int, is_own: bool, is_first: bool) -> None:
    answer = Answer(player, is_own, is_first)
    assert read_answer(bytes(36) + pack_state(to_state(answer))) == answer


@settings(deadline=None, max_examples=30)
@given(st.lists(PLAYERS, min_size=1, max_size=3), st.sampled_from([(60, 80), (224, 224), (24, 48)]))
def test_a_painted_number_is_seen_through_jpeg(players: list[int], size: tuple[int, int]) -> None:
    frames = [paint(natural(*size), player) for player in players]
    coded = [simplejpeg.encode_jpeg(frame, quality=JPEG_QUALITY, colorsubsampling="420") for frame in frames]
    assert see(np.stack(frames)).tolist() == players
    assert see(np.stack([simplejpeg.decode_jpeg(data) for data in coded])).tolist() == players


def test_a_slot_tells_whose_memory_it_holds() -> None:
    stepper = BenchStepper(24, 48, num_slots=2)

    def step(player: int, slot: int) -> Answer:
        steps = stepper.step(paint(np.zeros((24, 48, 3), np.uint8), player)[None], [slot])
        return read_answer(bytes(36) + pack_state(stepper.action_space.decode(steps.tokens[0])))

    stepper.open(0, Sampling())
    assert step(7, 0) == (7, True, True)
    assert step(7, 0) == (7, True, False)
    assert step(8, 0) == (8, False, False)  # a mix-up is seen
    stepper.copy(0, 1)
    assert step(7, 1) == (7, True, False)
    stepper.open(0, Sampling())
    assert step(8, 0) == (8, True, True)


def test_the_echo_answers_as_the_protocol_says() -> None:
    frame = paint(natural(24, 48), 77)
    for codec, data, size in (
        (Codec.RAW, frame.tobytes(), (48, 24)),
        (Codec.JPEG, simplejpeg.encode_jpeg(frame), (0, 0)),
    ):
        message = echo_answer(encode_frame(FrameMessage(5, 6, codec, data, *size)), 0.0)
        action = decode_action(message)
        assert (action.seq, action.capture_ns) == (5, 6)
        assert read_answer(message) == (77, True, False)


# ---------------------------------------------------------------------- what the generator counts


class FakeConnection:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def send(self, message: bytes) -> None:
        self.sent.append(message)


class FakeLoop:
    def create_future(self) -> Any:
        return None


def make_player(number: int = 3, **changes: Any) -> Player:
    defaults: dict[str, Any] = {"speech": "gi", "port": 1, "server_pid": 0, "num_sessions": 1, "codec": "raw"}
    job = LoadJob(**(defaults | changes | SIZE))
    player = Player(number, job, FakeLoop())  # type: ignore[arg-type]
    player.connection = FakeConnection()  # type: ignore[assignment]
    return player


SIZE: dict[str, Any] = {"height": 24, "width": 48, "rate": 10.0, "seconds": 1.0}


def reply(seq: int, player: int = 3, dropped: int = 0) -> bytes:
    data = bytearray(echo_answer(encode_frame(raw_of(seq, player)), 0.0))
    data[28:32] = dropped.to_bytes(4, "little")
    return bytes(data)


def raw_of(seq: int, player: int) -> FrameMessage:
    return FrameMessage(seq, 0, Codec.RAW, paint(np.zeros((24, 48, 3), np.uint8), player).tobytes(), 48, 24)


def test_latency_counts_from_when_a_frame_was_due(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    player = make_player()
    for due in (100.0, 100.1, 100.2, 100.3):
        now[0] = due + 0.02  # the generator is late itself
        player.send(due)
    for seq, at in ((0, 100.05), (2, 100.35)):
        now[0] = at
        player.heard(reply(seq, dropped=seq // 2))
    seen = sum_up([player], (100.0, 101.0), server_cpu_s=1.0, generator_cpu_s=0.5)
    assert seen.latencies_ms == [50.0, 150.0]
    assert (seen.due, seen.answered, seen.on_time, seen.reported_drops) == (4, 2, 1, 1)
    assert (seen.wrong, seen.unaccounted, seen.errors) == (0, 0, 0)
    assert seen.lateness_ms == pytest.approx(20.0)
    assert sum_up([player], (100.05, 100.15), server_cpu_s=0, generator_cpu_s=0).due == 1


@pytest.mark.parametrize(
    ("answers", "wrong", "unaccounted"),
    [
        ([reply(0), reply(1)], 0, 0),
        ([reply(0), reply(1, player=4)], 1, 0),
        ([reply(1), reply(1)], 1, 1),
        ([reply(9)], 1, 0),
        ([reply(2)], 0, 2),
        ([reply(2, dropped=2)], 0, 0),
        ([reply(1), reply(0)], 1, 1),
    ],
)
def test_wrong_and_missing_answers_are_counted(answers: list[bytes], wrong: int, unaccounted: int) -> None:
    player = make_player()
    for _ in range(3):
        player.send(0.0)
    for message in answers:
        player.heard(message)
    seen = sum_up([player], (0.0, 1.0), server_cpu_s=0, generator_cpu_s=0)
    assert (seen.wrong, seen.unaccounted) == (wrong, unaccounted)


def test_a_server_without_sessions_gets_one_frame_at_a_time() -> None:
    for speech, expected in (("gi", 3), ("websocket", 1)):
        player = make_player(speech=speech)
        for _ in range(3):
            player.send(0.0)
        connection: Any = player.connection
        assert len(connection.sent) == expected
        assert len(player.due) == 3


@given(st.integers(0, 300), st.integers(1, 256))
def test_the_most_players_are_found_within_an_eighth(true: int, limit: int) -> None:
    found = find_most(lambda num: num <= true, limit)
    assert found <= min(true, limit)
    assert min(true, limit) - found <= max(1, found // 8)


def test_a_bar_is_met_on_its_own_side() -> None:
    assert Bar("", 2.0, 2.0, True).is_met
    assert Bar("", 2.0, 2.0, False).is_met
    assert not Bar("", 2.1, 2.0, True).is_met
    assert not Bar("", 1.9, 2.0, False).is_met


def test_a_trial_sums_up_a_load() -> None:
    facts: dict[str, Any] = {
        "due": 4,
        "answered": 2,
        "on_time": 1,
        "wrong": 0,
        "reported_drops": 2,
        "unaccounted": 0,
        "errors": 0,
    }
    facts |= {"seconds": 2.0, "server_cpu_s": 0.5, "generator_cpu_s": 1.0, "lateness_ms": 1.0}
    trial = Trial.of(facts | {"latencies_ms": [1.0, 3.0]})
    assert (trial.actions_per_s, trial.on_time, trial.p50_ms, trial.cpu_us) == (1.0, 0.25, 2.0, 250_000.0)
    assert Trial.of(facts | {"answered": 0, "latencies_ms": []}).p50_ms == float("inf")
    assert Row("", "", (trial,)).median("generator_load") == 0.5


@pytest.mark.parametrize("bad", [{"seconds": 0}, {"repetitions": 0}])
def test_nothing_to_measure_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="nothing to measure"):
        ServeBench(**bad)


# ---------------------------------------------------------------------- processes, small runs


def test_a_process_is_read_from_outside() -> None:
    before, own = cpu_s(os.getpid()), time.process_time()
    while time.process_time() - own < 0.05:
        pass
    assert cpu_s(os.getpid()) - before == pytest.approx(time.process_time() - own, abs=0.02)
    assert resident_mb(os.getpid()) > 1
    assert num_files(os.getpid()) > 2
    assert cpu_s(2**22 + 1) == 0.0  # nobody has this number
    cores = Cores.split()
    assert cores.are_shared == (len(os.sched_getaffinity(0)) == 1)


@pytest.mark.slow  # starts servers and generators
def test_a_small_run_measures_everyone_and_mixes_up_nobody() -> None:
    scenarios = (Scenario("jpeg", 2, "jpeg", 64, 64, has_peers=False), Scenario("paced", 4, rate=20.0, base_s=0.002))
    steps: list[int] = []
    config = ServeBench(seconds=0.5, repetitions=1, preset="")
    report = run(config, lambda: steps.append(1), scenarios=scenarios)
    found = [(row.scenario, row.contestant) for row in report.rows]
    assert found == [("jpeg", OURS), ("paced", OURS), ("paced", ECHO)]
    for row in report.rows:
        trial = row.trials[0]
        assert trial.actions_per_s > 0 < trial.cpu_us, asdict(trial)
        assert (trial.wrong, trial.unaccounted, trial.errors) == (0, 0, 0)
    assert len(steps) == 4

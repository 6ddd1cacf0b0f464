"""The clients of other languages against a real server on a socket: round trips, losses, refusals, slow servers.

Each situation is played once, by all clients at the same time; then each client's play is looked at alone.
"""

import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Response
from websockets.sync.server import ServerConnection, serve
from websockets.typing import Subprotocol

from gi_model.actions import GAMEPAD_BUTTONS, KEYS, MOUSE_BUTTONS, Gamepad, InputState
from gi_model.frames import resize
from gi_serve.protocol import ActionMessage, encode_action
from gi_serve.service import ServiceConfig
from tests.serve.cable import Cable
from tests.serve.clients.programs import NAMES, MissingToolError, Play, Program, build
from tests.serve.fake_steppers import EchoStepper
from tests.serve.pictures import HEIGHT, WIDTH
from tests.serve.serving import serving, serving_elsewhere

pytestmark = pytest.mark.slow  # two compilers, four programs, and silences that last
EVERYBODY = ServiceConfig(admits_late=True)  # on a busy machine, too
UNREACHABLE = "http://127.0.0.1:9"
OTHER_VERSION = "another version"
FOR_EVER = 5000
Programs = dict[str, Program | MissingToolError]
Plays = dict[str, Play]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    found: Programs = {}
    for name in NAMES:
        try:
            found[name] = build(name, tmp_path_factory.mktemp(name))
        except MissingToolError as missing:
            found[name] = missing
    return found


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest, programs: Programs) -> str:
    if isinstance(missing := programs[request.param], MissingToolError):
        pytest.skip(f"not installed: {missing}")
    return str(request.param)


def start(programs: Programs, url: str, **settings: Any) -> Plays:
    """Let every client that can play here play."""
    found = {name: each for name, each in programs.items() if isinstance(each, Program)}
    return {name: each.play(url, **({"num_frames": 40} | settings)) for name, each in found.items()}


def finish(plays: Plays) -> Plays:
    return {name: play.finish() for name, play in plays.items()}


def seen(play: Play) -> list[int]:
    """The number of the frame behind each answer, as the model saw it."""
    return [answer.motion[0] + 16 + 33 * (answer.motion[1] + 16) for answer in play.answers]


def is_one_stream(play: Play) -> bool:
    """Every answer is of its own frame, in order, of one session that kept its memory."""
    sequence, ages = [answer.seq for answer in play.answers], [answer.age for answer in play.answers]
    return sequence == seen(play) == sorted(set(sequence)) and ages == sorted(ages) and ages[0] == 0


# ---------------------------------------------------------------------- a server that is well


@pytest.fixture(scope="module")
def round_trips(programs: Programs) -> Plays:
    with serving(EchoStepper(), config=EVERYBODY) as running:
        plays = finish(start(programs, running.url))
        assert running.service.num_sessions == 0  # their places were free at once
    return plays


def test_every_frame_comes_back_as_its_own_action(round_trips: Plays, name: str) -> None:
    play = round_trips[name]
    assert play.process.returncode == 0, play.lines
    assert is_one_stream(play)
    assert [answer.age for answer in play.answers] == [min(number, 9) for number in range(len(play.answers))]
    assert len(play.answers) == play.counts.answered > 10
    assert play.counts.answered + play.counts.dropped == play.answers[-1].seq + 1
    assert play.of("status") == ["status open: echo plays", "status closed: the play is over"]
    assert {line.split()[1] for line in play.of("hold")} - {"0"} == {"KeyW"}
    assert play.of("hold")[-1] == "hold 0 0"


class CorrectedStepper(EchoStepper):
    """Notes what players say was held."""

    def __init__(self) -> None:
        super().__init__()
        self.corrections: list[frozenset[str]] = []

    def correct(self, slot: int, tokens: NDArray[np.int64]) -> None:
        """Note the keys."""
        self.corrections.append(self.action_space.decode(tokens).keys)


@pytest.fixture(scope="module")
def anew(programs: Programs) -> Plays:
    stepper = CorrectedStepper()
    with serving(stepper, config=EVERYBODY) as running:
        plays = finish(start(programs, running.url, reset_at=20))
    assert set(stepper.corrections) == {frozenset({"KeyE"})}
    assert len(stepper.corrections) >= len(plays)
    return plays


def test_a_reset_starts_anew_and_what_was_sent_before_is_not_answered_after(anew: Plays, name: str) -> None:
    play = anew[name]
    before = [answer for answer in play.answers if answer.seq < 20]
    after = [answer for answer in play.answers if answer.seq >= 20]
    assert [answer.age for answer in after] == [min(number, 9) for number in range(len(after))]
    assert play.answers == before + after
    assert [answer.seq for answer in play.answers] == seen(play)
    assert play.counts.answered == len(play.answers)
    assert not [line for line in play.of("status") if line.startswith("status error")]


@pytest.mark.parametrize("name", sorted({*NAMES} - {"godot3"}), indirect=True)  # which lets the server resize
@pytest.mark.parametrize("sizes", [(64, 48, 32, 24), (53, 37, 24, 16), (7, 5, 9, 11)])
def test_the_resize_is_the_one_resize(programs: Programs, name: str, sizes: tuple[int, int, int, int]) -> None:
    program = programs[name]
    assert isinstance(program, Program)
    width, height, to_width, to_height = sizes
    frame = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    command = (*program.command, "resize", *map(str, sizes))
    ran = subprocess.run(command, input=frame.tobytes(), capture_output=True, check=True)
    assert ran.stdout == resize(frame, to_height, to_width).tobytes()


# ---------------------------------------------------------------------- a server that is slow


@pytest.fixture(scope="module")
def slow(programs: Programs) -> dict[str, Plays]:
    """A step takes 0.4 s; who is impatient holds what its contract says meanwhile."""
    with serving(EchoStepper(num_slots=32, seconds=0.4), config=EVERYBODY) as running:
        patient = start(programs, running.url, num_frames=90)
        late = {
            how: start(programs, running.url, num_frames=90, on_late=how, patience_s=0.15)
            for how in ("neutral", "hold", "stop")
        }
        return {"patient": finish(patient)} | {how: finish(plays) for how, plays in late.items()}


def test_frames_of_a_slow_server_are_dropped_and_counted_never_queued(slow: dict[str, Plays], name: str) -> None:
    play = slow["patient"][name]
    assert is_one_stream(play)
    assert play.counts.dropped > play.counts.answered >= 2
    assert play.counts.answered + play.counts.dropped == play.answers[-1].seq + 1
    assert play.counts.late > 0


def test_keys_are_up_while_a_slow_server_is_silent(slow: dict[str, Plays], name: str) -> None:
    held = [line != "hold 0 0" for line in slow["neutral"][name].of("hold")]
    assert held[:4] == [False, True, False, True]


def test_on_late_hold_keeps_the_keys_without_the_motion(slow: dict[str, Plays], name: str) -> None:
    lines = slow["hold"][name].of("hold")
    assert lines[0] == "hold 0 0"
    assert lines[1].startswith("hold KeyW ")
    assert lines[1] != lines[2] == "hold KeyW 0 0"


def test_on_late_stop_ends_the_play(slow: dict[str, Plays], name: str) -> None:
    play = slow["stop"][name]
    assert any(line.startswith("status stopped: no action came for too long") for line in play.lines)
    assert play.of("hold")[-1] == "hold 0 0"
    assert play.counts.answered <= 1


# ---------------------------------------------------------------------- a server, or a cable, that goes


@pytest.fixture(scope="module")
def killed(programs: Programs) -> Plays:
    with serving_elsewhere() as (server, url):
        plays = start(programs, url, num_frames=FOR_EVER, resume_s=0.4)
        for play in plays.values():
            play.wait_for("hold KeyW")
        server.kill()
        return finish(plays)


def test_a_killed_server_means_keys_up_and_words_then_the_end(killed: Plays, name: str) -> None:
    play = killed[name]
    words = play.of("status")
    assert "every key is up; trying again" in words[1]
    assert "cannot reach the server" in words[2]
    assert "start a new one" in words[2]
    assert play.of("hold")[-1] == "hold 0 0"
    assert play.counts.lost == 1


@pytest.fixture(scope="module")
def cut(programs: Programs) -> Plays:
    with serving(EchoStepper(), config=EVERYBODY) as running, Cable(running.port) as cable:
        plays = start(programs, cable.url, num_frames=150)
        for play in plays.values():
            play.wait_for("hold KeyW")
        cable.unplug()
        for play in plays.values():
            play.wait_for("hold 0 0")
        cable.plug()
        finish(plays)
        assert running.service.num_sessions == 0
    return plays


def test_a_cut_connection_is_resumed_and_the_stream_goes_on(cut: Plays, name: str) -> None:
    play = cut[name]
    kinds = [line.split(":")[0] for line in play.of("status")]
    assert kinds == ["status open", "status down", "status resumed", "status closed"]
    assert (play.counts.lost, play.counts.resumed) == (1, 1)
    assert is_one_stream(play), play.lines
    back = play.lines.index(play.of("status")[2])
    assert any(line.startswith("hold KeyW") for line in play.lines[back:])


@pytest.fixture(scope="module")
def drained(programs: Programs) -> Plays:
    with serving(EchoStepper(), config=EVERYBODY) as running:
        plays = start(programs, running.url, num_frames=FOR_EVER, resume_s=1.0)
        for play in plays.values():
            play.wait_for("hold KeyW")
        running.stop()
        return finish(plays)


def test_a_server_that_says_goodbye_is_heard(drained: Plays, name: str) -> None:
    play = drained[name]
    last = play.of("status")[-1]
    # A frame that crosses the goodbye makes TCP throw the goodbye away: then it is a server that is gone.
    assert last.startswith(
        ("status lost: the server ended the session (going_away)", "status lost: cannot reach the server")
    )
    assert play.of("hold")[-1] == "hold 0 0"
    assert play.counts.resumed == 0


# ---------------------------------------------------------------------- a server that does not open


def test_a_server_that_is_down_is_said_in_words(programs: Programs, name: str) -> None:
    play = finish(start({name: programs[name]}, UNREACHABLE))[name]
    assert any("cannot reach the server" in line for line in play.lines), play.lines


@pytest.fixture(scope="module")
def full(programs: Programs) -> Plays:
    with serving(EchoStepper(num_slots=1)) as running, running.session(seed=1):
        return finish(start(programs, running.url))


def test_a_full_server_is_said_in_words(full: Plays, name: str) -> None:
    assert any("the server answered: " in line for line in full[name].lines), full[name].lines
    assert set(full[name].of("hold")) <= {"hold 0 0"}


def nonsense(connection: ServerConnection) -> None:
    """Messages that no server of ours sends: cut, too long, of impossible states, no JSON, JSON of another shape."""
    random = np.random.default_rng(0)
    action = bytearray(36 + 48)
    action[:2], action[34] = b"\x02\x01", 1
    texts = [
        '{"type": "error"}',
        '{"type"',
        "[]",
        "7",
        '{"type": "\\\\',
        '{"a": {"b": ["type": }',
        '{"type": "session.closed"}',
    ]
    for number in range(60):
        body = random.integers(0, 256, len(action) - 36, dtype=np.uint8).tobytes()
        connection.send(bytes(action[:36]) + body)
        connection.send(texts[number % len(texts)])
        connection.send(bytes(action)[: number % 36 + 40])


@contextmanager
def another_server(speak: Callable[[ServerConnection], None], *, status: HTTPStatus | None = None) -> Iterator[str]:
    """A server that opens a session as ours does, then speaks; `status`: one that refuses the handshake so."""

    def refuse(_connection: ServerConnection, _request: object) -> Response | None:
        body = b'{"type": "urn:gi:problem:message-invalid", "title": "no such subprotocol", "status": 422}'
        headers = Headers({"Content-Length": str(len(body)), "Connection": "close"})
        return None if status is None else Response(status.value, status.phrase, headers, body)

    def answer(connection: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            connection.recv()
            model = (
                f'{{"name": "m", "fps": 20, "observation_space": {{"shape": [{HEIGHT}, {WIDTH}, 3]}}, "factors": []}}'
            )
            session = '"session": {"id": "i", "seed": 1}'
            connection.send(f'{{"type": "session.created", {session}, "model": {model}, "resume": null}}')
            connection.recv()
            speak(connection)
            connection.recv()

    spoken = [Subprotocol("gi.v1.bin")]
    with serve(answer, "127.0.0.1", 0, subprotocols=spoken, process_request=refuse, compression=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()
        thread.join()


STATES = (
    *(InputState(frozenset(KEYS[first : first + 8])) for first in range(0, len(KEYS), 8)),
    *(InputState(buttons=frozenset({name})) for name in MOUSE_BUTTONS),
    InputState(motion=(-32768, 32767), wheel=(-3, 4)),
    *(InputState(gamepad=Gamepad(frozenset({name}))) for name in GAMEPAD_BUTTONS),
    InputState(gamepad=Gamepad(frozenset(), (0.5, -1.0), (-0.25, 1.0), (0.75, 1.0))),
    InputState(frozenset({"KeyW"}), commands=(0.5, -1.25)),
)


def every_control(connection: ServerConnection) -> None:
    """Answer frame after frame with the next of STATES."""
    for seq, state in enumerate(STATES):
        tokens, confidence = np.zeros((1, 3), np.int64), np.zeros((1, 2), np.float32)
        connection.send(encode_action(ActionMessage(seq, 0, 0, 0, False, (state,), tokens, confidence)))
        connection.recv()


@pytest.fixture(scope="module")
def controlled(programs: Programs) -> Plays:
    with another_server(every_control) as url:
        return finish(start(programs, url, num_frames=len(STATES) + 20))


def test_every_control_has_its_own_name_in_every_client(controlled: Plays, name: str) -> None:
    answers = controlled[name].answers
    assert len(answers) == len(STATES)
    for state, answer in zip(STATES, answers, strict=True):
        pad = state.gamepad or Gamepad()
        wheel_y, buttons, pad_buttons, *axes = (float(word) for word in answer.others[:9])
        assert (answer.motion, (answer.age, wheel_y)) == (state.motion, state.wheel)
        assert {each for bit, each in enumerate(MOUSE_BUTTONS) if int(buttons) >> bit & 1} == state.buttons
        assert {each for bit, each in enumerate(GAMEPAD_BUTTONS) if int(pad_buttons) >> bit & 1} == pad.buttons
        assert tuple(axes) == (*pad.left_stick, *pad.right_stick, *pad.triggers)
        assert {word for word in answer.others[9:] if word[0] != "="} == state.keys
        assert tuple(float(word[1:]) for word in answer.others[9:] if word[0] == "=") == state.commands


def version_two(connection: ServerConnection) -> None:
    connection.send(bytes([2, 2]) + bytes(200))


@pytest.fixture(
    scope="module", params=[HTTPStatus.UNPROCESSABLE_ENTITY, None], ids=["at the handshake", "in a message"]
)
def mistaken(request: pytest.FixtureRequest, programs: Programs) -> Plays:
    with another_server(version_two, status=request.param) as url:
        return finish(start(programs, url, num_frames=100))


def test_a_server_of_another_version_is_said_in_words_and_nothing_is_pressed(mistaken: Plays, name: str) -> None:
    said = "".join(mistaken[name].lines)
    assert OTHER_VERSION in said or "speak this version" in said, said
    assert set(mistaken[name].of("hold")) <= {"hold 0 0"}


@pytest.fixture(scope="module")
def confused(programs: Programs) -> Plays:
    with another_server(nonsense) as url:
        return finish(start(programs, url, num_frames=60))


def test_a_server_that_sends_nonsense_crashes_nobody_and_all_is_up_in_the_end(confused: Plays, name: str) -> None:
    play = confused[name]
    assert play.process.returncode == 0, play.lines
    assert play.of("hold")[-1] == "hold 0 0"
    assert play.of("counts")

"""The socket of open-p2p's capture tool: frames in, actions out, over a socket file and TCP; hostile bytes."""

import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gi_data.ingest.open_p2p_messages import INFERENCE_MESSAGES
from gi_data.ingest.open_p2p_names import control, spell
from gi_model.actions import KEYS, MOUSE_BUTTONS, InputState
from gi_model.errors import ConfigError, ServeError
from gi_serve.cli_serve import bind_recap_sockets
from gi_serve.protocol import Codec
from gi_serve.recap import MAX_MESSAGE_BYTES, bind_recap, decode_recap_frame, encode_recap_action
from gi_serve.service import ServiceConfig
from tests.serve.fake_steppers import EchoStepper
from tests.serve.pictures import HEIGHT, WIDTH, paint
from tests.serve.serving import Running, serving, wait_until


@contextmanager
def serving_capture(
    folder: Path, *, seconds: float = 0.0, idle_timeout_s: float = 60.0
) -> Iterator[tuple[Running, Path]]:
    """A server and its socket file."""
    path = folder / "recap.sock"
    config = ServiceConfig(recap=(bind_recap(path),), idle_timeout_s=idle_timeout_s, admits_late=True)
    with serving(EchoStepper(seconds=seconds), config=config) as running:
        yield running, path


@contextmanager
def capturing(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(str(path))
        yield client


def frame_bytes(identity: int, frame_id: int) -> bytes:
    frame = INFERENCE_MESSAGES["Frame"](width=WIDTH, height=HEIGHT, data=paint(identity).tobytes(), id=frame_id)
    data: bytes = frame.SerializeToString()
    return struct.pack("<I", len(data)) + data


def read_action(client: socket.socket) -> Any:
    data = read(client, struct.unpack("<I", read(client, 4))[0])
    action: Any = INFERENCE_MESSAGES["Action"]()
    action.ParseFromString(data)
    return action


def read(client: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = client.recv(size - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def identity(action: Any) -> int:
    delta = action.mouse_action.mouse_delta_px
    return int(delta.x + 16 + 33 * (delta.y + 16))


def test_each_frame_is_answered_by_the_action_of_its_id(tmp_path: Path) -> None:
    with serving_capture(tmp_path) as (running, path), capturing(path) as client:
        for number in (5, 600, 77):
            client.sendall(frame_bytes(number, frame_id=1000 + number))
            action = read_action(client)
            assert action.id == 1000 + number
            assert identity(action) == number
            assert list(action.keys) == ["w"]
        assert running.service.num_sessions == 1


def test_the_newest_frame_wins_and_older_ones_vanish_without_a_word(tmp_path: Path) -> None:
    with serving_capture(tmp_path, seconds=0.2) as (running, path), capturing(path) as client:
        for number in range(30):
            client.sendall(frame_bytes(number, frame_id=number))
        wait_until(lambda: [each.num_frames for each in running.engine.sessions.values()] == [30])
        answered = [read_action(client).id]
        while answered[-1] != 29:
            answered.append(read_action(client).id)
        assert len(answered) <= 5
        assert answered == sorted(answered)


def test_each_connection_is_a_session_of_its_own(tmp_path: Path) -> None:
    with serving_capture(tmp_path) as (running, path), capturing(path) as one, capturing(path) as other:
        one.sendall(frame_bytes(1, 1))
        assert read_action(one).mouse_action.scroll_delta_px.x == 0
        one.sendall(frame_bytes(1, 2))
        other.sendall(frame_bytes(2, 3))
        assert read_action(one).mouse_action.scroll_delta_px.x == 1  # its stream's second frame
        assert read_action(other).mouse_action.scroll_delta_px.x == 0
        assert running.service.num_sessions == 2


def test_a_client_that_leaves_frees_its_slot(tmp_path: Path) -> None:
    with serving_capture(tmp_path) as (running, path):
        with capturing(path) as client:
            client.sendall(frame_bytes(1, 1)[:-5])
            wait_until(lambda: running.service.num_sessions == 1)
        wait_until(lambda: running.service.num_sessions == 0)


def test_a_full_server_closes_the_connection(tmp_path: Path) -> None:
    with serving_capture(tmp_path) as (running, path):
        held = [running.session(seed=number) for number in range(8)]
        with capturing(path) as client, pytest.raises(EOFError):
            read_action(client)
        for session in held:
            session.close()


def test_a_silent_client_loses_its_slot_and_its_connection(tmp_path: Path) -> None:
    with serving_capture(tmp_path, idle_timeout_s=0.1) as (running, path), capturing(path) as client:
        with pytest.raises(EOFError):
            read_action(client)
        assert running.service.num_sessions == 0


def message_of(**fields: Any) -> bytes:
    data: bytes = INFERENCE_MESSAGES["Frame"](**fields).SerializeToString()
    return data


BAD = (
    b"\xff\xff\xff",
    message_of(),
    message_of(width=WIDTH, height=HEIGHT, data=b"short", id=1),
    message_of(width=-1, height=HEIGHT, data=b"", id=1),
    message_of(width=2**31 - 1, height=2**31 - 1, data=b"", id=1),
    message_of(width=0, height=0, data=b"", id=1),
)


@pytest.mark.parametrize("bad", BAD)
def test_a_message_that_is_no_frame_ends_its_connection_and_no_other(tmp_path: Path, bad: bytes) -> None:
    with serving_capture(tmp_path) as (running, path), capturing(path) as good, capturing(path) as client:
        client.sendall(struct.pack("<I", len(bad)) + bad)
        with pytest.raises(EOFError):
            read_action(client)
        good.sendall(frame_bytes(4, 4))
        assert identity(read_action(good)) == 4
        wait_until(lambda: running.service.num_sessions == 1)


def test_a_length_beyond_every_frame_is_not_waited_for(tmp_path: Path) -> None:
    with serving_capture(tmp_path) as (_running, path), capturing(path) as client:
        client.sendall(struct.pack("<I", MAX_MESSAGE_BYTES + 1))
        with pytest.raises(EOFError):
            read_action(client)


def test_a_frame_too_small_for_a_picture_is_not_answered_but_the_next_is(tmp_path: Path) -> None:
    with serving_capture(tmp_path) as (_running, path), capturing(path) as client:
        tiny = message_of(width=2, height=2, data=bytes(12), id=1)
        client.sendall(struct.pack("<I", len(tiny)) + tiny + frame_bytes(8, 2))
        assert read_action(client).id == 2


@given(st.binary(max_size=100))
def test_bytes_are_a_frame_or_are_refused(data: bytes) -> None:
    try:
        _frame_id, message = decode_recap_frame(data, 0)
    except ServeError:
        return
    assert message.codec == Codec.RAW


def test_an_action_carries_keys_buttons_motion_and_wheel() -> None:
    state = InputState(frozenset({"KeyW", "ShiftLeft"}), frozenset({"MouseLeft"}), (-3, 4), (0, -1))
    data = encode_recap_action(state, 7)
    action: Any = INFERENCE_MESSAGES["Action"]()
    action.ParseFromString(data[4:])
    assert struct.unpack("<I", data[:4])[0] == len(data) - 4
    assert (list(action.keys), action.id, list(action.mouse_action.buttons_down)) == (["shift_left", "w"], 7, ["left"])
    assert (action.mouse_action.mouse_delta_px.x, action.mouse_action.mouse_delta_px.y) == (-3, 4)
    assert action.mouse_action.scroll_delta_px.y == -1


def test_every_name_we_tell_is_one_we_read() -> None:
    assert [control("key", spell(key)) for key in KEYS] == list(KEYS)
    assert [control("mouse button", spell(button)) for button in MOUSE_BUTTONS] == list(MOUSE_BUTTONS)


def test_the_socket_file_is_its_owners_and_goes_with_the_server(tmp_path: Path) -> None:
    with serving_capture(tmp_path) as (_running, path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()


def test_a_socket_file_left_by_a_killed_server_is_replaced_and_one_in_use_is_not(tmp_path: Path) -> None:
    path = tmp_path / "recap.sock"
    bind_recap(path).close()
    with bind_recap(path), pytest.raises(ConfigError, match="cannot listen"):
        bind_recap(path)


def test_no_other_file_is_ever_replaced(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("dear")
    with pytest.raises(ConfigError, match="cannot listen"):
        bind_recap(path)
    assert path.read_text() == "dear"
    with pytest.raises(ConfigError, match="cannot listen"):
        bind_recap(tmp_path / "none" / "recap.sock")


def test_beside_keys_it_is_refused_for_it_knows_none(tmp_path: Path) -> None:
    assert bind_recap_sockets(None, None, has_keys=True) == ()
    with pytest.raises(ConfigError, match="knows no keys"):
        bind_recap_sockets(tmp_path / "recap.sock", None, has_keys=True)


def test_by_tcp_it_is_for_this_machine_only() -> None:
    (bound,) = bind_recap_sockets(None, 0, has_keys=False)
    with bound:
        assert bound.getsockname()[0] == "127.0.0.1"
        config = ServiceConfig(recap=(bound,))
        with serving(EchoStepper(), config=config), socket.create_connection(bound.getsockname(), timeout=5) as client:
            client.sendall(frame_bytes(9, 9))
            assert identity(read_action(client)) == 9

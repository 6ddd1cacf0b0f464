"""The socket that open-p2p's capture tool speaks, Unix or TCP: `[u32 length][protobuf]`, Frame in, Action out.

A connection is a session. The newest frame wins and older ones vanish without a word, as that tool expects; an action
repeats its frame's id, holds the first tick, and has no gamepad, for which the message has no field. The protocol knows
no keys, so it is for this machine only: a socket file of its owner, or a port of loopback.
"""

import asyncio
import contextlib
import logging
import socket
import stat
import struct
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from google.protobuf.message import DecodeError

from gi_data.ingest.open_p2p_messages import INFERENCE_MESSAGES
from gi_data.ingest.open_p2p_names import spell
from gi_model.actions import InputState
from gi_model.errors import ConfigError, GiError
from gi_serve.command_plan import CommandPlan
from gi_serve.problems import Problem, as_problem
from gi_serve.protocol import MAX_IMAGE_BYTES, ActionMessage, Codec, FrameMessage, ProtocolError, check_frame_message
from gi_serve.schemas import NewSession
from gi_serve.service import Service
from gi_serve.sessions import Session

MAX_MESSAGE_BYTES: Final = MAX_IMAGE_BYTES + 64
MAX_UNREAD_BYTES: Final = 64 * 1024  # of actions: a client that does not read loses them, not our memory
_LENGTH: Final = struct.Struct("<I")
logger = logging.getLogger("gi_serve")


def bind_recap(path: Path) -> socket.socket:
    """A listening socket file that only its owner may open. Raises ConfigError if something else is there."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.stat().st_mode) or _is_served(path):
            raise ConfigError("cannot listen", got=str(path), expected="a path that is free", do="Choose another one.")
        path.unlink()  # left by a server that was killed
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bound.bind(str(path))
        path.chmod(0o600)
        bound.listen()
    except OSError as error:
        bound.close()
        raise ConfigError(
            "cannot listen", got=f"{path} ({error})", do="Choose another path, in a folder that is."
        ) from None
    return bound


def _is_served(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(str(path)) == 0


@contextlib.asynccontextmanager
async def serving_recap(service: Service, bound: Sequence[socket.socket]) -> AsyncIterator[None]:
    """Serve on each of `bound` meanwhile."""
    playing: set[asyncio.Task[None]] = set()

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        playing.add(task)
        try:
            await _play(service, reader, writer)
        finally:
            playing.discard(task)

    paths = [Path(each.getsockname()) for each in bound if each.family == socket.AF_UNIX]
    servers = [await asyncio.start_server(play, sock=each) for each in bound]
    try:
        yield
    finally:
        for server in servers:
            server.close()
        for task in playing:
            task.cancel()
        await asyncio.gather(*playing, return_exceptions=True)
        for path in paths:
            path.unlink(missing_ok=True)


@dataclass(slots=True, eq=False)
class _Sink:
    """Writes answers to one connection. ids: of the frames that wait for theirs, by seq."""

    writer: asyncio.StreamWriter
    ids: dict[int, int] = field(default_factory=dict)

    def answered(self, _session: Session, message: ActionMessage) -> None:
        frame_id = self.ids.pop(message.seq, 0)
        if self.writer.transport.get_write_buffer_size() < MAX_UNREAD_BYTES:
            self.writer.write(encode_recap_action(message.states[0], frame_id))

    def dropped(self, _session: Session, seq: int) -> None:
        self.ids.pop(seq, None)

    def failed(self, session: Session, seq: int, problem: Problem) -> None:
        logger.warning("recap: a frame was refused: %s", problem)
        self.dropped(session, seq)

    def needs_keyframe(self, session: Session) -> None:
        """Raw frames only."""

    def planned(self, session: Session, plan: CommandPlan, answer: ActionMessage | None) -> None:
        """No field for it."""

    def is_unsent(self, _session: Session) -> bool:
        return False

    def closed(self, _session: Session, _reason: str) -> None:
        self.writer.close()


async def _play(service: Service, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    sink = _Sink(writer)
    engine, session = None, None
    try:
        engine = service.find_engine(None)
        session = service.open_session(engine, NewSession().options(engine.stepper), sink)
        intake = service.intakes[engine.stepper.name]
        for seq in range(2**63):
            frame_id, message = await _read_frame(reader, seq)
            sink.ids[seq] = frame_id
            try:
                intake.offer(session, message)
            except Problem as problem:  # too many a second
                sink.failed(session, seq, problem)
    except GiError as error:
        service.server_metrics.count(as_problem(error))
        logger.warning("recap: a connection was closed: %s", error)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass  # it left
    finally:
        if engine is not None and session is not None:
            engine.close_session(session, reason="client")
        writer.close()


async def _read_frame(reader: asyncio.StreamReader, seq: int) -> tuple[int, FrameMessage]:
    """The next frame and its id. Raises ProtocolError, IncompleteReadError."""
    (size,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    if size > MAX_MESSAGE_BYTES:
        raise ProtocolError("frame too large", got=f"{size} bytes", expected=f"at most {MAX_MESSAGE_BYTES}")
    return decode_recap_frame(await reader.readexactly(size), seq)


def decode_recap_frame(data: bytes, seq: int) -> tuple[int, FrameMessage]:
    """A Frame's id, and the frame as our `seq`. Raises ProtocolError."""
    frame: Any = INFERENCE_MESSAGES["Frame"]()
    try:
        frame.ParseFromString(data)
    except DecodeError as error:
        raise ProtocolError("not a Frame of open-p2p", got=str(error)) from None
    if not (0 < frame.width < 65536 and 0 < frame.height < 65536):
        raise ProtocolError("frame size out of range", got=(frame.width, frame.height), expected="1 to 65535")
    return frame.id, check_frame_message(FrameMessage(seq, 0, Codec.RAW, frame.data, frame.width, frame.height))


def encode_recap_action(state: InputState, frame_id: int) -> bytes:
    """An Action with its length."""
    action: Any = INFERENCE_MESSAGES["Action"](keys=sorted(spell(key) for key in state.keys), id=frame_id)
    mouse = action.mouse_action
    mouse.mouse_delta_px.x, mouse.mouse_delta_px.y = state.motion
    mouse.scroll_delta_px.x, mouse.scroll_delta_px.y = state.wheel
    mouse.buttons_down.extend(sorted(spell(button) for button in state.buttons))
    data: bytes = action.SerializeToString()
    return _LENGTH.pack(len(data)) + data

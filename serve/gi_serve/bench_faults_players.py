"""`python -m gi_serve.bench_faults_players JOB`: players of one process to whom everything happens that can.

Each plays a session, frame by frame, each frame with the player's number in it, until chance has it close, cut the
connection, resume, take its own session over from a connection that only seems to live, read slowly, fall silent, or
start anew; then another. It checks every answer: that its own frame was seen, by a memory that is its own, and not an
empty one in the middle of a session. Prints its counts, a line of JSON four times a second, until it is killed.
"""

import asyncio
import json
import random
import struct
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import uvloop
from websockets.frames import Close, CloseCode

from gi_serve.bench_serve_load import give_up
from gi_serve.bench_serve_sockets import WebSocket
from gi_serve.bench_serve_stepper import paint, read_answer
from gi_serve.protocol import BINARY

HEIGHT, WIDTH = 24, 48
HEARTBEAT_S: Final = 2.0  # of the server: it gives up after one or two without an answer
_HEADER: Final = struct.Struct("<BBBBIQqHH")
_RAW: Final = 1
_SECONDS_FOR_ANSWER: Final = 20.0
_SECONDS_BETWEEN_REPORTS: Final = 0.25


@dataclass(frozen=True, slots=True)
class PlayersJob:
    """numbers: (first, how many) that the players of this process may bear. is_steady: nothing happens to them."""

    port: int
    num_sessions: int
    numbers: tuple[int, int]
    seed: int
    is_steady: bool = False
    rate: float = 0.0  # frames a second of each, at most; 0: as fast as answers come


class LostError(Exception):
    """The connection ended, or the server has no session for this player."""


class Line:
    """One connection of a play. What comes over it counts until the play has a newer one."""

    def __init__(self, play: "Play", port: int) -> None:
        self.play = play
        self.has_opened = self.is_gone = False
        self.socket = WebSocket(f"ws://127.0.0.1:{port}/v1/realtime", self, subprotocol=BINARY)

    def opened(self) -> None:
        """The handshake is done."""
        self.has_opened = True
        self.play.changed.set()

    def told(self, text: str) -> None:
        """An event."""
        if self.play.line is self:
            self.play.told(json.loads(text))

    def heard(self, message: bytes) -> None:
        """An answer."""
        if self.play.line is self:
            self.play.heard(message)

    def ended(self, close: Close | None) -> None:
        """The connection is gone."""
        self.is_gone = True
        if close is not None and close.code == CloseCode.INTERNAL_ERROR:
            name = "pings_unanswered" if "ping" in close.reason else "connections_failed"
            self.play.counts[name] += 1
        self.play.changed.set()


class Play:
    """One session, on one connection or on several, one after the other."""

    def __init__(self, number: int, counts: Counter[str], port: int) -> None:
        self.number, self.counts, self.port = number, counts, port
        self.frame = paint(np.zeros((HEIGHT, WIDTH, 3), np.uint8), number).tobytes()
        self.seq = self.newest = -1
        self.has_answer = False
        self.created: dict[str, Any] = {}
        self.changed = asyncio.Event()
        self.reply: dict[str, Any] | None = None
        self.line = Line(self, port)

    def told(self, event: dict[str, Any]) -> None:
        """The reply to what was asked, or news."""
        if event["type"] == "session.updated":
            self.has_answer = False
        if event["type"] == "session.closed":
            self.line.is_gone = True
        elif event["type"] in ("session.created", "session.resumed", "session.updated", "error"):
            self.reply = event
        self.changed.set()

    def heard(self, message: bytes) -> None:
        """An answer: mine?"""
        seq, answer = int.from_bytes(message[8:16], "little"), read_answer(message)
        self.counts["answers"] += 1
        self.counts["answers_to_the_wrong_player"] += answer.player != self.number or not answer.is_own
        self.counts["answers_out_of_order"] += not self.newest < seq <= self.seq
        self.counts["memories_lost"] += answer.is_first and self.has_answer
        self.newest, self.has_answer = seq, True
        self.changed.set()

    async def connect(self) -> None:
        """A new connection; the old one, if any, is left as it is. Raises OSError, LostError."""
        self.line = line = Line(self, self.port)
        await asyncio.get_running_loop().create_connection(lambda: line.socket, "127.0.0.1", self.port)
        await self.wait(lambda: line.has_opened)

    async def ask(self, **event: Any) -> dict[str, Any]:
        """Send an event; its reply. Raises LostError if that is an error."""
        self.reply = None
        self.find_socket().tell(json.dumps(event))
        await self.wait(lambda: self.reply is not None)
        assert self.reply is not None
        if self.reply["type"] == "error":
            self.counts["refused_" + self.reply["error"]["type"].rpartition(":")[2].replace("-", "_")] += 1
            raise LostError
        return self.reply

    async def open(self) -> None:
        """Connect and open the session. Raises OSError, LostError."""
        await self.connect()
        self.created = await self.ask(type="session.update", seed=self.number, resume=True)
        self.counts["sessions"] += 1

    async def resume(self) -> None:
        """Go on over a new connection. Raises OSError, LostError."""
        await self.connect()
        token, session_id = self.created["resume"]["token"], self.created["session"]["id"]
        await self.ask(type="session.resume", session_id=session_id, token=token, answered_seq=self.newest)
        self.counts["resumed"] += 1

    def find_socket(self) -> WebSocket:
        """The socket to send on. Raises LostError if the server has closed it."""
        if self.line.is_gone or not self.line.socket.is_open:
            raise LostError
        return self.line.socket

    def send(self) -> None:
        """The next frame. Raises LostError."""
        socket = self.find_socket()
        self.seq += 1
        socket.send(_HEADER.pack(1, 1, _RAW, 0, 0, self.seq, 0, WIDTH, HEIGHT) + self.frame)
        self.counts["frames"] += 1

    async def act(self) -> None:
        """The next frame, and its answer. Raises LostError."""
        self.send()
        await self.wait(lambda: self.newest == self.seq)

    async def wait(self, condition: Callable[[], bool]) -> None:
        """Until `condition`. Raises LostError if the connection is gone, or nothing comes."""
        async with asyncio.timeout(_SECONDS_FOR_ANSWER):
            while not condition():
                if self.line.is_gone:
                    raise LostError
                self.changed.clear()
                await self.changed.wait()

    def cut(self) -> None:
        """End the connection without a last word."""
        assert self.line.socket.transport is not None
        self.line.socket.transport.abort()


# ---------------------------------------------------------------------- what happens


async def close(play: Play, _chance: random.Random) -> None:
    """A clean end."""
    play.line.socket.close()
    raise LostError


async def vanish(play: Play, _chance: random.Random) -> None:
    """Cut, and never come back: the slot is kept for nobody, then free."""
    play.cut()
    raise LostError


async def come_back(play: Play, chance: random.Random) -> None:
    """Cut with frames on their way, and resume."""
    for _ in range(chance.randrange(3)):
        play.send()
    play.cut()
    await asyncio.sleep(chance.random() * 0.2)
    await play.resume()


async def take_over(play: Play, _chance: random.Random) -> None:
    """The connection is half open: resume while the server still believes in it."""
    old = play.line.socket.transport
    assert old is not None
    old.pause_reading()
    await play.resume()
    old.abort()


async def read_slowly(play: Play, chance: random.Random) -> None:
    """Send, and do not read for a while."""
    transport = play.line.socket.transport
    assert transport is not None
    transport.pause_reading()
    for _ in range(chance.randrange(1, 20)):
        play.send()
        await asyncio.sleep(0.01)
    transport.resume_reading()


async def fall_silent(play: Play, chance: random.Random) -> None:
    """Neither read nor answer pings, until the server has given up; then resume, if it still has the session."""
    transport = play.line.socket.transport
    assert transport is not None
    transport.pause_reading()
    await asyncio.sleep(HEARTBEAT_S * (1 + 2 * chance.random()))
    transport.abort()
    await play.resume()


async def start_anew(play: Play, chance: random.Random) -> None:
    """Reset, with frames on their way."""
    for _ in range(chance.randrange(3)):
        play.send()
    await play.ask(type="session.reset")


async def send_nonsense(play: Play, chance: random.Random) -> None:
    """A frame that is none: it is refused, and the session lives on."""
    play.find_socket().send(chance.randbytes(chance.randrange(60)))
    await play.wait(lambda: play.reply is not None and play.reply["type"] == "error")
    play.reply = None


Fault = Callable[[Play, random.Random], Awaitable[None]]
FAULTS: Final[tuple[tuple[Fault, int], ...]] = (
    *((close, 4), (vanish, 2), (come_back, 6), (take_over, 3)),
    *((read_slowly, 2), (fall_silent, 1), (start_anew, 3), (send_nonsense, 3)),
)


async def live(job: PlayersJob, player: int, counts: Counter[str]) -> None:
    """Play one session after the other, for ever."""
    chance = random.Random(job.seed * 1000 + player)
    first, count = job.numbers
    number = player
    while True:
        number = (number + job.num_sessions) % count
        try:
            await _live_once(Play(first + number, counts, job.port), job, chance)
        except (LostError, OSError):  # TimeoutError is one
            counts["steady_players_lost"] += job.is_steady
            await asyncio.sleep(0.05 * chance.random())


async def _live_once(play: Play, job: PlayersJob, chance: random.Random) -> None:
    await play.open()
    faults, weights = zip(*FAULTS, strict=True)
    while True:
        for _ in range(chance.randrange(1, 60)):
            await play.act()
            if job.rate:
                await asyncio.sleep(1 / job.rate)
        if not job.is_steady:
            fault = chance.choices(faults, weights)[0]
            play.counts["times_" + fault.__name__] += 1
            await fault(play, chance)


async def _report(counts: Counter[str]) -> None:
    while True:
        print(json.dumps(counts), flush=True)  # noqa: T201
        await asyncio.sleep(_SECONDS_BETWEEN_REPORTS)


async def _play_all(job: PlayersJob) -> None:
    counts: Counter[str] = Counter()
    asyncio.get_running_loop().set_exception_handler(give_up)
    await asyncio.gather(_report(counts), *(live(job, player, counts) for player in range(job.num_sessions)))


def main() -> None:
    """Play until killed."""
    job = json.loads(sys.argv[1])
    uvloop.run(_play_all(PlayersJob(**job | {"numbers": tuple(job["numbers"])})))


if __name__ == "__main__":
    main()

"""`python -m gi_serve.bench_serve_load JOB`: the load generator: players who send frames, and time the answers.

It runs in a process of its own. With a rate every frame has a time when it is due, whatever became of those before,
and its latency counts from then: a server that stalls is charged for every frame that it held up. Without a rate each
player sends its next frame when the last was answered, and latency counts from there. Every answer is checked to be
the player's own, and to a frame that was sent.
"""

import asyncio
import json
import os
import struct
import sys
import time
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Final, Literal

import numpy as np
import simplejpeg
import uvloop
from websockets.frames import Close

from gi_serve.bench_serve_process import cpu_s
from gi_serve.bench_serve_sockets import Posts, WebSocket
from gi_serve.bench_serve_stepper import paint, read_answer
from gi_serve.protocol import BINARY, Codec

Speech = Literal["gi", "websocket", "http"]
_HEADER: Final = struct.Struct("<BBBBIQqHH")
_ACTION: Final = struct.Struct("<8xQ8xII")  # seq, age, frames dropped
_SECONDS_TO_OPEN: Final = 20.0
_SECONDS_PAST: Final = 0.5  # players go on for so long, or no newer frame would take the place of the last that count
_SECONDS_FOR_THE_LAST: Final = 0.5  # answers to the last frames may come so much later
JPEG_QUALITY: Final = 85


@dataclass(frozen=True, slots=True)
class LoadJob:
    """speech: how the server is spoken to. rate: frames a second of each player; 0: as fast as answers come.

    is_checked: the answers say who was seen, as a real policy's do not.
    """

    speech: Speech
    port: int
    server_pid: int
    num_sessions: int
    codec: str
    height: int
    width: int
    rate: float
    seconds: float
    warmup_s: float = 1.0
    is_checked: bool = True


@dataclass(slots=True)
class Load:
    """What a generator saw. Frames and answers are those due while it measured; CPU seconds were spent meanwhile."""

    due: int
    answered: int
    on_time: int  # answered within a period of the rate
    wrong: int  # answers for another player, or to a frame never sent
    reported_drops: int  # of all frames from the first to the last answered
    unaccounted: int  # of these, neither answered nor reported as dropped
    errors: int  # refusals, error events, connections that ended
    seconds: float
    server_cpu_s: float
    generator_cpu_s: float
    lateness_ms: float  # 99th percentile: how much later than due the generator sent
    latencies_ms: list[float] = field(repr=False)  # sorted


def main() -> None:
    """Play the job and print what came of it."""
    job = LoadJob(**json.loads(sys.argv[1]))
    print(json.dumps(asdict(uvloop.run(play(job)))))  # noqa: T201


class Player:
    """One player on a connection of its own. Times are of `time.monotonic`."""

    def __init__(self, number: int, job: LoadJob, loop: asyncio.AbstractEventLoop) -> None:
        self.number, self.job = number, job
        self.is_open = loop.create_future()
        self.due: list[float] = []  # of every frame, by seq; nan: it was not sent, for the last was unanswered
        self.sent: list[float] = []
        self.latency: dict[int, float] = {}
        self.wrong = self.drops = self.errors = 0
        self.newest = -1
        self._body, self._codec = body_of(number, job)
        self._size = (job.width, job.height) if self._codec == Codec.RAW else (0, 0)
        self._is_waiting = False
        self.connection: WebSocket | Posts = self._connect()

    def _connect(self) -> "WebSocket | Posts":
        address = f"127.0.0.1:{self.job.port}"
        if self.job.speech == "http":
            return Posts(address, self)
        path, subprotocol = ("/v1/realtime", BINARY) if self.job.speech == "gi" else ("/", None)
        return WebSocket(f"ws://{address}{path}", self, subprotocol=subprotocol)

    # ------------------------------------------------------------------ what the connection says

    def opened(self) -> None:
        """Open a session where there are any."""
        if isinstance(self.connection, WebSocket) and self.job.speech == "gi":
            event: dict[str, Any] = {"type": "session.update", "seed": self.number}
            self.connection.tell(json.dumps(event | ({"fps": self.job.rate} if self.job.rate else {})))
        else:
            self.is_open.set_result(None)

    def told(self, text: str) -> None:
        """An event: the session is there, or something is wrong."""
        if json.loads(text)["type"] == "session.created":
            self.is_open.set_result(None)
        else:
            self.errors += 1

    def heard(self, message: bytes) -> None:
        """An answer: to whom, to what, when."""
        now = time.monotonic()
        seq, _age, dropped = _ACTION.unpack_from(message)
        is_mine = seq < len(self.due) and seq > self.newest
        if self.job.is_checked:
            seen = read_answer(message)
            is_mine = is_mine and seen.player == self.number and seen.is_own
        self.wrong += not is_mine
        self.drops += dropped
        if is_mine:
            self.newest, self.latency[seq] = seq, now - self.due[seq]
        self._is_waiting = False
        if not self.job.rate:
            self.send(now)

    def ended(self, _close: Close | None) -> None:
        """It should not have."""
        self.errors += 1

    # ------------------------------------------------------------------ what the player does

    def send(self, due: float) -> None:
        """Send the frame that is due; a server without sessions gets it only when the last was answered."""
        seq = len(self.due)
        self.due.append(due)
        self.sent.append(time.monotonic())
        if self._is_waiting and self.job.speech != "gi":
            return
        self._is_waiting = True
        header = _HEADER.pack(1, 1, self._codec, 0, 0, seq, int(due * 1e9), *self._size)
        self.connection.send(header + self._body)


def body_of(number: int, job: LoadJob) -> tuple[bytes, Codec]:
    """The pixels that this player sends: a picture with a spectrum as in nature, and its number."""
    frame = paint(natural(job.height, job.width), number)
    if job.codec == "raw":
        return frame.tobytes(), Codec.RAW
    return simplejpeg.encode_jpeg(frame, quality=JPEG_QUALITY, colorsubsampling="420"), Codec.JPEG


def natural(height: int, width: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Noise with amplitudes as 1/f, uint8 (height, width, 3): costs a codec what a photograph costs it."""
    noise = np.random.default_rng(0).standard_normal((height, width, 3))
    rows, columns = np.fft.fftfreq(height)[:, None, None], np.fft.fftfreq(width)[None, :, None]
    spectrum = np.fft.fft2(noise, axes=(0, 1)) / np.maximum(np.hypot(rows, columns), 1 / max(height, width))
    picture = np.fft.ifft2(spectrum, axes=(0, 1)).real
    picture = 128 + 45 * (picture - picture.mean()) / picture.std()
    return np.ascontiguousarray(picture.clip(0, 255).astype(np.uint8))


# ---------------------------------------------------------------------- the play


async def play(job: LoadJob) -> Load:
    """Connect everybody, warm up, measure, play on until the last answers are there."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(give_up)
    players = [Player(number + 1, job, loop) for number in range(job.num_sessions)]
    for player in players:
        await loop.create_connection(partial(getattr, player, "connection"), "127.0.0.1", job.port)
    await asyncio.wait_for(asyncio.gather(*(player.is_open for player in players)), _SECONDS_TO_OPEN)
    began = time.monotonic() + 0.05
    end = began + job.warmup_s + job.seconds
    for player in players:
        _start(player, began, end + _SECONDS_PAST, loop)
    await asyncio.sleep(began + job.warmup_s - time.monotonic())
    window_began, before, own = time.monotonic(), cpu_s(job.server_pid), time.process_time()
    await asyncio.sleep(end - time.monotonic())
    seconds, server_s, own_s = (
        time.monotonic() - window_began,
        cpu_s(job.server_pid) - before,
        time.process_time() - own,
    )
    await asyncio.sleep(_SECONDS_PAST + _SECONDS_FOR_THE_LAST)
    return sum_up(players, (window_began, window_began + seconds), server_cpu_s=server_s, generator_cpu_s=own_s)


def give_up(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """End: a generator with a fault must not go on measuring."""
    print(context.get("exception") or context["message"], file=sys.stderr, flush=True)  # noqa: T201
    os._exit(1)


def _start(player: Player, began: float, end: float, loop: asyncio.AbstractEventLoop) -> None:
    """Let `player` send at its rate, players evenly spread over a period; or as fast as it is answered."""
    job = player.job
    if not job.rate:
        loop.call_at(loop.time() + began - time.monotonic(), lambda: player.send(time.monotonic()))
        return
    first = began + (player.number - 1) / job.num_sessions / job.rate
    offset = loop.time() - time.monotonic()

    def tick(number: int) -> None:
        player.send(first + number / job.rate)
        following = first + (number + 1) / job.rate
        if following < end:
            loop.call_at(following + offset, tick, number + 1)

    loop.call_at(first + offset, tick, 0)


def sum_up(players: list[Player], window: tuple[float, float], *, server_cpu_s: float, generator_cpu_s: float) -> Load:
    """Count what was due in `window`, (from, to)."""
    began, ended = window
    job = players[0].job
    latencies, lateness, due = [], [0.0], 0
    for player in players:
        seqs = [seq for seq, time_s in enumerate(player.due) if began <= time_s < ended]
        due += len(seqs)
        lateness += [player.sent[seq] - player.due[seq] for seq in seqs]
        latencies += [player.latency[seq] for seq in seqs if seq in player.latency]
    reached = sum(player.newest + 1 for player in players)
    accounted = sum(len(player.latency) + player.drops for player in players)
    return Load(
        due=due,
        answered=len(latencies),
        on_time=sum(latency <= 1 / job.rate for latency in latencies) if job.rate else len(latencies),
        wrong=sum(player.wrong for player in players),
        reported_drops=sum(player.drops for player in players),
        unaccounted=abs(reached - accounted) if job.speech == "gi" else 0,
        errors=sum(player.errors for player in players),
        seconds=ended - began,
        server_cpu_s=server_cpu_s,
        generator_cpu_s=generator_cpu_s,
        lateness_ms=float(np.percentile(lateness, 99)) * 1e3,
        latencies_ms=sorted(round(latency * 1e3, 3) for latency in latencies),
    )


if __name__ == "__main__":
    main()

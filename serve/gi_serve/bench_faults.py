"""`gi bench faults`: hundreds of players to whom everything happens that can; not one action may go astray.

The server is a process; so are the players, a few dozen in each (`bench_faults_players`), so that `kill -9` and
`kill -STOP` hit them as they hit real ones. One process of players is left in peace: nobody in it may ever be lost.
At the end all are killed; then every slot must come back, and every socket of the server must be gone.
"""

import json
import os
import random
import signal
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Final

from gi_model.errors import ConfigError, ServeError
from gi_serve.bench_faults_players import HEARTBEAT_S, HEIGHT, WIDTH
from gi_serve.bench_serve import Bar
from gi_serve.bench_serve_process import Child, Cores, num_files, resident_mb, run_module

RESUME_TIMEOUT_S: Final = 4.0
MOST_GROWTH_MB: Final = 10.0
_PLAYERS_A_PROCESS: Final = 32
_SECONDS_BETWEEN_KILLS: Final = 3.0
_OPENER: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_NEVER: Final = (
    *("answers_to_the_wrong_player", "answers_out_of_order", "memories_lost"),
    *("connections_failed", "steady_players_lost"),
)


@dataclass(frozen=True, slots=True)
class FaultCampaign:
    """When to end: after so many frames, or seconds. num_sessions: players at a time, the steady ones not counted."""

    num_frames: int = 1_000_000
    num_sessions: int = 256
    seconds: float = 1800.0
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.num_frames, self.num_sessions) < 1 or self.seconds <= 0:
            raise ConfigError("no campaign", got=self, expected="frames, sessions, and seconds above 0")


@dataclass(frozen=True, slots=True)
class FaultReport:
    """counts: what was done, and what came of it. resident_mb: of the server, a second apart. bars: the promises."""

    counts: dict[str, int]
    resident_mb: tuple[float, ...]
    bars: tuple[Bar, ...]


@dataclass(eq=False)
class Crowd:
    """A process of players, and its newest counts, which a thread reads as they come."""

    child: Child
    counts: Counter[str] = field(default_factory=Counter)
    stopped_until: float = 0.0

    def __post_init__(self) -> None:
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.child.process.stdout is not None
        for line in self.child.process.stdout:
            if line.endswith("\n"):
                self.counts = Counter(json.loads(line))


def run(campaign: FaultCampaign, advance: Callable[[int], object] = lambda _frames: None) -> FaultReport:
    """Run it; `advance` hears how many frames were sent. Raises ConfigError off Linux, ServeError."""
    cores = Cores.split()
    num_slots = 3 * campaign.num_sessions + _PLAYERS_A_PROCESS  # those who vanished keep theirs for a while
    job: dict[str, Any] = {"num_slots": num_slots, "height": HEIGHT, "width": WIDTH}
    job |= {"heartbeat_s": HEARTBEAT_S, "resume_timeout_s": RESUME_TIMEOUT_S}
    with run_module("bench_serve_host", job, cores.server) as server:
        chaos = Chaos(server, server.read()["port"], campaign, cores)
        before = num_files(server.pid)
        with chaos:
            chaos.go(advance)
        return chaos.report(before)


class Chaos:
    """Keeps the processes of players going, and ends some of them; a context manager."""

    def __init__(self, server: Child, port: int, campaign: FaultCampaign, cores: Cores) -> None:
        self._server, self._port, self._campaign, self._cores = server, port, campaign, cores
        self._chance = random.Random(campaign.seed)
        self._stack, self._crowds, self._steady = ExitStack(), list[Crowd](), list[Crowd]()
        self._past: Counter[str] = Counter()
        self._num_started = 0
        self._memory = [resident_mb(server.pid)]

    def __enter__(self) -> "Chaos":
        left = self._campaign.num_sessions
        while left > 0:
            self._crowds.append(self._start(min(left, _PLAYERS_A_PROCESS)))
            left -= _PLAYERS_A_PROCESS
        self._steady.append(self._start(_PLAYERS_A_PROCESS // 2, is_steady=True))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def go(self, advance: Callable[[int], object]) -> None:
        """Until there were frames enough, or the time is over. Raises ServeError if players end by themselves."""
        now = time.monotonic()
        end, next_kill, next_look = now + self._campaign.seconds, now + _SECONDS_BETWEEN_KILLS, now
        while (now := time.monotonic()) < end and self.counts["frames"] < self._campaign.num_frames:
            time.sleep(0.1)
            advance(self.counts["frames"])
            self._wake(now)
            if now > next_kill:
                next_kill = now + _SECONDS_BETWEEN_KILLS * 2 * self._chance.random()
                self._hit(now)
            if now > next_look:
                next_look = now + 1.0
                self._memory.append(resident_mb(self._server.pid))
                self._check()

    @property
    def counts(self) -> Counter[str]:
        """Everything so far."""
        return sum((crowd.counts for crowd in (*self._crowds, *self._steady)), self._past)

    def _start(self, num_sessions: int, *, is_steady: bool = False) -> Crowd:
        """Players with numbers of their own: nobody who lives, or whose slot is still kept, bears them."""
        span = 4 * _PLAYERS_A_PROCESS
        ring = 4 * (1 + self._campaign.num_sessions // _PLAYERS_A_PROCESS)
        first = span * (self._num_started % ring)
        self._num_started += 1
        if is_steady:
            first = span * ring
        job: dict[str, Any] = {"port": self._port, "num_sessions": num_sessions, "numbers": (first, span)}
        job |= {"seed": self._campaign.seed + self._num_started, "is_steady": is_steady}
        job |= {"rate": 20.0 if is_steady else 0.0}
        return Crowd(self._stack.enter_context(run_module("bench_faults_players", job, self._cores.generator)))

    def _hit(self, now: float) -> None:
        """Kill a process of players, or stop it until the server's patience is over."""
        place = self._chance.randrange(len(self._crowds))
        crowd = self._crowds[place]
        if crowd.stopped_until:
            return
        if self._chance.random() < 0.5:
            os.kill(crowd.child.pid, signal.SIGSTOP)
            crowd.stopped_until = now + 3 * HEARTBEAT_S
            self._past["processes_stopped"] += 1
            return
        crowd.child.kill()
        self._past += crowd.counts
        self._past["processes_killed"] += 1
        self._crowds[place] = self._start(min(self._campaign.num_sessions, _PLAYERS_A_PROCESS))

    def _wake(self, now: float) -> None:
        for crowd in self._crowds:
            if crowd.stopped_until and now > crowd.stopped_until:
                os.kill(crowd.child.pid, signal.SIGCONT)
                crowd.stopped_until = 0.0

    def _check(self) -> None:
        for crowd in (*self._crowds, *self._steady):
            if crowd.child.process.poll() is not None:
                raise ServeError("players ended by themselves", got=crowd.child.last_words())

    def report(self, num_files_before: int) -> FaultReport:
        """What came of it, once the server had time to notice that everybody is gone."""
        left = self._count_left(num_files_before)
        give_up = time.monotonic() + 2 * HEARTBEAT_S + RESUME_TIMEOUT_S + 5.0
        while any(left.values()) and time.monotonic() < give_up:
            time.sleep(0.2)
            left = self._count_left(num_files_before)
        return FaultReport(dict(sorted(self.counts.items())), tuple(self._memory), tuple(self._bars(left)))

    def _count_left(self, num_files_before: int) -> dict[str, int]:
        with _OPENER.open(f"http://127.0.0.1:{self._port}/v1/models", timeout=10) as answer:
            capacity = json.loads(answer.read())[0]["capacity"]
        slots = capacity["num_slots"] - capacity["num_free"]
        return {"slots_leaked": slots, "files_leaked": max(0, num_files(self._server.pid) - num_files_before)}

    def _bars(self, left: dict[str, int]) -> Iterator[Bar]:
        counts = self.counts
        for name in _NEVER:
            yield Bar(name.replace("_", " "), counts[name], 0, True)
        for name, count in left.items():
            yield Bar(name.replace("_", " "), count, 0, True)
        yield Bar("growth of the server's memory in MB", growth_mb(self._memory), MOST_GROWTH_MB, True)


def growth_mb(samples: list[float]) -> float:
    """Memory of the last quarter over that of the second, by medians: the first is warm-up."""
    quarter = max(1, len(samples) // 4)
    return median(samples[-quarter:]) - median(samples[quarter : 2 * quarter] or samples)


def to_facts(report: FaultReport) -> dict[str, Any]:
    """The report for scripts."""
    return asdict(report) | {"bars": [asdict(bar) | {"is_met": bar.is_met} for bar in report.bars]}

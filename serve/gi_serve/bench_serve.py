"""`gi bench serve`: the server under load beside plain servers of the same model, in one run, in turns.

Each scenario is a model, players, a payload. Each contestant gets it from the same generator (`bench_serve_load`) on
a core of its own; its server is a process of its own on the other cores, started anew for every trial. Repetitions are
interleaved, so that a slow minute of the machine hits all alike; the median over repetitions counts.

The no-op scenario asks what a frame costs the server besides decoding it: CPU time a frame less the time that the same
JPEGs take to decode, measured in the same repetition on the server's core, as a share of the latter.
"""

import itertools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
import simplejpeg

from gi_model.errors import ConfigError
from gi_serve.bench_serve_load import LoadJob, body_of
from gi_serve.bench_serve_peer import PeerMissingError, start_litserve
from gi_serve.bench_serve_process import Child, Cores, run_module

OURS, ECHO, LITSERVE = "gi serve", "echo", "LitServe"  # echo: see `bench_serve_echo`
ON_TIME: Final = 0.99  # share of frames answered within their period for a player to count as served
_MOST_PLAYERS: Final = 256


@dataclass(frozen=True, slots=True)
class Scenario:
    """A model and who plays. rate: frames a second of each player, 0: as fast as answers come; *_s: of its step."""

    name: str
    num_sessions: int
    codec: str = "raw"
    height: int = 60
    width: int = 80
    rate: float = 0.0
    base_s: float = 0.0
    per_session_s: float = 0.0
    has_peers: bool = True


NOOP: Final = Scenario("no-op JPEG, 8 lock-step", 8, "jpeg", 224, 224)
NOOP_RATE: Final = Scenario("no-op JPEG, 8 x 30 Hz", 8, "jpeg", 224, 224, rate=30.0)  # wakes for every frame
STEP: Final = Scenario("10 ms, 64 lock-step", 64, base_s=0.010)
RATE: Final = Scenario("10 ms, 64 x 30 Hz", 64, rate=30.0, base_s=0.010)
OVERLOAD: Final = Scenario(  # 64 x 30 rows a second of 1.04 ms: twice what fits
    "2x overload, 64 x 30 Hz", 64, rate=30.0, base_s=0.002, per_session_s=2 / (64 * 30), has_peers=False
)
SCENARIOS: Final = (NOOP, NOOP_RATE, STEP, RATE, OVERLOAD)


@dataclass(frozen=True, slots=True)
class ServeBench:
    """How to measure. seconds: of each trial, after a warm-up of one; checkpoint "": `preset` with random weights."""

    seconds: float = 5.0
    repetitions: int = 3
    preset: str = "tiny"
    checkpoint: str = ""
    policy_rate: float = 20.0
    peer_python: Path | None = None

    def __post_init__(self) -> None:
        if self.seconds <= 0 or self.repetitions < 1:
            got = (self.seconds, self.repetitions)
            raise ConfigError("nothing to measure", got=got, expected="seconds above 0, 1 repetition or more")


@dataclass(frozen=True, slots=True)
class Trial:
    """One contestant in one scenario once. Times in ms, CPU in us a frame; p50, p99: of latency."""

    actions_per_s: float
    on_time: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    drops: int
    unaccounted: int
    wrong: int
    errors: int
    generator_load: float  # share of its core
    lateness_ms: float
    decode_us: float = 0.0

    @classmethod
    def of(cls, load: dict[str, Any], decode_us: float = 0.0) -> "Trial":
        """Sum up what a generator saw."""
        p50_ms, p99_ms = np.percentile(load["latencies_ms"], (50, 99)) if load["latencies_ms"] else (np.inf, np.inf)
        return cls(
            actions_per_s=load["answered"] / load["seconds"],
            on_time=load["on_time"] / max(load["due"], 1),
            p50_ms=float(p50_ms),
            p99_ms=float(p99_ms),
            cpu_us=load["server_cpu_s"] / max(load["answered"], 1) * 1e6,
            drops=load["reported_drops"],
            unaccounted=load["unaccounted"],
            wrong=load["wrong"],
            errors=load["errors"],
            generator_load=load["generator_cpu_s"] / load["seconds"],
            lateness_ms=load["lateness_ms"],
            decode_us=decode_us,
        )


@dataclass(frozen=True, slots=True)
class Row:
    """A contestant in a scenario: its trials, in order of repetition."""

    scenario: str
    contestant: str
    trials: tuple[Trial, ...]

    def median(self, name: str) -> float:
        """Of the figure `name` of `Trial`."""
        return float(median(getattr(trial, name) for trial in self.trials))


@dataclass(frozen=True, slots=True)
class Bar:
    """A promise. is_met: `value` is at least `limit`, or at most where `is_most`."""

    name: str
    value: float
    limit: float
    is_most: bool

    @property
    def is_met(self) -> bool:
        """Whether it is kept."""
        return self.value <= self.limit if self.is_most else self.value >= self.limit


@dataclass(frozen=True, slots=True)
class PolicyPlayers:
    """Players of the real policy held on time, by what was measured and by what the server said at its start."""

    num_on_time: int
    advertised: int
    tried: dict[int, Trial] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ServeReport:
    """notes: who did not run and why, and what makes figures doubtful."""

    rows: tuple[Row, ...]
    bars: tuple[Bar, ...]
    policy: PolicyPlayers | None
    notes: tuple[str, ...]


def run(
    config: ServeBench, advance: Callable[[], object] = lambda: None, *, scenarios: Sequence[Scenario] = SCENARIOS
) -> ServeReport:
    """Measure everyone; `advance` is called after every trial. Raises ConfigError off Linux, ServeError."""
    cores = Cores.split()
    trials: dict[tuple[str, str], list[Trial]] = {}
    missing: dict[str, str] = {}
    for _, scenario, name in itertools.product(range(config.repetitions), scenarios, contestants(config)):
        if name not in missing and (name == OURS or scenario.has_peers):
            try:
                trials.setdefault((scenario.name, name), []).append(try_once(scenario, name, config, cores))
            except PeerMissingError as error:
                missing[name] = str(error)
        advance()
    rows = tuple(Row(*key, tuple(found)) for key, found in trials.items() if found)
    policy = count_players(config, cores, advance) if config.preset or config.checkpoint else None
    notes = [f"did not run: {name}: {why}" for name, why in missing.items()]
    return ServeReport(rows, tuple(_bars(rows)), policy, (*notes, *_doubts(rows, cores)))


def contestants(config: ServeBench) -> tuple[str, ...]:
    """Who takes part."""
    return (OURS, ECHO) if config.peer_python is None else (OURS, ECHO, LITSERVE)


def num_trials(config: ServeBench, scenarios: Sequence[Scenario] = SCENARIOS) -> int:
    """How often `advance` will be called, but for the real policy."""
    return config.repetitions * len(scenarios) * len(contestants(config))


# ---------------------------------------------------------------------- one trial


def try_once(scenario: Scenario, name: str, config: ServeBench, cores: Cores) -> Trial:
    """Start the server of `name`, load it, end it. Raises PeerMissingError if it is not there."""
    decode_us = _decode_us(scenario, cores) if scenario.codec == "jpeg" else 0.0
    server, port = _start(scenario, name, config, cores)
    speech = {OURS: "gi", ECHO: "websocket", LITSERVE: "http"}[name]
    with server:
        load = put_load(scenario, server, (speech, port), cores, seconds=config.seconds)
    return Trial.of(load, decode_us)


def put_load(
    scenario: Scenario,
    server: Child,
    where: tuple[str, int],
    cores: Cores,
    *,
    seconds: float,
    is_checked: bool = True,
) -> dict[str, Any]:
    """What the generator saw of `server`; where: how it is spoken to, and its port. Raises ServeError."""
    job = {name: getattr(scenario, name) for name in ("num_sessions", "codec", "height", "width", "rate")}
    job |= {"speech": where[0], "port": where[1], "server_pid": server.pid, "seconds": seconds}
    with run_module("bench_serve_load", job | {"is_checked": is_checked}, cores.generator) as generator:
        return generator.read()


def _start(scenario: Scenario, name: str, config: ServeBench, cores: Cores) -> tuple[Child, int]:
    step = {"base_s": scenario.base_s, "per_session_s": scenario.per_session_s}
    if name == LITSERVE:
        assert config.peer_python is not None
        return start_litserve(config.peer_python, step | {"batch": scenario.num_sessions}, cores.server)
    if name == OURS:
        job = step | {"num_slots": scenario.num_sessions, "height": scenario.height, "width": scenario.width}
        server = run_module("bench_serve_host", job, cores.server)
    else:
        server = run_module("bench_serve_echo", step, cores.server)
    return server, server.read()["port"]


def _decode_us(scenario: Scenario, cores: Cores, repetitions: int = 200) -> float:
    """CPU us to decode a JPEG of `scenario` on the server's core: those of its players in turn, as a server gets them.

    One and the same again and again takes a tenth less: the processor learns its branches by heart.
    """
    job = LoadJob("gi", 0, 0, 1, "jpeg", scenario.height, scenario.width, 0.0, 0.0)
    images = [body_of(number + 1, job)[0] for number in range(scenario.num_sessions)]
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores.server)
    try:
        started = time.thread_time()
        for number in range(repetitions):
            simplejpeg.decode_jpeg(images[number % len(images)], colorspace="RGB")
        return (time.thread_time() - started) / repetitions * 1e6
    finally:
        os.sched_setaffinity(0, before)


# ---------------------------------------------------------------------- the real policy


def count_players(config: ServeBench, cores: Cores, advance: Callable[[], object] = lambda: None) -> PolicyPlayers:
    """How many players at `policy_rate` the real policy keeps on time: doubled until they are not, then halved in."""
    height, width = _size_of(config)
    job = {"num_slots": _MOST_PLAYERS, "height": height, "width": width}
    tried: dict[int, Trial] = {}
    with run_module(
        "bench_serve_host", job | {"preset": config.preset, "checkpoint": config.checkpoint}, cores.server
    ) as server:
        facts = server.read()

        def holds(num: int) -> bool:
            scenario = Scenario("", num, height=height, width=width, rate=config.policy_rate)
            load = put_load(scenario, server, ("gi", facts["port"]), cores, seconds=config.seconds, is_checked=False)
            tried[num] = Trial.of(load)
            advance()
            return tried[num].on_time >= ON_TIME and not tried[num].errors

        most = find_most(holds, _MOST_PLAYERS)
    return PolicyPlayers(most, facts["capacity"]["num_on_time"], tried)


def find_most(holds: Callable[[int], bool], limit: int) -> int:
    """The largest number up to `limit` that `holds`, if all below it do; within an eighth. 0: not even 1."""
    low, high = 0, 1
    while high <= limit and holds(high):
        low, high = high, 2 * high
    high = min(high, limit + 1)
    while high - low > max(1, low // 8):
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _size_of(config: ServeBench) -> tuple[int, int]:
    from gi_model.checkpoint import load_policy
    from gi_model.config import preset

    settings = load_policy(Path(config.checkpoint)).config if config.checkpoint else preset(config.preset)
    return settings.height, settings.width


# ---------------------------------------------------------------------- what came of it


def _bars(rows: Sequence[Row]) -> Iterator[Bar]:
    """What the project promises, as far as it was measured."""
    ours = {row.scenario: row for row in rows if row.contestant == OURS}
    for scenario in (NOOP, NOOP_RATE):
        if row := ours.get(scenario.name):
            share = median((trial.cpu_us - trial.decode_us) / trial.decode_us for trial in row.trials)
            yield Bar(f"{scenario.name}: CPU a frame besides decoding, in decodes of it", share, 0.5, True)
    if row := ours.get(STEP.name):
        yield Bar(f"{STEP.name}: actions a second", row.median("actions_per_s"), 2500, False)
        yield Bar(f"{STEP.name}: p50 in ms", row.median("p50_ms"), 25, True)
    if row := ours.get(RATE.name):
        yield Bar(f"{RATE.name}: share on time", row.median("on_time"), ON_TIME, False)
    if row := ours.get(OVERLOAD.name):
        yield Bar(f"{OVERLOAD.name}: p99 of lag in periods", row.median("p99_ms") * OVERLOAD.rate / 1e3, 2, True)
        yield Bar("frames neither answered nor reported dropped", row.median("unaccounted"), 0, True)
    if ours:
        yield Bar(
            "answers to the wrong player", sum(trial.wrong for row in ours.values() for trial in row.trials), 0, True
        )


def _doubts(rows: Sequence[Row], cores: Cores) -> Iterator[str]:
    """What makes figures doubtful."""
    if cores.are_shared:
        yield "one core: server and generator take time from each other"
    if os.getloadavg()[0] > len(cores.server) + len(cores.generator):
        yield f"the machine is busy with other work: load {os.getloadavg()[0]:.1f}"
    for row in rows:
        if row.median("generator_load") > 0.8:
            yield f"{row.scenario}, {row.contestant}: the generator's core is full, not the server's alone"
        if row.median("errors"):
            yield f"{row.scenario}, {row.contestant}: {row.median('errors'):.0f} refusals or lost connections"


def to_facts(report: ServeReport) -> dict[str, Any]:
    """The report for scripts."""
    return asdict(report) | {"bars": [asdict(bar) | {"is_met": bar.is_met} for bar in report.bars]}

"""The demo: the whole life of a policy in one command, by running the same `gi` commands a person would.

    record (per game) -> shard -> pretrain -> serve + play in real time -> report
                               -> baselines (on the second core, while the policy trains)

Each arrow is a stage (`demo_stages.py`): shown, timed, stamped, and kept on the next call. Nothing here knows how a
stage works; a reader can copy any command from the screen and run it alone.
"""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from rich.console import Console

from gi_data.envs import EVAL_SEED_START
from gi_model.errors import ConfigError, ServeError
from gi_train.demo_stages import Beside, Command, Stage, Stages
from gi_train.episodes import ResultsFile
from gi_train.report_table import draw_table, make_scoreboard

# At ten minutes; the demo scales them with its minutes.
HOURS = 0.32  # of recorded play a game: 20,000 frames at 17.5 a second
STEPS = 1_700
EPISODES = 40
MIN_EPISODES = 5
PLAYERS = 18  # games at a time in real time: 120 episodes of half a minute to a minute in about four and a half minutes
READY_WITHIN_S = 120.0
LABEL = "policy"


@dataclass(frozen=True)
class Demo:
    """What to do: games, where, how much."""

    games: tuple[str, ...]
    out: Path
    seed: int = 0
    hours: float = HOURS
    num_steps: int = STEPS
    num_episodes: int = EPISODES

    @classmethod
    def sized(
        cls, minutes: float, *, games: Sequence[str], out: Path, seed: int = 0, episodes: int | None = None
    ) -> Self:
        """A demo of about `minutes` on two cores: hours, steps, and episodes in proportion. Raises ConfigError."""
        if not 0.2 <= minutes <= 600:
            raise ConfigError("minutes out of range", got=minutes, expected="0.2 to 600")
        scale = minutes / 10.0
        fewer = max(MIN_EPISODES, round(EPISODES * min(1.0, scale)))
        return cls(
            games=tuple(game.strip() for game in games if game.strip()),
            out=out,
            seed=seed,
            hours=HOURS * scale,
            num_steps=round(STEPS * scale),
            num_episodes=episodes or fewer,
        )


@dataclass(frozen=True)
class DemoPaths:
    """Where the demo keeps what its stages make."""

    out: Path

    def recordings(self, game: str) -> Path:
        return self.out / "recordings" / game.replace("/", "-")

    @property
    def corpus(self) -> Path:
        return self.out / "corpus"

    @property
    def run(self) -> Path:
        return self.out / "policy"

    @property
    def checkpoint(self) -> Path:
        return self.run / "checkpoint"

    @property
    def baselines(self) -> Path:
        return self.out / "baselines.jsonl"

    @property
    def played(self) -> Path:
        return self.out / "played.jsonl"

    @property
    def traces(self) -> Path:
        return self.out / "traces"

    @property
    def facts(self) -> Path:
        return self.out / "facts.json"

    @property
    def report(self) -> Path:
        return self.out / "report.html"


@dataclass(frozen=True)
class DemoStages:
    """The demo's stages, in order."""

    record: tuple[Stage, ...]
    shard: Stage
    baselines: Stage
    pretrain: Stage
    play: Stage
    report: Stage

    @property
    def all(self) -> tuple[Stage, ...]:
        return (*self.record, self.shard, self.baselines, self.pretrain, self.play, self.report)


def run_demo(demo: Demo, console: Console) -> None:
    """Run what is missing of `demo`, then print its table. Raises StageError, ServeError."""
    began = time.monotonic()
    paths, plan = DemoPaths(demo.out), plan_stages(demo)
    with Stages(demo.out, console) as stages:
        for stage in (*plan.record, plan.shard):
            stages.run(stage)
        baselines = stages.start(plan.baselines)
        stages.run(plan.pretrain)
        stages.wait(baselines)
        if not stages.keep(plan.play):
            with serve(stages, paths.checkpoint) as url:
                stages.run(plan.play, server=url)
        write_facts(demo, stages.seconds(plan.all[:-1]))
        stages.run(plan.report)
        results = ResultsFile(paths.baselines).read() + ResultsFile(paths.played).read()
        console.print(draw_table(make_scoreboard(results)))
        console.print(f"report: [bold]{paths.report}[/]   whole call: {time.monotonic() - began:.0f} s")


def plan_stages(demo: Demo) -> DemoStages:
    """Every stage of `demo` with its commands."""
    paths = DemoPaths(demo.out)
    record = tuple(_plan_record(demo, game) for game in demo.games)
    shard = _stage("shard", _gi("shard", *map(paths.recordings, demo.games), paths.corpus), (paths.corpus,), record)
    training = ("--preset", "tiny", "--steps", demo.num_steps, "--seed", demo.seed)
    pretrain = _stage(
        "pretrain", _gi("pretrain", "--data", paths.corpus, "--out", paths.run, *training), (paths.run,), (shard,)
    )
    compare = ("--lockstep", "--jobs", 1, "--quiet", "--json", paths.baselines)
    baselines = _stage("baselines", _evaluate(demo, "idle,random,demonstrator", *compare), (paths.baselines,))
    live = ("--realtime", "--jobs", PLAYERS, "--quiet", "--label", LABEL, "--traces", paths.traces)
    play = _stage(
        "play",
        _evaluate(demo, "{server}", *live, "--json", paths.played),
        (paths.played, paths.traces),
        (pretrain,),
    )
    inputs = ("--metrics", paths.run / "metrics.jsonl", "--traces", paths.traces, "--facts", paths.facts)
    report = _stage(
        "report",
        _gi("report", paths.baselines, paths.played, *inputs, "--out", paths.report),
        (paths.report,),
        (play, baselines),
    )
    return DemoStages(record, shard, baselines, pretrain, play, report)


def write_facts(demo: Demo, seconds: dict[str, float]) -> None:
    """Write what the report says about the run."""
    last_seed = EVAL_SEED_START + demo.num_episodes - 1
    facts = {
        "data": f"{60 * demo.hours:.1f} minutes of play a game, {len(demo.games)} games, scripted demonstrator",
        "training": f"{demo.num_steps:,} steps, preset tiny, seed {demo.seed}",
        "test episodes": f"{demo.num_episodes} a game, seeds {EVAL_SEED_START:,} to {last_seed:,}, never recorded",
        "stages, seconds": ", ".join(f"{name} {took:.0f}" for name, took in seconds.items()),
        "play": f"{PLAYERS} games at a time in real time, through the API server on a loopback socket",
    }
    DemoPaths(demo.out).facts.write_text(json.dumps(facts, indent=1))


@contextmanager
def serve(stages: Stages, checkpoint: Path, *more: str) -> Iterator[str]:
    """The API server over `checkpoint` on a free loopback port; yields its address once it is ready."""
    command = _gi("serve", "--checkpoint", checkpoint, "--port", 0, "--max-sessions", 2 * PLAYERS, "--json", *more)
    with stages.beside("serve", command) as server:
        yield wait_until_ready(server)


def wait_until_ready(server: Beside) -> str:
    """The address that the server announces when it is ready. Raises ServeError if it ends or takes too long."""
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline:
        for line in server.log.read_text(errors="replace").splitlines():
            if line.startswith("{") and line.endswith("}"):
                return str(json.loads(line)["url"])
        if server.process.poll() is not None:
            got = f"exit {server.process.returncode}"
            raise ServeError("the server ended before it was ready", got=got, do=f"See {server.log}.")
        time.sleep(0.1)
    raise ServeError("the server is not ready", got=f"{READY_WITHIN_S:.0f} s of waiting", do=f"See {server.log}.")


def _plan_record(demo: Demo, game: str) -> Stage:
    out = DemoPaths(demo.out).recordings(game)
    amount = ("--demonstrator", "scripted", "--hours", f"{demo.hours:.4f}", "--seed", demo.seed)
    return _stage(f"record-{out.name}", _gi("record", game, *amount, "--out", out), (out,))


def _evaluate(demo: Demo, agent: str, *rest: object) -> Command:
    return _gi("evaluate", agent, *demo.games, "--episodes", demo.num_episodes, *rest)


def _stage(name: str, command: Command, outputs: tuple[Path, ...], after: tuple[Stage, ...] = ()) -> Stage:
    return Stage(name, (command,), outputs, after)


def _gi(*words: object) -> Command:
    return ("gi", *map(str, words))

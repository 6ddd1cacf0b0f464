"""`gi demo robot`: from games to a body in one command, by running the same `gi` commands a person would.

    (base: record games, shard, pretrain, as `gi demo` does; kept if it is there)
    record teleoperation -> shard -> post-train an adapter -> serve base and adapter + drive in real time -> report
                                 -> what others score (on the second core, meanwhile)

It drives arenas of the kind that was recorded, and of a kind that was not. Everything goes through the server, whose
safety envelope stands between the policy and the body. Stages are kept, as the demo's are (`demo_stages.py`).
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from rich.console import Console

from gi_data.envs import EVAL_SEED_START
from gi_data.envs.robots import UNSEEN
from gi_model.errors import ConfigError
from gi_train.demo import Demo, plan_stages, serve
from gi_train.demo_stages import Command, Stage, Stages
from gi_train.episodes import ResultsFile
from gi_train.report_table import draw_table, make_scoreboard
from gi_train.run_files import RunPaths

# At ten minutes; the demo scales them with its minutes.
DEMONSTRATIONS = 40
STEPS = 400
EPISODES = 12  # an arena
PLAYERS = 6  # bodies at a time in real time: physics, camera, and policy take a sixth of a core each
ADAPTER, ALONE = "adapter", "base alone"


@dataclass(frozen=True)
class RobotDemo:
    """What to do. base: a policy pretrained on games; made, as `gi demo` would make it, if it is not there."""

    base: Path
    out: Path
    base_demo: Demo
    body: str = "robot/rover_keys"
    seed: int = 0
    demonstrations: int = DEMONSTRATIONS
    steps: int = STEPS
    episodes: int = EPISODES

    @classmethod
    def sized(
        cls, minutes: float, *, base: Path | None, base_demo: Demo, out: Path, episodes: int | None = None
    ) -> Self:
        """About `minutes` on two cores, without the base; seeded as `base_demo` is. Raises ConfigError."""
        if not 0.2 <= minutes <= 600:
            raise ConfigError("minutes out of range", got=minutes, expected="0.2 to 600")
        if base is not None and not base.exists():
            do = "Give a checkpoint, or leave --base out: the demo's own is made."
            raise ConfigError("no base to adapt", got=base, expected="a checkpoint", do=do)
        scale = minutes / 10.0
        return cls(
            base=base or RunPaths(base_demo.out / "policy").checkpoint,
            out=out,
            base_demo=base_demo,
            seed=base_demo.seed,
            demonstrations=max(2, round(DEMONSTRATIONS * scale)),
            steps=max(1, round(STEPS * scale)),
            episodes=episodes or max(2, round(EPISODES * min(1.0, scale))),
        )

    @property
    def games(self) -> tuple[str, str]:
        """Arenas of the recorded kind, and of another."""
        return self.body, self.body + UNSEEN

    @property
    def run(self) -> RunPaths:
        """What post-training makes."""
        return RunPaths(self.out / "posttrain")

    def path(self, name: str) -> Path:
        """What the demo makes, by its name."""
        return self.out / name


@dataclass(frozen=True)
class RobotStages:
    """The demo's stages, in order."""

    record: Stage
    shard: Stage
    baselines: Stage
    posttrain: Stage
    drive: Stage
    report: Stage

    @property
    def all(self) -> tuple[Stage, ...]:
        return (self.record, self.shard, self.baselines, self.posttrain, self.drive, self.report)


def run_robot_demo(demo: RobotDemo, console: Console) -> None:
    """Run what is missing of `demo`, then print its table. Raises StageError, ServeError."""
    began, plan = time.monotonic(), plan_robot_stages(demo)
    if not demo.base.exists():
        make_base(demo.base_demo, console)
    with Stages(demo.out, console) as stages:
        stages.run(plan.record)
        stages.run(plan.shard)
        baselines = stages.start(plan.baselines)
        stages.run(plan.posttrain)
        stages.wait(baselines)
        if not stages.keep(plan.drive):
            with serve(stages, demo.base, "--adapter", f"{ADAPTER}={demo.run.adapter}") as url:
                stages.run(plan.drive, server=f"{url}?adapter={ADAPTER}")
        write_facts(demo, stages.seconds(plan.all[:-1]))
        stages.run(plan.report)
        results = [one for name in ("baselines", "driven") for one in ResultsFile(demo.path(f"{name}.jsonl")).read()]
        console.print(draw_table(make_scoreboard(results)))
        console.print(f"report: [bold]{demo.path('report.html')}[/]   whole call: {time.monotonic() - began:.0f} s")


def make_base(demo: Demo, console: Console) -> None:
    """The part of `gi demo` that makes a policy; `gi demo` itself goes on from there. Raises StageError."""
    plan = plan_stages(demo)
    with Stages(demo.out, console) as stages:
        for stage in (*plan.record, plan.shard, plan.pretrain):
            stages.run(stage)


def plan_robot_stages(demo: RobotDemo) -> RobotStages:
    """Every stage of `demo` with its commands."""
    recordings, corpus, run = demo.path("recordings"), demo.path("corpus"), demo.run.out
    amount = ("--demonstrator", "scripted", "--episodes", demo.demonstrations, "--seed", demo.seed)
    record = Stage("record", (_gi("record", demo.body, *amount, "--out", recordings),), (recordings,))
    shard = Stage("shard", (_gi("shard", recordings, corpus, "--val-fraction", 0.1),), (corpus,), (record,))
    training = ("--steps", demo.steps, "--seed", demo.seed)
    learn = _gi("posttrain", "--base", demo.base, "--data", corpus, "--out", run, *training)
    posttrain = Stage("posttrain", (learn,), (run,), (shard,))
    results, driven, traces = demo.path("baselines.jsonl"), demo.path("driven.jsonl"), demo.path("traces")
    others = ("--label", f"random,demonstrator,{ALONE}", "--lockstep", "--jobs", 1, "--quiet", "--json", results)
    compare = _evaluate(demo, f"random,demonstrator,policy:{demo.base}", *others)
    baselines = Stage("baselines", (compare,), (results,))
    live = ("--realtime", "--jobs", PLAYERS, "--quiet", "--label", ADAPTER, "--traces", traces, "--json", driven)
    drive = Stage("drive", (_evaluate(demo, "{server}", *live),), (driven, traces), (posttrain,))
    page, facts = demo.path("report.html"), demo.path("facts.json")
    inputs = ("--metrics", demo.run.metrics, "--traces", traces, "--facts", facts)
    show = _gi("report", results, driven, *inputs, "--out", page)
    return RobotStages(
        record, shard, baselines, posttrain, drive, Stage("report", (show,), (page,), (drive, baselines))
    )


def write_facts(demo: RobotDemo, seconds: dict[str, float]) -> None:
    """Write what the report says about the run."""
    last_seed = EVAL_SEED_START + demo.episodes - 1
    facts = {
        "body": f"{demo.body}, MuJoCo; {demo.games[1]}: arenas of a kind that was not recorded",
        "base": f"{demo.base}, pretrained on games",
        "data": f"{demo.demonstrations} demonstrations by a scripted teleoperator",
        "training": f"{demo.steps} steps of an adapter, seed {demo.seed}; the base is frozen",
        "test episodes": f"{demo.episodes} an arena, seeds {EVAL_SEED_START:,} to {last_seed:,}, never recorded",
        "stages, seconds": ", ".join(f"{name} {took:.0f}" for name, took in seconds.items()),
        "play": f"{PLAYERS} bodies at a time in real time, through the API server and its safety envelope",
    }
    demo.path("facts.json").write_text(json.dumps(facts, indent=1))


def _evaluate(demo: RobotDemo, agent: str, *rest: object) -> Command:
    return _gi("evaluate", agent, *demo.games, "--episodes", demo.episodes, *rest)


def _gi(*words: object) -> Command:
    return ("gi", *map(str, words))

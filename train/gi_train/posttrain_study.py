"""What pretraining is worth to whoever has few demonstrations: `gi study posttrain`, by the commands of a person.

    record -> shard -> per seed and number of demonstrations, one run of each arm -> play on seeds never recorded

    adapter   an adapter on the pretrained base       full      all weights, starting from the pretrained base
    random    the same adapter on an untrained base   scratch   all weights, starting from an untrained base

Arms see the same demonstrations, held-out ones included, and play the same episodes. Seeds are the outer loop and sizes
the next, so that a study that is stopped early has whole seeds, and whole sizes of the next one. Each command is a
stage (`demo_stages.py`): kept when the study is run again.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from rich.console import Console

from gi_model.errors import ConfigError
from gi_train.demo_stages import Command, Stage, Stages
from gi_train.posttrain_study_report import ARMS, write_study

RECORDING_SEED: Final = 5000  # not those of other corpora
UNTRAINED: Final = ("random", "scratch")
ADAPTERS: Final = ("adapter", "random")


@dataclass(frozen=True)
class PosttrainStudy:
    """What to learn, from what, how long, and how to measure it. play: games to play; the game itself if none."""

    out: Path
    base: Path
    game: str
    embodiment: Path | None = None
    play: tuple[str, ...] = ()
    arms: tuple[str, ...] = ARMS
    sizes: tuple[int, ...] = (5, 10, 25, 50, 100)
    seeds: int = 3
    steps: int = 300
    episodes: int = 20
    past_actions: str = "hidden"
    jobs: int = 1

    def __post_init__(self) -> None:
        if unknown := [arm for arm in self.arms if arm not in ARMS]:
            raise ConfigError("unknown arm", got=unknown[0], expected=" | ".join(ARMS))
        if not self.arms or not self.sizes or min(self.sizes) < 2:
            got = f"arms {self.arms}, sizes {self.sizes}"
            raise ConfigError("nothing to compare", got=got, expected="an arm, and 2 demonstrations or more")
        for name in ("seeds", "steps", "episodes", "jobs"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} out of range", got=getattr(self, name), expected="at least 1")

    @property
    def games(self) -> tuple[str, ...]:
        """What is played in the end."""
        return self.play or (self.game,)

    @property
    def recordings(self) -> Path:
        return self.out / "recordings"

    @property
    def corpus(self) -> Path:
        return self.out / "corpus"

    @property
    def baselines(self) -> Path:
        return self.out / "baselines.jsonl"

    def untrained(self, seed: int) -> Path:
        """The untrained base of a seed."""
        return self.out / "untrained" / str(seed)

    def run(self, arm: str, size: int, seed: int) -> Path:
        """A run's folder; its results carry the same name."""
        return self.out / "runs" / f"{arm}-{size}-{seed}"

    def played(self, arm: str, size: int, seed: int) -> Path:
        """Results of a run's policy."""
        return self.out / "played" / f"{arm}-{size}-{seed}.jsonl"

    def base_of(self, arm: str, seed: int) -> Path:
        """Where an arm starts."""
        return self.untrained(seed) if arm in UNTRAINED else self.base

    def agent(self, arm: str, size: int, seed: int) -> str:
        """What plays in the end."""
        run = self.run(arm, size, seed)
        if arm in ADAPTERS:
            return f"policy:{self.base_of(arm, seed)}+{run / 'adapter'}"
        return f"policy:{run / 'checkpoint'}"


def run_study(study: PosttrainStudy, console: Console) -> None:
    """Run what is missing, and report after each size that was not finished. Raises StageError."""
    data = plan_data(study)
    with Stages(study.out, console) as stages:
        for stage in data:
            stages.run(stage)
        for seed in range(study.seeds):
            if set(study.arms) & set(UNTRAINED):
                stages.run(plan_untrained(study, seed))
            for size in study.sizes:
                runs = [plan_run(study, arm, size, seed, data) for arm in study.arms]
                is_new = _run_together(stages, runs, study.jobs)
                report = write_study(study, asdict(study))
                if is_new or (seed, size) == (study.seeds - 1, study.sizes[-1]):
                    console.print(report)


def plan_data(study: PosttrainStudy) -> tuple[Stage, ...]:
    """Demonstrations, and both ends of the scale. All are in one split: runs hold out some of their own."""
    amount = ("--episodes", max(study.sizes), "--seed", RECORDING_SEED, "--jobs", study.jobs)
    record = _gi("record", study.game, *amount, "--out", study.recordings)
    shard = _gi("shard", study.recordings, study.corpus, "--val-fraction", 0)
    recorded = Stage("record", (record,), (study.recordings,))
    baselines = _evaluate(study, "random,demonstrator", study.baselines, "--jobs", study.jobs)
    return (
        recorded,
        Stage("shard", (shard,), (study.corpus,), (recorded,)),
        Stage("baselines", (baselines,), (study.baselines,)),
    )


def plan_untrained(study: PosttrainStudy, seed: int) -> Stage:
    """The untrained base of a seed."""
    folder = study.untrained(seed)
    command = _gi("export", "untrained", study.base, folder, "--seed", seed)
    return Stage(f"untrained-{seed}", (command,), (folder,))


def plan_run(
    study: PosttrainStudy, arm: str, size: int, seed: int, data: tuple[Stage, ...] = ()
) -> tuple[Stage, Stage]:
    """Train one arm, and play what it learned."""
    run, results = study.run(arm, size, seed), study.played(arm, size, seed)
    places = ("--base", study.base_of(arm, seed), "--data", study.corpus, "--out", run)
    body = ("--embodiment", study.embodiment) if study.embodiment else ()
    method = "lora" if arm in ADAPTERS else "full"
    draw = ("--episodes", size, "--seed", seed)
    settings = ("--method", method, "--steps", study.steps, "--past-actions", study.past_actions)
    before = (*data[:2], *((plan_untrained(study, seed),) if arm in UNTRAINED else ()))
    trained = Stage(f"train-{run.name}", (_gi("posttrain", *places, *body, *draw, *settings),), (run,), before)
    play = _evaluate(study, study.agent(arm, size, seed), results, "--label", run.name, "--jobs", 1)
    return trained, Stage(f"play-{run.name}", (play,), (results,), (trained,))


def _run_together(stages: Stages, runs: Sequence[tuple[Stage, Stage]], jobs: int) -> bool:
    """`jobs` runs at a time: each trains in the background, then each plays. Whether any was not finished before."""
    waiting, is_new = iter(runs), False
    while some := list(islice(waiting, jobs)):
        for step in zip(*some, strict=True):
            for running in [stages.start(stage) for stage in step]:
                stages.wait(running)
                is_new |= running is not None
    return is_new


def _evaluate(study: PosttrainStudy, agent: str, results: Path, *rest: object) -> Command:
    settings = ("--episodes", study.episodes, "--lockstep", "--quiet", "--json", results)
    return _gi("evaluate", agent, *study.games, *settings, *rest)


def _gi(*words: object) -> Command:
    return ("gi", *map(str, words))

"""What labels from an inverse dynamics model are worth: `gi study labels`, by the commands a person would use.

    record -> shard -> strip most labels -> IDM on the rest -> label -> per seed, a policy from each of:
        labelled (the small part)    pseudo (it, and the IDM's labels of the rest)    true (all true labels)

Policies are alike but for their data, and play in closed loop. Nobody is shoved (--no-perturb): the labels of a shoved
player say what it meant, not what was done, and no model can read a meaning off the screen. So policies see no past
action, either: on play that never had to recover they copy themselves, the better the more they learned. Seeds are the
outer loop: a study that is stopped early has whole seeds to report. Each arrow is a stage (`demo_stages.py`).
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from rich.console import Console

from gi_train.demo_stages import Command, Stage, Stages
from gi_train.label_study_report import CONDITIONS, write_study

VAL_FRACTION: Final = 0.15  # the model's labels are scored on it
RECORDING_SEED: Final = 3000  # not the demo's recordings


@dataclass(frozen=True)
class LabelStudy:
    """What to play, how much of it is labelled, and how long to train. hours: of play a game. keep: share labelled."""

    out: Path
    games: tuple[str, ...] = ("doom/defend_the_center", "doom/gather")
    hours: float = 0.4
    keep: float = 0.1
    seeds: int = 3
    idm_steps: int = 1500
    policy_steps: int = 800
    episodes: int = 30
    min_confidence: float = 0.0
    jobs: int = 1

    @property
    def baselines(self) -> Path:
        return self.out / "baselines.jsonl"

    @property
    def idm_scores(self) -> Path:
        return self.out / "idm.json"

    def corpus(self, condition: str) -> Path:
        """What a policy learns from."""
        return self.out / {"labelled": "labelled", "pseudo": "pseudo", "true": "corpus"}[condition]

    def run(self, condition: str, seed: int) -> Path:
        """A policy's run."""
        return self.out / "policies" / f"{condition}-{seed}"


def run_study(study: LabelStudy, console: Console) -> None:
    """Run what is missing, and report after each seed. Raises StageError."""
    data = plan_data(study)
    with Stages(study.out, console) as stages:
        for stage in (*data, _baselines(study)):
            stages.run(stage)
        for seed in range(study.seeds):
            for stage in plan_seed(study, seed, data):
                stages.run(stage)
            console.print(write_study(study.out, settings=asdict(study), seeds=seed + 1))


def plan_data(study: LabelStudy) -> tuple[Stage, ...]:
    """The stages before the policies, each after those before it."""
    corpus, video, labelled = study.corpus("true"), study.out / "video", study.corpus("labelled")
    idm = study.out / "idm"
    recordings = [study.out / "recordings" / game.replace("/", "-") for game in study.games]
    amount = ("--no-perturb", "--hours", study.hours, "--seed", RECORDING_SEED, "--jobs", study.jobs)
    commands: list[tuple[str, Command, Path]] = [
        (f"record-{folder.name}", _gi("record", game, *amount, "--out", folder), folder)
        for game, folder in zip(study.games, recordings, strict=True)
    ]
    training = ("--task", "idm", "--preset", "tiny", "--steps", study.idm_steps)
    scoring = ("--json", study.idm_scores)
    labelling = ("--idm", idm / "checkpoint", "--min-confidence", study.min_confidence, "--jobs", study.jobs)
    commands += [
        ("shard", _gi("shard", *recordings, corpus, "--val-fraction", VAL_FRACTION), corpus),
        ("strip", _gi("strip-labels", corpus, video, "--keep", study.keep), video),
        ("labelled", _gi("subset", video, labelled, "--where", "known_ratio > 0.5"), labelled),
        ("idm", _gi("pretrain", "--data", labelled, "--out", idm, *training), idm),
        ("score-idm", _gi("evaluate", "--task", "idm", idm / "checkpoint", corpus, *scoring), study.idm_scores),
        ("label", _gi("label", video, study.corpus("pseudo"), *labelling), study.corpus("pseudo")),
    ]
    stages: tuple[Stage, ...] = ()
    for name, command, output in commands:
        stages = (*stages, Stage(name, (command,), (output,), stages[-1:]))
    return stages


def plan_seed(study: LabelStudy, seed: int, data: tuple[Stage, ...]) -> tuple[Stage, ...]:
    """Train and play the three policies of a seed."""
    stages: list[Stage] = []
    for condition in CONDITIONS:
        run = study.run(condition, seed)
        training = ("--preset", "tiny", "--steps", study.policy_steps, "--seed", seed, "--past-actions", "none")
        train = _gi("pretrain", "--data", study.corpus(condition), "--out", run, *training)
        trained = Stage(f"train-{run.name}", (train,), (run,), data[-1:])
        results = study.out / "played" / f"{run.name}.jsonl"
        play = _evaluate(study, f"policy:{run / 'checkpoint'}", "--label", run.name, "--json", results)
        stages += [trained, Stage(f"play-{run.name}", (play,), (results,), (trained,))]
    return tuple(stages)


def _baselines(study: LabelStudy) -> Stage:
    command = _evaluate(study, "random,demonstrator", "--json", study.baselines)
    return Stage("baselines", (command,), (study.baselines,))


def _evaluate(study: LabelStudy, agent: str, *rest: object) -> Command:
    settings = ("--episodes", study.episodes, "--lockstep", "--jobs", study.jobs, "--quiet")
    return _gi("evaluate", agent, *study.games, *settings, *rest)


def _gi(*words: object) -> Command:
    return ("gi", *map(str, words))

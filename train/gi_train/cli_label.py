"""`gi label`, `gi strip-labels`, and what `gi evaluate --task idm` prints."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gi_data.cli_output import AsJson, CorpusPath, CorpusPlace, print_facts, progress_bar
from gi_model.errors import ConfigError
from gi_train.stopping import stoppable

if TYPE_CHECKING:
    from gi_train.evaluate_idm import IdmScore


def register(app: typer.Typer) -> None:
    """Add the commands."""
    from gi_train.cli_posttrain_study import study_posttrain_command

    app.command("label")(label_command)
    app.command("strip-labels")(strip_labels_command)
    study = typer.Typer(no_args_is_help=True, help="Experiments that answer one question, from recording to chart.")
    study.command("labels")(study_labels_command)
    study.command("posttrain")(study_posttrain_command)
    app.add_typer(study, name="study")


def label_command(
    corpus: CorpusPlace,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the labelled corpus.")],
    idm: Annotated[Path, typer.Option(help="Checkpoint of gi pretrain --task idm.")],
    min_confidence: Annotated[
        float, typer.Option(help="Leave ticks unknown of which the model is less sure; `gi evaluate --task idm` helps.")
    ] = 0.0,
    replace_known: Annotated[
        bool, typer.Option("--replace-known", help="Also label what has true labels, which are kept otherwise.")
    ] = False,
    jobs: Annotated[int, typer.Option(min=0, help="Shards at a time, a process each (0: one a core).")] = 0,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="local processes, or a Ray cluster that sees the same folders.")
    ] = "local",
    device: Annotated[str, typer.Option(help="Where the model runs: cpu | cuda (then use --jobs 1).")] = "cpu",
    shard_mb: Annotated[float, typer.Option(help="Close a shard at this size; a shard is a job.")] = 64.0,
    as_json: AsJson = False,
) -> None:
    """Label the unlabelled ticks of a corpus with an inverse dynamics model, into a new corpus.

    Videos are copied byte for byte. Finished shards are kept: run the same command again after an interruption. Beside
    each shard lies a table of who labelled each tick and how sure: SHARD.confidence.parquet.

    Example: gi label runs/video runs/labelled --idm runs/idm/checkpoint --min-confidence 0.75
    """
    from gi_train.label import LabelPlan, default_workers, label

    workers = jobs or (default_workers() if engine == "local" else 0)
    plan = LabelPlan(
        corpus=corpus if "://" in corpus else str(Path(corpus).resolve()),
        checkpoint=idm.resolve(),
        destination=out.resolve(),
        min_confidence=min_confidence,
        replace_known=replace_known,
        shard_mb=shard_mb,
        device=device,
        workers=0 if workers == 1 and engine == "local" else workers,
        engine=engine,
    )
    from gi_data.catalog import Catalog
    from gi_data.storage import locate

    num_clips = Catalog.open(locate(corpus)).manifest.num_clips
    with stoppable("finished shards are kept: the same call goes on from here"), progress_bar(as_json) as progress:
        task = progress.add_task("labelling", total=num_clips)
        report = label(plan, lambda count: progress.advance(task, count))
    facts: dict[str, object] = {"corpus": str(out), "clips": report.manifest.num_clips, "ticks": report.ticks}
    print_facts(facts | {"mean confidence": report.confidence}, as_json)


def strip_labels_command(
    corpus: CorpusPath,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the corpus with fewer labels.")],
    keep: Annotated[float, typer.Option(help="Share of each game's training recordings that keep their labels.")] = 0.1,
    as_json: AsJson = False,
) -> None:
    """Make a corpus of which most is unlabelled video, to see what labelling is worth where the truth is known.

    Recordings keep their labels or lose them whole. What is stripped is gone from the bytes; held-out clips keep all.

    Example: gi strip-labels runs/corpus runs/mostly-video --keep 0.1
    """
    from gi_data.corpus import Corpus
    from gi_data.relabel import strip_labels
    from gi_data.shards import refresh
    from gi_train.labelled_part import choose_recordings

    source = Corpus(corpus)
    kept = choose_recordings(source, keep)
    strip_labels(source, out, lambda row: row.recording_id in kept)
    manifest = refresh(out)
    print_facts({"corpus": str(out), "clips": manifest.num_clips, "labelled_recordings": sorted(kept)}, as_json)


def study_labels_command(
    out: Annotated[Path, typer.Option(help="Folder of the study; finished stages in it are kept.")],
    games: Annotated[str, typer.Option(help="Games, with commas between.")] = "doom/defend_the_center,doom/gather",
    hours: Annotated[float, typer.Option(help="Hours of play a game.")] = 0.4,
    keep: Annotated[float, typer.Option(help="Share of the recordings that keep their labels.")] = 0.1,
    seeds: Annotated[int, typer.Option(help="Training seeds of each policy.")] = 3,
    idm_steps: Annotated[int, typer.Option(help="Steps of the inverse dynamics model.")] = 1500,
    policy_steps: Annotated[int, typer.Option(help="Steps of each policy.")] = 800,
    episodes: Annotated[int, typer.Option(help="Episodes a game and policy.")] = 30,
    min_confidence: Annotated[float, typer.Option(help="Least confidence of a label that is used.")] = 0.0,
    jobs: Annotated[int, typer.Option(help="Processes at a time.")] = 1,
) -> None:
    """Compare policies from a small labelled part, from it and labels of an IDM, and from all true labels.

    About half an hour of one core. Stop it with Ctrl-C at any time: the same call goes on from there.

    Example: gi study labels --out runs/labels
    """
    from rich.console import Console

    from gi_train.label_study import LabelStudy, run_study

    study = LabelStudy(
        out=out,
        games=tuple(games.split(",")),
        hours=hours,
        keep=keep,
        seeds=seeds,
        idm_steps=idm_steps,
        policy_steps=policy_steps,
        episodes=episodes,
        min_confidence=min_confidence,
        jobs=jobs,
    )
    with stoppable("finished stages are kept: the same call goes on from here"):
        run_study(study, Console())


def evaluate_idm_and_print(checkpoint: str, corpora: list[str], *, split: str, out: Path | None, quiet: bool) -> None:
    """Score an inverse dynamics model on held-out clips of one corpus. Raises ConfigError, CorpusError."""
    from gi_data.corpus import Corpus
    from gi_data.storage import write_atomic
    from gi_train.evaluate_idm import evaluate_idm
    from gi_train.labeller import load_labeller

    if len(corpora) != 1:
        raise ConfigError("labels are scored on one corpus", got=", ".join(corpora), expected="CHECKPOINT CORPUS")
    labeller = load_labeller(Path(checkpoint))
    with progress_bar(quiet or not sys.stderr.isatty()) as progress:
        task = progress.add_task("labelling held-out clips", total=None)
        scores = evaluate_idm(labeller, Corpus(corpora[0]), split=split, advance=lambda: progress.advance(task))
    if out:
        content = json.dumps({game: score.to_dict() for game, score in scores.items()}, indent=1)
        write_atomic(out, content.encode())
    if not quiet:
        _print_scores(scores)


def _print_scores(scores: "dict[str, IdmScore]") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("game", "ticks", "key F1", "transition F1", "axis", "Pearson", "scale", "R2")
    for game, score in scores.items():
        axes = [(name, f"{m.pearson:.3f}", f"{m.scale:.2f}", f"{m.r2:.3f}") for name, m in score.motion.items()]
        facts = (game, str(score.num_ticks), _number(score.key_f1), _number(score.transition_f1))
        for place, axis in enumerate(axes or [("-", "-", "-", "-")]):
            table.add_row(*(facts if place == 0 else ("", "", "", "")), *axis)
    trusted = Table("game", "confidence at least", "share of ticks", "controls right", "Pearson")
    for game, score in scores.items():
        for one in score.trusted:
            row = (f"{one.min_confidence:.2f}", f"{one.share:.3f}", f"{one.controls_right:.3f}", _number(one.pearson))
            trusted.add_row(game, *row)
    console = Console()
    console.print(table)
    console.print(trusted)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"

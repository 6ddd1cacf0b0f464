"""`gi shard`, `gi index`, `gi stats`, `gi verify`: make a corpus of recordings, and look at it."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gi_data import cli_curate
from gi_data.cli_output import AsJson, CorpusPath, CorpusPlace, print_facts, progress_bar
from gi_data.storage import locate

if TYPE_CHECKING:
    from gi_data.corpus_statistics import Statistics
    from gi_data.recovery import Recovery

EXIT_DAMAGED = 1
SHOWN_CONTROLS = 8


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("shard")(shard_command)
    app.command("index")(index_command)
    app.command("stats")(stats_command)
    app.command("verify")(verify_command)
    cli_curate.register(app)


def shard_command(
    paths: Annotated[
        list[Path], typer.Argument(metavar="RECORDINGS... CORPUS", help="Folders of recordings, then the corpus.")
    ],
    shard_mb: Annotated[float, typer.Option(help="Close a shard at this size.")] = 256.0,
    val_fraction: Annotated[float, typer.Option(help="Share of each game's recordings held out.")] = 0.05,
    skip_damaged: Annotated[int, typer.Option(help="Leave out damaged clips, at most so many.")] = 0,
    recover: Annotated[bool, typer.Option(help="First finish recordings that were cut off.")] = False,
    as_json: AsJson = False,
) -> None:
    """Pack recordings into shards with a manifest and an index.

    Resumes by itself, and appends: run it again after an interruption or with more recordings.

    Example: gi shard runs/recordings runs/corpus
    """
    from gi_data.planning import plan
    from gi_data.shards import ShardConfig, build

    if len(paths) < 2:
        raise typer.BadParameter("name at least one folder of recordings, then the folder of the corpus")
    *sources, destination = paths
    config = ShardConfig(shard_mb=shard_mb, skip_damaged=skip_damaged)
    recoveries = [_recover(source) for source in sources] if recover else []
    work = plan(sources, destination, val_fraction=val_fraction)
    with progress_bar(as_json) as progress:
        task = progress.add_task("sharding", total=work.num_new)
        report = build(work, config, lambda: progress.advance(task))
    facts = {
        "corpus": str(destination),
        "new_clips": report.num_new,
        "clips": report.manifest.num_clips,
        "hours": report.manifest.hours,
        "shards": len(report.manifest.shards),
        "recovered": [key for recovery in recoveries for key in recovery.num_ticks],
        "lost": [key for recovery in recoveries for key in recovery.lost],
        "unfinished": list(work.unfinished),
        "revoked": list(work.revoked),
        "damaged": list(report.damaged),
    }
    print_facts(facts, as_json)


def index_command(corpus: CorpusPath, as_json: AsJson = False) -> None:
    """Rebuild index and manifest from the tars.

    Example: gi index runs/corpus
    """
    from gi_data.shards import reindex

    with progress_bar(as_json) as progress:
        task = progress.add_task("indexing", total=len(list(corpus.glob("*.tar"))))
        manifest = reindex(corpus, lambda: progress.advance(task))
    print_facts({"clips": manifest.num_clips, "hours": manifest.hours, "shards": len(manifest.shards)}, as_json)


def stats_command(corpus: CorpusPlace, as_json: AsJson = False) -> None:
    """Show what a corpus holds: hours, keys, motion, idleness, licences.

    Example: gi stats runs/corpus
    """
    from gi_data.corpus_statistics import statistics

    games = statistics(locate(corpus))
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(game) for game in games], indent=1))
    else:
        _print_statistics(games)


def verify_command(corpus: CorpusPlace, as_json: AsJson = False) -> None:
    """Check every byte of a corpus; name each clip that is damaged, and exit with 1 if there is one.

    Example: gi verify runs/corpus
    """
    from gi_data.manifest import Manifest
    from gi_data.verification import verify

    with progress_bar(as_json) as progress:
        task = progress.add_task("verifying", total=len(Manifest.read(locate(corpus)).shards))
        result = verify(locate(corpus), lambda: progress.advance(task))
    print_facts(dataclasses.asdict(result), as_json)
    if result.problems:
        raise typer.Exit(EXIT_DAMAGED)


def _recover(directory: Path) -> "Recovery":
    from gi_data.recovery import locked, recover, scan

    scan(directory)  # says that there is no such directory, before the lock would make one
    with locked(directory):
        return recover(directory)


def _print_statistics(games: "list[Statistics]") -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Column, Table

    headings = ("clips", "hours", "val", "idle", "presses/s", "motion 50/90/99 %")
    table = Table(Column("game", overflow="fold"), *headings, box=SIMPLE, padding=(0, 1, 0, 0))
    for game in games:
        table.add_row(
            game.game,
            str(game.num_clips),
            f"{game.hours:.2f}",
            f"{game.val_hours:.2f}",
            f"{game.null_ratio:.0%}",
            f"{game.presses_per_second:.1f}",
            "/".join(map(str, game.motion_percentiles.values())),
        )
    console = Console(highlight=False)
    console.print(table)
    for game in games[:-1]:
        controls = list(game.held_ratio.items())[:SHOWN_CONTROLS]
        held = ", ".join(f"{control} {share:.0%}" for control, share in controls)
        console.print(f"{game.game} holds", held or "no keys or buttons")
    everything = games[-1]
    licenses = ", ".join(f"{name or 'none'} {hours:.2f} h" for name, hours in everything.licenses.items())
    console.print(f"labelled {everything.known_ratio:.1%} of ticks; licences: {licenses}")

"""`gi merge`, `gi subset`, `gi curate`, `gi query`, `gi revoke`, `gi compact`: what a corpus is used as, and why."""

import csv
import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gi_data.cli_output import AsJson, CorpusPath, CorpusPlace, print_facts, progress_bar
from gi_data.storage import locate

if TYPE_CHECKING:
    from gi_data.curation.curate import CurationReport
    from gi_data.query import Answer

ViewPath = Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the view; made, or refreshed.")]
SHOWN_ROWS = 1000


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("merge")(merge_command)
    app.command("subset")(subset_command)
    app.command("curate")(curate_command)
    app.command("query")(query_command)
    app.command("revoke")(revoke_command)
    app.command("compact")(compact_command)


def merge_command(
    paths: Annotated[list[str], typer.Argument(metavar="CORPUS... OUT", help="Corpora, then the view's folder.")],
    as_json: AsJson = False,
) -> None:
    """Join corpora in a view: nothing is copied, and a clip that several hold counts once.

    Run it again to take in what was added to them.

    Example: gi merge runs/ours runs/theirs runs/both
    """
    from gi_data.views import merge

    if len(paths) < 2:
        raise typer.BadParameter("name at least one corpus, then the folder of the view")
    *sources, destination = paths
    report = merge([locate(source) for source in sources], Path(destination))
    facts: dict[str, object] = {
        "clips": report.manifest.num_clips,
        "hours": report.manifest.hours,
        "doubled": report.num_doubled,
        "moved_to_train": list(report.moved),
    }
    print_facts(facts, as_json)


def subset_command(
    corpus: CorpusPlace,
    out: ViewPath,
    where: Annotated[str, typer.Option(help="SQL condition over the columns of the index.")],
    as_json: AsJson = False,
) -> None:
    """Make a view of the clips for which a condition holds.

    Example: gi subset runs/corpus runs/long --where "game = 'gather-red' and seconds > 5"
    """
    from gi_data.views import subset

    manifest = subset(locate(corpus), out, where=where)
    print_facts({"clips": manifest.num_clips, "hours": manifest.hours}, as_json)


def curate_command(
    corpus: Annotated[str, typer.Argument(metavar="CORPUS", help="Folder or URL of a corpus.")] = "",
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the view; made, or refreshed.")] = Path(),
    config: Annotated[Path | None, typer.Option(help="Filters and limits, a TOML file; without, the defaults.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that decode.")] = 1,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="local processes, or a Ray cluster that sees the same folders.")
    ] = "local",
    skip_damaged: Annotated[int, typer.Option(help="Leave out damaged clips, at most so many.")] = 0,
    example: Annotated[bool, typer.Option("--example", help="Print the default filters, and stop.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a view of what is worth training on; say what went, and why.

    Decodes every clip once, at a small size; resumes by itself, and other limits cost seconds.

    Example: gi curate runs/corpus runs/curated --config curate.toml
    """
    from gi_data.curation.config import default_steps, read_config
    from gi_data.curation.config import example as example_config
    from gi_data.curation.curate import CurationRun, curate
    from gi_data.curation.signal_cache import engine as engine_of

    if example:
        typer.echo(example_config(), nl=False)
        return
    if not corpus or out == Path():
        raise typer.BadParameter("name a corpus, then the folder of the view")
    steps = default_steps() if config is None else read_config(config)
    with progress_bar(as_json) as progress:

        def started(what: str, total: int) -> Callable[[int], object]:
            task = progress.add_task(what, total=total)
            return lambda done: progress.advance(task, done)

        run = CurationRun(engine=engine_of(engine, workers=workers), skip_damaged=skip_damaged, started=started)
        report = curate(locate(corpus), out, steps, run)
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(report)))
    else:
        _print_curation(report)


def revoke_command(
    corpus: CorpusPath,
    recording_ids: Annotated[list[str], typer.Argument(metavar="RECORDING_ID...", help="Recordings to withdraw.")],
    reason: Annotated[str, typer.Option(help="Written beside the id.")] = "",
    ahead: Annotated[bool, typer.Option(help="Also ids that the corpus does not hold yet.")] = False,
    as_json: AsJson = False,
) -> None:
    """Withdraw recordings: they vanish from the corpus and all views over it, and never come back.

    Their bytes go with gi compact.

    Example: gi revoke runs/corpus doom-gather-000003 --reason "the player asked"
    """
    from gi_data.compaction import revoke

    print_facts(dataclasses.asdict(revoke(corpus, recording_ids, reason=reason, ahead=ahead)), as_json)


def compact_command(corpus: CorpusPath, as_json: AsJson = False) -> None:
    """Rewrite the shards that hold revoked recordings without their bytes; then run the commands again that made views.

    Example: gi compact runs/corpus
    """
    from gi_data.compaction import compact
    from gi_data.manifest import Manifest

    with progress_bar(as_json) as progress:
        task = progress.add_task("compacting", total=len(Manifest.read(corpus).shards))
        result = compact(corpus, lambda: progress.advance(task))
    print_facts(dataclasses.asdict(result), as_json)


def query_command(
    sql: Annotated[str, typer.Argument(help="One SELECT; the table is called clips.")],
    corpus: Annotated[list[str], typer.Option(help="Folder or URL of a corpus; may be given again.")],
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the result as CSV.")] = False,
) -> None:
    """Ask the index in SQL, where it lies: on disk or behind a URL.

    Example: gi query "select game, sum(seconds) / 3600 from clips group by 1" --corpus runs/corpus
    """
    from gi_data.query import query

    answer = query(sql, [locate(name) for name in corpus])
    if as_json:
        rows = [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]
        typer.echo(json.dumps(rows, default=str))
    elif as_csv:
        csv.writer(sys.stdout, lineterminator="\n").writerows([answer.columns, *answer.rows])
    else:
        _print_table(answer)


def _print_curation(report: "CurationReport") -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    numbers = [Column(escape(name), justify="right") for name in ("hours in", "removed", "hours out", "stretches")]
    table = Table(Column("filter"), *numbers, Column("most of it in"), box=SIMPLE, padding=(0, 1, 0, 0))
    for step in report.filters:
        games = sorted(step.hours_removed_by_game.items(), key=lambda item: -item[1])
        share = (step.hours_in - step.hours_out) / step.hours_in if step.hours_in else 0.0
        hours_in, hours_out = f"{step.hours_in:.3f}", f"{step.hours_out:.3f}"
        table.add_row(
            step.filter, hours_in, f"{share:.1%}", hours_out, str(step.stretches), escape(games[0][0]) if games else ""
        )
    console = Console(highlight=False)
    console.print(table)
    for game, (before, after) in report.hours_by_game.items():
        console.print(f"{escape(game)}: {after:.3f} of {before:.3f} h")
    console.print(f"validation: {report.val_hours[1]:.3f} of {report.val_hours[0]:.3f} h")
    if report.moved_to_train:
        console.print(f"to train, for their near-duplicates are there: {', '.join(report.moved_to_train)}")
    for why in report.damaged.values():
        console.print(f"[yellow]damaged[/] {escape(why)}")


def _print_table(answer: "Answer") -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    numbers = [
        all(isinstance(row[column], int | float) for row in answer.rows) for column in range(len(answer.columns))
    ]
    headings = zip(answer.columns, numbers, strict=True)
    columns = [
        Column(escape(name), justify="right" if number else "left", overflow="fold") for name, number in headings
    ]
    table = Table(*columns, box=SIMPLE, padding=(0, 1, 0, 0))
    for row in answer.rows[:SHOWN_ROWS]:
        table.add_row(*(escape(f"{value:.4g}" if isinstance(value, float) else str(value)) for value in row))
    console = Console(highlight=False)
    console.print(table)
    if (num_more := len(answer.rows) - SHOWN_ROWS) > 0:
        console.print(f"{num_more} more rows; see them all with --csv or --json")

"""`gi merge`, `gi subset`, `gi query`: views over corpora, and questions to their indexes."""

import csv
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from gi_data.cli_output import AsJson, CorpusPath, print_facts

if TYPE_CHECKING:
    from gi_data.query import Answer

ViewPath = Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the view; made, or refreshed.")]
SHOWN_ROWS = 1000


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("merge")(merge_command)
    app.command("subset")(subset_command)
    app.command("query")(query_command)


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
    report = merge([corpus_at(source) for source in sources], Path(destination))
    facts: dict[str, object] = {
        "clips": report.manifest.num_clips,
        "hours": report.manifest.hours,
        "doubled": report.num_doubled,
        "moved_to_train": list(report.moved),
    }
    print_facts(facts, as_json)


def subset_command(
    corpus: Annotated[str, typer.Argument(metavar="CORPUS", help="Folder or URL of a corpus.")],
    out: ViewPath,
    where: Annotated[str, typer.Option(help="SQL condition over the columns of the index.")],
    as_json: AsJson = False,
) -> None:
    """Make a view of the clips for which a condition holds.

    Example: gi subset runs/corpus runs/long --where "game = 'gather-red' and seconds > 5"
    """
    from gi_data.views import subset

    manifest = subset(corpus_at(corpus), out, where=where)
    print_facts({"clips": manifest.num_clips, "hours": manifest.hours}, as_json)


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

    answer = query(sql, [corpus_at(name) for name in corpus])
    if as_json:
        rows = [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]
        typer.echo(json.dumps(rows, default=str))
    elif as_csv:
        csv.writer(sys.stdout, lineterminator="\n").writerows([answer.columns, *answer.rows])
    else:
        _print_table(answer)


def corpus_at(name: str) -> Path:
    """Folder or URL of a corpus as a path."""
    if "://" not in name:
        return Path(name)
    from upath import UPath

    return cast(Path, UPath(name))


def _print_table(answer: "Answer") -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    numbers = [
        all(isinstance(row[column], int | float) for row in answer.rows) for column in range(len(answer.columns))
    ]
    headings = zip(answer.columns, numbers, strict=True)
    columns = [Column(name, justify="right" if number else "left", overflow="fold") for name, number in headings]
    table = Table(*columns, box=SIMPLE, padding=(0, 1, 0, 0))
    for row in answer.rows[:SHOWN_ROWS]:
        table.add_row(*(escape(f"{value:.4g}" if isinstance(value, float) else str(value)) for value in row))
    console = Console(highlight=False)
    console.print(table)
    if (num_more := len(answer.rows) - SHOWN_ROWS) > 0:
        console.print(f"{num_more} more rows; see them all with --csv or --json")

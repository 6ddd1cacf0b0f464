"""What the corpus's commands share: their options, progress bars, and how facts are printed."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.progress import Progress

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
CorpusPlace = Annotated[str, typer.Argument(metavar="CORPUS", help="Folder or URL of a corpus (from `gi shard`).")]
CorpusPath = Annotated[Path, typer.Argument(metavar="CORPUS", help="Folder of a corpus (from `gi shard`).")]


def progress_bar(as_json: bool) -> "Progress":
    """A bar on stderr; silent where a script reads."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), disable=as_json)


def print_facts(facts: dict[str, object], as_json: bool) -> None:
    """Name and value of each fact; empty lists are left out for people, kept for scripts."""
    from rich.console import Console
    from rich.markup import escape

    if as_json:
        typer.echo(json.dumps(facts))
        return
    console = Console()
    for name, value in facts.items():
        lines = [f"{key}: {text}" for key, text in value.items()] if isinstance(value, dict) else value
        if isinstance(lines, list | tuple):
            for line in lines:
                console.print(f"[yellow]{name}[/] {escape(str(line))}", highlight=False)
        else:
            shown = f"{lines:.3f}" if isinstance(lines, float) else escape(str(lines))
            console.print(f"{name.replace('_', ' ')} [bold]{shown}[/]", highlight=False)

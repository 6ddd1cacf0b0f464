"""`gi card`, `gi contact-sheet`: a corpus for people: a page to read, and one to watch."""

import json
from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
CorpusPath = Annotated[str, typer.Argument(metavar="CORPUS", help="Folder or URL of a corpus or of a view.")]
Title = Annotated[str | None, typer.Option(help="Heading; the folder's name if not given.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("card")(card_command)
    app.command("contact-sheet")(contact_sheet_command)


def card_command(
    corpus: CorpusPath,
    out: Annotated[Path | None, typer.Option(help="Folder to write into; the corpus itself if not given.")] = None,
    title: Title = None,
    description: Annotated[str, typer.Option(help="A paragraph of your own, at the top.")] = "",
    as_json: AsJson = False,
) -> None:
    """Write CORPUS_CARD.md: what a corpus holds, with charts, read from its index alone.

    Example: gi card runs/corpus --title "Doom, scripted"
    """
    from gi_data.card import write_card
    from gi_data.storage import locate

    location = locate(corpus)
    directory = out or location
    if not isinstance(directory, Path):
        raise typer.BadParameter("the card of a corpus behind a URL needs --out, a folder here")
    card, *charts = write_card(location, directory, title=title or _name(corpus), description=description)
    _print({"card": str(card), "charts": len(charts)}, as_json)


def contact_sheet_command(
    corpus: CorpusPath,
    out: Annotated[Path, typer.Option(help="The HTML file to write.")],
    clips: Annotated[int, typer.Option(help="How many clips to draw.")] = 24,
    seed: Annotated[int, typer.Option(help="Another seed draws others.")] = 0,
    seconds: Annotated[float, typer.Option(help="About how much of each.")] = 6.0,
    game: Annotated[list[str] | None, typer.Option(help="Only this game; may be given again.")] = None,
    split: Annotated[str | None, typer.Option(help="Only train or val.")] = None,
    max_mb: Annotated[float, typer.Option(help="Largest page; clips that do not fit are left out.")] = 25.0,
    title: Title = None,
    as_json: AsJson = False,
) -> None:
    """Write one HTML page on which random clips play with their inputs overlaid. It loads nothing.

    Example: gi contact-sheet runs/corpus --out runs/sheet.html
    """
    from gi_data.contact_sheet import SheetConfig, draw_sheet
    from gi_data.contact_sheet_page import render
    from gi_data.corpus import Corpus
    from gi_data.storage import locate, write_atomic

    config = SheetConfig(clips=clips, seed=seed, seconds=seconds, games=tuple(game or ()), split=split, max_mb=max_mb)
    opened = Corpus(locate(corpus))
    sheet = draw_sheet(opened, config)
    page = render(sheet, opened.manifest, config, title=title or _name(corpus)).encode()
    write_atomic(out, page)
    facts = {"page": str(out), "mb": round(len(page) / 1e6, 2), "clips": len(sheet.tiles)}
    _print(facts | {"did_not_fit": sheet.num_drawn - len(sheet.tiles)}, as_json)


def _name(corpus: str) -> str:
    """The last part of a path or URL."""
    return (corpus if "://" in corpus else str(Path(corpus).resolve())).rstrip("/").rpartition("/")[2] or "corpus"


def _print(facts: dict[str, object], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(facts))
        return
    for name, value in facts.items():
        typer.echo(f"{name.replace('_', ' ')} {value}")

"""`gi export`: a corpus in the formats of others."""

import json
from pathlib import Path
from typing import Annotated

import typer

from gi_data.cli_output import AsJson, CorpusPath, progress_bar


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Write a corpus in a format of others.", no_args_is_help=True)
    group.command("lerobot")(lerobot_command)
    app.add_typer(group, name="export")


def lerobot_command(
    corpus: CorpusPath,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to make; it must not exist.")],
    data_mb: Annotated[int, typer.Option(min=1, help="Size of a file of rows, at most.")] = 100,
    video_mb: Annotated[int, typer.Option(min=1, help="Size of a video file, at most.")] = 200,
    as_json: AsJson = False,
) -> None:
    """Write a LeRobot dataset (v3.0): an episode a clip, pictures copied, labels exact.

    Clips of several rates or sizes become one dataset each, in folders named by them.

    Example: gi export lerobot runs/corpus runs/lerobot
    """
    from gi_data.corpus import Corpus
    from gi_data.lerobot_export import export_lerobot

    with progress_bar(as_json) as progress:
        task = progress.add_task("exporting", total=Corpus(corpus).num_clips)
        exported = export_lerobot(
            corpus, out, data_mb=data_mb, video_mb=video_mb, advance=lambda: progress.advance(task)
        )
    if as_json:
        typer.echo(json.dumps([vars(each) | {"path": str(each.path)} for each in exported]))
        return
    for each in exported:
        typer.echo(f"{each.path}: {each.num_episodes} episodes, {each.num_frames} frames, {each.num_actions} controls")

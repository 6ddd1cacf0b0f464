"""`gi record` and `gi games`."""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from gi_data.record import RecordPlan
    from gi_data.record_jobs import Tally


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("record")(record_command)
    app.command("games")(games_command)


def record_command(
    game: Annotated[str, typer.Argument(help="A game by name, such as doom/defend_the_center; `gi games` lists them.")],
    out: Annotated[Path, typer.Option(help="Folder for the recordings.")],
    demonstrator: Annotated[str, typer.Option(help="scripted | random | idle | policy:FOLDER | human")] = "scripted",
    episodes: Annotated[
        int | None, typer.Option(help="Episodes to record (default: 1, or as many as --hours takes).")
    ] = None,
    hours: Annotated[float | None, typer.Option(help="Hours of play to record, at the game's real speed.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the first episode; the next ones follow.")] = 0,
    jobs: Annotated[int, typer.Option(help="Games played at a time (0: one a core).")] = 0,
    perturb: Annotated[
        bool | None,
        typer.Option("--perturb/--no-perturb", help="Shove the player now and then; labels keep what it meant to do."),
    ] = None,
    window: Annotated[
        str | None, typer.Option(help="Record yourself in the window whose title contains this; GAME is then a name.")
    ] = None,
    fps: Annotated[float, typer.Option(help="With --window: ticks a second.", min=1, max=240)] = 20.0,
    bindings: Annotated[
        Path | None, typer.Option(help="With --window: TOML with the game's controls; nothing else is kept.")
    ] = None,
    last: Annotated[
        str | None, typer.Option(help="With --window: keep only the last 30s (or 2m) in memory; F9 or SIGUSR1 saves.")
    ] = None,
    browser: Annotated[
        bool, typer.Option("--browser", help="Show the game's page (web/arena) and record who plays there and agrees.")
    ] = False,
    port: Annotated[int, typer.Option(help="With --browser: 0 picks a free one.", min=0, max=65535)] = 8000,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
) -> None:
    """Record a player: video and the input state of every tick. The same command again continues what is missing.

    Example: gi record doom/defend_the_center --episodes 12 --seed 0 --out runs/recordings
    People, in a page: gi record web/arena --browser --out runs/played
    Yourself, in any game: gi record mygame --window "My Game" --last 30s --out runs/mine
    """
    from gi_data.record import RecordPlan

    if browser:
        from gi_data.cli_record_browser import record_from_browser

        record_from_browser(game, out=out, port=port, as_json=as_json)
        return
    if window is not None:
        from gi_data.cli_record_window import record_from_window

        record_from_window(game, window, out=out, fps=fps, bindings=bindings, last=last, as_json=as_json)
        return

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    plan = RecordPlan(
        game=game,
        out=out,
        demonstrator=demonstrator,
        episodes=episodes if episodes or hours else 1,
        hours=hours,
        seed=seed,
        jobs=jobs or os.cpu_count() or 1,
        perturb=demonstrator == "scripted" if perturb is None else perturb,
    )
    if demonstrator == "human":
        _print_controls(game)
    began = time.perf_counter()
    tally = _record_with_progress(plan)
    summary = summarise(plan, tally, seconds=time.perf_counter() - began)
    if as_json:
        typer.echo(json.dumps(summary))
    else:
        _print_summary(summary)
    if tally.lost:
        raise typer.Exit(1)


def _print_controls(game: str) -> None:
    """Tell the person what to press; on stderr, for stdout may be read by a script."""
    from rich.console import Console

    from gi_data.envs import make_environment

    bindings = make_environment(game).bindings
    moves = {action: f"mouse {axis.axis}" for action, axis in bindings.analogue.items()}
    text = ", ".join(f"{control} {action}" for action, control in {**bindings.digital, **moves}.items())
    Console(stderr=True).print(f"Play in the game's window: {text}. Ctrl-C here ends the recording.", highlight=False)


def games_command() -> None:
    """List the games by name."""
    from gi_data.envs import list_games

    for name in list_games():
        typer.echo(name)


def summarise(plan: "RecordPlan", tally: "Tally", *, seconds: float) -> dict[str, Any]:
    """What was recorded, for scripts."""
    return {
        "game": plan.game,
        "out": str(plan.out),
        "episodes": len(tally.finished),
        "episodes_new": len(tally.recorded),
        "frames": sum(episode.ticks for episode in tally.finished),
        "mean_score": tally.mean_score,
        "lost": {str(seed): reason for seed, reason in tally.lost.items()},
        "recovered": dict(tally.recovered.num_ticks),
        "unrecoverable": list(tally.recovered.lost),
        "seconds": round(seconds, 2),
    }


def _record_with_progress(plan: "RecordPlan") -> "Tally":
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from gi_data.record_jobs import record
    from gi_data.record_person import record_person

    columns = (
        SpinnerColumn(),
        TextColumn(plan.game),
        BarColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("starting", total=plan.episodes)
        began = time.perf_counter()

        def show(tally: "Tally") -> None:
            score = "-" if tally.mean_score is None else f"{tally.mean_score:.2f}"
            rate = tally.ticks / (time.perf_counter() - began)
            text = f"{len(tally.finished)} episodes  {tally.ticks} frames  {rate:.0f}/s  score {score}"
            progress.update(task, completed=len(tally.finished), description=text)

        return record_person(plan, show) if plan.demonstrator == "human" else record(plan, show)


def _print_summary(summary: dict[str, Any]) -> None:
    from rich.console import Console

    console = Console()
    for key, ticks in summary["recovered"].items():
        console.print(f"recovered {key}, cut off after {ticks} ticks", highlight=False)
    for key in summary["unrecoverable"]:
        console.print(f"[yellow]nothing left of[/] {key}; it is recorded anew", highlight=False)
    for seed, reason in summary["lost"].items():
        console.print(f"[yellow]lost[/] episode {seed}: {reason}. Run the command again.", highlight=False)
    score = "-" if summary["mean_score"] is None else f"{summary['mean_score']:.2f}"
    counts = f"{summary['episodes']} episodes ({summary['episodes_new']} new), {summary['frames']} frames"
    console.print(f"{counts}, mean score {score}, {summary['seconds']} s, in {summary['out']}", highlight=False)

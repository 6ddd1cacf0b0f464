"""`gi ingest` and `gi formats`: other people's recordings become ours."""

import dataclasses
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gi_data.cli_calibrate import calibrate_and_print
from gi_model.errors import ConfigError
from gi_model.exit_codes import ExitCode

if TYPE_CHECKING:
    from gi_data.ingest.convert import Ingested
    from gi_data.ingest.ingest import IngestPlan, IngestReport
    from gi_data.ingest.source import Importer
    from gi_model.embodiment import Camera

EXIT_DAMAGED = 1


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("ingest")(ingest_command)
    app.command("formats")(formats_command)


def ingest_command(
    format_name: Annotated[str, typer.Argument(metavar="FORMAT", help="What SRC holds; `gi formats` lists them.")],
    source: Annotated[Path, typer.Argument(metavar="SRC", help="File or folder to read; it is never changed.")],
    destination: Annotated[
        Path | None, typer.Argument(metavar="DST", help="Folder for the recordings (not needed by --calibrate).")
    ] = None,
    height: Annotated[
        int | None,
        typer.Option(help="Height of the stored picture; even (default: 192, or the embodiment's camera's)."),
    ] = None,
    width: Annotated[
        int | None, typer.Option(help="Width; even (default alike). The picture is stretched to fit, never cropped.")
    ] = None,
    fps: Annotated[
        float | None, typer.Option(help="Ticks a second (default: the format's own up to 30, or 20).")
    ] = None,
    clip_ticks: Annotated[int, typer.Option(help="Ticks a clip.")] = 350,
    offset_ms: Annotated[float, typer.Option(help="Added to the times of all inputs; --calibrate suggests one.")] = 0.0,
    bindings: Annotated[
        Path | None, typer.Option(help="TOML file of the game's bindings: only what stands there is kept.")
    ] = None,
    embodiment: Annotated[
        Path | None, typer.Option(help="embodiment.toml of a robot: its commands become inputs (lerobot).")
    ] = None,
    keep_unbound: Annotated[
        bool,
        typer.Option("--keep-unbound", help="Also keep controls that the game does not use. They can spell words."),
    ] = False,
    game: Annotated[str | None, typer.Option(help="Name of the game, instead of what the files say.")] = None,
    license_: Annotated[str | None, typer.Option("--license", help="License, instead of what the files say.")] = None,
    consent: Annotated[
        str | None, typer.Option(help="What the players agreed to, instead of what the files say.")
    ] = None,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Write nothing: measure how inputs lie in time against the picture.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N recordings.")] = None,
    part: Annotated[
        str, typer.Option(metavar="I/N", help="Every Nth recording from I on, 0/N to N-1/N: for N machines at once.")
    ] = "0/1",
    skip_damaged: Annotated[int, typer.Option(min=0, help="Succeed although at most N recordings cannot be read.")] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Recordings at a time (0: one a core).")] = 0,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="local processes, or a Ray cluster that sees the same folders.")
    ] = "local",
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")] = False,
) -> None:
    """Turn anyone's recordings of play into ours: one picture and one input state a tick, in clips.

    Run the same command again after an interruption: what is finished is kept. Stretches in which text was typed are
    cut out, and controls that the game does not use are not stored. Machines that share the work by --part need a DST
    each; `gi shard` takes all of them.

    Example: gi ingest pair my_videos runs/ingested --game my-game --license CC-BY-4.0
    """
    from gi_data.ingest.bindings_file import read_bindings
    from gi_data.ingest.convert import IngestConfig
    from gi_data.ingest.importers import load_importer
    from gi_data.ingest.ingest import IngestPlan

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(ExitCode.STOPPED))
    importer = load_importer(format_name)
    if embodiment is not None:
        importer, camera = _embodied(importer, embodiment, fps=fps)
        height, width = height or camera.height, width or camera.width
    config = IngestConfig(
        height=height or 192,
        width=width or 192,
        fps=fps,
        clip_ticks=clip_ticks,
        offset_ms=offset_ms,
        bindings=read_bindings(bindings) if bindings else None,
        keep_unbound=keep_unbound,
        game=game,
        license=license_,
        consent=consent,
    )
    if destination is None and not calibrate:
        raise typer.BadParameter("name the folder for the recordings", param_hint="DST")
    if engine == "local":
        workers = workers or os.cpu_count() or 1
    plan = IngestPlan(importer, source, destination or source, config, limit, workers, engine, read_part(part))
    if calibrate:
        calibrate_and_print(plan, as_json=as_json)
        return
    report = _ingest_with_progress(plan, quiet=as_json)
    if as_json:
        typer.echo(json.dumps(summarise(plan, report)))
    else:
        _print_report(plan, report)
    if len(report.failures) > skip_damaged:
        raise typer.Exit(EXIT_DAMAGED)


def _embodied(importer: "Importer", path: Path, *, fps: float | None) -> tuple["Importer", "Camera"]:
    """The importer, told of the robot whose file `path` is, and that robot's camera. Raises ConfigError."""
    from gi_data.ingest.lerobot import LerobotImporter
    from gi_model.embodiment import read_embodiment

    if not isinstance(importer, LerobotImporter):
        raise ConfigError("this format has no commands of robots", got=importer.name, expected=LerobotImporter.name)
    body = read_embodiment(path)
    if fps is not None and fps != body.fps:
        do = "Leave --fps out: demonstrations keep their rate."
        raise ConfigError("another rate than the embodiment's", got=fps, expected=body.fps, do=do)
    return LerobotImporter(body), body.camera


def read_part(text: str) -> tuple[int, int]:
    """I and N of I/N. Raises ConfigError."""
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal()):
        raise ConfigError("cannot read --part", got=text, expected="I/N, as in 0/8")
    return int(index), int(count)


def formats_command(
    as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
) -> None:
    """List the formats that `gi ingest` reads, and how each one's labels lie in time against its pictures."""
    from rich.console import Console
    from rich.markup import escape

    from gi_data.ingest.importers import list_importers
    from gi_model.errors import GiError

    importers = list_importers()
    facts = {
        name: {"missing": str(one)} if isinstance(one, GiError) else {"summary": one.summary, "offset": one.offset}
        for name, one in importers.items()
    }
    if as_json:
        typer.echo(json.dumps(facts, indent=1))
        return
    console = Console(highlight=False)
    for name, fact in facts.items():
        console.print(f"[bold]{escape(name)}[/]")
        for kind, text in fact.items():
            console.print(f"  {kind}: {escape(text)}", style="yellow" if kind == "missing" else None)


def summarise(plan: "IngestPlan", report: "IngestReport") -> dict[str, Any]:
    """What was ingested, for scripts."""
    return {
        "format": plan.importer.name,
        "destination": str(plan.destination),
        "recordings": len(report.made),
        "finished_before": report.num_finished_before,
        "failed": {one.recording_id: one.failure for one in report.failures},
        "ticks": round(report.total("ticks")),
        "hours": report.total("seconds") / 3600,
        "typed_s": report.total("typed_s"),
        "cut_s": report.total("cut_s"),
        "lost_s": report.total("lost_s"),
        "unlabelled_ticks": round(report.total("unlabelled_ticks")),
        "unbound_presses": round(report.total("unbound_presses")),
        "inexpressible": dict(report.counts("inexpressible")),
        "unknown": dict(report.counts("unknown")),
        "notes": {one.recording_id: one.note for one in report.made if one.note},
        "each": [dataclasses.asdict(one) for one in report.recordings],
    }


def _ingest_with_progress(plan: "IngestPlan", *, quiet: bool) -> "IngestReport":
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from gi_data.ingest.ingest import ingest

    total = sum(one.num_bytes for one in plan.find())
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as progress:
        task = progress.add_task("ingesting", total=total)
        num_done = 0

        def show(one: "Ingested") -> None:
            nonlocal num_done
            num_done += 1
            progress.update(task, advance=one.num_bytes, description=f"{num_done} recordings")

        return ingest(plan, show)


def _print_report(plan: "IngestPlan", report: "IngestReport") -> None:
    from rich.console import Console

    console = Console(highlight=False)

    def say(text: str) -> None:
        console.print(text, markup=False, soft_wrap=True)

    say(f"{len(report.made)} recordings, {report.total('seconds') / 3600:.2f} h, {report.total('ticks'):.0f} ticks")
    if report.num_finished_before:
        say(f"{report.num_finished_before} recordings were finished before and kept")
    if typed_s := report.total("typed_s"):
        say(f"{typed_s:.0f} s cut out because text was typed; if it was play, bind its keys with --bindings")
    if cut_s := report.total("cut_s"):
        say(f"{cut_s:.0f} s cut out that are no play")
    if lost_s := report.total("lost_s"):
        say(f"{lost_s:.0f} s lost for want of pictures")
    for one in report.made:
        if one.note:
            say(f"  {one.recording_id}: {one.note}")
    if unlabelled := report.total("unlabelled_ticks"):
        say(f"{unlabelled:.0f} ticks without a known action")
    if unbound := report.total("unbound_presses"):
        fate = "kept" if plan.config.keep_unbound else "dropped"
        say(f"{unbound:.0f} presses of controls outside the bindings, {fate}")
    for name in ("inexpressible", "unknown"):
        if counts := report.counts(name):
            shown = ", ".join(f"{what} {count}" for what, count in counts.most_common(12))
            say(f"{name}: {shown}" + (f" and {len(counts) - 12} more" if len(counts) > 12 else ""))
    if report.failures:
        say(f"{len(report.failures)} recordings could not be made:")
    for one in report.failures:
        say(f"  {one.recording_id}: {one.failure}")
    if report.made or report.num_finished_before:
        say(f"next: gi shard {plan.destination} CORPUS")

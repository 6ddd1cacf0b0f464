"""`gi ingest --calibrate`: what the pictures say about the times of the labels."""

import dataclasses
import json
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from gi_data.ingest.calibration import Calibration
    from gi_data.ingest.ingest import IngestPlan

EXIT_UNKNOWN = 1


def calibrate_and_print(plan: "IngestPlan", *, as_json: bool) -> None:
    """Measure and say what to do; exit with 1 if no recording can be trusted."""
    from gi_data.ingest.calibration import suggest

    calibrations = _calibrate_with_progress(plan, quiet=as_json)
    offset_ms = suggest(calibrations)
    if as_json:
        each = [dataclasses.asdict(one) for one in calibrations]
        typer.echo(json.dumps({"offset_ms": offset_ms, "in_use_ms": plan.config.offset_ms, "each": each}))
    else:
        _print_each(calibrations)
        typer.echo(_advice(calibrations, offset_ms, plan.config.offset_ms))
    if offset_ms is None:
        raise typer.Exit(EXIT_UNKNOWN)


def _calibrate_with_progress(plan: "IngestPlan", *, quiet: bool) -> "tuple[Calibration, ...]":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from gi_data.ingest.ingest import calibrate

    num_found = len(plan.find())
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as progress:
        task = progress.add_task("measuring", total=num_found)
        return calibrate(plan, lambda _: progress.advance(task))


def _print_each(calibrations: "tuple[Calibration, ...]") -> None:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True, markup=False)
    for one in calibrations:
        found = f"offset {one.offset_ms + 0.0:.0f} +- {one.spread_ms:.0f} ms, {one.confidence:.0%} of resamples agree"
        strength = f"correlation {one.correlation_now:.2f} now, {one.correlation:.2f} there, {one.num_steps} steps"
        scale = f"{one.axis}: {100 * one.widths_per_count:.3f} % of the width a count"
        console.print(f"{one.recording_id}: {found}; {strength}; {scale}")
        if one.doubt:
            console.print(f"  not to be trusted: {one.doubt}", style="yellow")


def _advice(calibrations: "tuple[Calibration, ...]", offset_ms: float | None, in_use_ms: float) -> str:
    trusted = [one for one in calibrations if not one.doubt]
    if offset_ms is None:
        return "No recording can be trusted here; keep the offset you have, or look at the pictures yourself."
    tick_ms = min(one.tick_ms for one in trusted)
    low, high = min(one.offset_ms for one in trusted), max(one.offset_ms for one in trusted)
    text = f"{len(trusted)} of {len(calibrations)} recordings can be trusted"
    if high - low > tick_ms:
        text += f"; they want from {low:.0f} to {high:.0f} ms: calibrate and ingest them apart"
    if abs(offset_ms - in_use_ms) <= tick_ms / 2:
        return f"{text}. Labels lie right within half a tick: keep --offset-ms {in_use_ms:g}"
    if any(one.correlation > 0 for one in trusted):
        text += "; some pictures move with the mouse: an inverted axis?"
    return f"{text}. Suggested: --offset-ms {offset_ms + 0.0:.0f}"

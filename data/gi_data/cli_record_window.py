"""`gi record GAME --window TITLE`: a person plays any game in its window."""

import json
import signal
import threading
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from gi_data.desktop.record_window import WindowRecording, WindowTally


def record_from_window(
    game: str, title: str, *, out: Path, fps: float, bindings: Path | None, last: str | None, as_json: bool
) -> None:
    """Record until Ctrl-C, SIGTERM, or the window's end, and say what was kept."""
    from gi_data.desktop.record_window import WindowRecording
    from gi_data.desktop.window_game import WindowPlan
    from gi_data.ingest.bindings_file import read_bindings

    plan = WindowPlan(game, title, fps, read_bindings(bindings) if bindings is not None else None)
    recording = WindowRecording(plan, out, last_s=None if last is None else seconds_of(last))
    tally = _record_with_progress(recording)
    if as_json:
        typer.echo(json.dumps({"game": game, "out": str(out), **asdict(tally)}))
        return
    kept = ", ".join(tally.saved) or "nothing"
    typer.echo(f"kept {kept} in {out}; {tally.ticks} ticks seen" + (f". {tally.ended}" if tally.ended else ""))


def seconds_of(text: str) -> float:
    """Seconds of "30", "30s", or "2m". Raises ConfigError."""
    from gi_model.errors import ConfigError

    number, factor = text.removesuffix("s"), 1.0
    if text.endswith("m"):
        number, factor = text[:-1], 60.0
    try:
        seconds = float(number) * factor
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 600:
        raise ConfigError("how much to remember?", got=text, expected="such as 30s or 2m, at most 10m: it is in memory")
    return seconds


def _record_with_progress(recording: "WindowRecording") -> "WindowTally":
    from rich.console import Console

    from gi_data.desktop.record_window import record_window
    from gi_data.desktop.system import open_desktop

    stop, console = threading.Event(), Console(stderr=True)
    before = {each: signal.signal(each, lambda *_: stop.set()) for each in (signal.SIGINT, signal.SIGTERM)}
    keep = "" if recording.last_s is None else f"[bold]{recording.save_key}[/] keeps the last {recording.last_s:g} s. "
    words = f"Recording. {keep}Ctrl-C here ends. Only the game's controls are kept, and only in its window."
    desktop = open_desktop()
    try:
        with console.status("looking for the window") as status:

            def show(tally: "WindowTally") -> None:
                if tally.ticks == 1:
                    console.print(words)
                paused = ", paused: the window has not the focus" if tally.is_paused else ""
                status.update(f"{tally.ticks} ticks, {len(tally.saved)} recordings{paused}")

            return record_window(recording, desktop, stop=stop, on_change=show)
    finally:
        desktop.close()
        for each, handler in before.items():
            signal.signal(each, handler)

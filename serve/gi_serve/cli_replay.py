"""`gi replay`: does a recorded session still play the same?"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gi_serve.replay import ReplayReport
    from gi_serve.session_record import SessionRecord


def replay_command(
    recording: Annotated[Path, typer.Argument(help="Folder that `gi serve --record-sessions` wrote.")],
    checkpoint: Annotated[Path | None, typer.Option(help="Play it on this model, here, on the CPU.")] = None,
    url: Annotated[str | None, typer.Option(help="Play it on this server.")] = None,
    model: Annotated[str | None, typer.Option(help="Of the server, where it has several.")] = None,
    adapter: Annotated[
        str | None, typer.Option(help="That it was played with: with --checkpoint a folder, with --url a name.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Play a recorded session again; exit with 1 at the first action that differs."""
    from gi_model.errors import ConfigError
    from gi_serve.session_record import SessionRecord

    if (checkpoint is None) == (url is None):
        raise ConfigError("replay on what?", expected="one of --checkpoint PATH, --url http://HOST:PORT")
    record = SessionRecord.open(recording)
    if url:
        report = _replay_on_server(record, url, model, adapter)
    else:
        report = _replay_on_checkpoint(record, checkpoint or Path(), adapter)
    typer.echo(json.dumps(asdict(report)) if as_json else _describe(report))
    if report.difference is not None or not report.num_compared:
        raise typer.Exit(1)


def _replay_on_server(record: "SessionRecord", url: str, model: str | None, adapter: str | None) -> "ReplayReport":
    from gi_serve.replay import ServerReplayer, replay

    with ServerReplayer(url, model=model, adapter=adapter) as replayer:
        return replay(record, replayer)


def _replay_on_checkpoint(record: "SessionRecord", checkpoint: Path, adapter: str | None) -> "ReplayReport":
    import torch

    from gi_model.adapters import load_adapter
    from gi_model.policy_stepper import load_stepper
    from gi_serve.replay import StepperReplayer, replay

    torch.set_num_threads(1)
    stepper = load_stepper(checkpoint, num_slots=1)
    if adapter is None:
        return replay(record, StepperReplayer(stepper))
    loaded = load_adapter(Path(adapter))
    stepper.add_adapter(loaded)
    return replay(record, StepperReplayer(stepper, loaded.config.name))


def _describe(report: "ReplayReport") -> str:
    model = "" if report.same_model else " (recorded with another model)"
    if (difference := report.difference) is not None:
        where = f"step {difference.step}, seq {difference.seq}{model}"
        return f"first difference at {where}\n  recorded {difference.expected}\n  now      {difference.got}"
    if not report.num_compared:
        return "the recording holds no answer to compare"
    error = f"probabilities within {report.max_confidence_error:.1e}"
    return f"{report.num_compared} of {report.num_steps} steps compared, all actions the same, {error}{model}"

"""`gi bench serve` and `gi bench faults`: the server under load, and under everything that goes wrong."""

import json
from pathlib import Path
from typing import Annotated

import typer

from gi_data.cli_output import AsJson, progress_bar


def register(bench: typer.Typer) -> None:
    """Add the benchmarks to the group `gi bench`."""
    bench.command("serve")(serve_command)
    bench.command("faults")(faults_command)


def serve_command(
    seconds: Annotated[float, typer.Option(help="Seconds of each trial.")] = 5.0,
    repetitions: Annotated[int, typer.Option(help="Trials of everyone, taken in turns; medians count.")] = 3,
    preset: Annotated[str, typer.Option(help="The real policy, with random weights; '' for none.")] = "tiny",
    checkpoint: Annotated[Path | None, typer.Option(help="The real policy, trained.")] = None,
    policy_rate: Annotated[float, typer.Option(help="Frames a second of its players.")] = 20.0,
    peer_python: Annotated[
        Path | None, typer.Option(help="Python of an environment with litserve and simplejpeg, to run it too.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Players a server holds on time, and CPU time a frame, beside plain servers of the same model in the same run.

    Example: gi bench serve --seconds 5 --repetitions 3
    """
    from gi_data.bench_reader_meter import machine
    from gi_serve.bench_serve import ServeBench, num_trials, run, to_facts
    from gi_serve.bench_serve_tables import print_serve

    folder = "" if checkpoint is None else str(checkpoint)
    config = ServeBench(seconds, repetitions, preset, folder, policy_rate, peer_python)
    facts = machine()  # before: the load of others
    with progress_bar(as_json) as progress:
        task = progress.add_task("trials", total=num_trials(config))
        report = run(config, advance=lambda: progress.advance(task))
    if as_json:
        typer.echo(json.dumps(to_facts(report) | {"machine": facts}))
    else:
        print_serve(report, config, facts)


def faults_command(
    frames: Annotated[int, typer.Option(help="Frames to send in all.")] = 1_000_000,
    sessions: Annotated[int, typer.Option(help="Players at a time.")] = 256,
    seconds: Annotated[float, typer.Option(help="End after so long, whatever was sent.")] = 1800.0,
    seed: Annotated[int, typer.Option(help="Of what goes wrong when.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Players who connect, are killed, resume, read slowly, or fall silent at random: whose actions go astray?

    Exits with 1 unless every promise is kept. Example: gi bench faults --frames 20000 --sessions 64
    """
    from gi_data.bench_reader_meter import machine
    from gi_serve.bench_faults import FaultCampaign, run, to_facts
    from gi_serve.bench_serve_tables import print_faults

    campaign = FaultCampaign(frames, sessions, seconds, seed)
    with progress_bar(as_json) as progress:
        task = progress.add_task("frames", total=frames)
        report = run(campaign, lambda done: progress.update(task, completed=done))
    if as_json:
        typer.echo(json.dumps(to_facts(report) | {"machine": machine()}))
    else:
        print_faults(report, machine())
    if not all(bar.is_met for bar in report.bars):
        raise typer.Exit(1)

"""`gi bench optimizer`: which optimiser reaches a held-out loss first, in seconds and in steps."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gi_model.errors import ConfigError

if TYPE_CHECKING:
    from gi_train.bench_optimizer import Race, Run


def register(bench: typer.Typer) -> None:
    """Add the benchmark to the group `gi bench`."""
    bench.command("optimizer")(optimizer_command)


def optimizer_command(
    corpus: Annotated[Path, typer.Option(help="Folder of a corpus (from `gi shard`).")],
    out: Annotated[Path | None, typer.Option(help="Write race.json and race.png to this folder.")] = None,
    preset: Annotated[str, typer.Option(help="Size and settings: debug | tiny.")] = "tiny",
    optimizers: Annotated[str, typer.Option(help="Names, separated by commas.")] = "adamw,muon",
    lrs: Annotated[str, typer.Option(help="Peak learning rates of the grid.")] = "5e-4,1e-3,2e-3",
    steps: Annotated[int, typer.Option(help="Steps of a run in the grid.")] = 400,
    seconds: Annotated[float, typer.Option(help="Training seconds of a final run; 0: no finals.")] = 120.0,
    seeds: Annotated[int, typer.Option(help="Finals of each optimiser, with other weights and windows.")] = 2,
    target_loss: Annotated[
        float | None, typer.Option(help="Held-out loss to race to (default: what all finals reach).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the runs as JSON.")] = False,
) -> None:
    """Race optimisers to one held-out loss: a grid of learning rates, then longer runs of each one's best rate.

    Example: gi bench optimizer --corpus runs/demo/corpus --out runs/race
    """
    from gi_data.blend import Blend
    from gi_data.corpus import Corpus
    from gi_model.config import preset as policy_preset
    from gi_train.bench_optimizer import race
    from gi_train.config import PRESETS

    rules, policy = _rules(optimizers, lrs, steps, seconds, seeds), policy_preset(preset)
    done: list[Run] = []

    def on_run(run: "Run") -> None:
        done.append(run)
        if out:
            _save(out, done)
        name = f"{run.name}, {run.steps} steps, seed {run.seed}"
        typer.echo(f"{name}: {run.final.loss:.4f} after {run.final.seconds:.1f} s", err=True)

    grid, finals = race(Blend([Corpus(corpus)]), policy, PRESETS[preset], rules, on_run=on_run)
    if as_json:
        typer.echo(json.dumps([asdict(run) for run in done]))
    else:
        _print(finals or grid, target_loss)


def _rules(optimizers: str, lrs: str, steps: int, seconds: float, seeds: int) -> "Race":
    """The race as asked for. Raises ConfigError."""
    from gi_train.bench_optimizer import Race

    try:
        rates = tuple(float(text) for text in lrs.split(","))
    except ValueError as error:
        raise ConfigError("cannot read --lrs", got=lrs, expected="numbers like 5e-4,1e-3") from error
    if steps < 1 or seconds < 0 or seeds < 1:
        expected = "--steps and --seeds of 1 or more, --seconds of 0 or more"
        raise ConfigError("no such race", got=(steps, seeds, seconds), expected=expected)
    return Race(tuple(optimizers.split(",")), rates, steps, seconds, tuple(range(seeds)))


def _save(out: Path, runs: "list[Run]") -> None:
    """After every run, so that a race that is cut short leaves its curves."""
    from gi_train.bench_optimizer_chart import draw_race

    out.mkdir(parents=True, exist_ok=True)
    (out / "race.json").write_text(json.dumps([asdict(run) for run in runs]) + "\n")
    (out / "race.png").write_bytes(draw_race(runs))


def _print(runs: "list[Run]", target: float | None) -> None:
    """A row a run, and for each optimiser the seconds to the target beside those of the first."""
    from rich.console import Console
    from rich.table import Table

    from gi_train.bench_optimizer import common_target, mean_seconds

    target = common_target(runs) if target is None else target
    table = Table("optimizer", "lr", "seed", "steps", "seconds", "loss", "steps to target", "seconds to target")
    for run in runs:
        reached = run.reached(target)
        to_target = (f"{reached.step}", f"{reached.seconds:.1f}") if reached else ("-", "-")
        facts = (f"{run.lr:g}", f"{run.seed}", f"{run.steps}", f"{run.final.seconds:.1f}", f"{run.final.loss:.4f}")
        table.add_row(run.optimizer, *facts, *to_target)
    console = Console()
    console.print(table)
    console.print(f"target: a held-out loss of {target:.4f} nats a tick")
    first = mean_seconds(runs, runs[0].optimizer, target)
    for name in dict.fromkeys(run.optimizer for run in runs):
        seconds = mean_seconds(runs, name, target)
        ratio = f", {seconds / first:.2f} of {runs[0].optimizer}'s" if seconds and first else ""
        console.print(f"{name}: " + (f"[bold]{seconds:.1f} s[/]{ratio}" if seconds else "not reached"))

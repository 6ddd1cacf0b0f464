"""`gi posttrain`: adapt a policy to a game or a body from a few demonstrations."""

import json
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gi_model.errors import ConfigError
from gi_model.exit_codes import ExitCode
from gi_train.cli_pretrain import read_setting

if TYPE_CHECKING:
    from gi_train.posttrain_config import Method, PosttrainConfig


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("posttrain")(posttrain_command)


def posttrain_command(
    base: Annotated[Path, typer.Option(help="Checkpoint to adapt (gi pretrain, gi demo); it stays as it is.")],
    data: Annotated[str, typer.Option(metavar="CORPUS", help="Folder or URL of the demonstrations (from gi shard).")],
    out: Annotated[Path, typer.Option(help="Folder of the run; an unfinished run in it is resumed.")],
    embodiment: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="The body (default: what the clips were recorded with).")
    ] = None,
    method: Annotated[
        Literal["lora", "full", "head"],
        typer.Option(help="lora: a small adapter, the base frozen. head: of the head alone. full: all weights."),
    ] = "lora",
    episodes: Annotated[
        int | None, typer.Option(help="Draw so many recordings, by --seed; a fifth of them is held out.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Windows a step.")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate (default: the method's).")] = None,
    rank: Annotated[int | None, typer.Option(help="Of low-rank updates.")] = None,
    modules: Annotated[
        str | None, typer.Option(help="Parts that lora changes: stem,past,backbone,decoder,head,embedding,norms.")
    ] = None,
    past_actions: Annotated[
        Literal["hidden", "seen"],
        typer.Option(help="Show the policy its last action? A few demonstrations teach copying."),
    ] = "hidden",
    augment: Annotated[float | None, typer.Option(help="Strength of colour, noise, and shift, 0 to 1.")] = None,
    patience: Annotated[
        int | None, typer.Option(help="End after so many evaluations without a better one (0: never).")
    ] = None,
    seed: Annotated[int, typer.Option(help="Fixes the draw of recordings, their order, and new weights.")] = 0,
    threads: Annotated[int, typer.Option(help="CPU threads of torch.")] = 1,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Any other field of post-training, NAME=JSON; repeatable.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Adapt a policy to a game or a body from a few demonstrations; the base stays as it is.

    What is best on held-out demonstrations is kept in OUT/adapter (with --method full in OUT/checkpoint). Resumes by
    itself: run the same command again after a crash, a kill, or Ctrl-C.

    Exit codes: 0 done; 143 asked to stop (SIGTERM, Ctrl-C), saved, run it again; 2 wrong settings; 1 anything else.

    Example: gi posttrain --base runs/demo/policy/checkpoint --data runs/line --episodes 10 --out runs/line-adapter

    Play it: gi evaluate policy:runs/demo/policy/checkpoint+runs/line-adapter/adapter doom/defend_the_line
    """
    from gi_data.demonstrations import body_of, take_demonstrations
    from gi_data.storage import locate
    from gi_model.embodiment import read_embodiment
    from gi_train.run_files import RunPaths

    flags = {
        "steps": steps,
        "batch_size": batch_size,
        "lr_peak": lr,
        "rank": rank,
        "modules": tuple(modules.split(",")) if modules else None,
        "augment": augment,
        "patience": patience,
    }
    given = {name: value for name, value in flags.items() if value is not None}
    settings = dict(map(read_setting, set_ or []))
    fixed = {"seed": seed, "threads": threads, "past_actions": past_actions}
    config = configure(base, method, given | fixed | settings)
    named = read_embodiment(embodiment) if embodiment else None
    demonstrations = take_demonstrations(locate(data), RunPaths(out).demonstrations, episodes=episodes, seed=seed)
    body = body_of(demonstrations, named)
    from gi_train.posttrain import posttrain  # seconds of imports: only once settings and data are known to be good
    from gi_train.trainee import Trainee

    with redirect_stdout(sys.stderr if as_json else sys.stdout):  # where progress goes
        result = posttrain(Trainee.start(base, demonstrations, out=out, config=config, body=body))
    if result.stopped:
        typer.echo(f"stopped at step {result.step}, saved; run the same command to go on", err=True)
        raise typer.Exit(ExitCode.STOPPED)
    if as_json:
        facts = {"folder": str(result.folder), "step": result.step, "best_step": result.best_step}
        typer.echo(json.dumps({**result.values, **facts}))
    else:
        best = f"best at step {result.best_step}, {result.values['best']:.3f} nats a tick on held-out play"
        typer.echo(f"{'policy' if method == 'full' else 'adapter'}: {result.folder}   ({best})")


def configure(base: Path, method: "Method", changes: Mapping[str, object]) -> "PosttrainConfig":
    """The method's settings with `changes`, windows as long as those the base was made for. Raises ConfigError."""
    from gi_model.checkpoint import CONFIG, read_json
    from gi_train.posttrain_config import PosttrainConfig

    config = PosttrainConfig.of(method)
    train: dict[str, object] = {"window_ticks": int(read_json(base / CONFIG)["window_ticks"]), **changes}
    own = {name: value for name, value in changes.items() if name in vars(config) and name not in ("train", "method")}
    of_train = {name: value for name, value in train.items() if name not in own}
    if unknown := sorted(set(of_train) - set(vars(config.train))):
        expected = ", ".join(sorted({*vars(config), *vars(config.train)} - {"train", "method"}))
        raise ConfigError("unknown setting", got=unknown[0], expected=expected)
    return config.replace(**own, train=config.train.replace(**of_train))

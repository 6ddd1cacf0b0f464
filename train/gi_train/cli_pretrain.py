"""`gi pretrain`: learn a policy from a corpus."""

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gi_model.errors import ConfigError
from gi_model.exit_codes import ExitCode

if TYPE_CHECKING:
    from gi_data.blend import Blend
    from gi_model.config import PolicyConfig
    from gi_train.config import TrainConfig

SCALE = "Scale: several processes, memory, speed"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    from gi_train.cli_export import register as register_export
    from gi_train.cli_posttrain import register as register_posttrain
    from gi_train.cli_torchrun import register as register_torchrun

    app.command("pretrain")(pretrain_command)
    register_posttrain(app)
    register_torchrun(app)
    register_export(app)


def pretrain_command(
    data: Annotated[
        list[str],
        typer.Option(metavar="CORPUS[=WEIGHT]", help="Folder or URL of a corpus (from `gi shard`); repeatable."),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the run; an unfinished run in it is resumed.")],
    preset: Annotated[str, typer.Option(help="Size and settings: debug | tiny | small | base | large | xl.")] = "tiny",
    task: Annotated[
        Literal["policy", "idm"],
        typer.Option(help="policy: plays. idm: an inverse dynamics model, sees later frames and labels (gi label)."),
    ] = "policy",
    steps: Annotated[int | None, typer.Option(help="Optimiser steps (default: the preset's).")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Windows a step, over all processes.")] = None,
    window_ticks: Annotated[int | None, typer.Option(help="Ticks in a training window.")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    optimizer: Annotated[
        str | None, typer.Option(help="muon: fewer steps to the same loss. adamw: where ZeRO cuts matrices up, too.")
    ] = None,
    past_actions: Annotated[
        Literal["none", "dropout", "full"] | None,
        typer.Option(help="Feed the last action: never, at times, or always."),
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Share windows by hours^(1/T): 1 by hours, inf all games alike (default).")
    ] = None,
    cache_dir: Annotated[Path | None, typer.Option(help="Keep here what comes from URLs.")] = None,
    cache_gb: Annotated[float, typer.Option(help="Most to keep in --cache-dir, over all processes.")] = 20.0,
    strategy: Annotated[
        str | None,
        typer.Option(
            help="How processes share the model. ddp: each holds all of it. zero1: moments are shared out; zero2: and "
            "gradients; zero3, fsdp2: and weights. auto: what accelerate was launched for, else ddp.",
            rich_help_panel=SCALE,
        ),
    ] = None,
    accumulation: Annotated[
        int | None,
        typer.Option(help="Compute a batch in this many parts: less memory, the same steps.", rich_help_panel=SCALE),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="bf16: matrix products in half the bytes, at twice the speed on a GPU (a CPU is slower); weights stay "
            "float32. no: float32.",
            rich_help_panel=SCALE,
        ),
    ] = None,
    activation_checkpointing: Annotated[
        bool | None,
        typer.Option(help="Keep no activations of blocks: far less memory, a third more work.", rich_help_panel=SCALE),
    ] = None,
    compile_: Annotated[
        bool | None,
        typer.Option(
            "--compile/--no-compile", help="torch.compile: minutes once, then faster steps.", rich_help_panel=SCALE
        ),
    ] = None,
    offload: Annotated[
        bool | None,
        typer.Option(
            help="Keep what is shared out in host memory (zero: moments; zero3, fsdp2: weights too): slower.",
            rich_help_panel=SCALE,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Fixes weights, data order, and dropout.")] = 0,
    threads: Annotated[int, typer.Option(help="CPU threads of torch.")] = 1,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Any other field of policy or training, NAME=JSON; repeatable.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Pretrain a policy by imitation: frames in, the player's action tokens out.

    Resumes by itself: run the same command again after a crash, a kill, or Ctrl-C. Curves: tensorboard --logdir OUT.

    Several corpora share the windows by their weights, or by --temperature where none has a weight.

    Exit codes: 0 done; 143 asked to stop (SIGTERM, Ctrl-C), saved, run it again; 75 another rank is gone, run it again;
    2 wrong settings; 65 the loss is no number; 1 anything else.

    Example: gi pretrain --data runs/corpus --out runs/tiny --preset tiny --steps 3000

    Two processes: gi torchrun --nproc-per-node=2 --no-python gi pretrain --strategy fsdp2 --data ... --out ...

    Or by a config: accelerate launch --config_file train/configs/zero2.yaml --no_python gi pretrain --data ...
    """
    from gi_model.config import preset as policy_preset
    from gi_train.config import PRESETS
    from gi_train.idm import as_idm, intent_share

    policy_config = policy_preset(preset)
    flags: dict[str, float | str | None] = {
        "steps": steps,
        "batch_size": batch_size,
        "window_ticks": window_ticks,
        "lr_peak": lr,
        "optimizer": optimizer,
        "temperature": temperature,
        "strategy": strategy,
        "accumulation": accumulation,
        "precision": precision,
        "activation_checkpointing": activation_checkpointing,
        "compile": compile_,
        "offload": offload,
    }
    config = PRESETS[preset].replace(seed=seed, threads=threads, **{k: v for k, v in flags.items() if v is not None})
    if task == "idm":
        policy_config, config = as_idm(policy_config, config, window_ticks=window_ticks)
    if past_actions is not None:
        policy_config = policy_config.replace(past_actions=past_actions)
    policy_config, config = apply_settings(set_ or [], policy_config, config)
    blend = _open(data, cache_dir, cache_gb)
    if task == "idm" and (share := intent_share(blend)):
        message = f"{share:.0%} of the clips were perturbed: their labels are not what was done, and cannot be learned"
        typer.secho(message, err=True, fg="yellow")
    from gi_train.peers import peers_watched
    from gi_train.pretrain import pretrain  # seconds of imports: only once settings and data are known to be good

    with peers_watched(), redirect_stdout(sys.stderr if as_json else sys.stdout):  # progress goes to stdout, if free
        result = pretrain(blend, out, policy_config, config)
    if result.stopped:
        if result.is_main:
            typer.echo(f"stopped at step {result.step}, saved; run the same command to go on", err=True)
        raise typer.Exit(ExitCode.STOPPED)
    if not result.is_main:
        return
    if as_json:
        typer.echo(json.dumps({"checkpoint": str(result.checkpoint), "step": result.step, **result.values}))
    else:
        typer.echo(f"policy: {result.checkpoint}")


def _open(sources: list[str], cache_dir: Path | None, cache_gb: float) -> "Blend":
    from gi_data.blend import Blend
    from gi_data.range_cache import RangeCache
    from gi_data.storage import Storage

    cache = RangeCache(cache_dir, int(cache_gb * 1e9)) if cache_dir else None
    return Blend.open(sources, storage=Storage(cache))


def apply_settings(
    settings: list[str], policy: "PolicyConfig", train: "TrainConfig"
) -> "tuple[PolicyConfig, TrainConfig]":
    """The configs with every --set NAME=JSON, all at once: some only fit together. Raises ConfigError."""
    values = dict(map(read_setting, settings))
    if unknown := [name for name in values if name not in {*vars(policy), *vars(train)}]:
        raise ConfigError("unknown setting", got=unknown[0], expected=", ".join(sorted({*vars(policy), *vars(train)})))
    of_policy = {name: value for name, value in values.items() if name in vars(policy)}
    rest = {name: value for name, value in values.items() if name not in of_policy}
    return policy.replace(**of_policy), train.replace(**rest)


def read_setting(setting: str) -> tuple[str, object]:
    """Name and value of NAME=JSON."""
    name, _, text = setting.partition("=")
    try:
        value = json.loads(text)
    except ValueError as error:
        do = "Write numbers plainly and strings in quotes: --set 'encoder=\"vit_tiny_patch16_224\"'."
        raise ConfigError(f"cannot read --set {setting}", got=text, expected="NAME=JSON", do=do) from error
    return name, tuple(value) if isinstance(value, list) else value

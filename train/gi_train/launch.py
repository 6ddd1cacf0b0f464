"""Who am I: builds the `Parallel` of this process from its settings and from what launched it.

`torchrun` sets ranks; `accelerate launch --config_file train/configs/X.yaml` sets ranks and a strategy, through
environment variables that accelerate's plugins read. Neither: one process.
"""

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch

from gi_model.errors import ConfigError
from gi_train.config import TrainConfig
from gi_train.parallel import Parallel
from gi_train.preflight import check_environment, check_group, is_launched_to_offload, resolve_strategy

if TYPE_CHECKING:
    from accelerate import Accelerator, DeepSpeedPlugin, InitProcessGroupKwargs

TIMEOUT = timedelta(minutes=15)  # of a collective: one rank may first fill its memory with decoded clips


def build_parallel(config: TrainConfig) -> Parallel:
    """Join the group and choose the strategy. Raises ConfigError on any of the traps that are silent otherwise."""
    strategy = resolve_strategy(config, os.environ)
    config = config.replace(strategy=strategy, offload=config.offload or is_launched_to_offload(os.environ))
    check_environment(config, os.environ)
    stage = int(strategy[-1]) if strategy.startswith("zero") else 0
    accelerator = _build_zero(config, stage) if stage else _build_plain(config)
    check_group(config, accelerator, os.environ)
    if strategy == "fsdp2":
        from accelerate import FullyShardedDataParallelPlugin

        from gi_train.parallel_fsdp2 import Fsdp2

        launched = FullyShardedDataParallelPlugin(fsdp_version=2)  # what the launch says, else its defaults
        return Fsdp2(accelerator, config, reshard_after_forward=bool(launched.reshard_after_forward))
    if stage:
        from gi_train.parallel_zero import Zero

        return Zero(accelerator, config)
    return Parallel(accelerator, config)


def _group_settings(config: TrainConfig) -> "list[InitProcessGroupKwargs]":
    """On a CPU the backend must be named, or every rank believes that it is the only one."""
    from accelerate import InitProcessGroupKwargs

    from gi_train.meeting import METHOD

    if "LOCAL_RANK" not in os.environ:
        return []
    backend = "cuda:nccl,cpu:gloo" if config.strategy == "fsdp2" and config.offload else None
    if not torch.cuda.is_available():
        backend = "gloo"
    return [InitProcessGroupKwargs(backend=backend, init_method=METHOD, timeout=TIMEOUT)]


def _build_plain(config: TrainConfig) -> "Accelerator":
    from accelerate import Accelerator, DistributedDataParallelKwargs

    ddp = DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)
    on_cpu = not torch.cuda.is_available()
    return Accelerator(cpu=on_cpu, mixed_precision="no", kwargs_handlers=[ddp, *_group_settings(config)])


def _build_zero(config: TrainConfig, stage: int) -> "Accelerator":
    """Never `cpu=True`: accelerate then drops DeepSpeed without a word."""
    if not torch.cuda.is_available():
        os.environ["DS_ACCELERATOR"] = "cpu"
    import deepspeed.ops  # type: ignore[import-untyped]
    from accelerate import Accelerator

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False  # or minutes of g++ at the start of a CPU run
    plugin = _zero_plugin(config, stage)
    return Accelerator(deepspeed_plugin=plugin, mixed_precision="no", kwargs_handlers=_group_settings(config))


def _zero_plugin(config: TrainConfig, stage: int) -> "DeepSpeedPlugin":
    """The launcher's settings, if it gave some, and ours on top."""
    from accelerate import DeepSpeedPlugin

    launched = os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() == "true"
    own: dict[str, Any] = {"zero_optimization": {"stage": stage}}
    plugin = DeepSpeedPlugin() if launched else DeepSpeedPlugin(hf_ds_config=own, zero3_init_flag=False)
    if plugin.zero3_init_flag:
        do = "Set zero3_init_flag: false: the weights are drawn or loaded whole, then shared out."
        raise ConfigError("zero3_init_flag is not supported", got=True, expected=False, do=do)
    settings = plugin.deepspeed_config
    settings.update(
        {
            "train_micro_batch_size_per_gpu": 1,  # only labels its log lines: batches are the reader's
            "gradient_accumulation_steps": config.accumulation,
            "gradient_clipping": config.clip_norm,
            "zero_allow_untested_optimizer": True,
            "zero_force_ds_cpu_optimizer": False,  # torch's AdamW; DeepSpeed's own would be compiled for minutes
        }
    )
    settings.pop("train_batch_size", None)
    if config.precision == "bf16":
        settings["torch_autocast"] = {"enabled": True, "dtype": "bfloat16"}
    if config.offload and not is_launched_to_offload(os.environ):
        zero = settings["zero_optimization"]
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
        if stage == 3:
            zero["offload_param"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    return plugin

"""Refuses, before anything is computed, what would otherwise train wrongly without a word.

Each check is a trap that was met: ranks that all believe they are the only one, a strategy that a library drops, a
batch that does not divide, processes that were given different settings, two runs in one folder.
"""

import fcntl
import hashlib
import importlib.util
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from gi_model.errors import ConfigError
from gi_train.config import Strategy, TrainConfig

if TYPE_CHECKING:
    from accelerate import Accelerator

    from gi_train.parallel import Parallel

Environment = Mapping[str, str]
LOCK = ".lock"


def resolve_strategy(config: TrainConfig, environment: Environment) -> Strategy:
    """The strategy of --strategy, or of `accelerate launch`. Raises ConfigError where they contradict each other."""
    launched: str = "ddp"
    if _is_on(environment, "ACCELERATE_USE_DEEPSPEED"):
        launched = f"zero{_zero_stage(environment)}"
    elif _is_on(environment, "ACCELERATE_USE_FSDP"):
        version = environment.get("FSDP_VERSION", "1")
        if version != "2":
            raise ConfigError("FSDP 1 is not supported", got=version, expected="fsdp_version: 2")
        launched = "fsdp2"
    if config.strategy not in ("auto", launched) and launched != "ddp":
        do = "Leave --strategy out, or launch with torchrun."
        raise ConfigError("accelerate was launched for another strategy", got=config.strategy, expected=launched, do=do)
    return cast(Strategy, launched if config.strategy == "auto" else config.strategy)


def is_launched_to_offload(environment: Environment) -> bool:
    """Whether `accelerate launch` was told to keep moments or weights in host memory."""
    devices = (
        environment.get(f"ACCELERATE_DEEPSPEED_OFFLOAD_{what}_DEVICE", "none") for what in ("OPTIMIZER", "PARAM")
    )
    zero = _is_on(environment, "ACCELERATE_USE_DEEPSPEED") and any(device != "none" for device in devices)
    return zero or (_is_on(environment, "ACCELERATE_USE_FSDP") and _is_on(environment, "FSDP_OFFLOAD_PARAMS"))


def check_environment(config: TrainConfig, environment: Environment) -> None:
    """What can be known before joining the group. Raises ConfigError."""
    is_sharded = config.strategy != "ddp"
    world_size = int(environment.get("WORLD_SIZE", "1"))
    if is_sharded and "LOCAL_RANK" not in environment:
        do = "Launch it: torchrun --nproc-per-node=N --no-python gi pretrain ..."
        raise ConfigError(f"{config.strategy} needs a group of processes", got="none", expected="torchrun", do=do)
    if config.strategy.startswith("zero"):
        _check_zero(environment)
    if config.offload and not is_sharded:
        do = "Choose --strategy fsdp2, zero2, or zero3, or leave --offload out."
        raise ConfigError("offload needs a sharded strategy", got=config.strategy, expected="fsdp2 or zero1-3", do=do)
    if config.optimizer == "muon" and config.strategy.startswith("zero"):
        do = "Choose --optimizer adamw, or --strategy ddp or fsdp2."
        raise ConfigError("Muon needs whole matrices; ZeRO cuts them up", got=config.strategy, expected="ddp", do=do)
    wanted = environment.get("ACCELERATE_MIXED_PRECISION", "no")  # "no" is also what it says when not asked
    if wanted not in ("no", config.precision):
        do = f"Pass --precision {wanted}, or change mixed_precision of the launch."
        raise ConfigError("accelerate was launched for another precision", got=config.precision, expected=wanted, do=do)
    parts = int(environment.get("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1"))
    if parts not in (1, config.accumulation):
        do = f"Pass --accumulation {parts}, or change gradient_accumulation_steps of the launch."
        raise ConfigError(
            "accelerate was launched for another accumulation", got=config.accumulation, expected=parts, do=do
        )
    if config.batch_size % (config.accumulation * world_size):
        got = f"{config.batch_size} windows over {world_size} ranks x {config.accumulation} parts"
        expected = f"a multiple of {world_size * config.accumulation}"
        raise ConfigError("batch cannot be shared equally", got=got, expected=expected, do="Change --batch-size.")


def check_group(config: TrainConfig, accelerator: "Accelerator", environment: Environment) -> None:
    """That the group is what the launcher promised, and the strategy what was asked for. Raises ConfigError."""
    wanted, found = int(environment.get("WORLD_SIZE", "1")), int(accelerator.num_processes)
    if wanted != found:
        do = "No backend was found for the group; unset ACCELERATE_TORCH_DEVICE, and check torch.cuda.is_available()."
        raise ConfigError("every process believes that it is the only one", got=found, expected=wanted, do=do)
    kind = str(accelerator.distributed_type.value)
    if config.strategy.startswith("zero") and kind != "DEEPSPEED":
        raise ConfigError(
            "accelerate dropped DeepSpeed", got=kind, expected="DEEPSPEED", do="Unset ACCELERATE_USE_CPU."
        )


def check_agreement(parallel: "Parallel", facts: Mapping[str, Any]) -> None:
    """That all ranks were given the same settings and data. Raises ConfigError naming what differs, on every rank."""
    digests = {name: _digest(value) for name, value in facts.items()}
    found = parallel.gather_json(digests)
    odd = sorted({name for each in found for name in digests | each if each.get(name) != found[0].get(name)})
    if odd:
        ranks = [rank for rank, each in enumerate(found) if each != found[0]]
        do = "Start every process with the same command, on the same corpora."
        raise ConfigError(f"ranks {ranks} were started otherwise than rank 0", got=odd, expected="the same", do=do)


def lock_run(out: Path, parallel: "Parallel") -> "RunLock | None":
    """Take the run's folder for rank 0, and show that all ranks see the same one. Raises ConfigError on all ranks."""
    lock, problem = None, None
    token = f"{os.getpid()}-{time.time_ns()}"
    if parallel.is_main:
        try:
            lock = RunLock(out, token)
        except ConfigError as error:
            problem = str(error)
    problem, token = parallel.gather_json([problem, token])[0]
    if problem:
        raise ConfigError(problem)
    seen = parallel.gather_json((out / LOCK).exists() and (out / LOCK).read_text() == token)
    if not all(seen):
        do = "Put --out on a file system that all nodes share."
        raise ConfigError("not all ranks see the run's folder", got=f"rank {seen.index(False)} does not", do=do)
    return lock


class RunLock:
    """Holds a run's folder until the process ends, however it ends."""

    def __init__(self, out: Path, token: str = "") -> None:
        """Raises ConfigError if another run holds it. token: written into it."""
        out.mkdir(parents=True, exist_ok=True)
        self._file: IO[str] = (out / LOCK).open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            do = "Wait for it, stop it, or choose another --out."
            raise ConfigError(f"another run is writing {out}", got="a locked folder", expected="none", do=do) from error
        self._file.truncate(0)
        self._file.write(token)
        self._file.flush()

    def release(self) -> None:
        """Let others have it."""
        self._file.close()


def describe(parallel: "Parallel") -> str:
    """What was detected, in a line."""
    config, ranks = parallel.config, parallel.world_size
    windows = config.batch_size // config.accumulation // ranks
    how = f"{ranks} processes, {config.strategy}" if ranks > 1 or config.strategy != "ddp" else "one process"
    extras = [name for name in ("offload", "activation_checkpointing", "compile") if getattr(config, name)]
    precision = "bf16 (autocast over float32 weights)" if config.precision == "bf16" else "float32"
    batch = f"{config.batch_size} windows a step = {ranks} ranks x {config.accumulation} parts x {windows}"
    return ", ".join([f"{parallel.device.type}: {how}", precision, batch, config.optimizer, *extras])


def _zero_stage(environment: Environment) -> int:
    path = environment.get("ACCELERATE_DEEPSPEED_CONFIG_FILE", "none")
    if path == "none":
        return int(environment.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2"))
    try:
        return int(json.loads(Path(path).read_text())["zero_optimization"]["stage"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        do = "Give it zero_optimization.stage, 1 to 3."
        raise ConfigError("cannot read the DeepSpeed config", got=error, expected=path, do=do) from error


def _check_zero(environment: Environment) -> None:
    for package in ("deepspeed", "transformers"):  # accelerate's plugin imports the second without saying so
        if importlib.util.find_spec(package) is None:
            do = "Install gi-model[deepspeed]."
            raise ConfigError("ZeRO needs a package that is missing", got="no " + package, expected=package, do=do)
    if _is_on(environment, "ACCELERATE_USE_CPU"):
        do = "Set use_cpu: false (and leave --cpu out): without a GPU it runs on the CPU all the same."
        raise ConfigError("accelerate drops DeepSpeed when told to use the CPU", got="use_cpu", expected="no", do=do)


def _is_on(environment: Environment, name: str) -> bool:
    return environment.get(name, "false").lower() in ("1", "true", "yes", "on")


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]

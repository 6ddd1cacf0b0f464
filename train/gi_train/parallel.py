"""`Parallel`: all that differs between one process, DDP, FSDP2, and ZeRO, so that the loop reads the same for each.

    parallel = build_parallel(config)                      who am I, on what device
    optimizer = parallel.prepare(policy, make_optimizer)   shard, wrap
    for each part:  begin_part, forward, backward          gradients are summed over parts, averaged over ranks
    norm = clip(max_norm); step(lr)                        nothing moves before `step`: the loop checks in between

`read` and `write` show every parameter and its optimiser state as whole tensors by name, whoever holds which slice of
them: checkpoints know no strategy. Precision is torch.autocast over float32 weights everywhere, so that strategies
agree to rounding. Rejected: accelerate's `backward`, which under DeepSpeed also steps, before anybody could look at
the loss; and a trainer class, which would own the loop.
"""

import contextlib
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gi_model.batch import Batch
from gi_model.policy import Policy
from gi_train.config import TrainConfig

if TYPE_CHECKING:
    from accelerate import Accelerator

MakeOptimizer = Callable[[Policy], torch.optim.Optimizer]
WEIGHTS = "weights"  # beside the optimiser's own names ("exp_avg", ...) in what `read` gives


class Parallel:
    """One process, or DDP: every rank holds all of the model."""

    def __init__(self, accelerator: "Accelerator", config: TrainConfig) -> None:
        self.accelerator, self.config = accelerator, config
        self.rank, self.world_size = int(accelerator.process_index), int(accelerator.num_processes)
        self.device: torch.device = accelerator.device
        self.policy: Policy
        self.model: nn.Module  # what computes gradients: the policy, or what wraps it
        self.optimizer: torch.optim.Optimizer
        self.parameters: dict[str, nn.Parameter] = {}  # as the optimiser knows them
        self.sizes: dict[str, int] = {}  # of whole parameters
        self.buffers: dict[str, Tensor] = {}  # that belong to the weights (a timm backbone's running statistics)

    @property
    def is_main(self) -> bool:
        """Whether this rank writes and prints what is needed once."""
        return self.rank == 0

    # ------------------------------------------------------------------ a step

    def prepare(self, policy: Policy, make_optimizer: MakeOptimizer) -> None:
        """Put the policy to work; its weights are those that every rank has loaded or drawn from one seed."""
        self._register(policy.to(self.device))
        if self.config.compile:
            policy.compile(dynamic=False)
        self.optimizer = make_optimizer(policy)
        self.model = self.accelerator.prepare_model(policy) if self.world_size > 1 else policy

    def begin_part(self, *, is_last: bool) -> None:
        """Before the forward pass of one part of a batch; gradients meet over ranks in the last."""
        if self.world_size > 1:
            self.model.require_backward_grad_sync = is_last  # type: ignore[assignment]  # as DDP's own no_sync does

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The policy's loss and logs."""
        with self.autocast():
            loss, logs = self.model(batch)
        return loss, logs

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of one part."""
        torch.autograd.backward(loss)

    def clip(self, max_norm: float) -> Tensor:
        """Clip gradients by their norm over all ranks; returns that norm, float32 (), not finite if they are not."""
        return nn.utils.clip_grad_norm_(self.parameters.values(), max_norm)

    def step(self, lr: float) -> None:
        """Move the weights, and forget the gradients."""
        self.set_lr(lr)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def set_lr(self, lr: float) -> None:
        """Give every group its share of the learning rate."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group.get("lr_scale", 1.0)

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """The precision of matrix products; weights, gradients, and losses stay float32."""
        is_bf16 = self.config.precision == "bf16"
        return torch.autocast(self.device.type, torch.bfloat16) if is_bf16 else contextlib.nullcontext()

    # ------------------------------------------------------------------ whole tensors

    def read(self, name: str) -> dict[str, Tensor]:
        """A parameter as "weights" and its optimiser state, whole, float32; all ranks must ask for the same name."""
        parameter = self.parameters[name]
        return {WEIGHTS: parameter.detach(), **self.optimizer.state.get(parameter, {})}

    def write(self, name: str, state: dict[str, Tensor]) -> None:
        """Set the optimiser state of a parameter from whole tensors, after `prepare`."""
        parameter = self.parameters[name]
        own = self.optimizer.state[parameter]
        for key, value in state.items():
            own[key] = self._place(value, parameter) if value.ndim else self._scalar(value, parameter)

    def _register(self, policy: Policy) -> None:
        """Set up what is alike everywhere, on all ranks at once: FSDP2's `state_dict` changes what it looks at."""
        policy.set_activation_checkpointing(self.config.activation_checkpointing)
        self.policy = policy
        self.parameters = {name: each for name, each in policy.named_parameters() if each.requires_grad}
        self.sizes = {name: parameter.numel() for name, parameter in self.parameters.items()}
        saved = policy.state_dict()
        self.buffers = {name: buffer for name, buffer in policy.named_buffers() if name in saved}

    def _compile_units(self, policy: Policy) -> None:
        """Compile block by block, where whole-model graphs would meet the hooks that bring sharded weights."""
        for module in policy.modules():
            if self.config.compile and isinstance(module, policy.fsdp_units):
                module.compile(dynamic=False)

    def _place(self, value: Tensor, parameter: Tensor) -> Tensor:
        return value.to(parameter.device, copy=True)

    def _scalar(self, value: Tensor, parameter: Tensor) -> Tensor:
        """Step counts live beside the weights in fused optimisers, on the host in others."""
        group = next(group for group in self.optimizer.param_groups if any(p is parameter for p in group["params"]))
        return value.to(parameter.device if group.get("fused") or group.get("capturable") else "cpu", copy=True)

    # ------------------------------------------------------------------ agreement

    def sum(self, values: Tensor) -> Tensor:
        """Over ranks; on the device, and without waiting for it."""
        values = values.to(self.device)
        if self.world_size > 1:
            dist.all_reduce(values)
        return values

    def gather(self, rows: Tensor) -> Tensor:
        """Rows (N, ...) of all ranks, each of its own N, one after another; on the host."""
        if self.world_size == 1:
            return rows.cpu()
        rows = rows.to(self.device)
        counts = self.sum(torch.eye(self.world_size, dtype=torch.long)[self.rank] * len(rows)).tolist()
        padded = rows.new_zeros(max(counts), *rows.shape[1:])
        padded[: len(rows)] = rows
        found = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(found, padded)
        return torch.cat([part[:count].cpu() for part, count in zip(found, counts, strict=True)])

    def gather_json(self, value: Any) -> list[Any]:
        """What each rank says, by rank: as JSON in bytes; torch's own object collectives would pickle it."""
        text = json.dumps(value).encode() + b"\n"
        data = bytes(self.gather(torch.frombuffer(bytearray(text), dtype=torch.uint8)).tolist())
        return [json.loads(line) for line in data.splitlines()]

    def close(self) -> None:
        """Leave the group."""
        if self.world_size > 1 and dist.is_initialized():
            dist.destroy_process_group()

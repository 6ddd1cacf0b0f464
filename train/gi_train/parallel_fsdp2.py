"""FSDP2: torch's `fully_shard`, a group a transformer block, the rest in the root's.

Settings may come from accelerate's plugin (`accelerate launch`); the wrapping is torch's own three lines, and the
optimiser is built on sharded parameters. Rejected: `Accelerator.prepare`, which leaves FSDP out without a word where
there is no GPU, finds the class to wrap by its bare name (timm's Block for ours), and gives sharded parameters to an
optimiser made before by comparing addresses. The token embedding that decoder and past action share lies in the root's
group, as torch wants shared parameters to lie in one.
"""

from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    FSDPModule,
    MixedPrecisionPolicy,
    OffloadPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor, distribute_tensor

from gi_model.policy import Policy
from gi_train.config import TrainConfig
from gi_train.parallel import MakeOptimizer, Parallel

if TYPE_CHECKING:
    from accelerate import Accelerator


class Fsdp2(Parallel):
    """Parameters, gradients, and moments cut along their first dimension, each rank holding its rows."""

    def __init__(self, accelerator: "Accelerator", config: TrainConfig, *, reshard_after_forward: bool = True) -> None:
        super().__init__(accelerator, config)
        self._reshard = reshard_after_forward  # False: keep weights whole between forward and backward

    def prepare(self, policy: Policy, make_optimizer: MakeOptimizer) -> None:
        """Shard block by block, then the rest."""
        self._compile_units(policy)
        mesh = init_device_mesh(self.device.type, (self.world_size,))
        on_gpu = self.device.type != "cpu"
        settings = {
            "mesh": mesh,
            "mp_policy": MixedPrecisionPolicy(),
            "offload_policy": CPUOffloadPolicy() if self.config.offload and on_gpu else OffloadPolicy(),
        }
        for module in policy.modules():
            if isinstance(module, policy.fsdp_units):
                fully_shard(module, reshard_after_forward=self._reshard, **settings)  # type: ignore[call-overload]
        fully_shard(policy, **settings)  # type: ignore[call-overload]
        register_fsdp_forward_method(policy, "score")
        self._register(policy)
        self.model = policy
        self.optimizer = make_optimizer(policy)

    def begin_part(self, *, is_last: bool) -> None:
        """Gradients stay whole on each rank until the last part."""
        assert isinstance(self.model, FSDPModule)
        self.model.set_requires_gradient_sync(is_last)

    def clip(self, max_norm: float) -> Tensor:
        """As in `Parallel`; the norm of shards is reduced over ranks."""
        norm = nn.utils.clip_grad_norm_(self.parameters.values(), max_norm)
        return norm.full_tensor().to(self.device) if isinstance(norm, DTensor) else norm

    def read(self, name: str) -> dict[str, Tensor]:
        """As in `Parallel`; collects the slices of all ranks."""
        return {key: _whole(value) for key, value in super().read(name).items()}

    def _place(self, value: Tensor, parameter: Tensor) -> Tensor:
        assert isinstance(parameter, DTensor)
        value = value.to(parameter.device)
        return distribute_tensor(value, parameter.device_mesh, parameter.placements, src_data_rank=None)


def _whole(value: Tensor) -> Tensor:
    return value.full_tensor() if isinstance(value, DTensor) else value

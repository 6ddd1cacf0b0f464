"""DeepSpeed's ZeRO 1, 2, and 3, driven by its engine, not by accelerate's wrapper of it.

Its optimiser works on flat tensors that hold this rank's pieces of many parameters; whole tensors are put together and
taken apart here. Rejected: DeepSpeed's `safe_get_full_optimizer_state`, which finds no moments of any group but the
first (they are linked after the first group's first step), and `safe_set_full_optimizer_state`, which needs moments
that do not exist yet, and under ZeRO-3 reads past the end of parameters whose size is no multiple of the ranks.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gi_model.policy import Policy
from gi_train.parallel import WEIGHTS, MakeOptimizer, Parallel


@dataclass(frozen=True, eq=False)
class Piece:
    """`length` numbers of a parameter from its number `first` on; they lie in `flat` from `start` on."""

    flat: Tensor
    start: int
    first: int
    length: int


class Zero(Parallel):
    """Moments (1), gradients too (2), parameters too (3) are cut into equal pieces, one a rank."""

    def prepare(self, policy: Policy, make_optimizer: MakeOptimizer) -> None:
        """Hand policy and optimiser to DeepSpeed."""
        self._register(policy.to(self.device))
        self._shapes = {name: parameter.shape for name, parameter in self.parameters.items()}
        self._compile_units(policy)
        self.optimizer = make_optimizer(policy)
        self.accelerator.prepare(policy, self.optimizer)
        self.engine: Any = self.accelerator.deepspeed_engine_wrapped.engine
        self.zero: Any = self.engine.optimizer
        self.model = self.engine

    def begin_part(self, *, is_last: bool) -> None:
        """Tell the engine where a step ends."""
        self.engine.set_gradient_accumulation_boundary(is_boundary=is_last)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of one part; they are reduced as the stage wants."""
        self.engine.backward(loss, scale_wrt_gas=False)

    def clip(self, max_norm: float) -> Tensor:
        """The norm over all ranks; DeepSpeed itself clips within `step`, by the same norm."""
        del max_norm
        from deepspeed.runtime.utils import combine_grad_norm_groups  # type: ignore[import-untyped]

        groups = self.zero._get_norm_groups() if self._is_stage3 else None
        norm = self.zero.scaled_global_norm() if groups is None else combine_grad_norm_groups(groups)
        norm = torch.as_tensor(norm, dtype=torch.float32, device=self.device)
        return torch.where(norm < 0, torch.nan, norm)  # DeepSpeed's word for a norm that is no number is -1

    def step(self, lr: float) -> None:
        """Move the weights, and forget the gradients."""
        self.set_lr(lr)
        self.engine.step()

    @property
    def _is_stage3(self) -> bool:
        return hasattr(self.zero, "fp32_partitioned_groups_flat")

    # ------------------------------------------------------------------ whole tensors

    def read(self, name: str) -> dict[str, Tensor]:
        """As in `Parallel`; puts the pieces of all ranks together."""
        piece = self._piece(name)
        flat = piece.flat if piece else self._flats[0]
        state = self.zero.optimizer.state[flat]
        return {
            key: self._whole(name, piece, value) if value.ndim else value
            for key, value in {WEIGHTS: flat.detach(), **state}.items()
        }

    def write(self, name: str, state: dict[str, Tensor]) -> None:
        """As in `Parallel`: this rank's piece of each tensor goes into its flat one."""
        piece = self._piece(name)
        if piece is None:
            return
        own = self.zero.optimizer.state[piece.flat]
        for key, value in state.items():
            if value.ndim == 0:
                own[key] = value.to(piece.flat.device, copy=True)
            else:
                part = value.flatten()[piece.first : piece.first + piece.length]
                own.setdefault(key, torch.zeros_like(piece.flat))[piece.start : piece.start + len(part)] = part

    def _whole(self, name: str, piece: "Piece | None", values: Tensor) -> Tensor:
        """Add up the pieces of all ranks, `values` holding this one's: float32, in the parameter's shape."""
        whole = torch.zeros(self._shapes[name].numel(), device=self.device)
        if piece:
            target = whole[piece.first : piece.first + piece.length]
            target.copy_(values[piece.start : piece.start + len(target)])
        return self.sum(whole).view(self._shapes[name])

    @property
    def _flats(self) -> list[Tensor]:
        flats = self.zero.fp32_partitioned_groups_flat if self._is_stage3 else self.zero.single_partition_of_fp32_groups
        return list(flats)

    def _piece(self, name: str) -> "Piece | None":
        """What this rank holds of a parameter."""
        parameter: Any = self.parameters[name]
        if self._is_stage3:  # equal pieces, the last ones padded
            group, start, length = self.zero.grad_position[self.zero.get_param_id(parameter)]
            return Piece(self._flats[group], start, length * self.rank, length)
        mapping = parameter._hp_mapping
        if mapping is None:
            return None
        inner, outer = mapping.hp_fragment_address, mapping.lp_fragment_address
        return Piece(self._flats[mapping.param_group_index], inner.start, outer.start, inner.numel)

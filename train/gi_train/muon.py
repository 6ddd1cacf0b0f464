"""Muon on any machine: torch's own where bf16 products are fast, the same steps in float32 where they are not.

torch makes updates orthogonal in bf16 whatever the device. A CPU without bf16 products then needs a hundred times as
long for it as for the same in float32 (`LOG.md`), and training would stand still.
"""

from collections.abc import Callable

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.775, 2.0315)  # of the quintic Newton-Schulz iteration (Jordan et al. 2024)
NUM_ITERATIONS = 5
EPSILON = 1e-7
UPDATE_RMS = 0.2  # of an AdamW step (Liu et al. 2025, section 2.2)


class Float32Muon(torch.optim.Muon):
    """torch's Muon with `adjust_lr_fn="match_rms_adamw"`, its matrix products in float32."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Move all matrices that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is not None:
                    self._move(matrix, group["lr"], group["weight_decay"], group["momentum"])
        return loss

    def _move(self, matrix: Tensor, lr: float, weight_decay: float, momentum: float) -> None:
        state = self.state[matrix]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(matrix)
        buffer = state["momentum_buffer"]
        buffer.lerp_(matrix.grad, 1 - momentum)
        update = orthogonalize(matrix.grad.lerp(buffer, momentum))  # type: ignore[union-attr]  # Nesterov's look ahead
        matrix.mul_(1 - lr * weight_decay)
        matrix.add_(update, alpha=-lr * UPDATE_RMS * max(matrix.shape) ** 0.5)


def orthogonalize(matrix: Tensor) -> Tensor:
    """U V^T of the matrix U S V^T, roughly: singular values become .7 to 1.2. (M, N) -> (M, N)."""
    a, b, c = COEFFICIENTS
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if is_tall else matrix
    x = x / x.norm().clamp(min=EPSILON)
    for _ in range(NUM_ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if is_tall else x


def multiplies_bf16(device: torch.device) -> bool:
    """Whether the device has bf16 products of its own."""
    if device.type != "cpu":
        return True
    return any(value for name, value in torch.cpu.get_capabilities().items() if name.endswith("bf16"))

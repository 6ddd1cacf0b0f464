"""`Throughput`: what a rate of frames means: tokens a second, and MFU against a peak that was measured here.

A datasheet's peak flatters nobody but the datasheet: no matrix product reaches it, and a CPU has none. So the peak is
the best matrix product that this device did, in the run's dtype, before training. Operations are those of
`gi_model.flops`: what activation checkpointing or a fused attention computes twice counts once.
"""

import time
from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from gi_model.actions import ActionSpace
from gi_model.config import PolicyConfig
from gi_model.flops import count

CPU_SIZES: Final = (256, 512, 1024)
GPU_SIZES: Final = (2048, 4096, 8192)
BUDGET_S: Final = 0.2  # a size; the smallest always runs


class Throughput:
    """Of one run. `flops_per_tick` are those of training; `peak_flops` a second of all devices together."""

    def __init__(
        self,
        config: PolicyConfig,
        *,
        world_size: int,
        device: torch.device,
        dtype: torch.dtype,
        window_ticks: int | None = None,
    ) -> None:
        """Measures the device; window_ticks: those of a training window (default: the policy's)."""
        self.tokens_per_tick = config.tokens_per_frame + ActionSpace().num_tokens
        self.flops_per_tick = count(config).training(window_ticks or config.window_ticks)
        self.peak_flops = world_size * matmul_peak(device, dtype)

    def facts(self, frames_per_s: float) -> dict[str, float]:
        """At a rate over all processes: "tokens_per_s", seen and predicted, and "mfu", a share of the peak."""
        return {
            "tokens_per_s": frames_per_s * self.tokens_per_tick,
            "mfu": frames_per_s * self.flops_per_tick / self.peak_flops,
        }


def matmul_peak(device: torch.device, dtype: torch.dtype) -> float:
    """FLOPs a second of the fastest square matrix product on `device`, of a few sizes, the best of several; < 1 s."""
    sizes = CPU_SIZES if device.type == "cpu" else GPU_SIZES
    return max(2.0 * size**3 / _best_seconds(device, dtype, size) for size in sizes)


def _best_seconds(device: torch.device, dtype: torch.dtype, size: int) -> float:
    """Seconds of one product of `size` x `size` matrices: the best of those that fit into the budget."""
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(left)

    def multiply() -> Tensor:
        return torch.mm(left, right, out=out)

    clock = _seconds_on_cpu if device.type == "cpu" else _seconds_on_gpu
    multiply()  # the first call chooses a kernel
    deadline = time.perf_counter() + BUDGET_S
    best = clock(multiply)
    while time.perf_counter() < deadline:
        best = min(best, clock(multiply))
    return best


def _seconds_on_cpu(work: Callable[[], Tensor]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _seconds_on_gpu(work: Callable[[], Tensor], repetitions: int = 4) -> float:
    """By the device's own clock, over a few launches, so that a launch costs nothing."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    start.record()
    for _ in range(repetitions):
        work()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / 1000 / repetitions

"""Low-rank updates of one module (Hu et al., LoRA, 2021): W + B A, with A (r, in) and B (out, r).

For `nn.Linear`, and for `nn.Conv2d` with the shapes that peft gives them: A convolves into r channels, B mixes those
pixel by pixel. B arrives multiplied by alpha / r, so that nothing here knows of scales.

B rows, r rank, K adapters in a stack (0 is the base: zeros).
"""

from typing import TypeGuard

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

Adaptable = nn.Linear | nn.Conv2d


def is_adaptable(module: nn.Module) -> TypeGuard[Adaptable]:
    """Whether `module` takes an update: a linear map, or a convolution of one group.

    A subclass may not be called at all: MultiheadAttention reads the weight of its `out_proj`.
    """
    return type(module) is nn.Linear or (type(module) is nn.Conv2d and module.groups == 1)


def lora_shapes(module: Adaptable, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes of A and B."""
    out, *into = module.weight.shape
    return (rank, *into), (out, rank, *(1 for _ in into[1:]))


def weight_update(lora_a: Tensor, lora_b: Tensor) -> Tensor:
    """B A, in the shape of the module's weight."""
    return (lora_b.flatten(1) @ lora_a.flatten(1)).view(-1, *lora_a.shape[1:])


def update_output(module: Adaptable, x: Tensor, lora_a: Tensor, lora_b: Tensor) -> Tensor:
    """What one update adds to the module's output."""
    if isinstance(module, nn.Conv2d):
        return F.conv2d(F.conv2d(x, lora_a, None, module.stride, module.padding, module.dilation), lora_b)
    return F.linear(F.linear(x, lora_a), lora_b)


def update_rows(module: Adaptable, x: Tensor, *, lora_a: Tensor, lora_b: Tensor) -> Tensor:
    """What each row's own update adds: x (B, ...), A (B, r, ...), B (B, out, r, ...). No shape depends on a value."""
    num_rows, rank = lora_a.shape[:2]
    if isinstance(module, nn.Conv2d):
        kernels, grouped = lora_a.flatten(0, 1), x.flatten(0, 1)[None]  # one group of channels a row
        narrow = F.conv2d(grouped, kernels, None, module.stride, module.padding, module.dilation, num_rows)
        wide = torch.bmm(lora_b.flatten(2), narrow.reshape(num_rows, rank, -1))
        return wide.view(*wide.shape[:2], *narrow.shape[-2:])
    narrow = torch.bmm(x.reshape(num_rows, -1, x.shape[-1]), lora_a.transpose(1, 2))
    return torch.bmm(narrow, lora_b.transpose(1, 2)).reshape(*x.shape[:-1], lora_b.shape[1])

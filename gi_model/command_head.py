"""`CommandHead`: features of a tick -> commands of a body's direct actuators, which no action token can state.

It belongs to an adapter, not to the base: its classes are the levels of one body (`gi_model.command_space`). Actuators
are drawn one after another, each knowing those before it: forward and turn belong together. A level's neighbours learn
with it: targets are blurred by a 64th of the range, and rows of the output start alike for neighbours, so that a few
demonstrations are enough. Commands of the past are not fed back: a policy that sees them copies them.

Rejected: regression (the mean of left and right is straight on), independent heads (no joint), the base's own decoder
with more slots (its tokens are every session's, and every client's). N ticks, A actuators, L levels, C width.
"""

from typing import TYPE_CHECKING, Final

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from gi_model.backbone import SwiGLU
from gi_model.command_space import CommandSpace
from gi_model.config import PolicyConfig
from gi_model.decoder import ordered_rows, smooth_targets
from gi_model.sampling import Draw, draw

if TYPE_CHECKING:
    from gi_model.embodiment import Embodiment

BLUR: Final = 1 / 64  # of the range, standard deviation


class CommandHead(nn.Module):
    """Autoregressive distribution over the levels of the direct actuators."""

    grid: Tensor  # float (A, L): commands, NaN where there is no level
    targets: Tensor  # float (A, L, L): row b is the target of level b

    def __init__(self, config: PolicyConfig, space: CommandSpace) -> None:
        super().__init__()
        num, size, dim = len(space), max(space.sizes), config.decoder_dim
        self.context = nn.Linear(config.dim, num * dim)
        self.before = nn.Parameter(torch.randn(num, size, dim) * 0.1)  # what a level tells the actuators after it
        self.mlp_norm, self.norm = nn.RMSNorm(dim), nn.RMSNorm(dim)
        self.mlp = SwiGLU(dim)
        self.rows = nn.Parameter(torch.stack([ordered_rows(size, dim) for _ in range(num)]))
        self.bias = nn.Parameter(torch.zeros(num, size))
        self.register_buffer("grid", torch.from_numpy(space.grid), persistent=False)
        self.register_buffer("targets", torch.stack([_targets_of(n, size) for n in space.sizes]), persistent=False)

    @property
    def num_actuators(self) -> int:
        """A."""
        return self.grid.shape[0]

    def nearest(self, commands: Tensor) -> Tensor:
        """Levels int64 (..., A) of commands (..., A); `CommandSpace.encode`."""
        edges = ((self.grid[:, 1:] + self.grid[:, :-1]) / 2).nan_to_num(nan=torch.inf)
        return (commands[..., None] > edges).sum(-1)

    def forward(self, features: Tensor, commands: Tensor) -> tuple[Tensor, Tensor]:
        """Features (N, D) and what was commanded, (N, A) -> nll and loss, each (N, A); 0 where a command is NaN."""
        levels = self.nearest(commands)
        actuators = torch.arange(self.num_actuators, device=levels.device)
        told = self.before[actuators, levels]
        earlier = F.pad(told.cumsum(1)[:, :-1], (0, 0, 1, 0))
        x = self.context(features).unflatten(-1, earlier.shape[1:]) + earlier
        log_probs = self._logits(x, slice(None)).log_softmax(-1)
        nll = -log_probs.gather(-1, levels[..., None]).squeeze(-1)
        loss = -(self.targets[actuators, levels] * log_probs.clamp(min=-1e4)).sum(-1)
        is_known = ~commands.isnan()
        return torch.where(is_known, nll, 0.0), torch.where(is_known, loss, 0.0)

    def sample(self, features: Tensor, rule: Draw) -> Tensor:
        """Draw commands: features (N, D) -> float32 (N, A), in the actuators' units. rule: of A slots."""
        context = self.context(features).unflatten(-1, (self.num_actuators, -1))
        earlier, commands = torch.zeros_like(context[:, 0]), []
        for index in range(self.num_actuators):
            x = (context[:, index] + earlier)[:, None]
            level, _ = draw(self._logits(x, slice(index, index + 1)).squeeze(1), index, rule)
            earlier = earlier + self.before[index, level]
            commands.append(self.grid[index, level])
        return torch.stack(commands, dim=-1)

    def _logits(self, x: Tensor, actuators: slice) -> Tensor:
        """(N, actuators, C) -> float32 (N, actuators, L); -inf where there is no level."""
        x = self.norm(x + self.mlp(self.mlp_norm(x)))
        logits = torch.einsum("nac,alc->nal", x, self.rows[actuators]) + self.bias[actuators]
        return logits.float().masked_fill(self.grid[actuators].isnan(), float("-inf"))


def _targets_of(num_levels: int, size: int) -> Tensor:
    """float (size, size): of the levels that there are, blurred."""
    more = size - num_levels
    return F.pad(smooth_targets(num_levels, BLUR * (num_levels - 1)), (0, more, 0, more))


def build_head(config: PolicyConfig, body: "Embodiment | None") -> CommandHead | None:
    """An untrained head for the direct actuators of `body`, on a policy of this shape; None if it has none."""
    return None if body is None or not len(body.command_space) else CommandHead(config, body.command_space)

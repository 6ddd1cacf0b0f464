"""`Policy`: frames -> action tokens. `policy(batch) -> (loss, logs)` learns; `policy.step(...)` plays tick by tick.

    frames --FrameEncoder--> V tokens a tick (+ the tick before's action) --Backbone--> h_t --ActionDecoder--> K tokens

An adapter for a body with direct actuators adds a `CommandHead` on h_t.
Streaming equals the full forward: `step` over a ring cache computes what `features` computes over the whole sequence.

B batch, T ticks, V tokens a frame, K slots, D width, S slots of the state.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor, nn

from gi_model.actions import ActionSpace
from gi_model.backbone import Backbone, RingCache
from gi_model.batch import Batch
from gi_model.command_head import CommandHead
from gi_model.config import PolicyConfig
from gi_model.decoder import ActionDecoder, DecoderScore
from gi_model.encoder import build_encoder
from gi_model.errors import ConfigError
from gi_model.motion_encoder import MotionEncoder
from gi_model.sampling import Draw

if TYPE_CHECKING:
    from gi_model.attachment import Attached


@dataclass
class PolicyState:
    """Memory of S streams: caches a layer, tick int64 (S,), the action before, int64 (S, K), and newest h_t, (S, D).

    sees_past: bool (S,), whether a stream is shown its last action.
    """

    caches: list[RingCache]
    ticks: Tensor
    actions: Tensor
    features: Tensor
    sees_past: Tensor

    def clear(self, slot: int) -> None:
        """Start the stream in `slot` anew. The ring needs no wiping: only places written since tick 0 are read."""
        self.ticks[slot] = 0


class PastAction(nn.Module):
    """The action of the tick before as one vector; a learned vector where there is none."""

    def __init__(self, config: PolicyConfig, space: ActionSpace, embedding: nn.Embedding) -> None:
        super().__init__()
        self.embedding = embedding
        self.project = nn.Linear(space.num_tokens * config.decoder_dim, config.dim)
        self.unknown = nn.Parameter(torch.zeros(config.dim))

    def forward(self, actions: Tensor, known: Tensor) -> Tensor:
        """Tokens int64 (..., K), known bool (...) -> (..., D)."""
        vector = self.project(self.embedding(actions).flatten(-2))
        return torch.where(known[..., None], vector, self.unknown.to(vector.dtype))


class Policy(nn.Module):
    """The model. name, fingerprint: of the checkpoint whose weights these are; "" where there is none."""

    def __init__(self, config: PolicyConfig, space: ActionSpace | None = None) -> None:
        super().__init__()
        self.config, self.space = config, space or ActionSpace()
        self.name, self.fingerprint = "", ""
        self.attached: Attached | None = None  # by gi_model.attachment
        embedding = nn.Embedding(self.space.vocabulary_size, config.decoder_dim)
        nn.init.normal_(embedding.weight, std=0.1)
        self.encoder = build_encoder(config)
        self.motion = MotionEncoder(config) if config.lookahead_ticks else None
        self.past = PastAction(config, self.space, embedding) if config.past_actions != "none" else None
        self.backbone = Backbone(config)
        self.decoder = ActionDecoder(config, self.space, embedding)
        self.command_head: CommandHead | None = None  # an adapter's
        self.hides_past = config.past_actions == "hidden"  # or an adapter does
        if config.lookahead_ticks:
            self.decoder.order_motion()

    # ------------------------------------------------------------------ learning

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean loss of a known tick, in nats, and logs: the nll of each factor and of all."""
        score = self.score(batch)
        known = batch.known.flatten()
        num_known = known.sum().clamp(min=1)

        def mean(values: Tensor) -> Tensor:
            """Over known ticks, of fixed shape: picking them by index would stall a GPU and break a compiled graph."""
            return torch.where(known, values, 0.0).sum() / num_known

        nll = score.nll.detach()
        logs = {f"nll/{name}": mean(nll[:, slots].sum(-1)) for name, slots in self.space.factors.items()}
        logs["nll"] = mean(nll.sum(-1))
        if score.command_nll is not None:
            logs["nll/commands"] = mean(score.command_nll.detach().sum(-1))
            logs["nll"] = logs["nll"] + logs["nll/commands"]
        return mean(score.loss), logs

    def score(self, batch: Batch) -> DecoderScore:
        """How likely the player's tokens, and commands, are, of all ticks, N = B T.

        Raises ConfigError where a command head has no commands to learn from.
        """
        features = self.features(batch).flatten(0, 1)
        score = DecoderScore(*self.decoder(features, batch.actions.flatten(0, 1)))
        if self.command_head is None:
            return score
        if batch.commands is None:
            raise ConfigError("a command head learns from commands", got="a batch without", expected="num_commands")
        nll, loss = self.command_head(features, batch.commands.flatten(0, 1))
        return replace(score, loss=score.loss + loss.sum(-1), command_nll=nll)

    def features(self, batch: Batch) -> Tensor:
        """h_t of every tick, (B, T, D).

        Each depends on its own and earlier frames and on earlier actions only, unless `lookahead_ticks` is set.
        """
        tokens = self.encode(batch.rgb())
        if self.past is not None:
            actions = torch.cat([batch.previous[:, None], batch.actions[:, :-1]], dim=1)
            known = torch.cat([batch.previous_known[:, None], batch.known[:, :-1]], dim=1)
            tokens = tokens + self.past(actions, self._drop(known, batch.draws))[:, :, None]
        features: Tensor = self.backbone(tokens)
        return features.mean(dim=2)

    def encode(self, frames: Tensor) -> Tensor:
        """Frames uint8 (B, T, 3, H, W) -> tokens (B, T, V, D): each frame's, and motion if it looks ahead."""
        tokens: Tensor = self.encoder(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        return tokens if self.motion is None else tokens + self.motion(frames)

    def _drop(self, known: Tensor, draws: Tensor | None) -> Tensor:
        """Hide past actions, or some at random while training, so that play never hangs on them alone. Both (B, T)."""
        if self.hides_past:
            return torch.zeros_like(known)
        if not self.training or self.config.past_actions != "dropout":
            return known
        draws = torch.rand(known.shape, device=known.device) if draws is None else draws
        return known & (draws >= self.config.past_action_dropout)

    def hide_past(self) -> None:
        """Show no past action from now on, for good: the vector of an unknown one stands in its place."""
        self.hides_past = True
        if self.past is not None:
            self.config = self.config.replace(past_actions="hidden")

    # ------------------------------------------------------------------ how it is computed

    def set_activation_checkpointing(self, on: bool) -> None:
        """Compute activations of the blocks again in the backward pass instead of keeping them: the same gradients."""
        self.backbone.checkpointing = on
        self.encoder.set_checkpointing(on)

    @property
    def fsdp_units(self) -> tuple[type[nn.Module], ...]:
        """Classes of the modules to shard apart, one by one: blocks of the backbone and of the encoder.

        What is left (convolutions, embeddings, heads) belongs to the root: decoder and past action share a tensor.
        """
        return tuple(sorted({type(block) for block in self._blocks()}, key=lambda kind: kind.__name__))

    def cast_weights(self, dtype: torch.dtype) -> Self:
        """Convert weights, and so the caches of new states; tables (angles, pixel means) stay float32. In place."""
        for parameter in self.parameters():
            parameter.data = parameter.data.to(dtype)
        return self

    def _blocks(self) -> list[nn.Module]:
        return [*self.backbone.blocks, *self.encoder.units]

    # ------------------------------------------------------------------ playing

    def empty_state(self, num_slots: int) -> PolicyState:
        """Memory for `num_slots` streams, of fixed size for ever. Raises ConfigError for a model that looks ahead."""
        if self.config.lookahead_ticks:
            expected, do = "a policy", "Label recordings with it (`gi label`); it cannot play."
            raise ConfigError(
                "this model sees later frames", got=f"lookahead {self.config.lookahead_ticks}", expected=expected, do=do
            )
        parameter = next(self.parameters())
        ticks = torch.zeros(num_slots, dtype=torch.long, device=parameter.device)
        actions = torch.zeros(num_slots, self.space.num_tokens, dtype=torch.long, device=parameter.device)
        caches = self.backbone.empty_caches(num_slots, parameter.dtype, parameter.device)
        features, sees_past = parameter.new_zeros(num_slots, self.config.dim), torch.ones_like(ticks, dtype=torch.bool)
        return PolicyState(caches, ticks, actions, features, sees_past)

    @torch.inference_mode()
    def step(
        self, frames: Tensor, state: PolicyState, *, slots: Tensor, rule: Draw
    ) -> tuple[Tensor, Tensor, PolicyState]:
        """Play one tick of the streams in `slots`.

        frames uint8 (B, 3, H, W); slots int64 (B,), distinct. Returns tokens int64 (B, K), the probability of
        each float (B, K), and the state, which was written in place.
        """
        features = state.features[slots] = self.step_features(frames, state, slots)
        tokens, probs = self.decoder.sample(features, rule)
        state.actions[slots] = tokens
        return tokens, probs, state

    def step_features(self, frames: Tensor, state: PolicyState, slots: Tensor) -> Tensor:
        """h_t of one tick, (B, D); advances the clock of the streams, not their last action."""
        ticks = state.ticks[slots]
        tokens = self.encoder(frames)
        if self.past is not None:
            known = (ticks > 0) & state.sees_past[slots] & (not self.hides_past)
            tokens = tokens + self.past(state.actions[slots], known)[:, None]
        features = self.backbone.step(tokens, state.caches, slots, ticks)
        state.ticks[slots] = ticks + 1
        return features.mean(dim=1)

"""`PolicyStepper`: a `Policy` behind the `Stepper` protocol: numpy in, numpy out, a random generator a stream."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gi_model.checkpoint import load_policy, read_fingerprint
from gi_model.policy import Policy
from gi_model.sampling import Draw
from gi_model.stepper import Sampling, Steps


class PolicyStepper:
    """Streams of one policy; see `gi_model.stepper.Stepper`."""

    def __init__(self, policy: Policy, *, num_slots: int, name: str = "policy", fingerprint: str = "") -> None:
        self.policy = policy.eval()
        self.name, self.fingerprint = name, fingerprint
        self.height, self.width, self.fps = policy.config.height, policy.config.width, policy.config.fps
        self.num_slots, self.action_space, self.action_horizon = num_slots, policy.space, 1
        self.factors = tuple(policy.space.factors)
        self._device = next(policy.parameters()).device
        self._state = policy.empty_state(num_slots)
        self._rules = [Sampling()] * num_slots
        self._generators = [np.random.default_rng(0)] * num_slots

    def open(self, slot: int, sampling: Sampling) -> None:
        """Start a new stream in `slot`."""
        self._state.clear(slot)
        self._rules[slot] = sampling
        self._generators[slot] = np.random.default_rng(sampling.seed)

    def step(self, frames: NDArray[np.uint8], slots: Sequence[int]) -> Steps:
        """Advance the streams in `slots` by one tick; frames uint8 (B, height, width, 3)."""
        num_tokens = self.action_space.num_tokens
        noise = np.stack([self._generators[slot].random(num_tokens, dtype=np.float32) for slot in slots])
        rule = Draw.of([self._rules[slot] for slot in slots], noise, self._device)
        images = torch.from_numpy(np.ascontiguousarray(frames)).to(self._device).permute(0, 3, 1, 2)
        index = torch.tensor(list(slots), device=self._device)
        tokens, probs, self._state = self.policy.step(images, self._state, slots=index, rule=rule)
        confidence = [probs[:, list(factor)].prod(dim=-1) for factor in self.action_space.factors.values()]
        return Steps(tokens.cpu().numpy(), torch.stack(confidence, dim=-1).float().cpu().numpy())

    def correct(self, slot: int, tokens: NDArray[np.int64]) -> None:
        """Let `tokens`, int64 (K,), be the past action that the next tick of `slot` sees."""
        self._state.actions[slot] = torch.from_numpy(tokens).to(self._device)

    def copy(self, source: int, target: int) -> None:
        """Let the stream in `target` go on as the one in `source` would."""
        state = self._state
        rings = [part for ring in state.caches for part in (ring.keys, ring.values)]
        for memory in (state.ticks, state.actions, *rings):
            memory[target] = memory[source]
        self._rules[target] = self._rules[source]
        self._generators[target] = np.random.default_rng(0)
        self._generators[target].bit_generator.state = self._generators[source].bit_generator.state


def load_stepper(checkpoint: Path, *, num_slots: int, device: str = "cpu") -> PolicyStepper:
    """A stepper over the policy in the folder `checkpoint`, named for it. Raises CheckpointError."""
    policy = load_policy(checkpoint, device=device)
    name = checkpoint.resolve().name if checkpoint.resolve().name != "checkpoint" else checkpoint.resolve().parent.name
    return PolicyStepper(policy, num_slots=num_slots, name=name, fingerprint=read_fingerprint(checkpoint))

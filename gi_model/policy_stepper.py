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
        self.num_slots, self.action_space = num_slots, policy.space
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


def load_stepper(checkpoint: Path, *, num_slots: int, device: str = "cpu") -> PolicyStepper:
    """A stepper over the policy in the folder `checkpoint`, named for it. Raises CheckpointError."""
    policy = load_policy(checkpoint, device=device)
    name = checkpoint.resolve().name if checkpoint.resolve().name != "checkpoint" else checkpoint.resolve().parent.name
    return PolicyStepper(policy, num_slots=num_slots, name=name, fingerprint=read_fingerprint(checkpoint))

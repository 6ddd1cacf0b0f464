"""`PolicyStepper`: a `Policy` behind the `Stepper` protocol: numpy in, numpy out, a random generator a stream."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gi_model.adapter_bank import AdapterBank
from gi_model.adapters import Adapter, AdapterConfig
from gi_model.calibration import Calibration, load_calibration
from gi_model.checkpoint import load_policy
from gi_model.errors import ConfigError, GiError
from gi_model.graphed_step import GraphedStep
from gi_model.policy import Policy
from gi_model.sampling import Draw, Points
from gi_model.stepper import Sampling, Steps


class PolicyStepper:
    """Streams of one policy; see `gi_model.stepper.Stepper`."""

    def __init__(
        self,
        policy: Policy,
        *,
        num_slots: int,
        name: str = "policy",
        fingerprint: str = "",
        calibration: Calibration | None = None,
    ) -> None:
        self.policy = policy.eval()
        self.name, self.fingerprint = name, fingerprint
        self.height, self.width, self.fps = policy.config.height, policy.config.width, policy.config.fps
        self.num_slots, self.action_space, self.action_horizon = num_slots, policy.space, 1
        self.factors = tuple(policy.space.factors)
        self._device = next(policy.parameters()).device
        self._state = policy.empty_state(num_slots)
        table = None if calibration is None else torch.from_numpy(calibration.table(policy.space))
        self._table = None if table is None else table.to(self._device)
        self._rules = [Sampling()] * num_slots
        self._generators = [np.random.default_rng(0)] * num_slots
        self._bank = AdapterBank(policy)
        self._adapters: list[str | None] = [None] * num_slots
        self._graphed: GraphedStep | None = None

    def use_graphs(self, *, fuse: bool = False) -> None:
        """Step through CUDA graphs from now on; before the first stream. See `GraphedStep`, also for what it raises."""
        state = self.policy.empty_state(self.num_slots + 1)  # one spare, where padding plays
        self._graphed = GraphedStep(self.policy, state, bank=self._bank, fuse=fuse)
        self._state = state

    @property
    def adapters(self) -> Mapping[str, AdapterConfig]:
        """What is loaded, by name."""
        return self._bank.configs

    def add_adapter(self, adapter: Adapter, name: str | None = None) -> None:
        """Load `adapter`, as `name` if it is not to have its own; streams go on.

        Raises what `AdapterBank.add` does, and ConfigError for a fused step, whose compiler does not see new hooks.
        """
        if self._graphed is not None and self._graphed.is_fused:
            raise ConfigError("a fused step takes no adapters", do="Use graphs without fusing.")
        moved = True  # so it may have, if it fails half-way
        try:
            moved = self._bank.add(adapter, name)
        except GiError:  # a refusal
            moved = False
            raise
        finally:
            if moved and self._graphed is not None:
                self._graphed.forget_adapters()

    def remove_adapter(self, name: str) -> None:
        """Unload `name`; streams that play with it cannot be stepped any more. Raises ConfigError if it is unknown."""
        if self._bank.remove(name) and self._graphed is not None:
            self._graphed.forget_adapters()

    def check(self, sampling: Sampling, adapter: str | None = None) -> None:
        """Raise ConfigError for an unknown adapter, or keys without a calibration."""
        self._bank.place_of(adapter)
        if sampling.keys == "calibrated" and adapter is not None:
            do = "Play with keys 'sample', or merge the adapter: gi export merged."
            raise ConfigError(f"{self.name} is calibrated without adapters", got="keys 'calibrated'", do=do)
        if sampling.keys == "calibrated" and self._table is None:
            do = "Play with keys 'sample', or run `gi pretrain` on, which writes calibration.json at its end."
            raise ConfigError(f"{self.name} has no calibration of its keys", got="keys 'calibrated'", do=do)

    def open(self, slot: int, sampling: Sampling, adapter: str | None = None) -> None:
        """Start a new stream in `slot`. Raises ConfigError as `check` does."""
        self.check(sampling, adapter)
        self._state.clear(slot)
        self._rules[slot], self._adapters[slot] = sampling, adapter
        self._state.sees_past[slot] = adapter is None or not self.adapters[adapter].hides_past
        self._generators[slot] = np.random.default_rng(sampling.seed)

    def step(self, frames: NDArray[np.uint8], slots: Sequence[int]) -> Steps:
        """Advance the streams in `slots` by one tick; frames uint8 (B, height, width, 3).

        Raises ConfigError if the adapter of one was unloaded.
        """
        adapters = self._places(slots)
        num_tokens = self.action_space.num_tokens
        noise = np.stack([self._generators[slot].random(num_tokens, dtype=np.float32) for slot in slots])
        images = torch.from_numpy(np.ascontiguousarray(frames)).to(self._device).permute(0, 3, 1, 2)
        index = torch.tensor(list(slots), device=self._device)
        rules = [self._rules[slot] for slot in slots]
        rule = Draw.of(rules, noise, self._device, points=self._points(rules, index))
        if self._graphed is None:
            with self._bank.playing(adapters):
                tokens, probs, self._state = self.policy.step(images, self._state, slots=index, rule=rule)
        else:
            tokens, probs = self._graphed(images, slots=index, rule=rule, adapters=adapters)
        confidence = [probs[:, list(factor)].prod(dim=-1) for factor in self.action_space.factors.values()]
        commands = self._command(slots)
        return Steps(tokens.cpu().numpy(), torch.stack(confidence, dim=-1).float().cpu().numpy(), commands)

    @torch.inference_mode()
    def _command(self, slots: Sequence[int]) -> tuple[NDArray[np.float32] | None, ...]:
        """Commands of direct actuators, float32 (A,) a row, of those whose adapter has a command head; () if none."""
        heads = [self._bank.head_of(self._adapters[slot]) or self.policy.command_head for slot in slots]
        if not any(heads):
            return ()
        commands: list[NDArray[np.float32] | None] = [None] * len(slots)
        for head in {id(head): head for head in heads if head is not None}.values():
            rows = [row for row, one in enumerate(heads) if one is head]
            own = [slots[row] for row in rows]
            noise = np.stack([self._generators[slot].random(head.num_actuators, dtype=np.float32) for slot in own])
            rule = Draw.of_commands([self._rules[slot] for slot in own], noise, self._device)
            drawn = head.sample(self._state.features[torch.tensor(own, device=self._device)], rule).cpu().numpy()
            for row, command in zip(rows, drawn, strict=True):
                commands[row] = command
        return tuple(commands)

    def _places(self, slots: Sequence[int]) -> Tensor | None:
        """The adapter of each stream by its place in the bank, int64 (B,); None where all play with the base."""
        places = [self._bank.place_of(self._adapters[slot]) for slot in slots]
        return torch.tensor(places, device=self._device) if any(places) else None

    def _points(self, rules: Sequence[Sampling], slots: Tensor) -> Points | None:
        """For rows with calibrated keys; None if none has. At its start a stream holds nothing."""
        if self._table is None or all(rule.keys != "calibrated" for rule in rules):
            return None
        rows = torch.tensor([rule.keys == "calibrated" for rule in rules], device=self._device)
        before = torch.where(self._state.ticks[slots, None] > 0, self._state.actions[slots], 0)
        return Points.of(self._table, before, rows, self.action_space)

    def correct(self, slot: int, tokens: NDArray[np.int64]) -> None:
        """Let `tokens`, int64 (K,), be the past action that the next tick of `slot` sees."""
        self._state.actions[slot] = torch.from_numpy(tokens).to(self._device)

    def copy(self, source: int, target: int) -> None:
        """Let the stream in `target` go on as the one in `source` would."""
        state = self._state
        rings = [part for ring in state.caches for part in (ring.keys, ring.values)]
        for memory in (state.ticks, state.actions, state.sees_past, *rings):
            memory[target] = memory[source]
        self._rules[target], self._adapters[target] = self._rules[source], self._adapters[source]
        self._generators[target] = np.random.default_rng(0)
        self._generators[target].bit_generator.state = self._generators[source].bit_generator.state


def load_stepper(
    checkpoint: Path, *, num_slots: int, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> PolicyStepper:
    """A stepper over the policy in the folder `checkpoint`, named for it. Raises CheckpointError.

    dtype: of weights and caches; bfloat16 halves both, for GPUs.
    """
    policy = load_policy(checkpoint, device=device).cast_weights(dtype)
    calibration = load_calibration(checkpoint, policy.space)
    return PolicyStepper(
        policy, num_slots=num_slots, name=policy.name, fingerprint=policy.fingerprint, calibration=calibration
    )

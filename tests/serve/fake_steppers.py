"""Steppers without a model: one that answers who it sees, one that is slow, one that fails."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gi_model.actions import ActionSpace, InputState
from gi_model.errors import ConfigError
from gi_model.frames import Frame
from gi_model.stepper import Sampling, Steps
from tests.serve.pictures import HEIGHT, WIDTH, see_identity

if TYPE_CHECKING:
    from gi_model.adapters import Adapter, AdapterConfig

FACTORS: tuple[str, ...] = ("buttons", "motion", "wheel", "keys")


class EchoStepper:
    """Answers with the identity painted in the frame and with how many frames its slot saw since it was opened."""

    name, fingerprint, fps, factors = "echo", "f" * 64, 20.0, FACTORS
    height, width, action_horizon = HEIGHT, WIDTH, 1

    def __init__(self, num_slots: int = 8, seconds: float = 0.0) -> None:
        self.num_slots, self.seconds = num_slots, seconds
        self.action_space = ActionSpace()
        self.opened: dict[int, Sampling] = {}
        self.adapters: dict[str, AdapterConfig] = {}
        self.opened_with: dict[int, str | None] = {}
        self.batches: list[int] = []
        self._seen = dict.fromkeys(range(num_slots), 0)

    def add_adapter(self, adapter: "Adapter", name: str | None = None) -> None:
        """Know its name."""
        config = replace(adapter.config, name=name or adapter.config.name)
        self.adapters[config.name] = config

    def remove_adapter(self, name: str) -> None:
        """Forget it."""
        del self.adapters[name]

    def check(self, sampling: Sampling, adapter: str | None = None) -> None:
        """It has no calibration."""
        if sampling.keys == "calibrated":
            raise ConfigError(f"{self.name} has no calibration of its keys", do="Play with keys 'sample'.")

    def open(self, slot: int, sampling: Sampling, adapter: str | None = None) -> None:
        """Forget the slot's frames."""
        if adapter is not None and adapter not in self.adapters:
            raise ConfigError("unknown adapter", got=adapter)
        self.opened[slot], self.opened_with[slot], self._seen[slot] = sampling, adapter, 0

    def step(self, frames: NDArray[np.uint8], slots: Sequence[int]) -> Steps:
        """Read each frame's identity; refuse a batch that no model could take."""
        assert frames.shape == (len(slots), HEIGHT, WIDTH, 3)
        assert len(set(slots)) == len(slots)
        assert set(slots) <= set(self.opened)
        time.sleep(self.seconds)
        self.batches.append(len(slots))
        tokens = np.stack([self._answer(frame, slot) for frame, slot in zip(frames, slots, strict=True)])
        return Steps(tokens, np.full((len(slots), len(FACTORS)), 0.5, np.float32))

    def correct(self, slot: int, tokens: NDArray[np.int64]) -> None:
        """An echo has no past actions."""

    def copy(self, source: int, target: int) -> None:
        """Let `target` have seen what `source` saw."""
        self.opened[target], self._seen[target] = self.opened[source], self._seen[source]
        self.opened_with[target] = self.opened_with[source]

    def _answer(self, frame: Frame, slot: int) -> NDArray[np.int64]:
        identity = see_identity(frame)
        age = min(self._seen[slot], 9)
        self._seen[slot] += 1
        motion = (identity % 33 - 16, identity // 33 - 16)
        return self.action_space.encode(InputState(keys=frozenset({"KeyW"}), motion=motion, wheel=(age, 0)))


class KeepingStepper(EchoStepper):
    """Keeps the frames that reach the model."""

    name = "keeping"

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[Frame] = []

    def step(self, frames: NDArray[np.uint8], slots: Sequence[int]) -> Steps:
        """Keep, and echo."""
        self.frames += list(frames)
        return super().step(frames, slots)


class FailingStepper(EchoStepper):
    """Fails on frames whose identity is 13."""

    name = "failing"

    def step(self, frames: NDArray[np.uint8], slots: Sequence[int]) -> Steps:
        """Fail, or echo."""
        if any(see_identity(frame) == 13 for frame in frames):
            raise RuntimeError("secret detail of the model")
        return super().step(frames, slots)


class HistoryStepper(EchoStepper):
    """Answers with a digest of all that happened to its slot since it was opened: seed, frames, corrections.

    So an answer is right only if not one frame or correction is missing, doubled, out of order, or another player's.
    """

    name = "history"

    def __init__(self, num_slots: int = 8, seconds: float = 0.0) -> None:
        super().__init__(num_slots, seconds)
        self._history = dict.fromkeys(range(num_slots), b"")

    def open(self, slot: int, sampling: Sampling, adapter: str | None = None) -> None:
        """Begin with the seed."""
        super().open(slot, sampling, adapter)
        self._history[slot] = digest(b"", sampling.seed.to_bytes(8))

    def correct(self, slot: int, tokens: NDArray[np.int64]) -> None:
        """Corrections are history, too."""
        self._history[slot] = digest(self._history[slot], tokens.tobytes())

    def copy(self, source: int, target: int) -> None:
        """All of it."""
        super().copy(source, target)
        self._history[target] = self._history[source]

    def _answer(self, frame: Frame, slot: int) -> NDArray[np.int64]:
        self._history[slot] = past = digest(self._history[slot], frame.tobytes())
        motion = (past[0] % 33 - 16, past[1] % 33 - 16)
        return self.action_space.encode(InputState(keys=frozenset({"KeyW"}), motion=motion, wheel=(past[2] % 10, 0)))


class CommandingStepper(HistoryStepper):
    """A history that also commands what its streams' adapters leave to it: as the frame's motion would, up to 1.6."""

    name = "commanding"

    def __init__(self, num_slots: int = 8, seconds: float = 0.0) -> None:
        super().__init__(num_slots, seconds)
        self.num_corrections = 0

    def step(self, frames: NDArray[np.uint8], slots: Sequence[int]) -> Steps:
        """Remember, and command."""
        commands = tuple(self._command(frame, slot) for frame, slot in zip(frames, slots, strict=True))
        steps = super().step(frames, slots)
        return steps if all(row is None for row in commands) else replace(steps, commands=commands)

    def correct(self, slot: int, tokens: NDArray[np.int64]) -> None:
        """Count them."""
        super().correct(slot, tokens)
        self.num_corrections += 1

    def _command(self, frame: Frame, slot: int) -> NDArray[np.float32] | None:
        adapter = self.opened_with[slot]
        body = None if adapter is None else self.adapters[adapter].embodiment
        if body is None or not body.direct.any():
            return None
        return commands_for(see_identity(frame))[: len(body.command_space)]


def commands_for(identity: int) -> NDArray[np.float32]:
    """What a `CommandingStepper` commands, drive and turn, at the frame of that identity."""
    return np.array([identity // 33 - 16, identity % 33 - 16], np.float32) / np.float32(10)


def digest(past: bytes, event: bytes) -> bytes:
    return hashlib.blake2b(past + event, digest_size=16).digest()

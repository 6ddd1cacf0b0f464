"""`Stepper`: many players' streams through one model: numpy frames in, action tokens out. What the engine batches.

Each slot is one player's stream: its own memory, clock, sampling, and random numbers, so that an action depends on
nothing but the slot's own frames and seed, however the engine batches it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from gi_model.actions import ActionSpace
from gi_model.errors import ConfigError

if TYPE_CHECKING:
    from gi_model.adapters import Adapter, AdapterConfig

Keys = Literal["sample", "mode", "calibrated"]
Motion = Literal["sample", "mode"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How actions are drawn. motion "mode": the likeliest (never the mean: that of left and right is still).

    keys "calibrated": sharper than a sample, and as often held as by players (`gi_model.calibration`); temperature and
    top_p do not count.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    keys: Keys = "sample"
    motion: Motion = "mode"
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.0 < self.temperature <= 10.0:
            raise ConfigError("temperature out of range", got=self.temperature, expected="above 0, at most 10")
        if not 0.0 < self.top_p <= 1.0:
            raise ConfigError("top_p out of range", got=self.top_p, expected="above 0, at most 1")


@dataclass(frozen=True, slots=True)
class Steps:
    """One answer a row: tokens int64 (B, K); confidence float32 (B, F), the probability of each factor as chosen.

    A model that answers N = `action_horizon` ticks at a time has (B, N, K) and (B, N, F).

    commands: of direct actuators, float32 (A,) a row, None for one whose adapter has no command head; () if none has.
    """

    tokens: NDArray[np.int64]
    confidence: NDArray[np.float32]
    commands: tuple[NDArray[np.float32] | None, ...] = ()

    def commands_of(self, row: int) -> tuple[float, ...]:
        """Commands of a row as an input state holds them; () where it has none."""
        commands = self.commands[row] if self.commands else None
        return () if commands is None else tuple(commands.tolist())


class Stepper(Protocol):
    """A model with `num_slots` streams."""

    name: str
    fingerprint: str  # of weights and configuration
    height: int
    width: int
    fps: float
    num_slots: int
    action_space: ActionSpace
    factors: tuple[str, ...]  # names of the columns of `Steps.confidence`
    action_horizon: int  # ticks an answer

    @property
    def adapters(self) -> "Mapping[str, AdapterConfig]":
        """What streams may be opened with, by name; each config has the name that it is loaded as."""
        ...

    def add_adapter(self, adapter: "Adapter", name: str | None = None) -> None:
        """Load `adapter`, between steps, as `name` if it is not to have its own. Raises GiError if it does not fit."""
        ...

    def remove_adapter(self, name: str) -> None:
        """Unload it, between steps; no stream may use it any more."""
        ...

    def check(self, sampling: Sampling, adapter: str | None = None) -> None:
        """Raise ConfigError if no stream can be opened so."""
        ...

    def open(self, slot: int, sampling: Sampling, adapter: str | None = None) -> None:
        """Start a new stream in `slot`: memory and clock empty. adapter: of those loaded; None: the base alone."""
        ...

    def step(self, frames: NDArray[np.uint8], slots: Sequence[int]) -> Steps:
        """Advance the streams in `slots` (distinct) by one tick; frames uint8 (B, height, width, 3).

        The frames are the caller's again once it returns.
        """
        ...

    def correct(self, slot: int, tokens: NDArray[np.int64]) -> None:
        """Let `tokens`, int64 (K,), be what was held in the newest tick of `slot`, in place of what was answered."""
        ...

    def copy(self, source: int, target: int) -> None:
        """Let the stream in `target` go on as the one in `source` would: memory, clock, sampling, random numbers."""
        ...

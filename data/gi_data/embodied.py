"""Clips that know their body: the embodiment in a clip's metadata, and what is checked of demonstrations against one.

The whole file travels with every clip, not only its name: what a stick meant when a demonstration was recorded must be
known when it is trained on, and when somebody asks years later.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gi_data.metadata import JsonScalar
from gi_model.embodiment import Embodiment, parse_embodiment
from gi_model.errors import ClipError, ConfigError

RATE_TOLERANCE: Final = 0.02  # of a robot's own clock
_NAME, _FINGERPRINT, _TOML = "embodiment", "embodiment_fingerprint", "embodiment_toml"


def embodied(embodiment: Embodiment | None) -> dict[str, JsonScalar]:
    """What the metadata of a clip says of the body it was played with: name, fingerprint, and the file itself."""
    if embodiment is None:
        return {}
    return {_NAME: embodiment.name, _FINGERPRINT: embodiment.fingerprint, _TOML: embodiment.to_toml()}


def read_embodied(extra: Mapping[str, JsonScalar], name: str) -> Embodiment | None:
    """Inverse of `embodied`; None for a clip of a game. Raises ClipError naming clip `name` where it is damaged."""
    if _TOML not in extra:
        return None
    try:
        embodiment = parse_embodiment(str(extra[_TOML]), f"embodiment of clip {name}")
    except ConfigError as error:
        raise ClipError(f"embodiment of clip {name} cannot be read", got=str(error)) from error
    if embodiment.fingerprint != extra.get(_FINGERPRINT):
        got, expected = str(extra.get(_FINGERPRINT))[:12], embodiment.fingerprint[:12]
        raise ClipError(f"clip {name} has another embodiment than it says", got=got, expected=expected)
    return embodiment


def check_rate(fps: float, embodiment: Embodiment, name: str) -> None:
    """Raise ClipError if a demonstration's rate is not the embodiment's."""
    if abs(fps / embodiment.fps - 1) > RATE_TOLERANCE:
        got, expected = f"{fps:g} ticks a second", f"{embodiment.fps:g}, the fps of embodiment {embodiment.name}"
        do = "Record at that rate, or state the demonstrations' rate in the embodiment."
        raise ClipError(f"recording {name} has another rate than its embodiment", got=got, expected=expected, do=do)


def check_commands(commands: NDArray[np.float32], embodiment: Embodiment, name: str) -> None:
    """Raise ClipError at the first of `commands`, float32 (T, A), that the embodiment does not allow.

    NaN is a missing value, not a wrong one. A command may miss the range by the resolution: it was rounded somewhere.
    """
    low, high = embodiment.minimum - embodiment.resolution, embodiment.maximum + embodiment.resolution
    ticks, actuators = np.nonzero((commands < low) | (commands > high))
    if len(ticks):
        tick, actuator = int(ticks[0]), embodiment.actuators[int(actuators[0])]
        got = f"{actuator.name} = {commands[tick, actuators[0]]:g} {actuator.unit} in row {tick}"
        got += f", and {len(ticks) - 1} more" * (len(ticks) > 1)
        expected = f"{actuator.minimum:g} to {actuator.maximum:g} {actuator.unit}"
        do = "Check the embodiment's units and range; a range that is too narrow would be driven too."
        raise ClipError(f"{name} has commands beyond the limits", got=got, expected=expected, do=do)

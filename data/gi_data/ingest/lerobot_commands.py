"""Rows of a robot's LeRobot dataset -> input states, through an embodiment: commands found by the actuators' names.

What a robot was told is turned into the inputs that would have told it so. Commands beyond the embodiment's limits are
refused, for they mean that units or ranges are wrong; rows without a number or without a picture of their own stay, but
are not known.
"""

from collections import Counter
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gi_data.embodied import check_commands
from gi_data.ingest.lerobot_dataset import Dataset, Episode
from gi_data.ingest.lerobot_labels import Labels, action_features, read_vectors
from gi_data.ingest.lerobot_map import entry_names
from gi_model.actions import NEUTRAL
from gi_model.embodiment import Embodiment
from gi_model.errors import ClipError


def command_labels(dataset: Dataset, episode: Episode, body: Embodiment) -> Labels:
    """The labels of an episode. Raises ClipError on missing actuators and commands beyond the limits."""
    places, unused = _places(dataset, body)
    table = dataset.rows(episode, sorted({feature for feature, _ in places}))
    vectors = {feature: read_vectors(table[feature], feature) for feature, _ in places}
    for feature, number in places:
        if number >= vectors[feature].shape[1]:
            raise ClipError(f"{feature} is shorter than its names", got=vectors[feature].shape[1], expected=number + 1)
    columns = [vectors[feature][:, number] for feature, number in places]
    commands: NDArray[np.float32] = np.stack(columns, axis=1).astype(np.float32)
    check_commands(commands, body, f"episode {episode.index}")
    sound: NDArray[np.bool_] = np.all(np.isfinite(commands), axis=1)
    rows = tuple(
        (body.inputs(command), True) if is_sound else (NEUTRAL, False)
        for command, is_sound in zip(commands, sound, strict=True)
    )
    unknown = Counter(dict.fromkeys(unused, episode.length))
    unknown["row with a value that is no number"] = int((~sound).sum())
    return Labels((rows,), ((),), body.bindings, +unknown)


def without_pictures(labels: Labels, seen: set[int]) -> Labels:
    """`labels` of one episode; a row without a picture of its own, which would show an older one, is not known."""
    (rows,) = labels.parts
    missing = Counter({"row without a picture": sum(number not in seen for number in range(len(rows)))})
    kept = tuple((state, known and number in seen) for number, (state, known) in enumerate(rows))
    return replace(labels, parts=(kept,), unknown=labels.unknown + missing)


def _places(dataset: Dataset, body: Embodiment) -> tuple[list[tuple[str, int]], list[str]]:
    """Feature and number of each actuator's command, and names of entries that drive none."""
    entries = {
        name: (feature, number)
        for feature in action_features(dataset)
        for number, name in enumerate(entry_names(dataset.features[feature], feature))
    }
    wanted = [actuator.name for actuator in body.actuators]
    if missing := [name for name in wanted if name not in entries]:
        do = "Name the actuators as the dataset's action entries are named."
        expected = f"one of {', '.join(sorted(entries)[:20]) or 'none'}"
        raise ClipError(f"{dataset.root.name} has no command for {missing[0]}", expected=expected, do=do)
    unused = [f"{entries[name][0]}/{name}"[:100] for name in entries if name not in wanted]
    return [entries[name] for name in wanted], unused

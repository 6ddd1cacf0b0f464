"""Rows of a LeRobot dataset -> input states: exactly, of our own exports; by the names of the entries, of others'."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import merge

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gi_data.ingest.events import Event, Move, Scroll, state_events
from gi_data.ingest.lerobot_dataset import Dataset, Episode
from gi_data.ingest.lerobot_map import MAX_ENTRIES, Entry, entry_names, known_entry
from gi_data.lerobot_format import ACTION, AXES, BUTTONS, INPUT, KNOWN
from gi_model.actions import GAMEPAD_BUTTONS, KEYS, MOUSE_BUTTONS, NEUTRAL, AxisBinding, Bindings, Gamepad, InputState
from gi_model.actions.bindings import MOUSE_AXES, PAD_AXES
from gi_model.errors import ActionError, ClipError

_FASTEST = 1e6  # counts a tick
_BASIC = ("episode_index", "frame_index", "index", "task_index", "timestamp")
Counts = tuple[float, float, float, float]  # of the mouse's motion and wheel


@dataclass(frozen=True)
class Labels:
    """One or several episodes' labels: states and whether known; rows with the mouse's counts, whole or not."""

    parts: tuple[tuple[tuple[InputState, bool], ...], ...]
    counts: tuple[tuple[tuple[int, Counts], ...], ...]
    bindings: Bindings
    unknown: Counter[str] = field(default_factory=Counter)

    @classmethod
    def joined(cls, parts: Sequence["Labels"]) -> "Labels":
        """The labels of episodes that follow each other."""
        unknown = sum((part.unknown for part in parts), Counter[str]())
        rows = tuple(row for part in parts for row in part.parts)
        return cls(rows, tuple(row for part in parts for row in part.counts), parts[0].bindings, unknown)

    def events(self, places: Sequence[int], time_of: Callable[[int], int], *, end: int) -> Iterator[Event]:
        """As events; episode i begins at tick places[i]. Between episodes nothing is known."""
        states = state_events(self._rows(places, time_of), end_ns=time_of(end))
        return merge(states, self._moves(places, time_of), key=lambda event: event.t_ns)

    def _rows(self, places: Sequence[int], time_of: Callable[[int], int]) -> Iterator[tuple[int, InputState, bool]]:
        until = 0
        for place, rows in zip(places, self.parts, strict=True):
            if place > until:
                yield time_of(until), NEUTRAL, False
            for number, (state, known) in enumerate(rows):
                yield time_of(place + number), state, known
            until = place + len(rows)

    def _moves(self, places: Sequence[int], time_of: Callable[[int], int]) -> Iterator[Event]:
        for place, counts in zip(places, self.counts, strict=True):
            for row, (dx, dy, across, down) in counts:
                t_ns, duration_ns = time_of(place + row), time_of(place + row + 1) - time_of(place + row)
                if dx or dy:
                    yield Move(t_ns, dx, dy, duration_ns)
                if across or down:
                    yield Scroll(t_ns, across, down, duration_ns)


def own_labels(dataset: Dataset, episode: Episode) -> Labels:
    """The labels of an export of ours, as they were."""
    columns = [INPUT, KNOWN] if KNOWN in dataset.features else [INPUT]
    table = dataset.rows(episode, columns)
    known = table[KNOWN].to_pylist() if KNOWN in columns else [True] * len(table)
    try:
        states = [InputState.from_dict(json.loads(text)) for text in table[INPUT].to_pylist()]
    except (ActionError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ClipError(f"labels of episode {episode.index} cannot be read", got=str(error)[:200]) from error
    rows = tuple((state, value is True) for state, value in zip(states, known, strict=True))
    names = entry_names(dataset.features.get(ACTION, {}), ACTION)
    return Labels((rows,), ((),), _bindings(each.control for name in names if (each := known_entry(ACTION, name))))


def vector_labels(dataset: Dataset, episode: Episode, entries: Mapping[str, tuple[Entry, ...]]) -> Labels:
    """The labels of a stranger's dataset: every entry of an `action` that has a name we know, or that the map names."""
    unknown = Counter(dict.fromkeys(_nameless(dataset, entries), episode.length))
    chosen = _chosen(dataset, entries)
    if not chosen:
        do = "Say what they are in gi-map.toml beside meta, or by a robot's --embodiment; docs/lerobot.md has examples."
        raise ClipError(f"no action of {dataset.root.name} has a name we know", got=sorted(unknown)[:20], do=do)
    features = sorted({feature for feature, _ in chosen})
    table = dataset.rows(episode, features)
    vectors = {name: read_vectors(table[name], name) for name in features}
    values: dict[str, NDArray[np.float64]] = {}
    for (feature, number), meanings in chosen.items():
        if number >= vectors[feature].shape[1]:
            raise ClipError(f"{feature} is shorter than its names", got=vectors[feature].shape[1], expected=number + 1)
        for entry in meanings:
            values[entry.control] = entry.of(vectors[feature][:, number]) + values.get(entry.control, 0.0)
    sound: NDArray[np.bool_] = np.all(np.isfinite(np.stack(list(values.values()))), axis=0)
    unknown["row with a value that is no number"] = int((~sound).sum())
    rows = tuple((_state(values, row), True) if sound[row] else (NEUTRAL, False) for row in range(len(table)))
    counts = tuple(_counts(values, row) for row in range(len(table)) if sound[row])
    ticks = tuple(row for row in range(len(table)) if sound[row])
    return Labels((rows,), (tuple(zip(ticks, counts, strict=True)),), _bindings(values), +unknown)


def action_features(dataset: Dataset) -> list[str]:
    """Names of the features that hold actions."""
    return [name for name in dataset.features if name == "action" or name.startswith("action.")]


def _chosen(dataset: Dataset, entries: Mapping[str, tuple[Entry, ...]]) -> dict[tuple[str, int], tuple[Entry, ...]]:
    """What each number of each feature means, of those that are a control."""
    chosen = {}
    for feature, facts in dataset.features.items():
        for number, name in enumerate(entry_names(facts, feature)):
            meanings = entries.get(f"{feature}/{name}") or entries.get(f"{feature}/{number}") or ()
            if not entries and feature in action_features(dataset) and (known := known_entry(feature, name)):
                meanings = (known,)
            if meanings:
                chosen[feature, number] = meanings
    return chosen


def _nameless(dataset: Dataset, entries: Mapping[str, tuple[Entry, ...]]) -> list[str]:
    """Entries of actions, and other features, that are no control."""
    chosen = _chosen(dataset, entries)
    used = {feature for feature, _ in chosen}
    others = [name for name, facts in dataset.features.items() if name not in _BASIC and facts.get("dtype") != "video"]
    names = [f"feature {name}"[:100] for name in others if name not in used and name not in action_features(dataset)]
    for feature in action_features(dataset):
        numbered = enumerate(entry_names(dataset.features[feature], feature))
        names += [f"{feature}/{name}"[:100] for number, name in numbered if (feature, number) not in chosen]
    return names


def read_vectors(column: pa.ChunkedArray, name: str) -> NDArray[np.float64]:
    """float64 (T, N); NaN where there is no number."""
    table = [row if isinstance(row, list) else [row] for row in column.to_pylist()]
    width = max(map(len, table))
    try:
        if not 0 < width <= MAX_ENTRIES or any(row != [None] and len(row) != width for row in table):
            raise ValueError("vectors of different lengths")
        numbers = ([None] * width if row == [None] else row for row in table)
        return np.array([[np.nan if x is None else float(x) for x in row] for row in numbers])
    except (TypeError, ValueError) as error:
        raise ClipError(f"feature {name} is no vector of numbers", got=f"{column.type}: {error}"[:200]) from error


def _state(values: Mapping[str, NDArray[np.float64]], row: int) -> InputState:
    held = frozenset(name for name in values if "." not in name and values[name][row] > 0.5)

    def pair(device: str, low: float) -> tuple[float, float]:
        x, y = (float(values[name][row]) if (name := f"{device}.{axis}") in values else 0.0 for axis in "xy")
        return min(1.0, max(low, x)), min(1.0, max(low, y))

    has_pad = any(name in PAD_AXES or name in GAMEPAD_BUTTONS for name in values)
    sees_cursor = "cursor.visible" not in values or values["cursor.visible"][row] > 0.5
    return InputState(
        keys=held & frozenset(KEYS),
        buttons=held & frozenset(MOUSE_BUTTONS),
        cursor=pair("cursor", 0.0) if "cursor.x" in values and "cursor.y" in values and sees_cursor else None,
        gamepad=Gamepad(
            held & frozenset(GAMEPAD_BUTTONS),
            pair("left_stick", -1.0),
            pair("right_stick", -1.0),
            pair("triggers", 0.0),
        )
        if has_pad
        else None,
    )


def _counts(values: Mapping[str, NDArray[np.float64]], row: int) -> Counts:
    x, y, across, down = (
        float(np.clip(values[name][row], -_FASTEST, _FASTEST)) if name in values else 0.0 for name in MOUSE_AXES
    )
    return x, y, across, down


def _bindings(controls: Iterable[str]) -> Bindings:
    """Every control under its own name."""
    used = set(controls)
    axes: dict[str, AxisBinding] = {
        axis: AxisBinding(axis, 1.0, "full" if axis in PAD_AXES else "count") for axis in AXES if axis in used
    }
    return Bindings({name: name for name in BUTTONS if name in used}, axes, cursor="cursor.x" in used)

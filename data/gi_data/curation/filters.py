"""Filters: small functions from the signals of a corpus to the ticks to leave out.

To add one, write its options, whose docstring users read, and its function, and name both in `FILTERS`.
Whatever looks at time looks at chains of clips, not at clips: see `ticks.py`. "More than N seconds" means that a whole
run goes as soon as it is longer; what is shorter stays, for a player also stops to think.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from gi_data.curation.decontamination import Decontaminate, decontaminate
from gi_data.curation.duplicates import NearDuplicate, near_duplicate
from gi_data.curation.material import Material, seconds_above_zero, share
from gi_data.curation.signals import CHANGED, CURSOR, KNOWN, NULL, POINTING
from gi_data.curation.ticks import Ids, Mask, Seconds, Ticks, fill, runs

Filter = Callable[[Material, Mask, Any], Mask]  # (material, ticks kept so far, options) -> ticks to leave out


@dataclass(frozen=True)
class Idle:
    """Nothing is pressed or moved for more than `seconds`."""

    seconds: float = 10.0

    def __post_init__(self) -> None:
        seconds_above_zero(self.seconds)


def idle(material: Material, _: Mask, options: Idle) -> Mask:
    """Ticks of long runs without any input; unlabelled ticks say nothing."""
    ticks = material.ticks
    return ticks.long_runs(ticks.has(NULL) & ticks.has(KNOWN), options.seconds)


@dataclass(frozen=True)
class Menu:
    """A cursor where the game usually locks it, or a still picture while somebody points and clicks.

    locked_share: a game locks the pointer if fewer of its ticks show a cursor. still: mean change of a grey level.
    """

    seconds: float = 2.0
    locked_share: float = 0.5
    still: float = 0.5
    pointing_share: float = 0.1

    def __post_init__(self) -> None:
        seconds_above_zero(self.seconds)
        share("locked_share", self.locked_share)
        share("pointing_share", self.pointing_share)


def menu(material: Material, _: Mask, options: Menu) -> Mask:
    """Ticks in menus by either sign."""
    ticks = material.ticks
    game = material.games[ticks.clip]
    shown = np.bincount(game, weights=ticks.has(CURSOR)) / np.maximum(1, np.bincount(game))
    cursor = ticks.has(CURSOR) & (shown < options.locked_share)[game]
    still = ticks.long_runs(_still(ticks, options.still), options.seconds)
    return ticks.long_runs(cursor, options.seconds) | _runs_with(still, ticks, options.pointing_share)


@dataclass(frozen=True)
class HeldKey:
    """Something is held and nothing else changes for more than `seconds`: a weight on a key, a player away."""

    seconds: float = 20.0

    def __post_init__(self) -> None:
        seconds_above_zero(self.seconds)


def held_key(material: Material, _: Mask, options: HeldKey) -> Mask:
    """Ticks of long runs in which held controls stay the same."""
    ticks = material.ticks
    return ticks.long_runs(~ticks.has(NULL) & ~ticks.has(CHANGED) & ticks.has(KNOWN), options.seconds)


@dataclass(frozen=True)
class Burst:
    """More presses, or more mouse counts, within one second than a hand can make: macros, glitches."""

    presses: int = 30
    motion: int = 100_000

    def __post_init__(self) -> None:
        seconds_above_zero(self.presses)
        seconds_above_zero(self.motion)


def burst(material: Material, _: Mask, options: Burst) -> Mask:
    """Ticks of every second that is over a limit."""
    ticks = material.ticks
    return _busy_seconds(ticks, ticks.presses, options.presses) | _busy_seconds(ticks, ticks.motion, options.motion)


@dataclass(frozen=True)
class Darkness:
    """The picture's mean brightness, 0 to 1, is below `brightness` for more than `seconds`."""

    brightness: float = 0.02
    seconds: float = 2.0

    def __post_init__(self) -> None:
        seconds_above_zero(self.seconds)
        share("brightness", self.brightness)


def darkness(material: Material, _: Mask, options: Darkness) -> Mask:
    """Ticks of long dark runs."""
    ticks = material.ticks
    return ticks.long_runs(ticks.brightness < options.brightness * 255, options.seconds)


@dataclass(frozen=True)
class Static:
    """The picture does not change for more than `seconds`. still: mean change of a grey level."""

    seconds: float = 10.0
    still: float = 0.05

    def __post_init__(self) -> None:
        seconds_above_zero(self.seconds)


def static(material: Material, _: Mask, options: Static) -> Mask:
    """Ticks of long frozen runs."""
    ticks = material.ticks
    return ticks.long_runs(_still(ticks, options.still), options.seconds)


@dataclass(frozen=True)
class Known:
    """Ticks whose input is not the player's, or that nobody labelled."""


def known(material: Material, _: Mask, __: Known) -> Mask:
    """Unlabelled ticks."""
    return ~material.ticks.has(KNOWN)


@dataclass(frozen=True)
class Quality:
    """Clips of a quality below `min`: labelled * moving * lit * (1 + active) / 2, each a share of the ticks kept."""

    min: float = 0.3

    def __post_init__(self) -> None:
        share("min", self.min)


def quality(material: Material, keep: Mask, options: Quality) -> Mask:
    """All of the clips that are not good enough."""
    ticks, kept = material.ticks, np.flatnonzero(keep)
    score = quality_of(ticks, kept, ticks.clip[kept], len(material.clips))
    return (score < options.min)[ticks.clip]


def quality_of(ticks: Ticks, kept: Ids, group: Ids, num_groups: int) -> Seconds:
    """Quality in [0, 1] of groups of ticks: labelled * moving * lit * (1 + active) / 2, each a share of ticks.

    kept: (K,) ticks that count; group: (K,) theirs. moving: the picture changes; lit: neither black nor white; active:
    something is pressed or moved. A group without a tick has 0.
    """
    counts = np.maximum(1, np.bincount(group, minlength=num_groups))

    def mean(mask: Mask) -> Seconds:
        return np.bincount(group[mask], minlength=num_groups) / counts

    brightness, flags = ticks.brightness[kept], ticks.flags[kept]
    lit = (brightness > 5) & (brightness < 250)
    active = mean((flags & NULL) == 0)
    return mean((flags & KNOWN) != 0) * mean(ticks.difference[kept] >= 0.05) * mean(lit) * (1 + active) / 2


@dataclass(frozen=True)
class Shortest:
    """What is left of a clip in pieces of fewer than `ticks`: shorter than the windows of training."""

    ticks: int = 16

    def __post_init__(self) -> None:
        seconds_above_zero(self.ticks)


def shortest(material: Material, keep: Mask, options: Shortest) -> Mask:
    """Ticks of short stretches."""
    starts, ends = runs(keep, material.ticks.clip)
    short = ends - starts < options.ticks
    return fill(len(keep), starts[short], ends[short])


FILTERS: Final[dict[str, tuple[type, Filter]]] = {
    "known": (Known, known),
    "idle": (Idle, idle),
    "held_key": (HeldKey, held_key),
    "menu": (Menu, menu),
    "burst": (Burst, burst),
    "darkness": (Darkness, darkness),
    "static": (Static, static),
    "decontaminate": (Decontaminate, decontaminate),
    "near_duplicate": (NearDuplicate, near_duplicate),
    "quality": (Quality, quality),
    "shortest": (Shortest, shortest),
}


def _still(ticks: Ticks, limit: float) -> Mask:
    """Ticks whose picture does not change. One tick between two such is, too: keyframes redraw the same picture."""
    still = ticks.difference < limit
    still[1:-1] |= still[:-2] & still[2:]
    return still


def _runs_with(mask: Mask, ticks: Ticks, pointing_share: float) -> Mask:
    """Runs of `mask` in which somebody points in a good share of the ticks."""
    starts, ends = runs(mask, ticks.chain)
    counted = np.concatenate([[0], np.cumsum(ticks.has(POINTING))])
    pointing = counted[ends] - counted[starts] >= pointing_share * (ends - starts)
    return fill(len(mask), starts[pointing], ends[pointing])


def _busy_seconds(ticks: Ticks, counts: np.ndarray[Any, Any], limit: int) -> Mask:
    """Ticks within a second whose counts sum to more than `limit`."""
    if not len(ticks):
        return np.empty(0, dtype=bool)
    chain = ticks.chain
    begins = np.flatnonzero(np.concatenate([[True], chain[1:] != chain[:-1]]))
    chain_start = begins[np.searchsorted(begins, np.arange(len(ticks)), side="right") - 1]
    start = np.maximum(chain_start, np.arange(len(ticks)) + 1 - ticks.at_least(1.0))
    summed = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    over = np.flatnonzero(summed[1:] - summed[start] > limit)
    return fill(len(ticks), start[over], over + 1)

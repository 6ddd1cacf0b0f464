"""Find stretches of play that look alike: pictures by locality-sensitive hashing, then agreement over time.

One picture proves nothing: pictures of different recordings of one game are within 8 bits every few hundred pairs, and
where the player stands on one spot and turns, most are. A match is a row of different pictures that agree at one shift
of time, with hardly a gap. A bucket that is too full (a menu, a title screen)
links each picture to a few others only, so time stays linear.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gi_data.curation.perceptual_hash import NO_HASH, Hashes, distance

NUM_TABLES = 16
MIN_BITS, MAX_BITS = 16, 24  # of a table's keys: more for more pictures, so that buckets stay small
MAX_LINKS = 32  # of a picture in a bucket
BIN_S = 0.25  # shifts of time within a bin count as one
GAP = 2  # from one picture of a row to the next that agrees: every other one may fail

Ids = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Samples:
    """S hashed pictures: in which chain, of which recording (ids common to both sides), when in the chain."""

    hashes: Hashes
    chain: Ids
    recording: Ids
    time_s: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Matches:
    """Pairs of samples in rows that agree at one shift of time; group: the row of each pair."""

    left: Ids
    right: Ids
    group: Ids


def similar_pairs(left: Hashes, right: Hashes | None, max_distance: int) -> tuple[Ids, Ids]:
    """Numbers i, j of hashes that differ in at most `max_distance` bits; with right None, i < j of `left`.

    Finds nearly all up to 6 bits; the share of the others falls slowly (docs/curation.md has the figures).
    """
    other = left if right is None else right
    bits = int(np.clip(np.ceil(np.log2(max(2, len(other)))), MIN_BITS, MAX_BITS))
    found = []
    for columns in _tables(bits):
        keys_left, keys_right = _keys(left, columns), _keys(other, columns)
        for i, j in _links(keys_left, keys_right, with_itself=right is None):
            near = distance(left[i], other[j]) <= max_distance
            found.append(i[near] * len(other) + j[near])
    pairs = np.unique(np.concatenate(found)) if found else np.empty(0, dtype=np.int64)
    return pairs // max(1, len(other)), pairs % max(1, len(other))


def match(left: Samples, right: Samples | None, *, max_distance: int, min_matches: int) -> Matches:
    """Pairs that agree over time: at least `min_matches` different pictures at one shift (fewer in shorter chains)."""
    kept_left = np.flatnonzero(left.hashes != NO_HASH)
    kept_right = None if right is None else np.flatnonzero(right.hashes != NO_HASH)
    other = left if right is None else right
    hashes_right = None if right is None else right.hashes[kept_right]
    i, j = similar_pairs(left.hashes[kept_left], hashes_right, max_distance)
    i, j = kept_left[i], (kept_left if kept_right is None else kept_right)[j]
    foreign = left.recording[i] != other.recording[j]
    i, j = i[foreign], j[foreign]
    needed = _needed(left, other, i, j, min_matches)
    shift = left.time_s[i] - other.time_s[j]
    accepted = []
    for phase in (0.0, 0.5):
        bins = np.floor(shift / BIN_S + phase).astype(np.int64)
        group = _rows(_number(left.chain[i], other.chain[j], bins), i)
        agreeing = np.minimum(_distinct(group, left.hashes[i]), _distinct(group, other.hashes[j]))
        good = agreeing[group] >= needed if len(group) else np.empty(0, dtype=bool)
        accepted.append(Matches(i[good], j[good], group[good]))
    a, b = accepted
    apart = b.group + (a.group.max() + 1 if len(a.group) else 0)
    return Matches(
        np.concatenate([a.left, b.left]), np.concatenate([a.right, b.right]), np.concatenate([a.group, apart])
    )


def connected(size: int, left: Ids, right: Ids) -> Ids:
    """int64 (size,): number of each element's component, counted in order of appearance; -1: alone (union-find)."""
    parent = list(range(size))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for a, b in np.unique(np.stack([left, right], axis=1), axis=0).tolist():
        low, high = sorted((root(a), root(b)))
        parent[high] = low
    roots = np.array([root(node) for node in range(size)], dtype=np.int64)
    together = np.bincount(roots, minlength=size)[roots] > 1
    groups = np.full(size, -1, dtype=np.int64)
    _, groups[together] = np.unique(roots[together], return_inverse=True)
    return groups


def _tables(bits: int) -> list[Ids]:
    """For each table, the bits of a hash that make its key: quarters of shuffled bits, so that each four cover all."""
    random = np.random.default_rng(0)
    quarters = [random.permutation(64).reshape(4, 16) for _ in range(NUM_TABLES // 4)]
    rest = [np.roll(quarter, -row, axis=0) for quarter in quarters for row in range(4)]
    return [columns.reshape(-1)[:bits] for columns in rest]


def _keys(hashes: Hashes, columns: Ids) -> Ids:
    keys = np.zeros(len(hashes), dtype=np.int64)
    for place, column in enumerate(columns.tolist()):
        keys |= ((hashes >> np.uint64(column)) & np.uint64(1)).astype(np.int64) << place
    return keys


def _links(left: Ids, right: Ids, *, with_itself: bool) -> Iterator[tuple[Ids, Ids]]:
    """Pairs with equal keys, each `left` with at most `MAX_LINKS` of `right`; with itself, only with later ones."""
    order = np.argsort(right, kind="stable")
    keys = right[order]
    begin = np.searchsorted(keys, left, side="left")
    end = np.searchsorted(keys, left, side="right")
    if with_itself:
        crowded = np.flatnonzero(end - begin > MAX_LINKS)
        heads = order[begin[crowded]]
        yield heads[heads < crowded], crowded[heads < crowded]  # all of a crowd meet its first
        begin = np.empty_like(begin)
        begin[order] = np.arange(1, len(order) + 1)
    rows = np.arange(len(left))
    for step in range(MAX_LINKS):
        inside = begin[rows] + step < end[rows]
        rows = rows[inside]
        if not len(rows):
            return
        yield rows, order[begin[rows] + step]


def _needed(left: Samples, right: Samples, i: Ids, j: Ids, min_matches: int) -> Ids:
    """How many pictures must agree for each pair: no more than the shorter chain has, but two."""
    counts = [np.bincount(side.chain[side.hashes != NO_HASH]) for side in (left, right)]
    shorter = np.minimum(counts[0][left.chain[i]], counts[1][right.chain[j]]) if len(i) else np.empty(0, dtype=np.int64)
    return np.clip(shorter, min(2, min_matches), min_matches)


def _number(*columns: Ids) -> Ids:
    """Number the distinct rows of some columns."""
    number = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        _, codes = np.unique(column, return_inverse=True)
        _, number = np.unique(number * (codes.max(initial=0) + 1) + codes, return_inverse=True)
    return number


def _rows(group: Ids, picture: Ids) -> Ids:
    """Split groups of pairs where more than `GAP` pictures on nothing agreed."""
    order = np.lexsort([picture, group])
    breaks = (np.diff(group[order]) != 0) | (np.diff(picture[order]) > GAP)
    rows = np.empty(len(group), dtype=np.int64)
    rows[order] = np.concatenate([[0], np.cumsum(breaks)])[: len(group)]
    return rows


def _distinct(group: Ids, hashes: Hashes) -> Ids:
    """Different hashes in each group."""
    _, codes = np.unique(hashes, return_inverse=True)
    pairs = np.unique(group * (codes.max(initial=0) + 1) + codes)
    return np.bincount(pairs // (codes.max(initial=0) + 1), minlength=int(group.max(initial=-1)) + 1)

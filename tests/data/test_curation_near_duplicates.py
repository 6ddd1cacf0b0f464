import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gi_data.curation.near_duplicates import Samples, connected, match, similar_pairs
from gi_data.curation.perceptual_hash import NO_HASH, Hashes, distance, hash_pictures, shrink
from gi_data.curation.ticks import fill, runs


def flipped(hashes: Hashes, bits: int, random: np.random.Generator) -> Hashes:
    """Each hash with so many other bits."""
    places = np.argsort(random.random((len(hashes), 64)), axis=1)[:, :bits].astype(np.uint64)
    changed: Hashes = hashes ^ (np.uint64(1) << places).sum(axis=1, dtype=np.uint64)
    return changed


def many(size: int, seed: int = 0) -> Hashes:
    return np.random.default_rng(seed).integers(1, 2**64 - 1, size, dtype=np.uint64)


def test_distance_counts_bits() -> None:
    hashes = many(100)
    assert (distance(hashes, hashes) == 0).all()
    assert (distance(hashes, flipped(hashes, 7, np.random.default_rng(1))) == 7).all()


@pytest.mark.parametrize(("bits", "recall"), [(0, 1.0), (3, 1.0), (6, 0.9), (8, 0.6)])
def test_near_hashes_are_found(bits: int, recall: float) -> None:
    hashes = many(2000)
    i, j = similar_pairs(hashes, flipped(hashes, bits, np.random.default_rng(1)), 8)
    assert (i == j).sum() >= recall * len(hashes)
    assert (i == j).sum() == len(i), "random hashes are never that near"


def test_pairs_of_one_list_are_those_of_comparing_all() -> None:
    random = np.random.default_rng(3)
    hashes = np.concatenate([base := many(60), flipped(base[:30], 2, random), base[10:20]])
    apart = distance(hashes[:, None], hashes[None])
    expected = {(i, j) for i, j in zip(*np.nonzero(apart <= 4), strict=True) if i < j}
    assert set(zip(*similar_pairs(hashes, None, 4), strict=True)) == expected


def test_a_crowd_of_equal_pictures_costs_linear_time_and_is_one_component() -> None:
    hashes = np.full(5000, 12345, dtype=np.uint64)
    i, j = similar_pairs(hashes, None, 4)
    assert len(i) < 40 * len(hashes)
    assert (connected(len(hashes), i, j) == 0).all()


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=30))
@settings(max_examples=50, deadline=None)
def test_components_are_those_of_reaching_each_other(pairs: list[tuple[int, int]]) -> None:
    edges = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    groups = connected(20, edges[:, 0], edges[:, 1])
    reach = np.eye(20, dtype=bool)
    reach[edges[:, 0], edges[:, 1]] = reach[edges[:, 1], edges[:, 0]] = True
    for _ in range(5):
        reach = (reach.astype(int) @ reach.astype(int)) > 0
    for a in range(20):
        assert (groups[a] == -1) == (reach[a].sum() == 1)
        for b in range(20):
            assert reach[a, b] == (a == b or (groups[a] == groups[b] != -1))


def samples(hashes: Hashes, recording: int = 0) -> Samples:
    size = len(hashes)
    ids = np.full(size, recording, dtype=np.int64)
    return Samples(hashes, np.zeros(size, dtype=np.int64), ids, np.arange(size, dtype=np.float64) / 2)


def joined(*parts: Hashes) -> Samples:
    chain = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    time_s = np.concatenate([np.arange(len(part)) * 0.5 for part in parts])
    return Samples(np.concatenate(parts), chain, chain, time_s)


def test_a_copy_matches_where_it_lies() -> None:
    original = many(60)
    copy = flipped(original[20:50], 4, np.random.default_rng(1))
    found = match(joined(original, copy), None, max_distance=8, min_matches=10)
    assert set(zip(found.left.tolist(), found.right.tolist(), strict=True)) >= {(20 + k, 60 + k) for k in range(2, 28)}
    assert ((found.right - found.left) == 40).all()


def test_a_few_like_pictures_are_no_copy() -> None:
    """A title screen, a start position, a picture that stands still."""
    a, b = many(60, 1), many(60, 2)
    b[10:15] = a[30:35]
    assert not len(match(joined(a, b), None, max_distance=8, min_matches=10).left)
    a[5:45] = b[5:45] = 77
    assert not len(match(joined(a, b), None, max_distance=8, min_matches=10).left)


def test_like_pictures_in_another_order_are_no_copy() -> None:
    a = many(60)
    assert not len(match(joined(a, a[::-1].copy()), None, max_distance=8, min_matches=10).left)


def test_a_recording_is_no_copy_of_itself() -> None:
    a = many(30)
    both = joined(a, a)
    itself = Samples(both.hashes, both.chain, np.zeros_like(both.recording), both.time_s)
    assert not len(match(itself, None, max_distance=8, min_matches=10).left)
    assert len(match(both, None, max_distance=8, min_matches=10).left)


def test_nothing_to_see_matches_nothing() -> None:
    dark = np.full(60, NO_HASH)
    assert not len(match(joined(dark, dark), None, max_distance=8, min_matches=1).left)
    empty = samples(np.empty(0, dtype=np.uint64))
    assert not len(match(empty, None, max_distance=8, min_matches=1).left)
    assert not len(match(empty, samples(many(5), 1), max_distance=8, min_matches=1).left)


# ---------------------------------------------------------------------- hashes of pictures


def smooth(seed: int) -> NDArray[np.uint8]:
    """One grey picture, (1, 72, 128)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (1, 6, 8)).astype(np.uint8)
    return coarse.repeat(12, axis=1).repeat(16, axis=2)


def test_a_hash_survives_what_does_not_change_the_scene() -> None:
    for seed in range(20):
        picture = smooth(seed)
        original = hash_pictures(shrink(picture))
        brighter = np.clip(picture.astype(int) * 0.8 + 30, 0, 255).astype(np.uint8)
        noisy = np.clip(picture + np.random.default_rng(seed).normal(0, 8, picture.shape), 0, 255).astype(np.uint8)
        for changed in (brighter, noisy, picture[:, ::2, ::2]):
            assert distance(hash_pictures(shrink(changed)), original) <= 6
        assert distance(hash_pictures(shrink(smooth(seed + 100))), original) > 10


def test_a_flat_picture_has_no_hash() -> None:
    flat = np.full((2, 36, 64), 100, dtype=np.uint8)
    flat[1] += np.random.default_rng(0).integers(0, 3, (36, 64)).astype(np.uint8)
    assert (hash_pictures(shrink(flat)) == NO_HASH).all()


def test_shrinking_averages_areas() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (3, 72, 128)).astype(np.uint8)
    expected = picture.reshape(3, 36, 2, 64, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(shrink(picture), expected, rtol=1e-5)


# ---------------------------------------------------------------------- runs


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 1)), max_size=40))
@settings(max_examples=100, deadline=None)
def test_runs_fill_to_the_mask_and_cross_no_border(cells: list[tuple[bool, int]]) -> None:
    mask = np.array([cell[0] for cell in cells], dtype=bool)
    within = np.cumsum([cell[1] for cell in cells], dtype=np.int64)
    starts, ends = runs(mask, within)
    np.testing.assert_array_equal(fill(len(mask), starts, ends), mask)
    for start, end in zip(starts, ends, strict=True):
        assert len(set(within[start:end].tolist())) == 1
        for outside in (start - 1, end):
            if 0 <= outside < len(mask) and within[outside] == within[start]:
                assert not mask[outside]

"""Generated maps: a map a seed, playable, and never the same in training and evaluation."""

import math
import time

import pytest

from gi_data.demonstrators import make_demonstrator
from gi_data.envs import EVAL_SEED_START
from gi_data.envs.doom import DoomEnvironment
from gi_data.envs.gather_maps import NUM_ITEMS, GatherMap, Polygon, locate, make_map, to_udmf, write_wad

SEEDS = [*range(40), *range(EVAL_SEED_START, EVAL_SEED_START + 40)]


def area(polygon: Polygon) -> float:
    """Signed: counter-clockwise is positive."""
    pairs = zip(polygon, (*polygon[1:], polygon[0]), strict=True)
    return sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in pairs) / 2


def is_inside(x: float, y: float, polygon: Polygon) -> bool:
    turns = 0.0
    for (x1, y1), (x2, y2) in zip(polygon, (*polygon[1:], polygon[0]), strict=True):
        turns += (math.atan2(y2 - y, x2 - x) - math.atan2(y1 - y, x1 - x) + math.pi) % (2 * math.pi) - math.pi
    return abs(turns) > math.pi


@pytest.mark.parametrize("seed", SEEDS)
def test_every_item_and_the_player_stand_on_free_ground(seed: int) -> None:
    level: GatherMap = make_map(seed)
    assert len(level.items) == NUM_ITEMS
    assert area(level.outline) < 0 < min(area(pillar) for pillar in level.pillars)
    for x, y in [*(place for _, place in level.items), level.start[:2]]:
        assert is_inside(x, y, level.outline)
        assert not any(is_inside(x, y, pillar) for pillar in level.pillars)


def test_the_seed_is_the_map_and_no_two_seeds_share_one() -> None:
    maps = {to_udmf(make_map(seed)) for seed in SEEDS}
    assert len(maps) == len(SEEDS)
    assert to_udmf(make_map(3)) == to_udmf(make_map(3))
    assert len({locate(seed) for seed in SEEDS}) == len(SEEDS)


def test_maps_of_evaluation_and_recording_share_no_file() -> None:
    last_recorded, first_evaluated = locate(EVAL_SEED_START - 1)[0], locate(EVAL_SEED_START)[0]
    assert last_recorded < first_evaluated


def test_the_map_of_a_seed_does_not_depend_on_maps_played_before_it() -> None:
    some, other = DoomEnvironment("doom/gather"), DoomEnvironment("doom/gather")
    for seed in (2, 70, 3):
        some.reset(seed=seed)
    frame, _ = some.reset(seed=70)
    assert (frame == other.reset(seed=70)[0]).all()
    some.close()
    other.close()


def test_a_change_of_map_within_a_file_takes_milliseconds() -> None:
    env = DoomEnvironment("doom/gather")
    env.reset(seed=0)
    seconds = []
    for seed in range(1, 11):
        began = time.perf_counter()
        env.reset(seed=seed)
        seconds.append(time.perf_counter() - began)
    env.close()
    assert min(seconds) < 0.05


def test_only_items_that_count_are_in_sight_and_collecting_them_is_the_score() -> None:
    env = DoomEnvironment("doom/gather")
    player = make_demonstrator("demonstrator", env)
    frame, info = env.reset(seed=1)
    player.reset(seed=1)
    sight = env.sight()
    assert sight is not None
    assert {thing.name for thing in sight.things} <= {"Soulsphere", "Megasphere"}
    for _ in range(100):
        frame, *_, info = env.step(player.act(frame))
    assert 0 < info["score"] <= NUM_ITEMS
    env.close()


def test_a_wad_lists_its_lumps_where_they_are() -> None:
    wad = write_wad([("MAP01", b""), ("TEXTMAP", b"abc"), ("ENDMAP", b"")])
    assert wad[:4] == b"PWAD"
    assert int.from_bytes(wad[4:8], "little") == 3
    directory = int.from_bytes(wad[8:12], "little")
    entry = wad[directory + 16 : directory + 32]
    offset, size = int.from_bytes(entry[:4], "little"), int.from_bytes(entry[4:8], "little")
    assert (wad[offset : offset + size], entry[8:].rstrip(b"\0")) == (b"abc", b"TEXTMAP")

"""Generated maps for `doom/gather`: one map a seed: a room with pillars, walls, and items to collect.

The seed is the map. Evaluation seeds start at `EVAL_SEED_START` in every game and recording refuses them, so the maps
of an evaluation were never recorded, by construction. A map is UDMF text in a PWAD (TEXTMAP and ENDMAP): the engine
builds its own nodes. 32 neighbouring seeds share one file, within which a change of map costs milliseconds; another
file restarts the engine.
"""

import random
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

MAPS_PER_BLOCK: Final = 32
NUM_ITEMS: Final = 36
ITEM_KINDS: Final = (2013, 83)  # soulsphere, megasphere: count as items, and are seen from afar
_PLAYER_START: Final = 1

_WALLS: Final = (
    "STARTAN3",
    "BRICK7",
    "STONE2",
    "METAL1",
    "BROWN1",
    "GRAY1",
    "BIGBRIK1",
    "TEKGREN2",
    "WOOD5",
    "MARBLE1",
)
_FLOORS: Final = ("FLOOR0_1", "FLOOR4_8", "FLAT5_4", "MFLR8_1", "GRASS1", "RROCK09", "CEIL5_1", "FLAT14")
_CEILINGS: Final = ("CEIL3_5", "CEIL1_1", "FLAT20", "FLAT1", "CEIL5_2", "F_SKY1")

GAP: Final = 96  # between solids, map units: the player is 32 wide
CLEARANCE: Final = 36  # around an item
MAX_CUT: Final = 160

Point = tuple[int, int]
Box = tuple[int, int, int, int]  # left, low, right, high
Polygon = tuple[Point, ...]


@dataclass(frozen=True)
class GatherMap:
    """One map. outline: clockwise; pillars: counter-clockwise; items: kind and place; start: x, y, degrees."""

    outline: Polygon
    pillars: tuple[Polygon, ...]
    items: tuple[tuple[int, Point], ...]
    start: tuple[int, int, int]
    textures: tuple[str, str, str, str]  # outer wall, pillars, floor, ceiling
    light: int


def locate(seed: int) -> tuple[int, str]:
    """Block and level name of the map of `seed`."""
    return seed // MAPS_PER_BLOCK, f"MAP{seed % MAPS_PER_BLOCK + 1:02d}"


def write_block(block_id: int) -> bytes:
    """The PWAD with the maps of one block of seeds."""
    first = block_id * MAPS_PER_BLOCK
    lumps: list[tuple[str, bytes]] = []
    for seed in range(first, first + MAPS_PER_BLOCK):
        lumps += [(locate(seed)[1], b""), ("TEXTMAP", to_udmf(make_map(seed)).encode()), ("ENDMAP", b"")]
    return write_wad(lumps)


def make_map(seed: int) -> GatherMap:
    """The map of `seed`."""
    rng = random.Random(f"gather {seed}")
    width, height = rng.randrange(896, 1537, 64), rng.randrange(896, 1537, 64)
    pillars = _place_pillars(rng, width, height)
    free = _scatter(rng, (width, height), pillars)
    items = tuple((rng.choice(ITEM_KINDS), next(free)) for _ in range(NUM_ITEMS))
    start = (*next(free), rng.randrange(0, 360, 45))
    textures = (rng.choice(_WALLS), rng.choice(_WALLS), rng.choice(_FLOORS), rng.choice(_CEILINGS))
    return GatherMap(_room(rng, width, height), pillars, items, start, textures, rng.randrange(160, 256, 16))


def to_udmf(level: GatherMap) -> str:
    """UDMF text of a map: one sector, solids cut out of it."""
    wall, pillar, floor, ceiling = level.textures
    loops = [(level.outline, wall), *((polygon, pillar) for polygon in level.pillars)]
    lines = ['namespace = "zdoom";']
    first = 0
    for points, texture in loops:
        for index, (x, y) in enumerate(points):
            end = first + (index + 1) % len(points)
            lines.append(f"vertex {{ x = {x}.0; y = {y}.0; }}")
            lines.append(
                f"linedef {{ v1 = {first + index}; v2 = {end}; sidefront = {first + index}; blocking = true; }}"
            )
            lines.append(f'sidedef {{ sector = 0; texturemiddle = "{texture}"; }}')
        first += len(points)
    heights = f'heightfloor = 0; heightceiling = 128; texturefloor = "{floor}"; textureceiling = "{ceiling}"'
    lines.append(f"sector {{ {heights}; lightlevel = {level.light}; }}")
    x, y, angle = level.start
    lines.append(_thing(_PLAYER_START, (x, y), angle))
    lines += [_thing(kind, place) for kind, place in level.items]
    return "\n".join(lines)


def write_wad(lumps: Sequence[tuple[str, bytes]]) -> bytes:
    """A PWAD of named lumps (https://doomwiki.org/wiki/WAD)."""
    body, directory = b"", b""
    for name, data in lumps:
        directory += struct.pack("<ii8s", 12 + len(body), len(data), name.encode())
        body += data
    return struct.pack("<4sii", b"PWAD", len(lumps), 12 + len(body)) + body + directory


def _room(rng: random.Random, width: int, height: int) -> Polygon:
    """A clockwise rectangle whose corners are cut or not."""
    a, b, c, d = (rng.choice((0, 0, 96, MAX_CUT)) for _ in range(4))
    points = [
        (a, 0),
        (0, a),
        (0, height - b),
        (b, height),
        (width - c, height),
        (width, height - c),
        (width, d),
        (width - d, 0),
    ]
    return tuple(dict.fromkeys(points))


def _place_pillars(rng: random.Random, width: int, height: int) -> tuple[Polygon, ...]:
    """Up to twelve solids, far enough from each other and from the walls to walk between."""
    boxes: list[Box] = []
    for _ in range(rng.randrange(5, 13) * 4):
        wide, high = rng.choice(((64, 64), (96, 96), (128, 64), (24, 192), (224, 24), (48, 48)))
        left, low = rng.randrange(GAP, width - wide - GAP, 8), rng.randrange(GAP, height - high - GAP, 8)
        candidate = (left, low, left + wide, low + high)
        if len(boxes) < 12 and not any(_is_near(candidate, other, GAP) for other in boxes):
            boxes.append(candidate)
    return tuple(_pillar(rng, box) for box in boxes)


def _pillar(rng: random.Random, box: Box) -> Polygon:
    """A counter-clockwise box, or the octagon in it."""
    left, low, right, high = box
    cut = rng.choice((0, min(right - left, high - low) // 4))
    corners = [(left, low + cut), (left + cut, low), (right - cut, low), (right, low + cut)]
    corners += [(right, high - cut), (right - cut, high), (left + cut, high), (left, high - cut)]
    return tuple(dict.fromkeys(corners))


def _scatter(rng: random.Random, size: Point, pillars: Sequence[Polygon]) -> Iterator[Point]:
    """Endless free places, clear of walls, solids, cut corners, and each other."""
    width, height = size
    taken = [(*map(min, zip(*polygon, strict=True)), *map(max, zip(*polygon, strict=True))) for polygon in pillars]
    while True:
        x, y = rng.randrange(48, width - 48), rng.randrange(48, height - 48)
        corner = min(x, width - x) + min(y, height - y)
        if corner > MAX_CUT + 64 and not any(_is_near((x, y, x, y), other, CLEARANCE) for other in taken):
            taken.append((x, y, x, y))
            yield x, y


def _is_near(a: Box, b: Box, gap: int) -> bool:
    return a[0] < b[2] + gap and b[0] < a[2] + gap and a[1] < b[3] + gap and b[1] < a[3] + gap


def _thing(kind: int, place: Point, angle: int = 0) -> str:
    skills = " ".join(f"skill{skill} = true;" for skill in range(1, 6))
    where = f"x = {place[0]}.0; y = {place[1]}.0; angle = {angle}; type = {kind};"
    return f"thing {{ {where} {skills} single = true; }}"

"""`Arena`: a walled floor with obstacles and coloured balls, drawn from a seed within stated ranges.

Held-out arenas differ in kind, not only in number: larger, fuller, of other shapes, colours, and light. Whatever is
drawn leaves room for a body to pass, and no ball or start lies where a body cannot stand.
"""

import math
import random
from dataclasses import dataclass
from typing import Final

Rgb = tuple[float, float, float]
Place = tuple[float, float]

_MUTED: Final[tuple[Rgb, ...]] = ((0.55, 0.42, 0.3), (0.5, 0.5, 0.52), (0.62, 0.58, 0.48), (0.42, 0.5, 0.42))
_OTHER_MUTED: Final[tuple[Rgb, ...]] = ((0.7, 0.66, 0.62), (0.36, 0.34, 0.36), (0.52, 0.46, 0.56), (0.45, 0.4, 0.3))
DISTRACTORS: Final[tuple[Rgb, ...]] = ((0.85, 0.1, 0.12), (0.9, 0.8, 0.1), (0.1, 0.65, 0.2), (0.75, 0.2, 0.75))
START_FREE_M: Final = 0.9


@dataclass(frozen=True)
class Ranges:
    """What arenas are drawn from. half_m: half a side; pairs: from, to, both included."""

    half_m: tuple[float, float]
    num_obstacles: tuple[int, int]
    num_walls: tuple[int, int]
    num_distractors: tuple[int, int]
    shapes: tuple[str, ...]
    colours: tuple[Rgb, ...]
    checker_m: tuple[float, float]
    light_degrees: tuple[float, float]  # elevation


SEEN_RANGES: Final = Ranges((3.2, 4.2), (4, 8), (0, 2), (2, 4), ("box", "cylinder"), _MUTED, (0.4, 0.8), (50, 80))
UNSEEN_RANGES: Final = Ranges(
    (4.2, 5.0), (8, 12), (2, 3), (4, 6), ("box", "cylinder", "capsule"), _OTHER_MUTED, (0.9, 1.2), (25, 45)
)


@dataclass(frozen=True)
class Obstacle:
    """A solid thing. size: as MuJoCo has it; radius_m: of the circle on the floor that holds it."""

    shape: str
    place: Place
    size: tuple[float, ...]
    height_m: float  # of its centre
    yaw_degrees: float
    colour: Rgb
    radius_m: float

    @property
    def xml(self) -> str:
        """Its geom."""
        size = " ".join(f"{value:.4f}" for value in self.size)
        position = f"{self.place[0]:.4f} {self.place[1]:.4f} {self.height_m:.4f}"
        return (
            f'<geom class="solid" type="{self.shape}" size="{size}" pos="{position}" '
            f'euler="0 0 {self.yaw_degrees:.2f}" rgba="{_rgba(self.colour)}"/>'
        )


@dataclass(frozen=True)
class Scale:
    """How large a body's arena is beside the rover's: its floor, its obstacles' heights, and where balls float."""

    floor: float = 1.0
    height: float = 1.0
    ball_m: float = 0.25  # radius
    ball_heights_m: tuple[float, float] = (0.3, 0.3)


@dataclass(frozen=True)
class Arena:
    """One arena. free: places that a ball may take."""

    half_m: float
    wall_height_m: float
    obstacles: tuple[Obstacle, ...]
    free: tuple[Place, ...]
    start: tuple[float, float, float]  # x, y, yaw in radians
    floor: Rgb
    walls: Rgb
    checker_m: float
    light: tuple[float, float, float]

    @property
    def xml(self) -> str:
        """Floor, walls, and obstacles, as children of MuJoCo's worldbody."""
        half, thick, height = self.half_m, 0.1, self.wall_height_m / 2
        floor = f'<geom name="floor" type="plane" size="{half} {half} 1" rgba="{_rgba(self.floor)}"/>'
        sides = (
            f'<geom class="solid" type="box" name="wall{index}" rgba="{_rgba(self.walls)}" '
            f'size="{half if y else thick} {half if x else thick} {height}" '
            f'pos="{x * (half + thick)} {y * (half + thick)} {height}"/>'
            for index, (x, y) in enumerate(((1, 0), (-1, 0), (0, 1), (0, -1)))
        )
        return "\n".join((floor, *sides, *(obstacle.xml for obstacle in self.obstacles)))


def generate(seed: int, ranges: Ranges, scale: Scale) -> Arena:
    """The arena of `seed`: the same one for the same arguments, on every machine."""
    rng = random.Random(f"arena {seed}")
    half = rng.uniform(*ranges.half_m) * scale.floor
    light_up, light_round = math.radians(rng.uniform(*ranges.light_degrees)), rng.uniform(0, 2 * math.pi)
    obstacles: list[Obstacle] = []
    for _ in range(rng.randint(*ranges.num_walls)):
        _place(obstacles, _inner_wall(rng, ranges, scale), rng, half)
    for _ in range(rng.randint(*ranges.num_obstacles)):
        _place(obstacles, _block(rng, ranges, scale), rng, half)
    for colour in rng.choices(DISTRACTORS, k=rng.randint(*ranges.num_distractors)):
        ball = Obstacle("sphere", (0, 0), (scale.ball_m,), rng.uniform(*scale.ball_heights_m), 0, colour, scale.ball_m)
        _place(obstacles, ball, rng, half)
    free = _free_places(obstacles, half)
    start = rng.choice([place for place in free if math.hypot(*place) < half * 0.7] or free)
    return Arena(
        half_m=half,
        wall_height_m=1.2 * scale.height,
        obstacles=tuple(obstacles),
        free=tuple(free),
        start=(*start, rng.uniform(-math.pi, math.pi)),
        floor=_tinted(rng, rng.choice(ranges.colours)),
        walls=_tinted(rng, rng.choice(ranges.colours)),
        checker_m=rng.uniform(*ranges.checker_m) * scale.floor,
        light=(
            math.cos(light_up) * math.cos(light_round),
            math.cos(light_up) * math.sin(light_round),
            math.sin(light_up),
        ),
    )


def _block(rng: random.Random, ranges: Ranges, scale: Scale) -> Obstacle:
    shape = rng.choice(ranges.shapes)
    wide, deep = rng.uniform(0.15, 0.4), rng.uniform(0.15, 0.4)
    tall = rng.uniform(0.25, 0.6) * scale.height
    size = {"box": (wide, deep, tall), "cylinder": (wide, tall), "capsule": (wide, tall)}[shape]
    radius = math.hypot(wide, deep) if shape == "box" else wide
    return Obstacle(shape, (0, 0), size, tall, rng.uniform(0, 180), _tinted(rng, rng.choice(ranges.colours)), radius)


def _inner_wall(rng: random.Random, ranges: Ranges, scale: Scale) -> Obstacle:
    length, tall = rng.uniform(0.6, 1.1), 0.5 * scale.height
    colour = _tinted(rng, rng.choice(ranges.colours))
    return Obstacle("box", (0, 0), (length, 0.08, tall), tall, rng.choice((0.0, 90.0)), colour, length)


def _place(obstacles: list[Obstacle], new: Obstacle, rng: random.Random, half: float) -> None:
    """Put `new` where a body can pass all around it; nowhere, if a few tries find no such place."""
    for _ in range(30):
        place = (rng.uniform(-half, half), rng.uniform(-half, half))
        from_wall = half - max(abs(place[0]), abs(place[1])) - new.radius_m
        gaps = [math.dist(place, other.place) - other.radius_m - new.radius_m for other in obstacles]
        if min((from_wall, *gaps)) > START_FREE_M:
            obstacles.append(
                Obstacle(new.shape, place, new.size, new.height_m, new.yaw_degrees, new.colour, new.radius_m)
            )
            return


def _free_places(obstacles: list[Obstacle], half: float) -> list[Place]:
    """Points of a grid of 0.25 m where a body stands free."""
    steps = int((half - START_FREE_M) / 0.25)
    line = [index * 0.25 for index in range(-steps, steps + 1)]
    return [
        (x, y)
        for x in line
        for y in line
        if all(math.dist((x, y), other.place) - other.radius_m > START_FREE_M * 0.7 for other in obstacles)
    ]


def _tinted(rng: random.Random, colour: Rgb) -> Rgb:
    red, green, blue = (min(1.0, max(0.0, part * rng.uniform(0.85, 1.15))) for part in colour)
    return red, green, blue


def _rgba(colour: Rgb) -> str:
    return " ".join(f"{part:.3f}" for part in colour) + " 1"

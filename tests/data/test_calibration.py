"""Panning videos with known motion and known offsets: each offset is found within half a tick."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from gi_data.ingest.calibration import Calibration, calibrate_one, suggest
from gi_data.ingest.convert import IngestConfig, IngestJob
from gi_data.ingest.events import Deflect, Event, Move, Press
from gi_data.ingest.optical_flow import global_flow
from gi_data.ingest.source import Found, SourceRecording
from gi_data.ingest.timeline import TimedFrame
from gi_model.actions import Bindings
from gi_model.errors import ClipError
from gi_model.frames import Frame

SECOND = 1_000_000_000
TICK = SECOND // 20
PIXELS_A_COUNT = 0.5
FRAMES = 400


def world(seed: int = 0) -> Frame:
    """A wall of coloured tiles, one picture high and many wide; it repeats."""
    tiles = np.random.default_rng(seed).integers(0, 255, (24, 160, 3), dtype=np.uint8)
    wall: Frame = tiles.repeat(5, 0).repeat(5, 1)
    return wall


def view(wall: Frame, at: float) -> Frame:
    """The window of 160 x 120 that begins at a pixel, between pixels too."""
    left, part = int(np.floor(at)), at - np.floor(at)
    columns = np.arange(161) + left
    wide = wall.take(columns, axis=1, mode="wrap").astype(np.float64)
    seen: Frame = (wide[:, :160] * (1 - part) + wide[:, 1:] * part).astype(np.uint8)
    return seen


@dataclass(frozen=True)
class Panning:
    """A format with a camera: mouse counts in ticks of 50 ms turn it; labels are `late_ms` late."""

    late_ms: float = 0.0
    seed: int = 0
    scale: float = PIXELS_A_COUNT
    down: bool = False
    pad: bool = False
    still: bool = False
    noise: bool = False
    fps: int = 20

    name = "panning"
    summary = "a wall"
    offset = "as told"

    def find(self, source: Path) -> Sequence[Found]:
        return [Found("p", source, 1)]

    def read(self, found: Found) -> SourceRecording:
        return SourceRecording(
            game="wall",
            fps=float(self.fps),
            start_ns=0,
            end_ns=FRAMES * TICK,
            frames=self._frames,
            events=self._events,
            bindings=Bindings(),
            license="CC0-1.0",
        )

    def _counts(self) -> NDArray[np.int64]:
        """Turns and stops of a third of a second each."""
        rng = np.random.default_rng(self.seed)
        speeds = rng.integers(-16, 17, FRAMES // 6 + 1) * (0 if self.still else 1)
        return np.repeat(speeds, 6)[:FRAMES]

    def _frames(self) -> Iterator[TimedFrame]:
        wall, path = world(self.seed), np.concatenate([[0], np.cumsum(self._counts())]) * self.scale
        rng = np.random.default_rng(1)
        for number in range(FRAMES * self.fps // 20):
            t_ns = number * SECOND // self.fps
            at = float(np.interp(t_ns / TICK, np.arange(len(path)), path))
            if self.noise:
                yield TimedFrame(t_ns, lambda: rng.integers(0, 255, (120, 160, 3), dtype=np.uint8))
            elif self.down:
                yield TimedFrame(t_ns, partial(lambda x: view(wall, x).transpose(1, 0, 2).copy(), at))
            else:
                yield TimedFrame(t_ns, partial(view, wall, at))

    def _events(self) -> Iterator[Event]:
        late = round(self.late_ms * 1e6)
        for number, count in enumerate(self._counts().tolist()):
            t_ns = number * TICK + late
            if self.pad:
                yield Deflect(t_ns, right_stick=(count / 16, 0.0))
            else:
                yield Move(t_ns, 0 if self.down else count, count if self.down else 0, duration_ns=TICK)


def measure(importer: Panning, **changes: float) -> Calibration:
    config = IngestConfig(**changes)  # type: ignore[arg-type]
    (found,) = importer.find(Path())
    return calibrate_one(IngestJob(importer, found, Path(), config))


@pytest.mark.parametrize("late_ms", [-430.0, -130.0, -25.0, 0.0, 40.0, 110.0, 450.0])
def test_a_known_offset_is_found_within_half_a_tick(late_ms: float) -> None:
    got = measure(Panning(late_ms))
    assert got.doubt == ""
    assert abs(got.offset_ms + late_ms) <= 25.0
    assert got.correlation < -0.9
    assert got.widths_per_count == pytest.approx(-PIXELS_A_COUNT / 160, rel=0.1)
    assert got.spread_ms < 25.0
    assert (got.axis, got.tick_ms) == ("x", 50.0)


@pytest.mark.parametrize("fps", [10, 30, 60])
def test_videos_of_other_rates_are_measured_as_well(fps: int) -> None:
    got = measure(Panning(80.0, fps=fps))
    assert got.doubt == ""
    assert abs(got.offset_ms + 80.0) <= 25.0


def test_the_offset_in_use_is_part_of_what_is_suggested() -> None:
    got = measure(Panning(100.0), offset_ms=-70.0)
    assert abs(got.offset_ms + 100.0) <= 25.0
    put_right = measure(Panning(100.0), offset_ms=got.offset_ms)
    assert put_right.correlation_now == pytest.approx(put_right.correlation, abs=0.01)


def test_looking_up_and_down_is_measured_too() -> None:
    got = measure(Panning(60.0, down=True))
    assert (got.axis, got.doubt) == ("y", "")
    assert abs(got.offset_ms + 60.0) <= 25.0


def test_so_is_the_right_stick_of_a_gamepad() -> None:
    got = measure(Panning(60.0, pad=True))
    assert got.doubt == ""
    assert abs(got.offset_ms + 60.0) <= 25.0


def test_an_inverted_axis_shows_as_a_positive_correlation() -> None:
    got = measure(Panning(scale=-PIXELS_A_COUNT))
    assert got.correlation > 0.9
    assert got.offset_ms == pytest.approx(0.0, abs=25.0)


@pytest.mark.parametrize(
    ("importer", "doubt"),
    [
        (Panning(still=True), "too little motion"),
        (Panning(noise=True), "too few pictures"),
        (Panning(scale=0.0), "does not move with the labels"),
        (Panning(900.0), ""),  # it may say one thing or another
    ],
)
def test_what_cannot_be_measured_is_said(importer: Panning, doubt: str) -> None:
    got = measure(importer)
    assert got.doubt
    assert doubt in got.doubt
    assert suggest([got]) is None


def test_one_that_cannot_be_read_does_not_end_the_others() -> None:
    class Broken(Panning):
        def read(self, found: Found) -> SourceRecording:
            raise ClipError("no such luck")

    got = measure(Broken())
    assert got.doubt == "no such luck"
    assert suggest([got, Calibration("a", offset_ms=30.0), Calibration("b", offset_ms=50.0)]) == 40.0


@pytest.mark.parametrize("shift", [-40.0, -3.25, -1.0, 0.0, 0.5, 7.75, 60.0])
def test_a_shift_of_the_whole_picture_is_measured_below_a_pixel(shift: float) -> None:
    wall = world(3)
    frames = [TimedFrame(n * TICK, partial(view, wall, 100 - shift * n)) for n in range(4)]
    flow = global_flow(frames, step_ns=TICK, end_ns=SECOND)
    np.testing.assert_allclose(flow.shift[:, 0] * 160, shift, atol=0.35)
    np.testing.assert_allclose(flow.shift[:, 1] * 160, 0.0, atol=0.1)
    assert flow.start_ns.tolist() == [0, TICK, 2 * TICK]


def test_keys_alone_give_nothing_to_measure() -> None:
    class Keys(Panning):
        def _events(self) -> Iterator[Event]:
            yield Press(0, "KeyW")

    assert measure(Keys()).doubt == "too little motion"

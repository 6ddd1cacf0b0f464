"""`global_flow`: how far the whole picture moved from one frame to the next, by phase correlation.

A camera that turns moves everything on the screen, and that is what mouse motion can be compared with (calibration.py).
One number an axis is enough for it, and numpy's FFT of a small grey picture gives it. Rejected: dense optical flow (a
large dependency for one number). The middle rows only: bars and weapons at top and bottom do not move with the view.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gi_data.ingest.timeline import TimedFrame
from gi_model.frames import Frame, resize

SIDE: Final = 96  # pixels of the shorter side that is compared; smaller pictures stay as they are
ROWS: Final = (0.15, 0.75)
CLEAR: Final = 8.0  # of a peak over the correlation's standard deviation; pictures without relation reach about 5

Grey = NDArray[np.float64]  # (H, W)


@dataclass(frozen=True)
class Flow:
    """K steps: start_ns, end_ns int64 (K,): times of both frames; shift float64 (K, 2): right, down, in widths."""

    start_ns: NDArray[np.int64]
    end_ns: NDArray[np.int64]
    shift: NDArray[np.float64]


def global_flow(frames: Iterable[TimedFrame], *, step_ns: int, end_ns: int) -> Flow:
    """Flow between frames at least 0.8 step and at most 3 steps apart, until a time; unclear ones are left out."""
    rows: list[tuple[int, int, float, float]] = []
    before: tuple[int, _Spectrum] | None = None
    for frame in frames:
        if frame.t_ns >= end_ns:
            break
        if before is not None and frame.t_ns < before[0] + 0.8 * step_ns:
            continue
        spectrum = _Spectrum(frame.rgb())
        if before is not None and frame.t_ns <= before[0] + 3 * step_ns:
            right, down, clarity = spectrum.shift_since(before[1])
            if clarity >= CLEAR:
                rows.append((before[0], frame.t_ns, right, down))
        before = (frame.t_ns, spectrum)
    table = np.array(rows, dtype=np.float64).reshape(-1, 4)
    times = np.array([row[:2] for row in rows], dtype=np.int64).reshape(-1, 2)
    return Flow(times[:, 0], times[:, 1], table[:, 2:])


class _Spectrum:
    """A picture, ready to be compared."""

    def __init__(self, frame: Frame) -> None:
        grey = _small_grey(frame)
        self._shape = grey.shape
        window = np.outer(np.hanning(grey.shape[0]), np.hanning(grey.shape[1]))
        self._values = np.fft.rfft2((grey - grey.mean()) * window)

    def shift_since(self, before: "_Spectrum") -> tuple[float, float, float]:
        """Shift right and down in widths of the picture, and how clear it is. 0 clear where the size changed."""
        if before._shape != self._shape:
            return 0.0, 0.0, 0.0
        cross = self._values * np.conj(before._values)
        cross /= np.maximum(np.abs(cross), 1e-9)
        surface = np.fft.irfft2(cross, s=self._shape)
        row, column = np.unravel_index(int(np.argmax(surface)), self._shape)
        down = _around_zero(int(row) + _bend(surface[:, column], int(row)), self._shape[0])
        right = _around_zero(int(column) + _bend(surface[row], int(column)), self._shape[1])
        clarity = float(surface[row, column] / (surface.std() + 1e-12))
        return right / self._shape[1], down / self._shape[1], clarity


def _small_grey(frame: Frame) -> Grey:
    """The middle rows, shrunk by a whole number, which is quick."""
    height = frame.shape[0]
    middle = frame[round(ROWS[0] * height) : round(ROWS[1] * height)]
    factor = max(1, min(frame.shape[:2]) // SIDE)
    rows, columns = middle.shape[0] // factor, middle.shape[1] // factor
    small = resize(middle[: rows * factor, : columns * factor], rows, columns)
    grey: Grey = small.mean(axis=2, dtype=np.float64)
    return grey


def _bend(values: NDArray[np.float64], peak: int) -> float:
    """Where between its neighbours a peak lies: the top of the parabola through three points, in [-0.5, 0.5]."""
    left, middle, right = values[peak - 1], values[peak], values[(peak + 1) % len(values)]
    curvature = left - 2 * middle + right
    return float(np.clip(0.5 * (left - right) / curvature, -0.5, 0.5)) if curvature < 0 else 0.0


def _around_zero(shift: float, size: int) -> float:
    return shift - size if shift > size / 2 else shift

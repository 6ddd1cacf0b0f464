"""`calibrate`: do the labels of a recording lie where its pictures say they should?

A mouse that turns a camera moves the whole picture. The shift between frames is correlated with the motion labelled for
the same stretch of time, moved by lags of up to `MAX_LAG` ticks; the best lag says how late or early labels are. How
far to trust it comes from a bootstrap over blocks of a second. Convention: an offset of 0 is right when a motion shows
in the very next frame, as in games that are stepped; a game and capture with a delay of their own show up as labels
that are early by it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gi_data.ingest.convert import IngestJob, own_fps, shifted
from gi_data.ingest.optical_flow import Flow, global_flow
from gi_data.ingest.source import SourceRecording
from gi_data.ingest.timeline import ticks
from gi_model.errors import GiError

MAX_LAG: Final = 10  # ticks, either way
LAGS_A_TICK: Final = 10
MAX_S: Final = 180.0
FINE_NS: Final = 4_000_000
MIN_STEPS: Final = 60
MIN_MOVING: Final = 20
MIN_CORRELATION: Final = 0.6  # plain walls without texture reach 0.5, with a lag that is wrong by a tick or two
MIN_CONFIDENCE: Final = 0.9
NUM_RESAMPLES: Final = 200

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """What one recording says. offset_ms: to be given to --offset-ms; positive: labels are early.

    correlation_now: at the offset in use; correlation: at the best one; negative, since a picture moves against the
    mouse. widths_per_count: how far the picture moves. confidence: share of resamples within half a tick of the best.
    doubt: why not to trust it; empty where it can be trusted.
    """

    recording_id: str
    offset_ms: float = 0.0
    spread_ms: float = 0.0
    correlation: float = 0.0
    correlation_now: float = 0.0
    axis: str = ""
    widths_per_count: float = 0.0
    num_steps: int = 0
    confidence: float = 0.0
    tick_ms: float = 0.0
    doubt: str = ""


def calibrate_one(job: IngestJob) -> Calibration:
    """Measure a recording, given the offset already in use; nothing is written. Errors are said in `doubt`."""
    try:
        source, config = job.importer.read(job.found), job.config
        return _calibrate(job.found.recording_id, source, fps=config.fps or own_fps(source), offset_ms=config.offset_ms)
    except GiError as error:
        return doubtful(job, str(error))
    except Exception as error:  # as for `ingest_one`: a stranger's file
        return doubtful(job, f"{type(error).__name__}: {str(error)[:300]}")


def doubtful(job: IngestJob, why: str) -> Calibration:
    """What is said of a recording that cannot be measured."""
    return Calibration(job.found.recording_id, doubt=why)


def suggest(calibrations: Sequence[Calibration]) -> float | None:
    """The offset in ms for all of them: the median of those to be trusted; None if there is none."""
    trusted = [one.offset_ms for one in calibrations if not one.doubt]
    return float(np.median(trusted)) if trusted else None


def _calibrate(recording_id: str, source: SourceRecording, *, fps: float, offset_ms: float) -> Calibration:
    end_ns = min(source.end_ns, source.start_ns + round(MAX_S * 1e9))
    flow = global_flow(source.frames(), step_ns=round(1e9 / fps), end_ns=end_ns)
    if len(flow.start_ns) < MIN_STEPS:
        return Calibration(recording_id, num_steps=len(flow.start_ns), doubt="too few pictures that can be compared")
    path = _MotionPath.of(source, offset_ms, end_ns + round(MAX_LAG * 1e9 / fps))
    axes = [_correlate(flow, path, axis=axis, fps=fps) for axis in (0, 1)]
    best = max(axes, key=lambda curve: abs(curve.correlation))
    return best.calibration(recording_id, fps=fps, offset_ms=offset_ms)


@dataclass(frozen=True)
class _MotionPath:
    """Motion summed up from the start: times int64 (N,), sums float64 (N, 2): right, down."""

    times: NDArray[np.int64]
    sums: Floats

    @classmethod
    def of(cls, source: SourceRecording, offset_ms: float, end_ns: int) -> "_MotionPath":
        """Of the mouse; of the right stick where the mouse never moves."""
        edges = np.arange(source.start_ns, end_ns, FINE_NS, dtype=np.int64)
        states = [tick.state for tick in ticks(shifted(source.events(), offset_ms), edges)]
        moves = np.array([state.motion for state in states], dtype=np.float64).reshape(-1, 2)
        if not moves.any():
            sticks = [state.gamepad.right_stick if state.gamepad else (0.0, 0.0) for state in states]
            moves = np.array(sticks, dtype=np.float64).reshape(-1, 2)
        return cls(edges, np.concatenate([np.zeros((1, 2)), np.cumsum(moves, axis=0)])[: len(edges)])

    def between(self, start_ns: Floats, end_ns: Floats, axis: int) -> Floats:
        """Motion from start to end, of any shape."""
        known, sums = self.times.astype(np.float64), self.sums[:, axis]
        moved: Floats = np.interp(end_ns, known, sums) - np.interp(start_ns, known, sums)
        return moved


@dataclass(frozen=True)
class _Curve:
    """Correlations float64 (L,) over lags in ticks (L,), and over resamples (R, L)."""

    axis: int
    lags: Floats
    correlations: Floats
    resampled: Floats
    slope: float
    num_steps: int
    num_moving: int

    @property
    def best(self) -> int:
        return int(np.argmax(np.abs(self.correlations)))

    @property
    def correlation(self) -> float:
        return float(self.correlations[self.best])

    def calibration(self, recording_id: str, *, fps: float, offset_ms: float) -> Calibration:
        """In words a user can act on. The best lag is where motion is found: labels must move the other way."""
        tick_ms, lag = 1000 / fps, self.lags[self.best]
        found = self.lags[np.argmax(np.abs(self.resampled), axis=1)]
        confidence = float((np.abs(found - lag) <= 0.5).mean())
        return Calibration(
            recording_id,
            offset_ms=round(float(offset_ms - lag * tick_ms), 1),
            spread_ms=float(found.std() * tick_ms),
            correlation=self.correlation,
            correlation_now=float(self.correlations[np.argmin(np.abs(self.lags))]),
            axis="xy"[self.axis],
            widths_per_count=self.slope,
            num_steps=self.num_steps,
            confidence=confidence,
            tick_ms=tick_ms,
            doubt=self._doubt(confidence, lag),
        )

    def _doubt(self, confidence: float, lag: float) -> str:
        if self.num_moving < MIN_MOVING:
            return "too little motion"
        if abs(self.correlation) < MIN_CORRELATION:
            return "the picture does not move with the labels: no camera here, or labels of something else"
        if confidence < MIN_CONFIDENCE:
            return "resamples disagree: record more motion, with quick turns and stops"
        return (
            f"the best lag is at the end of {MAX_LAG} ticks: labels may be off by more" if abs(lag) >= MAX_LAG else ""
        )


def _correlate(flow: Flow, path: _MotionPath, *, axis: int, fps: float) -> _Curve:
    """Correlation of flow and motion at every lag."""
    lags = np.linspace(-MAX_LAG, MAX_LAG, 2 * MAX_LAG * LAGS_A_TICK + 1)
    late = lags[:, None] * 1e9 / fps
    motion = path.between(flow.start_ns[None] + late, flow.end_ns[None] + late, axis)  # (L, K)
    shift = flow.shift[:, axis]
    weights = _block_weights(len(shift), block=max(1, round(fps)))
    curve = _pearson(np.ones((1, len(shift))), motion, shift)[0]
    at_best = motion[int(np.argmax(np.abs(curve)))]
    slope = float(np.cov(at_best, shift)[0, 1] / max(at_best.var(ddof=1), 1e-12))
    num_moving = int(np.count_nonzero(at_best))
    return _Curve(axis, lags, curve, _pearson(weights, motion, shift), slope, len(shift), num_moving)


def _block_weights(num_steps: int, *, block: int) -> Floats:
    """How often each step is drawn, float64 (R, K): neighbours are drawn together, for they are alike."""
    num_blocks = -(-num_steps // block)
    drawn = np.random.default_rng(0).multinomial(num_blocks, np.full(num_blocks, 1 / num_blocks), size=NUM_RESAMPLES)
    return np.repeat(drawn, block, axis=1)[:, :num_steps].astype(np.float64)


def _pearson(weights: Floats, motion: Floats, shift: Floats) -> Floats:
    """Weighted correlation of shift (K,) with each row of motion (L, K), for each row of weights (R, K): (R, L)."""
    total = weights.sum(axis=1, keepdims=True)
    mean_x, mean_y = weights @ motion.T / total, weights @ shift[:, None] / total
    variance_x = weights @ (motion**2).T / total - mean_x**2
    variance_y = weights @ (shift**2)[:, None] / total - mean_y**2
    covariance = weights @ (motion * shift).T / total - mean_x * mean_y
    scale = np.sqrt(np.maximum(variance_x, 0) * np.maximum(variance_y, 0))
    out: Floats = np.where(scale > 1e-12, covariance / np.maximum(scale, 1e-12), 0.0)
    return out

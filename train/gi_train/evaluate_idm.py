"""How well an inverse dynamics model labels: its answers against the true labels of held-out clips, game by game.

Held keys are easy to get right by repeating them, so presses and releases are scored apart, on the very tick. Motion is
scored by Pearson correlation (is the direction right), scale (standard deviations: is it timid or wild), and R2. What
`--min-confidence` buys is shown as well: of the answers at least so sure, how many there are and how many are right.
The answers are those that `gi label` writes: the same windows, the same ensemble.

T ticks, C controls.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gi_data.clip_loader import ClipLoader
from gi_data.corpus import Corpus
from gi_model.actions import InputColumns
from gi_model.errors import CorpusError
from gi_train.labeller import Labeller

AXES: Final = ("mouse x", "mouse y", "left x", "left y", "right x", "right y")
THRESHOLDS: Final = (0.0, 0.25, 0.5, 0.75, 0.9)

Mask = NDArray[np.bool_]
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class MotionScore:
    """One axis; only axes that moved are scored. scale: standard deviation of the answers over that of the truth."""

    pearson: float
    scale: float
    r2: float


@dataclass(frozen=True)
class Trusted:
    """Answers of at least a confidence: their share, how many have all controls right, Pearson of the main axis."""

    min_confidence: float
    share: float
    controls_right: float
    pearson: float | None


@dataclass(frozen=True)
class IdmScore:
    """Of one game. F1 over controls and ticks; None where no control was ever held."""

    num_clips: int
    num_ticks: int
    key_f1: float | None
    transition_f1: float | None
    motion: dict[str, MotionScore]
    trusted: tuple[Trusted, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)


@dataclass(frozen=True)
class ClipAnswers:
    """What was played and what the model says, at ticks whose effect is seen and whose truth is known."""

    truth: InputColumns
    answer: InputColumns
    confidence: Numbers  # (T,)
    scored: Mask  # (T,)


def evaluate_idm(
    labeller: Labeller, corpus: Corpus, *, split: str = "val", max_clips: int = 200, advance: Callable[[], object]
) -> dict[str, IdmScore]:
    """Scores by game, and of "all" where there are several; `max_clips` spread evenly. Raises CorpusError."""
    ids = corpus.select(split)
    ids = (
        ids[np.unique(np.linspace(0, len(ids) - 1, min(max_clips, len(ids))).round().astype(int))] if len(ids) else ids
    )
    games: dict[str, list[ClipAnswers]] = defaultdict(list)
    for clip_id in ids.tolist():
        found = answer_clip(labeller, corpus, clip_id)
        if found.scored.any():
            games[corpus.row(clip_id).game].append(found)
        advance()
    if not games:
        do = "Give a corpus with labelled clips in this split, or name the other one."
        raise CorpusError("no labelled tick to score", got=f"split {split} of {corpus.name}", do=do)
    scores = {game: score(clips) for game, clips in sorted(games.items())}
    return (
        scores if len(scores) == 1 else {**scores, "all": score([clip for clips in games.values() for clip in clips])}
    )


def answer_clip(labeller: Labeller, corpus: Corpus, clip_id: int) -> ClipAnswers:
    """Label a clip as if nothing were known of it."""
    row = corpus.row(clip_id)
    labels = corpus.read_label_columns(row)[row.first_tick : row.first_tick + row.num_ticks]
    loader = ClipLoader(corpus, labeller.space, height=labeller.height, width=labeller.width)
    frames = loader.load(clip_id).frames
    assert frames is not None, "`load` keeps the frames"
    found = labeller(frames)
    answer = InputColumns.of([labeller.space.decode(tokens) for tokens in found.tokens])
    return ClipAnswers(labels.inputs, answer, found.confidence.astype(np.float64), found.answered & labels.known)


def score(clips: list[ClipAnswers]) -> IdmScore:
    """Score answers, all clips together."""
    held = [np.concatenate([one.held[clip.scored] for clip, one in _pairs(clips, side)]) for side in (0, 1)]
    events = [
        np.concatenate([_transitions(one.held, clip.scored) for clip, one in _pairs(clips, side)]) for side in (0, 1)
    ]
    axes = [np.concatenate([_axes(one)[clip.scored] for clip, one in _pairs(clips, side)]) for side in (0, 1)]
    confidence = np.concatenate([clip.confidence[clip.scored] for clip in clips])
    motion = {name: _score_axis(axes[0][:, place], axes[1][:, place]) for place, name in enumerate(AXES)}
    right = (held[0] == held[1]).all(axis=1)
    main = int(axes[0].std(axis=0).argmax())
    return IdmScore(
        num_clips=len(clips),
        num_ticks=len(confidence),
        key_f1=_f1(*held),
        transition_f1=_f1(*events),
        motion={name: found for name, found in motion.items() if found is not None},
        trusted=tuple(_trusted(least, confidence, right, axes[0][:, main], axes[1][:, main]) for least in THRESHOLDS),
    )


def _pairs(clips: list[ClipAnswers], side: int) -> Iterator[tuple[ClipAnswers, InputColumns]]:
    return ((clip, (clip.truth, clip.answer)[side]) for clip in clips)


def _axes(inputs: InputColumns) -> Numbers:
    """(T, len(AXES))."""
    return np.concatenate([inputs.motion.astype(np.float64), inputs.axes[:, :4]], axis=1)


def _transitions(held: Mask, scored: Mask) -> Mask:
    """Presses, then releases, (pairs of neighbouring scored ticks, 2 C)."""
    both = scored[1:] & scored[:-1]
    before, after = held[:-1][both], held[1:][both]
    return np.concatenate([after & ~before, before & ~after], axis=1)


def _f1(truth: Mask, answer: Mask) -> float | None:
    total = int(truth.sum()) + int(answer.sum())
    return 2 * int((truth & answer).sum()) / total if total else None


def _score_axis(truth: Numbers, answer: Numbers) -> MotionScore | None:
    spread = float(truth.std())
    if spread == 0:
        return None
    scale = float(answer.std()) / spread
    r2 = 1 - float(np.square(truth - answer).mean()) / spread**2
    return MotionScore(_pearson(truth, answer) or 0.0, scale, r2)


def _pearson(truth: Numbers, answer: Numbers) -> float | None:
    """None where the truth never varies; 0 where the answer does not."""
    if len(truth) < 2 or truth.std() == 0:
        return None
    return float(np.corrcoef(truth, answer)[0, 1]) if answer.std() else 0.0


def _trusted(least: float, confidence: Numbers, right: Mask, truth: Numbers, answer: Numbers) -> Trusted:
    kept = confidence >= least
    controls = float(right[kept].mean()) if kept.any() else 0.0
    return Trusted(least, float(kept.mean()), controls, _pearson(truth[kept], answer[kept]))

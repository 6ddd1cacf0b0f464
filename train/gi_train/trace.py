"""`Trace`: the first seconds of one episode as its agent lived them: frames seen, inputs held, confidence, score.

Kept in memory while the game runs and written afterwards: encoding a video beside a game in real time would make it
late. A plain `.npz` without pickles; the film is drawn from it later (`overlay.py`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gi_data.envs.protocol import Environment
from gi_model.actions import InputState
from gi_model.errors import GameError
from gi_model.frames import Frame
from gi_train.episodes import Episode

MAX_SECONDS = 24.0


@dataclass(frozen=True, slots=True)
class Moment:
    """One tick: what the agent held, how sure it was of each factor (may be empty), the score, and its latency."""

    inputs: InputState
    confidence: Mapping[str, float]
    score: float
    latency_ms: float

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        confidence = {name: float(value) for name, value in self.confidence.items()}
        return {"inputs": self.inputs.to_dict(), "confidence": confidence, "score": self.score, "ms": self.latency_ms}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`."""
        return cls(InputState.from_dict(data["inputs"]), data["confidence"], data["score"], data["ms"])


@dataclass(frozen=True)
class Trace:
    """frames uint8 (T, H, W, 3) and T moments of one episode; controls: what the game's controls do ("KeyW": "use")."""

    game: str
    agent: str
    seed: int
    fps: float
    controls: Mapping[str, str]
    frames: NDArray[np.uint8]
    moments: tuple[Moment, ...]

    def write(self, path: Path) -> None:
        """Write to `path` (.npz)."""
        facts = {name: getattr(self, name) for name in ("game", "agent", "seed", "fps")}
        moments = [moment.to_dict() for moment in self.moments]
        text = json.dumps(facts | {"controls": dict(self.controls), "moments": moments})
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            np.savez(file, frames=self.frames, facts=np.frombuffer(text.encode(), dtype=np.uint8))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Inverse of `write`. Raises GameError if there is no trace at `path`."""
        try:
            with np.load(path, allow_pickle=False) as data:
                facts = json.loads(data["facts"].tobytes())
                moments = tuple(Moment.from_dict(moment) for moment in facts.pop("moments"))
                return cls(frames=data["frames"], moments=moments, **facts)
        except (OSError, ValueError, KeyError, TypeError) as error:
            do = "Play the episode again with --traces."
            raise GameError(f"{path} is not a trace of an episode", got=error, do=do) from error


class TraceRecorder:
    """Collects the first `MAX_SECONDS` of an episode that wants a trace; nothing of any other."""

    def __init__(self, episode: Episode, environment: Environment) -> None:
        self._episode, self._fps = episode, environment.fps
        self._controls = {control: action for action, control in environment.bindings.digital.items()}
        self._frames: list[Frame] = []
        self._moments: list[Moment] = []

    def append(self, frame: Frame, moment: Moment) -> None:
        """Keep one tick, unless there is enough."""
        if self._episode.trace is not None and len(self._frames) < MAX_SECONDS * self._fps:
            self._frames.append(frame.copy())
            self._moments.append(moment)

    def finish(self) -> None:
        """Write what was collected to the episode's trace."""
        if self._episode.trace is None or not self._frames:
            return
        trace = Trace(
            game=self._episode.game,
            agent=self._episode.label,
            seed=self._episode.seed,
            fps=self._fps,
            controls=self._controls,
            frames=np.stack(self._frames),
            moments=tuple(self._moments),
        )
        trace.write(self._episode.trace)

"""`EpisodeResult`: what one episode came to, and the file that keeps results while more are played.

The file is JSON Lines, one episode a line, appended as it finishes: an evaluation that is killed has lost nothing,
and a second call plays only what is missing. A line torn by a kill is dropped and its episode played again. Rejected:
one JSON document (rewritten after every episode, while games run in real time beside it).
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from gi_model.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Episode:
    """One episode to play. agent: the spec that is built; label: its name in results (a server's port says nothing)."""

    game: str
    agent: str
    label: str
    seed: int
    realtime: bool = False
    trace: Path | None = None  # where to keep frames and inputs for a video

    @property
    def key(self) -> tuple[str, str, int, bool]:
        """What makes two results one: game, agent, seed, mode."""
        return (self.game, self.label, self.seed, self.realtime)


@dataclass(frozen=True, slots=True)
class EpisodeResult:
    """One finished episode.

    score: what the game counts. ticks: of game time. seconds: of wall clock. latency_ms: frame to action, one for each
    answered frame. late: answers that took longer than a substep. dropped: frames never shown to the agent because it
    was busy with an older one. slowed: substeps that this machine played late. attempts: 2 if the first player died.
    """

    game: str
    agent: str
    seed: int
    realtime: bool
    score: float
    ticks: int
    seconds: float
    latency_ms: tuple[float, ...] = ()
    late: int = 0
    dropped: int = 0
    slowed: int = 0
    attempts: int = 1

    @property
    def key(self) -> tuple[str, str, int, bool]:
        """What makes two results one: game, agent, seed, mode."""
        return (self.game, self.agent, self.seed, self.realtime)

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Inverse of `to_dict`. Raises TypeError on fields that are missing or unknown."""
        return cls(**(data | {"latency_ms": tuple(data.get("latency_ms", ()))}))


class ResultsFile:
    """Episode results on disk, in the order they finished; without a path nothing is kept."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path

    def read(self) -> list[EpisodeResult]:
        """Every whole result; nothing if there is no file. Raises ConfigError if it is not a results file."""
        if self.path is None or not self.path.exists():
            return []
        lines = self.path.read_bytes().split(b"\n")
        torn = lines.pop()
        if torn:  # killed while writing: the episode is played again
            self.path.write_bytes(b"".join(line + b"\n" for line in lines))
        return [self._parse(number, line) for number, line in enumerate(lines, 1)]

    def append(self, result: EpisodeResult) -> None:
        """Add one result, in one write."""
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            file.write(json.dumps(result.to_dict()).encode() + b"\n")

    def _parse(self, number: int, line: bytes) -> EpisodeResult:
        try:
            return EpisodeResult.from_dict(json.loads(line))
        except (ValueError, TypeError, AttributeError) as error:
            do = "Give another --json file, or delete this one."
            raise ConfigError(f"{self.path}:{number} is not an episode result", got=str(error), do=do) from error


def select(results: Iterable[EpisodeResult], *, game: str, agent: str) -> list[EpisodeResult]:
    """The results of `agent` in `game`, by seed."""
    chosen = [result for result in results if result.game == game and result.agent == agent]
    return sorted(chosen, key=lambda result: result.seed)

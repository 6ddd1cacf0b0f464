"""Closed-loop evaluation: agents play games on seeds that were never recorded; what counts is the score.

Offline loss does not rank agents, so the harness plays: any agent spec (a local policy, a server, a baseline), any
games, episode i on seed `seed_start + i`. An episode depends on its seed alone, so more players change when a result
comes, not what it is. Results go to a file as they come (`episodes.py`); what is in it already is not played again.
"""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from gi_data.envs import EVAL_SEED_START
from gi_model.errors import ConfigError, GameError
from gi_train.episodes import Episode, EpisodeResult, ResultsFile
from gi_train.players import Makers, Mishap, Players, Schedule

MAX_LOST = 3  # episodes that may fail twice before the evaluation stops


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What to play. labels: the agents' names in results. traces: a folder for traces of each game's first episode."""

    agents: tuple[str, ...]
    games: tuple[str, ...]
    num_episodes: int = 40
    seed_start: int = EVAL_SEED_START
    realtime: bool = False
    num_players: int = 0  # 0: `default_players`
    labels: tuple[str, ...] = ()
    traces: Path | None = None

    def __post_init__(self) -> None:
        if self.seed_start < EVAL_SEED_START:
            do = "Seeds below are for recording: a policy may have seen them."
            raise ConfigError(
                "seed is not for evaluation", got=self.seed_start, expected=f">= {EVAL_SEED_START}", do=do
            )
        if self.num_episodes < 1:
            raise ConfigError("no episodes to play", got=self.num_episodes, expected="at least 1")
        if self.labels and len(self.labels) != len(self.agents):
            got, expected = ", ".join(self.labels), f"{len(self.agents)} names"
            raise ConfigError("labels do not match the agents", got=got, expected=expected)

    def episodes(self) -> list[Episode]:
        """Every episode, game by game."""
        return [
            self._episode(agent, label, game, index)
            for agent, label in zip(self.agents, self.labels or self.agents, strict=True)
            for game in self.games
            for index in range(self.num_episodes)
        ]

    def _episode(self, agent: str, label: str, game: str, index: int) -> Episode:
        trace = self.traces / f"{game.replace('/', '-')}.npz" if self.traces and index == 0 else None
        return Episode(game, agent, label, self.seed_start + index, self.realtime, trace)


def default_players(*, realtime: bool) -> int:
    """Players at a time: in lock-step one a core; in real time more, since games mostly wait for their clocks."""
    cores = os.cpu_count() or 1
    return cores * 10 if realtime else cores


def evaluate(
    evaluation: Evaluation, file: ResultsFile, *, makers: Makers | None = None, console: Console | None = None
) -> list[EpisodeResult]:
    """Play what `file` lacks of `evaluation`, append it there, and return all of the evaluation's results.

    Raises ConfigError on unknown games and agents, GameError when more than `MAX_LOST` episodes failed twice.
    """
    makers, console = makers or Makers(), console or Console(stderr=True)
    wanted = {episode.key: episode for episode in evaluation.episodes()}
    results = {result.key: result for result in file.read() if result.key in wanted}
    missing = [episode for key, episode in wanted.items() if key not in results]
    lost: list[Mishap] = []
    num_players = min(evaluation.num_players or default_players(realtime=evaluation.realtime), max(1, len(missing)))
    display = _Display(console, wanted.values(), results.values())
    with display, Players(num_players, makers, agents=evaluation.agents) as players:
        for outcome in players.play(Schedule(missing)):
            display.show(outcome)
            if isinstance(outcome, EpisodeResult):
                file.append(outcome)
                results[outcome.key] = outcome
            elif not outcome.again:
                lost.append(outcome)
                _check_lost(lost)
    return [results[key] for key in wanted if key in results]


def _check_lost(lost: Sequence[Mishap]) -> None:
    if len(lost) <= MAX_LOST:
        return
    last = lost[-1]
    do = "Finished episodes are kept: mend the game or the agent and run the same command again."
    raise GameError(f"{len(lost)} episodes failed twice, the last in {last.episode.game}", got=last.reason, do=do)


class _Display:
    """A progress bar a game, with the mean score so far; mishaps above it."""

    def __init__(self, console: Console, wanted: Iterable[Episode], finished: Iterable[EpisodeResult]) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[mean]}"),
        )
        self._progress = Progress(*columns, TimeElapsedColumn(), console=console)
        self._scores: dict[tuple[str, str], list[float]] = {}
        self._tasks: dict[tuple[str, str], TaskID] = {}
        for (game, agent), total in Counter((episode.game, episode.label) for episode in wanted).items():
            self._tasks[game, agent] = self._progress.add_task(f"{game} [dim]{escape(agent)}[/]", total=total, mean="")
        for result in finished:
            self._count(result)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, outcome: EpisodeResult | Mishap) -> None:
        """Count a result, or say what went wrong."""
        if isinstance(outcome, EpisodeResult):
            self._count(outcome)
            return
        episode, after = outcome.episode, "playing it again" if outcome.again else "given up"
        message = f"{episode.game} seed {episode.seed}: {outcome.reason}; {after}"
        self._progress.console.print(f"[yellow]{escape(message)}[/]", highlight=False)

    def _count(self, result: EpisodeResult) -> None:
        key = (result.game, result.agent)
        scores = self._scores.setdefault(key, [])
        scores.append(result.score)
        mean = f"mean {sum(scores) / len(scores):.2f}"
        self._progress.update(self._tasks[key], completed=len(scores), mean=mean)

"""Players: processes that each play one episode at a time, replaced when a game takes them down with it.

A game is native code that may crash its process, so no episode is played in this one. Players come from a fork server
that has loaded what the agent needs once (nothing of torch for a remote agent): twenty cost little memory and no
start-up. The longest games go first, by what earlier episodes took, so that none is left running alone at the end.
Rejected: a process pool (one crash breaks the pool), threads (a crash takes all), an episode a process (start-up).
"""

import multiprocessing
import os
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, Self

from gi_data.agents import Agent, make_agent
from gi_data.envs import make_environment
from gi_data.envs.protocol import Environment
from gi_model.errors import GameError, GiError
from gi_train.episodes import Episode, EpisodeResult
from gi_train.playing import play_episode

EPISODE_TIMEOUT_S = 900.0
MAX_ATTEMPTS = 2


@dataclass(frozen=True, slots=True)
class Makers:
    """How a player builds what it needs. Importable functions, because a player is another process."""

    environment: Callable[[str], Environment] = make_environment
    agent: Callable[[str, Environment], Agent] = make_agent


@dataclass(frozen=True, slots=True)
class Mishap:
    """An episode that ended without a result."""

    episode: Episode
    reason: str
    again: bool  # it will be played once more


# ---------------------------------------------------------------------- in the player's process


class Seat:
    """A game and an agent that stay open between episodes of the same kind."""

    def __init__(self, makers: Makers) -> None:
        self._makers = makers
        self._sits: tuple[str, str] | None = None
        self._environment: Environment | None = None
        self._agent: Agent | None = None

    def play(self, episode: Episode) -> EpisodeResult:
        """Play one episode, in the open game if it is that game."""
        if self._sits != (episode.game, episode.agent):
            self.leave()
            self._environment = self._makers.environment(episode.game)
            self._agent = self._makers.agent(episode.agent, self._environment)
            self._sits = (episode.game, episode.agent)
        assert self._environment is not None
        assert self._agent is not None
        return play_episode(self._environment, self._agent, episode)

    def leave(self) -> None:
        """Close the agent and the game."""
        agent, environment = self._agent, self._environment
        self._sits, self._agent, self._environment = None, None, None
        if agent is not None:
            agent.close()
        if environment is not None:
            environment.close()


def run_player(pipe: Connection, makers: Makers) -> None:
    """Play what comes down the pipe until None does, or the other side is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the game below is closed
    seat = Seat(makers)
    try:
        while (episode := _receive(pipe)) is not None:
            pipe.send(_answer(seat, episode))
    except BrokenPipeError:
        pass
    finally:
        seat.leave()


def _receive(pipe: Connection) -> Episode | None:
    try:
        episode: Episode | None = pipe.recv()
    except (EOFError, OSError):
        return None
    return episode


def _answer(seat: Seat, episode: Episode) -> EpisodeResult | GiError:
    try:
        return seat.play(episode)
    except GiError as error:
        return error
    except Exception as error:
        if os.environ.get("GI_TRACEBACK"):
            raise
        return GameError(f"{episode.game} stopped by {type(error).__name__}: {error}")


# ---------------------------------------------------------------------- in this process


class Schedule:
    """Which episode is next: of the game whose episodes take longest, so far as is known; unknown games first."""

    def __init__(self, episodes: Sequence[Episode]) -> None:
        self._waiting: dict[str, list[Episode]] = defaultdict(list)
        for episode in reversed(episodes):
            self._waiting[episode.game].append(episode)
        self._taken: Counter[str] = Counter()
        self._seconds: dict[str, list[float]] = defaultdict(list)

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def take(self) -> Episode:
        """Remove and return the next episode."""
        game = max((game for game, waiting in self._waiting.items() if waiting), key=self._urgency)
        self._taken[game] += 1
        return self._waiting[game].pop()

    def put_back(self, episode: Episode) -> None:
        """Play `episode` again, next of its game."""
        self._waiting[episode.game].append(episode)

    def learn(self, result: EpisodeResult) -> None:
        """Note how long an episode took."""
        self._seconds[result.game].append(result.seconds)

    def _urgency(self, game: str) -> tuple[float, int]:
        known = self._seconds[game]
        return (sum(known) / len(known) if known else float("inf"), -self._taken[game])


class Player:
    """One player process, seen from outside."""

    def __init__(self, context: BaseContext, makers: Makers) -> None:
        self.pipe, theirs = context.Pipe()
        make: Any = context  # a context has Process, but the typed base class does not say so
        self.process: BaseProcess = make.Process(target=run_player, args=(theirs, makers), daemon=True)
        self.process.start()
        theirs.close()
        self.episode: Episode | None = None
        self.deadline = float("inf")

    def give(self, episode: Episode) -> None:
        """Start an episode."""
        self.episode, self.deadline = episode, time.monotonic() + EPISODE_TIMEOUT_S
        self.pipe.send(episode)

    def take(self) -> EpisodeResult | GiError:
        """The answer of the episode. An error if the process died or the episode ran past its deadline."""
        try:
            if self.pipe.poll():
                answer: EpisodeResult | GiError = self.pipe.recv()
                return answer
        except (EOFError, OSError):
            pass
        self.stop()
        if time.monotonic() > self.deadline:
            return GameError(f"no end after {EPISODE_TIMEOUT_S:.0f} s")
        return GameError(f"the player's process died (exit {self.process.exitcode})")

    @property
    def is_alive(self) -> bool:
        return self.process.is_alive()

    def dismiss(self) -> None:
        """Ask the process to close its game and end."""
        with suppress(OSError):
            self.pipe.send(None)

    def stop(self, patience_s: float = 3.0) -> None:
        """End the process: kindly, then not."""
        if self.process.is_alive():
            self.process.terminate()
        self.process.join(patience_s)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.pipe.close()


class Players:
    """`num_players` processes; a context: leaving it ends them all."""

    def __init__(self, num_players: int, makers: Makers, *, agents: Sequence[str] = ()) -> None:
        self._context = _start_method(agents)
        self._makers = makers
        self._num_players = num_players
        self._players: list[Player] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            for player in self._players:
                player.dismiss()
            _join(self._players, patience_s=5.0)
        for player in self._players:
            if player.is_alive:
                player.process.terminate()
        for player in self._players:
            player.stop()

    def play(self, schedule: Schedule) -> Iterator[EpisodeResult | Mishap]:
        """Play all of `schedule`; yields each outcome as it comes. A GiError other than GameError ends the play."""
        attempts: Counter[Episode] = Counter()
        while True:
            self._seat(schedule)
            busy = [player for player in self._players if player.episode is not None]
            if not busy:
                return
            for player in self._answered(busy):
                episode, answer = player.episode, player.take()
                assert episode is not None
                player.episode = None
                attempts[episode] += 1
                if isinstance(answer, EpisodeResult):
                    schedule.learn(answer)
                    yield replace(answer, attempts=attempts[episode])
                else:
                    yield self._mishap(player, episode, answer, attempts[episode], schedule)

    def _seat(self, schedule: Schedule) -> None:
        """Give every free player an episode; new players where some are missing."""
        # A busy player that has just died stays: its episode must be answered for.
        self._players = [player for player in self._players if player.is_alive or player.episode is not None]
        free = [player for player in self._players if player.episode is None]
        while len(schedule) and (free or len(self._players) < self._num_players):
            if not free:
                free.append(Player(self._context, self._makers))
                self._players.append(free[-1])
            free.pop().give(schedule.take())

    def _answered(self, busy: Sequence[Player]) -> list[Player]:
        """Players with an answer, a dead process, or no time left."""
        handles = [handle for player in busy for handle in (player.pipe, player.process.sentinel)]
        earliest = min(player.deadline for player in busy)
        ready = wait(handles, timeout=max(0.0, min(earliest - time.monotonic(), 3600.0)))
        now = time.monotonic()
        return [p for p in busy if p.pipe in ready or p.process.sentinel in ready or now > p.deadline]

    def _mishap(self, player: Player, episode: Episode, error: GiError, attempt: int, schedule: Schedule) -> Mishap:
        if not isinstance(error, GameError):
            raise error
        player.stop()  # the next attempt begins in a fresh process
        again = attempt < MAX_ATTEMPTS
        if again:
            schedule.put_back(episode)
        return Mishap(episode, str(error), again)


def _join(players: Sequence[Player], patience_s: float) -> None:
    until = time.monotonic() + patience_s
    for player in players:
        player.process.join(max(0.0, until - time.monotonic()))


def _start_method(agents: Sequence[str]) -> BaseContext:
    """A fork server with the agents' modules loaded, where the system has one."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when a player loads its libraries: one core each is enough
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    kinds = {spec.partition(":")[0] for spec in agents}
    modules = sorted({entry.module for entry in entry_points(group="gi.agents") if entry.name in kinds})
    context.set_forkserver_preload(["__main__", __name__, *modules])
    return context

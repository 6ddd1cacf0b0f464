"""`RecordPlan` and `record_episode`: what to record, and the recording of one episode.

Recording is lock-step: the game waits for player and encoder, so every frame is there and time is the game's own (tick
t is at t / fps). A perturbed demonstrator is recorded with what it meant, not with what it was made to do
(`demonstrators.perturbed`). Many episodes at once, and everything that can interrupt them: `record_jobs`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gi_data.agents import Agent, make_agent
from gi_data.demonstrators.perturbed import Perturbation
from gi_data.embodied import embodied
from gi_data.envs import is_held_out, make_environment
from gi_data.envs.protocol import Environment
from gi_data.recording import RecordingInfo, RecordingWriter
from gi_data.seeds import check_seed
from gi_model.errors import ConfigError

DEMONSTRATORS: Final = ("scripted", "random", "idle", "policy", "human")
TICKS_A_REPORT: Final = 50
_LICENSES: Final = {  # of what is on the screen: Freedoom's art, and arenas that this package draws
    "doom": "BSD-3-Clause",
    "freedoom": "BSD-3-Clause",
    "robot": "Apache-2.0",
}


@dataclass(frozen=True)
class RecordPlan:
    """What to record: `episodes`, or as many as make `hours` of play, from `seed` on."""

    game: str
    out: Path
    demonstrator: str = "scripted"
    episodes: int | None = None
    hours: float | None = None
    seed: int = 0
    jobs: int = 1
    perturb: bool = False

    def __post_init__(self) -> None:
        kind = self.demonstrator.partition(":")[0]
        if kind not in DEMONSTRATORS:
            raise ConfigError("unknown demonstrator", got=self.demonstrator, expected=" | ".join(DEMONSTRATORS))
        if (self.episodes is None) == (self.hours is None):
            raise ConfigError("how much to record?", expected="one of episodes and hours", do="Add --episodes 12.")
        for name, amount in {"jobs": self.jobs, "episodes": self.episodes, "hours": self.hours}.items():
            if amount is not None and not amount > 0:
                raise ConfigError("nothing to record", got=f"{name} {amount}", expected="more than 0")
        check_seed(self.seed)
        check_seed(self.seed + (self.episodes or 1) - 1)
        if is_held_out(self.game):
            do = "Its arenas are kept for evaluation: record the game without _unseen."
            raise ConfigError("a held-out game cannot be recorded", got=self.game, do=do)

    @property
    def agent(self) -> str:
        """The demonstrator as `make_agent` knows it."""
        return "demonstrator" if self.demonstrator == "scripted" else self.demonstrator

    @property
    def label(self) -> str:
        """Who plays, as stored with every clip."""
        return f"{self.demonstrator} (perturbed)" if self.perturb else self.demonstrator

    def recording_id(self, seed: int) -> str:
        """Name of the recording of episode `seed`: game, demonstrator, seed."""
        game, _, file = self.game.partition("@")  # of a file's path, only its name: ids go where corpora go
        slug = re.sub(r"[^A-Za-z0-9]+", "-", f"{game} {Path(file).stem} {self.label}").strip("-")
        return f"{slug[:100]}-{seed:06d}"

    def info(self, env: Environment, seed: int, *, consent: str) -> RecordingInfo:
        """Provenance of one recording."""
        return RecordingInfo(
            game=env.name,
            fps=env.fps,
            bindings=env.bindings,
            demonstrator=self.label,
            seed=seed,
            source="gi record",
            license=_LICENSES.get(self.game.partition("/")[0], "LicenseRef-game"),
            consent=consent,
            height=env.observation_space.shape[0],
            width=env.observation_space.shape[1],
            extra=embodied(getattr(env, "embodiment", None)),
        )


@dataclass(frozen=True, slots=True)
class Recorded:
    """One finished episode."""

    seed: int
    ticks: int
    score: float | None  # None: cut off, and recovered


class Recorder:
    """A game and its player, kept open over the episodes that one process records."""

    def __init__(self, plan: RecordPlan) -> None:
        self._plan = plan
        self._env = make_environment(plan.game)
        try:
            self._agent: Agent = make_agent(plan.agent, self._env)
        except BaseException:
            self._env.close()
            raise

    def record(self, seed: int, on_ticks: Callable[[int], None] = lambda _: None) -> Recorded:
        """Play and record episode `seed`; `on_ticks` hears of every few ticks. Raises what game, player, disk raise."""
        check_seed(seed)
        plan, env = self._plan, self._env
        body = getattr(env, "embodiment", None)
        shove = Perturbation(env.bindings, seed=seed, embodiment=body) if plan.perturb else None
        info = plan.info(env, seed, consent="none needed: played by a program")
        with RecordingWriter(plan.out, plan.recording_id(seed), info) as writer:
            frame, details = env.reset(seed=seed)
            self._agent.reset(seed=seed)
            ticks, is_over = 0, False
            while not is_over:
                intent = self._agent.act(frame)
                writer.append(frame, intent, t_ns=round(ticks * 1e9 / env.fps))
                frame, _, terminated, truncated, details = env.step(shove.apply(intent) if shove else intent)
                ticks, is_over = ticks + 1, terminated or truncated
                if ticks % TICKS_A_REPORT == 0:
                    on_ticks(TICKS_A_REPORT)
            writer.finish(score=float(details["score"]))
        on_ticks(ticks % TICKS_A_REPORT)
        return Recorded(seed, ticks, float(details["score"]))

    def close(self) -> None:
        """Release the player and the game."""
        self._agent.close()
        self._env.close()

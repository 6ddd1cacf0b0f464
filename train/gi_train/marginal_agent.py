"""`MarginalAgent`: plays the demonstrators' inputs in their proportions but blindly (agent spec `marginal:CORPUS`).

Each tick it holds the input state of a random labelled tick of the same game. What a policy scores above it, it owes to
what it sees; random play alone would credit the policy with merely pressing the right keys often.
"""

from pathlib import Path

import numpy as np

from gi_data.agents import Agent
from gi_data.corpus import Corpus
from gi_data.envs.protocol import Environment
from gi_model.actions import InputState
from gi_model.errors import ConfigError, CorpusError
from gi_model.frames import Frame


class MarginalAgent:
    """Draws from `states`, one of them for each tick that was recorded."""

    def __init__(self, states: list[InputState]) -> None:
        self._states = states
        self._generator = np.random.default_rng(0)

    def reset(self, *, seed: int) -> None:
        """Seed the next episode's draws."""
        self._generator = np.random.default_rng(seed)

    def act(self, frame: Frame) -> InputState:
        """A recorded input state, whatever `frame` shows."""
        del frame
        return self._states[int(self._generator.integers(len(self._states)))]

    def close(self) -> None:
        """Nothing held but memory."""


def make_marginal_agent(spec: str, env: Environment) -> Agent:
    """The agent of `marginal:CORPUS`. Raises ConfigError without a folder, CorpusError if `env` is not in it."""
    folder = spec.partition(":")[2]
    if not folder:
        raise ConfigError("no corpus named", got=spec, expected="marginal:CORPUS")
    states = read_states(Corpus(Path(folder)), env.name)
    if not states:
        raise CorpusError(f"nothing of {env.name} in {folder}", do="Record and shard the game first.")
    return MarginalAgent(states)


def read_states(corpus: Corpus, game: str) -> list[InputState]:
    """The input states of every labelled tick of `game` in the training split."""
    states: list[InputState] = []
    for row in map(corpus.row, corpus.select("train").tolist()):
        if row.game == game:
            labels = corpus.read_labels(row)
            states += [state for state, known in zip(labels.inputs, labels.known, strict=True) if known]
    return states

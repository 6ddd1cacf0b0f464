"""The blind baseline: the demonstrators' inputs, in their proportions, whatever is on the screen."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from gi_data.corpus import Corpus
from gi_data.planning import plan
from gi_data.recording import RecordingInfo, RecordingWriter
from gi_data.shards import ShardConfig, build
from gi_model.actions import Bindings, InputState
from gi_model.errors import ConfigError, CorpusError
from gi_train.marginal_agent import make_marginal_agent, read_states
from tests.train.fake_game import FakeGame

SCREEN = np.zeros((12, 16, 3), np.uint8)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A game in which KeyW is held three ticks of four, in every recording."""
    folder = tmp_path_factory.mktemp("marginal")
    info = RecordingInfo(
        game="fake/steady",
        fps=20.0,
        bindings=Bindings({"go": "KeyW"}),
        demonstrator="test",
        seed=0,
        source="test",
        license="CC0-1.0",
        consent="synthetic",
        height=12,
        width=16,
    )
    for number in range(4):
        with RecordingWriter(folder / "recordings", f"r{number}", info) as writer:
            for tick in range(40):
                held = frozenset({"KeyW"}) if tick % 4 else frozenset[str]()
                writer.append(SCREEN, InputState(keys=held), t_ns=tick * 50_000_000)
    build(plan([folder / "recordings"], folder / "corpus", val_fraction=0.25), ShardConfig(), lambda: None)
    return folder / "corpus"


def test_it_plays_the_recorded_proportions_from_its_seed_alone(corpus: Path) -> None:
    agent = make_marginal_agent(f"marginal:{corpus}", FakeGame("fake/steady"))

    def play(seed: int) -> list[InputState]:
        agent.reset(seed=seed)
        return [agent.act(SCREEN) for _ in range(2000)]

    assert play(1) == play(1) != play(2)
    assert Counter(bool(state.keys) for state in play(3))[True] / 2000 == pytest.approx(0.75, abs=0.05)


def test_held_out_recordings_are_not_its_source(corpus: Path) -> None:
    opened = Corpus(corpus)
    num_ticks = sum(opened.num_ticks[clip] for clip in opened.select("train"))
    assert len(read_states(opened, "fake/steady")) == num_ticks < 160


def test_what_it_cannot_play_says_why(corpus: Path) -> None:
    with pytest.raises(CorpusError, match="nothing of fake/other"):
        make_marginal_agent(f"marginal:{corpus}", FakeGame("fake/other"))
    with pytest.raises(ConfigError, match="no corpus named"):
        make_marginal_agent("marginal:", FakeGame("fake/steady"))

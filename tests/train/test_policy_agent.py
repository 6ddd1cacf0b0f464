"""A checkpoint as an agent: the same seed and frames give the same play, at any frame size, at its own tick rate."""

from pathlib import Path

import numpy as np
import pytest

from gi_data.agents import Agent, make_agent
from gi_data.envs.protocol import Environment
from gi_model.actions import InputState
from gi_model.calibration import CALIBRATION, Calibration, save_calibration
from gi_model.checkpoint import save_policy
from gi_model.config import preset
from gi_model.errors import CheckpointError, ConfigError
from gi_model.frames import resize
from gi_model.policy import Policy
from tests.train.fake_game import FakeGame


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("policy") / "checkpoint"
    save_policy(Policy(preset("debug")), folder)
    return f"policy:{folder}"


def make_game(fps: float) -> Environment:
    game = FakeGame("fake/steady")
    game.fps = fps
    return game


def frames(height: int, width: int) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(5)]


def play(agent: Agent, seen: list[np.ndarray], seed: int) -> list[InputState]:
    agent.reset(seed=seed)
    return [agent.act(frame) for frame in seen]


def test_the_same_seed_and_frames_give_the_same_play(spec: str) -> None:
    agent = make_agent(spec, make_game(preset("debug").fps))
    seen = frames(120, 160)
    first = play(agent, seen, 1)
    play(agent, seen[:2], 2)
    assert play(agent, seen, 1) == first
    assert play(agent, seen, 3) != first


def test_frames_of_any_size_go_through_the_one_resize(spec: str) -> None:
    config = preset("debug")
    agent = make_agent(spec, make_game(config.fps))
    large = frames(4 * config.height, 3 * config.width)
    small = [resize(frame, config.height, config.width) for frame in large]
    assert play(agent, large, 1) == play(agent, small, 1)


def test_confidence_is_of_the_last_action_and_gone_after_reset(spec: str) -> None:
    agent = make_agent(spec, make_game(preset("debug").fps))
    play(agent, frames(60, 80), 1)
    confidence = getattr(agent, "confidence", None)
    assert confidence
    assert all(0.0 < value <= 1.0 for value in confidence.values())
    agent.reset(seed=1)
    assert getattr(agent, "confidence", 0) is None


def test_what_cannot_play_says_why(spec: str, tmp_path: Path) -> None:
    fps = preset("debug").fps
    with pytest.raises(ConfigError, match="another rate"):
        make_agent(spec, make_game(2 * fps))
    with pytest.raises(ConfigError, match="no checkpoint named"):
        make_agent("policy:", make_game(fps))
    with pytest.raises(CheckpointError):
        make_agent(f"policy:{tmp_path}", make_game(fps))


def test_a_spec_can_say_how_keys_are_drawn(spec: str) -> None:
    game, folder = make_game(17.5), Path(spec.partition(":")[2])
    agent = make_agent(f"{spec},keys=mode", game)
    seen = frames(60, 80)
    assert play(agent, seen, seed=1) == play(agent, seen, seed=2)
    with pytest.raises(ConfigError, match="calibration"):
        make_agent(f"{spec},keys=calibrated", game)
    save_calibration(Calibration({"KeyW": (-5.0, -5.0)}), folder)
    try:
        states = play(make_agent(f"{spec},keys=calibrated", game), seen, seed=1)
    finally:
        (folder / CALIBRATION).unlink()
    assert all(state.keys <= {"KeyW"} for state in states)
    with pytest.raises(ConfigError, match=r"sample \| mode \| calibrated"):
        make_agent(f"{spec},keys=greedy", game)


def test_a_spec_can_say_how_motion_is_drawn(spec: str) -> None:
    game, seen = make_game(17.5), frames(60, 80)
    mode, sampled = (f"{spec},keys=mode,motion={motion}" for motion in ("mode", "sample"))
    assert play(make_agent(mode, game), seen, seed=1) == play(make_agent(f"{spec},keys=mode", game), seen, seed=2)
    assert play(make_agent(sampled, game), seen, seed=1) != play(make_agent(sampled, game), seen, seed=2)
    with pytest.raises(ConfigError, match=r"motion; got mean; expected sample \| mode"):
        make_agent(f"{spec},motion=mean", game)
    with pytest.raises(ConfigError, match="no such option"):
        make_agent(f"{spec},top_p=1", game)

"""Continuous Gymnasium tasks through an embodiment: commands are actions, in the task's units and at its rate."""

from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box

from gi_data.envs import make_environment
from gi_data.envs.gym_box import BoxMap, stick_embodiment
from gi_data.record import RecordPlan
from gi_model.actions import NEUTRAL, Gamepad, InputState
from gi_model.embodiment import Actuator, Camera, Embodiment, Source
from gi_model.errors import ConfigError

CAMERA = Camera(80, 60, 30.0)
PENDULUM = Embodiment(
    "pendulum",
    15.0,
    15.0,
    200.0,
    CAMERA,
    (Actuator("torque", "Nm", 0.0, -1.5, 1.5, 100.0, None, (Source("motion.x", 0.1),)),),
)


@pytest.fixture
def body_file(tmp_path: Path) -> Path:
    path = tmp_path / "pendulum.toml"
    path.write_text(PENDULUM.to_toml())
    return path


def test_a_task_is_driven_by_sticks_without_a_file() -> None:
    env = make_environment("gym/Pendulum-v1")
    frame, _ = env.reset(seed=1)
    assert env.observation_space.contains(frame)
    assert env.action_space.contains(env.action_space.sample())
    before = env.observe()[0]
    env.step(InputState(gamepad=Gamepad(left_stick=(0.0, -1.0))))
    assert not np.array_equal(env.observe()[0], before)
    env.close()


def test_inputs_are_the_tasks_own_actions(body_file: Path) -> None:
    """The same rewards as the task gives for the torques themselves, two steps a tick, held to the range."""
    env = make_environment(f"gym/Pendulum-v1@{body_file}")
    assert (env.fps, env.substeps, env.name) == (15.0, 2, "gym/Pendulum-v1")
    bare = gymnasium.make("Pendulum-v1")
    frame, _ = env.reset(seed=3)
    bare.reset(seed=3)
    assert frame.shape == (60, 80, 3)
    for counts in (3, -12, 40, 0):
        _, reward, _, _, _ = env.step(InputState(motion=(counts, 0)))
        torque = np.array([np.clip(0.1 * counts, -1.5, 1.5)], np.float32)
        assert reward == pytest.approx(sum(float(bare.step(torque)[1]) for _ in range(2)))
    env.close()


def test_a_file_may_leave_an_entry_to_commands(body_file: Path) -> None:
    body_file.write_text(PENDULUM.to_toml().partition("sources")[0] + "levels = 33\n")
    env = make_environment(f"gym/Pendulum-v1@{body_file}")
    bare = gymnasium.make("Pendulum-v1")
    env.reset(seed=3)
    bare.reset(seed=3)
    env.action_space.seed(1)
    drawn = [env.action_space.sample() for _ in range(3)]
    for state in (*drawn, InputState(commands=(1.25,)), InputState(commands=(9.0,)), NEUTRAL):
        assert state in env.action_space
        _, reward, _, _, _ = env.step(state)
        torque = np.array([np.clip(state.commands[0] if state.commands else 0.0, -1.5, 1.5)], np.float32)
        assert reward == pytest.approx(sum(float(bare.step(torque)[1]) for _ in range(2)))
    assert all(abs(state.commands[0]) <= 1.5 for state in drawn)
    env.close()


def test_an_entry_rests_where_its_range_allows() -> None:
    space = Box(np.array([-1, 0, 0.2], np.float32), np.array([1, 1, 0.8], np.float32))
    body = stick_embodiment(space, name="car", camera=CAMERA)
    action = BoxMap(body, space).action
    assert action(NEUTRAL).tolist() == pytest.approx([0.0, 0.0, 0.2])
    full = InputState(gamepad=Gamepad(left_stick=(1.0, -1.0), right_stick=(1.0, 0.0)))
    assert action(full).tolist() == pytest.approx([1.0, 1.0, 0.8])
    assert action(full).dtype == np.float32
    assert space.contains(action(full))


@pytest.mark.parametrize("space", [Box(-1, 1, (5,)), Box(-np.inf, np.inf, (1,)), Box(0, 1, (2, 2))])
def test_spaces_beyond_two_sticks_ask_for_a_file(space: Box) -> None:
    with pytest.raises(ConfigError, match=r"embodiment.toml"):
        stick_embodiment(space, name="arm", camera=CAMERA)


def test_embodiments_that_do_not_fit_are_refused(body_file: Path) -> None:
    with pytest.raises(ConfigError, match="1 actuators"):
        BoxMap(PENDULUM, Box(-1, 1, (2,)))
    with pytest.raises(ConfigError, match=r"neutral of torque is no action; got 0\.0; expected 1 to 2"):
        BoxMap(PENDULUM, Box(1, 2, (1,)))
    body_file.write_text(PENDULUM.to_toml().replace("fps = 15.0", "fps = 12.0"))
    with pytest.raises(ConfigError, match="got 12 Hz; expected 30 Hz, or a whole part"):
        make_environment(f"gym/Pendulum-v1@{body_file}")
    with pytest.raises(ConfigError, match="takes no embodiment"):
        make_environment(f"gym/CartPole-v1@{body_file}")
    with pytest.raises(ConfigError, match="cannot be read"):
        make_environment(f"gym/Pendulum-v1@{body_file}.none")


def test_recordings_are_named_by_the_file_not_by_its_folder(body_file: Path, tmp_path: Path) -> None:
    plan = RecordPlan(game=f"gym/Pendulum-v1@{body_file}", out=tmp_path, demonstrator="random", episodes=1)
    assert plan.recording_id(4) == "gym-Pendulum-v1-pendulum-random-000004"

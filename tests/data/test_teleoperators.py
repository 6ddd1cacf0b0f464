"""Scripted teleoperators: human hands, headings that are free, and scores that leave chance behind."""

import math
from statistics import mean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gi_data.agents import make_agent
from gi_data.demonstrators.perturbed import Bursts, Perturbation
from gi_data.demonstrators.steering import is_free
from gi_data.demonstrators.teleoperator import DRIVING, drive, fly, heading
from gi_data.demonstrators.thumb import Habits, Thumb
from gi_data.envs import EVAL_SEED_START
from gi_data.envs.isolated import IsolatedEnvironment
from gi_data.envs.robots import make_robot
from gi_data.envs.robots.sight import FAR_M, Goal, Sight
from gi_model.actions import Gamepad, InputState
from gi_model.errors import ConfigError

BEARINGS = np.linspace(-44, 44, 40)
OPEN = np.full(40, FAR_M)


BODY = make_robot("robot/rover").embodiment
DIRECT = make_robot("robot/rover_direct").embodiment


# ---------------------------------------------------------------------- hands


def test_hands_answer_late_smoothly_and_get_there() -> None:
    thumb = Thumb(BODY, Habits(delay_ticks=2, smoothing=0.5, tremor=0.0), seed=0)
    moved = [float(thumb.move(np.array([1.0, 0.0], np.float32))[0]) for _ in range(20)]
    assert moved[:2] == [0.0, 0.0]
    assert moved[2:5] == pytest.approx([0.5, 0.75, 0.875])
    assert moved[-1] == pytest.approx(1.0, abs=1e-4)


@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), min_size=1, max_size=30), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_hands_stay_within_the_limits_and_repeat_themselves(wishes: list[tuple[float, float]], seed: int) -> None:
    one, same = (Thumb(BODY, seed=seed) for _ in range(2))
    for wish in wishes:
        command = one.move(np.array(wish, np.float32))
        assert (command >= BODY.minimum).all()
        assert (command <= BODY.maximum).all()
        np.testing.assert_array_equal(command, same.move(np.array(wish, np.float32)))


def test_a_hand_off_the_stick_is_still() -> None:
    thumb = Thumb(BODY, seed=3)
    assert all(not thumb.move(BODY.neutral).any() for _ in range(20))


# ---------------------------------------------------------------------- steering


@given(st.floats(-40, 40), st.floats(0.3, 3.0))
@settings(deadline=None)
def test_a_heading_is_free_unless_a_body_would_touch(bearing: float, distance: float) -> None:
    """One post: headings past it by less than the body's radius are blocked, others are not."""
    post = int(np.argmin(np.abs(BEARINGS - bearing)))
    ranges = OPEN.copy()
    ranges[post] = distance
    free = is_free(BEARINGS, ranges, body=0.25, reach=4.0)
    past = distance * np.sin(np.radians(np.abs(BEARINGS - BEARINGS[post])))
    np.testing.assert_array_equal(free, (past >= 0.25))
    assert is_free(BEARINGS, ranges, body=0.25, reach=0.2 * distance).all()


@given(st.floats(-40, 40), st.floats(0.5, 6.0))
@settings(deadline=None)
def test_with_nothing_in_the_way_the_goal_is_the_heading(bearing: float, distance: float) -> None:
    sight = Sight(BEARINGS, OPEN, Goal(bearing, 0.0, distance))
    assert heading(sight, DRIVING) == bearing
    speed, turn = drive(sight)
    assert speed > 0
    assert turn == pytest.approx(-3.0 * math.radians(bearing))


def test_a_post_before_the_goal_is_gone_around() -> None:
    ranges = OPEN.copy()
    ranges[18:22] = 0.8
    bearing = heading(Sight(BEARINGS, ranges, Goal(0.0, 0.0, 3.0)), DRIVING)
    assert bearing is not None
    assert 15 < abs(bearing) < 44


def test_without_a_goal_bodies_turn_right_and_back_off_walls() -> None:
    for decide in (drive, fly):
        *_, turn = decide(Sight(BEARINGS, OPEN, None))
        speed, *_, turn_at_wall = decide(Sight(BEARINGS, np.full(40, 0.3), None))
        assert turn < 0
        assert turn_at_wall < 0
        assert speed < 0


def test_a_drone_climbs_to_what_is_above() -> None:
    assert fly(Sight(BEARINGS, OPEN, Goal(0.0, 20.0, 4.0)))[2] > 0.5
    assert fly(Sight(BEARINGS, OPEN, Goal(0.0, -20.0, 4.0)))[2] < -0.5


# ---------------------------------------------------------------------- shoves


def test_shoves_deflect_sticks_within_their_range_and_touch_no_other_control() -> None:
    bindings = BODY.bindings
    shove = Perturbation(bindings, seed=1, bursts=Bursts(probability=0.5, deflection=2.0))
    intent = InputState(gamepad=Gamepad(left_stick=(0.0, -0.9), right_stick=(0.4, 0.0)))
    executed = [shove.apply(intent) for _ in range(200)]
    assert 40 < sum(state != intent for state in executed) < 200
    assert all(bindings.restrict(state) == state for state in executed)


def test_shoves_turn_a_mouse_of_another_unit_by_counts() -> None:
    bindings = make_robot("robot/rover_keys").bindings
    shove = Perturbation(bindings, seed=1, bursts=Bursts(probability=1.0, flips=0.0))
    turns = [shove.apply(InputState()).motion[0] for _ in range(300)]
    assert np.std(turns) == pytest.approx(36, rel=0.15)


@given(st.integers(0, 99), st.tuples(st.floats(-0.75, 1.5, width=32), st.floats(-3, 3, width=32)) | st.just(()))
@settings(max_examples=30, deadline=None)
def test_shoves_push_commands_within_their_range_by_as_much_all_the_burst(
    seed: int, commands: tuple[float, ...]
) -> None:
    bursts = Bursts(probability=1.0, ticks=(5, 5), deflection=0.8)
    shove = Perturbation(DIRECT.bindings, seed=seed, bursts=bursts, embodiment=DIRECT)
    pushed = [shove.apply(InputState(commands=commands)).commands for _ in range(60)]
    assert ((DIRECT.minimum <= pushed) & (pushed <= DIRECT.maximum)).all()
    assert all(len(set(pushed[first : first + 5])) == 1 for first in range(0, 60, 5))
    assert len(set(pushed)) > 4


def test_a_shove_is_as_hard_to_a_command_as_to_the_stick_that_gives_it() -> None:
    """The same body on sticks: so that ways to drive it can be compared."""
    bursts = Bursts(probability=1.0, deflection=0.3)
    shoves = {body: Perturbation(body.bindings, seed=2, bursts=bursts, embodiment=body) for body in (BODY, DIRECT)}
    pushed = [
        np.std([body.command(shove.apply(body.inputs(body.neutral)))[1] for _ in range(2000)])
        for body, shove in shoves.items()
    ]
    assert pushed[1] == pytest.approx(0.3 * 3.0, rel=0.1)
    assert pushed[0] == pytest.approx(pushed[1], rel=0.25)  # less the deadband


# ---------------------------------------------------------------------- play


@pytest.mark.parametrize("name", ["robot/rover", "robot/rover_keys", "robot/rover_direct", "robot/drone"])
def test_a_teleoperator_repeats_itself_and_uses_only_its_controls(name: str) -> None:
    env = make_robot(name)
    agent = make_agent("demonstrator", env)
    plays = []
    for _ in range(2):
        frame, _ = env.reset(seed=5)
        agent.reset(seed=5)
        states = []
        for _ in range(25):
            states.append(agent.act(frame))
            frame = env.step(states[-1])[0]
        plays.append(states)
    assert plays[0] == plays[1]
    assert len(set(plays[0])) > 5
    assert all(env.action_space.contains(state) for state in plays[0])


def test_a_wrapped_robot_hides_its_state() -> None:
    env = IsolatedEnvironment("robot/rover")
    try:
        with pytest.raises(ConfigError, match="hides its state"):
            make_agent("demonstrator", env)
    finally:
        env.close()


@pytest.mark.slow  # four episodes of 30 s with each
@pytest.mark.parametrize("name", ["robot/rover", "robot/rover_keys", "robot/rover_direct", "robot/drone"])
def test_teleoperators_leave_chance_far_behind(name: str) -> None:
    env = make_robot(name)
    scores: dict[str, list[float]] = {"demonstrator": [], "random": []}
    for spec, found in scores.items():
        agent = make_agent(spec, env)
        for seed in range(EVAL_SEED_START, EVAL_SEED_START + 4):
            frame, info = env.reset(seed=seed)
            agent.reset(seed=seed)
            is_over = False
            while not is_over:
                frame, _, terminated, truncated, info = env.step(agent.act(frame))
                is_over = terminated or truncated
            found.append(info["score"])
    assert mean(scores["demonstrator"]) > 3.0
    assert mean(scores["random"]) < 1.0

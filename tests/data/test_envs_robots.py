"""Simulated robots: the protocol's laws, physics that pushes back, a camera that obeys geometry, fair arenas."""

import math
from collections.abc import Iterator
from dataclasses import replace

import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gi_data.envs import is_held_out, list_games, make_environment
from gi_data.envs.realtime import RealTimeEnvironment
from gi_data.envs.robots import list_robots, make_robot
from gi_data.envs.robots.arena import SEEN_RANGES, START_FREE_M, UNSEEN_RANGES, Ranges, Scale, generate
from gi_data.envs.robots.body import Body
from gi_data.envs.robots.camera import Look, RayCamera
from gi_data.envs.robots.drone import Drone
from gi_data.envs.robots.environment import RobotEnvironment
from gi_data.envs.robots.rover import Rover
from gi_data.envs.robots.sight import goal_by_colour, goal_by_name
from gi_data.envs.robots.world import World
from gi_data.record import RecordPlan
from gi_model.actions import NEUTRAL, Gamepad, InputState
from gi_model.errors import ConfigError, GameError
from gi_model.frames import Frame

SEEN = [name for name in list_robots() if not is_held_out(name)]
AHEAD = InputState(gamepad=Gamepad(left_stick=(0.0, -1.0)))
RISE = AHEAD  # of a drone in mode 2
FORWARD_FLIGHT = InputState(gamepad=Gamepad(right_stick=(0.0, -1.0)))


@pytest.fixture(params=SEEN)
def robot(request: pytest.FixtureRequest) -> Iterator[RobotEnvironment]:
    env = make_robot(request.param)
    yield env
    env.close()


def inputs_of(env: RobotEnvironment, *, seed: int, num_ticks: int = 12) -> list[InputState]:
    env.action_space.seed(seed)
    return [env.action_space.sample() for _ in range(num_ticks)]


def frames_of(env: RobotEnvironment, inputs: list[InputState], *, seed: int) -> list[Frame]:
    frame, _ = env.reset(seed=seed)
    return [frame, *(env.step(state)[0] for state in inputs)]


def body_seeing_late(name: str, *, latency_ms: float) -> Body:
    body = Drone() if name == "robot/drone" else Rover(name.removeprefix("robot/"))
    body.embodiment = replace(body.embodiment, camera=replace(body.embodiment.camera, latency_ms=latency_ms))
    return body


# ---------------------------------------------------------------------- the protocol


def test_the_same_seed_and_inputs_give_the_same_frames(robot: RobotEnvironment) -> None:
    inputs = inputs_of(robot, seed=1)
    first = frames_of(robot, inputs, seed=7)
    other = frames_of(robot, inputs_of(robot, seed=2), seed=7)
    again = frames_of(robot, inputs, seed=7)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first[0], frames_of(robot, [], seed=8)[0])


@pytest.mark.parametrize("num_ticks", [1, 3])
def test_a_late_camera_shows_what_a_quick_one_showed_before(robot: RobotEnvironment, num_ticks: int) -> None:
    body = body_seeing_late(robot.name, latency_ms=1e3 * num_ticks / robot.fps)
    late = RobotEnvironment(robot.name, body, SEEN_RANGES)
    inputs = inputs_of(robot, seed=9)
    shown = frames_of(robot, inputs, seed=6)
    np.testing.assert_array_equal(frames_of(late, inputs, seed=6)[num_ticks:], shown[:-num_ticks])
    assert not np.array_equal(shown[-1], shown[-1 - num_ticks])


def test_a_body_without_controls_is_the_one_with_sticks_commanded_the_same() -> None:
    sticks, direct = make_robot("robot/rover"), make_robot("robot/rover_direct")
    bodies = sticks.embodiment, direct.embodiment
    assert [replace(one, sources=(), levels=65) for one in bodies[0].actuators] == list(bodies[1].actuators)
    inputs = inputs_of(sticks, seed=2)
    commands = [np.clip(bodies[0].command(state), bodies[0].minimum, bodies[0].maximum) for state in inputs]
    told = [bodies[1].inputs(command) for command in commands]
    np.testing.assert_array_equal(frames_of(sticks, inputs, seed=3), frames_of(direct, told, seed=3))


def test_the_random_player_covers_what_direct_actuators_can_do() -> None:
    env = make_robot("robot/rover_direct")
    drawn = np.array([state.commands for state in inputs_of(env, seed=1, num_ticks=400)])
    body = env.embodiment
    np.testing.assert_allclose(drawn.min(axis=0), body.minimum, atol=0.1)
    np.testing.assert_allclose(drawn.max(axis=0), body.maximum, atol=0.1)
    assert NEUTRAL in env.action_space
    assert InputState(commands=(0.5,)) not in env.action_space
    assert InputState(commands=(0.5, 0.5)) not in make_robot("robot/rover").action_space


def test_a_share_of_a_tick_s_motion_leaves_commands_alone() -> None:
    env = make_robot("robot/rover_direct")
    state = InputState(commands=(1.0, 0.0))
    for share in (1.0, 0.5):
        env.reset(seed=4)
        for _ in range(20):
            env.advance(state, share=share)
        assert env.observe()[-1]["command"].tolist() == pytest.approx([1.0, 0.0], abs=1e-3)


def test_a_late_camera_shows_a_ball_where_it_was() -> None:
    body = body_seeing_late("robot/rover", latency_ms=200.0)
    world = World(3, body, SEEN_RANGES)
    eye, step = RayCamera(80, 60), body.embodiment.neutral[None]
    position, rotation = body.camera_pose()
    before = world.look(eye)
    world._put_ball(position + rotation @ (1.0, 0.0, 0.0))  # right before the lens
    np.testing.assert_array_equal(world.look(eye).rgb, before.rgb)
    world.advance(np.repeat(step, round(0.2 / world.timestep_s) + 1, axis=0))
    assert world.is_ball(world.look(eye)).sum() > world.is_ball(before).sum()


def test_advancing_by_substeps_equals_a_step(robot: RobotEnvironment) -> None:
    inputs = inputs_of(robot, seed=4)
    frames = frames_of(robot, inputs, seed=5)
    robot.reset(seed=5)
    for state, frame in zip(inputs, frames[1:], strict=True):
        for _ in range(robot.substeps):
            robot.advance(state)
        np.testing.assert_array_equal(robot.observe()[0], frame)


def test_frames_inputs_and_facts_are_as_stated(robot: RobotEnvironment) -> None:
    frame, info = robot.reset(seed=1)
    assert robot.observation_space.contains(frame)
    assert info["command"].tolist() == robot.embodiment.neutral.tolist()
    for state in inputs_of(robot, seed=3):
        assert robot.action_space.contains(state)
        frame, _, terminated, truncated, info = robot.step(state)
        assert robot.observation_space.contains(frame)
        assert info["command"].dtype == np.float32
        assert (info["command"] >= robot.embodiment.minimum).all()
        assert (info["command"] <= robot.embodiment.maximum).all()
        assert info["clearance_m"] > 0
        assert not terminated
        assert not truncated
    assert robot.fps == robot.embodiment.fps == 17.5


def test_an_episode_ends_after_thirty_seconds_and_stays_over() -> None:
    env = make_robot("robot/drone")
    env.reset(seed=1)
    for _ in range(2 * 525 - 1):
        env.advance(NEUTRAL)
    assert env.observe()[2:4] == (False, False)
    env.advance(NEUTRAL)
    assert env.observe()[2:4] == (False, True)
    before = env.picture.rgb
    env.advance(FORWARD_FLIGHT)
    np.testing.assert_array_equal(env.observe()[0], before)


def test_a_robot_that_was_not_reset_says_so(robot: RobotEnvironment) -> None:
    with pytest.raises(GameError, match="not running"):
        robot.step(NEUTRAL)


def test_robots_are_listed_and_made_by_name() -> None:
    assert set(list_robots()) <= set(list_games())
    with pytest.raises(ConfigError, match="robot/rover"):
        make_environment("robot/rovr")


def test_held_out_arenas_are_never_recorded(tmp_path: object) -> None:
    with pytest.raises(ConfigError, match="held-out"):
        RecordPlan(game="robot/rover_unseen", out=tmp_path, episodes=1)  # type: ignore[arg-type]
    assert [name for name in list_robots() if is_held_out(name)] == [f"{name}_unseen" for name in SEEN]


@pytest.mark.parametrize("name", ["robot/rover_keys", "robot/rover_direct"])
def test_an_isolated_robot_plays_the_same_game_and_knows_its_body(name: str) -> None:
    inner = make_robot(name)
    outer = make_environment(name, isolated=True)
    try:
        inputs = inputs_of(inner, seed=1, num_ticks=4)
        outer.action_space.seed(1)
        assert [outer.action_space.sample() for _ in inputs] == inputs
        frame, _ = outer.reset(seed=3)
        np.testing.assert_array_equal([frame, *(outer.step(s)[0] for s in inputs)], frames_of(inner, inputs, seed=3))
        assert outer.embodiment == inner.embodiment  # type: ignore[attr-defined]
    finally:
        outer.close()


class Steps:
    """A clock that is always on time."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def wait_until(self, due: float) -> None:
        self.time = max(self.time, due)


def test_a_clock_can_drive_a_robot() -> None:
    env = RealTimeEnvironment(make_robot("robot/drone"), clock=Steps())
    env.reset(seed=2)
    env.hold(FORWARD_FLIGHT)
    newest = env.wait(after_tick=3)
    env.close()
    assert newest is not None
    ahead, *rest = newest.result[4]["command"].tolist()
    assert ahead > 0.5  # on its way to 3 m/s, by the envelope's leave
    assert rest == [0.0, 0.0, 0.0]
    assert env.embodiment is not None


# ---------------------------------------------------------------------- physics


def drive(env: RobotEnvironment, state: InputState, ticks: int) -> list[float]:
    """Speed over the ground, m/s, after each half tick."""
    speeds = []
    for _ in range(2 * ticks):
        before = env.world.body.pose[0][:2]
        env.advance(state)
        speeds.append(math.dist(before, env.world.body.pose[0][:2]) * 2 * env.fps)
    return speeds


def test_speed_builds_up_and_reaches_what_was_commanded() -> None:
    env = make_robot("robot/rover")
    env.reset(seed=3)
    speeds = drive(env, AHEAD, 14)
    assert speeds[0] < 0.5 * max(speeds)
    assert max(speeds) == pytest.approx(1.5, abs=0.15)


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=3, max_size=10))
@settings(max_examples=15, deadline=None)
def test_commands_obey_the_envelope_whatever_the_sticks_do(sticks: list[tuple[float, float]]) -> None:
    env = make_robot("robot/rover")
    env.reset(seed=3)
    before = env.embodiment.neutral
    for y, x in sticks:
        env.advance(InputState(gamepad=Gamepad(left_stick=(0.0, y), right_stick=(x, 0.0))))
        command = env.observe()[4]["command"]
        assert (np.abs(command - before) <= env.embodiment.max_rate / (2 * env.fps) * 1.001).all()
        before = command


def test_a_rover_turns_as_fast_as_told_to_the_side_told() -> None:
    env = make_robot("robot/rover_keys")
    env.reset(seed=3)
    right = InputState(motion=(20, 0))  # 5 degrees a tick
    drive(env, right, 6)
    start = env.world.body.pose[1]
    drive(env, right, 12)
    turned = math.degrees((start - env.world.body.pose[1]) % (2 * math.pi))
    assert 0.8 < turned / (12 * 5) < 1.0  # wheels that turn a body on the spot scrub


def test_a_wall_holds_and_costs() -> None:
    env = make_robot("robot/rover")
    env.reset(seed=3)
    drive(env, AHEAD, 120)
    place = env.world.body.pose[0]
    assert max(abs(place[:2])) < env.world.arena.half_m
    assert env.world.num_collisions >= 1
    assert env.observe()[4]["score"] == pytest.approx(-0.1 * env.world.num_collisions + env.world.num_reached)


def test_a_drone_hovers_by_itself_and_climbs_when_told() -> None:
    env = make_robot("robot/drone")
    env.reset(seed=4)
    height = env.world.body.pose[0][2]
    drive(env, NEUTRAL, 35)
    assert env.world.body.pose[0][2] == pytest.approx(height, abs=0.1)
    drive(env, RISE, 9)
    assert env.world.body.pose[0][2] > height + 0.3
    assert not env.world.body.is_lost


def test_a_reached_ball_scores_and_the_next_is_elsewhere_in_view_of_a_turn() -> None:
    env = make_robot("robot/rover")
    env.reset(seed=5)
    ball = env.world.ball
    env.world._data.qpos[:2] = ball[:2]
    env.advance(NEUTRAL)
    assert env.observe()[1] == pytest.approx(1.0)
    assert math.dist(env.world.ball, ball) > 1.0
    seen = []
    for _ in range(20):
        drive(env, InputState(gamepad=Gamepad(right_stick=(0.6, 0.0))), 3)
        seen.append(goal_by_name(env).any())
    assert any(seen)


# ---------------------------------------------------------------------- the camera

PLAIN = Look(
    checker_m=np.ones(2, np.float32),
    contrast=np.array([0.5, 0.0], np.float32),
    sky=np.array([0, 0, 1], np.float32),
    haze=np.array([1, 1, 1], np.float32),
    light=np.array([0, 0, 1], np.float32),
    fog_m=1e9,
)


def scene() -> tuple[mujoco.MjModel, mujoco.MjData]:
    model = mujoco.MjModel.from_xml_string(
        '<mujoco><worldbody><geom type="plane" size="5 5 1" rgba="0 1 0 1"/>'
        '<geom type="sphere" size=".5" pos="4 -2 1" rgba="1 0 0 1"/></worldbody></mujoco>'
    )
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return model, data


@given(st.floats(0.2, 3.0), st.floats(-3.0, 3.0))
@settings(max_examples=20, deadline=None)
def test_depth_and_place_follow_from_geometry(height: float, yaw: float) -> None:
    model, data = scene()
    camera = RayCamera(64, 48)
    turn = np.array([[math.cos(yaw), -math.sin(yaw), 0], [math.sin(yaw), math.cos(yaw), 0], [0, 0, 1]])
    picture = camera.see(model, data, PLAIN, position=np.array([0, 0, height]), rotation=turn)
    floor = np.where(picture.geom_ids == 0, picture.depth_m, np.nan)[:, 32]
    below = camera.elevations < -1
    expected = height / np.sin(np.radians(-camera.elevations[below]))
    np.testing.assert_allclose(floor[below][~np.isnan(floor[below])], expected[~np.isnan(floor[below])], rtol=1e-3)
    bearing = math.degrees((yaw - math.atan2(-2, 4) + math.pi) % (2 * math.pi) - math.pi)
    if abs(bearing) < 35:
        columns = np.nonzero(picture.geom_ids == 1)[1]
        assert camera.bearings[columns].mean() == pytest.approx(bearing, abs=2.0)


def test_colours_are_lit_checkered_and_end_in_the_sky() -> None:
    model, data = scene()
    picture = RayCamera(64, 48).see(model, data, PLAIN, position=np.array([0, 0, 1.0]), rotation=np.eye(3))
    assert (picture.rgb[0, :, 2] == 255).all()  # the sky is blue, and nothing is nearer
    assert np.isinf(picture.depth_m[0]).all()
    floor = picture.rgb[picture.geom_ids == 0]
    assert (floor[:, [0, 2]] == 0).all()
    assert set(np.unique(floor[:, 1])) > {255}  # light and dark cells, nearer and farther
    red = np.where(picture.geom_ids == 1, picture.rgb[..., 0], 0)
    rows = np.nonzero(red)[0]
    assert red[rows.min()].max() > red[rows.max()].max()  # the top of the ball is turned to the light


def test_a_body_does_not_see_itself(robot: RobotEnvironment) -> None:
    robot.reset(seed=2)
    own = np.flatnonzero(robot.world._is_own)
    assert len(own)
    assert not np.isin(robot.picture.geom_ids, own).any()


@pytest.mark.parametrize("name", ["robot/drone", "robot/drone_unseen"])
def test_the_balloons_colour_names_the_balloon_and_nothing_else(name: str) -> None:
    """In pictures from many places: what is orange is the balloon, but for its mixed edges."""
    env = make_robot(name)
    num_right = num_wrong = 0
    for seed in range(12):
        env.reset(seed=seed)
        drive(env, InputState(gamepad=Gamepad(left_stick=(0.8, 0.0))), seed % 4 * 8)
        by_colour, by_name = goal_by_colour(env.picture), goal_by_name(env)
        num_right += int((by_colour & by_name).sum())
        num_wrong += int((by_colour & ~by_name).sum())
    assert num_right > 100
    assert num_wrong == 0


# ---------------------------------------------------------------------- arenas


@given(st.integers(0, 1 << 31), st.sampled_from([SEEN_RANGES, UNSEEN_RANGES]), st.sampled_from([1.0, 2.0]))
@settings(max_examples=20, deadline=None)
def test_arenas_leave_room_everywhere(seed: int, ranges: Ranges, floor: float) -> None:
    arena = generate(seed, ranges, Scale(floor=floor))
    assert arena == generate(seed, ranges, Scale(floor=floor))
    solid = arena.obstacles
    for number, one in enumerate(solid):
        assert arena.half_m - max(map(abs, one.place)) - one.radius_m > START_FREE_M
        for other in solid[:number]:
            assert math.dist(one.place, other.place) - one.radius_m - other.radius_m > START_FREE_M
    assert len(arena.free) > 20
    assert arena.start[:2] in arena.free


def test_held_out_arenas_are_of_another_kind() -> None:
    seen, unseen = ([generate(seed, ranges, Scale()) for seed in range(20)] for ranges in (SEEN_RANGES, UNSEEN_RANGES))
    assert max(arena.half_m for arena in seen) <= min(arena.half_m for arena in unseen)
    assert {o.shape for arena in unseen for o in arena.obstacles} > {o.shape for arena in seen for o in arena.obstacles}
    assert not set(SEEN_RANGES.colours) & set(UNSEEN_RANGES.colours)

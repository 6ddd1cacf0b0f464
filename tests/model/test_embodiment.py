from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gi_model.actions import ActionSpace, Gamepad, InputState
from gi_model.actuators import Actuator, Source
from gi_model.embodiment import Camera, Embodiment, parse_embodiment, read_embodiment
from gi_model.errors import ActionError, ConfigError
from tests.model.strategies import states

SPACE = ActionSpace()
ROVER = """\
# a wheeled robot
name = "rover"
fps = 17.5
command_hz = 175.0
watchdog_ms = 300.0

[camera]  # width = 3
width = 160
height = 120
fps = 17.5
latency_ms = 0.0

[[actuators]]
name = "linear.x"
unit = "m/s"
neutral = 0.0
minimum = -0.5
maximum = 1.0
max_rate = 3.0
max_jerk = 30.0
sources = [
  { control = "left_stick.y", scale = -1.0, deadband = 0.1 },
]

[[actuators]]
name = "angular.z"
unit = "rad/s"
neutral = 0.0
minimum = -2.0
maximum = 2.0
max_rate = 12.0
sources = [
  { control = "right_stick.x", scale = -2.0, deadband = 0.1 },
]
"""


def test_a_file_reads_as_it_says() -> None:
    body = parse_embodiment(ROVER)
    assert (body.name, body.fps, body.num_actuators) == ("rover", 17.5, 2)
    assert body.camera == Camera(160, 120, 17.5, 0.0)
    assert body.max_jerk.tolist() == [30.0, np.inf]
    assert body.minimum.tolist() == [-0.5, -2.0]
    assert body.maximum.dtype == np.float32


def test_sticks_map_through_the_deadband_without_a_jump() -> None:
    body = parse_embodiment(ROVER)

    def speed(y: float) -> float:
        return float(body.command(InputState(gamepad=Gamepad(left_stick=(0.0, y))))[0])

    assert speed(-1.0) == pytest.approx(1.0)
    assert speed(-0.1) == 0.0
    assert speed(-0.1001) == pytest.approx(0.0, abs=2e-4)
    assert speed(0.55) == pytest.approx(-0.5)
    assert body.command(InputState()).tolist() == [0.0, 0.0]


def test_held_keys_add_up_and_the_map_does_not_clip() -> None:
    throttle = actuator(Source("KeyW", 0.8), Source("ShiftLeft", 0.7), Source("KeyS", -0.5))
    body = embodiment(throttle)
    assert body.command(InputState(keys=frozenset({"KeyW", "ShiftLeft"})))[0] == pytest.approx(1.5)
    assert body.command(InputState(keys=frozenset({"KeyW", "KeyS"})))[0] == pytest.approx(0.3)
    assert body.inputs(np.array([0.3], np.float32)).keys == frozenset()  # not by two keys against each other


# ---------------------------------------------------------------------- laws


def actuator(*sources: Source, neutral: float = 0.0, reach: tuple[float, float] = (-1.0, 1.0)) -> Actuator:
    return Actuator("linear.x", "m/s", neutral, *reach, 4.0, None, sources)


def embodiment(*actuators: Actuator) -> Embodiment:
    named = tuple(replace(one, name=f"{one.name} {index}") for index, one in enumerate(actuators))
    return Embodiment("body", 20.0, 100.0, 250.0, Camera(160, 120, 20.0), named)


scales = st.floats(0.01, 50.0) | st.floats(-50.0, -0.01)
amounts = st.floats(-10.0, 10.0)


@st.composite
def actuators(draw: st.DrawFn, source_lists: st.SearchStrategy[list[str]], deadband: float) -> Actuator:
    controls = draw(source_lists)
    sources = tuple(Source(c, draw(scales), draw(st.floats(0.0, deadband)) if deadband else 0.0) for c in controls)
    low, middle, high = sorted(draw(st.tuples(amounts, amounts, amounts)))
    return actuator(*sources, neutral=middle, reach=(low, high + 0.1))


directs = st.tuples(st.tuples(amounts, amounts, amounts).map(sorted), st.integers(3, 200)).map(
    lambda drawn: Actuator("mast", "rad", drawn[0][1], drawn[0][0], drawn[0][2] + 0.1, 4.0, None, levels=drawn[1])
)
pads = st.tuples(
    actuators(st.lists(st.sampled_from(["left_stick.y", "left_stick.x"]), min_size=1, unique=True), 0.9),
    actuators(st.just(["right_stick.x"]), 0.9),
    actuators(st.just(["triggers.x", "triggers.y"]), 0.9),
    actuators(st.just(["GamepadSouth", "GamepadEast", "GamepadUp"]), 0.0),
)
keyboards = st.tuples(
    actuators(st.lists(st.sampled_from(["KeyW", "KeyS", "KeyQ", "KeyE"]), min_size=1, unique=True), 0.0),
    actuators(st.just(["motion.x"]), 9.0),
    actuators(st.just(["motion.y"]), 0.0),
    actuators(st.just(["wheel.y"]), 2.0),
    actuators(st.just(["MouseLeft", "MouseRight"]), 0.0),
)
alone = st.just(())
bodies = st.tuples(pads | keyboards, alone | st.tuples(directs, directs)).map(lambda parts: embodiment(*sum(parts, ())))
shares = st.lists(st.floats(0.0, 1.0), min_size=7, max_size=7)


def within_reach(body: Embodiment, shares: list[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    ends = np.array([one.reach for one in body.actuators])
    return np.asarray(ends[:, 0] + (ends[:, 1] - ends[:, 0]) * shares[: body.num_actuators])


@settings(max_examples=60, deadline=None)
@given(bodies, shares)
def test_a_command_survives_inputs_and_tokens_within_the_resolution(body: Embodiment, shares: list[float]) -> None:
    command = within_reach(body, shares).astype(np.float32)
    state = body.inputs(command)
    levels = body.command_space.encode(np.array(state.commands))
    commands = tuple(body.command_space.decode(levels).tolist())
    again = body.command(replace(SPACE.decode(SPACE.encode(state)), commands=commands))
    slack = 1e-5 * (1 + np.abs(command) + np.abs(body.neutral))
    assert (np.abs(again - command) <= body.resolution + slack).all(), (command, again, body.resolution)


@settings(max_examples=60, deadline=None)
@given(bodies, shares)
def test_inputs_are_their_own_inverse_once_made(body: Embodiment, shares: list[float]) -> None:
    state = body.inputs(within_reach(body, shares).astype(np.float32))
    reached = body.command(state)
    assert body.command(body.inputs(reached)) == pytest.approx(reached, rel=1e-5, abs=1e-5)
    assert state == body.bindings.restrict(state)
    assert (state.gamepad is not None) == body.is_gamepad


@settings(max_examples=60, deadline=None)
@given(bodies)
def test_no_input_is_the_neutral_command(body: Embodiment) -> None:
    assert body.command(InputState()).tolist() == body.neutral.tolist()
    resting = body.inputs(body.neutral)
    assert replace(resting, commands=()).is_null
    assert resting.is_null == (not any(resting.commands))
    space = body.command_space
    assert space.decode(space.encode(np.array(resting.commands))).tolist() == list(resting.commands)


@settings(max_examples=60, deadline=None)
@given(bodies, states)
def test_only_bound_controls_move_the_body(body: Embodiment, state: InputState) -> None:
    assert body.command(body.bindings.restrict(state)).tolist() == body.command(state).tolist()


@settings(max_examples=60, deadline=None)
@given(bodies)
def test_a_body_is_the_same_from_its_toml_and_its_dict(body: Embodiment) -> None:
    assert parse_embodiment(body.to_toml()) == body == Embodiment.from_dict(body.to_dict())
    assert parse_embodiment(body.to_toml()).fingerprint == body.fingerprint


def test_comments_do_not_change_the_fingerprint_and_numbers_do() -> None:
    body = parse_embodiment(ROVER)
    assert parse_embodiment("# another comment\n" + ROVER).fingerprint == body.fingerprint
    assert parse_embodiment(ROVER.replace("max_rate = 3.0", "max_rate = 3.5")).fingerprint != body.fingerprint


def test_a_coarser_scale_has_a_coarser_resolution() -> None:
    fine, coarse = (embodiment(actuator(Source("left_stick.x", scale))) for scale in (1.0, 2.0))
    assert fine.resolution[0] == pytest.approx(1 / 32)
    assert coarse.resolution[0] == pytest.approx(2 / 32)
    keys = embodiment(actuator(Source("KeyW", 1.0), Source("KeyS", -0.5)))
    assert keys.resolution[0] == pytest.approx(0.5)


# ---------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("fps = 17.5\ncommand", "fps = 0\ncommand", 3, "above 0"),
        ("command_hz = 175.0", "command_hz = 10", 4, "17.5 (fps) to 10000"),
        ("watchdog_ms = 300.0", "watchdog_ms = 20", 5, "one tick"),
        ("width = 160", "width = 161", 8, "even number"),
        ("height = 120", 'height = "tall"', 9, "a whole number"),
        ("fps = 17.5\nlatency", "fps = 10\nlatency", 10, "slower than the policy"),
        ("latency_ms = 0.0", "latency_ms = -5.0", 11, "0 to 10000"),
        ('unit = "m/s"', "unit = 3", 15, "a string"),
        ("minimum = -0.5", "minimum = 2.0", 18, "minimum below maximum"),
        ("neutral = 0.0\nminimum = -0.5", "neutral = -3.0\nminimum = -0.5", 16, "neutral is out of range"),
        ("max_rate = 3.0", "max_rate = nan", 19, "a finite float32"),
        ("maximum = 2.0", "maximum = 1e39", 30, "a finite float32"),
        ("maximum = 2.0", f"maximum = 1{'0' * 400}", 30, "a finite number"),
        ("scale = -1.0", "scale = 1e39", 22, "other than 0"),
        ("max_jerk = 30.0", "max_jerk = 0", 20, "more than 0"),
        ("max_jerk = 30.0", "max_jork = 30.0", 20, "unknown key"),
        ('"left_stick.y"', '"left_stick.z"', 22, "unknown control"),
        ("deadband = 0.1 },\n]\n\n", "deadband = 1.0 },\n]\n\n", 22, "0 to below 1.0"),
        ("scale = -1.0", "scale = 0", 22, "other than 0"),
        ("maximum = 2.0\n", "", 25, "missing"),
        ('"right_stick.x"', '"left_stick.y"', 33, "drives two actuators"),
        ('"right_stick.x"', '"motion.x"', 33, "gamepad beside keyboard"),
        ('name = "angular.z"', 'name = "linear.x"', 26, "two actuators of one name"),
        ("scale = -2.0", "scale = = -2.0", 33, "is not TOML"),
        ("max_rate = 12.0\n", "max_rate = 12.0\nlevels = 65\n", 32, "sources and levels"),
        (ROVER[ROVER.rindex("sources") :], "levels = 2\n", 32, "3 to 1025"),
        (ROVER[ROVER.rindex("sources") :], "levels = 6.5\n", 32, "a whole number"),
        (ROVER[ROVER.rindex("sources") :], "", 25, "Give it levels"),
    ],
)
def test_errors_name_the_line(old: str, new: str, line: int, words: str) -> None:
    assert old in ROVER
    with pytest.raises(ConfigError) as caught:
        parse_embodiment(ROVER.replace(old, new), "body.toml")
    assert words in str(caught.value)
    assert f"line {line}" in str(caught.value), str(caught.value)
    assert "body.toml" in str(caught.value)


def test_a_missing_table_is_named() -> None:
    with pytest.raises(ConfigError, match="camera: missing"):
        parse_embodiment('name = "x"\nfps = 10\ncommand_hz = 10\nwatchdog_ms = 200\nactuators = []\n')
    with pytest.raises(ConfigError, match="actuators: number of actuators; got 0"):
        parse_embodiment(ROVER[: ROVER.index("[[actuators]]")].replace("[camera]", "actuators = []\n[camera]"))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Source("KeyW", 1.0, 0.1), "held or not"),
        (actuator, "nothing drives"),
        (lambda: actuator(Source("KeyW", 1.0), Source("motion.x", 1.0)), "keys and axes"),
        (lambda: actuator(*(Source(f"Digit{i}", 1.0) for i in range(9))), "too many sources"),
        (lambda: embodiment(*(actuator(Source(f"F{i}", 1.0)) for i in range(1, 10))), "more held at once"),
    ],
)
def test_bodies_that_cannot_be_are_refused(make: Callable[..., object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make()


@pytest.mark.parametrize("command", [[0.0], [0.0, np.nan], [0.0, np.inf], [[0.0, 0.0]]])
def test_what_is_no_command_is_refused(command: list[float]) -> None:
    with pytest.raises(ConfigError, match="not a command"):
        parse_embodiment(ROVER).inputs(np.array(command, np.float32))


@pytest.mark.parametrize("commands", [(0.5,), (0.5, 0.5, 0.5)])
def test_commands_of_another_body_are_refused(commands: tuple[float, ...]) -> None:
    body = embodiment(*(Actuator(name, "rad", 0.0, -1.0, 1.0, 4.0, None, levels=65) for name in "ab"))
    with pytest.raises(ActionError, match="expected 2 of body"):
        body.command(InputState(commands=commands))
    with pytest.raises(ActionError, match="not the commands of this body"):
        body.command_space.encode(np.array(commands))


@pytest.mark.parametrize("commands", [(float("nan"),), (float("inf"),), (0.0,) * 33])
def test_what_is_no_command_is_no_input_state(commands: tuple[float, ...]) -> None:
    with pytest.raises(ActionError, match="at most 32 finite numbers"):
        InputState(commands=commands)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.toml cannot be read"):
        read_embodiment(tmp_path / "nothing.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"binary\.toml cannot be read"):
        read_embodiment(tmp_path / "binary.toml")
    (tmp_path / "large.toml").write_text("#" * (1 << 21))
    with pytest.raises(ConfigError, match="too large"):
        read_embodiment(tmp_path / "large.toml")
    (tmp_path / "good.toml").write_text(ROVER)
    assert read_embodiment(tmp_path / "good.toml") == parse_embodiment(ROVER)

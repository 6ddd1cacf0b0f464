"""A shield has its way, and one that fails has vetoed."""

from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gi_model.actions import Gamepad, InputState
from gi_model.embodiment import Actuator, Camera, Embodiment, Source
from gi_model.errors import ConfigError
from gi_model.shield import ClearanceShield, Outcome, judge, load_shield

FRAME = np.zeros((8, 8, 3), np.uint8)


def rover(*drive: Source, turn: str = "right_stick.x") -> Embodiment:
    limits: dict[str, Any] = {"neutral": 0.0, "minimum": -1.0, "maximum": 1.0, "max_rate": 4.0, "max_jerk": None}
    actuators = (
        Actuator(name="linear.x", unit="m/s", **limits, sources=drive),
        Actuator(name="angular.z", unit="rad/s", **limits, sources=(Source(turn, 1.0),)),
    )
    return Embodiment("rover", 20.0, 200.0, 200.0, Camera(64, 48, 20.0, 0.0), actuators)


STICK = rover(Source("left_stick.y", -1.0))
KEYS = rover(Source("KeyW", 0.5), Source("ShiftLeft", 0.5), turn="motion.x")


def forward(speed: float = 1.0, turn: float = 0.5) -> InputState:
    return InputState(gamepad=Gamepad(left_stick=(0.0, -speed), right_stick=(turn, 0.0)))


def raising(*_: Any) -> Any:
    raise RuntimeError("no depth image")


@pytest.mark.parametrize(
    ("answer", "outcome", "command"),
    [
        (None, "allowed", [1.0, 0.5]),
        (forward(0.25), "replaced", [0.25, 0.5]),
        ("veto", "vetoed", [0.0, 0.0]),
        (False, "failed", [0.0, 0.0]),
        ("go", "failed", [0.0, 0.0]),
        (np.array([1.0, 0.5]), "failed", [0.0, 0.0]),  # a command is no input state
        (InputState(commands=(1.0,)), "failed", [0.0, 0.0]),  # of a body with another actuator
    ],
)
def test_its_answer_is_what_counts(answer: Any, outcome: Outcome, command: list[float]) -> None:
    state, did = judge(lambda *_: answer, STICK, FRAME, forward())
    assert did == outcome
    np.testing.assert_allclose(STICK.command(state), command)


def test_it_sees_frame_state_command_and_clearance() -> None:
    seen: list[Any] = []
    judge(lambda *given: seen.extend(given), STICK, FRAME, forward(), clearance_m=2.5)
    assert seen[0] is FRAME
    assert seen[1] == forward()
    np.testing.assert_allclose(seen[2], [1.0, 0.5])
    assert seen[3] == 2.5


def test_one_that_fails_has_vetoed() -> None:
    state, did = judge(cast(Any, raising), STICK, FRAME, forward())
    assert did == "failed"
    assert STICK.command(state).tolist() == [0.0, 0.0]


@given(clearance_m=st.floats(allow_nan=False), speed=st.floats(-1, 1), turn=st.floats(-1, 1))
def test_clearance_bounds_the_drive_and_leaves_the_rest(clearance_m: float, speed: float, turn: float) -> None:
    shield = ClearanceShield(STICK, "linear.x", stop_m=0.3, slow_m=1.0)
    state, _ = judge(shield, STICK, FRAME, forward(speed, turn), clearance_m=clearance_m)
    drive, turned = STICK.command(state)
    most = min(1.0, max(0.0, (clearance_m - 0.3) / 0.7))
    assert drive == pytest.approx(min(speed, most), abs=1e-6)  # backward is always allowed
    assert turned == pytest.approx(turn, abs=1e-6)


@pytest.mark.parametrize(("clearance_m", "drive"), [(9.0, 1.0), (1.1, 0.5), (0.9, 0.0), (0.1, 0.0)])
def test_keys_go_down_to_a_speed_they_know(clearance_m: float, drive: float) -> None:
    state = InputState(keys=frozenset({"KeyW", "ShiftLeft"}), motion=(1, 0))
    played, _ = judge(ClearanceShield(KEYS, "linear.x"), KEYS, FRAME, state, clearance_m=clearance_m)
    np.testing.assert_allclose(KEYS.command(played), [drive, 1.0])


def test_a_broken_sensor_vetoes_and_none_allows() -> None:
    shield = ClearanceShield(STICK, "linear.x")
    assert judge(shield, STICK, FRAME, forward(), clearance_m=float("nan"))[1] == "vetoed"
    assert judge(shield, STICK, FRAME, forward())[1] == "allowed"


def test_nonsense_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"unknown actuator.*linear\.x \| angular\.z"):
        ClearanceShield(STICK, "wings")
    with pytest.raises(ConfigError, match="stop_m < slow_m"):
        ClearanceShield(STICK, "linear.x", stop_m=1.0, slow_m=0.5)
    for name in ("no_such_module:x", "math:no_such_name", "math", "", ":x"):
        with pytest.raises(ConfigError, match="no such shield"):
            load_shield(name)
    with pytest.raises(ConfigError, match="callable"):
        load_shield("math:pi")


class Nothing:
    """A shield as a class."""

    def __call__(self, *_: object) -> None:
        """Allow."""


def test_a_shield_is_found_by_name() -> None:
    assert isinstance(load_shield(f"{__name__}:Nothing"), Nothing)
    assert load_shield(f"{__name__}:raising") is raising

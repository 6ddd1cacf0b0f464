"""The robot demo's plan: commands that exist, a base that is found or made, stages that stand on each other."""

from pathlib import Path

import pytest

from gi_model.errors import ConfigError
from gi_train.demo import Demo
from gi_train.demo_robot import RobotDemo, plan_robot_stages
from tests.train.parsing import check_command


def make_demo(out: Path, minutes: float = 10.0, base: Path | None = None) -> RobotDemo:
    base_demo = Demo.sized(10.0, games=["doom/gather"], out=out / "demo")
    return RobotDemo.sized(minutes, base=base, base_demo=base_demo, out=out / "robot")


def test_every_command_of_the_plan_exists(tmp_path: Path) -> None:
    for stage in plan_robot_stages(make_demo(tmp_path)).all:
        for argv in stage.commands:
            check_command(argv)


def test_the_base_is_the_demos_own_unless_one_is_given(tmp_path: Path) -> None:
    assert make_demo(tmp_path).base == tmp_path / "demo" / "policy" / "checkpoint"
    assert make_demo(tmp_path, base=tmp_path).base == tmp_path
    with pytest.raises(ConfigError, match="no base to adapt"):
        make_demo(tmp_path, base=tmp_path / "nowhere")


def test_less_time_is_less_of_everything(tmp_path: Path) -> None:
    whole, short = make_demo(tmp_path), make_demo(tmp_path, minutes=1.0)
    for name in ("demonstrations", "steps", "episodes"):
        assert 1 <= getattr(short, name) < getattr(whole, name)
    asked = RobotDemo.sized(1.0, base=None, base_demo=whole.base_demo, out=tmp_path, episodes=7)
    assert asked.episodes == 7
    with pytest.raises(ConfigError, match="minutes out of range"):
        make_demo(tmp_path, minutes=0.0)


def test_another_base_trains_and_drives_anew_but_records_nothing_anew(tmp_path: Path) -> None:
    one, two = (plan_robot_stages(make_demo(tmp_path, base=base)) for base in (None, tmp_path))
    same = [a.fingerprint == b.fingerprint for a, b in zip(one.all, two.all, strict=True)]
    assert same == [True, True, False, False, False, False]


def test_the_body_is_the_one_that_is_recorded_and_driven(tmp_path: Path) -> None:
    demo, plan = make_demo(tmp_path), plan_robot_stages(make_demo(tmp_path))
    assert demo.body in plan.record.commands[0]
    assert set(demo.games) <= set(plan.drive.commands[0])

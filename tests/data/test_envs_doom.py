"""Doom: turning is exact, privileged sight costs no pixel, a dead engine is an error and then a new one."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gi_data.envs.doom import DoomEnvironment
from gi_data.envs.doom_engine import check_display
from gi_data.envs.doom_scenarios import list_scenarios
from gi_data.envs.doom_sight import cast_rays, wrap
from gi_model.actions import NEUTRAL, InputState
from gi_model.errors import GameError


@pytest.fixture
def center() -> Iterator[DoomEnvironment]:
    env = DoomEnvironment("doom/defend_the_center")
    yield env
    env.close()


def engine_of(env: DoomEnvironment) -> int:
    """Process id of the engine below this process, found by its working files."""
    folder = env._running._folder
    found = subprocess.run(["pgrep", "-f", str(folder)], capture_output=True, text=True, check=True)
    return int(found.stdout.split()[0])


def play_on(env: DoomEnvironment) -> None:
    for _ in range(100):
        env.step(NEUTRAL)


def test_a_tick_turns_a_quarter_degree_a_count_spread_over_its_tics(center: DoomEnvironment) -> None:
    center.reset(seed=1)
    angle = center._running.variable("ANGLE")
    center.advance(InputState(motion=(40, 0)))
    half = center._running.variable("ANGLE")
    center.advance(InputState(motion=(40, 0)))
    whole = center._running.variable("ANGLE")
    assert wrap(angle - half) == pytest.approx(5.0, abs=0.02)
    assert wrap(angle - whole) == pytest.approx(10.0, abs=0.02)


def test_a_share_of_the_motion_turns_a_share_of_the_angle(center: DoomEnvironment) -> None:
    center.reset(seed=1)
    angle = center._running.variable("ANGLE")
    center.advance(InputState(motion=(40, 0)), share=0.5)
    assert wrap(angle - center._running.variable("ANGLE")) == pytest.approx(2.5, abs=0.02)


def test_mouse_down_looks_down() -> None:
    env = DoomEnvironment("freedoom/MAP01")
    env.reset(seed=1)
    env.step(InputState(motion=(0, 40)))
    assert env._running.variable("PITCH") == pytest.approx(10.0, abs=0.05)  # Doom's pitch grows downwards
    env.close()


def test_the_score_of_each_game_is_what_it_is_known_for() -> None:
    for name, score in (("doom/defend_the_center", 0.0), ("doom/health_gathering_supreme", 384.0)):
        env = DoomEnvironment(name)
        env.reset(seed=1)
        result = env.step(NEUTRAL)
        while not (result[2] or result[3]):
            result = env.step(NEUTRAL)
        assert result[4]["score"] == score
        assert result[2]
        assert not result[3]
        after = env.step(InputState(keys=frozenset({"KeyW"})))
        assert after[2:] == result[2:]
        env.close()


def test_gather_is_cut_off_after_thirty_seconds() -> None:
    env = DoomEnvironment("doom/gather")
    env.reset(seed=1)
    ticks, result = 1, env.step(NEUTRAL)
    while not (result[2] or result[3]):
        ticks, result = ticks + 1, env.step(NEUTRAL)
    assert (result[2], result[3]) == (False, True)
    assert ticks / env.fps == pytest.approx(30.0, abs=0.1)
    env.close()


def test_revealing_the_state_does_not_change_a_pixel(center: DoomEnvironment) -> None:
    inputs = [InputState(motion=(7 * index % 30, 0), buttons=frozenset({"MouseLeft"})) for index in range(30)]
    center.reset(seed=3)
    blind = [center.step(state)[0] for state in inputs]
    center.reveal()
    center.reset(seed=3)
    seeing = [center.step(state)[0] for state in inputs]
    assert all(np.array_equal(a, b) for a, b in zip(blind, seeing, strict=True))


def test_sight_is_refused_until_it_is_asked_for(center: DoomEnvironment) -> None:
    center.reset(seed=1)
    with pytest.raises(GameError, match="reveal"):
        center.sight()


def test_turning_towards_a_thing_brings_it_to_the_centre(center: DoomEnvironment) -> None:
    center.reveal()
    center.reset(seed=5)
    sight = center.sight()
    assert sight is not None
    before = sight.things[0]
    center.step(InputState(motion=(round((before.bearing + 20) / 0.25), 0)))
    sight = center.sight()
    assert sight is not None
    after = next(thing for thing in sight.things if thing.name == before.name)
    assert after.bearing == pytest.approx(-20.0, abs=2.0)


def test_rays_measure_the_distance_to_the_nearest_wall() -> None:
    square = np.array([[-10.0, -10, -10, 10], [-10, 10, 10, 10], [10, 10, 10, -10], [10, -10, -10, -10]])
    ranges = cast_rays(np.zeros(2), np.radians(np.array([0.0, 45.0, 90.0])), square)
    np.testing.assert_allclose(ranges, [10.0, 10.0 * 2**0.5, 10.0])


def test_a_crash_of_the_engine_is_a_game_error_and_the_next_reset_plays_again(center: DoomEnvironment) -> None:
    first, _ = center.reset(seed=1)
    os.kill(engine_of(center), signal.SIGKILL)
    with pytest.raises(GameError, match="died"):
        play_on(center)
    again, _ = center.reset(seed=1)
    assert np.array_equal(first, again)


def test_a_crash_of_the_engine_while_closing_is_no_error(center: DoomEnvironment) -> None:
    center.reset(seed=1)
    os.kill(engine_of(center), signal.SIGSEGV)
    center.close()


def test_the_engine_leaves_nothing_behind(
    center: DoomEnvironment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    center.reset(seed=1)
    folder, pid = center._running._folder, engine_of(center)
    center.close()
    assert list(tmp_path.iterdir()) == []
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_what_a_killed_player_left_is_swept_by_the_next_game(center: DoomEnvironment) -> None:
    code = """if True:
        import os
        from gi_data.envs.doom import DoomEnvironment
        env = DoomEnvironment("doom/basic")
        env.reset()
        folder = env._running._folder
        print(folder, (folder / "instance").read_text(), flush=True)
        os.kill(os.getpid(), 9)
    """
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    folder, instance = killed.stdout.split()
    shared = list(Path("/dev/shm").glob(f"*{instance}"))
    assert Path(folder).exists()
    assert shared
    center.reset(seed=1)
    assert not Path(folder).exists()
    assert not any(path.exists() for path in shared)


def test_a_window_without_a_display_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    for display in ("", ":4711"):
        monkeypatch.setenv("DISPLAY", display)
        with pytest.raises(GameError, match="no display"):
            check_display()


@pytest.mark.slow  # starts every shipped scenario, a quarter of a second each
@pytest.mark.parametrize("name", [name for name in list_scenarios() if name.startswith("doom/")])
def test_every_shipped_scenario_plays(name: str) -> None:
    env = DoomEnvironment(name)
    env.action_space.seed(0)
    env.reset(seed=1)
    for _ in range(20):
        env.step(env.action_space.sample())
    assert env.bindings.digital or env.bindings.analogue
    env.close()

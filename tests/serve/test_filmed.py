"""A filmed game is the game; the film shows every tick, and what the game really got."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gi_data.envs.realtime import RealTimeEnvironment
from gi_data.video import read_pictures
from gi_model.actions import NEUTRAL, AxisBinding, Bindings, InputState
from gi_model.cli import build_app
from gi_model.errors import CorpusError
from gi_serve.filmed import FilmedEnvironment
from gi_serve.play import play_episode
from tests.serve.fake_game import CountingGame
from tests.serve.fake_steppers import EchoStepper
from tests.serve.pictures import see_identity
from tests.serve.serving import serving


def film_of(folder: Path, seed: int) -> tuple[list[int], list[dict[str, Any]], dict[str, Any]]:
    """What the frames of an episode's film show, its inputs, and what is known of it."""
    shown = [see_identity(picture()) for _t_ns, picture in read_pictures(folder / f"counting-{seed}-0000.mp4")]
    lines = (folder / f"counting-{seed}-0000.inputs.jsonl").read_text().splitlines()
    return shown, [json.loads(each) for each in lines], json.loads((folder / f"counting-{seed}-0000.json").read_text())


@pytest.mark.parametrize("realtime", [True, False])
def test_every_tick_is_filmed_with_what_was_held_after_it(tmp_path: Path, *, realtime: bool) -> None:
    game = CountingGame(num_ticks=20)
    filmed = FilmedEnvironment(game, tmp_path, player="policy echo")
    env = RealTimeEnvironment(filmed) if realtime else filmed
    with serving(EchoStepper()) as running, running.session() as session:
        for seed in (3, 4):
            play_episode(env, session, seed=seed)
    held = [game.held[2 * tick : 2 * tick + 2] for tick in range(20)]  # of the last episode, by substep
    env.close()
    for seed in (3, 4):
        shown, inputs, facts = film_of(tmp_path, seed)
        assert shown == list(range(20))
        assert len(inputs) == 20
        assert (facts["demonstrator"], facts["seed"], facts["source"]) == ("policy echo", seed, "gi play")
    assert [InputState.from_dict({"keys": row.get("keys", [])}).keys for row in inputs] == [
        first.keys | second.keys for first, second in held
    ]


def test_motion_is_counted_once_however_the_tick_is_played(tmp_path: Path) -> None:
    moved = InputState(motion=(10, -4))
    axes = {"yaw": AxisBinding("motion.x", 1.0), "pitch": AxisBinding("motion.y", 1.0)}
    games = [CountingGame(), CountingGame()]
    for game in games:
        game.bindings = Bindings(analogue=axes)
    by_step, by_substep = (
        FilmedEnvironment(game, tmp_path / name, player="x") for game, name in zip(games, "ab", strict=True)
    )
    for env in (by_step, by_substep):
        env.reset(seed=1)
    by_step.step(moved)
    for _ in range(2):
        by_substep.advance(moved)
    by_substep.observe()
    for env, name in ((by_step, "a"), (by_substep, "b")):
        env.close()
        (row,) = film_of(tmp_path / name, 1)[1]
        assert row["motion"] == [10, -4]


def test_an_episode_cut_short_is_a_film_and_one_without_a_tick_is_none(tmp_path: Path) -> None:
    env = FilmedEnvironment(CountingGame(), tmp_path, player="x")
    env.reset(seed=1)
    env.reset(seed=2)
    env.step(NEUTRAL)
    env.close()
    env.close()
    assert [path.name for path in sorted(tmp_path.glob("*.mp4"))] == ["counting-2-0000.mp4"]


def test_a_film_that_exists_is_not_overwritten(tmp_path: Path) -> None:
    for _ in range(2):
        env = FilmedEnvironment(CountingGame(), tmp_path, player="x")
        if list(tmp_path.glob("*.mp4")):
            with pytest.raises(CorpusError, match="exists"):
                env.reset(seed=1)
        else:
            env.reset(seed=1)
            env.step(NEUTRAL)
        env.close()


def test_the_command_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gi_data.envs.make_environment", lambda _name: CountingGame(num_ticks=10))
    with serving(EchoStepper()) as running:
        command = ["play", "counting", "--server", running.url, "--seed", "5", "--fps", "50", "--json"]
        result = CliRunner().invoke(build_app(), [*command, "--record", str(tmp_path)])
    assert result.exit_code == 0, result.output
    seconds = json.loads(result.stdout)["episodes"][0]["seconds"]
    assert seconds >= 10 / 50
    assert film_of(tmp_path, 5)[0] == list(range(10))

"""Laws of the harness, in a game made up for it: seeds decide scores, players only speed; nothing finished is lost."""

import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from gi_data.envs import EVAL_SEED_START
from gi_model.errors import ConfigError, GameError
from gi_train.cli_evaluate import split_agents
from gi_train.episodes import Episode, EpisodeResult, ResultsFile
from gi_train.evaluate import Evaluation, evaluate
from gi_train.players import Schedule
from gi_train.trace import Trace
from tests.train.fake_game import MAKERS


def play(evaluation: Evaluation, file: ResultsFile | None = None) -> tuple[list[EpisodeResult], str]:
    """Results, and what was said."""
    said = io.StringIO()
    results = evaluate(evaluation, file or ResultsFile(), makers=MAKERS, console=Console(file=said, width=200))
    return results, said.getvalue()


STEADY = Evaluation(agents=("random",), games=("fake/steady",), num_episodes=6, num_players=2)


def outcome(result: EpisodeResult) -> tuple[str, str, int, float, int]:
    return (result.game, result.agent, result.seed, result.score, result.ticks)


def test_the_number_of_players_does_not_change_results() -> None:
    alone, _ = play(replace(STEADY, num_players=1))
    together, _ = play(replace(STEADY, num_players=5))
    assert [outcome(result) for result in alone] == [outcome(result) for result in together]
    assert len({result.score for result in alone}) > 1


def test_every_episode_has_its_own_seed_never_recorded() -> None:
    results, _ = play(STEADY)
    assert [result.seed for result in results] == [EVAL_SEED_START + index for index in range(6)]
    with pytest.raises(ConfigError, match="not for evaluation"):
        Evaluation(agents=("idle",), games=("fake/steady",), seed_start=EVAL_SEED_START - 1)


def test_finished_episodes_are_not_played_again(tmp_path: Path) -> None:
    file = ResultsFile(tmp_path / "results.jsonl")
    first, _ = play(replace(STEADY, num_episodes=3), file)
    marked = [replace(result, score=-1.0) for result in first]
    (tmp_path / "results.jsonl").unlink()
    for result in marked:
        file.append(result)
    second, _ = play(STEADY, file)
    assert second[:3] == marked
    assert len(second) == len(file.read()) == 6


def test_an_episode_that_was_cut_off_is_played_again(tmp_path: Path) -> None:
    file = ResultsFile(tmp_path / "results.jsonl")
    whole, _ = play(replace(STEADY, num_episodes=3), file)
    assert file.path is not None
    file.path.write_bytes(file.path.read_bytes()[:-20])
    again, _ = play(replace(STEADY, num_episodes=3), file)
    assert [outcome(result) for result in again] == [outcome(result) for result in whole]
    assert len(file.read()) == 3


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text('{"step": 1}\n')
    with pytest.raises(ConfigError, match="not an episode result"):
        ResultsFile(path).read()


def test_a_player_that_died_is_replaced_and_its_episode_played_once_more(tmp_path: Path) -> None:
    mortal = replace(STEADY, games=(f"fake/mortal:{tmp_path}",))
    results, said = play(mortal)
    steady, _ = play(STEADY)
    assert [result.attempts for result in results] == [1, 2] * 3, said
    assert [(r.seed, r.score) for r in results] == [(r.seed, r.score) for r in steady]
    assert said.count("playing it again") == 3


def test_episodes_that_fail_twice_stop_the_evaluation_and_keep_the_rest(tmp_path: Path) -> None:
    file = ResultsFile(tmp_path / "results.jsonl")
    doomed = replace(STEADY, games=("fake/steady", "fake/doomed"))
    with pytest.raises(GameError, match="failed twice"):
        play(doomed, file)
    assert all(result.game == "fake/steady" for result in file.read())


def test_a_bug_in_a_game_is_an_error_with_its_name_not_a_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(GameError, match="ZeroDivisionError: a bug"):
        play(replace(STEADY, games=("fake/broken",)))
    assert "Traceback" not in capfd.readouterr().err


def test_an_unknown_agent_ends_it_at_once() -> None:
    with pytest.raises(ConfigError, match="unknown agent"):
        play(replace(STEADY, agents=("nobody",)))


def test_the_first_episode_of_a_game_leaves_a_trace(tmp_path: Path) -> None:
    results, _ = play(replace(STEADY, agents=("slow:0",), traces=tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["fake-steady.npz"]
    trace = Trace.read(tmp_path / "fake-steady.npz")
    assert len(trace.frames) == len(trace.moments) == results[0].ticks
    assert trace.seed == results[0].seed
    assert trace.controls == {"KeyW": "go"}
    assert trace.moments[-1].score == results[0].score
    assert trace.moments[0].confidence == {"keys": 0.5}
    assert trace.moments[0].inputs.keys == {"KeyW"}
    assert [int(frame[0, 0, 0]) for frame in trace.frames[:3]] == [0, 2, 4]  # what it saw before it acted


def test_a_damaged_trace_says_so(tmp_path: Path) -> None:
    (tmp_path / "trace.npz").write_bytes(b"PK nothing")
    with pytest.raises(GameError, match="not a trace"):
        Trace.read(tmp_path / "trace.npz")


def test_long_games_go_first_once_it_is_known_which_they_are() -> None:
    episodes = [Episode(game, "idle", "idle", seed) for game in ("short", "long") for seed in range(3)]
    schedule = Schedule(episodes)
    assert {schedule.take().game, schedule.take().game} == {"short", "long"}  # unknown: one of each
    for game, seconds in (("short", 1.0), ("long", 9.0)):
        schedule.learn(EpisodeResult(game, "idle", 0, False, 0.0, 1, seconds))
    assert [schedule.take().game for _ in range(len(schedule))] == ["long", "long", "short", "short"]


def test_players_of_a_remote_agent_need_no_torch() -> None:
    code = (
        "import sys, gi_train.players, gi_serve.remote_agent; sys.exit('torch' in sys.modules or 'av' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_in_real_time_every_frame_is_answered_or_dropped() -> None:
    live = replace(STEADY, realtime=True, num_episodes=2)
    (quick, *_), _ = play(replace(live, agents=("slow:0",)))
    (slow, *_), _ = play(replace(live, agents=("slow:0.12",)))
    for result in (quick, slow):
        assert result.realtime
        assert result.ticks == len(result.latency_ms) + result.dropped
        assert result.seconds > 0.9 * result.ticks / 20.0  # the clock ran at the game's speed
    assert slow.ticks == quick.ticks  # the game did not wait
    assert slow.late == len(slow.latency_ms)
    assert slow.dropped > slow.ticks / 2
    assert min(slow.latency_ms) >= 120.0
    assert quick.dropped < quick.ticks / 2


def test_modes_do_not_share_results(tmp_path: Path) -> None:
    file = ResultsFile(tmp_path / "results.jsonl")
    one = replace(STEADY, num_episodes=1)
    play(one, file)
    play(replace(one, realtime=True), file)
    assert [result.realtime for result in file.read()] == [False, True]


def test_a_real_game_gives_the_same_scores_to_one_player_and_to_two() -> None:
    real = Evaluation(agents=("random",), games=("doom/gather",), num_episodes=3, num_players=1)
    quiet = Console(file=io.StringIO())
    alone = evaluate(real, ResultsFile(), console=quiet)
    together = evaluate(replace(real, num_players=2), ResultsFile(), console=quiet)
    assert [outcome(result) for result in alone] == [outcome(result) for result in together]
    assert all(result.ticks == 525 for result in alone)  # thirty seconds


def test_an_agents_options_stay_with_it() -> None:
    policy = "policy:runs/a+runs/b,keys=mode,motion=sample"
    assert split_agents(f"idle,{policy},http://127.0.0.1:8000") == ("idle", policy, "http://127.0.0.1:8000")

"""`gi record`: what was played is what is stored, in parallel as alone, and nothing finished is ever lost."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gi_data.agents import make_agent
from gi_data.cli_record import summarise
from gi_data.corpus import Corpus
from gi_data.demonstrations import body_of, take_demonstrations
from gi_data.demonstrators.perturbed import Perturbation
from gi_data.envs import EVAL_SEED_START, make_environment
from gi_data.metadata import ClipMetadata
from gi_data.reader import Reader, ReaderConfig
from gi_data.record import Recorder, RecordPlan
from gi_data.record_jobs import Tally, locked, record
from gi_data.recording import is_finished
from gi_model.errors import ConfigError, CorpusError

GAME = "doom/defend_the_center"
GI = [sys.executable, "-c", "from gi_model.cli import main; main()"]


def plan(out: Path, **changes: Any) -> RecordPlan:
    facts: dict[str, Any] = {"game": GAME, "out": out, "demonstrator": "random", "episodes": 2, "jobs": 2}
    return RecordPlan(**facts | changes)


def labels(out: Path, recording_id: str) -> list[dict[str, Any]]:
    paths = sorted(out.glob(f"{recording_id}-*.inputs.jsonl"))
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir() if path.suffix in (".json", ".jsonl", ".mp4")}


def start(out: Path, *flags: str) -> subprocess.Popen[str]:
    """`gi record` in a process group of its own, as a shell starts it."""
    command = [*GI, "record", "doom/health_gathering_supreme", "--out", str(out), *flags]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0)


@pytest.fixture
def short_episodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gi_data.envs.robots.environment.EPISODE_S", 2.0)


def wait_for_finished(out: Path, count: int) -> None:
    until = time.monotonic() + 90
    while sum('num_parts": null' not in path.read_text() for path in out.glob("*-0000.json")) < count:
        assert time.monotonic() < until, "nothing was recorded"
        time.sleep(0.02)


def games_below(out: Path) -> list[str]:
    """Command lines of processes that belong to a recording into `out`."""
    found = subprocess.run(["pgrep", "-af", str(out)], capture_output=True, text=True, check=False)
    return found.stdout.splitlines()


def test_labels_are_the_intents_at_each_frame_also_when_perturbed(tmp_path: Path) -> None:
    recorder = Recorder(plan(tmp_path, demonstrator="scripted", perturb=True))
    recorded = recorder.record(5)
    recorder.close()

    env = make_environment(GAME)
    player, shove = make_agent("demonstrator", env), Perturbation(env.bindings, seed=5)
    frame, _ = env.reset(seed=5)
    player.reset(seed=5)
    stored = labels(tmp_path, plan(tmp_path, demonstrator="scripted", perturb=True).recording_id(5))
    differ = 0
    for tick, line in enumerate(stored):
        intent = player.act(frame)
        assert line == {"t_ns": round(tick * 1e9 / env.fps), "known": True} | intent.to_dict()
        executed = shove.apply(intent)
        differ += executed != intent
        frame, _, terminated, _, info = env.step(executed)
    assert terminated
    assert differ > 0
    assert (len(stored), info["score"]) == (recorded.ticks, recorded.score)
    env.close()


def test_parallel_recording_equals_one_at_a_time_and_runs_again_for_nothing(tmp_path: Path) -> None:
    alone = record(plan(tmp_path / "alone", jobs=1, episodes=3))
    together = record(plan(tmp_path / "together", jobs=3, episodes=3))
    assert contents(tmp_path / "alone") == contents(tmp_path / "together")
    assert sorted(together.recorded, key=lambda episode: episode.seed) == alone.recorded

    before = contents(tmp_path / "alone")
    again = record(plan(tmp_path / "alone", jobs=1, episodes=3))
    assert (again.recorded, again.found) == ([], alone.recorded)
    assert contents(tmp_path / "alone") == before
    more = record(plan(tmp_path / "alone", jobs=1, episodes=4))
    assert [episode.seed for episode in more.recorded] == [3]


def test_hours_record_as_many_episodes_as_it_takes(tmp_path: Path) -> None:
    hours = 40 / 3600
    tally = record(plan(tmp_path, episodes=None, hours=hours, jobs=1))
    seconds = [episode.ticks / 17.5 for episode in tally.recorded]
    assert sum(seconds) >= 40
    assert sum(seconds[:-1]) < 40
    again = record(plan(tmp_path, episodes=None, hours=hours, jobs=1))
    assert again.recorded == []


def test_provenance_is_complete(tmp_path: Path) -> None:
    tally = record(plan(tmp_path, episodes=1, seed=9))
    path = tmp_path / f"{plan(tmp_path).recording_id(9)}-0000.json"
    metadata = ClipMetadata.from_json(path.read_bytes(), path.stem)
    env = make_environment(GAME)
    assert (metadata.info.game, metadata.info.seed, metadata.info.demonstrator) == (GAME, 9, "random")
    assert (metadata.info.fps, metadata.info.bindings) == (17.5, env.bindings)
    assert (metadata.info.height, metadata.info.width) == (120, 160)
    assert all((metadata.info.source, metadata.info.license, metadata.info.consent))
    assert metadata.score == tally.recorded[0].score


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": EVAL_SEED_START},
        {"seed": EVAL_SEED_START - 1, "episodes": 2},
        {"seed": -1},
        {"episodes": None},
        {"hours": 1.0},
        {"episodes": 0},
        {"episodes": None, "hours": float("nan")},
        {"jobs": 0},
        {"demonstrator": "nobody"},
    ],
)
def test_plans_that_cannot_work_are_refused_before_anything_is_played(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        plan(tmp_path, **changes)


def test_hours_do_not_run_into_the_seeds_of_evaluation(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="evaluation"):
        record(plan(tmp_path, seed=EVAL_SEED_START - 1, episodes=None, hours=1.0, jobs=1))


def test_an_unknown_game_or_demonstrator_is_told_before_long(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="defend_the_center"):
        record(plan(tmp_path, game="doom/defend_the_centre"))
    with pytest.raises(ConfigError, match="no scripted demonstrator"):
        record(plan(tmp_path, game="doom/basic", demonstrator="scripted"))


def test_two_recorders_do_not_share_a_folder(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(CorpusError, match="another gi record"):
        record(plan(tmp_path))


def test_a_worker_that_dies_loses_one_episode_which_is_recorded_by_the_next_call(tmp_path: Path) -> None:
    killed: list[int] = []

    def kill_once(tally: Tally) -> None:
        for line in games_below_python():
            if not killed and tally.ticks > 50:
                killed.append(int(line.split()[0]))
                os.kill(killed[0], signal.SIGKILL)

    def games_below_python() -> list[str]:
        found = subprocess.run(
            ["pgrep", "-P", str(os.getpid()), "-f", "multiprocessing.spawn"],
            capture_output=True,
            text=True,
            check=False,
        )
        return found.stdout.splitlines()

    tally = record(plan(tmp_path, demonstrator="scripted", episodes=3, jobs=1), kill_once)
    assert killed
    assert len(tally.lost) == 1
    assert len(tally.recorded) == 2
    again = record(plan(tmp_path, demonstrator="scripted", episodes=3, jobs=1))
    assert len(again.finished) == 3
    assert again.recovered.num_ticks or again.recovered.lost


def test_a_game_that_dies_every_time_ends_the_run(tmp_path: Path) -> None:
    def starve() -> None:  # no room for the memory that the engine shares: every start fails
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    command = [*GI, "record", GAME, "--out", str(tmp_path), "--episodes", "9", "--jobs", "1"]
    run = subprocess.run(command, capture_output=True, text=True, preexec_fn=starve, timeout=120, check=False)
    assert run.returncode == 1
    assert "its process died" in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.slow  # starts whole recorders and kills them
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_killed_in_the_middle_the_finished_stay_and_the_next_call_does_the_rest(
    tmp_path: Path, how: signal.Signals
) -> None:
    process = start(tmp_path, "--episodes", "6", "--jobs", "2")
    wait_for_finished(tmp_path, 1)
    names = [path.name for path in tmp_path.iterdir() if is_done(tmp_path, path.name)]
    finished = {name: (tmp_path / name).read_bytes() for name in names}
    os.killpg(process.pid, how)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[how]
    assert "Traceback" not in errors
    until = time.monotonic() + 20
    while games_below(tmp_path):
        assert time.monotonic() < until, games_below(tmp_path)
        time.sleep(0.1)
    assert {name: data for name, data in contents(tmp_path).items() if name in finished} == finished

    again = start(tmp_path, "--episodes", "6", "--jobs", "2", "--json")
    output, errors = again.communicate(timeout=120)
    assert again.returncode == 0, errors
    summary = json.loads(output)
    assert summary["episodes"] == 6
    assert not summary["lost"]
    assert {name: data for name, data in contents(tmp_path).items() if name in finished} == finished


def is_done(out: Path, name: str) -> bool:
    recording_id = name.split(".")[0].rpartition("-")[0]
    return bool(recording_id) and is_finished(out, recording_id)


def test_a_full_disk_is_told_and_what_was_finished_is_kept(tmp_path: Path) -> None:
    recorder = Recorder(plan(tmp_path))
    recorder.record(0)
    kept = contents(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:  # the kernel refuses the next file in its middle, as a full disk does
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
        with pytest.raises(CorpusError, match="cannot write"):
            recorder.record(1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        recorder.close()
    assert {name: data for name, data in contents(tmp_path).items() if name in kept} == kept
    tally = record(plan(tmp_path))
    assert len(tally.finished) == 2
    assert {name: data for name, data in contents(tmp_path).items() if name in kept} == kept


def test_the_summary_counts_all_episodes_of_the_plan(tmp_path: Path) -> None:
    tally = record(plan(tmp_path, episodes=1))
    summary = summarise(plan(tmp_path, episodes=1), tally, seconds=1.0)
    assert (summary["episodes"], summary["frames"]) == (1, tally.recorded[0].ticks)
    assert summary["mean_score"] == tally.recorded[0].score
    assert np.isfinite(summary["mean_score"])
    assert json.loads(json.dumps(summary)) == summary


@pytest.mark.usefixtures("short_episodes")
@pytest.mark.parametrize("perturb", [False, True])
def test_commands_of_a_body_reach_a_batch_as_they_were_recorded(
    tmp_path: Path, make_corpus: Any, perturb: bool
) -> None:
    """Recorded are those that were meant, which shoves do not change; the body is found in the demonstrations."""
    recorder = Recorder(plan(tmp_path, game="robot/rover_direct", demonstrator="scripted", perturb=perturb))
    told: dict[str, Any] = {}
    for seed in (3, 4):
        recorder.record(seed)
        recording_id = recorder._plan.recording_id(seed)
        told[f"{recording_id}-0000"] = np.array([row["commands"] for row in labels(tmp_path, recording_id)], np.float32)
    recorder.close()
    found = take_demonstrations(make_corpus(tmp_path, tmp_path / "corpus"), tmp_path / "view")
    body = body_of(found)
    assert body == recorder._env.embodiment  # type: ignore[attr-defined]
    with Reader(Corpus(found.folder), ReaderConfig(height=60, width=80, window_ticks=5, num_commands=2)) as reader:
        batch = next(iter(reader))
    assert batch.commands is not None
    assert len(np.unique(batch.commands)) > 20
    for (key, start), commands in zip(batch.windows, batch.commands.numpy(), strict=True):
        np.testing.assert_array_equal(commands, told[key][start : start + 5])

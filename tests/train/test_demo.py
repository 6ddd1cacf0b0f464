"""Laws of the stages: what is finished is kept, what changed is made anew, what fails says how to run it again."""

import io
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from gi_model.errors import ConfigError, ServeError
from gi_train.demo import Demo, DemoPaths, plan_stages, wait_until_ready
from gi_train.demo_stages import Command, Stage, StageError, Stages

COUNT = "import sys, pathlib; p = pathlib.Path(sys.argv[1]); p.write_text((p.read_text() if p.exists() else '') + 'x')"


@pytest.fixture
def said() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def stages(tmp_path: Path, said: io.StringIO) -> Stages:
    return Stages(tmp_path / "demo", Console(file=said, width=300))


def python(code: str, *words: object) -> Command:
    return (sys.executable, "-c", code, *map(str, words))


def counting(tmp_path: Path, name: str = "count", after: tuple[Stage, ...] = ()) -> Stage:
    """A stage whose output has one letter for each time it ran on top of what was there."""
    output = tmp_path / f"{name}.txt"
    return Stage(name, (python(COUNT, output),), (output,), after)


def runs(stage: Stage) -> int:
    return len(stage.outputs[0].read_text())


def test_a_finished_stage_is_kept_by_the_next_call(stages: Stages, said: io.StringIO, tmp_path: Path) -> None:
    stage = counting(tmp_path)
    stages.run(stage)
    Stages(stages.folder, Console(file=said)).run(stage)
    assert runs(stage) == 1
    assert "kept" in said.getvalue()
    assert set(stages.seconds([stage])) == {"count"}


def test_a_stage_whose_output_is_gone_runs_again(stages: Stages, tmp_path: Path) -> None:
    stage = counting(tmp_path)
    stages.run(stage)
    stage.outputs[0].unlink()
    stages.run(stage)
    assert runs(stage) == 1


def test_other_settings_remove_what_the_stage_wrote_before(stages: Stages, tmp_path: Path) -> None:
    stage = counting(tmp_path)
    stages.run(stage)
    stages.run(replace(stage, commands=(*stage.commands, *stage.commands)))
    assert runs(stage) == 2  # not 3: it began from nothing


def test_other_settings_of_an_earlier_stage_reach_every_later_one(tmp_path: Path) -> None:
    first = counting(tmp_path, "first")
    changed = replace(first, commands=first.commands * 2)
    second, beside = counting(tmp_path, "second", (first,)), counting(tmp_path, "beside")
    assert replace(second, after=(changed,)).fingerprint != second.fingerprint
    assert counting(tmp_path, "beside").fingerprint == beside.fingerprint


def test_a_failed_stage_names_its_command_and_goes_on_from_what_it_has(stages: Stages, tmp_path: Path) -> None:
    output = tmp_path / "half.txt"
    failing = python(COUNT + "; sys.exit(len(p.read_text()) < 2 and 3)", output)
    stage = Stage("half", (failing,), (output,))
    with pytest.raises(StageError, match="stage half failed; got exit 3") as caught:
        stages.run(stage)
    assert shlex.join(failing) in str(caught.value)
    stages.run(stage)
    assert runs(stage) == 2  # what the first try left was there


def test_a_failed_stage_keeps_those_before_it(stages: Stages, tmp_path: Path) -> None:
    first = counting(tmp_path, "first")
    stages.run(first)
    with pytest.raises(StageError):
        stages.run(Stage("second", (python("raise SystemExit(1)"),), (), (first,)))
    stages.run(first)
    assert runs(first) == 1


def test_a_background_stage_runs_beside_and_shows_the_end_of_its_log(
    stages: Stages, said: io.StringIO, tmp_path: Path
) -> None:
    stage = counting(tmp_path)
    running = stages.start(stage)
    stages.run(counting(tmp_path, "other"))
    stages.wait(running)
    assert stages.start(stage) is None
    with pytest.raises(StageError):
        stages.wait(stages.start(Stage("loud", (python("print('why'); raise SystemExit(2)"),), ())))
    assert "why" in said.getvalue()


def test_leaving_ends_every_child(tmp_path: Path) -> None:
    sleeping = Stage("sleep", (python("import time; time.sleep(600)"),), ())
    with Stages(tmp_path, Console(file=io.StringIO())) as stages:
        running = stages.start(sleeping)
        assert running is not None
    assert running.process.returncode == -signal.SIGTERM


def test_ctrl_c_ends_the_children_and_keeps_what_is_finished(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from rich.console import Console
from gi_train.demo_stages import Stage, Stages
folder = Path(sys.argv[1])
sleep = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(600)"
quick = Stage("quick", ((sys.executable, "-c", "pass"),), ())
slow = Stage("slow", ((sys.executable, "-c", sleep, str(folder / "pid")),), ())
with Stages(folder, Console()) as stages:
    stages.run(quick)
    stages.run(slow)
"""
    child = subprocess.Popen(python(program, tmp_path), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    give_up = time.monotonic() + 30
    while not ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text()) and time.monotonic() < give_up:
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    child.wait(20)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
    finished = {
        name: json.loads((tmp_path / "stamps" / f"{name}.json").read_text())["is_finished"]
        for name in ("quick", "slow")
    }
    assert finished == {"quick": True, "slow": False}


def test_the_server_is_used_when_it_says_it_is_ready(stages: Stages) -> None:
    announce = "print('loading'); print('{\"url\": \"http://127.0.0.1:7\"}', flush=True); import time; time.sleep(600)"
    with stages.beside("serve", python(announce)) as server:
        assert wait_until_ready(server) == "http://127.0.0.1:7"
    assert server.process.returncode is not None
    with stages.beside("serve", python("raise SystemExit(4)")) as server, pytest.raises(ServeError, match="exit 4"):
        wait_until_ready(server)


def test_minutes_scale_the_demo_but_leave_enough_episodes(tmp_path: Path) -> None:
    games = ["doom/gather"]
    whole, short, long = (Demo.sized(minutes, games=games, out=tmp_path) for minutes in (10, 1, 30))
    assert short.num_steps * 10 == whole.num_steps
    assert (short.num_episodes, whole.num_episodes, long.num_episodes) == (5, 40, 40)
    with pytest.raises(ConfigError, match="minutes"):
        Demo.sized(0, games=games, out=tmp_path)


def test_a_training_seed_changes_the_policy_but_not_the_baselines(tmp_path: Path) -> None:
    zero, one = (plan_stages(Demo.sized(10, games=["doom/gather"], out=tmp_path, seed=seed)) for seed in (0, 1))
    assert zero.pretrain.fingerprint != one.pretrain.fingerprint
    assert zero.play.fingerprint != one.play.fingerprint
    assert zero.baselines.fingerprint == one.baselines.fingerprint


def test_every_stage_is_a_command_that_gi_has(tmp_path: Path) -> None:
    import typer.main

    from gi_model.cli import build_app

    root = typer.main.get_command(build_app())
    plan = plan_stages(Demo.sized(10, games=["doom/gather"], out=tmp_path))
    for stage in plan.all:
        for words in stage.commands:
            assert words[0] == "gi"
            root.commands[words[1]].make_context(words[1], list(words[2:]))  # type: ignore[attr-defined]
    assert DemoPaths(tmp_path).report in plan.report.outputs

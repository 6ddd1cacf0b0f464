"""`gi ingest` as a user meets it: killed, interrupted, told to skip, and asked what there is."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from gi_data import cli_ingest
from gi_data.inputs_table import Labels
from gi_data.planning import plan
from gi_data.recovery import scan
from gi_data.shards import ShardConfig, build
from gi_data.video import read_pictures
from gi_data.video_writer import VideoWriter
from gi_model.errors import ConfigError, CorpusError

SIZE = ("--height", "32", "--width", "96")


def gi(*arguments: object) -> Result:
    app = typer.Typer()
    cli_ingest.register(app)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def write_pairs(folder: Path, barcodes: Any, *, count: int, num_frames: int = 60) -> Path:
    """Videos whose picture n shows n, and whose inputs at its time say n."""
    folder.mkdir()
    moves = "".join(f"{n / 20:.3f},move,{n % 16},{n // 16}\n" for n in range(num_frames))
    for index in range(count):
        writer = VideoWriter(folder / f"run{index}.mp4", fps=20.0, height=barcodes.height, width=barcodes.width)
        for number in range(num_frames):
            writer.append(barcodes.frame(number))
        writer.close()
        (folder / f"run{index}.inputs.csv").write_text(f"# game: count\n{moves}")
    return folder


def check_recordings(folder: Path, barcodes: Any, *, count: int, num_frames: int) -> None:
    """All are there, whole, and right."""
    assert scan(folder).unfinished == ()
    for index in range(count):
        numbers: list[int] = []
        for path in sorted(folder.glob(f"run{index}-*.mp4")):
            labels = Labels.from_lines(path.with_suffix(".inputs.jsonl").read_bytes(), path.stem)
            shown = [barcodes.number(rgb()) for _, rgb in read_pictures(path)]
            assert shown == [barcodes.number_of(state) for state in labels.inputs]
            numbers += shown
        assert numbers == list(range(num_frames))


def test_a_folder_becomes_recordings_that_can_be_sharded(tmp_path: Path, barcodes: Any) -> None:
    source = write_pairs(tmp_path / "src", barcodes, count=3)
    facts = json.loads(gi("ingest", "pair", source, tmp_path / "out", *SIZE, "--workers", 2, "--json").stdout)
    assert (facts["recordings"], facts["ticks"], facts["failed"]) == (3, 180, {})
    check_recordings(tmp_path / "out", barcodes, count=3, num_frames=60)
    assert build(plan([tmp_path / "out"], tmp_path / "corpus", val_fraction=0.0), ShardConfig()).num_new == 3


def test_people_are_told_what_became_of_it_and_what_to_do_next(tmp_path: Path, barcodes: Any) -> None:
    source = write_pairs(tmp_path / "src", barcodes, count=1)
    with (source / "run0.inputs.csv").open("a") as file:
        file.write("2.96,press,KeyP\n2.97,press,KeyOfMyHeart\n")
    shown = gi("ingest", "pair", source, tmp_path / "out", *SIZE).stdout
    for text in ("1 recordings", "60 ticks", "KeyOfMyHeart 1", "1 presses of controls outside", "next: gi shard"):
        assert text in shown
    assert "KeyP" not in shown
    assert "1 recordings were finished before" in gi("ingest", "pair", source, tmp_path / "out", *SIZE).stdout


def test_failures_are_counted_against_what_was_allowed(tmp_path: Path, barcodes: Any) -> None:
    source = write_pairs(tmp_path / "src", barcodes, count=2)
    (source / "run1.inputs.csv").write_text("0,jump,1\n")
    result = gi("ingest", "pair", source, tmp_path / "out", *SIZE)
    assert result.exit_code == 1
    assert "run1: run1.inputs.csv, line 1, cannot be read" in result.stdout
    assert gi("ingest", "pair", source, tmp_path / "out", *SIZE, "--skip-damaged", 1).exit_code == 0


def test_bindings_and_provenance_of_the_user_are_used(tmp_path: Path, barcodes: Any) -> None:
    source = write_pairs(tmp_path / "src", barcodes, count=1)
    (tmp_path / "game.toml").write_text('[analogue.turn]\naxis = "motion.x"\nscale = 0.5\n')
    arguments = ("--bindings", tmp_path / "game.toml", "--game", "other", "--license", "MIT", "--consent", "signed")
    gi("ingest", "pair", source, tmp_path / "out", *SIZE, *arguments)
    metadata = json.loads((tmp_path / "out" / "run0-0000.json").read_bytes())
    assert (metadata["game"], metadata["license"], metadata["consent"]) == ("other", "MIT", "signed")
    assert list(metadata["bindings"]["analogue"]) == ["turn"]
    labels = Labels.from_lines((tmp_path / "out" / "run0-0000.inputs.jsonl").read_bytes(), "run0")
    assert max(state.motion[1] for state in labels.inputs) == 0


@pytest.mark.parametrize(
    "content", ["", "[digital", '[digital]\njump = "KeyOfMyHeart"', '[keys]\na = "KeyA"', "digital = 3"]
)
def test_bindings_that_are_none_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "game.toml").write_text(content)
    with pytest.raises(ConfigError, match=r"game\.toml"):
        gi("ingest", "pair", tmp_path, tmp_path / "out", "--bindings", tmp_path / "game.toml")


def test_unknown_formats_and_empty_folders_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such format.*pair.*recording"):
        gi("ingest", "betamax", tmp_path, tmp_path / "out")
    with pytest.raises(CorpusError, match="no recordings of format pair"):
        gi("ingest", "pair", tmp_path, tmp_path / "out")
    assert gi("ingest", "pair", tmp_path).exit_code == 2


def test_formats_say_what_they_are_and_how_their_labels_lie() -> None:
    facts = json.loads(gi("formats", "--json").stdout)
    assert {"owa", "owl-control", "vpt", "csgo", "open-p2p", "nitrogen", "lerobot", "pair", "recording"} <= set(facts)
    assert "times of the video" in facts["pair"]["offset"]
    assert "recording" in gi("formats").stdout


def test_calibrate_writes_nothing_and_says_so_if_it_cannot_tell(tmp_path: Path, barcodes: Any) -> None:
    source = write_pairs(tmp_path / "src", barcodes, count=1)
    result = gi("ingest", "pair", source, "--calibrate", "--workers", 1)
    assert result.exit_code == 1
    assert "No recording can be trusted" in result.stdout
    facts = json.loads(gi("ingest", "pair", source, "--calibrate", "--json", "--workers", 1).stdout)
    assert facts["offset_ms"] is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["src"]


def start(source: Path, out: Path) -> "subprocess.Popen[bytes]":
    """As a user runs it, in two processes."""
    code = "from gi_model.cli import main; main()"
    command = [sys.executable, "-c", code, "ingest", "pair", str(source), str(out), *SIZE, "--workers", "2"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_until_first_is_finished(out: Path, running: "subprocess.Popen[bytes]") -> None:
    """Return in the middle: one recording is done, others are under way."""
    for _ in range(6000):
        if any(b'"num_parts": null' not in path.read_bytes() for path in out.glob("run?-0000.json")):
            return
        assert running.poll() is None
        time.sleep(0.005)
    raise AssertionError("nothing was ever finished")


@pytest.mark.parametrize(
    "end",  # one in the default suite: two runs of five recordings each
    [signal.SIGKILL, *(pytest.param(end, marks=pytest.mark.slow) for end in (signal.SIGINT, signal.SIGTERM))],
)
def test_whatever_ends_it_the_same_command_does_the_rest(tmp_path: Path, barcodes: Any, end: signal.Signals) -> None:
    source, out = write_pairs(tmp_path / "src", barcodes, count=5, num_frames=800), tmp_path / "out"
    with start(source, out) as running:
        wait_until_first_is_finished(out, running)
        os.kill(running.pid, end)
        assert running.wait(30) != 0
    finished = {path.name: path.stat().st_mtime_ns for path in out.glob("run?-0000.json")}
    done = [name for name in finished if b'"num_parts": null' not in (out / name).read_bytes()]
    assert 0 < len(done) < 5
    with start(source, out) as running:
        assert running.wait(120) == 0
    for name in done:
        assert (out / name).stat().st_mtime_ns == finished[name]
    check_recordings(out, barcodes, count=5, num_frames=800)


def test_machines_share_the_work_by_parts(tmp_path: Path, barcodes: Any) -> None:
    """Each recording is some part's, none is two parts', and a part without any is no error."""
    source = write_pairs(tmp_path / "source", barcodes, count=3)
    made = []
    for part in ("0/4", "1/4", "2/4", "3/4"):
        result = gi("ingest", "pair", source, tmp_path / part[0], *SIZE, "--part", part, "--workers", "1", "--json")
        assert result.exit_code == 0
        made += [one["recording_id"] for one in json.loads(result.stdout)["each"]]
    assert sorted(made) == ["run0", "run1", "run2"]


@pytest.mark.parametrize("part", ["4/4", "-1/4", "1", "a/b", "0/0"])
def test_a_part_that_cannot_be_is_refused(tmp_path: Path, barcodes: Any, part: str) -> None:
    with pytest.raises(ConfigError, match="part"):
        gi("ingest", "pair", tmp_path, tmp_path / "out", "--part", part)

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from gi_data import cli_corpus
from gi_data.recording import RecordingWriter
from gi_model.errors import ClipError, CorpusError


def gi(*arguments: object) -> Result:
    app = typer.Typer()
    cli_corpus.register(app)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_shard_then_stats_then_verify(recordings: Path, tmp_path: Path) -> None:
    made = json.loads(gi("shard", recordings, tmp_path, "--shard-mb", 0.03, "--json").stdout)
    assert (made["new_clips"], made["clips"], made["damaged"], made["unfinished"]) == (18, 18, [], [])
    games = {game["game"]: game for game in json.loads(gi("stats", tmp_path, "--json").stdout)}
    assert {name: game["num_clips"] for name, game in games.items()} == {"arena": 9, "maze": 9, "all": 18}
    verified = json.loads(gi("verify", tmp_path, "--json").stdout)
    assert verified == {"num_shards": made["shards"], "num_clips": 18, "problems": {}}
    assert json.loads(gi("shard", recordings, tmp_path, "--json").stdout)["new_clips"] == 0


def test_people_get_a_table(corpus_path: Path) -> None:
    shown = gi("stats", corpus_path).stdout
    for word in ("arena", "maze", "KeyW", "CC0-1.0"):
        assert word in shown
    assert "18" in gi("verify", corpus_path).stdout


def test_index_rebuilds_what_was_lost(corpus_path: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(corpus_path, tmp_path / "corpus")
    (copy / "manifest.json").unlink()
    with pytest.raises(CorpusError, match="no corpus here"):
        gi("stats", copy)
    assert json.loads(gi("index", copy, "--json").stdout)["clips"] == 18
    assert (copy / "manifest.json").read_bytes() == (corpus_path / "manifest.json").read_bytes()


def test_verify_exits_with_1_and_names_the_clip(corpus_path: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(corpus_path, tmp_path / "corpus")
    with (copy / "train-000000.tar").open("rb+") as file:
        file.seek(2000)
        file.write(b"\x00\xff\x00\xff")
    result = gi("verify", copy, "--json")
    assert result.exit_code == 1
    problems = json.loads(result.stdout)["problems"]
    assert len(problems) == 2
    assert any("video of clip" in message for message in problems.values())


def test_damaged_recordings_stop_or_are_skipped(recordings: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(recordings, tmp_path / "recordings")
    (copy / "maze-0-0000.mp4").write_bytes(b"not a video")
    with pytest.raises(ClipError, match="maze-0-0000"):
        gi("shard", copy, tmp_path / "corpus")
    made = json.loads(gi("shard", copy, tmp_path / "corpus", "--skip-damaged", 1, "--json").stdout)
    assert made["clips"] == 17
    assert "maze-0-0000" in made["damaged"][0]


def test_cut_off_recordings_are_reported_and_recovered_on_request(tmp_path: Path, barcodes: Any) -> None:
    recordings = tmp_path / "recordings"
    barcodes.record(recordings, "whole", num_ticks=12)
    writer = RecordingWriter(recordings, "cut", barcodes.info())
    for number in range(12):
        writer.append(barcodes.frame(number), barcodes.state(number), t_ns=number)
    writer.abandon()
    made = json.loads(gi("shard", recordings, tmp_path / "corpus", "--json").stdout)
    assert (made["clips"], made["unfinished"]) == (1, ["cut-0000"])
    made = json.loads(gi("shard", recordings, tmp_path / "corpus", "--recover", "--json").stdout)
    assert (made["clips"], made["recovered"], made["unfinished"]) == (2, ["cut-0000"], [])


def test_one_folder_is_not_enough(tmp_path: Path) -> None:
    result = gi("shard", tmp_path)
    assert result.exit_code == 2
    assert "folder" in result.stderr

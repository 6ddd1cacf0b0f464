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


# ---------------------------------------------------------------------- views, questions, withdrawals


def test_merge_subset_curate_and_query_work_together(corpus_path: Path, tmp_path: Path) -> None:
    maze = json.loads(gi("subset", corpus_path, tmp_path / "maze", "--where", "game = 'maze'", "--json").stdout)
    assert maze["clips"] == 9
    merged = json.loads(gi("merge", tmp_path / "maze", corpus_path, tmp_path / "both", "--json").stdout)
    assert (merged["clips"], merged["doubled"], merged["moved_to_train"]) == (18, 9, [])
    (tmp_path / "curate.toml").write_text("[shortest]\nticks = 20\n")
    config = ("--config", tmp_path / "curate.toml")
    report = json.loads(gi("curate", tmp_path / "both", tmp_path / "long", *config, "--json").stdout)
    assert (report["clips_in"], report["clips_out"]) == (18, 12)
    assert "shortest" in gi("curate", tmp_path / "both", tmp_path / "long", *config).stdout
    sql = "select game, count(*) as clips from clips group by 1 order by 1"
    assert json.loads(gi("query", sql, "--corpus", tmp_path / "long", "--json").stdout) == [
        {"game": "arena", "clips": 6},
        {"game": "maze", "clips": 6},
    ]
    assert gi("query", sql, "--corpus", tmp_path / "long", "--csv").stdout == "game,clips\narena,6\nmaze,6\n"
    assert "arena" in gi("query", sql, "--corpus", tmp_path / "long").stdout
    assert json.loads(gi("verify", tmp_path / "long", "--json").stdout)["problems"] == {}


def test_the_example_of_a_configuration_is_printed() -> None:
    assert "[near_duplicate]\ndistance = 8" in gi("curate", "--example").stdout
    assert gi("curate").exit_code == 2


def test_revoke_then_compact(corpus_path: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(corpus_path, tmp_path / "corpus")
    revoked = json.loads(gi("revoke", copy, "maze-1", "--reason", "asked", "--json").stdout)
    assert (revoked["revoked"], revoked["num_clips"]) == (["maze-1"], 3)
    compacted = json.loads(gi("compact", copy, "--json").stdout)
    assert compacted["num_bytes"] > 0
    assert json.loads(gi("verify", copy, "--json").stdout)["problems"] == {}
    with pytest.raises(CorpusError, match="no recording maze-9"):
        gi("revoke", copy, "maze-9")
    gi("revoke", copy, "maze-9", "--ahead")

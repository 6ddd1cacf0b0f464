"""Robots' LeRobot datasets through an embodiment: commands become inputs and come back; what cannot be is refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from gi_data.embodied import embodied, read_embodied
from gi_data.ingest.convert import IngestConfig
from gi_data.ingest.ingest import IngestPlan, IngestReport, ingest
from gi_data.ingest.lerobot import LerobotImporter
from gi_data.inputs_table import Labels
from gi_data.lerobot_export import export_lerobot
from gi_data.metadata import ClipMetadata
from gi_data.recording import RecordingWriter
from gi_model.cli import build_app
from gi_model.embodiment import Camera, Embodiment, parse_embodiment
from tests.data.lerobot_files import FPS, FRONT, HEIGHT, WIDTH, write_dataset

BODY = parse_embodiment(
    """
name = "tractor"
fps = 20
command_hz = 100
watchdog_ms = 200
camera = {width = 96, height = 32, fps = 20}
[[actuators]]
name = "speed"
unit = "m/s"
neutral = 0.0
minimum = -1.0
maximum = 2.0
max_rate = 5.0
sources = [{control = "left_stick.y", scale = -2.0, deadband = 0.1}]
[[actuators]]
name = "steering"
unit = "rad"
neutral = 0.0
minimum = -0.6
maximum = 0.6
max_rate = 3.0
sources = [{control = "right_stick.x", scale = -0.6}]
"""
)
DIRECT = parse_embodiment(
    BODY.to_toml().replace(
        'sources = [\n  { control = "right_stick.x", scale = -0.6, deadband = 0.0 },\n]', "levels = 65"
    )
)
NAMES = ["lights", "steering", "speed"]


def commands(rows: int = 90) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """float32 (rows, 3): as `NAMES`, in another order than the embodiment's."""
    rng = np.random.default_rng(1)
    return np.stack(
        [rng.random(rows), rng.uniform(-0.6, 0.6, rows), rng.uniform(-1, 2, rows)], axis=1, dtype=np.float32
    )


def robot_dataset(root: Path, barcodes: Any, rows: Any, **changes: Any) -> Path:
    return write_dataset(root, barcodes, {"action": rows.tolist()}, names={"action": NAMES}, **changes)


def run(source: Path, destination: Path, body: Embodiment | None = BODY) -> IngestReport:
    config = IngestConfig(height=HEIGHT, width=WIDTH, clip_ticks=40)
    return ingest(IngestPlan(LerobotImporter(body), source, destination, config))


def labels_of(folder: Path) -> list[Labels]:
    paths = sorted(folder.glob("*.inputs.jsonl"))
    return [Labels.from_lines(path.read_bytes(), path.name) for path in paths]


def first_complaint(report: IngestReport) -> str:
    assert len(report.failures) == len(report.recordings)
    return report.failures[0].failure


def test_commands_become_the_inputs_that_give_them(tmp_path: Path, barcodes: Any) -> None:
    rows = commands()
    report = run(robot_dataset(tmp_path / "d", barcodes, rows), tmp_path / "r")
    assert not report.failures
    assert report.counts("unknown") == {"action/lights": 90}
    labels = labels_of(tmp_path / "r")
    assert [len(each) for each in labels] == [30, 30, 30]
    again = np.stack([BODY.command(state) for each in labels for state in each.inputs])
    np.testing.assert_allclose(again, rows[:, [2, 1]], atol=1e-6)
    assert all(each.known.all() for each in labels)
    path = next((tmp_path / "r").glob("*.json"))
    info = ClipMetadata.from_json(path.read_bytes(), path.stem).info
    assert read_embodied(info.extra, path.stem) == BODY
    assert info.bindings == BODY.bindings


def test_what_a_robot_recorded_comes_back_from_an_export(tmp_path: Path, barcodes: Any, make_corpus: Any) -> None:
    """Commands stand in `action`; inputs, metadata, and body come back exactly."""
    info = barcodes.info("robot/tractor", bindings=BODY.bindings, extra=embodied(BODY))
    with RecordingWriter(tmp_path / "recordings", "r", info, clip_ticks=40) as writer:
        for number, row in enumerate(commands(60)):
            state = BODY.inputs(row[[2, 1]])
            writer.append(barcodes.frame(number), state, t_ns=number * 50_000_000, known=number != 50)
    make_corpus(tmp_path / "recordings", tmp_path / "corpus")
    export_lerobot(tmp_path / "corpus", tmp_path / "dataset")
    facts = json.loads((tmp_path / "dataset/meta/info.json").read_text())
    assert facts["robot_type"] == "tractor"
    assert facts["features"]["action"]["names"] == ["speed", "steering"]
    table = pq.read_table(tmp_path / "dataset/data/chunk-000/file-000.parquet")
    np.testing.assert_allclose(np.stack(table["action"].to_numpy()), commands(60)[:, [2, 1]], atol=1e-6)
    for name, body in (("as it was", None), ("of the same body", BODY)):
        assert not run(tmp_path / "dataset", tmp_path / name, body).failures
        for before in sorted((tmp_path / "recordings").glob("*.jsonl")):
            assert (tmp_path / name / before.name).read_bytes() == before.read_bytes()
        path = tmp_path / name / "r-0000.json"
        assert read_embodied(ClipMetadata.from_json(path.read_bytes(), "r").info.extra, "r") == BODY


def test_another_body_is_told_the_same_commands(tmp_path: Path, barcodes: Any) -> None:
    """With keys where the sticks were: the nearest that keys can say."""
    keys = parse_embodiment(
        BODY.to_toml()
        .replace('{ control = "left_stick.y", scale = -2.0, deadband = 0.1 }', '{ control = "KeyW", scale = 2.0 }')
        .replace(
            '{ control = "right_stick.x", scale = -0.6, deadband = 0.0 }', '{ control = "motion.x", scale = 0.01 }'
        )
    )
    rows = commands()
    assert not run(robot_dataset(tmp_path / "d", barcodes, rows), tmp_path / "r", keys).failures
    states = [state for each in labels_of(tmp_path / "r") for state in each.inputs]
    assert [("KeyW" in state.keys) for state in states] == (rows[:, 2] > 1.0).tolist()
    steering = np.array([keys.command(state)[1] for state in states])
    np.testing.assert_allclose(steering, rows[:, 1], atol=0.0051)


def test_a_direct_actuator_is_told_the_commands_themselves(tmp_path: Path, barcodes: Any) -> None:
    """Beside one on a stick: what was commanded is what comes out, to the last bit, whatever its levels."""
    rows = commands()
    rows[5] = np.nan
    assert not run(robot_dataset(tmp_path / "d", barcodes, rows), tmp_path / "r", DIRECT).failures
    labels = labels_of(tmp_path / "r")
    states = [state for each in labels for state in each.inputs]
    assert states[5].commands == ()
    assert np.flatnonzero(~labels[0].known).tolist() == [5]
    told = [state.commands for number, state in enumerate(states) if number != 5]
    np.testing.assert_array_equal(np.array(told, np.float32)[:, 0], np.delete(rows[:, 1], 5))
    again = np.stack([DIRECT.command(state) for number, state in enumerate(states) if number != 5])
    np.testing.assert_allclose(again, np.delete(rows, 5, axis=0)[:, [2, 1]], atol=1e-6)


def test_commands_of_direct_actuators_go_out_and_come_back(tmp_path: Path, barcodes: Any, make_corpus: Any) -> None:
    """Exactly, with the states that travel along; and as numbers, which any other dataset has, too."""
    info = barcodes.info("robot/tractor", bindings=DIRECT.bindings, extra=embodied(DIRECT))
    with RecordingWriter(tmp_path / "recordings", "r", info, clip_ticks=40) as writer:
        for number, row in enumerate(commands(60)):
            state = DIRECT.inputs(row[[2, 1]])
            told = replace(state, commands=()) if number == 50 else state
            writer.append(barcodes.frame(number), told, t_ns=number * 50_000_000, known=number != 50)
    make_corpus(tmp_path / "recordings", tmp_path / "corpus")
    export_lerobot(tmp_path / "corpus", tmp_path / "dataset")
    table = pq.read_table(tmp_path / "dataset/data/chunk-000/file-000.parquet")
    expected = commands(60)[:, 1]
    expected[50] = DIRECT.neutral[1]
    np.testing.assert_array_equal(np.stack(table["action"].to_numpy())[:, 1], expected)
    assert not run(tmp_path / "dataset", tmp_path / "own", None).failures
    for before in sorted((tmp_path / "recordings").glob("*.jsonl")):
        assert (tmp_path / "own" / before.name).read_bytes() == before.read_bytes()
    coarse = parse_embodiment(DIRECT.to_toml().replace("levels = 65", "levels = 33"))
    assert not run(tmp_path / "dataset", tmp_path / "other", coarse).failures
    again = [state.commands[0] for each in labels_of(tmp_path / "other") for state in each.inputs]
    np.testing.assert_array_equal(np.array(again, np.float32), expected)


# ---------------------------------------------------------------------- bad input


def test_another_rate_than_the_embodiments_is_refused(tmp_path: Path, barcodes: Any) -> None:
    slow = Embodiment("tractor", 10.0, 100.0, 200.0, Camera(96, 32, 20.0), BODY.actuators)
    dataset = robot_dataset(tmp_path / "d", barcodes, commands())
    complaint = first_complaint(run(dataset, tmp_path / "r", slow))
    assert "20 ticks a second; expected 10, the fps of embodiment tractor" in complaint


def test_commands_beyond_the_limits_are_refused_by_name(tmp_path: Path, barcodes: Any) -> None:
    rows = commands()
    rows[7, 2] = 2.5
    complaint = run(robot_dataset(tmp_path / "d", barcodes, rows), tmp_path / "r").failures[0].failure
    assert "speed = 2.5 m/s in row 7; expected -1 to 2 m/s" in complaint
    assert not list((tmp_path / "r").glob("*-000000-*"))


def test_a_command_that_is_rounded_over_the_edge_is_kept(tmp_path: Path, barcodes: Any) -> None:
    rows = commands()
    rows[7, 2] = np.nextafter(np.float32(2.0), np.float32(3.0))
    assert not run(robot_dataset(tmp_path / "d", barcodes, rows), tmp_path / "r").failures


def test_rows_without_a_number_are_not_known(tmp_path: Path, barcodes: Any) -> None:
    rows = commands()
    rows[5, 1] = np.nan
    report = run(robot_dataset(tmp_path / "d", barcodes, rows), tmp_path / "r")
    assert report.counts("unknown")["row with a value that is no number"] == 1
    assert np.flatnonzero(~labels_of(tmp_path / "r")[0].known).tolist() == [5]


def test_a_missing_camera_frame_is_not_known(tmp_path: Path, barcodes: Any) -> None:
    """The row stays, so that time goes on, but nobody learns from a picture that was not there."""
    dataset = robot_dataset(tmp_path / "d", barcodes, commands())
    leave_out(dataset / "videos" / FRONT / "chunk-000/file-000.mp4", barcodes, {12, 13})
    report = run(dataset, tmp_path / "r")
    assert not report.failures
    assert report.counts("unknown")["row without a picture"] == 2
    labels = labels_of(tmp_path / "r")
    assert np.flatnonzero(~labels[0].known).tolist() == [12, 13]
    assert all(each.known.all() for each in labels[1:])


def leave_out(path: Path, barcodes: Any, missing: set[int]) -> None:
    """Write the first camera's video again without some pictures, the others at their times."""
    with av.open(str(path), "w") as video:
        stream = video.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in sorted(set(range(90)) - missing):
            picture = av.VideoFrame.from_ndarray(barcodes.frame(number), format="rgb24")
            picture.pts, picture.time_base = number, Fraction(1, FPS)
            video.mux(stream.encode(picture))
        video.mux(stream.encode())


def test_a_dataset_without_an_actuators_command_is_refused(tmp_path: Path, barcodes: Any) -> None:
    dataset = write_dataset(
        tmp_path / "d", barcodes, {"action": commands().tolist()}, names={"action": ["a", "b", "c"]}
    )
    complaint = first_complaint(run(dataset, tmp_path / "r"))
    assert "no command for speed; expected one of a, b, c" in complaint


# ---------------------------------------------------------------------- the command line


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(build_app(), [str(each) for each in arguments])


@pytest.fixture
def body_file(tmp_path: Path) -> Path:
    path = tmp_path / "tractor.toml"
    path.write_text(BODY.to_toml())
    return path


def test_the_command_takes_an_embodiment_and_its_cameras_size(tmp_path: Path, barcodes: Any, body_file: Path) -> None:
    dataset = robot_dataset(tmp_path / "d", barcodes, commands())
    ran = invoke("ingest", "lerobot", dataset, tmp_path / "r", "--embodiment", body_file, "--workers", 1, "--json")
    assert ran.exit_code == 0, ran.output
    path = next((tmp_path / "r").glob("*.json"))
    info = ClipMetadata.from_json(path.read_bytes(), path.stem).info
    assert (info.width, info.height, info.fps) == (96, 32, 20.0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (lambda body: ("pair", "--embodiment", body), "no commands of robots"),
        (lambda body: ("lerobot", "--embodiment", body, "--fps", 10), "another rate than the embodiment"),
        (lambda body: ("lerobot", "--embodiment", body.with_name("none.toml")), "cannot be read"),
    ],
)
def test_embodiments_that_do_not_fit_are_refused(
    tmp_path: Path, body_file: Path, arguments: Callable[[Path], tuple[object, ...]], words: str
) -> None:
    name, *options = arguments(body_file)
    ran = invoke("ingest", name, tmp_path, tmp_path / "r", *options)
    assert ran.exit_code != 0
    assert words in str(ran.exception)


def test_without_an_embodiment_nothing_is_guessed_of_a_robots_numbers(tmp_path: Path, barcodes: Any) -> None:
    dataset = robot_dataset(tmp_path / "d", barcodes, commands())
    assert "has a name we know" in first_complaint(run(dataset, tmp_path / "r", None))

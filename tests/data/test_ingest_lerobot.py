"""LeRobot datasets: what we exported comes back as it was; what others made is read by names, or by a map."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gi_data.ingest.convert import IngestConfig
from gi_data.ingest.ingest import IngestPlan, IngestReport, ingest
from gi_data.ingest.lerobot import LerobotImporter
from gi_data.ingest.lerobot_dataset import fill_in, open_dataset
from gi_data.ingest.lerobot_map import known_entry
from gi_data.ingest.source import SourceRecording
from gi_data.ingest.timeline import Tick, frames_at, tick_edges, ticks
from gi_data.inputs_table import Labels
from gi_data.lerobot_export import export_lerobot
from gi_data.metadata import ClipMetadata
from gi_data.recording import RecordingWriter
from gi_data.video import read_pictures
from gi_model.actions import AxisBinding, Bindings, Gamepad, InputState
from gi_model.errors import ClipError, CorpusError
from gi_model.frames import Frame
from tests.data.lerobot_files import FRONT, HEIGHT, SIDE, WIDTH, write_dataset, write_episodes

IMPORTER = LerobotImporter()
PAD = Bindings(
    {"jump": "GamepadSouth", "pause": "GamepadStart"},
    {
        "steer": AxisBinding("left_stick.x", 1.0, "full"),
        "climb": AxisBinding("left_stick.y", 1.0, "full"),
        "gas": AxisBinding("triggers.y", 1.0, "full"),
    },
)
DESKTOP = Bindings(
    {"forward": "KeyW", "jump": "Space", "fire": "MouseLeft"},
    {
        "turn": AxisBinding("motion.x", 0.1),
        "look": AxisBinding("motion.y", 0.1),
        "zoom": AxisBinding("wheel.y", 1, "n"),
    },
    cursor=True,
)


def read_all(source: Path) -> list[SourceRecording]:
    return [IMPORTER.read(found) for found in IMPORTER.find(source)]


def play(recording: SourceRecording) -> tuple[list[Frame], list[Tick]]:
    """Frames and ticks at the recording's own rate."""
    assert recording.fps is not None
    edges = tick_edges(recording.start_ns, recording.end_ns, recording.fps)
    return list(frames_at(recording.frames(), edges[:-1].tolist())), list(ticks(recording.events(), edges))


# ---------------------------------------------------------------------- our own exports


def desktop(rng: np.random.Generator) -> InputState:
    return InputState(
        keys=frozenset(key for key in ("KeyW", "Space") if rng.random() < 0.5),
        buttons=frozenset({"MouseLeft"} if rng.random() < 0.3 else ()),
        motion=(int(rng.integers(-99, 99)), int(rng.integers(-9, 9))),
        wheel=(0, int(rng.integers(-1, 2))),
        cursor=None if rng.random() < 0.3 else (float(rng.random()), float(rng.random())),
    )


def pad(rng: np.random.Generator) -> InputState:
    stick = (float(rng.uniform(-1, 1)), float(rng.uniform(-1, 1)))
    return InputState(gamepad=Gamepad(frozenset({"GamepadSouth"}), stick, triggers=(0.0, float(rng.random()))))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, barcodes: Any, make_corpus: Any) -> Path:
    """`recordings` of both kinds of devices at 17.5 Hz, some of it not known; their `corpus`; its `dataset`."""
    folder, rng = tmp_path_factory.mktemp("export"), np.random.default_rng(0)
    for name, draw, bindings in (("mouse", desktop, DESKTOP), ("pad", pad, PAD)):
        info = barcodes.info(name, fps=17.5, bindings=bindings)
        with RecordingWriter(folder / "recordings", name, info, clip_ticks=40) as writer:
            for number in range(110):
                t_ns = 123_456 + round(number * 1e9 / 17.5)
                writer.append(barcodes.frame(number), draw(rng), t_ns=t_ns, known=number % 50 < 45)
    make_corpus(folder / "recordings", folder / "corpus")
    export_lerobot(folder / "corpus", folder / "dataset")
    return folder


def run(source: Path, destination: Path, **changes: Any) -> IngestReport:
    config = IngestConfig(**({"height": HEIGHT, "width": WIDTH, "clip_ticks": 40} | changes))
    return ingest(IngestPlan(IMPORTER, source, destination, config))


def test_what_was_exported_comes_back(exported: Path, tmp_path: Path, barcodes: Any) -> None:
    """Keys, labels, known, and times of each clip; pictures as well as a second encoding keeps them."""
    report = run(exported / "dataset", tmp_path)
    assert not report.failures
    before = sorted((exported / "recordings").glob("*.jsonl"))
    assert [path.name for path in before] == sorted(path.name for path in tmp_path.glob("*.jsonl"))
    assert len(before) == 6
    for path in before:
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()
        key = path.name.removesuffix(".inputs.jsonl")
        old, new = (
            ClipMetadata.from_json((root / f"{key}.json").read_bytes(), key) for root in (path.parent, tmp_path)
        )
        for name in ("game", "fps", "bindings", "license", "consent", "demonstrator"):
            assert getattr(new.info, name) == getattr(old.info, name)
        seen = [barcodes.number(rgb()) for _, rgb in read_pictures(tmp_path / f"{key}.mp4")]
        assert seen == list(range(40 * new.part, 40 * new.part + new.num_ticks))


def test_pictures_arrive_as_they_were_stored(exported: Path) -> None:
    for name, recording in zip(("mouse", "pad"), read_all(exported / "dataset"), strict=True):
        paths = sorted((exported / "recordings").glob(f"{name}-*.mp4"))
        stored = [rgb() for path in paths for _, rgb in read_pictures(path)]
        np.testing.assert_array_equal(play(recording)[0], stored)


def test_what_is_missing_between_clips_is_cut_out(
    exported: Path, tmp_path: Path, barcodes: Any, make_corpus: Any
) -> None:
    """Without its second part, a recording has a gap of 40 ticks."""
    (tmp_path / "recordings").mkdir()
    barcodes.record(tmp_path / "recordings", "r")
    corpus = make_corpus(tmp_path / "recordings", tmp_path / "corpus")
    export_lerobot(corpus, tmp_path / "dataset")
    path = tmp_path / "dataset/meta/episodes/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    pq.write_table(table.filter([key != "r-0001" for key in table["gi/clip_key"].to_pylist()]), path)
    (recording,) = read_all(tmp_path / "dataset")
    assert recording.cuts == [(2_000_000_000, 4_000_000_000)]
    assert [tick.known for tick in play(recording)[1]] == [True] * 40 + [False] * 40 + [True] * 10
    assert run(tmp_path / "dataset", tmp_path / "back", clip_ticks=350).total("ticks") == 50
    second = Labels.from_lines((tmp_path / "back/r-0001.inputs.jsonl").read_bytes(), "r-0001")
    assert [barcodes.number_of(state) for state in second.inputs] == list(range(80, 90))


def test_labels_survive_when_other_tools_drop_our_columns(exported: Path, tmp_path: Path) -> None:
    """LeRobot's own tools rewrite the episodes with their columns only."""
    dataset = tmp_path / "dataset"
    dataset.mkdir()
    for name in ("data", "videos"):
        (dataset / name).symlink_to(exported / "dataset" / name)
    (dataset / "meta/episodes/chunk-000").mkdir(parents=True)
    (dataset / "meta/info.json").write_bytes((exported / "dataset/meta/info.json").read_bytes())
    table = pq.read_table(exported / "dataset/meta/episodes/chunk-000/file-000.parquet")
    kept = table.select([name for name in table.column_names if not name.startswith("gi/")])
    pq.write_table(kept, dataset / "meta/episodes/chunk-000/file-000.parquet")
    recordings = read_all(dataset)
    assert len(recordings) == 6
    first = Labels.from_lines((exported / "recordings/mouse-0000.inputs.jsonl").read_bytes(), "mouse")
    match = next(r for r in recordings if [t.state for t in play(r)[1]] == list(first.inputs))
    assert [tick.known for tick in play(match)[1]] == first.known.tolist()
    assert match.bindings.restrict(first.inputs[0]) == first.inputs[0]


# ---------------------------------------------------------------------- datasets of others


def gaming() -> tuple[dict[str, Any], dict[str, Any]]:
    """Features of a shooter and their names: row n holds w at every third, and moves the mouse by n % 16 and a half."""
    keys = [[float(n % 3 == 0), 0.0, float(n % 5 == 0)] for n in range(90)]
    mouse = [[n % 16 + 0.5, -1.0, float(n % 7 == 0), 1.0] for n in range(90)]
    names = {"action.keyboard": ["w", "Space", "lshift"], "action.mouse": ["dx", "dy", "left_click", "mood"]}
    return {"action.keyboard": keys, "action.mouse": mouse, "reward": [0.0] * 90}, names


def test_gaming_style_datasets_need_no_map(tmp_path: Path, barcodes: Any) -> None:
    actions, names = gaming()
    found = read_all(write_dataset(tmp_path / "shooter", barcodes, actions, names=names))
    total = 0
    for episode, recording in enumerate(found):
        frames, states = play(recording)
        assert [barcodes.number(frame) for frame in frames] == list(range(30 * episode, 30 * episode + 30))
        for number, tick in enumerate(states, start=30 * episode):
            assert ("KeyW" in tick.state.keys) == (number % 3 == 0)
            assert ("ShiftLeft" in tick.state.keys) == (number % 5 == 0)
            assert ("MouseLeft" in tick.state.buttons) == (number % 7 == 0)
            assert abs(tick.state.motion[0] - number % 16 - 0.5) <= 1
            assert tick.state.motion[1] == -1
            total += tick.state.motion[0]
        assert recording.game == "hill climb"
        assert recording.unknown == {"action.mouse/mood": 30, "feature reward": 30}
        assert set(recording.bindings.digital) == {"KeyW", "Space", "ShiftLeft", "MouseLeft"}
    assert total == sum(n % 16 + 0.5 for n in range(90))  # halves are carried, not lost
    assert [f.recording_id for f in IMPORTER.find(tmp_path)] == [f"shooter-00000{n}" for n in range(3)]


def test_a_map_says_what_a_robots_numbers_are(tmp_path: Path, barcodes: Any) -> None:
    rows = [[n / 100 - 0.45, 50.0, 200.0] for n in range(90)]
    root = write_dataset(
        tmp_path / "robot", barcodes, {"action": rows}, names={"action": {"motors": ["gas", "x", "z"]}}
    )
    (root / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    (root / "gi-map.toml").write_text(
        f"""
        camera = "{SIDE}"
        game = "rover"
        [map]
        "action/gas" = [{{control = "KeyW", above = 0.2}}, {{control = "KeyS", below = -0.2}}]
        "action/1" = {{control = "left_stick.x", scale = 0.01}}
        "action/z" = {{control = "right_stick.y", scale = -0.01}}
        """
    )
    first, _, last = read_all(root)
    frames, states = play(first)
    assert [barcodes.number(frame) for frame in frames] == [4095 - n for n in range(30)]
    assert [tick.state.keys for tick in states] == [frozenset({"KeyS"} if n < 25 else ()) for n in range(30)]
    assert {tick.state.gamepad for tick in states} == {Gamepad(left_stick=(0.5, 0.0), right_stick=(0.0, -1.0))}
    assert play(last)[1][-1].state.keys == {"KeyW"}
    assert (first.game, first.license, first.unknown) == ("rover", "apache-2.0", {})


def test_numbers_that_are_none_are_not_known(tmp_path: Path, barcodes: Any) -> None:
    rows: list[Any] = [[1.0, 2.0] for _ in range(90)]
    rows[3], rows[5], rows[7] = [float("nan"), 0.0], [None, 0.0], [0.0, float("inf")]
    root = write_dataset(tmp_path, barcodes, {"action": rows}, names={"action": ["KeyW", "motion.x"]})
    recording = read_all(root)[0]
    states = play(recording)[1]
    assert [number for number, tick in enumerate(states) if not tick.known] == [3, 5, 7]
    assert [tick.state.motion[0] for tick in states[:8]] == [2, 2, 2, 0, 2, 0, 2, 0]
    assert recording.unknown == {"row with a value that is no number": 3}


@pytest.mark.parametrize(
    ("feature", "name", "control"),
    [
        ("action", "KeyW", "KeyW"),
        ("action", "left_stick.x", "left_stick.x"),
        ("action.keyboard", "W", "KeyW"),
        ("action.keyboard", "key_left", "ArrowLeft"),
        ("action.mouse", "left", "MouseLeft"),
        ("action.mouse", "mouse_dx", "motion.x"),
        ("action", "mouse_left_click", "MouseLeft"),
        ("action", "keyboard.ctrl", "ControlLeft"),
        ("action.gamepad", "dpad_up", "GamepadUp"),
        ("action.gamepad", "left_stick_y", "left_stick.y"),
        ("action", "w", None),  # of a robot, who knows
        ("action", "shoulder_pan", None),
    ],
)
def test_names_mean_controls_where_the_device_is_clear(feature: str, name: str, control: str | None) -> None:
    entry = known_entry(feature, name)
    assert (entry.control if entry else None) == control


# ---------------------------------------------------------------------- hostile files


@pytest.mark.parametrize(
    "template",
    [
        "../../etc/{file_index:03d}",
        "/etc/passwd",
        "data/../../{chunk_index}",
        "data/{0.__class__}",
        "data/{chunk_index.__class__}",
        "data/{chunk_index!r}",
        "data/{file_index:999999999d}",
        "data/{other}",
        "data/{}",
        "data\\..\\x",
        "data/\0",
        "",
    ],
)
def test_paths_do_not_leave_the_dataset(template: str) -> None:
    with pytest.raises(ClipError, match="leads out of it"):
        fill_in(template, {"chunk_index": 0, "file_index": 7})


def test_a_name_that_leads_out_is_refused_too() -> None:
    with pytest.raises(ClipError, match="leads out of it"):
        fill_in("videos/{video_key}/x.mp4", {"video_key": "../../.."})
    assert fill_in("a/{chunk_index:03d}-{file_index}", {"chunk_index": 2, "file_index": 7}) == "a/002-7"


def shooter(root: Path, barcodes: Any, **changes: Any) -> Path:
    actions, names = gaming()
    return write_dataset(root, barcodes, actions, names=names, **changes)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"codebase_version": "v2.1"}, "another version"),
        ({"codebase_version": 3}, "another version"),
        ({"fps": 0}, "rate out of range"),
        ({"fps": "20"}, "rate out of range"),
        ({"fps": float("nan")}, "rate out of range"),
        ({"features": []}, "no features"),
        ({"features": {"action": 1}}, "no features"),
        ({"data_path": None}, "no paths"),
        ({"data_path": "../{file_index}"}, "leads out of it"),
        ({"video_path": "/dev/{video_key}"}, "leads out of it"),
        ({"video_path": None}, "is none"),
        ({"video_path": "videos/none.mp4"}, "video is missing"),
        ({"data_path": "data/none.parquet"}, "data is missing"),
    ],
)
def test_bad_facts_are_refused(tmp_path: Path, barcodes: Any, changes: dict[str, Any], complaint: str) -> None:
    root = shooter(tmp_path, barcodes, **changes)
    with pytest.raises(CorpusError, match=complaint):
        play(read_all(root)[0])


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 100_000])
def test_facts_that_are_no_object_are_refused(tmp_path: Path, barcodes: Any, content: bytes) -> None:
    (shooter(tmp_path, barcodes) / "meta/info.json").write_bytes(content)
    with pytest.raises(CorpusError, match="cannot be read as a LeRobot dataset"):
        IMPORTER.find(tmp_path)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"length": 29}, "has not its rows"),
        ({"length": 31}, "has not its rows"),
        ({"length": 10**12}, "another length"),
        ({"length": 0}, "cannot be read"),
        ({"length": -1}, "cannot be read"),
        ({"data/file_index": 10**9}, "data is missing"),
        ({"data/file_index": -1}, "cannot be read"),
        ({f"videos/{FRONT}/from_timestamp": 1.0, f"videos/{FRONT}/to_timestamp": 2.5}, "overlap"),
        ({f"videos/{FRONT}/from_timestamp": float("nan")}, "lies nowhere"),
        ({f"videos/{FRONT}/to_timestamp": float("inf")}, "lies nowhere"),
        ({f"videos/{FRONT}/from_timestamp": -1.5, f"videos/{FRONT}/to_timestamp": 0.0}, "lies nowhere"),
        ({f"videos/{FRONT}/to_timestamp": 1e6}, "lies nowhere"),
        ({f"videos/{FRONT}/from_timestamp": 1e6, f"videos/{FRONT}/to_timestamp": 1e6 + 1.5}, "no picture"),
    ],
)
def test_bad_episodes_are_refused(tmp_path: Path, barcodes: Any, change: dict[str, Any], complaint: str) -> None:
    """The first of three; the driver's report says so, and the others are made where they can be."""
    root = shooter(tmp_path / "dataset", barcodes)
    write_episodes(root, [{"episode_index": 0} | change, {"episode_index": 1}, {"episode_index": 2}])
    assert complaint in first_complaint(root, tmp_path / "out")


def first_complaint(source: Path, destination: Path) -> str:
    try:
        return run(source, destination).failures[0].failure
    except CorpusError as error:
        return str(error)


def test_two_episodes_of_one_number_are_refused(tmp_path: Path, barcodes: Any) -> None:
    write_episodes(shooter(tmp_path, barcodes), [{"episode_index": 1}, {"episode_index": 1}])
    with pytest.raises(CorpusError, match="same number"):
        IMPORTER.find(tmp_path)


@pytest.mark.parametrize("name", ["meta/episodes/chunk-000/file-000.parquet", "data/chunk-000/file-000.parquet"])
def test_cut_tables_are_refused(tmp_path: Path, barcodes: Any, name: str) -> None:
    path = shooter(tmp_path, barcodes) / name
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(CorpusError, match="cannot be read"):
        read_all(tmp_path)


def test_episodes_without_the_columns_of_version_3_are_refused(tmp_path: Path, barcodes: Any) -> None:
    path = shooter(tmp_path, barcodes) / "meta/episodes/chunk-000/file-000.parquet"
    pq.write_table(pa.table({"episode_index": [0]}), path)
    with pytest.raises(CorpusError, match="cannot be read"):
        IMPORTER.find(tmp_path)


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([["w"]] * 90, "no vector of numbers"),
        ([[1.0, 2.0]] * 45 + [[1.0]] * 45, "no vector of numbers"),
        ([[]] * 90, "no vector of numbers"),
    ],
)
def test_actions_of_other_types_are_refused(tmp_path: Path, barcodes: Any, rows: Any, complaint: str) -> None:
    facts = {"dtype": "float32", "shape": [1], "names": ["KeyW"]}
    root = write_dataset(tmp_path, barcodes, {"action": rows})
    info = json.loads((root / "meta/info.json").read_text())
    (root / "meta/info.json").write_text(json.dumps(info | {"features": info["features"] | {"action": facts}}))
    with pytest.raises(ClipError, match=complaint):
        read_all(root)


def test_rows_shorter_than_their_names_are_refused(tmp_path: Path, barcodes: Any) -> None:
    root = shooter(tmp_path, barcodes)
    info = json.loads((root / "meta/info.json").read_text())
    info["features"]["action.keyboard"] |= {"shape": [4], "names": ["w", "a", "s", "d"]}
    (root / "meta/info.json").write_text(json.dumps(info))
    with pytest.raises(ClipError, match="shorter than its names"):
        read_all(root)


def test_actions_without_known_names_ask_for_a_map(tmp_path: Path, barcodes: Any) -> None:
    root = write_dataset(tmp_path, barcodes, {"action": [[0.0, 1.0]] * 90})
    with pytest.raises(ClipError, match=r"no action of .* has a name we know.*gi-map\.toml"):
        read_all(root)


@pytest.mark.parametrize(
    "text",
    [
        "[map",
        "camera = 5",
        "colour = 'red'",
        "[map]\n'action/0' = 'Jump'",
        "[map]\n'action/0' = 5",
        "[map]\n'action/0' = {control = 'KeyW', scale = 0}",
        "[map]\n'action/0' = {control = 'KeyW', scale = inf}",
        "[map]\n'action/0' = {control = 'KeyW', colour = 1}",
        "map = 3",
    ],
)
def test_a_map_that_cannot_be_used_is_named(tmp_path: Path, barcodes: Any, text: str) -> None:
    (shooter(tmp_path, barcodes) / "gi-map.toml").write_text(text)
    with pytest.raises(ClipError, match=r"gi-map\.toml cannot be read"):
        read_all(tmp_path)


def test_a_camera_that_is_not_there_is_named(tmp_path: Path, barcodes: Any) -> None:
    (shooter(tmp_path, barcodes) / "gi-map.toml").write_text("camera = 'observation.images.top'")
    with pytest.raises(ClipError, match="no such camera"):
        read_all(tmp_path)


def test_damaged_labels_of_our_own_are_refused(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "data/chunk-000").mkdir(parents=True)
    for name in ("meta", "videos"):
        (tmp_path / name).symlink_to(exported / "dataset" / name)
    table = pq.read_table(exported / "dataset/data/chunk-000/file-000.parquet")
    bad = table.set_column(table.column_names.index("gi.input"), "gi.input", pa.array(['{"keys":["x"]}'] * len(table)))
    pq.write_table(bad, tmp_path / "data/chunk-000/file-000.parquet")
    with pytest.raises(ClipError, match="labels of episode 0 cannot be read"):
        read_all(tmp_path)


def test_folders_without_datasets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no LeRobot dataset"):
        IMPORTER.find(tmp_path)


def test_a_dataset_is_read_again_when_it_changes(tmp_path: Path, barcodes: Any) -> None:
    root = shooter(tmp_path, barcodes)
    assert len(open_dataset(root).episodes) == 3
    (found, *_) = IMPORTER.find(root)
    (root / "meta/info.json").write_text("{}")
    with pytest.raises(CorpusError, match="another version"):
        IMPORTER.read(found)

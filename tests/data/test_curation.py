import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gi_data.catalog import Catalog
from gi_data.corpus import Corpus
from gi_data.curation.config import Step, default_steps, example, parse_config, read_config
from gi_data.curation.curate import CurationReport, CurationRun, curate
from gi_data.curation.filters import FILTERS
from gi_data.curation.signal_cache import Chunk, Measured, engine
from gi_data.index import describe
from gi_data.inputs_table import Labels
from gi_data.metadata import ClipMetadata
from gi_data.planning import plan
from gi_data.recording import RecordingInfo, RecordingWriter
from gi_data.shards import ShardConfig, build
from gi_data.tars import INPUTS, METADATA, VIDEO, Extent
from gi_data.verification import verify
from gi_data.video import decode
from gi_data.video_writer import VideoWriter
from gi_data.views import subset
from gi_model.actions import AxisBinding, Bindings, InputState
from gi_model.errors import ConfigError, CorpusError

HEIGHT, WIDTH, FPS = 36, 64, 20
AXES = {"turn": AxisBinding("motion.x", 0.25), "look": AxisBinding("motion.y", 0.25)}
BINDINGS = Bindings({"forward": "KeyW", "back": "KeyS", "fire": "MouseLeft"}, AXES, cursor=True)
Player = Callable[[int], InputState]
Pictures = NDArray[np.uint8]  # (T, HEIGHT, WIDTH, 3)


def scene(seed: int, num_ticks: int) -> Pictures:
    """A walk along a wall that no other seed has."""
    random = np.random.default_rng(seed)
    wall = random.integers(0, 255, (6, 400)).astype(np.uint8).repeat(6, axis=0).repeat(8, axis=1)
    steps = np.cumsum(random.integers(1, 4, num_ticks))
    return np.stack([wall[:, step : step + WIDTH, None].repeat(3, axis=2) for step in steps])


def busy(tick: int) -> InputState:
    return InputState(keys=frozenset({"KeyW"} if tick % 7 < 4 else {"KeyS"}), motion=(tick % 5, 1))


def record(
    directory: Path,
    name: str,
    pictures: Pictures,
    *,
    player: Player = busy,
    known: Callable[[int], bool] = lambda _: True,
    game: str = "walk",
) -> None:
    """Record `pictures` in parts of 40 ticks."""
    info = RecordingInfo(game, FPS, BINDINGS, "test", 0, "test", "CC0-1.0", "synthetic", HEIGHT, WIDTH)
    with RecordingWriter(directory, name, info, clip_ticks=40) as writer:
        for tick, picture in enumerate(pictures):
            writer.append(picture, player(tick), t_ns=tick * 10**9 // FPS, known=known(tick))


def shard(recordings: Path, corpus: Path, *, val_fraction: float = 0.0) -> Path:
    build(plan([recordings], corpus, val_fraction=val_fraction), ShardConfig(shard_mb=0.05))
    return corpus


def steps(**filters: dict[str, Any]) -> list[Step]:
    return parse_config(filters)


def kept(view: Path) -> dict[str, set[int]]:
    """Ticks of each recording that a view still holds."""
    found: dict[str, set[int]] = {}
    for row in Catalog.open(view).table.to_pylist():
        first = 40 * row["part"] + row["first_tick"]
        found.setdefault(row["recording_id"], set()).update(range(first, first + row["num_ticks"]))
    return found


def reencoded(pictures: Pictures, directory: Path, crf: int) -> Pictures:
    directory.mkdir(exist_ok=True)
    writer = VideoWriter(directory / "copy.mp4", fps=FPS, height=HEIGHT, width=WIDTH, crf=crf)
    for picture in pictures:
        writer.append(picture)
    writer.close()
    video = (directory / "copy.mp4").read_bytes()
    return decode(video, "copy", frames=range(len(pictures)), height=HEIGHT, width=WIDTH)


def check_sums(report: CurationReport) -> None:
    """What came in is what went and what stayed."""
    hours = report.hours_in
    for step in report.filters:
        assert step.hours_in == pytest.approx(hours)
        assert step.hours_in - step.hours_out == pytest.approx(sum(step.hours_removed_by_game.values()))
        hours = step.hours_out
    assert report.hours_out == pytest.approx(hours)
    assert sum(before for before, _ in report.hours_by_game.values()) == pytest.approx(report.hours_in)
    assert sum(after for _, after in report.hours_by_game.values()) == pytest.approx(report.hours_out)


@pytest.fixture(scope="module")
def walks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six recordings of 100 ticks in two games, nothing wrong with them; one of each game is held out. Read only."""
    directory = tmp_path_factory.mktemp("walks")
    for index in range(6):
        record(directory / "recordings", f"walk-{index}", scene(index, 100), game=f"game-{index % 2}")
    return shard(directory / "recordings", directory / "corpus", val_fraction=0.34)


# ---------------------------------------------------------------------- rows


def test_filters_that_find_nothing_change_nothing(walks: Path, tmp_path: Path) -> None:
    """Statistics from signals are those from labels."""
    report = curate(walks, tmp_path / "view", default_steps())
    check_sums(report)
    assert report.hours_out == pytest.approx(report.hours_in)
    neutral = {"quality": None, "duplicate_group": -1}
    base = Catalog.open(walks).table.to_pylist()
    view = Catalog.open(tmp_path / "view").table.to_pylist()
    for row, expected in zip(view, base, strict=True):
        assert 0.3 <= row["quality"] <= 1
        place = (tmp_path / "view" / row["shard"]).resolve()
        assert place == (walks / expected["shard"]).resolve()
        assert dict(row["held"]) == dict(expected["held"])
        assert row | neutral | {"shard": "", "held": 0} == expected | {"shard": "", "held": 0}
    assert verify(tmp_path / "view").problems == {}


def test_rows_of_stretches_say_what_their_labels_say(tmp_path: Path) -> None:
    for index in range(2):
        record(
            tmp_path / "recordings", f"walk-{index}", scene(index, 100), known=lambda tick: tick % 23 > 5 or tick < 9
        )
    shard(tmp_path / "recordings", tmp_path / "base")
    curate(tmp_path / "base", tmp_path / "view", steps(known={}))
    corpus = Corpus(tmp_path / "view")
    rows = Catalog.open(tmp_path / "view").table.to_pylist()
    assert len(rows) > len({row["key"] for row in rows})
    for clip_id, found in enumerate(rows):
        row = corpus.row(clip_id)
        ticks = slice(row.first_tick, row.first_tick + row.num_ticks)
        whole = corpus.read_labels(row)
        labels = Labels(whole.inputs[ticks], whole.t_ns[ticks], whole.known[ticks])
        expected = described(labels)
        assert found["known_ratio"] == 1
        for column in ("seconds", "presses", "mean_motion", "null_ratio", "motion_counts"):
            assert found[column] == pytest.approx(expected[column]), column
        assert dict(found["held"]) == expected["held"]


def described(labels: Labels) -> dict[str, Any]:
    """What `gi shard` would write of a clip with these labels."""
    info = RecordingInfo("walk", FPS, BINDINGS, "test", 0, "test", "CC0-1.0", "synthetic", HEIGHT, WIDTH)
    metadata = ClipMetadata(info, "x", 0, len(labels), 0, {VIDEO: "", INPUTS: "", METADATA: ""})
    extents = {kind: Extent(0, 0) for kind in (VIDEO, INPUTS, METADATA)}
    return asdict(describe(metadata, labels, extents, shard="", split="train"))


def test_curating_a_view_is_curating_its_rows(walks: Path, tmp_path: Path) -> None:
    subset(walks, tmp_path / "some", where="game = 'game-1'")
    curate(tmp_path / "some", tmp_path / "view", steps(shortest={"ticks": 30}))
    curate(walks, tmp_path / "all", steps(shortest={"ticks": 30}))
    assert kept(tmp_path / "view") == {
        name: ticks for name, ticks in kept(tmp_path / "all").items() if int(name[-1]) % 2
    }
    curate(tmp_path / "all", tmp_path / "again", steps(shortest={"ticks": 30}))
    assert kept(tmp_path / "again") == kept(tmp_path / "all")


# ---------------------------------------------------------------------- one filter after the other


def away(tick: int) -> InputState:
    return InputState() if 30 <= tick < 150 else busy(tick)


def leaning(tick: int) -> InputState:
    return InputState(keys=frozenset({"KeyW"})) if 30 <= tick < 150 else busy(tick)


def in_menu(tick: int) -> InputState:
    return InputState(cursor=(tick % 9 / 9, 0.5), motion=(1, 1)) if 30 <= tick < 150 else busy(tick)


def macro(tick: int) -> InputState:
    return InputState(keys=frozenset({"KeyW"} if tick % 2 else set())) if 30 <= tick < 150 else InputState()


def unmoved(tick: int) -> InputState:
    """A body without controls, told to rest."""
    return InputState(commands=(0.0, 0.0) if 30 <= tick < 150 else (0.0, 0.5))


def coasting(tick: int) -> InputState:
    """A key stays down; meanwhile commands change, or not."""
    return InputState(keys=frozenset({"KeyW"}), commands=(0.0 if 30 <= tick < 150 else (tick % 5) / 4,))


def glitch(tick: int) -> InputState:
    return InputState(motion=(10_000 if 30 <= tick < 150 else 0, 0))


def frozen(pictures: Pictures) -> Pictures:
    return np.concatenate([pictures[:30], pictures[30:31].repeat(120, axis=0), pictures[150:]])


def dark(pictures: Pictures) -> Pictures:
    return np.concatenate([pictures[:30], pictures[30:150] // 100, pictures[150:]])


def same(pictures: Pictures) -> Pictures:
    return pictures


@pytest.mark.parametrize(
    ("name", "options", "player", "change"),
    [
        ("idle", {"seconds": 3.0}, away, same),
        ("idle", {"seconds": 3.0}, unmoved, same),
        ("held_key", {"seconds": 3.0}, leaning, same),
        ("held_key", {"seconds": 3.0}, coasting, same),
        ("menu", {}, in_menu, same),
        ("menu", {"locked_share": 0.0}, busy, frozen),
        ("burst", {"presses": 8}, macro, same),
        ("burst", {"motion": 150_000}, glitch, same),
        ("darkness", {}, busy, dark),
        ("static", {"seconds": 3.0}, busy, frozen),
    ],
)
def test_a_filter_takes_what_it_is_for(
    tmp_path: Path,
    name: str,
    options: dict[str, Any],
    player: Player,
    change: Callable[[Pictures], Pictures],
) -> None:
    """Ticks 30 to 150 are wrong; parts are 40 ticks long, so no single clip shows it."""
    record(tmp_path / "recordings", "odd", change(scene(1, 300)), player=player)
    record(tmp_path / "recordings", "sound", scene(2, 300))
    shard(tmp_path / "recordings", tmp_path / "base")
    report = curate(tmp_path / "base", tmp_path / "view", steps(**{name: options}))
    check_sums(report)
    left = kept(tmp_path / "view")
    assert left["sound"] == set(range(300))
    wrong, tolerance = set(range(30, 150)), 15
    assert len(left["odd"] & wrong) <= tolerance
    assert len(set(range(300)) - wrong - left["odd"]) <= tolerance
    too_long = {key: 1000.0 for key in options if key == "seconds"} | {
        key: value * 1000 for key, value in options.items() if key in ("presses", "motion")
    }
    if too_long:
        curate(tmp_path / "base", tmp_path / "view", steps(**{name: too_long}))
        assert kept(tmp_path / "view")["odd"] == set(range(300))


def test_quality_is_one_for_lively_labelled_play_and_drops_what_is_not(tmp_path: Path) -> None:
    record(tmp_path / "recordings", "good", scene(1, 80))
    record(tmp_path / "recordings", "poor", np.zeros((80, HEIGHT, WIDTH, 3), np.uint8), player=lambda _: InputState())
    shard(tmp_path / "recordings", tmp_path / "base")
    curate(tmp_path / "base", tmp_path / "view", steps(quality={"min": 0.5}))
    assert set(kept(tmp_path / "view")) == {"good"}
    assert [row["quality"] for row in Catalog.open(tmp_path / "view").table.to_pylist()] == [1.0, 1.0]


def test_nothing_left_is_an_error_and_leaves_an_older_view(walks: Path, tmp_path: Path) -> None:
    curate(walks, tmp_path / "view", steps(known={}))
    before = kept(tmp_path / "view")
    with pytest.raises(CorpusError, match=r"leave nothing.*shortest"):
        curate(walks, tmp_path / "view", steps(shortest={"ticks": 1000}))
    assert kept(tmp_path / "view") == before


# ---------------------------------------------------------------------- copies


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recording copy-2 is scene 2 at another quality; half-1 is scene 1's second half. Read only."""
    directory = tmp_path_factory.mktemp("copied")
    for index in range(5):
        record(directory / "recordings", f"walk-{index}", scene(index, 240))
    record(directory / "recordings", "copy-2", reencoded(scene(2, 240), directory / "crf", 35))
    record(directory / "recordings", "half-1", reencoded(scene(1, 240), directory / "crf", 30)[120:])
    return shard(directory / "recordings", directory / "corpus", val_fraction=0.4)


def test_a_copy_is_found_and_other_scenes_are_not(copied: Path, tmp_path: Path) -> None:
    report = curate(copied, tmp_path / "view", steps(near_duplicate={}))
    check_sums(report)
    left = {name: len(ticks) for name, ticks in kept(tmp_path / "view").items()}
    assert {name: left[name] for name in ("walk-0", "walk-3", "walk-4")} == dict.fromkeys(
        ("walk-0", "walk-3", "walk-4"), 240
    )
    assert 240 <= left.get("walk-2", 0) + left.get("copy-2", 0) <= 260
    assert 240 <= left.get("walk-1", 0) + left.get("half-1", 0) <= 280
    assert report.filters[0].notes["groups"] >= 2


def test_marked_copies_stay_together_on_one_side(copied: Path, tmp_path: Path) -> None:
    curate(copied, tmp_path / "view", steps(near_duplicate={"remove": False}))
    rows = Catalog.open(tmp_path / "view").table.to_pylist()
    assert len(rows) == len(Catalog.open(copied).table)
    sides: dict[int, set[str]] = {}
    members: dict[int, set[str]] = {}
    for row in rows:
        if row["duplicate_group"] >= 0:
            sides.setdefault(row["duplicate_group"], set()).add(row["split"])
            members.setdefault(row["duplicate_group"], set()).add(row["recording_id"])
    assert all(len(found) == 1 for found in sides.values())
    assert {frozenset(names) for names in members.values()} == {
        frozenset({"walk-2", "copy-2"}),
        frozenset({"walk-1", "half-1"}),
    }


def test_recordings_that_copies_connect_share_a_side_and_val_stays_clean(copied: Path, tmp_path: Path) -> None:
    before = {row["recording_id"]: row["split"] for row in Catalog.open(copied).table.to_pylist()}
    report = curate(copied, tmp_path / "view", steps(near_duplicate={"remove": False}))
    after = {row["recording_id"]: row["split"] for row in Catalog.open(tmp_path / "view").table.to_pylist()}
    for pair in (("walk-2", "copy-2"), ("walk-1", "half-1")):
        either = {before[name] for name in pair}
        assert {after[name] for name in pair} == ({"train"} if len(either) > 1 else either)
    assert set(report.moved_to_train) == {name for name in before if before[name] != after[name]}
    assert report.moved_to_train, "the fixture has a pair on both sides"


def test_contamination_is_removed_on_any_shift_of_time(tmp_path: Path) -> None:
    for index in range(4):
        record(tmp_path / "recordings", f"walk-{index}", scene(index, 240))
    shard(tmp_path / "recordings", tmp_path / "base")
    record(tmp_path / "judged", "evaluation", reencoded(scene(2, 240), tmp_path / "crf", 30)[83:])
    shard(tmp_path / "judged", tmp_path / "eval")
    config = tmp_path / "curate.toml"
    config.write_text('[decontaminate]\nagainst = ["eval"]\n')
    report = curate(tmp_path / "base", tmp_path / "view", read_config(config))
    check_sums(report)
    left = kept(tmp_path / "view")
    assert len(left["walk-2"] & set(range(83, 240))) <= 10
    assert len(left["walk-2"] & set(range(60))) >= 50
    assert all(left[f"walk-{index}"] == set(range(240)) for index in (0, 1, 3))
    config.write_text('[decontaminate]\nagainst = ["nowhere"]\n')
    with pytest.raises(CorpusError, match="no corpus here"):
        curate(tmp_path / "base", tmp_path / "view", read_config(config))


# ---------------------------------------------------------------------- the cache, and being killed


def forbidden(chunks: Sequence[Chunk]) -> Iterator[Measured]:
    assert not chunks, "nothing should be measured again"
    return iter(())


def test_other_limits_decode_nothing(walks: Path, tmp_path: Path) -> None:
    curate(walks, tmp_path / "view", steps(known={}))
    curate(walks, tmp_path / "view", default_steps(), CurationRun(engine=forbidden))


@pytest.mark.slow  # two processes start
def test_processes_measure_what_one_measures(walks: Path, tmp_path: Path) -> None:
    curate(walks, tmp_path / "one", steps(known={}))
    curate(walks, tmp_path / "two", steps(known={}), CurationRun(engine=engine(workers=2)))
    assert Catalog.open(tmp_path / "one").table.equals(Catalog.open(tmp_path / "two").table)


def test_damaged_signals_are_measured_again(walks: Path, tmp_path: Path) -> None:
    curate(walks, tmp_path / "view", steps(known={}))
    before = kept(tmp_path / "view")
    for path in sorted((tmp_path / "view" / "signals").glob("*.parquet"))[:2]:
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(AssertionError):
        curate(walks, tmp_path / "view", steps(known={}), CurationRun(engine=forbidden))
    curate(walks, tmp_path / "view", steps(known={}))
    assert kept(tmp_path / "view") == before


def test_a_damaged_clip_stops_or_is_skipped(tmp_path: Path) -> None:
    for index in range(2):
        record(tmp_path / "recordings", f"walk-{index}", scene(index, 80))
    base = shard(tmp_path / "recordings", tmp_path / "base")
    row = Corpus(base).row(0)
    with (base / row.shard).open("rb+") as file:
        file.seek(row.video_offset + 50)
        file.write(b"\x00\xff\x00\xff")
    with pytest.raises(CorpusError, match=row.key):
        curate(base, tmp_path / "view", steps(known={}))
    report = curate(base, tmp_path / "view", steps(known={}), CurationRun(skip_damaged=1))
    assert list(report.damaged) == [row.key]
    assert report.clips_out == 3
    assert report.hours_in - report.hours_out == pytest.approx(row.seconds / 3600)


def test_killed_in_the_middle_it_goes_on(walks: Path, tmp_path: Path) -> None:
    """kill -9 after the first file of signals: the file stays, and the same command ends like an undisturbed one."""
    code = """
import sys, time
from pathlib import Path
from gi_data.curation import signal_cache
from gi_data.curation.config import default_steps
from gi_data.curation.curate import CurationRun, curate

def slow(chunks):
    for chunk in chunks:
        yield signal_cache.measure(chunk)
        time.sleep(0.4)

curate(Path(sys.argv[1]), Path(sys.argv[2]), default_steps(), CurationRun(engine=slow))
"""
    view = tmp_path / "view"
    process = subprocess.Popen([sys.executable, "-c", code, str(walks), str(view)])
    deadline = time.monotonic() + 60
    while not list((view / "signals").glob("*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = {path.name: path.stat().st_mtime_ns for path in (view / "signals").glob("*.parquet")}
    assert finished
    assert not (view / "manifest.json").exists()
    curate(walks, view, default_steps())
    after = {path.name: path.stat().st_mtime_ns for path in (view / "signals").glob("*.parquet")}
    assert finished.items() <= after.items()
    assert len(after) > len(finished)
    curate(walks, tmp_path / "undisturbed", default_steps())
    assert Catalog.open(view).table.equals(Catalog.open(tmp_path / "undisturbed").table)


# ---------------------------------------------------------------------- the configuration


def test_the_example_is_complete_and_works(tmp_path: Path) -> None:
    (tmp_path / "curate.toml").write_text(example())
    found = read_config(tmp_path / "curate.toml")
    assert [step.name for step in found] == [name for name in FILTERS if name != "decontaminate"]
    assert all(step.options == type(step.options)() for step in found)
    (tmp_path / "curate.toml").write_text(example().replace("# [", "[").replace("# against", "against"))
    assert {step.name for step in read_config(tmp_path / "curate.toml")} == set(FILTERS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[iddle]", "unknown filter; got iddle; expected known, idle"),
        ("[idle]\nsecond = 1", "unknown option of idle; got second; expected seconds"),
        ("[idle]\nseconds = 'long'", "idle.seconds has the wrong type"),
        ("[idle]\nseconds = true", "idle.seconds has the wrong type"),
        ("[idle]\nseconds = -1", "filter idle: .* got -1"),
        ("[idle]\nseconds = nan", "filter idle: .* got nan"),
        ("[shortest]\nticks = 1.5", "shortest.ticks has the wrong type"),
        ("[near_duplicate]\nremove = 1", "near_duplicate.remove has the wrong type"),
        ("[near_duplicate]\ndistance = 64", "distance is out of range"),
        ("[decontaminate]", "needs something to compare with"),
        ("[decontaminate]\nagainst = 'eval'", "a list of texts"),
        ("[decontaminate]\nagainst = [1]", "a list of texts"),
        ("[quality]\nmin = 2.0", "out of range"),
        ("idle = 3", "filter idle is a table"),
        ("", "no filter is named"),
        ("[idle", "cannot be read"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "curate.toml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_config(tmp_path / "curate.toml")


def test_no_configuration_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="gi curate --example"):
        read_config(tmp_path / "nothing.toml")


def test_the_report_lies_beside_the_view(walks: Path, tmp_path: Path) -> None:
    report = curate(walks, tmp_path / "view", steps(known={}, shortest={"ticks": 30}))
    written = json.loads((tmp_path / "view" / "curation.json").read_text())
    assert written["hours_out"] == report.hours_out
    assert [step["filter"] for step in written["filters"]] == ["known", "shortest"]

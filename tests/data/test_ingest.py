"""Laws of the driver: each picture keeps its label, nothing is half done, nothing finished is done twice."""

import resource
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gi_data.ingest.convert import IngestConfig, Ingested
from gi_data.ingest.default_bindings import EVERY_DEVICE, KEYBOARD_MOUSE
from gi_data.ingest.events import Event, Label, Move, Press, Release
from gi_data.ingest.ingest import IngestPlan, IngestReport, ingest
from gi_data.ingest.source import Found, SourceRecording
from gi_data.ingest.timeline import TimedFrame
from gi_data.inputs_table import Labels
from gi_data.metadata import ClipMetadata
from gi_data.recording import is_finished
from gi_data.recovery import locked, scan
from gi_data.video import read_pictures
from gi_model.actions import AxisBinding, Bindings, InputState
from gi_model.errors import ClipError, ConfigError, CorpusError
from gi_model.frames import Frame

SECOND = 1_000_000_000
TICK = SECOND // 20
BINDINGS = Bindings(
    {"forward": "KeyW", "fire": "MouseLeft"},
    {"turn": AxisBinding("motion.x", 1.0), "look": AxisBinding("motion.y", 1.0)},
)
CONFIG = IngestConfig(height=32, width=96, clip_ticks=40)


def picture(number: int) -> Frame:
    """As `Barcodes.frame`, here so that a worker process can draw it."""
    bits = np.array([255 * (number >> bit & 1) for bit in range(12)], dtype=np.uint8)
    return np.broadcast_to(bits.repeat(8)[None, :, None], (32, 96, 3)).copy()


def typed(text: str, start_s: float) -> list[Event]:
    return [Press(round((start_s + 0.1 * n) * SECOND), f"Key{letter}") for n, letter in enumerate(text)]


@dataclass(frozen=True)
class Counting:
    """A format whose picture n, at tick n, shows n, and whose motion in tick n says n; broken as told, by id."""

    ids: tuple[str, ...] = ("a",)
    num_frames: int = 100
    fps: float | None = 20.0
    broken: tuple[tuple[str, str], ...] = ()
    first_frame: int = 0
    num_ticks: int = 100
    more: tuple[Event, ...] = ()
    cuts: tuple[tuple[int, int], ...] = ()

    name = "counting"
    summary = "numbers"
    offset = "none"

    def find(self, source: Path) -> Sequence[Found]:
        return [Found(name, source, 10) for name in self.ids]

    def read(self, found: Found) -> SourceRecording:
        trouble = dict(self.broken).get(found.recording_id, "")
        if trouble == "clip":
            raise ClipError("this one is damaged", do="Get another.")
        if trouble == "value":
            raise ValueError("a bug of the importer")
        return SourceRecording(
            game="numbers",
            fps=self.fps,
            start_ns=0,
            end_ns=10**20 if trouble == "endless" else self.num_ticks * TICK,
            frames=lambda: self._frames(trouble),
            events=lambda: self._events(trouble),
            bindings=BINDINGS,
            license="CC0-1.0",
            extra={"level": 3},
            unknown=Counter({"Turbo": 2}),
            cuts=self.cuts,
        )

    def _frames(self, trouble: str) -> Iterator[TimedFrame]:
        for number in range(self.first_frame, self.num_frames):
            if trouble == "frames" and number == 60:
                raise ClipError("the video is cut off")
            if trouble == "frames at once":
                raise ClipError("no frame decodes")
            if trouble == "frames crash" and number == 60:
                raise KeyError("a bug of the importer")
            yield TimedFrame(number * TICK, partial(picture, number))
            if trouble == "clock" and number == 60:
                yield TimedFrame(0, partial(picture, 0))

    def _events(self, trouble: str) -> list[Event]:
        moves = [Move(n * TICK, n % 16, n // 16) for n in range(self.num_ticks)]
        if trouble == "events":
            moves.append(Move(0, 1, 1))
        return sorted([*moves, *self.more], key=lambda event: event.t_ns) if not trouble else [*moves, *self.more]


def run(directory: Path, importer: Counting, **changes: Any) -> IngestReport:
    config = replace(CONFIG, **changes)
    return ingest(IngestPlan(importer, Path(__file__), directory, config))


def stored(directory: Path, barcodes: Any, recording_id: str = "a") -> tuple[list[int], list[InputState], list[int]]:
    """Numbers the pictures show, labels, and ticks of each clip."""
    shown: list[int] = []
    states: list[InputState] = []
    lengths = []
    for path in sorted(directory.glob(f"{recording_id}-*.inputs.jsonl")):
        key = path.name.removesuffix(".inputs.jsonl")
        labels = Labels.from_lines(path.read_bytes(), key)
        shown += [barcodes.number(rgb()) for _, rgb in read_pictures(directory / f"{key}.mp4")]
        states += labels.inputs
        lengths.append(len(labels))
    return shown, states, lengths


def read_info(directory: Path, key: str = "a-0000") -> ClipMetadata:
    return ClipMetadata.from_json((directory / f"{key}.json").read_bytes(), key)


def numbers_of(states: Sequence[InputState]) -> list[int]:
    return [state.motion[0] + 16 * state.motion[1] for state in states]


def test_every_picture_keeps_its_label(tmp_path: Path, barcodes: Any) -> None:
    report = run(tmp_path, Counting())
    shown, states, lengths = stored(tmp_path, barcodes)
    assert shown == numbers_of(states) == list(range(100))
    assert lengths == [40, 40, 20]
    (one,) = report.made
    assert (one.ticks, one.fps, one.seconds, one.lost_s, one.typed_s) == (100, 20.0, 5.0, 0.0, 0.0)
    assert is_finished(tmp_path, "a")


def test_provenance_goes_with_it_and_can_be_corrected(tmp_path: Path) -> None:
    run(tmp_path / "as is", Counting())
    info = read_info(tmp_path / "as is").info
    assert (info.game, info.license, info.source, info.demonstrator) == ("numbers", "CC0-1.0", "counting", "human")
    assert dict(info.extra) == {"level": 3, "label_offset": "none", "offset_ms": 0.0}
    run(tmp_path / "said", Counting(), game="sums", license="MIT", consent="signed")
    info = read_info(tmp_path / "said").info
    assert (info.game, info.license, info.consent) == ("sums", "MIT", "signed")


@pytest.mark.parametrize(("fps", "step"), [(10.0, 2), (5.0, 4)])
def test_at_a_lower_rate_each_tick_shows_its_first_picture_and_sums_its_motion(
    tmp_path: Path, barcodes: Any, fps: float, step: int
) -> None:
    run(tmp_path, Counting(), fps=fps, height=64, width=48)
    shown, states, _ = stored(tmp_path, barcodes)
    assert shown == list(range(0, 100, step))
    assert sum(numbers_of(states)) == sum(range(100))
    assert read_info(tmp_path).info.fps == fps


@pytest.mark.parametrize(("own", "want"), [(None, 20.0), (30.0, 30.0), (60.0, 20.0), (16.0, 16.0), (0.0, 20.0)])
def test_the_rate_is_the_formats_own_unless_it_is_too_fast(tmp_path: Path, own: float | None, want: float) -> None:
    run(tmp_path, Counting(fps=own))
    assert read_info(tmp_path).info.fps == want


@pytest.mark.parametrize("ticks", [-3, 1, 2])
def test_an_offset_moves_labels_only(tmp_path: Path, barcodes: Any, ticks: int) -> None:
    run(tmp_path, Counting(), offset_ms=50.0 * ticks)
    shown, states, _ = stored(tmp_path, barcodes)
    assert shown == list(range(100))
    moved = [number - ticks if 0 <= number - ticks < 100 else 0 for number in range(100)]
    assert numbers_of(states) == moved
    assert read_info(tmp_path).info.extra["offset_ms"] == 50.0 * ticks


SECRETS: tuple[Event, ...] = (Press(SECOND, "KeyP"), Release(SECOND + 1, "KeyP"), Press(2 * SECOND, "KeyW"))


def test_controls_that_are_not_bound_are_counted_but_not_stored(tmp_path: Path) -> None:
    report = run(tmp_path, Counting(more=SECRETS))
    assert report.made[0].unbound_presses == 1
    assert b"KeyP" not in b"".join(path.read_bytes() for path in tmp_path.glob("a-*"))
    assert b"KeyW" in (tmp_path / "a-0001.inputs.jsonl").read_bytes()


def test_they_are_kept_only_if_asked_for_and_that_is_written_down(tmp_path: Path) -> None:
    run(tmp_path, Counting(more=SECRETS), keep_unbound=True)
    assert b"KeyP" in (tmp_path / "a-0000.inputs.jsonl").read_bytes()
    assert read_info(tmp_path).info.extra["keep_unbound"] is True


def test_bindings_of_the_user_replace_those_of_the_format(tmp_path: Path) -> None:
    run(tmp_path, Counting(more=SECRETS), bindings=Bindings({"map": "KeyP"}))
    labels = Labels.from_lines((tmp_path / "a-0000.inputs.jsonl").read_bytes(), "a")
    assert [set(state.keys) for state in labels.inputs if not state.is_null] == [{"KeyP"}]
    assert read_info(tmp_path).info.bindings == Bindings({"map": "KeyP"})


def test_typed_text_is_cut_out_of_pictures_and_labels(tmp_path: Path, barcodes: Any) -> None:
    report = run(tmp_path, Counting(more=tuple(typed("WEMEETAT", 2.0))))
    shown, states, lengths = stored(tmp_path, barcodes)
    # The word lasts from 2.0 to 2.7 s, and a second goes on either side.
    assert shown == numbers_of(states) == [*range(20), *range(74, 100)]
    assert lengths == [20, 26]
    assert report.made[0].typed_s == pytest.approx(2.7)
    assert b'"keys"' not in (tmp_path / "a-0000.inputs.jsonl").read_bytes()
    assert read_info(tmp_path).info.extra["typed_stretches_cut"] == 1


def test_what_the_importer_cuts_out_is_no_part_of_a_clip(tmp_path: Path, barcodes: Any) -> None:
    report = run(tmp_path, Counting(cuts=((30 * TICK, 50 * TICK),)))
    shown, _, lengths = stored(tmp_path, barcodes)
    assert shown == [*range(30), *range(50, 100)]
    assert lengths == [30, 40, 10]
    assert report.made[0].cut_s == 1.0


def test_a_video_that_is_cut_off_is_kept_as_far_as_it_goes(tmp_path: Path, barcodes: Any) -> None:
    report = run(tmp_path, Counting(broken=(("a", "frames"),)))
    shown, states, _ = stored(tmp_path, barcodes)
    assert shown == numbers_of(states) == list(range(60))
    (one,) = report.made
    assert (one.lost_s, one.note) == (2.0, "the video is cut off")


def test_pictures_whose_time_goes_back_end_there(tmp_path: Path, barcodes: Any) -> None:
    report = run(tmp_path, Counting(broken=(("a", "clock"),)))
    assert stored(tmp_path, barcodes)[0] == list(range(61))
    assert "do not rise" in report.made[0].note


def test_a_screen_may_stand_still_for_a_second_but_not_for_longer(tmp_path: Path, barcodes: Any) -> None:
    report = run(tmp_path, Counting(num_frames=50))
    assert stored(tmp_path, barcodes)[0] == [*range(50), *[49] * 20]
    assert report.made[0].lost_s == 1.5


def test_before_the_first_picture_there_is_nothing(tmp_path: Path, barcodes: Any) -> None:
    report = run(tmp_path, Counting(first_frame=30))
    shown, states, _ = stored(tmp_path, barcodes)
    assert shown == numbers_of(states) == list(range(30, 100))
    assert report.made[0].lost_s == 1.5


@pytest.mark.parametrize("trouble", ["clip", "value", "endless", "frames at once", "frames crash", "events"])
def test_one_that_fails_is_reported_and_leaves_nothing(tmp_path: Path, barcodes: Any, trouble: str) -> None:
    report = run(tmp_path, Counting(ids=("a", "bad", "c"), broken=(("bad", trouble),)))
    assert [one.recording_id for one in report.made] == ["a", "c"]
    (failure,) = report.failures
    assert failure.recording_id == "bad"
    assert failure.failure
    assert list(tmp_path.glob("bad*")) == []
    assert stored(tmp_path, barcodes, "c")[0] == list(range(100))


@pytest.mark.parametrize("importer", [Counting(num_frames=0), Counting(num_ticks=19), Counting(first_frame=95)])
def test_less_than_a_second_is_refused(tmp_path: Path, importer: Counting) -> None:
    report = run(tmp_path, importer)
    assert "too short" in report.failures[0].failure or "no picture" in report.failures[0].failure
    assert list(tmp_path.glob("a*")) == []


def test_what_is_lost_is_counted(tmp_path: Path) -> None:
    more = (Label(10 * TICK, False), Label(20 * TICK, True), Move(30 * TICK, 10**6, 0))
    (one,) = run(tmp_path, Counting(more=more)).made
    assert one.unlabelled_ticks == 10
    assert one.unknown == {"Turbo": 2}
    assert one.inexpressible == {"motion beyond range": 1}


def test_the_same_call_again_skips_what_is_finished_and_begins_the_rest_anew(tmp_path: Path, barcodes: Any) -> None:
    run(tmp_path, Counting(ids=("a", "b"), broken=(("b", "clip"),)))
    stamp = (tmp_path / "a-0000.mp4").stat().st_mtime_ns
    for name in ("b-0000.mp4", "b-0000.draft.json", "b-0003.inputs.jsonl", "b-0001.json"):
        (tmp_path / name).write_bytes(b"left over")
    told: list[Ingested] = []
    report = ingest(IngestPlan(Counting(ids=("a", "b")), Path(__file__), tmp_path, CONFIG), told.append)
    assert (report.num_finished_before, [one.recording_id for one in report.made]) == (1, ["b"])
    assert len(told) == 2
    assert (tmp_path / "a-0000.mp4").stat().st_mtime_ns == stamp
    assert stored(tmp_path, barcodes, "b")[0] == list(range(100))
    assert scan(tmp_path).unfinished == ()


@pytest.mark.parametrize("changes", [{"height": 64}, {"offset_ms": 50.0}, {"fps": 10.0}])
def test_a_folder_does_not_mix_settings(tmp_path: Path, changes: dict[str, Any]) -> None:
    run(tmp_path, Counting())
    with pytest.raises(CorpusError, match="other settings"):
        run(tmp_path, Counting(), **changes)


def test_a_recording_whose_id_begins_like_another_is_left_alone(tmp_path: Path, barcodes: Any) -> None:
    run(tmp_path, Counting(ids=("a-0000",)))
    run(tmp_path, Counting(ids=("a",)))
    assert is_finished(tmp_path, "a-0000")
    assert stored(tmp_path, barcodes, "a-0000")[0] == list(range(100))


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda path: IngestPlan(Counting(ids=("a", "a")), path, path / "out"), "share the id"),
        (lambda path: IngestPlan(Counting(ids=()), path, path / "out"), "no recordings of format"),
        (lambda path: IngestPlan(Counting(), path / "nowhere", path / "out"), "nothing to ingest"),
        (lambda path: IngestPlan(Counting(ids=("../a",)), path, path / "out"), "cannot name a file"),
        (lambda path: IngestPlan(Counting(), path, path), "one folder"),
    ],
)
def test_what_cannot_be_run_is_refused_at_once(tmp_path: Path, make: Callable[[Path], IngestPlan], match: str) -> None:
    with pytest.raises(CorpusError, match=match):
        ingest(make(tmp_path))


def test_two_cannot_ingest_into_one_folder(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(CorpusError, match="another"):
        run(tmp_path, Counting())


def test_a_full_disk_ends_the_run_and_keeps_what_is_finished(tmp_path: Path, barcodes: Any) -> None:
    """A file may not grow beyond what the first recording needs: the same refusals as those of a full disk."""
    run(tmp_path, Counting())
    limit = max(path.stat().st_size for path in tmp_path.iterdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit // 2, hard))
        with pytest.raises(CorpusError, match="ingest stopped at recording b"):
            run(tmp_path, Counting(ids=("a", "b", "c")))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path.name.partition("-")[0] for path in tmp_path.glob("*-*")} == {"a"}
    assert run(tmp_path, Counting(ids=("a", "b", "c"))).num_finished_before == 1


@pytest.mark.parametrize(
    "changes",
    [{"height": 33}, {"width": 0}, {"fps": 0.0}, {"fps": float("nan")}, {"clip_ticks": 0}, {"offset_ms": float("nan")}],
)
def test_settings_that_cannot_be_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        IngestConfig(**changes)


def test_processes_make_the_same_files_as_this_one(tmp_path: Path) -> None:
    importer = Counting(ids=("a", "b", "bad"), broken=(("bad", "clip"),))
    reports = []
    for workers in (0, 2):
        config = IngestConfig(
            clip_ticks=40
        )  # not smaller: of tiny pictures, x264 itself does not always make the same bytes
        plan = IngestPlan(importer, Path(__file__), tmp_path / str(workers), config, workers=workers)
        reports.append(ingest(plan))
    assert reports[0] == reports[1]
    here, there = ({path.name: path.read_bytes() for path in (tmp_path / n).glob("*-*")} for n in ("0", "2"))
    assert here == there
    assert len(here) == 2 * 3 * 3


@settings(max_examples=20)
@given(
    st.lists(st.sampled_from(["HELLO", "PASSWORD", "MYBANK", "PUSHMID", "QUICKLY"]), min_size=1, max_size=3),
    st.floats(1.5, 3.0),
    st.sampled_from([KEYBOARD_MOUSE, EVERY_DEVICE]),
)
def test_a_typed_sentence_leaves_no_tick_behind(
    tmp_path_factory: pytest.TempPathFactory, words: list[str], start_s: float, bindings: Bindings
) -> None:
    """With the default bindings, which bind letters of it."""
    out = tmp_path_factory.mktemp("typed")
    keys = typed("".join(words), start_s)
    held = tuple(Release(key.t_ns + SECOND // 20, key.control) for key in keys if isinstance(key, Press))
    run(out, Counting(more=(*keys, *held), num_ticks=200, num_frames=200), bindings=bindings)
    labels = [Labels.from_lines(path.read_bytes(), path.name) for path in sorted(out.glob("*.inputs.jsonl"))]
    t_ns = np.concatenate([label.t_ns for label in labels])
    assert not ((t_ns > keys[0].t_ns - SECOND // 2) & (t_ns < keys[-1].t_ns + SECOND // 2)).any()
    assert not any(state.keys for label in labels for state in label.inputs)
    assert len(t_ns) > 20

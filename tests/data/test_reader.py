import dataclasses
import gc
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gi_data.clip_loader import ClipLoader
from gi_data.corpus import Corpus
from gi_data.reader import Reader, ReaderConfig, decode_clip
from gi_data.recording import RecordingWriter
from gi_model.actions import ActionSpace, AxisBinding, Bindings, InputState
from gi_model.batch import PADDING, Batch, Window
from gi_model.errors import ConfigError, CorpusError

CONFIG = ReaderConfig(height=16, width=48, window_ticks=6, batch_size=4, block_mb=1, cache_mb=2)


def windows(batches: Iterator[Batch], num_batches: int) -> list[Window]:
    return [window for batch in islice(batches, num_batches) for window in batch.windows]


def open_reader(corpus: Path, **changes: Any) -> Reader:
    return Reader(Corpus(corpus), dataclasses.replace(CONFIG, **changes))


@pytest.fixture
def copy(corpus_path: Path, tmp_path: Path) -> Path:
    """A corpus that a test may damage."""
    return Path(shutil.copytree(corpus_path, tmp_path / "corpus"))


def damage(corpus: Path, key: str) -> None:
    """Change the bytes of a clip's video."""
    index = Corpus(corpus)
    row = next(row for row in map(index.row, range(index.num_clips)) if row.key == key)
    with (corpus / row.shard).open("rb+") as file:
        file.seek(row.video_offset + 600)
        file.write(b"\x00" * 200)


# ---------------------------------------------------------------------- what a batch holds


@pytest.mark.parametrize("split", ["train", "val"])
def test_every_frame_meets_its_own_label(corpus_path: Path, barcodes: Any, split: str) -> None:
    with open_reader(corpus_path, split=split) as reader:
        space = reader.action_space
        for batch in islice(iter(reader), 20):
            for row, (key, start) in enumerate(batch.windows):
                if (key, start) == PADDING:
                    continue
                frames = batch.frames[row].permute(0, 2, 3, 1).numpy()
                shown = [barcodes.number(frame) for frame in frames]
                game, recording, part = key.split("-")
                first = int(recording) + 40 * int(part) + start
                assert shown == list(range(first, first + 6))
                labels = [barcodes.number_of(space.decode(tokens)) for tokens in batch.actions[row].numpy()]
                assert labels == shown
                assert bool(batch.previous_known[row]) == (start > 0)
                if start:
                    assert barcodes.number_of(space.decode(batch.previous[row].numpy())) == first - 1
                assert reader.corpus.games[int(batch.game_id[row])] == game


def test_batches_have_the_shapes_and_types_they_promise(corpus_path: Path) -> None:
    with open_reader(corpus_path) as reader:
        batch = next(iter(reader))
    assert (batch.frames.dtype, batch.frames.shape) == (torch.uint8, (4, 6, 3, 16, 48))
    assert (batch.actions.dtype, batch.actions.shape) == (torch.int64, (4, 6, 14))
    assert (batch.known.dtype, batch.known.shape) == (torch.bool, (4, 6))
    assert batch.known.all()
    moved = batch.to("meta")
    assert moved.frames.device.type == moved.previous_known.device.type == "meta"
    assert moved.windows == batch.windows


def test_parts_that_do_not_fit_together_are_refused(corpus_path: Path) -> None:
    with open_reader(corpus_path) as reader:
        batch = next(iter(reader))
    with pytest.raises(CorpusError, match="do not fit"):
        dataclasses.replace(batch, actions=batch.actions[:, :-1])


def test_a_decoded_clip_is_the_recorded_play(corpus_path: Path, barcodes: Any) -> None:
    corpus = Corpus(corpus_path)
    for clip_id in range(corpus.num_clips):
        clip = decode_clip(corpus, clip_id, height=16, width=48)
        numbers = [barcodes.number(frame) for frame in clip.frames]
        assert clip.inputs == tuple(map(barcodes.state, numbers))
        np.testing.assert_array_equal(clip.t_ns, np.array(numbers) * 50_000_000)
        assert (clip.game, clip.license, clip.bindings) == (clip.key.split("-")[0], "CC0-1.0", barcodes.bindings)


def test_games_have_equal_shares(corpus_path: Path) -> None:
    with open_reader(corpus_path) as reader:
        for batch in islice(iter(reader), 30):
            assert Counter(batch.game_id.tolist()) == {0: 2, 1: 2}


def test_unknown_ticks_arrive_as_unknown(tmp_path: Path, barcodes: Any, make_corpus: Any) -> None:
    with RecordingWriter(tmp_path / "recordings", "holes", barcodes.info()) as writer:
        for number in range(60):
            writer.append(barcodes.frame(number), barcodes.state(number), t_ns=number, known=number % 5 != 0)
    with open_reader(make_corpus(tmp_path / "recordings", tmp_path / "corpus")) as reader:
        for batch in islice(iter(reader), 10):
            for row, (_, start) in enumerate(batch.windows):
                assert batch.known[row].tolist() == [(start + tick) % 5 != 0 for tick in range(6)]
                assert bool(batch.previous_known[row]) == (start > 0 and (start - 1) % 5 != 0)


def test_what_the_action_space_cannot_express_is_counted_once(tmp_path: Path, barcodes: Any, make_corpus: Any) -> None:
    keys = [f"Digit{digit}" for digit in range(10)]
    bindings = Bindings({key: key for key in keys}, {"turn": AxisBinding("motion.x", 1.0)})
    crowded = InputState(keys=frozenset(keys), motion=(9999, 0))
    with RecordingWriter(tmp_path / "recordings", "crowd", barcodes.info(bindings=bindings)) as writer:
        for number in range(20):
            writer.append(barcodes.frame(number), crowded if number < 3 else InputState(), t_ns=number)
    corpus = make_corpus(tmp_path / "recordings", tmp_path / "corpus")
    expected = {"more held than slots": 6, "motion beyond range": 3}
    with open_reader(corpus) as reader:
        windows(iter(reader), 30)
        assert reader.lost == expected
    loader = ClipLoader(Corpus(corpus), ActionSpace(), height=16, width=48)
    for _ in range(2):  # as after the cache dropped it
        loader.load(0)
        assert loader.lost == expected


# ---------------------------------------------------------------------- commands of direct actuators


def record_commands(folder: Path, name: str, barcodes: Any, *, num_commands: int = 2, num_labelled: int = 60) -> None:
    """Tick t commands t, t + 1, ... hundredths; every seventh tick nothing. The clip has 60 ticks."""
    with RecordingWriter(folder, name, barcodes.info()) as writer:
        for number in range(60):
            told = tuple(float(np.float32((number + index) / 100)) for index in range(num_commands))
            state = dataclasses.replace(barcodes.state(number), commands=told if number % 7 else ())
            known = number < num_labelled
            writer.append(barcodes.frame(number), state if known else InputState(), t_ns=number, known=known)


@pytest.mark.parametrize("split", ["train", "val"])
def test_every_frame_meets_its_own_commands(tmp_path: Path, barcodes: Any, make_corpus: Any, split: str) -> None:
    for index in range(3):
        record_commands(tmp_path / "recordings", f"r-{index}", barcodes)
    corpus = make_corpus(tmp_path / "recordings", tmp_path / "corpus")
    with open_reader(corpus, split=split, num_commands=2) as reader:
        for batch in islice(iter(reader), 10):
            assert batch.commands is not None
            assert batch.commands.dtype == torch.float32
            for row, window in enumerate(batch.windows):
                numbers = window.start + np.arange(6)
                expected = np.stack([numbers, numbers + 1], axis=1).astype(np.float32) / np.float32(100)
                expected[(numbers % 7 == 0) | (window == PADDING)] = np.nan
                np.testing.assert_array_equal(batch.commands[row].numpy(), expected)


def test_commands_come_only_where_they_are_asked_for_and_change_no_order(
    tmp_path: Path, barcodes: Any, make_corpus: Any
) -> None:
    for index in range(3):
        record_commands(tmp_path / "recordings", f"r-{index}", barcodes)
    corpus = make_corpus(tmp_path / "recordings", tmp_path / "corpus")
    with open_reader(corpus) as without, open_reader(corpus, num_commands=2) as with_them:
        for a, b in zip(islice(iter(without), 8), islice(iter(with_them), 8), strict=True):
            assert a.commands is None
            assert a.windows == b.windows
            assert torch.equal(a.actions, b.actions)
        with_them.load_state_dict(without.state_dict())


@pytest.mark.parametrize("num_commands", [0, 1, 3])
def test_a_clip_of_another_body_is_damaged(tmp_path: Path, barcodes: Any, make_corpus: Any, num_commands: int) -> None:
    for index in range(3):
        record_commands(tmp_path / "recordings", f"good-{index}", barcodes)
    record_commands(tmp_path / "recordings", "odd", barcodes, num_commands=num_commands)
    corpus = make_corpus(tmp_path / "recordings", tmp_path / "corpus", val_fraction=0.0)
    with open_reader(corpus, num_commands=2, max_bad_clips=1) as reader:
        read = windows(iter(reader), 30)
        assert {window.key for window in read} == {f"good-{index}-0000" for index in range(3)}
        (why,) = reader.bad_clips.values()
    assert f"clip odd-0000 is of another body; got {num_commands} commands a tick; expected 2" in why
    with open_reader(corpus, num_commands=2, max_bad_clips=0) as strict, pytest.raises(CorpusError, match="too many"):
        windows(iter(strict), 30)


def test_a_clip_of_which_nothing_is_known_commands_nothing(tmp_path: Path, barcodes: Any, make_corpus: Any) -> None:
    record_commands(tmp_path / "recordings", "film", barcodes, num_labelled=0)
    with open_reader(make_corpus(tmp_path / "recordings", tmp_path / "corpus"), num_commands=2) as reader:
        batch = next(iter(reader))
    assert batch.commands is not None
    assert batch.commands.isnan().all()
    assert not reader.bad_clips


def test_kept_labels_are_bounded_in_bytes(
    tmp_path: Path, barcodes: Any, make_corpus: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room for two clips of three, less with commands."""
    for index in range(3):
        record_commands(tmp_path / "recordings", f"r-{index}", barcodes)
    corpus = Corpus(make_corpus(tmp_path / "recordings", tmp_path / "corpus"))
    monkeypatch.setattr("gi_data.clip_loader.MAX_KEPT_BYTES", 60 * (2 * ActionSpace().num_tokens + 1) * 2)
    for num_commands, num_kept in ((0, 2), (2, 1)):
        loader = ClipLoader(corpus, ActionSpace(), height=16, width=48, num_commands=num_commands)
        for clip_id in range(3):
            loader.load(clip_id)
        assert len(loader._kept) == num_kept


# ---------------------------------------------------------------------- resuming


@pytest.mark.parametrize("cut", [0, 1, 3, 11, 40])
def test_resumed_is_uninterrupted(corpus_path: Path, cut: int) -> None:
    with open_reader(corpus_path) as reader:
        uninterrupted = windows(iter(reader), 60)
    with open_reader(corpus_path) as first:
        before = windows(iter(first), cut)
        state = first.state_dict()
    with open_reader(corpus_path, prefetch_batches=1, decode_threads=1, cache_mb=3) as second:
        second.load_state_dict(state)
        between = windows(iter(second), 7)
        state = second.state_dict()
    with open_reader(corpus_path) as third:
        third.load_state_dict(state)
        after = windows(iter(third), 60 - cut - 7)
    assert before + between + after == uninterrupted


def test_resumed_batches_are_equal_bit_for_bit(corpus_path: Path) -> None:
    with open_reader(corpus_path) as reader:
        batches = list(islice(iter(reader), 12))
    with open_reader(corpus_path) as resumed:
        resumed.load_state_dict({**resumed.state_dict(), "position": 7 * 4})
        for batch, expected in zip(islice(iter(resumed), 5), batches[7:], strict=True):
            for field in ("frames", "actions", "known", "previous", "previous_known", "game_id"):
                assert torch.equal(getattr(batch, field), getattr(expected, field))


def test_prefetched_batches_do_not_count(corpus_path: Path) -> None:
    with open_reader(corpus_path, prefetch_batches=8) as reader:
        batches = iter(reader)
        for consumed in range(5):
            assert reader.state_dict()["position"] == 4 * consumed
            next(batches)


def test_iterating_again_goes_on(corpus_path: Path) -> None:
    with open_reader(corpus_path) as reader:
        uninterrupted = windows(iter(reader), 20)
    with open_reader(corpus_path) as reader:
        assert windows(iter(reader), 8) + windows(iter(reader), 12) == uninterrupted


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1), (2, 4), (4, 2)])
def test_another_world_size_leaves_the_same_windows(corpus_path: Path, before: int, after: int) -> None:
    def remaining(world_size: int, state: dict[str, Any]) -> list[list[Window]]:
        per_rank = []
        for rank in range(world_size):
            with open_reader(corpus_path, rank=rank, world_size=world_size) as reader:
                reader.load_state_dict(state)
                per_rank.append(windows(iter(reader), 30))
        return per_rank

    with open_reader(corpus_path, rank=before - 1, world_size=before) as reader:
        windows(iter(reader), 9)
        state = reader.state_dict()
    same, other = remaining(before, state), remaining(after, state)
    assert Counter(window for rank in same for window in rank) == Counter(window for rank in other for window in rank)
    assert {len(rank) for rank in other} == {30 * 4 // after}


@pytest.mark.parametrize("change", [{"seed": 1}, {"window_ticks": 5}, {"temperature": 2.0}, {"split": "val"}])
def test_a_state_of_another_order_is_refused(corpus_path: Path, change: dict[str, Any]) -> None:
    with open_reader(corpus_path) as reader:
        state = reader.state_dict()
    name = next(iter(change))
    with open_reader(corpus_path, **change) as other, pytest.raises(CorpusError, match=f"another {name}"):
        other.load_state_dict(state)


def test_a_state_of_another_corpus_is_refused(
    corpus_path: Path, tmp_path: Path, barcodes: Any, make_corpus: Any
) -> None:
    barcodes.record(tmp_path / "recordings", "other")
    with open_reader(make_corpus(tmp_path / "recordings", tmp_path / "corpus")) as other:
        state = other.state_dict()
    with open_reader(corpus_path) as reader, pytest.raises(CorpusError, match="another corpus"):
        reader.load_state_dict(state)


# ---------------------------------------------------------------------- ranks and passes


def test_two_ranks_partition_the_windows(corpus_path: Path) -> None:
    with open_reader(corpus_path) as alone:
        together = windows(iter(alone), 40)
    shares = []
    for rank in range(2):
        with open_reader(corpus_path, rank=rank, world_size=2) as reader:
            shares.append(windows(iter(reader), 40))
    assert [len(share) for share in shares] == [80, 80]
    assert shares[0] == together[0::2]
    assert shares[1] == together[1::2]


def test_ten_windows_over_two_ranks_are_five_and_five(tmp_path: Path, barcodes: Any, make_corpus: Any) -> None:
    for name in ("a", "b"):
        barcodes.record(tmp_path / "recordings", name, num_ticks=64)  # parts of 40 and 24 ticks: 6 + 4 windows
    corpus = make_corpus(tmp_path / "recordings", tmp_path / "corpus", val_fraction=0.5)
    shares = []
    for rank in range(2):
        with open_reader(corpus, split="val", rank=rank, world_size=2) as reader:
            batches = list(reader)
        assert [len(batch) for batch in batches] == [2, 2, 2]
        shares.append([window for batch in batches for window in batch.windows if window != PADDING])
    assert [len(share) for share in shares] == [5, 5]
    assert len(set(shares[0] + shares[1])) == 10


def test_a_validation_pass_reads_each_window_once_and_pads_the_last_batch(corpus_path: Path) -> None:
    with open_reader(corpus_path, split="val", batch_size=5) as reader:
        first, second = list(reader), list(reader)
        num_windows = reader.num_windows
    assert [batch.windows for batch in first] == [batch.windows for batch in second]
    assert {len(batch) for batch in first} == {5}
    real = [window for batch in first for window in batch.windows if window != PADDING]
    assert len(real) == len(set(real)) == num_windows
    assert sum(int(batch.known.any(dim=1).sum()) for batch in first) == num_windows
    assert num_windows % 5


def test_validation_is_the_same_whatever_the_seed(corpus_path: Path) -> None:
    with open_reader(corpus_path, split="val") as one, open_reader(corpus_path, split="val", seed=9) as other:
        assert [batch.windows for batch in one] == [batch.windows for batch in other]


# ---------------------------------------------------------------------- damage


def test_a_damaged_clip_is_replaced_and_counted(copy: Path) -> None:
    corpus = Corpus(copy)
    victims = [corpus.row(int(clip_id)).key for clip_id in corpus.select("train")][:2]
    with open_reader(copy) as reader:
        sound = windows(iter(reader), 60)
    for key in victims:
        damage(copy, key)
    with open_reader(copy) as reader:
        patched = windows(iter(reader), 60)
        assert sorted(reader.bad_clips) == sorted(victims)
    assert not {key for key, _ in patched} & set(victims)
    assert [new for old, new in zip(sound, patched, strict=True) if old.key not in victims] == [
        old for old in sound if old.key not in victims
    ]
    assert all(old.key.split("-")[0] == new.key.split("-")[0] for old, new in zip(sound, patched, strict=True))
    with open_reader(copy) as resumed:
        resumed.load_state_dict({**resumed.state_dict(), "position": 31 * 4})
        assert windows(iter(resumed), 29) == patched[31 * 4 :]


def test_too_many_damaged_clips_stop_the_reader(copy: Path) -> None:
    corpus = Corpus(copy)
    for clip_id in corpus.select("train")[:2].tolist():
        damage(copy, corpus.row(clip_id).key)
    with open_reader(copy, max_bad_clips=1) as reader, pytest.raises(CorpusError, match="too many damaged clips"):
        windows(iter(reader), 60)


def test_a_game_without_a_sound_clip_stops_the_reader(copy: Path) -> None:
    corpus = Corpus(copy)
    for clip_id in corpus.select("train").tolist():
        if corpus.row(clip_id).game == "maze":
            damage(copy, corpus.row(clip_id).key)
    with open_reader(copy) as reader, pytest.raises(CorpusError, match="every clip of a game"):
        windows(iter(reader), 5)


def test_a_split_without_clips_and_windows_longer_than_clips_are_refused(
    corpus_path: Path, tmp_path: Path, recordings: Path, make_corpus: Any
) -> None:
    with pytest.raises(CorpusError, match="val-fraction"):
        open_reader(make_corpus(recordings, tmp_path / "corpus", val_fraction=0.0), split="val")
    with pytest.raises(CorpusError, match="as long as a window"):
        open_reader(corpus_path, window_ticks=41)


@pytest.mark.parametrize(
    "change",
    [
        {"batch_size": 3, "world_size": 2},
        {"rank": 1},
        {"cache_mb": 1},
        {"window_ticks": 0},
        {"seed": -1},
        {"num_commands": -1},
        {"num_commands": 33},
    ],
)
def test_settings_that_cannot_work_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        dataclasses.replace(CONFIG, **change)


# ---------------------------------------------------------------------- threads and memory


def reader_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(("prefetch", "decode"))]


def test_an_abandoned_iteration_leaves_no_thread(corpus_path: Path) -> None:
    windows(iter(open_reader(corpus_path)), 3)
    gc.collect()
    for thread in threading.enumerate():
        if thread.name.startswith("decode"):
            thread.join(timeout=5)
    assert reader_threads() == []


def test_closing_while_others_wait_leaves_no_thread(corpus_path: Path) -> None:
    reader = open_reader(corpus_path, prefetch_batches=1)
    batches = iter(reader)
    next(batches)
    reader.close()
    reader.close()
    assert reader_threads() == []
    assert next(batches, None) is None


def test_a_small_cache_gives_the_same_windows(corpus_path: Path) -> None:
    """At 32x96, the corpus is 5 MB decoded: 2 MB hold less than half of it."""
    size = {"height": 32, "width": 96}
    with open_reader(corpus_path, **size, cache_mb=2) as small, open_reader(corpus_path, **size, cache_mb=64) as large:
        assert windows(iter(small), 40) == windows(iter(large), 40)


def test_waiting_for_data_is_measured(corpus_path: Path) -> None:
    with open_reader(corpus_path) as reader:
        batches = iter(reader)
        assert reader.wait_s == 0
        next(batches)
        assert reader.wait_s > 0

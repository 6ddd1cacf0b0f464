from pathlib import Path

import numpy as np
import pytest

from gi_data.bench_play import CLIP_TICKS, GAMES, make_corpus, play
from gi_data.corpus import Corpus


def test_play_is_real_large_and_the_same_each_time() -> None:
    first = list(play(GAMES[0], 12, screen_height=240))
    again = list(play(GAMES[0], 12, screen_height=240))
    assert {frame.shape for frame, _ in first} == {(240, 320, 3)}
    assert any((frame != first[0][0]).any() for frame, _ in first)
    for (frame, state), (other_frame, other_state) in zip(first, again, strict=True):
        np.testing.assert_array_equal(frame, other_frame)
        assert state == other_state


@pytest.mark.slow  # plays three games
def test_the_corpus_holds_every_frame_in_clips_of_whole_windows(tmp_path: Path) -> None:
    steps: list[int] = []
    corpus = Corpus(make_corpus(tmp_path, 3 * CLIP_TICKS, size=64, advance=lambda: steps.append(1)))
    assert len(steps) == 3 * CLIP_TICKS
    assert corpus.num_ticks.tolist() == [CLIP_TICKS] * 3
    assert corpus.games == tuple(sorted(GAMES))
    row = corpus.row(0)
    assert (row.height, row.width, row.fps) == (64, 64, 35.0)
    assert len(corpus.read_video(row)) > 10_000

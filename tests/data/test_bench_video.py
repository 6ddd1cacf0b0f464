import json
from dataclasses import replace

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from gi_data import cli_bench_data
from gi_data.bench_video import NO_CODEC, VideoScore, run
from gi_data.bench_video_grid import CHOSEN, GRID, QUICK, Setting, by_size
from gi_data.video_writer import CRF, GOP
from gi_model.errors import ConfigError
from gi_model.frames import Frame

SMALL = replace(CHOSEN, height=48, width=64)


def moving(num_frames: int, height: int, width: int) -> list[Frame]:
    """A smooth scene that slides and flickers a little."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[0:height, 0:width]
    frames = []
    for tick in range(num_frames):
        waves = np.stack([np.sin((x + 3 * tick) / 9), np.cos((y - tick) / 7), np.sin((x + y) / 11)], axis=-1)
        noise = random.normal(0, 3, waves.shape)
        frames.append((128 + 90 * waves + noise).clip(0, 255).astype(np.uint8))
    return frames


def scores_of(*settings: Setting, num_frames: int = 40) -> list[VideoScore]:
    return list(run(settings, num_frames, repetitions=1, source=moving).scores)


def test_every_setting_is_scored_beside_the_ceiling() -> None:
    scores = scores_of(SMALL, replace(SMALL, gop=1), replace(SMALL, height=32, width=32))
    assert [score.setting == NO_CODEC for score in scores] == [True, False, True, False, False]
    for score in scores:
        if score.setting != NO_CODEC:
            times = (score.encode_frames_per_cpu_s, score.decode_us, score.planes_us, score.window_us)
            assert min(times) > 0
            assert 20 < score.psnr_db < 60
            assert score.gb_per_hour > 0


def test_the_axes_turn_the_way_they_should() -> None:
    """All keyframes cost bytes; a higher crf costs quality and saves bytes."""
    _, usual, keyframes, coarse = scores_of(SMALL, replace(SMALL, gop=1), replace(SMALL, crf=CRF + 15))
    assert keyframes.gb_per_hour > 1.2 * usual.gb_per_hour
    assert coarse.gb_per_hour < usual.gb_per_hour
    assert coarse.psnr_db < usual.psnr_db


def test_bytes_are_those_of_an_hour_at_35_frames_a_second() -> None:
    raw = scores_of(SMALL)[0]
    assert raw.gb_per_hour == pytest.approx(48 * 64 * 1.5 * 35 * 3600 / 1e9)


def test_an_encoder_that_is_absent_is_noted_and_skipped() -> None:
    report = run((SMALL, replace(SMALL, codec="libnone")), 20, repetitions=1, source=moving)
    assert len(report.scores) == 2
    assert len(report.notes) == 1
    assert "libnone" in report.notes[0]


def test_with_no_encoder_at_all_there_is_nothing_but_notes() -> None:
    report = run((replace(SMALL, codec="libnone"),), 20, repetitions=1, source=moving)
    assert (report.scores, len(report.notes)) == ((), 1)


@pytest.mark.parametrize(("num_frames", "repetitions"), [(15, 1), (0, 1), (40, 0)])
def test_too_little_to_measure_is_refused(num_frames: int, repetitions: int) -> None:
    with pytest.raises(ConfigError, match="too little"):
        run((SMALL,), num_frames, repetitions=repetitions, source=moving)


def test_the_grid_starts_from_what_is_recorded_and_repeats_nothing() -> None:
    assert (CHOSEN.gop, CHOSEN.crf, CHOSEN.b_frames) == (GOP, CRF, 0)
    assert len(set(GRID)) == len(GRID)
    assert CHOSEN in GRID
    assert CHOSEN in QUICK
    assert sum(len(group) for _, group in by_size(GRID)) == len(GRID)


@pytest.mark.slow  # real Doom, and encoders that take their time
def test_scripts_get_real_play_as_json() -> None:
    app = typer.Typer()
    cli_bench_data.register(app)
    arguments = ["video", "--quick", "--frames", "33", "--repetitions", "1", "--json"]
    facts = json.loads(CliRunner().invoke(app, arguments, catch_exceptions=False).stdout)
    assert set(facts) == {"frames", "fps", "scores", "notes", "machine"}
    assert len(facts["scores"]) == 1 + len(QUICK)
    names = ("setting", "height", "width", "gb_per_hour", "psnr_db", "encode_frames_per_cpu_s")
    assert set(facts["scores"][0]) == {*names, "decode_us", "planes_us", "window_us"}

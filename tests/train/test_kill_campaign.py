"""A run that is killed again and again, on changing numbers of ranks, consumes what an uninterrupted one does."""

import dataclasses
import hashlib
import json
import random
import signal
from pathlib import Path
from typing import Any

import pytest

from gi_model.config import preset
from gi_train.config import TrainConfig
from gi_train.run_files import RunPaths, read_rows
from tests.train.ranks import STOPPED, Ranks, Run, last_step, train

NUM_KILLS = 20
WORLD_SIZES = (2, 1, 2)
DECODE_THREADS = (1, 2, 1)
NUM_STEPS_BEFORE_CHAOS = 120  # later, what two ranks round otherwise than one has grown to percents of the loss

POLICY = preset("debug").replace(height=32, width=48)
TRAIN = TrainConfig(
    steps=320,
    batch_size=4,
    window_ticks=5,
    warmup_steps=2,
    log_every=1,
    evaluate_every=200,
    evaluate_batches=2,
    save_every=7,
    log_windows=True,
)


def consumed(out: Path) -> list[list[tuple[str, int]]]:
    """Windows of each step in the order of the whole batch, as the attempt that counted consumed them."""
    attempts = {int(path.stem.split("-")[1]): _last_rows(path) for path in out.glob("windows-*.jsonl")}
    steps = []
    for step in range(len(attempts[0])):
        world_size = attempts[0][step]["world_size"]
        shares = [attempts[rank][step]["windows"] for rank in range(world_size)]
        steps.append([(str(key), int(start)) for row in zip(*shares, strict=True) for key, start in row])
    return steps


def _last_rows(path: Path) -> dict[int, dict[str, Any]]:
    """Rows by step; of a step that was done again, the last."""
    rows = {}
    for line in path.read_text().splitlines():
        try:
            row = json.loads(line)
        except ValueError:  # empty, or cut short by a kill
            continue
        rows[row["step"]] = row
    return rows


def fingerprint(steps: list[list[tuple[str, int]]]) -> str:
    return hashlib.sha256(json.dumps(steps).encode()).hexdigest()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twenty_kills_lose_and_repeat_nothing(corpus_path: Path, tmp_path: Path) -> None:
    """Half SIGTERM to one rank (all agree, save, leave), half SIGKILL of one rank; then on with another world size."""
    dice = random.Random(0)
    calm = Run(corpus_path, tmp_path / "calm", POLICY, TRAIN)
    train(calm)
    numbers = [signal.SIGTERM, signal.SIGKILL] * (NUM_KILLS // 2)
    dice.shuffle(numbers)
    storm = Run(corpus_path, tmp_path / "storm", POLICY, TRAIN)
    for kill, number in enumerate(numbers):
        threads = DECODE_THREADS[kill % len(DECODE_THREADS)]
        run = dataclasses.replace(storm, config=TRAIN.replace(decode_threads=threads))
        world_size = WORLD_SIZES[kill % len(WORLD_SIZES)]
        with Ranks(run, world_size) as ranks:
            assert ranks.wait_for_step(last_step(storm.out) + dice.randint(1, 8)), "the run ended before its kills"
            ranks.signal(number, dice.randrange(world_size))
            if number == signal.SIGTERM:
                assert ranks.join() == [STOPPED] * world_size
    assert last_step(storm.out) < TRAIN.steps
    train(storm, world_size=2)

    assert len(consumed(calm.out)) == len(consumed(storm.out)) == TRAIN.steps
    assert fingerprint(consumed(storm.out)) == fingerprint(consumed(calm.out))
    early = slice(NUM_STEPS_BEFORE_CHAOS)
    assert losses(storm.out)[early] == pytest.approx(losses(calm.out)[early], rel=1e-4)


def losses(out: Path) -> list[float]:
    rows = read_rows(RunPaths(out).metrics)
    return [row["loss"] for row in rows if row["kind"] == "train"]


@pytest.mark.slow
def test_a_stop_in_an_evaluation_is_agreed_on(corpus_path: Path, tmp_path: Path) -> None:
    """SIGTERM reaches one of two ranks while both evaluate; the run saves, and goes on with the evaluation it owes."""
    config = TRAIN.replace(steps=6, evaluate_every=3, evaluate_batches=10_000)
    run = Run(corpus_path, tmp_path / "stopped", POLICY, config)
    with Ranks(run, 2) as ranks:
        assert ranks.wait_for_step(3)
        ranks.signal(signal.SIGTERM, 1)
        assert ranks.join() == [STOPPED] * 2
    train(run)
    calm = Run(corpus_path, tmp_path / "calm", POLICY, config)
    train(calm)
    rows, expected = (
        [row for row in read_rows(RunPaths(out).metrics) if row["kind"] == "val"] for out in (run.out, calm.out)
    )
    assert [row["step"] for row in rows] == [row["step"] for row in expected] == [3, 6]
    assert rows[-1]["loss"] == pytest.approx(expected[-1]["loss"], rel=1e-3)

"""Jobs in processes: results come back, a crash costs one job, and workers end with whoever started them."""

import os
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import pytest

from gi_data.engines import map_local

SLEEPER = """
import sys, time
from pathlib import Path
from gi_data.engines import map_local
from tests.data.test_engines import beat
list(map_local(beat, [Path(sys.argv[1])], workers=1, on_death=lambda job, why: None))
"""


def square(number: int) -> int | str:
    if number < 0:
        os._exit(9)
    return number * number


def beat(path: Path) -> None:
    """Write to a file, on and on."""
    for number in range(100_000):
        path.write_text(str(number))
        time.sleep(0.01)


def run(jobs: list[int], workers: int) -> Generator[int | str, None, None]:
    return map_local(square, jobs, workers=workers, on_death=lambda job, why: f"{job}: {why}")


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_every_job_has_its_result(workers: int) -> None:
    assert sorted(map(str, run([3, 1, 2], workers))) == ["1", "4", "9"]
    assert list(run([], workers)) == []


def test_a_crash_costs_the_job_it_happens_in() -> None:
    got = sorted(map(str, run([1, -1, 2, -2, 3], 2)))
    assert got == ["-1: its process died with exit code 9", "-2: its process died with exit code 9", "1", "4", "9"]


def test_whoever_stops_listening_ends_the_workers(tmp_path: Path) -> None:
    with closing(run([1, 2, 3, 4], 2)) as results:
        next(results)
    beats = tmp_path / "beats"
    with closing(map_local(beat, [beats], workers=1, on_death=print)):
        pass
    assert not beats.exists()


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    beats = tmp_path / "beats"
    with subprocess.Popen([sys.executable, "-c", SLEEPER, str(beats)], cwd=Path(__file__).parents[2]) as parent:
        while not beats.exists():
            assert parent.poll() is None
            time.sleep(0.01)
        parent.kill()
    time.sleep(0.5)
    last = beats.read_text()
    time.sleep(0.3)
    assert beats.read_text() == last

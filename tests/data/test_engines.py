"""Jobs in processes: results come back, a crash costs one job, and workers end with whoever started them."""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import pytest

from gi_data.curation.config import default_steps
from gi_data.curation.curate import CurationRun, curate
from gi_data.curation.signal_cache import engine
from gi_data.engine_ray import map_ray
from gi_data.engines import EngineName, map_local
from gi_data.ingest.convert import IngestConfig
from gi_data.ingest.importers import list_importers
from gi_data.ingest.ingest import IngestPlan, ingest
from gi_data.ingest.recordings import RecordingsImporter
from gi_data.ingest.source import Importer
from gi_model.errors import ConfigError, GiError

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


def name_of(importer: Importer) -> str:
    return importer.name


def test_every_importer_travels_to_a_worker() -> None:
    importers = {name: one for name, one in list_importers().items() if not isinstance(one, GiError)}
    assert len(importers) >= 9
    got = map_local(name_of, list(importers.values()), workers=1, on_death=lambda job, why: f"{job}: {why}")
    assert list(got) == list(importers)


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


@pytest.fixture(scope="module")
def ray_cluster() -> Generator[None, None, None]:
    """Two workers on this machine."""
    import ray

    ray.init(num_cpus=2, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.slow  # starting Ray takes ten seconds
@pytest.mark.usefixtures("ray_cluster")
def test_a_cluster_gives_the_same_results() -> None:
    got = map_ray(square, [3, 1, 2], workers=0, on_death=lambda job, why: f"{job}: {why}")
    assert sorted(map(str, got)) == ["1", "4", "9"]


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_a_crash_on_a_cluster_costs_its_job() -> None:
    got = list(map_ray(square, [3, -1, 2], workers=2, on_death=lambda job, why: f"{job}: {why}"))
    assert sorted(map(str, got)) == ["-1: its Ray task died; the logs of Ray say why", "4", "9"]


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_a_cluster_writes_the_same_bytes(recordings: Path, tmp_path: Path) -> None:
    reports, files = [], []
    names: tuple[EngineName, ...] = ("local", "ray")
    for name in names:
        out = tmp_path / name
        config = IngestConfig()  # not smaller: of 48 x 16 pixels, x264 itself does not always make the same bytes
        reports.append(ingest(IngestPlan(RecordingsImporter(), recordings, out, config, None, 2, name)))
        files.append({path.name: path.read_bytes() for path in out.glob("*-*")})
    assert reports[0] == reports[1]
    assert len(reports[0].made) == 6
    assert files[0] == files[1]
    assert len(files[0]) == 6 * 3


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_a_cluster_curates_alike(corpus_path: Path, tmp_path: Path) -> None:
    indexes = []
    names: tuple[EngineName, ...] = ("local", "ray")
    for name in names:
        curate(corpus_path, tmp_path / name, default_steps(), CurationRun(engine=engine(name, workers=2)))
        indexes.append((tmp_path / name / "index.parquet").read_bytes())
    assert indexes[0] == indexes[1]


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match="Ray is not installed"):
        list(map_ray(square, [1], workers=1, on_death=lambda job, why: f"{job}: {why}"))

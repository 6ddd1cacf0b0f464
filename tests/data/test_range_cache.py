import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gi_data.range_cache import RangeCache
from gi_model.errors import ConfigError


def entry(number: int, size: int = 100) -> tuple[str, bytes]:
    content = number.to_bytes(4, "big") * (size // 4)
    return hashlib.sha256(content).hexdigest(), content


def age(cache: RangeCache, sha256: str, seconds: int) -> None:
    """Make an entry look as if last used so long before the others."""
    path = cache.directory / sha256[:2] / sha256
    os.utime(path, (path.stat().st_atime, path.stat().st_mtime - seconds))


def test_what_was_put_is_got(tmp_path: Path) -> None:
    cache = RangeCache(tmp_path / "new" / "cache", 10_000)
    sha256, content = entry(1)
    assert cache.get(sha256) is None
    cache.put(sha256, content)
    cache.put(sha256, content)
    assert cache.get(sha256) == content
    assert RangeCache(cache.directory, 10_000).get(sha256) == content
    assert cache.num_bytes() == 100


@given(st.lists(st.integers(4, 500), max_size=60))
@settings(max_examples=30, deadline=None)
def test_the_bound_holds_after_every_put(tmp_path_factory: pytest.TempPathFactory, sizes: list[int]) -> None:
    cache = RangeCache(tmp_path_factory.mktemp("cache"), 1000)
    for number, size in enumerate(sizes):
        sha256, content = entry(number, 4 * (size // 4))
        cache.put(sha256, content)
        assert cache.num_bytes() <= 1000
        assert cache.get(sha256) == content


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    cache = RangeCache(tmp_path, 300)
    for number in range(3):
        cache.put(*entry(number))
    for number in range(3):
        age(cache, entry(number)[0], 100 - number)
    assert cache.get(entry(0)[0])  # used again
    cache.put(*entry(3))
    assert [cache.get(entry(number)[0]) is not None for number in range(4)] == [True, False, True, True] or [
        cache.get(entry(number)[0]) is not None for number in range(4)
    ] == [True, False, False, True]  # room is made a little ahead


def test_a_damaged_entry_is_dropped(tmp_path: Path) -> None:
    cache = RangeCache(tmp_path, 1000)
    sha256, content = entry(1)
    cache.put(sha256, content)
    (tmp_path / sha256[:2] / sha256).write_bytes(content[:-1] + b"?")
    assert cache.get(sha256) is None
    cache.put(sha256, content)
    assert cache.get(sha256) == content


def test_what_is_larger_than_the_bound_is_not_kept(tmp_path: Path) -> None:
    cache = RangeCache(tmp_path, 50)
    cache.put(*entry(1))
    assert cache.num_bytes() == 0


def test_leftovers_of_killed_processes_count_and_go(tmp_path: Path) -> None:
    cache = RangeCache(tmp_path, 300)
    cache.put(*entry(1))
    leftover = tmp_path / entry(1)[0][:2] / "dead.unfinished"
    leftover.write_bytes(bytes(250))
    (tmp_path / ".lock").write_bytes(b"")  # nobody knows how much there is
    age_of_leftover = leftover.stat().st_mtime - 1000
    os.utime(leftover, (age_of_leftover, age_of_leftover))
    cache.put(*entry(2))
    assert not leftover.exists()
    assert cache.num_bytes() <= 300


def test_a_disk_that_refuses_ends_the_keeping_with_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = RangeCache(tmp_path, 1000)
    cache.put(*entry(1))

    def full(path: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.warns(UserWarning, match="No space left"):
        cache.put(*entry(2))
    cache.put(*entry(3))  # no second warning, no error
    assert cache.get(entry(1)[0]) == entry(1)[1]
    assert cache.get(entry(2)[0]) is None


def test_a_place_that_is_no_folder_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    cache = RangeCache(tmp_path / "file", 1000)
    with pytest.warns(UserWarning, match="range cache"):
        assert cache.get(entry(1)[0]) is None
    cache.put(*entry(1))


def test_threads_and_processes_share_it(tmp_path: Path) -> None:
    code = (
        "import sys, hashlib, random; from pathlib import Path; from gi_data.range_cache import RangeCache\n"
        "cache = RangeCache(Path(sys.argv[1]), 3000); rng = random.Random(int(sys.argv[2]))\n"
        "for _ in range(300):\n"
        "    content = rng.randrange(60).to_bytes(4, 'big') * 25; sha = hashlib.sha256(content).hexdigest()\n"
        "    got = cache.get(sha); assert got in (None, content)\n"
        "    cache.put(sha, content); assert cache.num_bytes() <= 3000 + 200, cache.num_bytes()\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, tmp_path, str(seed)]) for seed in range(2)]
    cache, rng = RangeCache(tmp_path, 3000), np.random.default_rng(5)

    def use(number: int) -> None:
        sha256, content = entry(number)
        assert cache.get(sha256) in (None, content)
        cache.put(sha256, content)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(use, rng.integers(60, size=300).tolist()))
    assert [process.wait(60) for process in processes] == [0, 0]
    assert 0 < cache.num_bytes() <= 3000


def test_no_room_is_no_cache(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="without room"):
        RangeCache(tmp_path, 0)

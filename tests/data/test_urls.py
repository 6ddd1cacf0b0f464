import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from gi_data.storage import digest_file, file_size, locate, read_range, resolve
from gi_data.urls import Url
from gi_model.errors import CorpusError
from tests.data.web import Web, serve

CONTENT = bytes(range(256)) * 8


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setattr("gi_data.urls.PAUSES_S", (0.01, 0.02, 0.03))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file.bin").write_bytes(CONTENT)
    with serve(tmp_path) as web:
        yield web


@pytest.fixture
def memory() -> Iterator[str]:
    system = fsspec.filesystem("memory")
    system.pipe("/bucket/folder/file.bin", CONTENT)
    yield "memory://bucket"
    system.rm("/bucket", recursive=True)


@pytest.fixture(params=["web", "memory", "disk"])
def place(request: pytest.FixtureRequest, web: Web, memory: str, tmp_path: Path) -> str:
    return {"web": web.url, "memory": memory, "disk": str(tmp_path)}[request.param]


def test_anywhere_is_read_alike(place: str) -> None:
    file = locate(place) / "folder" / "file.bin"
    assert file.is_file()
    assert file.name == "file.bin"
    assert not (locate(place) / "folder" / "none.bin").is_file()
    assert file.read_bytes() == CONTENT
    assert read_range(file, 300, 20) == CONTENT[300:320]
    assert read_range(file, 2040, 20) == CONTENT[2040:]
    assert read_range(file, 5000, 20) == b""
    assert read_range(file, 3, 0) == b""
    assert file_size(file) == len(CONTENT)
    assert len(digest_file(file)) == 64
    with pytest.raises(FileNotFoundError):
        (locate(place) / "none").read_bytes()
    for missing in (file_size, lambda where: read_range(where, 0, 1)):
        with pytest.raises(CorpusError, match="none"):
            missing(locate(place) / "none")


@pytest.mark.parametrize(
    ("directory", "name", "expected"),
    [
        ("s3://b/views/one", "../../corpus/a.tar", "s3://b/corpus/a.tar"),
        ("s3://b/views/one", "a.tar", "s3://b/views/one/a.tar"),
        ("s3://b/views", "../../../other/a.tar", "s3://b/other/a.tar"),
        ("http://h:80/a", "http://i/b.tar", "http://i/b.tar"),
        ("/data/view", "s3://b/a.tar", "s3://b/a.tar"),
        ("/data/view", "a.tar", "/data/view/a.tar"),
        ("/data/view", "/elsewhere/a.tar", "/elsewhere/a.tar"),
        ("s3://b", "file:///elsewhere/a.tar", "/elsewhere/a.tar"),
    ],
)
def test_names_lead_from_views_to_shards_and_never_to_another_host(directory: str, name: str, expected: str) -> None:
    assert str(resolve(locate(directory), name)) == expected


def test_what_passes_is_tried_again_and_counted(web: Web) -> None:
    web.drop_every = 3
    retries: list[int] = []
    for offset in range(0, 2000, 100):
        content = Url(f"{web.url}/folder/file.bin").read_range(offset, 100, lambda: retries.append(1))
        assert content == CONTENT[offset : offset + 100]
    assert retries
    web.drop_every, web.status = 0, 503
    with pytest.raises(CorpusError, match=r"cannot be read.*tries: 4"):
        Url(f"{web.url}/folder/file.bin").read_range(0, 100)


@pytest.mark.parametrize("status", [401, 403])
def test_what_will_not_pass_is_said_at_once(web: Web, status: int) -> None:
    web.status = status
    with pytest.raises(CorpusError, match="permissions"):
        Url(f"{web.url}/folder/file.bin").read_range(0, 100)
    assert web.num_requests == 1


def test_a_server_that_nobody_answers_for_is_no_missing_file(web: Web) -> None:
    url = Url(f"{web.url}/folder/file.bin")
    web.shutdown()
    web.server_close()
    with pytest.raises(CorpusError, match=r"cannot be read.*network"):
        url.is_file()


def test_a_server_without_ranges_is_refused(web: Web) -> None:
    web.no_ranges = True
    with pytest.raises(CorpusError, match="served whole"):
        Url(f"{web.url}/folder/file.bin").read_range(0, 100)


@pytest.mark.parametrize(("url", "words"), [("gs://b/c", "pip install"), ("nonsense://b/c", "not known")])
def test_protocols_that_nobody_speaks_are_named(url: str, words: str) -> None:
    with pytest.raises(CorpusError, match=words):
        Url(url).read_bytes()


def test_opening_from_disk_needs_no_network_package() -> None:
    code = "import sys, gi_data.blend; print([m for m in ('fsspec', 'aiohttp', 's3fs', 'upath') if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"

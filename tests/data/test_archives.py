"""Archives of strangers: what is asked for comes out whole; what is hostile or cut is refused, and writes nothing."""

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from gi_data.ingest.archives import is_archive, members, split, take
from gi_model.errors import ClipError


def header(name: str, size: int = 3, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size, kind, link
    return info


def archive(path: Path, *infos: tarfile.TarInfo, content: bytes = b"abc") -> Path:
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as tar:
        for info in infos:
            tar.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return path


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tgz"])
def test_members_come_out_as_they_went_in(tmp_path: Path, suffix: str) -> None:
    path = archive(tmp_path / f"batch{suffix}", header("./a/one"), header("a/two"), header("b/one"), header("a/x/one"))
    assert [(m.name, m.size) for m in members(path)] == [("a/one", 3), ("a/two", 3), ("b/one", 3), ("a/x/one", 3)]
    with take(path, "a", ("one", "two"), enough=("one", "two")) as folder:
        assert {file.name: file.read_bytes() for file in Path(folder).iterdir()} == {"one": b"abc", "two": b"abc"}
    assert not Path(folder).exists()


def test_what_is_enough_ends_the_reading(tmp_path: Path) -> None:
    path = archive(tmp_path / "b.tar", header("a/one"), header("../evil"))
    with take(path, "a", ("one", "two"), enough=("one",)) as folder:
        assert [file.name for file in Path(folder).iterdir()] == ["one"]
    with pytest.raises(ClipError, match="hostile"):
        take(path, "a", ("one", "two"), enough=("one", "two"))


@pytest.mark.parametrize(
    "evil",
    [
        header("../up"),
        header("a/../../up"),
        header("/etc/passwd"),
        header("a\\..\\up"),
        header("a/link", 0, tarfile.SYMTYPE, "/etc/passwd"),
        header("a/link", 0, tarfile.LNKTYPE, "a/one"),
        header("a/device", 0, tarfile.CHRTYPE),
        header("a/block", 0, tarfile.BLKTYPE),
        header("a/pipe", 0, tarfile.FIFOTYPE),
        header("a/sparse", 3, tarfile.GNUTYPE_SPARSE),
    ],
    ids=lambda info: info.name + info.type.decode(),
)
def test_paths_that_climb_links_and_devices_are_refused(tmp_path: Path, evil: tarfile.TarInfo) -> None:
    path = archive(tmp_path / "b.tar.gz", header("a/one"), evil)
    listed = members(path)
    assert next(listed).name == "a/one"
    with pytest.raises(ClipError, match="hostile"):
        next(listed)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["b.tar.gz"]


def test_a_bomb_is_refused_while_it_is_still_small(tmp_path: Path) -> None:
    path = tmp_path / "bomb.tar.gz"
    with gzip.open(path, "wb") as file:
        file.write(header("a/one", 2**36).tobuf())
        for _ in range(64):
            file.write(bytes(2**20))
    assert path.stat().st_size < 2**17
    with pytest.raises(ClipError, match="absurdly much"):
        take(path, "a", ("one",), enough=("one",))
    with pytest.raises(ClipError, match="absurdly much"):
        list(members(path))


def test_a_member_of_absurd_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "huge.tar"
    path.write_bytes(header("a/one", 2**40).tobuf(tarfile.GNU_FORMAT) + bytes(2048))
    with pytest.raises(ClipError, match="absurd size"):
        take(path, "a", ("one",), enough=("one",))


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_a_name_of_absurd_length_is_not_read_into_memory(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "name.tar"
    path.write_bytes(header("x", 2**33, kind).tobuf(tarfile.GNU_FORMAT) + bytes(2**16))
    with pytest.raises(ClipError, match="special header"):
        list(members(path))


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def without_end_mark(content: bytes) -> bytes:
    return content.rstrip(b"\0")[: 512 * 6]


def with_a_flipped_header(content: bytes) -> bytes:
    return content[:1024] + b"\xff" * 512 + content[1536:]


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
@pytest.mark.parametrize("damage", [cut, lambda _: b"", lambda _: b"no tar at all" * 100])
def test_a_damaged_archive_is_refused(tmp_path: Path, suffix: str, damage: Callable[[bytes], bytes]) -> None:
    path = archive(tmp_path / f"b{suffix}", *(header(f"a/{n}", 5000) for n in "123"), content=bytes(range(250)) * 20)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ClipError, match="damaged"):
        list(members(path))


@pytest.mark.parametrize("damage", [without_end_mark, with_a_flipped_header])
def test_damage_between_members_is_no_end(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    """tarfile alone takes both for the end, and what follows is lost without a word."""
    path = archive(tmp_path / "b.tar", *(header(f"a/{n}") for n in "1234"))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ClipError, match="damaged"):
        list(members(path))


def test_paths_into_archives_are_told_apart(tmp_path: Path) -> None:
    path = archive(tmp_path / "b.tar.gz", header("a/one"))
    assert split(path / "a" / "x") == (path, "a/x")
    assert split(tmp_path / "other") is None
    (tmp_path / "folder.tar").mkdir()
    assert split(tmp_path / "folder.tar" / "a") is None
    assert is_archive(path)
    assert not is_archive(tmp_path / "a.zip")

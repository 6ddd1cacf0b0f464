"""Recordings of pages over REST: consent first, nothing unbound on disk, nothing lost that arrived."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gi_data.ingest.page import UPLOAD_NAME
from gi_data.metadata import ClipMetadata
from gi_data.recovery import locked, scan
from gi_model.errors import CorpusError
from gi_serve.play_consent import CONSENT_TEXT
from gi_serve.play_uploads import SPOOL, PlayUploads, UploadLimits
from gi_serve.service import ServiceConfig
from tests.conftest import BINDINGS, HEIGHT, WIDTH, Barcodes
from tests.data.page_chunks import TICK_US, chunks_of, jpeg_of, pack, spool, upload_of
from tests.serve.fake_steppers import EchoStepper
from tests.serve.keyed import serving_with_keys
from tests.serve.serving import Running, serving, wait_until

JPEG = jpeg_of(Barcodes().frame(3))


def wish(**changes: Any) -> dict[str, Any]:
    """A body of POST /v1/recordings."""
    facts: dict[str, Any] = {
        "game": "web/barcode",
        "fps": 20,
        "width": WIDTH,
        "height": HEIGHT,
        "bindings": BINDINGS.to_dict(),
        "seed": 3,
        "player": "kim",
        "license": "CC0-1.0",
        "consent": True,
        "consent_text": CONSENT_TEXT,
    }
    return {**facts, **changes}


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with serving(EchoStepper(), config=ServiceConfig(play_dir=tmp_path / "played")) as server:
        yield server


@pytest.fixture
def http(running: Running) -> Iterator[httpx.Client]:
    with client_of(running) as client:
        yield client


def client_of(running: Running) -> httpx.Client:
    return httpx.Client(base_url=running.url, trust_env=False, timeout=20)


def begin(http: httpx.Client, **changes: Any) -> tuple[str, str]:
    """The address of a new recording, and the name of its clips."""
    answer = http.post("/v1/recordings", json=wish(**changes))
    assert answer.status_code == 201, answer.text
    return f"/v1/recordings/{answer.json()['id']}", answer.json()["recording_id"]


def info_of(folder: Path, recording_id: str) -> ClipMetadata:
    path = folder / f"{recording_id}-0000.json"
    return ClipMetadata.from_json(path.read_bytes(), path.stem)


def test_play_becomes_a_recording(http: httpx.Client, tmp_path: Path, barcodes: Barcodes) -> None:
    offer = http.get("/v1/recordings").json()
    assert offer["is_on"] is True
    assert offer["consent_text"] == CONSENT_TEXT
    path, recording_id = begin(http)
    chunks = chunks_of(barcodes, range(60))
    for number in (1, 0, *range(2, 6), 3):  # out of order, and one twice
        assert http.post(f"{path}/chunks/{number}", content=chunks[number]).status_code == 204
    end = {"end_us": 60 * TICK_US, "score": 7}
    report = http.post(f"{path}/finish", json=end).json()
    assert report == {"recording_id": recording_id, "ticks": 60, "seconds": 3.0, "lost_s": 0.0, "note": ""}
    clip = info_of(tmp_path / "played", recording_id)
    assert (clip.num_ticks, clip.num_parts, clip.info.license) == (60, 1, "CC0-1.0")
    assert clip.info.consent.startswith("given on the page by kim on 20")
    assert CONSENT_TEXT in clip.info.consent
    assert {"player": "kim", "game_seed": 3, "score": 7.0}.items() <= dict(clip.info.extra).items()
    assert not list((tmp_path / "played" / SPOOL).iterdir())
    assert http.post(f"{path}/finish").status_code == 404  # once


@pytest.mark.parametrize(
    "changes",
    [
        {"consent": False},
        {"consent_text": "yes"},
        {"consent_text": ""},
        {"license": "all rights; reserved"},
        {"game": "../up"},
        {"width": 17},
        {"height": 4000},
        {"fps": 1000},
        {"seed": 1_000_000},  # kept for evaluation
        {"bindings": {"digital": {"fire": "KeyQQ"}}},
        {"bindings": {"keys": 1}},
        {"player": "x" * 65},
        {"player": "a\nb"},
        {"demonstrator": "nobody"},
        {"colour": "red"},
    ],
)
def test_without_consent_or_with_nonsense_nothing_begins(
    http: httpx.Client, tmp_path: Path, changes: dict[str, Any]
) -> None:
    answer = http.post("/v1/recordings", json=wish(**changes))
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:gi:problem:request-invalid")
    assert not list((tmp_path / "played" / SPOOL).iterdir())


@pytest.mark.parametrize(
    ("chunk", "says"),
    [
        (pack([[5, "down", "KeyP"]], [(0, JPEG)]), "KeyP"),
        (pack([], [(0, JPEG)], held=["Enter"]), "Enter"),
        (pack([], [(0, b"no picture")]), "picture"),
        (b"nonsense", "chunk"),
    ],
)
def test_a_chunk_with_what_is_not_bound_never_touches_the_disk(
    http: httpx.Client, tmp_path: Path, chunk: bytes, says: str
) -> None:
    path, recording_id = begin(http)
    answer = http.post(f"{path}/chunks/0", content=chunk)
    assert answer.status_code == 422
    assert says in answer.json()["detail"]
    assert [each.name for each in (tmp_path / "played" / SPOOL / recording_id).iterdir()] == [UPLOAD_NAME]


def test_a_chunk_that_is_too_large_or_numbered_wrong_is_refused(http: httpx.Client) -> None:
    path, _ = begin(http)
    assert http.post(f"{path}/chunks/0", content=bytes(2 * 1024 * 1024)).status_code == 413
    assert http.post(f"{path}/chunks/100000", content=pack([], [])).status_code == 422
    assert http.post("/v1/recordings/other/chunks/0", content=pack([], [])).status_code == 404


def test_a_recording_ends_somewhere(running: Running, http: httpx.Client, barcodes: Barcodes) -> None:
    assert running.service.uploads is not None
    running.service.uploads.limits = UploadLimits(max_bytes=60_000, max_open=1)
    path, _ = begin(http)
    assert http.post("/v1/recordings", json=wish()).status_code == 503
    answers = [http.post(f"{path}/chunks/{i}", content=chunk) for i, chunk in enumerate(chunks_of(barcodes, range(90)))]
    assert {answer.status_code for answer in answers} == {204, 413}
    assert answers[-1].json()["type"] == "urn:gi:problem:recording-full"
    assert http.post(f"{path}/finish").status_code == 200  # what fitted is kept


def test_chunks_come_at_a_bounded_rate(running: Running, http: httpx.Client) -> None:
    assert running.service.uploads is not None
    running.service.uploads.limits = UploadLimits(chunks_per_s=0.001)
    path, _ = begin(http)
    assert http.post(f"{path}/chunks/0", content=pack([], [])).status_code == 204
    answer = http.post(f"{path}/chunks/1", content=pack([], []))
    assert (answer.status_code, int(answer.headers["Retry-After"]) > 0) == (429, True)


def test_play_too_short_to_keep_says_so(http: httpx.Client, tmp_path: Path, barcodes: Barcodes) -> None:
    path, recording_id = begin(http)
    http.post(f"{path}/chunks/0", content=chunks_of(barcodes, range(9))[0])
    answer = http.post(f"{path}/finish")
    assert answer.status_code == 422
    assert "too short" in answer.json()["detail"]
    assert not list((tmp_path / "played").glob(f"{recording_id}*"))


def test_a_player_may_take_it_back_at_once(http: httpx.Client, tmp_path: Path, barcodes: Barcodes) -> None:
    path, _ = begin(http)
    http.post(f"{path}/chunks/0", content=chunks_of(barcodes, range(10))[0])
    assert http.delete(path).status_code == 204
    assert http.delete(path).status_code == 404
    assert not list((tmp_path / "played" / SPOOL).iterdir())


# ---- tabs that close, servers that end ------------------------------------------------------------------------------


def test_a_tab_that_fell_silent_leaves_a_recording(
    running: Running, http: httpx.Client, tmp_path: Path, barcodes: Barcodes
) -> None:
    assert running.service.uploads is not None
    path, recording_id = begin(http)
    for number, chunk in enumerate(chunks_of(barcodes, range(40))):
        http.post(f"{path}/chunks/{number}", content=chunk)
    running.service.uploads.limits = UploadLimits(silence_s=0.01)
    wait_until((tmp_path / "played" / f"{recording_id}-0000.json").exists)
    assert info_of(tmp_path / "played", recording_id).num_ticks == 39


def test_a_server_that_ends_keeps_what_it_has(tmp_path: Path, barcodes: Barcodes) -> None:
    config = ServiceConfig(play_dir=tmp_path)
    with serving(EchoStepper(), config=config) as running, client_of(running) as http:
        path, recording_id = begin(http)
        for number, chunk in enumerate(chunks_of(barcodes, range(40))):
            http.post(f"{path}/chunks/{number}", content=chunk)
        running.stop()
    assert recording_id in {key.rpartition("-")[0] for key in scan(tmp_path).finished}


def test_what_a_crash_left_is_made_at_the_next_start(tmp_path: Path, barcodes: Barcodes) -> None:
    spool(tmp_path / SPOOL / "page-1", upload_of(barcodes), chunks_of(barcodes, range(40)))
    (tmp_path / SPOOL / "broken").mkdir()
    (tmp_path / SPOOL / "broken" / UPLOAD_NAME).write_text("{")
    with serving(EchoStepper(), config=ServiceConfig(play_dir=tmp_path)):
        wait_until((tmp_path / "page-1-0000.json").exists)
    assert (tmp_path / SPOOL / "broken").exists()  # nobody deletes what nobody can read


def test_two_recorders_never_share_a_folder(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(CorpusError, match="another gi record"):
        PlayUploads(tmp_path).start()


# ---- who may --------------------------------------------------------------------------------------------------------


def test_a_server_that_does_not_record_says_so() -> None:
    with serving(EchoStepper()) as running, client_of(running) as http:
        assert http.get("/v1/recordings").json()["is_on"] is False
        for answer in (http.post("/v1/recordings", json=wish()), http.post("/v1/recordings/x/finish")):
            assert (answer.status_code, answer.json()["type"]) == (404, "urn:gi:problem:recording-off")


def test_a_recording_belongs_to_its_key(tmp_path: Path) -> None:
    config = ServiceConfig(play_dir=tmp_path / "played")
    with (
        serving_with_keys(tmp_path, EchoStepper(), config=config) as keyed,
        keyed.http() as nobody,
        keyed.http("alice") as alice,
        keyed.http("bob") as bob,
    ):
        assert nobody.get("/v1/recordings").json()["needs_key"] is True
        assert nobody.post("/v1/recordings", json=wish()).status_code == 401
        path, _ = begin(alice)
        for answer in (
            bob.post(f"{path}/chunks/0", content=pack([], [])),
            bob.post(f"{path}/finish"),
            bob.delete(path),
        ):
            assert answer.status_code == 404
        assert alice.delete(path).status_code == 204


def test_programs_are_told_apart_from_people(http: httpx.Client, tmp_path: Path, barcodes: Barcodes) -> None:
    path, recording_id = begin(http, demonstrator="demonstrator")
    for number, chunk in enumerate(chunks_of(barcodes, range(40))):
        http.post(f"{path}/chunks/{number}", content=chunk)
    http.post(f"{path}/finish")
    info = info_of(tmp_path / "played", recording_id).info
    assert (info.demonstrator, info.consent) == ("scripted", "none needed: played by a program")

"""Images made to hurt: small files that say, or inflate to, far more than they should. Refused before they are held."""

import io
import resource
import struct
import zlib
from collections.abc import Iterator

import httpx
import pytest
from PIL import Image

from gi_serve.images import MAX_PIXELS, decode_image
from gi_serve.problems import Problem
from gi_serve.protocol import Codec, FrameMessage
from tests.serve.fake_steppers import EchoStepper
from tests.serve.pictures import HEIGHT, WIDTH, jpeg_of, paint, png_of, read_identity
from tests.serve.serving import Running, serving
from tests.serve.test_rest import check_problem, state_of


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *extra: bytes, body: bytes | None = None) -> bytes:
    """A PNG of black pixels that says it has width x height of them, with `extra` chunks."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    data = zlib.compress(bytes((width * 3 + 1) * height), 9) if body is None else body
    return b"".join([b"\x89PNG\r\n\x1a\n", header, *extra, chunk(b"IDAT", data), chunk(b"IEND", b"")])


def jpeg(width: int, height: int) -> bytes:
    """A JPEG whose header says it has width x height pixels."""
    data = bytearray(jpeg_of(paint(1)))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


ZEROS = zlib.compress(bytes(200_000_000), 9)  # 200 MB in 200 kB
BOMBS: list[tuple[str, bytes, int]] = [
    ("image/jpeg", jpeg(65500, 65500), 413),
    ("image/jpeg", jpeg(10_000, 10_000), 413),
    ("image/jpeg", jpeg(1, 1), 422),
    ("image/jpeg", jpeg(0, 0), 422),
    ("image/jpeg", jpeg(4096, 2251), 413),
    ("image/png", png(1, 1), 422),
    ("image/png", png(10_000, 10_000, body=b""), 413),
    ("image/png", png(2**31 - 1, 1, body=b""), 413),
    ("image/png", png(0, 0, body=b""), 422),
    ("image/png", png(64, 64, chunk(b"zTXt", b"Comment\0\0" + ZEROS)), 422),
    ("image/png", png(64, 64, chunk(b"iTXt", b"Comment\0\1\0\0\0" + ZEROS)), 422),
]


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with serving(EchoStepper()) as started:
        yield started


@pytest.mark.parametrize(("media", "bomb", "status"), BOMBS)
def test_a_bomb_is_refused_and_memory_stays(running: Running, media: str, bomb: bytes, status: int) -> None:
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with httpx.Client(base_url=running.url, trust_env=False, timeout=20) as http:
        where = http.post("/v1/sessions").headers["Location"]
        check_problem(http.post(f"{where}/frames", content=bomb, headers={"Content-Type": media}), status)
        good = http.post(f"{where}/frames", content=png_of(paint(9)), headers={"Content-Type": "image/png"})
        assert read_identity(state_of(good)) == 9
        http.delete(where)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 64 * 1024


def test_more_pixels_than_said_are_not_unpacked() -> None:
    """The stream inflates to 200 MB behind a header of 64 x 64: what is said is read, the rest is not."""
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    frame = decode_image(FrameMessage(0, 0, Codec.PNG, png(64, 64, body=ZEROS)), HEIGHT, WIDTH)
    assert not frame.any()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 64 * 1024


def test_the_largest_image_is_taken_and_one_row_more_is_not() -> None:
    out = io.BytesIO()
    Image.new("L", (3840, MAX_PIXELS // 3840)).save(out, "PNG")
    assert not decode_image(FrameMessage(0, 0, Codec.PNG, out.getvalue()), HEIGHT, WIDTH).any()
    with pytest.raises(Problem, match="pixels"):
        decode_image(FrameMessage(0, 0, Codec.PNG, png(3840, MAX_PIXELS // 3840 + 1, body=b"")), HEIGHT, WIDTH)

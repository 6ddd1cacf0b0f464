"""H.264 over a real socket: what a corpus of the video would show, in order, and a keyframe where one is needed."""

import io
import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from websockets.sync.client import ClientConnection

from gi_data.video import decode
from gi_data.video_stream import StreamDecoder, has_keyframe
from gi_model.errors import ClipError
from gi_serve.protocol import ActionMessage, Codec, FrameMessage, decode_action, encode_frame
from gi_serve.protocol_json import frame_from_event, frame_to_event
from gi_serve.replay import StepperReplayer, replay
from gi_serve.service import ServiceConfig
from gi_serve.session_record import SessionRecord
from tests.serve.fake_steppers import HistoryStepper, KeepingStepper
from tests.serve.pictures import HEIGHT, WIDTH
from tests.serve.serving import Running, serving, wait_until
from tests.serve.streaming import ask, next_action, next_event, open_stream, raw

GOP = 10


def encode(num: int, height: int = HEIGHT, width: int = WIDTH, **options: str) -> list[bytes]:
    """Access units of moving noise, a keyframe every `GOP`."""
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.gop_size = Fraction(1, 20), GOP
    encoder.options = {"preset": "ultrafast", "tune": "zerolatency"} | options
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    units = []
    for tick in range(num):
        picture = av.VideoFrame.from_ndarray(np.roll(noise, tick, axis=1), format="rgb24").reformat(format="yuv420p")
        picture.pts = tick
        units += [bytes(packet) for packet in encoder.encode(picture)]
    return [*units, *(bytes(packet) for packet in encoder.encode(None))]


def as_corpus(units: list[bytes], height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.uint8]:
    """The frames that training would read of an mp4 of `units`."""
    file = io.BytesIO()
    with av.open(io.BytesIO(b"".join(units)), "r", format="h264") as source, av.open(file, "w", format="mp4") as sink:
        copy = sink.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.size:
                packet.stream, packet.pts, packet.dts = copy, number * 512, number * 512
                sink.mux(packet)
    return decode(file.getvalue(), "test", frames=range(len(units)), height=height, width=width)


def send(connection: ClientConnection, seq: int, unit: bytes) -> None:
    connection.send(encode_frame(FrameMessage(seq, 0, Codec.H264, unit)))


@pytest.fixture
def keeping() -> Iterator[tuple[Running, KeepingStepper]]:
    stepper = KeepingStepper()
    with serving(stepper) as running:
        yield running, stepper


@pytest.mark.parametrize("size", [(HEIGHT, WIDTH), (64, 96), (50, 70)])
def test_live_video_is_what_a_corpus_of_it_would_show(
    keeping: tuple[Running, KeepingStepper], size: tuple[int, int]
) -> None:
    running, stepper = keeping
    units = encode(2 * GOP + 3, *size)
    with open_stream(running) as connection:
        ask(connection, type="session.update")
        for seq, unit in enumerate(units):
            send(connection, seq, unit)
            assert next_action(connection).seq == seq
    np.testing.assert_array_equal(np.stack(stepper.frames), as_corpus(units))


def test_a_burst_is_decoded_whole_and_counted(keeping: tuple[Running, KeepingStepper]) -> None:
    running, stepper = keeping
    units = encode(3 * GOP)
    with open_stream(running) as connection:
        ask(connection, type="session.update")
        for seq, unit in enumerate(units):
            send(connection, seq, unit)
        answers = [next_action(connection)]
        while answers[-1].seq < len(units) - 1:
            answers.append(next_action(connection))
    assert sum(answer.num_dropped + 1 for answer in answers) == len(units)
    np.testing.assert_array_equal(stepper.frames[-1], as_corpus(units)[-1])


def test_what_does_not_decode_is_told_and_a_keyframe_asked_for_once(keeping: tuple[Running, KeepingStepper]) -> None:
    running, stepper = keeping
    units = encode(2 * GOP)
    with open_stream(running) as connection:
        ask(connection, type="session.update")
        send(connection, 0, units[1])  # the stream was joined in its middle
        assert next_event(connection) == {"type": "keyframe.needed", "stream_id": 0}
        send(connection, 1, units[2])  # on its way already: no second request
        send(connection, 2, units[GOP])
        answer = next_action(connection)
        assert (answer.seq, answer.num_dropped) == (2, 2)
        send(connection, 3, b"\x00\x00\x00\x01\x65garbage")
        assert next_event(connection)["error"]["type"] == "urn:gi:problem:frame-invalid"
        assert next_event(connection)["type"] == "keyframe.needed"
        send(connection, 4, units[0])
        assert next_action(connection).seq == 4
        for seq, unit in enumerate(units[1:4], 5):
            send(connection, seq, unit)
            assert next_action(connection).seq == seq
    np.testing.assert_array_equal(stepper.frames[-1], as_corpus(units)[3])


def test_video_goes_on_after_a_resume_with_a_keyframe(keeping: tuple[Running, KeepingStepper]) -> None:
    running, stepper = keeping
    units = encode(2 * GOP)
    with open_stream(running) as connection:
        created = ask(connection, type="session.update", resume=True)
        send(connection, 0, units[0])
        next_action(connection)
        connection.socket.shutdown(2)
    wait_until(lambda: any(session.lost_ns for session in running.engine.sessions.values()))
    with open_stream(running) as connection:
        wanted = {"session_id": created["session"]["id"], "token": created["resume"]["token"]}
        assert ask(connection, type="session.resume", **wanted)["last_seq"] == 0
        send(connection, 1, units[3])  # 1 and 2 were lost: it would decode, to a picture that never was
        assert next_event(connection)["type"] == "keyframe.needed"
        send(connection, 2, units[GOP])
        assert next_action(connection).seq == 2
    np.testing.assert_array_equal(stepper.frames[-1], as_corpus(units)[GOP])


def test_an_image_after_video_is_never_overtaken_by_it(keeping: tuple[Running, KeepingStepper]) -> None:
    running, _stepper = keeping
    units = encode(GOP)
    with open_stream(running) as connection:
        ask(connection, type="session.update")
        for seq in range(0, 2 * GOP, 2):
            send(connection, seq, units[seq // 2])
            connection.send(encode_frame(raw(seq + 1)))
        seqs = [next_action(connection).seq]
        while seqs[-1] < 2 * GOP - 1:
            seqs.append(next_action(connection).seq)
        assert seqs == sorted(seqs)


def test_a_stream_that_outruns_the_decoder_loses_its_queue(
    keeping: tuple[Running, KeepingStepper], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gi_serve.video_intake.MAX_BYTES", 0)
    running, _stepper = keeping
    units = encode(3 * GOP, 256, 256)
    with open_stream(running, "gi.v1.json") as connection:
        ask(connection, type="session.update", notify=False)
        for seq, unit in enumerate(units):
            connection.send(json.dumps(frame_to_event(FrameMessage(seq, 0, Codec.H264, unit))))
        session = next(iter(running.engine.sessions.values()))
        wait_until(lambda: session.num_answers + session.num_dropped == len(units))
        assert session.num_dropped > 0


def test_a_recording_of_video_replays(tmp_path: Path) -> None:
    units = encode(2 * GOP)
    with serving(HistoryStepper(), config=ServiceConfig(record_dir=tmp_path)) as running:
        with open_stream(running) as connection:
            ask(connection, type="session.update")
            for seq, unit in enumerate([units[3], *units]):
                send(connection, seq, unit)
            seen: ActionMessage | None = None
            while seen is None or seen.seq < len(units):
                data = connection.recv(timeout=5)
                seen = decode_action(data) if isinstance(data, bytes) else seen
        wait_until(lambda: not running.engine.sessions)
    (path,) = tmp_path.iterdir()
    report = replay(SessionRecord.open(path), StepperReplayer(HistoryStepper()))
    assert report.difference is None
    assert report.num_compared == report.num_steps >= 1


# ---------------------------------------------------------------------- the decoder alone


def test_only_keyframes_hold_an_idr_picture() -> None:
    assert [has_keyframe(unit) for unit in encode(2 * GOP)] == [tick % GOP == 0 for tick in range(2 * GOP)]
    assert not any(has_keyframe(unit) for unit in (b"", b"\x00\x00\x01", b"\x00\x00", b"hello"))


def test_pictures_that_are_held_back_are_refused() -> None:
    units = encode(GOP, tune="film", bframes="3", preset="medium")
    decoder = StreamDecoder(max_pixels=10**6)
    assert len(units) == GOP
    with pytest.raises(ClipError, match="zerolatency"):
        _feed_all(decoder, units)


def _feed_all(decoder: StreamDecoder, units: list[bytes]) -> None:
    for unit in units:
        decoder.feed(unit)


def test_absurdly_large_pictures_are_refused() -> None:
    with pytest.raises(ClipError):
        StreamDecoder(max_pixels=64 * 64 - 1).feed(encode(1, 64, 64)[0])


def test_no_bytes_crash_the_decoder() -> None:
    units, choice = encode(GOP), np.random.default_rng(0)
    decoder = StreamDecoder(max_pixels=10**6)
    for _ in range(500):
        unit = bytearray(units[choice.integers(len(units))])
        for _ in range(choice.integers(1, 6)):
            unit[choice.integers(len(unit))] = choice.integers(256)
        try:
            decoder.feed(bytes(unit[: choice.integers(len(unit) + 1)]))
            assert decoder.frame(HEIGHT, WIDTH).shape == (HEIGHT, WIDTH, 3)
        except ClipError:
            assert decoder.needs_keyframe
    with pytest.raises(ClipError, match="no picture"):
        StreamDecoder(max_pixels=1).frame(1, 1)


def test_video_crosses_the_json_form() -> None:
    message = FrameMessage(3, 4, Codec.H264, b"\x00\x00\x01\x65")
    assert frame_from_event(frame_to_event(message)) == message

"""Small OWAMcap recordings as each version of the recorder writes them, with pictures that carry their own number."""

import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
from mcap.writer import CompressionType, Writer

from gi_model.frames import Frame

MS = 1_000_000
T0_NS = 1_750_000_000 * 10**9  # a clock of today
VERSIONS = ("0.3.0", "0.3.2", "0.4.2", "0.5.0", "0.5.1", "0.5.5", "current")


class Picture(NamedTuple):
    """A picture with its time stamp in the video, and when it was on the screen."""

    number: int
    pts_ms: int
    t_ms: float


def write_video(path: Path, pictures: Sequence[tuple[int, Frame]]) -> None:
    """Write (time stamp in ms, frame) to Matroska, at any distance from each other."""
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "ultrafast", "crf": "10"})
        stream.height, stream.width = pictures[0][1].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for pts_ms, frame in pictures:
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = pts_ms, Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


class Recorder:
    """Collects messages of one version and writes them to `path`."""

    def __init__(self, path: Path, version: str = "current", *, size: tuple[int, int] = (96, 32)) -> None:
        self.path, self.version, self.size = path, version, size
        self.messages: list[tuple[float, str, str, bytes]] = []

    @property
    def is_legacy(self) -> bool:
        return self.version in ("0.3.0", "0.3.2")

    def say(self, t_ms: float, topic: str, kind: str, fields: dict[str, Any] | bytes) -> None:
        """Add one message as it is."""
        package = "owa.env.gst.msg." if kind == "ScreenEmitted" else "owa.env.desktop.msg."
        schema = (package if self.is_legacy else "desktop/") + kind
        data = fields if isinstance(fields, bytes) else json.dumps(fields, separators=(",", ":")).encode()
        self.messages.append((t_ms, topic, schema, data))

    def key(self, t_ms: float, vk: int, *, down: bool) -> None:
        self.say(t_ms, "keyboard", "KeyboardEvent", {"event_type": "press" if down else "release", "vk": vk})

    def keys(self, t_ms: float, codes: list[int]) -> None:
        name = "pressed_vk_list" if self.version == "0.3.0" else "buttons"
        self.say(t_ms, "keyboard/state", "KeyboardState", {name: codes})

    def mouse(self, t_ms: float, kind: str, x: int, y: int, **fields: object) -> None:
        self.say(t_ms, "mouse", "MouseEvent", {"event_type": kind, "x": x, "y": y, **fields})

    def buttons(self, t_ms: float, held: list[str]) -> None:
        self.say(t_ms, "mouse/state", "MouseState", {"x": 0, "y": 0, "buttons": held})

    def raw(self, t_ms: float, x: int = 0, y: int = 0, **fields: int) -> None:
        self.say(t_ms, "mouse/raw", "RawMouseEvent", {"last_x": x, "last_y": y, "us_flags": 0, **fields})

    def window(self, t_ms: float, rect: list[int], title: str = "My secret diary") -> None:
        self.say(t_ms, "window", "WindowInfo", {"title": title, "rect": rect, "hWnd": 7})

    def screen(self, t_ms: float, pts_ns: int, uri: str) -> None:
        utc_ns, size = T0_NS + round(t_ms * MS), list(self.size)
        fields: dict[str, Any] = {"utc_ns": utc_ns}
        if self.is_legacy:
            self.say(t_ms, "screen", "ScreenEmitted", fields | {"path": uri, "pts": pts_ns})
        elif self.version == "0.4.2":
            fields |= {"original_shape": size, "shape": size, "path": uri, "pts": pts_ns}
            self.say(t_ms, "screen", "ScreenCaptured", fields)
        elif self.version == "0.5.0":
            fields |= {"source_shape": size, "media_ref": {"type": "external_video", "path": uri, "pts_ns": pts_ns}}
            self.say(t_ms, "screen", "ScreenCaptured", fields)
        else:
            fields |= {"source_shape": size, "shape": size, "media_ref": {"uri": uri, "pts_ns": pts_ns}}
            self.say(t_ms, "screen", "ScreenCaptured", fields)

    def write(self, *, compression: CompressionType = CompressionType.ZSTD, in_order: bool = True) -> Path:
        """Write the container in order of time, or else in the order in which messages were added."""
        messages = sorted(self.messages, key=lambda message: message[0]) if in_order else self.messages
        with self.path.open("wb") as file:
            writer = Writer(file, compression=compression, chunk_size=2000)
            writer.start(profile="owa", library=f"mcap-owa-support {self.version}")
            channels: dict[tuple[str, str], int] = {}
            for t_ms, topic, schema, data in messages:
                if (topic, schema) not in channels:
                    schema_id = writer.register_schema(schema, "jsonschema", b"{}")
                    channels[topic, schema] = writer.register_channel(topic, "json", schema_id)
                t_ns = T0_NS + round(t_ms * MS)
                writer.add_message(channels[topic, schema], t_ns, data, t_ns)
            writer.finish()  # type: ignore[no-untyped-call]
        return self.path

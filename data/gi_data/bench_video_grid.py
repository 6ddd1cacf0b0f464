"""Which video settings are compared: codec, quality, GOP, preset, tune, B-frames, size; one axis changes at a time.

The middle of the grid is what `gi record` and `gi ingest` write. Other rows leave it along one axis: GOP 1 to 250,
presets, without tune fastdecode, with B-frames, quality, other codecs (LeRobot's default among them), and sizes.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Final

from gi_data.video_writer import CODEC_OPTIONS, CRF, GOP

FASTDECODE: Final = "fastdecode"


@dataclass(frozen=True)
class Setting:
    """How to encode. tune: "" is the codec's own. b_frames: at most so many between two others."""

    codec: str = "libx264"
    crf: int = CRF
    gop: int = GOP
    preset: str = CODEC_OPTIONS["preset"]
    tune: str = FASTDECODE
    b_frames: int = 0
    height: int = 192
    width: int = 192

    @property
    def options(self) -> dict[str, str]:
        """What FFmpeg calls it."""
        common = {"crf": str(self.crf), "preset": self.preset}
        if self.codec == "libsvtav1":  # has no tune of that name
            fast = int(self.tune == FASTDECODE)
            return common | {"svtav1-params": f"fast-decode={fast}:lp=1"}
        if self.codec == "libx265":
            common |= {"x265-params": "log-level=error:pools=none:frame-threads=1"}
        return common | ({"tune": self.tune} if self.tune else {})

    def __str__(self) -> str:
        words = [self.codec, self.preset, self.tune, f"gop {self.gop}", f"crf {self.crf}"]
        words += [f"{self.b_frames} B-frames"] if self.b_frames else []
        return " ".join(word for word in words if word)


CHOSEN: Final = Setting()
QUICK: Final = (CHOSEN, replace(CHOSEN, gop=1), replace(CHOSEN, tune=""), Setting("libx265"))
_MEDIUM: Final = replace(CHOSEN, preset="medium")
GRID: Final = (
    CHOSEN,
    *(replace(CHOSEN, gop=gop) for gop in (1, 8, 60, 250)),
    *(replace(CHOSEN, preset=preset) for preset in ("ultrafast", "superfast", "faster", "medium")),
    replace(CHOSEN, tune=""),
    replace(CHOSEN, tune="", b_frames=3),
    replace(CHOSEN, b_frames=3),
    replace(_MEDIUM, tune="", b_frames=3),
    replace(CHOSEN, tune="zerolatency"),
    *(replace(CHOSEN, crf=crf) for crf in (17, 23, 26, 30)),
    Setting("libx265", crf=23),
    Setting("libx265", crf=23, tune="", b_frames=4, preset="medium"),
    Setting("libsvtav1", crf=30, preset="12", gop=2, tune=""),  # LeRobot's default
    Setting("libsvtav1", crf=30, preset="12"),
    Setting("libsvtav1", crf=30, preset="8"),
    *(replace(CHOSEN, height=side, width=side) for side in (96, 128, 256)),
    replace(CHOSEN, height=240, width=320),
    replace(CHOSEN, height=480, width=640),
)


def by_size(settings: tuple[Setting, ...]) -> Iterator[tuple[tuple[int, int], tuple[Setting, ...]]]:
    """(height, width) and the settings of that size."""

    def size(setting: Setting) -> tuple[int, int]:
        return setting.height, setting.width

    for key, group in groupby(sorted(settings, key=size), key=size):
        yield key, tuple(group)

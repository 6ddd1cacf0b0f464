"""`ReaderStats`: what a reader has done so far, and what keeps it from being faster."""

from dataclasses import dataclass, field, fields
from typing import Self

from gi_data.storage import Traffic

STARVING = 0.2  # share of the time that training may wait for data before somebody should hear of it
_REDECODED = 0.5  # windows of a clip that a decode should serve at least, as a share of those it holds


@dataclass(frozen=True, slots=True)
class ReaderStats:
    """Sums since the reader was made. traffic counts all readers of the same Storage.

    num_decodes: decodes of a clip, or of a part of one; num_frames: decoded ones;
    load_s: seconds of all decode threads together, reading included; windows: those handed on, by corpus.
    """

    wait_s: float = 0.0
    num_decodes: int = 0
    num_frames: int = 0
    load_s: float = 0.0
    bad_clips: int = 0
    traffic: Traffic = field(default_factory=Traffic)
    windows: dict[str, int] = field(default_factory=dict)

    def since(self, earlier: Self) -> Self:
        """What happened after `earlier`."""
        names = [item.name for item in fields(self) if item.name not in ("traffic", "windows")]
        windows = {name: count - earlier.windows.get(name, 0) for name, count in self.windows.items()}
        numbers = {name: getattr(self, name) - getattr(earlier, name) for name in names}
        return type(self)(**numbers, traffic=self.traffic - earlier.traffic, windows=windows)

    def advice(self, window_ticks: int) -> str:
        """What to change when training waits for data, from what an interval was spent on."""
        if self.traffic.read_s > 0.5 * self.load_s:
            if self.traffic.range_misses:
                return "storage is slow: keep what was read with --cache-dir and a larger --cache-gb, or copy it here"
            return "storage is slow: copy the corpus to a faster disk"
        if self.num_frames * _REDECODED > sum(self.windows.values()) * window_ticks:
            return "clips are decoded again and again: raise --set cache_mb=..."
        return "decoding is slow: raise --set decode_threads=..., or store clips at the model's size"

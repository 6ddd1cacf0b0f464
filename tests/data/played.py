"""What an importer hands over, put on our clock as ingest does."""

from collections.abc import Iterator

from numpy.typing import NDArray

from gi_data.ingest.source import SourceRecording
from gi_data.ingest.timeline import Tick, frames_at, tick_edges, ticks


def play(recording: SourceRecording, fps: float | None = None) -> Iterator[tuple[NDArray, Tick]]:  # type: ignore[type-arg]
    """Frame and tick, at the format's own rate."""
    rate = fps or recording.fps
    assert rate is not None
    edges = tick_edges(recording.start_ns, recording.end_ns, rate)
    yield from zip(frames_at(recording.frames(), edges[:-1].tolist()), ticks(recording.events(), edges), strict=True)

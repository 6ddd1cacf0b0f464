"""Recordings whose frames carry their own number, so that a frame that meets the wrong label is found out."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from gi_data.planning import plan
from gi_data.recording import RecordingInfo, RecordingWriter
from gi_data.shards import ShardConfig, build
from gi_model.actions import AxisBinding, Bindings, InputState
from gi_model.frames import Frame

HEIGHT, WIDTH, BITS = 32, 96, 12
TICK_NS = 50_000_000
BINDINGS = Bindings(
    {"forward": "KeyW", "fire": "MouseLeft"},
    {"turn": AxisBinding("motion.x", 0.25), "look": AxisBinding("motion.y", 0.25)},
)


class Barcodes:
    """Frame t shows t in binary: twelve stripes that survive H.264 and halving. The label of tick t says t, too."""

    height, width, bindings = HEIGHT, WIDTH, BINDINGS

    def info(self, game: str = "barcode", **changes: object) -> RecordingInfo:
        facts: dict[str, object] = {
            "game": game,
            "fps": 20.0,
            "bindings": BINDINGS,
            "demonstrator": "counter",
            "seed": 0,
            "source": "test",
            "license": "CC0-1.0",
            "consent": "synthetic",
            "height": HEIGHT,
            "width": WIDTH,
        }
        return RecordingInfo(**(facts | changes))  # type: ignore[arg-type]

    def frame(self, number: int) -> Frame:
        bits = np.array([255 * (number >> bit & 1) for bit in range(BITS)], dtype=np.uint8)
        return np.broadcast_to(bits.repeat(WIDTH // BITS)[None, :, None], (HEIGHT, WIDTH, 3)).copy()

    def state(self, number: int) -> InputState:
        held = frozenset({"KeyW"}) if number % 3 == 0 else frozenset[str]()
        return InputState(keys=held, motion=(number % 16, number // 16))

    def number(self, frame: NDArray[np.uint8]) -> int:
        """Read the barcode of one frame, (H, W, 3) of any size."""
        columns = frame.mean(axis=(0, 2)).reshape(BITS, -1).mean(axis=1)
        return sum(1 << bit for bit, level in enumerate(columns) if level > 127)

    def number_of(self, state: InputState) -> int:
        """Read the number of a label."""
        return state.motion[0] + 16 * state.motion[1]

    def record(
        self, directory: Path, recording_id: str, *, game: str = "barcode", num_ticks: int = 90, first: int = 0
    ) -> None:
        """Record ticks `first`, ... in parts of 40."""
        with RecordingWriter(directory, recording_id, self.info(game), clip_ticks=40) as writer:
            for number in range(first, first + num_ticks):
                writer.append(self.frame(number), self.state(number), t_ns=number * TICK_NS)


@pytest.fixture(scope="session")
def barcodes() -> Barcodes:
    return Barcodes()


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory, barcodes: Barcodes) -> Path:
    """Two games, three recordings each, parts of 40, 40, and 10 ticks. Read only."""
    directory = tmp_path_factory.mktemp("recordings")
    for game in ("maze", "arena"):
        for index in range(3):
            barcodes.record(directory, f"{game}-{index}", game=game, first=index)
    return directory


MakeCorpus = Callable[..., Path]


@pytest.fixture(scope="session")
def make_corpus() -> MakeCorpus:
    """Shard recordings into a folder; shards so small that there are several."""

    def make(recordings: Path, directory: Path, *, shard_mb: float = 0.03, val_fraction: float = 0.34) -> Path:
        build(plan([recordings], directory, val_fraction=val_fraction), ShardConfig(shard_mb=shard_mb))
        return directory

    return make


@pytest.fixture(scope="session")
def corpus_path(recordings: Path, make_corpus: MakeCorpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus of `recordings`. Read only."""
    return make_corpus(recordings, tmp_path_factory.mktemp("corpus"))

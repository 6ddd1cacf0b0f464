"""Other people's formats through `ingest` into recordings of ours: label and picture still meet, tick by tick."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from gi_data.ingest.convert import IngestConfig
from gi_data.ingest.csgo import CsgoImporter
from gi_data.ingest.csgo_actions import LOOKS, TURNS
from gi_data.ingest.ingest import IngestPlan, ingest
from gi_data.ingest.open_p2p import OpenP2pImporter
from gi_data.ingest.recordings import RecordingsImporter
from gi_data.ingest.source import Importer
from gi_data.ingest.vpt import VptImporter
from gi_model.actions import InputState
from gi_model.frames import Frame
from tests.conftest import Barcodes
from tests.data.foreign_formats import write_csgo, write_open_p2p, write_vpt
from tests.data.played import play

NUM_FRAMES = 45
Write = Callable[[Path, Sequence[Frame], Sequence[InputState]], Path]


def state(number: int) -> InputState:
    """A label that says its number in motion that all of these formats can store."""
    keys = frozenset({"KeyW"}) if number % 2 else frozenset[str]()
    return InputState(keys=keys, motion=(TURNS[number % len(TURNS)], LOOKS[number // len(TURNS)]))


@pytest.mark.parametrize(
    ("importer", "write", "num_ticks"),
    [
        (VptImporter(), write_vpt, NUM_FRAMES),
        (CsgoImporter(), write_csgo, NUM_FRAMES),
        (OpenP2pImporter(), write_open_p2p, NUM_FRAMES - 1),
    ],
    ids=["vpt", "csgo", "open-p2p"],
)
def test_label_and_picture_still_meet(
    tmp_path: Path, barcodes: Barcodes, importer: Importer, write: Write, num_ticks: int
) -> None:
    numbers = range(NUM_FRAMES)
    write(tmp_path / "foreign", [barcodes.frame(n) for n in numbers], [state(n) for n in numbers])
    config = IngestConfig(height=32, width=96, clip_ticks=20)
    report = ingest(IngestPlan(importer, tmp_path / "foreign", tmp_path / "ours", config))
    assert [(one.failure, one.ticks) for one in report.recordings] == [("", num_ticks)]
    (found,) = RecordingsImporter().find(tmp_path / "ours")
    played = list(play(RecordingsImporter().read(found)))
    assert [barcodes.number(frame) for frame, _ in played] == list(range(num_ticks))
    assert [tick.state for _, tick in played] == [state(n) for n in range(num_ticks)]

"""The importer in docs/ingest.md works as it is printed there."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from gi_data.ingest.bindings_file import read_bindings
from gi_data.ingest.convert import IngestConfig
from gi_data.ingest.ingest import IngestPlan, ingest
from gi_data.ingest.pair_csv import InputsCsv
from gi_data.inputs_table import Labels

DOCUMENT = (Path(__file__).parents[2] / "docs" / "ingest.md").read_text()


def block(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found.group(1)


def test_the_importer_that_is_shown_works(tmp_path: Path) -> None:
    names: dict[str, Any] = {}
    exec(compile(block("python"), "docs/ingest.md", "exec"), names)
    (tmp_path / "src").mkdir()
    pictures = np.zeros((40, 32, 32, 3), dtype=np.uint8)
    np.savez(tmp_path / "src" / "a.npz", pictures=pictures, jumps=[[0.5, 0.62]])
    np.savez(tmp_path / "src" / "b.npz", pictures=pictures)
    config = IngestConfig(height=32, width=32)
    report = ingest(IngestPlan(names["JumpsImporter"](), tmp_path / "src", tmp_path / "out", config))
    assert [one.ticks for one in report.made] == [40]
    assert "no recording" in report.failures[0].failure
    labels = Labels.from_lines((tmp_path / "out" / "a-0000.inputs.jsonl").read_bytes(), "a")
    assert [index for index, state in enumerate(labels.inputs) if "Space" in state.keys] == [10, 11, 12]


def test_the_bindings_that_are_shown_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "game.toml").write_text(block("toml"))
    bindings = read_bindings(tmp_path / "game.toml")
    assert bindings.digital["melee"] == "KeyV"
    assert bindings.analogue["turn"].scale == 0.022


def test_the_inputs_that_are_shown_can_be_read(tmp_path: Path) -> None:
    found = re.search(r"^```\n(# game.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert found is not None
    (tmp_path / "run.inputs.csv").write_text(found.group(1))
    inputs = InputsCsv(tmp_path / "run.inputs.csv")
    assert inputs.header()["consent"] == "my own play"
    assert inputs.check() == (1_900_000_000, {})

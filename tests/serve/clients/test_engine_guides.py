"""The guides for engines: every snippet stands verbatim in a file that a test runs, every file they name is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
GUIDES = sorted((ROOT / "docs" / "engines").glob("*.md"))
TESTED = [*(ROOT / "serve" / "clients" / "examples").iterdir(), ROOT / "tests" / "serve" / "clients" / "play_openpi.py"]
SNIPPETS = re.compile(r"^```(?!bash)(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_there_is_a_guide_for_every_engine() -> None:
    assert [path.stem for path in GUIDES] == ["godot", "python", "unity", "unreal", "web"]


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_every_snippet_is_of_a_tested_file(guide: Path) -> None:
    files = {path.name: path.read_text() for path in TESTED}
    snippets = SNIPPETS.findall(guide.read_text())
    assert snippets
    for _language, snippet in snippets:
        assert any(snippet in text for text in files.values()), f"{guide.name} shows what no test runs:\n{snippet}"


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_every_guide_answers_the_same_questions(guide: Path) -> None:
    text = guide.read_text()
    for needed in (
        "**Run here:**",
        "**Frames",
        "**Input",
        "## When something is lost",
        "## Your own players",
        "gi posttrain",
    ):
        assert needed in text, needed


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_files_and_pages_that_a_guide_names_are_there(guide: Path) -> None:
    text = re.sub(r"^```.*?^```", "", guide.read_text(), flags=re.MULTILINE | re.DOTALL)
    named = [name for name in re.findall(r"`(serve/clients/[\w/.]+\w)`", text) if "*" not in name]
    assert [name for name in named if not (ROOT / name).exists()] == []
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text)]
    assert [link for link in links if not (guide.parent / link).exists()] == []

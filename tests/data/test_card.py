"""The corpus card: true to the index, fast on a million rows, and safe with whatever a stranger called a game."""

import json
import re
import shutil
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from gi_data import cli_card
from gi_data.card import CARD_NAME, write_card
from gi_data.card_charts import draw_all
from gi_data.card_facts import Facts, read_curation, tally
from gi_data.card_text import MAX_ROWS, plain, write_text
from gi_data.corpus import Corpus
from gi_data.corpus_statistics import statistics
from gi_data.index import INDEX_NAME
from gi_model.errors import CorpusError

HOSTILE = "$\\frac{1}{$ a|b`*[x](http://evil)<img src=x onerror=alert(1)>\n# \u2028 日本 \x00"


def gi(*arguments: object) -> Result:
    app = typer.Typer()
    cli_card.register(app)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def front_matter(card: str) -> dict[str, Any]:
    return dict(yaml.safe_load(card.split("---\n")[1]))


def renamed(corpus: Path, directory: Path, **names: str) -> Path:
    """The corpus with other values in some columns of its index."""
    copy = shutil.copytree(corpus, directory)
    table = pq.read_table(copy / INDEX_NAME)
    for column, value in names.items():
        at = table.schema.get_field_index(column)
        table = table.set_column(at, column, pa.array([value] * len(table)))
    pq.write_table(table, copy / INDEX_NAME)
    return copy


def test_the_card_says_what_the_statistics_say(corpus_path: Path) -> None:
    facts = Facts.read(corpus_path)
    *games, total = statistics(corpus_path)
    assert facts.total.hours == pytest.approx(total.hours)
    assert facts.total.num_recordings == total.num_recordings == 6
    assert {group.names[0]: group.num_clips for group in facts.by_game} == {game.game: game.num_clips for game in games}
    for group in facts.by_game:
        game = next(game for game in games if game.game == group.names[0])
        assert group.null_ratio == pytest.approx(game.null_ratio)
        assert group.known_ratio == pytest.approx(game.known_ratio)
        assert group.presses / group.hours / 3600 == pytest.approx(game.presses_per_second)
        play = next(play for play in facts.plays if play.game == game.game)
        assert play.held == pytest.approx(game.held_ratio)
        assert play.motion.sum() == group.num_ticks
    held_out = sum(group.hours for group in facts.by_game_and_split if group.names[1] == "val")
    assert held_out == pytest.approx(total.val_hours)


def test_groups_add_up_to_the_whole(corpus_path: Path) -> None:
    facts = Facts.read(corpus_path)
    rows = [Corpus(corpus_path).row(clip_id) for clip_id in range(18)]
    assert facts.num_bytes == sum(row.video_size + row.inputs_size + row.metadata_size for row in rows)
    for groups in (facts.by_game, facts.by_game_and_split, facts.by_player, facts.by_license, facts.by_shape):
        assert sum(group.hours for group in groups) == pytest.approx(facts.total.hours)
        assert sum(group.num_clips for group in groups) == 18
        assert [group.hours for group in groups] == sorted((group.hours for group in groups), reverse=True)


def test_stretches_of_one_clip_count_its_bytes_once(corpus_path: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(corpus_path, tmp_path / "twice")
    table = pq.read_table(copy / INDEX_NAME)
    pq.write_table(pa.concat_tables([table, table]), copy / INDEX_NAME)
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(manifest | {"num_clips": 36}))
    once, twice = Facts.read(corpus_path), Facts.read(copy)
    assert twice.num_bytes == once.num_bytes
    assert twice.total.hours == pytest.approx(2 * once.total.hours)


def test_the_command_writes_a_card_whose_charts_are_there(corpus_path: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "card"
    facts = json.loads(
        gi("card", corpus_path, "--out", out, "--title", "Mazes", "--description", "By *hand*.", "--json").stdout
    )
    card = (out / CARD_NAME).read_text()
    assert facts == {"card": str(out / CARD_NAME), "charts": 6}
    links = re.findall(r"!\[[^\]]+\]\((corpus_card/[a-z_]+\.svg)\)", card)
    assert len(links) == 6
    for link in links:
        assert ElementTree.parse(out / link).getroot().tag.endswith("svg")
    head = front_matter(card)
    assert (head["pretty_name"], head["license"], head["num_clips"]) == ("Mazes", ["cc0-1.0"], 18)
    assert head["games"] == ["arena", "maze"]
    assert (
        card.index("# Mazes") < card.index("By *hand*.") < card.index("of play** in 2 games") < card.index("## Games")
    )
    assert "KeyW forward" in card


def test_a_card_goes_beside_the_corpus_and_comes_out_the_same_again(corpus_path: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(corpus_path, tmp_path / "corpus")
    assert "card" in gi("card", copy).stdout
    written = {path.name: path.read_bytes() for path in (copy / "corpus_card").iterdir()}
    card = (copy / CARD_NAME).read_bytes()
    gi("card", copy)
    assert (copy / CARD_NAME).read_bytes() == card
    assert {path.name: path.read_bytes() for path in (copy / "corpus_card").iterdir()} == written
    assert b"# corpus\n" in card


def test_hostile_names_stay_names(corpus_path: Path, tmp_path: Path) -> None:
    names = dict.fromkeys(("game", "source", "demonstrator", "license", "consent"), HOSTILE)
    facts = Facts.read(renamed(corpus_path, tmp_path / "corpus", **names))
    card = write_text(facts, {}, title=HOSTILE)
    body = card.split("---\n", 2)[2]
    assert "<img" not in body
    assert not re.search(r"(?<!\\)\]\(", body)  # no link
    assert [line for line in body.splitlines() if re.match(r"\s*# ", line)] == [f"# {plain(HOSTILE)}"]
    for line in body.splitlines():
        if line.startswith("| $"):
            assert len(re.findall(r"(?<!\\)\|", line)) in (5, 6, 8)  # the table's own bars only
    assert front_matter(card)["license"] == ["other"]
    charts = draw_all(facts)
    for name in charts.keys() - {"clip_lengths"}:
        assert HOSTILE[:20] in "".join(ElementTree.fromstring(charts[name]).itertext())


@given(st.text(max_size=60))
def test_plain_text_is_one_line_without_live_markup(text: str) -> None:
    escaped = plain(text)
    assert len(escaped.splitlines()) == 1
    assert not re.search(r"(?<!\\)(?:\\\\)*[`*\[\]|~<]", escaped)
    assert escaped.strip()


def test_what_was_curated_out_stands_on_the_card(corpus_path: Path, tmp_path: Path) -> None:
    steps = (("idle", 2.0, 1.5), ("dark", 1.5, 1.5))
    filters = [{"filter": name, "hours_in": before, "hours_out": after, "notes": {}} for name, before, after in steps]
    copy = shutil.copytree(corpus_path, tmp_path / "corpus")
    (copy / "curation.json").write_text(json.dumps({"source": "x", "filters": filters}))
    card = write_card(copy, copy, title="curated")[0].read_text()
    assert "| idle | 2.0 h | 1.5 h | 25.0% |" in card
    assert "| dark | 1.5 h | 1.5 h | 0.0% |" in card


@pytest.mark.parametrize(
    "report",
    [
        "",
        "{",
        "[]",
        "3",
        "null",
        '{"filters": 3}',
        '{"filters": [3, {"filter": 1, "hours_in": "x", "hours_out": []}, {}]}',
    ],
)
def test_a_strange_curation_report_is_no_reason_to_have_no_card(corpus_path: Path, tmp_path: Path, report: str) -> None:
    (tmp_path / "curation.json").write_text(report)
    assert read_curation(tmp_path) == ()


def test_what_was_withdrawn_is_counted_as_such_and_nowhere_else(corpus_path: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(corpus_path, tmp_path / "corpus")
    (copy / "revoked.jsonl").write_text('{"recording_id": "maze-0", "reason": "asked"}\n')
    facts = Facts.read(copy)
    assert (facts.num_revoked, facts.total.num_recordings) == (1, 5)
    assert "Withdrawn by those who gave them: 1 recording," in write_text(facts, {}, title="t")


def test_no_corpus_or_an_empty_one_is_an_error(corpus_path: Path, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no corpus here"):
        gi("card", tmp_path)
    copy = shutil.copytree(corpus_path, tmp_path / "corpus")
    revoked = sorted({Corpus(copy).row(clip_id).recording_id for clip_id in range(18)})
    (copy / "revoked.jsonl").write_text("".join(json.dumps({"recording_id": name}) + "\n" for name in revoked))
    with pytest.raises(CorpusError, match="nothing to describe"):
        gi("card", copy)
    (tmp_path / "file").write_text("")
    with pytest.raises(CorpusError, match="cannot write"):
        gi("card", corpus_path, "--out", tmp_path / "file")


def test_a_corpus_behind_a_url_needs_a_folder_for_its_card() -> None:
    result = gi("card", "https://example.invalid/corpus")
    assert result.exit_code == 2
    assert "--out" in result.stderr


def many_rows(corpus: Path, num_rows: int, num_games: int) -> pa.Table:
    """The index of a corpus, repeated, with more games and lengths."""
    table = pq.read_table(corpus / INDEX_NAME)
    table = table.take(pa.array(np.arange(num_rows) % len(table)))
    ids = np.random.default_rng(0).integers(num_games, size=num_rows)
    games = pa.DictionaryArray.from_arrays(pa.array(ids), pa.array([f"game {n:04d}" for n in range(num_games)]))
    return table.set_column(table.schema.get_field_index("game"), "game", games.cast(pa.string()))


def test_many_games_fit_on_a_card(corpus_path: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(corpus_path, tmp_path / "corpus")
    pq.write_table(many_rows(corpus_path, 3000, 200), copy / INDEX_NAME)
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(manifest | {"num_clips": 3000}))
    card, *charts = write_card(copy, tmp_path / "out", title="many")
    assert f"{200 - MAX_ROWS} more rows are not shown." in card.read_text()
    hours = next(chart for chart in charts if chart.stem == "hours_by_game").read_text()
    assert "(184 more not shown)" in hours
    assert sum(chart.stat().st_size for chart in charts) < 1e6


@pytest.mark.slow  # a million rows: a few seconds, and the bound would mean nothing with fewer
def test_a_million_rows_are_summed_up_in_seconds(corpus_path: Path) -> None:
    table = many_rows(corpus_path, 1_000_000, 50)
    began = time.perf_counter()
    groups = tally(table, "game", "split")
    assert time.perf_counter() - began < 20
    assert sum(group.num_clips for group in groups) == 1_000_000

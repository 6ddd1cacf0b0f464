import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from gi_data.catalog import Catalog
from gi_data.corpus import Corpus
from gi_data.corpus_statistics import statistics
from gi_data.query import matching_rows, query
from gi_data.storage import locate
from gi_data.verification import verify
from gi_data.views import subset
from gi_model.errors import ConfigError, CorpusError

HOURS = "select game, sum(seconds) / 3600 as hours from clips group by 1 order by 1"


@pytest.fixture
def server(corpus_path: Path) -> Iterator[str]:
    """A web server that serves ranges of the corpus's files."""

    class Ranges(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = corpus_path / self.path.lstrip("/")
            content = path.read_bytes() if path.is_file() else b""
            first, last = 0, len(content) - 1
            if asked := self.headers.get("Range"):
                first, last = (int(number or last) for number in asked.removeprefix("bytes=").split("-"))
            body = content[first : last + 1]
            self.send_response(404 if not content else 206 if asked else 200)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815 - the name that http.server looks up

        def log_message(self, *args: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ranges) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()


def test_sums_are_those_of_the_manifest(corpus_path: Path) -> None:
    answer = query(HOURS, [corpus_path])
    assert answer.columns == ("game", "hours")
    assert dict(answer.rows) == pytest.approx(Catalog.open(corpus_path).manifest.hours_by_game)


def test_corpora_are_told_apart(corpus_path: Path, tmp_path: Path) -> None:
    subset(corpus_path, tmp_path / "maze", where="game = 'maze'")
    answer = query("select corpus, count(*) from clips group by 1", [corpus_path, tmp_path / "maze"])
    assert dict(answer.rows) == {str(corpus_path): 18, str(tmp_path / "maze"): 9}


def test_memory_and_web_servers_answer_like_the_disk(corpus_path: Path, server: str) -> None:
    expected = query(HOURS, [corpus_path])
    files = fsspec.filesystem("memory")
    for name in ("index.parquet", "manifest.json"):
        files.pipe(f"/hours/{name}", (corpus_path / name).read_bytes())
    assert query(HOURS, [locate("memory://hours")]) == expected
    assert query(HOURS, [locate(server)]) == expected
    assert len(query("from clips", [locate(server), corpus_path]).rows) == 36


def test_a_view_can_be_made_of_what_a_server_holds(corpus_path: Path, server: str, tmp_path: Path) -> None:
    subset(locate(server), tmp_path / "view", where="game = 'maze'")
    subset(corpus_path, tmp_path / "near", where="game = 'maze'")
    assert statistics(tmp_path / "view") == statistics(tmp_path / "near")
    assert verify(tmp_path / "view").problems == {}
    corpus = Corpus(tmp_path / "view")
    row = corpus.row(0)
    assert row.shard.startswith(server)
    assert corpus.read_video(row) == Corpus(tmp_path / "near").read_video(Corpus(tmp_path / "near").row(0))


def test_columns_can_be_described(corpus_path: Path) -> None:
    names = [row[0] for row in query("describe clips", [corpus_path]).rows]
    assert {"key", "shard", "duplicate_group", "quality", "corpus"} <= set(names)


@pytest.mark.parametrize(
    "sql",
    [
        "select * from read_csv('/etc/passwd')",
        "select * from read_text('/etc/passwd')",
        "select * from '{other}'",
        "select * from read_parquet('{other}')",
        "copy clips to '{out}'",
        "copy (from clips) to '{out}'",
        "attach '{out}'",
        "export database '{out}'",
        "create table kept as from clips",
        "install httpfs",
        "load httpfs",
        "set enable_external_access = true",
        "pragma database_list",
        "select 1; select 2",
        "explain analyze copy clips to '{out}'",
        "drop view clips",
        "",
        "selec 1",
        "select nothing from clips",
        "from missing",
    ],
)
def test_queries_read_the_index_and_nothing_else(corpus_path: Path, tmp_path: Path, sql: str) -> None:
    subset(corpus_path, tmp_path / "other", where="true")
    filled = sql.format(other=tmp_path / "other" / "index.parquet", out=tmp_path / "out")
    before = (corpus_path / "index.parquet").read_bytes()
    with pytest.raises(ConfigError):
        query(filled, [corpus_path])
    assert not (tmp_path / "out").exists()
    assert (corpus_path / "index.parquet").read_bytes() == before


def test_python_variables_are_out_of_reach(corpus_path: Path) -> None:
    """DuckDB would else read any data frame among the caller's variables as a table."""
    secret = Catalog.open(corpus_path).table  # noqa: F841
    with pytest.raises(ConfigError, match="secret"):
        query("from secret", [corpus_path])


def test_a_condition_may_carry_a_comment(corpus_path: Path) -> None:
    assert len(matching_rows(Catalog.open(corpus_path).table, "num_ticks < 20 -- short")) == 6


@pytest.mark.parametrize(
    "where",
    [
        "1 = 1) union select 99 from clips where (true",
        "true) union all select row_number__ from clips where (true",
        "nothing > 1",
        "true); drop table clips; select (1",
        "",
        "exists (from read_text('/etc/passwd'))",
    ],
)
def test_a_condition_is_a_condition(corpus_path: Path, where: str) -> None:
    with pytest.raises(ConfigError):
        matching_rows(Catalog.open(corpus_path).table, where)


def test_no_corpus_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no corpus here"):
        query("from clips", [tmp_path])

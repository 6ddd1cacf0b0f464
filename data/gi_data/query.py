"""SQL over indexes, in place: DuckDB reads `index.parquet` where it lies, on disk or behind a URL, and nothing else.

The table is called `clips`; of several corpora, rows carry the column `corpus`. A query can only read: one statement,
no files but the indexes, no settings. Recordings that were revoked do not appear.
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gi_data.index import INDEX_NAME
from gi_data.manifest import Manifest
from gi_data.revocation import revoked_anywhere
from gi_data.storage import Location
from gi_model.errors import ConfigError, CorpusError

if TYPE_CHECKING:
    import duckdb
    from fsspec import AbstractFileSystem


@dataclass(frozen=True)
class Answer:
    """Column names, and rows of Python values."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


def query(sql: str, corpora: Sequence[Location]) -> Answer:
    """Answer one SELECT over the indexes of corpora. Raises ConfigError on a query that cannot be answered."""
    indexes = [_Index.of(corpus) for corpus in corpora]
    with closing(_connect()) as database:
        selects = [index.select(database) for index in indexes]
        _run(database, f"create view clips as {' union all by name '.join(selects)}")
        _lock(database, [index.address for index in indexes])
        _check_reads(database, sql)
        found = _run(database, sql)
        return Answer(tuple(column[0] for column in found.description or ()), tuple(found.fetchall()))


def matching_rows(table: pa.Table, where: str) -> NDArray[np.int64]:
    """Numbers, ascending, of the rows for which an SQL condition holds. Raises ConfigError if it is none."""
    with closing(_connect()) as database:
        numbered = table.append_column("row_number__", pa.array(np.arange(len(table))))
        database.register("clips", numbered)
        _lock(database, [])
        sql = f"select row_number__ from clips where (\n{where}\n) order by row_number__"
        _check_reads(database, sql)
        rows = np.asarray(_run(database, sql).fetchnumpy()["row_number__"], dtype=np.int64)
    if len(np.unique(rows)) < len(rows) or (len(rows) and not 0 <= rows[0] <= rows[-1] < len(table)):
        raise ConfigError("where takes a condition over one row", got=where, do="For anything else: gi query")
    return rows


@dataclass(frozen=True)
class _Index:
    """One index: its corpus's name, its address for DuckDB, and what must not be seen of it."""

    corpus: Location
    address: str
    revoked: tuple[str, ...]

    @classmethod
    def of(cls, corpus: Location) -> "_Index":
        manifest = Manifest.read(corpus)  # says clearly if there is no corpus
        path = corpus / INDEX_NAME
        if not path.is_file():
            raise CorpusError(f"index {path} is missing", do=f"Rebuild it: gi index {corpus}")
        address = str(path.resolve() if isinstance(path, Path) else path)
        return cls(corpus, address, tuple(sorted(revoked_anywhere(corpus, manifest))))

    def select(self, database: "duckdb.DuckDBPyConnection") -> str:
        if "://" in self.address:
            from fsspec.core import url_to_fs

            files, _ = url_to_fs(self.address)
            database.register_filesystem(_dated(files))
        hidden = ", ".join(_quoted(name) for name in self.revoked)
        where = f" where recording_id not in ({hidden})" if hidden else ""
        name, address = _quoted(str(self.corpus)), _quoted(self.address)
        return f"(select *, {name} as corpus from read_parquet([{address}], filename = false){where})"


def _dated(files: "AbstractFileSystem") -> "AbstractFileSystem":
    """DuckDB asks when a file was changed, for a cache that lives as long as one query here; HTTP cannot say."""
    never = datetime.fromtimestamp(0, tz=UTC)
    kind = type("Dated", (type(files),), {"modified": lambda _self, _path: never})
    return kind(**files.storage_options)


def _connect() -> "duckdb.DuckDBPyConnection":
    try:
        import duckdb
    except ImportError as error:
        do = "Install it: pip install 'gi-model[corpus]'"
        raise ConfigError("queries need DuckDB, which is not installed", do=do) from error
    return duckdb.connect(
        ":memory:", config={"autoinstall_known_extensions": "false", "python_enable_replacements": "false"}
    )


def _lock(database: "duckdb.DuckDBPyConnection", addresses: Sequence[str]) -> None:
    """From now on the database reads `addresses` only, and no query can change that."""
    listed = ", ".join(_quoted(name) for address in addresses for name in (address, address.replace("://", ":///")))
    database.execute(f"set allowed_paths = [{listed}]")
    database.execute("set enable_external_access = false")
    database.execute("set lock_configuration = true")


def _check_reads(database: "duckdb.DuckDBPyConnection", sql: str) -> None:
    import duckdb

    try:
        statements = database.extract_statements(sql)
    except duckdb.Error as error:
        raise _refused(error) from error
    kinds = [statement.type for statement in statements]
    if kinds not in ([duckdb.StatementType.SELECT], [duckdb.StatementType.EXPLAIN]):
        got = ", ".join(kind.name.lower() for kind in kinds) or "nothing"
        raise ConfigError("a query reads", got=got, expected="one SELECT", do="The table is called clips.")


def _run(database: "duckdb.DuckDBPyConnection", sql: str) -> "duckdb.DuckDBPyConnection":
    import duckdb

    try:
        return database.execute(sql)
    except duckdb.Error as error:
        raise _refused(error) from error


def _refused(error: Exception) -> ConfigError:
    do = "Columns: gi query 'describe clips' --corpus CORPUS"
    return ConfigError("the query cannot be answered", got=str(error)[:600], do=do)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"

"""`SHARD.confidence.parquet`: who labelled each tick of a relabelled shard, and how sure, factor by factor.

Beside the shard, not in it: readers that train pay nothing for it, and whoever chooses a threshold can look first.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gi_data.storage import write_atomic

SUFFIX: Final = ".confidence.parquet"
# The player; a model, sure enough or not; nobody, since no frame shows it; nobody, since a view leaves the tick out.
Author = Literal["player", "idm", "unsure", "unseen", "outside"]
AUTHORS: Final[tuple[Author, ...]] = ("player", "idm", "unsure", "unseen", "outside")


def confidence_rows(key: str, authors: NDArray[np.int8], factors: Mapping[str, NDArray[np.float32]]) -> pa.Table:
    """Rows of one stored clip: authors int8 (T,), indices into AUTHORS; factors float32 (T,), nan: no answer."""
    names = pa.DictionaryArray.from_arrays(pa.array(authors), pa.array(AUTHORS)).cast(pa.string())
    together = np.prod(list(factors.values()), axis=0)
    columns = {
        "key": pa.array([key] * len(authors)),
        "tick": pa.array(np.arange(len(authors), dtype=np.int32)),
        "author": names,
        "confidence": pa.array(together, from_pandas=True),
    }
    return pa.table(columns | {name: pa.array(values, from_pandas=True) for name, values in factors.items()})


def write_confidence(directory: Path, shard: str, clips: Sequence[pa.Table]) -> None:
    """Write the rows of a shard's clips beside it. Raises CorpusError if the disk refuses."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.concat_tables(clips), sink, compression="zstd")
    write_atomic(_path(directory, shard), sink.getvalue().to_pybytes())


def read_confidence(directory: Path, shards: Sequence[str]) -> pa.Table:
    """The rows of these shards."""
    return pa.concat_tables([pq.read_table(_path(directory, shard)) for shard in shards])


def count_authors(table: pa.Table) -> dict[Author, int]:
    """Ticks by author."""
    counts = Counter({each["values"]: each["counts"] for each in pc.value_counts(table["author"]).to_pylist()})
    return {author: counts[author] for author in AUTHORS}


def mean_confidence(table: pa.Table) -> float:
    """Over the labels that the model gave; 0 where it gave none."""
    mean: float | None = pc.mean(table.filter(pc.equal(table["author"], "idm"))["confidence"]).as_py()
    return mean or 0.0


def _path(directory: Path, shard: str) -> Path:
    return directory / (shard.removesuffix(".tar") + SUFFIX)

"""Tombstones: recordings that somebody withdrew. `revoked.jsonl` beside the index, one line an id, never removed.

From the moment the line is written, whoever opens the corpus, or a view over it, sees the recording no more; index and
manifest follow, and `gi compact` removes the bytes. A tombstone outlives the recording, so that no later `gi shard` or
`gi index` brings it back.
"""

import json
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from gi_data.manifest import Manifest
from gi_data.storage import Location, resolve, write_atomic
from gi_model.errors import CorpusError

REVOKED_NAME = "revoked.jsonl"


def read_revoked(directory: Location) -> dict[str, dict[str, Any]]:
    """Tombstones in `directory` by recording id. Raises CorpusError if they cannot be read: none may be missed."""
    try:
        lines = (directory / REVOKED_NAME).read_bytes().splitlines()
    except FileNotFoundError:
        return {}
    try:
        tombstones = [json.loads(line) for line in lines if line.strip()]
        return {str(tombstone["recording_id"]): tombstone for tombstone in tombstones}
    except (ValueError, KeyError, TypeError) as error:
        do = "Mend or restore the file; deleting it would bring back what was withdrawn."
        raise CorpusError(f"{directory / REVOKED_NAME} cannot be read", got=str(error)[:200], do=do) from error


def revoked_anywhere(directory: Location, manifest: Manifest) -> frozenset[str]:
    """Ids revoked in a corpus, in the corpora that a view names, or where its shards lie."""
    folders = {"", *manifest.bases, *(parent_of(shard) for shard in manifest.shards)}
    revoked: set[str] = set()
    for folder in sorted(folders):
        with suppress(NotADirectoryError):
            revoked |= read_revoked(resolve(directory, folder)).keys()
    return frozenset(revoked)


def add_tombstones(directory: Path, recording_ids: Iterable[str], *, reason: str) -> list[str]:
    """Write down ids that are not there yet, and return them. From now on nobody who opens the corpus sees them."""
    tombstones = read_revoked(directory)
    new = [name for name in dict.fromkeys(recording_ids) if name not in tombstones]
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    tombstones |= {name: {"recording_id": name, "reason": reason, "time": now} for name in new}
    if new:
        lines = "".join(json.dumps(tombstone) + "\n" for tombstone in tombstones.values())
        write_atomic(directory / REVOKED_NAME, lines.encode())
    return new


def parent_of(shard: str) -> str:
    """The folder of a shard as the index names it, "" for the corpus's own; works for URLs, too."""
    return shard.rpartition("/")[0] if "://" in shard else str(PurePosixPath(shard).parent).removeprefix(".")

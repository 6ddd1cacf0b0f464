"""`recording_ids`: names for recordings found among files of strangers: unique, and able to name files.

Letters that cannot stand in an id become _. Names that are then alike, too long, or empty get eight digits of the hash
of where their files lie, so they stay the same from run to run.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

MAX_LENGTH: Final = 100
_FOREIGN: Final = re.compile(r"[^A-Za-z0-9_-]+")


def recording_ids(names: Sequence[str], paths: Sequence[Path], source: Path) -> list[str]:
    """An id for each name; its path, at or below `source`, tells it from its namesakes."""
    plain = [_FOREIGN.sub("_", name).strip("_-") for name in names]
    counts = Counter(plain)
    return [
        name if name and counts[name] == 1 and len(name) <= MAX_LENGTH else _marked(name, path, source)
        for name, path in zip(plain, paths, strict=True)
    ]


def _marked(name: str, path: Path, source: Path) -> str:
    """The name, shortened, with digits that depend on where its files lie."""
    place = path.relative_to(source).as_posix() if path.is_relative_to(source) else path.name
    digits = hashlib.sha256(place.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return f"{name[: MAX_LENGTH - 9].strip('_-')}-{digits}".strip("-")

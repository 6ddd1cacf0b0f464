"""`load_importer`: formats by name, from the entry-point group `gi.importers` ("module:Class").

Third parties add a format by installing a package with such an entry. A format whose library is not installed is still
listed, with what it lacks.
"""

from importlib.metadata import EntryPoint, entry_points

from gi_data.ingest.source import Importer
from gi_model.errors import ConfigError, GiError

GROUP = "gi.importers"


def load_importer(name: str) -> Importer:
    """The importer called `name`. Raises ConfigError if there is none, or it lacks a library."""
    entries = _entries()
    if name not in entries:
        do = "`gi formats` says what each one reads."
        raise ConfigError("no such format", got=repr(name), expected=", ".join(entries), do=do)
    try:
        importer: Importer = entries[name].load()()
    except ImportError as error:
        do = "Install the extra: pip install 'gi-model[corpus]'"
        raise ConfigError(f"the importer of {name} cannot be loaded", got=str(error), do=do) from error
    return importer


def list_importers() -> dict[str, Importer | GiError]:
    """Every importer by name; in place of one that cannot be loaded, why not."""
    return {name: _load_or_why(name) for name in _entries()}


def _entries() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name)}


def _load_or_why(name: str) -> Importer | GiError:
    try:
        return load_importer(name)
    except GiError as error:
        return error

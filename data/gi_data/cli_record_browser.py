"""`gi record GAME --browser`: the server of the page is a department above this one, so it is found by its name.

Whoever installs the extra `serve` has an entry point `browser` of the group `gi.recorders`.
"""

from importlib.metadata import entry_points
from pathlib import Path

from gi_model.errors import ConfigError


def record_from_browser(game: str, *, out: Path, port: int, as_json: bool) -> None:
    """Serve the page of `game` and record whoever plays it, until Ctrl-C. Raises GiError."""
    found = entry_points(group="gi.recorders", name="browser")
    if not found:
        raise ConfigError("recording in a browser needs the server", do="pip install 'gi-model[serve]'")
    next(iter(found)).load()(game, out=out, port=port, as_json=as_json)

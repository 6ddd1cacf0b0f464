"""`read_bindings`: a game's bindings from a TOML file, for `gi ingest --bindings`.

    cursor = false
    [digital]
    move_forward = "KeyW"
    attack = "MouseLeft"
    [analogue.turn]
    axis = "motion.x"
    scale = 0.022
    unit = "deg"

Only what stands here is stored. Controls have the names of `gi_model.actions.controls`.
"""

import tomllib
from pathlib import Path

from gi_model.actions import Bindings
from gi_model.errors import ConfigError


def read_bindings(path: Path) -> Bindings:
    """Read bindings. Raises ConfigError naming the file if it holds none."""
    try:
        bindings = Bindings.from_dict(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:  # both of TOML's and of UTF-8's errors are ValueErrors
        raise _unreadable(path, str(error)) from error
    except ConfigError as error:
        raise _unreadable(path, str(error)) from error
    if not (bindings.digital or bindings.analogue or bindings.cursor):
        raise _unreadable(path, "no bindings at all")
    return bindings


def _unreadable(path: Path, got: str) -> ConfigError:
    do = 'Write lines such as move_forward = "KeyW" under [digital]; docs/ingest.md has an example.'
    return ConfigError(f"bindings in {path} cannot be read", got=got[:300], expected="TOML", do=do)

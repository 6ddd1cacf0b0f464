"""Which filters run, in which order, with which limits: a TOML file with a table a filter, in the order of the file."""

import dataclasses
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from gi_data.curation.filters import FILTERS
from gi_model.errors import ConfigError

_HEADER = """# What `gi curate` leaves out: one table a filter, applied in this order. These are the defaults.
# A filter that is not named does not run; a limit that is not named has its default.
"""


@dataclass(frozen=True)
class Step:
    """One filter and its options."""

    name: str
    options: Any

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {"filter": self.name} | dataclasses.asdict(self.options)


def read_config(path: Path) -> list[Step]:
    """Read filters from a TOML file; paths in it are relative to it. Raises ConfigError naming what is wrong."""
    try:
        tables = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        do = "Start from the defaults: gi curate --example > curate.toml"
        raise ConfigError(f"{path} cannot be read", got=str(error)[:200], expected="TOML", do=do) from error
    steps = parse_config(tables)
    return [_located(step, path.parent) for step in steps]


def parse_config(tables: dict[str, Any]) -> list[Step]:
    """Filters of a parsed file, in its order. Raises ConfigError."""
    if unknown := tables.keys() - FILTERS.keys():
        raise ConfigError("unknown filter", got=", ".join(sorted(unknown)), expected=", ".join(FILTERS))
    if not tables:
        raise ConfigError("no filter is named", expected=", ".join(FILTERS), do="See: gi curate --example")
    return [_step(name, options) for name, options in tables.items()]


def default_steps() -> list[Step]:
    """All filters that need to be told nothing, with their defaults."""
    return parse_config(tomllib.loads(example()))


def example() -> str:
    """All filters with their defaults, as TOML."""
    return _HEADER + "".join(_example_of(name, kind) for name, (kind, _) in FILTERS.items())


def _step(name: str, options: Any) -> Step:
    kind = FILTERS[name][0]
    if not isinstance(options, dict):
        raise ConfigError(f"filter {name} is a table", got=repr(options)[:80], expected=f"[{name}]")
    hints = get_type_hints(kind)
    if unknown := options.keys() - hints.keys():
        raise ConfigError(
            f"unknown option of {name}", got=", ".join(sorted(unknown)), expected=", ".join(hints) or "none"
        )
    values = {key: _typed(f"{name}.{key}", value, hints[key]) for key, value in options.items()}
    try:
        return Step(name, kind(**values))
    except ConfigError as error:
        raise ConfigError(
            f"filter {name}: {error.what}", got=error.got, expected=error.expected, do=error.do
        ) from error


def _typed(name: str, value: Any, hint: Any) -> Any:
    """`value` if it is what the option holds; whole numbers do for real ones."""
    if get_origin(hint) is tuple:
        if isinstance(value, list) and all(isinstance(item, get_args(hint)[0]) for item in value):
            return tuple(value)
    elif hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    elif isinstance(value, hint) and isinstance(value, bool) == (hint is bool):
        return value
    expected = "a list of texts" if get_origin(hint) is tuple else hint.__name__
    raise ConfigError(f"{name} has the wrong type", got=repr(value)[:80], expected=expected)


def _located(step: Step, folder: Path) -> Step:
    """Paths of corpora as seen from here."""
    if not (against := getattr(step.options, "against", ())):
        return step
    places = tuple(name if "://" in name else str(folder / name) for name in against)
    return Step(step.name, dataclasses.replace(step.options, against=places))


def _example_of(name: str, kind: type) -> str:
    words = " ".join((kind.__doc__ or "").split())
    lines = [f"[{name}]", *(f"{field.name} = {_toml(field.default)}" for field in dataclasses.fields(kind))]
    if any(field.name == "against" for field in dataclasses.fields(kind)):
        lines = [f"# {line}" for line in lines]  # it has no default that could work
    return "\n" + "\n".join([*_wrapped(words), *lines]) + "\n"


def _wrapped(words: str) -> Sequence[str]:
    import textwrap

    return [f"# {line}" for line in textwrap.wrap(words, 100)]


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return '["path/to/corpus"]' if isinstance(value, tuple) else repr(value)

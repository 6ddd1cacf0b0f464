"""TOML tables as frozen dataclasses, with errors that name the key and the line.

`build` checks names and types by the dataclass's own annotations; whatever it or a `__post_init__` refuses is a
`TableError` that knows its path. `tomllib` keeps no lines of values, so `find_line` searches the text, which has parsed
already: tables by their headers, the rest in order of appearance.
"""

import re
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from itertools import islice
from types import NoneType
from typing import Any, Final, Self, TypeVar, get_args

from gi_model.errors import ConfigError

T = TypeVar("T")
Path = tuple[str | int, ...]  # ("actuators", 1, "max_rate")
_KINDS: Final[dict[type, tuple[tuple[type, ...], str]]] = {
    str: ((str,), "a string"),
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
}


class TableError(ConfigError):
    """What is wrong in a table, and `at` which key."""

    def __init__(self, what: str, *, got: object = None, expected: object = None, do: str = "", at: Path = ()) -> None:
        super().__init__(what, got=got, expected=expected, do=do)
        self.at = at

    def below(self, *parts: str | int) -> Self:
        """The same error, of a part of something larger."""
        return type(self)(self.what, got=self.got, expected=self.expected, do=self.do, at=(*parts, *self.at))

    def placed(self, where: str) -> ConfigError:
        """The same error for a person, after `where` and the key."""
        place = ".".join(str(part) for part in self.at)
        what = f"{where}{', ' * bool(place)}{place}: {self.what}"
        return ConfigError(what, got=self.got, expected=self.expected, do=self.do)


def build(kind: type[T], data: Any) -> T:
    """The dataclass `kind` of a parsed table. Raises TableError at the key that is wrong, unknown, or missing."""
    if not isinstance(data, Mapping):
        raise TableError("not a table", got=repr(data)[:80], expected="keys and values")
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(set(data) - set(known)):
        raise TableError("unknown key", got=unknown[0], expected=", ".join(known), at=(unknown[0],))
    values: dict[str, Any] = {}
    for name, field in known.items():
        if name in data:
            values[name] = _value(name, field.type, data[name])
        elif NoneType in get_args(field.type):
            values[name] = None
        elif field.default is MISSING:
            raise TableError("missing", expected=f"{name} = ...", at=(name,))
    return kind(**values)


def plain(value: Any) -> Any:
    """Inverse of `build`: dataclasses as dicts, tuples as lists; what is None is left out."""
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if is_dataclass(value):
        items = ((field.name, getattr(value, field.name)) for field in fields(value))
        return {name: plain(item) for name, item in items if item is not None}
    return value


def _value(name: str, kind: Any, value: Any) -> Any:
    inner = get_args(kind)
    if is_dataclass(kind):
        return _below(kind, value, name)
    if Ellipsis in inner:
        if not isinstance(value, list):
            raise TableError("not a list", got=repr(value)[:80], expected="a list of tables", at=(name,))
        return tuple(_below(inner[0], item, name, index) for index, item in enumerate(value))
    wanted = inner[0] if inner else kind
    kinds, expected = _KINDS[wanted]
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise TableError("wrong type", got=repr(value)[:80], expected=expected, at=(name,))
    if isinstance(value, str) and not (value.isprintable() and 0 < len(value) <= 100):
        raise TableError("not a name", got=repr(value)[:80], expected="1 to 100 printable characters", at=(name,))
    if wanted is not float:
        return value
    try:
        return float(value)  # type: ignore[arg-type]
    except OverflowError:  # whole numbers have no bounds
        raise TableError("too large", got=repr(value)[:80], expected="a finite number", at=(name,)) from None


def _below(kind: Any, value: Any, *at: str | int) -> Any:
    try:
        return build(kind, value)
    except TableError as error:
        raise error.below(*at) from error


# ---------------------------------------------------------------------- lines

_COMMENT = re.compile(r"""(?m)^((?:[^"'#\n]|"(?:\\.|[^"\\\n])*"|'[^'\n]*')*)#[^\n]*""")


def find_line(text: str, path: Path) -> int:
    """Line, from 1, of the key that `path` leads to; of the innermost table that is there, if the key is missing."""
    text = _COMMENT.sub(lambda match: match[1], text)
    position, parents = 0, ""
    for part, index in _steps(path):
        parents = f"{parents}.{part}" if parents else part
        found = _header(text, parents, position, index) or _key(text, part, position, index)
        if found is None:
            break
        position = found
    return text.count("\n", 0, position) + 1


def _steps(path: Path) -> list[tuple[str, int | None]]:
    """Names, each with the index that follows it."""
    following = (*path[1:], None)
    return [(p, n if isinstance(n, int) else None) for p, n in zip(path, following, strict=True) if isinstance(p, str)]


def _header(text: str, name: str, start: int, index: int | None) -> int | None:
    """End of `[name]`, or of the `index`-th `[[name]]`, after `start`."""
    brackets = r"\[\[\s*{}\s*\]\]" if index is not None else r"\[\s*{}\s*\]"
    headers = re.compile(r"(?m)^[ \t]*" + brackets.format(re.escape(name))).finditer(text, start)
    match = next(islice(headers, index or 0, None), None)
    return match.end() if match else None


def _key(text: str, name: str, start: int, index: int | None) -> int | None:
    """End of `name =` after `start`, before the next table; with an index, the opening of its `index`-th table."""
    end = re.compile(r"(?m)^[ \t]*\[").search(text, start)
    stop = end.start() if end else len(text)
    match = re.compile(rf"""(?<![\w."'-])["']?{re.escape(name)}["']?\s*=""").search(text, start, stop)
    if match is None or index is None:
        return match.end() if match else None
    opening = next(islice(re.compile(r"\{").finditer(text, match.end()), index, None), None)
    return opening.end() if opening else match.end()

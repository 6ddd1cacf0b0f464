"""`Fields`: the JSON object of one OWAMcap message, read field by field with types and ranges checked.

Schemas drifted from version to version, so each field is known by all the names it ever had; the recorder's own classes
know one version each. Fields nobody asks for (window titles among them) are never looked at.
"""

import json
import math
from collections.abc import Sequence
from typing import Any, Final

from gi_model.errors import ClipError

_LARGEST: Final = 2**62


class Fields:
    """One message. Every method raises ClipError naming the message's kind if the field is missing or of another type.

    `names`: what the field is called, newest name first.
    """

    def __init__(self, kind: str, data: bytes | dict[str, Any]) -> None:
        self._kind = kind
        self._fields = _parse(kind, data) if isinstance(data, bytes) else data

    def has(self, *names: str) -> bool:
        """Whether the field is there, under any name, and not null."""
        return any(self._fields.get(name) is not None for name in names)

    def integer(self, *names: str, default: int | None = None) -> int:
        """A whole number; `default` where it is absent."""
        value = self._get(names, default)
        is_whole = isinstance(value, int) or (isinstance(value, float) and math.isfinite(value) and value == int(value))
        if isinstance(value, bool) or not is_whole or abs(value) > _LARGEST:
            raise self._wrong(names, value, "a whole number")
        return int(value)

    def text(self, *names: str) -> str:
        """A string."""
        value = self._get(names)
        if not isinstance(value, str):
            raise self._wrong(names, value, "a string")
        return value

    def truth(self, *names: str) -> bool:
        """True or false."""
        value = self._get(names)
        if not isinstance(value, bool):
            raise self._wrong(names, value, "true or false")
        return value

    def integers(self, *names: str) -> tuple[int, ...]:
        """A list of whole numbers."""
        values = self._list(names)
        return tuple(Fields(self._kind, {names[0]: value}).integer(names[0]) for value in values)

    def texts(self, *names: str) -> tuple[str, ...]:
        """A list of strings."""
        values = self._list(names)
        return tuple(Fields(self._kind, {names[0]: value}).text(names[0]) for value in values)

    def inner(self, *names: str) -> "Fields":
        """An object in the object."""
        value = self._get(names)
        if not isinstance(value, dict):
            raise self._wrong(names, value, "an object")
        return Fields(self._kind, value)

    def _list(self, names: Sequence[str]) -> list[Any]:
        value = self._get(names)
        if not isinstance(value, list) or len(value) > 1000:
            raise self._wrong(names, value, "a short list")
        return value

    def _get(self, names: Sequence[str], default: object = None) -> Any:
        return next((self._fields[name] for name in names if self._fields.get(name) is not None), default)

    def _wrong(self, names: Sequence[str], value: object, expected: str) -> ClipError:
        return ClipError(f"a {self._kind} message has a wrong {names[0]}", got=repr(value)[:80], expected=expected)


def _parse(kind: str, data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ClipError(f"a {kind} message is no JSON", got=str(error)[:80]) from error
    if not isinstance(value, dict):
        raise ClipError(f"a {kind} message is no JSON object", got=repr(value)[:80])
    return value

"""API keys: a file that says who may do what, and holds only hashes; a key itself is shown once, when it is made.

    gi-KEYID-SECRET    KEYID names the key in files and logs; SECRET is 256 random bits

One SHA-256 is enough: nobody guesses 256 bits, and a slow hash (scrypt, argon2) would let a stranger who sends wrong
keys spend the server's processor. Rejected: keys in the environment or in flags (`ps` shows them), a database.
"""

import hashlib
import hmac
import json
import os
import re
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

from gi_model.errors import ConfigError

Scope = Literal["play", "metrics", "watch", "admin"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
KEY: Final = re.compile(r"gi-([0-9a-f]{8})-([A-Za-z0-9_-]{43})")
NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}")
_NOBODY: Final = "0" * 64  # compared with when the key is unknown, so that a wrong id takes as long as a wrong secret


@dataclass(frozen=True, slots=True)
class Key:
    """One line of the file. max_sessions: at a time; None: the server's `--max-sessions-per-key`."""

    id: str
    name: str
    scopes: tuple[Scope, ...]
    sha256: str
    max_sessions: int | None = None
    created: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9a-f]{8}", self.id) or not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise ConfigError("not an id and a SHA-256", got=f"id {self.id!r} of key {self.name!r}", expected="hex")
        if not NAME.fullmatch(self.name):
            raise ConfigError("not a name for a key", got=repr(self.name), expected="up to 64 of a-z A-Z 0-9 . _ -")
        check_scopes(self.name, self.scopes)
        if self.max_sessions is not None and self.max_sessions < 1:
            raise ConfigError(f"key {self.name} has no session", got=self.max_sessions, expected="1 or more")


class KeyRing:
    """The keys of one file, found by what a client sends."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self.keys: Mapping[str, Key] = {key.id: key for key in keys}

    def find(self, secret: str) -> Key | None:
        """The key whose text is `secret`, or None; takes as long either way."""
        match = KEY.fullmatch(secret)
        key = self.keys.get(match[1]) if match else None
        is_right = hmac.compare_digest(hash_key(secret), key.sha256 if key else _NOBODY)
        return key if is_right else None


def check_scopes(name: str, scopes: Iterable[str]) -> tuple[Scope, ...]:
    """`scopes`, if there are some and each is one. Raises ConfigError naming the key."""
    asked = tuple(scopes)
    known = tuple(scope for scope in SCOPES if scope in asked)
    if not known or len(known) != len(asked):
        raise ConfigError(f"key {name} has wrong scopes", got=list(asked), expected=f"of {list(SCOPES)}")
    return known


def hash_key(secret: str) -> str:
    """SHA-256 of a key, as the file holds it."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def make_key(name: str, scopes: Iterable[str], *, max_sessions: int | None = None) -> tuple[Key, str]:
    """A new key and its text, which nobody can recover later. Raises ConfigError."""
    key_id = secrets.token_hex(4)
    secret = f"gi-{key_id}-{secrets.token_urlsafe(32)}"
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return Key(key_id, name, check_scopes(name, scopes), hash_key(secret), max_sessions, created), secret


# ---------------------------------------------------------------------- the file


def read_keys(path: Path) -> list[Key]:
    """The keys of a file. Raises ConfigError if it is missing, not JSON, or says something else."""
    do = f"Make keys with: gi keys new NAME --scope play --file {path}"
    try:
        document = json.loads(path.read_text())
        rows = document["keys"]
        keys = [Key(**{**row, "scopes": tuple(row["scopes"])}) for row in rows]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(
            "cannot read the keys", got=f"{path} ({error})", expected="a file of gi keys", do=do
        ) from None
    for what in ("id", "name"):
        if len({getattr(key, what) for key in keys}) != len(keys):
            raise ConfigError(f"two keys have one {what}", got=str(path), do="Remove one of them.")
    return keys


def write_keys(path: Path, keys: Iterable[Key]) -> None:
    """Replace the file, whole or not at all, readable by its owner alone."""
    rows: list[dict[str, Any]] = [asdict(key) for key in keys]
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        out.write(json.dumps({"version": 1, "keys": rows}, indent=1) + "\n")
    part.replace(path)

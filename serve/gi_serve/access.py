"""`Access`: who asks, and whether they may. Without keys everyone may, which is why such a server stays on loopback.

A key or a client token comes as `Authorization: Bearer ...`; a browser's WebSocket, which cannot send headers, offers
the subprotocol `gi.auth.TOKEN` beside the one it speaks. Never in a URL: proxies and browsers keep URLs. The keys
file is read again when it changes: a revoked key ends at once, a broken file changes nothing.
"""

import ipaddress
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from gi_model.errors import ConfigError
from gi_serve.client_tokens import MAX_SECONDS, MIN_SECRET_BYTES, MINTABLE, PREFIX, ClientToken, TokenMint
from gi_serve.keys import SCOPES, KeyRing, Scope, read_keys
from gi_serve.limits import Buckets, Limits
from gi_serve.problems import FORBIDDEN, ORIGIN_REFUSED, REQUEST_INVALID, UNAUTHORIZED, Problem

SUBPROTOCOL: Final = "gi.auth."
_SCHEMES: Final = ("bearer", "api-key")  # the second is openpi's
logger = logging.getLogger("gi_serve")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. id: of the key, "" where there are none."""

    id: str
    name: str
    scopes: tuple[Scope, ...]
    max_sessions: int | None = None
    is_token: bool = False
    trace_parent: str = ""  # the W3C traceparent of the request

    def check(self, scope: Scope) -> "Caller":
        """Return the caller. Raises Problem without `scope`."""
        if scope not in self.scopes:
            raise Problem(FORBIDDEN, f"This needs the scope {scope}; yours: {', '.join(self.scopes)}.")
        return self


ANYONE: Final = Caller("", "anyone", SCOPES)


class Access:
    """The keys, tokens, and limits of one server. Belongs to the event loop's thread."""

    def __init__(self, keys: Path | None = None, *, limits: Limits | None = None, secret: bytes | None = None) -> None:
        if secret is not None and len(secret) < MIN_SECRET_BYTES:
            raise ConfigError("token secret is too short", got=f"{len(secret)} bytes", expected=MIN_SECRET_BYTES)
        self.limits = limits or Limits()
        self.requests = Buckets(self.limits.requests_per_s)
        self._path, self._mint = keys, TokenMint(secret)
        self._ring = None if keys is None else KeyRing(read_keys(keys))
        self._seen = _stamp(keys)

    @property
    def is_open(self) -> bool:
        """Whether there are no keys."""
        return self._ring is None

    # ------------------------------------------------------------------ who asks

    def identify(self, authorization: str | None) -> Caller:
        """The caller of an `Authorization` header. Raises Problem."""
        if self._ring is None:
            return ANYONE
        scheme, _, credential = (authorization or "").partition(" ")
        if scheme.lower() not in _SCHEMES or not credential.strip():
            raise Problem(UNAUTHORIZED, "Send Authorization: Bearer KEY.")
        return self._find(credential.strip())

    def identify_stream(self, headers: Mapping[str, str], subprotocols: Iterable[str]) -> Caller:
        """The caller of a WebSocket handshake. Raises Problem."""
        offered = next((name for name in subprotocols if name.startswith(SUBPROTOCOL)), None)
        if offered is not None and self._ring is not None:
            return self._find(offered.removeprefix(SUBPROTOCOL))
        return self.identify(headers.get("authorization"))

    def _find(self, credential: str) -> Caller:
        assert self._ring is not None
        token = self._mint.read(credential) if credential.startswith(PREFIX) else None
        key = self._ring.keys.get(token.key_id) if token else self._ring.find(credential)
        if key is None:
            raise Problem(UNAUTHORIZED, "The key or token is unknown, revoked, or expired.")
        scopes = key.scopes if token is None else tuple(scope for scope in token.scopes if scope in key.scopes)
        return Caller(key.id, key.name, scopes, key.max_sessions, is_token=token is not None)

    def admit(self, caller: Caller, address: str) -> None:
        """Count a request of `caller` (of `address`, where there are no keys). Raises Problem if it is too many."""
        self.requests.check(caller.id or address, "requests")

    def knows(self, owner: str) -> bool:
        """Whether sessions of the key `owner` may go on."""
        return self._ring is None or owner in self._ring.keys

    # ------------------------------------------------------------------ tokens

    def mint(self, caller: Caller, scopes: Iterable[Scope], *, seconds: int) -> tuple[str, ClientToken]:
        """A client token for `caller`, of its scopes or fewer. Raises Problem."""
        if self._ring is None:
            raise Problem(REQUEST_INVALID, "This server has no keys: nobody needs a token.")
        if caller.is_token:
            raise Problem(FORBIDDEN, "A token cannot mint tokens: ask with the API key.")
        for scope in scopes:
            caller.check(scope)
        wanted = tuple(scope for scope in MINTABLE if scope in tuple(scopes))
        token = ClientToken(caller.id, wanted, int(time.time()) + min(seconds, MAX_SECONDS))
        return self._mint.write(token), token

    # ------------------------------------------------------------------ the file

    def reload(self) -> bool:
        """Read the keys again if their file changed; whether they did. A file that cannot be read changes nothing."""
        stamp = _stamp(self._path)
        if self._path is None or stamp == self._seen:
            return False
        self._seen = stamp
        try:
            self._ring = KeyRing(read_keys(self._path))
        except ConfigError as error:
            logger.error("the keys stay as they were: %s", error)
            return False
        logger.info("read %d keys", len(self._ring.keys))
        return True


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`."""
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def check_origin(headers: Mapping[str, str]) -> None:
    """Keep other people's web pages away from a server without keys: browsers let any page open any WebSocket.

    A page's own name is no proof (it may be made to resolve to this machine): only loopback and bare addresses pass.
    Raises Problem.
    """
    origin = headers.get("origin")
    if origin is None:
        return
    host, asked = _host_of(origin), _host_of(f"//{headers.get('host', '')}")
    if not is_loopback(host) and not (_is_address(host) and host == asked):
        raise Problem(ORIGIN_REFUSED, "A server without keys serves pages of its own machine only: use --keys.")


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    try:
        found = path.stat() if path else None
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino) if found else None

"""Client tokens: what a game's backend mints for one player's browser or console, so that no API key leaves it.

    git-PAYLOAD.MAC    PAYLOAD: the key's id, scopes, expiry; MAC: HMAC-SHA256 under the server's secret

Nothing is stored: any server that shares the secret (`--token-secret`) accepts the token until it expires, or until
the key that minted it is revoked. Rejected: JWT (a header that chooses the algorithm is a footgun, and a dependency).
"""

import base64
import hashlib
import hmac
import json
import re
import secrets
import time
from dataclasses import dataclass
from typing import Final

from gi_serve.keys import SCOPES, Scope

PREFIX: Final = "git-"
MAX_SECONDS: Final = 3600
MINTABLE: Final[tuple[Scope, ...]] = ("play", "metrics")  # never admin: a token lives on other people's machines
MIN_SECRET_BYTES: Final = 32
_TOKEN: Final = re.compile(r"git-([A-Za-z0-9_-]{1,512})\.([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True)
class ClientToken:
    """What a token says. expires: Unix seconds."""

    key_id: str
    scopes: tuple[Scope, ...]
    expires: int


class TokenMint:
    """Writes and reads tokens under one secret; a random one dies with the process, and its tokens too."""

    def __init__(self, secret: bytes | None = None) -> None:
        self._secret = secret or secrets.token_bytes(MIN_SECRET_BYTES)

    def write(self, token: ClientToken) -> str:
        """The text of `token`."""
        facts = {"key": token.key_id, "scopes": token.scopes, "expires": token.expires, "nonce": secrets.token_hex(8)}
        payload = _to_text(json.dumps(facts, separators=(",", ":")).encode())
        return f"{PREFIX}{payload}.{_to_text(self._sign(payload))}"

    def read(self, text: str) -> ClientToken | None:
        """Inverse of `write`; None if the token is not ours or has expired."""
        match = _TOKEN.fullmatch(text)
        if match is None or not hmac.compare_digest(_to_text(self._sign(match[1])), match[2]):
            return None
        facts = json.loads(base64.urlsafe_b64decode(match[1] + "=" * (-len(match[1]) % 4)))  # ours: the MAC says so
        scopes = tuple(scope for scope in SCOPES if scope in facts["scopes"])
        token = ClientToken(facts["key"], scopes, facts["expires"])
        return token if token.expires > time.time() else None

    def _sign(self, payload: str) -> bytes:
        return hmac.new(self._secret, payload.encode(), hashlib.sha256).digest()


def _to_text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

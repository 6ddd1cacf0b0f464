"""Client tokens: only their server's own are read, only until they expire."""

import base64
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gi_serve.client_tokens import ClientToken, TokenMint

MINT = TokenMint(b"s" * 32)


def token(seconds: float = 60) -> ClientToken:
    return ClientToken("0a0a0a0a", ("play",), int(time.time() + seconds))


def test_what_was_written_is_read_by_everyone_with_the_secret() -> None:
    assert TokenMint(b"s" * 32).read(MINT.write(token())) == token()


def test_another_secret_reads_nothing() -> None:
    assert TokenMint().read(MINT.write(token())) is None
    assert TokenMint(b"t" * 32).read(MINT.write(token())) is None


def test_an_expired_token_is_none() -> None:
    assert MINT.read(MINT.write(token(-1))) is None


@given(st.integers(min_value=0, max_value=200), st.integers(min_value=1, max_value=127))
def test_no_byte_of_a_token_can_change(at: int, change: int) -> None:
    text = MINT.write(token())
    at %= len(text)
    changed = text[:at] + chr(ord(text[at]) ^ change) + text[at + 1 :]
    assert MINT.read(changed) is None


@given(st.text())
def test_whatever_else_is_read_as_nothing(text: str) -> None:
    assert MINT.read(text) is None
    assert MINT.read(f"git-{text}.{'A' * 43}") is None


def test_a_token_cannot_be_given_more_scopes() -> None:
    payload, mac = MINT.write(token()).removeprefix("git-").split(".")
    facts = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)).replace(b'"play"', b'"admin"')
    forged = base64.urlsafe_b64encode(facts).rstrip(b"=").decode()
    assert MINT.read(f"git-{forged}.{mac}") is None


@pytest.mark.parametrize("length", [1, 600])
def test_tokens_have_a_length(length: int) -> None:
    assert MINT.read(f"git-{'A' * length}.{'A' * 43}") is None

"""What the end of a process means; the manifests are held to it in tests/k8s."""

import pytest

from gi_model.errors import ConfigError, GiError, NonFiniteError, PeerLostError
from gi_model.exit_codes import ExitCode, Retry, retry_of


def errors(kind: type[GiError] = GiError) -> list[type[GiError]]:
    return [kind, *(found for child in kind.__subclasses__() for found in errors(child))]


def test_every_error_ends_with_a_known_code() -> None:
    assert {kind.exit_code for kind in errors()} <= set(ExitCode)
    assert ExitCode.DONE not in {kind.exit_code for kind in errors()}


@pytest.mark.parametrize(
    ("kind", "retry"),
    [
        (GiError, Retry.COUNTED),
        (ConfigError, Retry.NEVER),
        (NonFiniteError, Retry.NEVER),
        (PeerLostError, Retry.FREE),
    ],
)
def test_what_an_error_costs(kind: type[GiError], retry: Retry) -> None:
    assert retry_of(kind.exit_code) == retry


def test_what_nobody_knows_is_counted() -> None:
    assert {retry_of(code) for code in range(256) if code not in set(ExitCode)} == {Retry.COUNTED}


def test_a_code_fits_into_a_byte_and_signals_are_told_as_shells_tell_them() -> None:
    assert all(0 <= code < 256 for code in ExitCode)
    assert (ExitCode.INTERRUPTED, ExitCode.STOPPED) == (128 + 2, 128 + 15)

"""The command line as a whole: nobody sees a traceback for what the system refuses, and nobody misses one for a bug."""

from collections.abc import Callable

import pytest

from gi_model import cli
from gi_model.errors import ConfigError


def failing(error: Exception) -> Callable[[], Callable[[], None]]:
    def app() -> None:
        raise error

    return lambda: app


@pytest.mark.parametrize(
    ("error", "words", "code"),
    [
        (PermissionError(13, "Permission denied", "/data/[corpus]"), "error Permission denied: /data/[corpus]", 1),
        (OSError(28, "No space left on device", "/data/out"), "error No space left on device: /data/out", 1),
        (ConfigError("steps", got=0, expected="1 or more"), "error steps; got 0; expected 1 or more", 2),
    ],
)
def test_what_people_can_mend_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, words: str, code: int
) -> None:
    monkeypatch.setattr(cli, "build_app", failing(error))
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == code
    assert capsys.readouterr().err.strip() == words


@pytest.mark.parametrize("error", [ValueError("a bug"), OSError("no file, so a bug")])
def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr(cli, "build_app", failing(error))
    with pytest.raises(type(error)):
        cli.main()


def test_whoever_wants_the_traceback_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GI_TRACEBACK", "1")
    monkeypatch.setattr(cli, "build_app", failing(PermissionError(13, "Permission denied", "/data")))
    with pytest.raises(PermissionError):
        cli.main()

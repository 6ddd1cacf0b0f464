"""Keys: the file holds no key, a key opens what its hash says, and nothing else opens anything."""

import json
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from gi_model.cli import build_app
from gi_model.errors import ConfigError
from gi_serve.keys import KeyRing, make_key, read_keys, write_keys


def run(*words: str | Path) -> Any:
    return CliRunner().invoke(build_app(), [str(word) for word in words])


def test_a_key_is_found_by_its_text_alone() -> None:
    made = [make_key(f"key{index}", ["play"]) for index in range(5)]
    ring = KeyRing(key for key, _secret in made)
    for key, secret in made:
        assert ring.find(secret) is key
        assert ring.find(secret[:-1] + ("A" if secret[-1] != "A" else "B")) is None
        assert ring.find(key.sha256) is None
    (first, _), (_, second) = made[:2]
    mixed = f"gi-{first.id}-{second.split('-', 2)[2]}"  # one key's id with another's secret
    assert ring.find(mixed) is None


@given(st.text())
def test_whatever_else_is_sent_opens_nothing(text: str) -> None:
    key, _secret = make_key("a", ["play"])
    assert KeyRing([key]).find(text) is None


def test_keys_outlive_their_file_and_the_file_holds_no_key(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    made = [make_key("a", ["play", "admin"], max_sessions=3), make_key("b", ["metrics"])]
    write_keys(path, [key for key, _secret in made])
    assert read_keys(path) == [key for key, _secret in made]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for _key, secret in made:
        assert secret.split("-", 2)[2] not in path.read_text()


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"keys": 1}', '{"keys": [{}]}', '{"keys": [{"id": "x"}]}', '{"keys": ["gi"]}'],
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "keys.json").write_text(text)
    with pytest.raises(ConfigError, match=r"keys\.json"):
        read_keys(tmp_path / "keys.json")


@pytest.mark.parametrize(
    "wrong",
    [{"id": "zzzzzzzz"}, {"sha256": "00"}, {"name": "a b"}, {"scopes": ()}, {"scopes": ("root",)}, {"max_sessions": 0}],
)
def test_a_key_of_wrong_parts_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        replace(make_key("a", ["play"])[0], **wrong)


def test_two_keys_of_one_name_are_refused(tmp_path: Path) -> None:
    write_keys(tmp_path / "keys.json", [make_key("a", ["play"])[0], make_key("a", ["play"])[0]])
    with pytest.raises(ConfigError, match="one name"):
        read_keys(tmp_path / "keys.json")


def test_keys_are_made_listed_and_revoked_by_command(tmp_path: Path) -> None:
    path = tmp_path / "new" / "keys.json"
    made = run("keys", "new", "studio", "--scope", "play", "--scope", "admin", "--max-sessions", "4", "--file", path)
    assert made.exit_code == 0, made.output
    key = KeyRing(read_keys(path)).find(made.stdout.strip())
    assert key is not None
    assert (key.name, key.scopes, key.max_sessions) == ("studio", ("play", "admin"), 4)
    other = run("keys", "new", "other", "--file", path).stdout.strip()
    assert KeyRing(read_keys(path)).find(other) is not None
    listed = run("keys", "list", "--file", path).stdout
    assert "studio" in listed
    assert made.stdout.strip() not in listed
    assert isinstance(run("keys", "new", "studio", "--file", path).exception, ConfigError)
    assert isinstance(run("keys", "new", "third", "--scope", "all", "--file", path).exception, ConfigError)
    assert run("keys", "revoke", "studio", "--file", path).exit_code == 0
    assert [each["name"] for each in json.loads(path.read_text())["keys"]] == ["other"]
    assert isinstance(run("keys", "revoke", "studio", "--file", path).exception, ConfigError)

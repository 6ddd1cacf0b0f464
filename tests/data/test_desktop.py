"""A game in a window: whoever sits at the keyboard rules, nothing is typed elsewhere, and nothing elsewhere is kept."""

import json
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from gi_data.cli_record_window import seconds_of
from gi_data.desktop.person import Person
from gi_data.desktop.protocol import choose
from gi_data.desktop.record_window import WindowRecording, WindowTally, next_id, record_window
from gi_data.desktop.window_game import WindowGame, WindowPlan, playable
from gi_data.desktop.x11_keys import KEYCODES
from gi_data.ingest.events import Move, Press, Release
from gi_data.metadata import ClipMetadata
from gi_data.recording import is_finished
from gi_data.video import count_frames
from gi_model.actions import KEYS, NEUTRAL, Bindings, InputState
from gi_model.errors import ConfigError, GameError
from tests.data.fake_desktop import FakeDesktop, FakeEar

FORWARD = InputState(keys=frozenset({"KeyW"}), motion=(12, 0))
PLAN = WindowPlan("my/game", "my game", fps=50.0)


def labels(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()]


def record(
    folder: Path, desktop: FakeDesktop, during: Callable[[WindowTally], None], *, last_s: float | None = None
) -> WindowTally:
    """Record while `during`, called after every tick, lets it go on; it ends by StopIteration."""
    stop = threading.Event()

    def on_change(tally: WindowTally) -> None:
        try:
            during(tally)
        except StopIteration:
            stop.set()

    return record_window(WindowRecording(PLAN, folder, last_s=last_s), desktop, stop=stop, on_change=on_change)


# ---------------------------------------------------------------------- playing


def test_a_window_is_an_environment() -> None:
    desktop = FakeDesktop()
    game = WindowGame(PLAN, desktop)
    frame, _info = game.reset(seed=7)
    assert frame.shape == game.observation_space.shape == (120, 160, 3)
    game.advance(FORWARD)
    assert desktop.the_hand.held == FORWARD
    newer, reward, terminated, truncated, info = game.observe()
    assert newer[0, 0, 0] > frame[0, 0, 0]
    assert (reward, terminated, truncated) == (0.0, False, False)
    assert "executed" not in info
    game.close()
    assert desktop.the_hand.held == NEUTRAL
    assert desktop.is_closed
    assert desktop.ears[0].is_closed


def test_the_hot_key_takes_control_at_once_and_gives_it_back() -> None:
    desktop = FakeDesktop()
    game = WindowGame(PLAN, desktop)
    game.advance(FORWARD)
    desktop.ears[0].press("F10")
    assert desktop.the_hand.held == NEUTRAL  # in the very moment, not a tick later
    desktop.ears[0].press("KeyA")
    game.advance(FORWARD)
    assert desktop.the_hand.held == NEUTRAL
    assert game.observe()[4]["executed"].keys == {"KeyA"}  # what the policy's memory must hold
    desktop.ears[0].release("KeyA")
    desktop.ears[0].press("F10")
    game.advance(FORWARD)
    assert desktop.the_hand.held == FORWARD
    assert "executed" not in game.observe()[4]


def test_nothing_is_typed_while_another_window_has_the_focus() -> None:
    desktop = FakeDesktop()
    game = WindowGame(PLAN, desktop)
    game.advance(FORWARD)
    desktop.window.is_focused = False
    game.advance(FORWARD)
    assert desktop.the_hand.held == NEUTRAL
    assert game.observe()[4]["executed"] == NEUTRAL
    desktop.window.is_focused = True
    game.advance(FORWARD)
    assert desktop.the_hand.held == FORWARD


def test_keys_are_released_when_the_window_closes() -> None:
    desktop = FakeDesktop()
    game = WindowGame(PLAN, desktop)
    game.advance(FORWARD)
    desktop.window.is_open = False
    with pytest.raises(GameError, match="was closed"):
        game.observe()
    assert desktop.the_hand.held == NEUTRAL


def test_only_controls_of_the_game_are_typed() -> None:
    desktop = FakeDesktop()
    bindings = Bindings({"jump": "Space"})
    game = WindowGame(WindowPlan("my/game", "my game", fps=20.0, bindings=bindings), desktop)
    game.advance(InputState(keys=frozenset({"Space", "AltLeft", "F4"}), motion=(5, 5)))
    assert desktop.the_hand.held == InputState(keys=frozenset({"Space"}))
    assert not {"Escape", "F10", "AltLeft", "MetaLeft"} & set(playable(None).digital.values())


def test_the_hot_key_may_not_be_a_control_of_the_game() -> None:
    bindings = Bindings({"scream": "F10"})
    with pytest.raises(ConfigError, match="hot key is a control"):
        WindowGame(WindowPlan("my/game", "my game", fps=20.0, bindings=bindings), FakeDesktop())


# ---------------------------------------------------------------------- recording


def test_play_is_recorded_until_it_is_stopped(tmp_path: Path) -> None:
    desktop = FakeDesktop()

    def during(tally: WindowTally) -> None:
        if tally.ticks == 5:
            desktop.ears[0].press("KeyW")
            desktop.ears[0].press("KeyP")  # in no binding: it may be a letter of a password
        if tally.ticks == 10:
            desktop.ears[0].release("KeyW")
        if tally.ticks >= 15:
            raise StopIteration

    tally = record(tmp_path, desktop, during)
    lines = labels(tmp_path)
    assert tally.saved == ["my-game-human-000000"]
    assert is_finished(tmp_path, "my-game-human-000000")
    assert tally.ticks == len(lines) == 15
    held = [bool(line.get("keys")) for line in lines]
    assert held[:5] == [False] * 5
    assert 1 <= sum(held) <= 6  # fewer where this machine misses ticks
    assert not any(held[-3:])
    assert not any("KeyP" in str(line) for line in lines)
    assert record(tmp_path, FakeDesktop(), during).saved == ["my-game-human-000001"]


def test_nothing_is_kept_while_another_window_has_the_focus(tmp_path: Path) -> None:
    desktop = FakeDesktop()
    calls = iter(range(100))

    def during(tally: WindowTally) -> None:
        call = next(calls)
        desktop.window.is_focused = not 4 <= call < 9
        if call == 6:
            assert tally.is_paused
            desktop.ears[0].press("KeyE")
            desktop.ears[0].release("KeyE")
        if call == 14:
            raise StopIteration

    tally = record(tmp_path, desktop, during)
    assert not any("KeyE" in str(line) for line in labels(tmp_path))
    assert 5 <= tally.ticks <= 11
    parts = sorted(tmp_path.glob("my-game-human-000000-*.mp4"))
    assert len(parts) >= 2  # what came after does not follow what was before
    assert sum(count_frames(part, part.name) for part in parts) == tally.ticks


def test_the_last_seconds_are_kept_when_the_save_key_asks(tmp_path: Path) -> None:
    desktop = FakeDesktop()

    def during(tally: WindowTally) -> None:
        if tally.ticks == 30:
            assert not list(tmp_path.glob("*.mp4"))  # nothing reaches the disk unasked
            desktop.ears[0].press("F9")
        if tally.ticks >= 34:
            raise StopIteration

    tally = record(tmp_path, desktop, during, last_s=0.2)
    assert tally.saved == ["my-game-human-000000"]
    assert len(labels(tmp_path)) == 10
    metadata = ClipMetadata.from_json((tmp_path / "my-game-human-000000-0000.json").read_bytes(), "it")
    assert (metadata.info.demonstrator, metadata.num_ticks) == ("human", 10)


def test_a_window_that_closes_ends_the_recording_and_loses_nothing(tmp_path: Path) -> None:
    desktop = FakeDesktop()

    def during(tally: WindowTally) -> None:
        desktop.window.is_open = tally.ticks < 6

    tally = record(tmp_path, desktop, during)
    assert "was closed" in tally.ended
    assert is_finished(tmp_path, "my-game-human-000000")
    assert len(labels(tmp_path)) == 6


def test_a_machine_that_is_busy_skips_ticks_and_says_so(tmp_path: Path) -> None:
    desktop = FakeDesktop()

    def during(tally: WindowTally) -> None:
        if tally.ticks == 3:
            time.sleep(0.06)  # three ticks
            desktop.ears[0].press("KeyE")  # in one that is missed
            desktop.ears[0].release("KeyE")
            time.sleep(0.06)
        if tally.ticks >= 8:
            raise StopIteration

    record(tmp_path, desktop, during)
    times = [int(str(line["t_ns"])) for line in labels(tmp_path)]
    assert max(b - a for a, b in pairwise(times)) >= 80_000_000
    assert all(t_ns % 20_000_000 == 0 for t_ns in times)
    assert not any("KeyE" in str(line) for line in labels(tmp_path))
    assert len(list(tmp_path.glob("*.mp4"))) >= 2


# ---------------------------------------------------------------------- parts


def test_a_tap_between_two_ticks_is_in_its_own_tick() -> None:
    ear = FakeEar(lambda _: None)
    person = Person(ear)
    ear.heard = [Press(10, "Space"), Release(15, "Space"), Move(18, 3, -1), Press(25, "KeyW")]
    assert person.state_until(20) == InputState(keys=frozenset({"Space"}), motion=(3, -1))
    assert person.state_until(40) == InputState(keys=frozenset({"KeyW"}))
    assert person.state_until(60) == InputState(keys=frozenset({"KeyW"}))


def test_every_key_has_a_keycode_of_its_own() -> None:
    assert set(KEYCODES) == set(KEYS)
    assert len(set(KEYCODES.values())) == len(KEYS)
    assert (KEYCODES["KeyA"], KEYCODES["Space"], KEYCODES["Digit0"]) == (38, 65, 19)  # as `xev` shows them


def test_windows_are_found_by_a_part_of_their_title() -> None:
    titles = ["Doom", "Doom - Editor", "Mail"]
    assert choose("mail", titles) == 2
    assert choose("Doom", titles) == 0  # the exact one
    with pytest.raises(GameError, match="2 windows match 'oom'"):
        choose("oom", titles)
    with pytest.raises(GameError, match=r"no window matches 'quake'.*'Mail'"):
        choose("quake", titles)


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30.0), ("2m", 120.0), ("1.5", 1.5)])
def test_how_much_to_remember(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "0s", "-3", "an hour", "11m", "nan"])
def test_how_much_is_too_much(text: str) -> None:
    with pytest.raises(ConfigError, match="how much to remember"):
        seconds_of(text)


def test_names_of_recordings_go_on_after_the_last(tmp_path: Path) -> None:
    (tmp_path / "my-game-human-000004-0002.mp4").touch()
    assert next_id(tmp_path, "my/game") == "my-game-human-000005"

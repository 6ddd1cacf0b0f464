"""`DoomEngine`: one ViZDoom game process: started, seeded, stepped, and ended, with every failure as a GameError.

The engine is a program of its own that ViZDoom starts and talks to through shared memory. If it crashes while it plays
or ends (some generated maps crash it on exit), that surfaces here as an exception. If it dies while it *starts*,
ViZDoom 1.3 itself crashes, and with it the calling process: so recording and evaluation keep each game in a process of
its own, others can use `isolated`, and the usual cause, a window without a display, is checked first.

It is started through a small script, for two reasons: it writes settings and crash logs into its working folder, which
must not be the player's; and where `setpriv` exists it dies with its caller, even with one that was killed.
"""

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import vizdoom

from gi_data.envs.doom_scenarios import DoomScenario, Score
from gi_model.errors import GameError
from gi_model.frames import Frame

HEIGHT: Final = 120
WIDTH: Final = 160

_LAUNCHER: Final = """#!/bin/sh
cd "$(dirname "$0")" || exit 1
if command -v setpriv >/dev/null; then exec setpriv --pdeathsig KILL "{engine}" "$@" >engine.log 2>&1; fi
exec "{engine}" "$@" >engine.log 2>&1
"""
_FOLDER: Final = "gi-doom-"  # then the process id of its owner
_COUNTERS: Final = {"kills": "KILLCOUNT", "items": "ITEMCOUNT"}
_FAILURES: Final = (
    vizdoom.ViZDoomErrorException,
    vizdoom.ViZDoomUnexpectedExitException,
    vizdoom.ViZDoomIsNotRunningException,
    vizdoom.MessageQueueException,
    vizdoom.SharedMemoryException,
    vizdoom.FileDoesNotExistException,
)


class DoomEngine:
    """A running game. `wad`: generated maps. `reveal`: labels and sectors in `state`. `window`: a person plays.

    screen_height: of a 4:3 screen, one of 120, 240, 480, 600, 768, 960, in pixels.
    """

    def __init__(
        self,
        scenario: DoomScenario,
        *,
        wad: bytes = b"",
        reveal: bool = False,
        window: bool = False,
        screen_height: int = HEIGHT,
    ) -> None:
        self.name = scenario.name
        self.height, self.width = screen_height, screen_height * WIDTH // HEIGHT
        self._first_tic = 0
        sweep()
        self._folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER}{os.getpid()}-"))
        self._game = vizdoom.DoomGame()
        try:
            with self._guard("start"):
                self._configure(scenario, wad)
                if window:
                    check_display()
                    self._open_window()
                self._game.set_labels_buffer_enabled(reveal)
                self._game.set_sectors_info_enabled(reveal)
                self._game.init()
                (self._folder / "instance").write_text(self._game.get_instance_id())
        except BaseException:
            self.close()
            raise

    @property
    def is_finished(self) -> bool:
        """Whether the episode is over."""
        with self._guard("ask for the end of the episode"):
            return bool(self._game.is_episode_finished())

    @property
    def is_timeout(self) -> bool:
        """Whether the episode ended because its time was up."""
        with self._guard("ask for the end of the episode"):
            return bool(self._game.is_episode_timeout_reached())

    @property
    def tic(self) -> int:
        """Tics since the episode's first frame."""
        with self._guard("ask for the time"):
            return int(self._game.get_episode_time()) - self._first_tic

    @property
    def total_reward(self) -> float:
        """Sum of the scenario's own rewards."""
        with self._guard("ask for the reward"):
            return float(self._game.get_total_reward())

    def begin(self, *, seed: int, level: str = "") -> None:
        """Start an episode on `level` (default: the current one)."""
        with self._guard("start an episode"):
            if level:
                self._game.set_doom_map(level)
            self._game.set_seed(seed & 0xFFFFFFFF)
            self._game.new_episode()
            self._first_tic = int(self._game.get_episode_time())

    def advance(self, values: Sequence[float], *, render: bool) -> None:
        """Play one tic with `values` for the scenario's buttons; without `render` the screen stays as it was."""
        with self._guard("play"):
            self._game.set_action(list(values))
            self._game.advance_action(1, render)

    def advance_person(self) -> None:
        """Play one tic with what the person at the window presses."""
        with self._guard("play"):
            self._game.advance_action(1, True)

    def state(self) -> Any:
        """ViZDoom's game state with screen and, if revealed, labels and sectors; None after the end."""
        with self._guard("show a frame"):
            return self._game.get_state()

    def frame(self) -> Frame | None:
        """The rendered screen, uint8 (height, width, 3); None after the end."""
        state = self.state()
        return None if state is None else state.screen_buffer

    def variable(self, name: str) -> float:
        """A game variable by ViZDoom's name."""
        with self._guard("read a variable"):
            return float(self._game.get_game_variable(vizdoom.GameVariable.__members__[name]))

    def score(self, kind: Score) -> float:
        """What the scenario counts as its score, so far."""
        if kind in _COUNTERS:
            return self.variable(_COUNTERS[kind])
        return float(self.tic) if kind == "tics" else self.total_reward

    def command(self, text: str) -> None:
        """Send a console command."""
        with self._guard("take a command"):
            self._game.send_game_command(text)

    def last_action(self) -> list[float]:
        """What the person at the window pressed in the last tic, a value a button."""
        with self._guard("read the player's action"):
            return list(self._game.get_last_action())

    def close(self) -> None:
        """End the game's process. Idempotent; a crash on the way out loses nothing and is ignored."""
        with suppress(*_FAILURES):
            self._game.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _configure(self, scenario: DoomScenario, wad: bytes) -> None:
        game = self._game
        launcher = self._folder / "engine.sh"
        launcher.write_text(_LAUNCHER.format(engine=Path(vizdoom.__file__).parent / "vizdoom"))
        launcher.chmod(stat.S_IRWXU)
        game.set_vizdoom_path(str(launcher))
        game.set_doom_config_path(str(self._folder / "engine.ini"))
        if scenario.config is not None:
            game.load_config(str(scenario.config))
        else:
            game.set_episode_timeout(scenario.timeout_tics)
            game.set_doom_skill(3)
        if scenario.wad is not None:
            game.set_doom_game_path(str(scenario.wad))
            game.set_doom_map(scenario.level)
        if wad:
            (self._folder / "maps.wad").write_bytes(wad)
            game.set_doom_scenario_path(str(self._folder / "maps.wad"))
        game.set_available_buttons([vizdoom.Button.__members__[name] for name in scenario.buttons])
        game.set_screen_resolution(vizdoom.ScreenResolution.__members__[f"RES_{self.width}X{self.height}"])
        game.set_screen_format(vizdoom.ScreenFormat.RGB24)
        game.set_sound_enabled(False)
        game.set_window_visible(False)
        game.set_mode(vizdoom.Mode.PLAYER)

    def _open_window(self) -> None:
        """A window large enough for a person, whose keys and mouse then play instead of `values`."""
        self._game.set_window_visible(True)
        self._game.set_screen_resolution(vizdoom.ScreenResolution.RES_640X480)
        self._game.set_mode(vizdoom.Mode.SPECTATOR)
        self._game.add_game_args("+use_mouse 1 +freelook 1")

    @contextmanager
    def _guard(self, doing: str) -> Iterator[None]:
        try:
            yield
        except _FAILURES as error:
            do = "Start the episode again; if it dies each time, the scenario or map is at fault."
            raise GameError(f"{self.name} died while asked to {doing}", got=error, do=do) from error


def check_display() -> None:
    """Raise GameError if there is no screen to open a window on (Linux; elsewhere there is one)."""
    display = os.environ.get("DISPLAY", "")
    if not sys.platform.startswith("linux") or "WAYLAND_DISPLAY" in os.environ:
        return
    number = display.removeprefix(":").partition(".")[0]
    is_local = display.startswith(":")
    if not display or (is_local and not Path(f"/tmp/.X11-unix/X{number}").exists()):
        do = "Run it on a desktop, or under a virtual one: xvfb-run gi record ..."
        raise GameError("no display for the game's window", got=f"DISPLAY={display!r}", do=do)


def sweep() -> None:
    """Remove what engines of killed processes left: their folders, and the memory they shared."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*-*"):
        owner = folder.name.removeprefix(_FOLDER).partition("-")[0]
        if owner.isdigit() and not _is_alive(int(owner)):
            instance = folder / "instance"
            if instance.exists():
                for memory in Path("/dev/shm").glob(f"ViZDoom*{instance.read_text()}"):
                    memory.unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

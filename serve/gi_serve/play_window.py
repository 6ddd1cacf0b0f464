"""`play_window`: a server plays the game in a window on this screen, until the window closes or Ctrl-C.

Whatever ends it, keys are released first: by the game's end, by the hot key, by a lost server, by an error here.
"""

import signal
from dataclasses import dataclass
from pathlib import Path

from gi_data.desktop.system import open_desktop
from gi_data.desktop.window_game import HOTKEY, WindowGame, WindowPlan
from gi_data.envs.protocol import Environment
from gi_data.envs.realtime import RealTimeEnvironment
from gi_data.ingest.bindings_file import read_bindings
from gi_serve.client import Session
from gi_serve.filmed import FilmedEnvironment
from gi_serve.play import EpisodePlay, RealTimePlay


@dataclass(frozen=True)
class WindowPlay:
    """Which window, under which name. fps: None: the model's. bindings: TOML of controls that may be used."""

    game: str
    title: str
    fps: float | None = None
    bindings: Path | None = None
    hotkey: str = HOTKEY
    record: Path | None = None


def play_window(session: Session, play: WindowPlay) -> tuple[EpisodePlay, str]:
    """Play until it ends; what was played, and why it ended. Raises GameError without such a window."""
    # All end it like Ctrl-C: a key that is down in a game stays down without its program. A shell's `&` ignores SIGINT.
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.default_int_handler)
    bindings = read_bindings(play.bindings) if play.bindings is not None else None
    plan = WindowPlan(play.game, play.title, play.fps or session.model.fps, bindings, hotkey=play.hotkey)
    env: Environment = WindowGame(plan, open_desktop())
    try:
        if play.record is not None:
            env = FilmedEnvironment(env, play.record, player=f"policy {session.model.name}")
        clocked = RealTimeEnvironment(env)
        env = clocked
        return RealTimePlay(clocked, session).run_until_it_ends()
    finally:
        env.close()

"""`FilmedEnvironment`: a game whose every tick is recorded while it is played, whoever plays it.

What `gi record` writes: video (mp4) and the input state of every tick, so a played game can be watched, laid out with
its inputs (`gi contact-sheet`), or learned from. Below the clock: in real time it holds what the game really got, late
or not. Encoding runs in a thread of its own, or it would make the game late.
"""

import queue
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from gi_data.envs.protocol import Environment, StepResult
from gi_data.recording import RecordingInfo, RecordingWriter
from gi_model.actions import InputState, merge
from gi_model.errors import GiError
from gi_model.frames import Frame

_ONE_FILE: Final = 10**9  # ticks a part: an episode is one mp4


class FilmedEnvironment:
    """Records each episode of `env` into `folder`. player: who plays, for the label. Raises CorpusError at `close`."""

    def __init__(self, env: Environment, folder: Path, *, player: str) -> None:
        self._env, self._folder, self._player = env, folder, player
        self.name, self.fps, self.substeps, self.bindings = env.name, env.fps, env.substeps, env.bindings
        self.observation_space, self.action_space = env.observation_space, env.action_space
        self.embodiment = getattr(env, "embodiment", None)  # None where the game is no robot
        self._film: _Film | None = None
        self._shown: Frame | None = None  # the frame that the inputs of now are an answer to
        self._held: list[tuple[InputState, float]] = []  # since then, and how much of its motion

    def reset(self, *, seed: int | None = None) -> tuple[Frame, dict[str, Any]]:
        """Start an episode, and its film."""
        self._end()
        frame, info = self._env.reset(seed=seed)
        self._film = _Film(self._folder, f"{self.name.replace('/', '-')}-{seed}", self._info(seed or 0))
        self._shown, self._held = frame, []
        return frame, info

    def step(self, state: InputState) -> StepResult:
        """One tick."""
        self._held.append((state, 1.0))
        return self._show(self._env.step(state))

    def advance(self, state: InputState, *, share: float = 1.0) -> None:
        """One substep."""
        self._held.append((state, share / self.substeps))
        self._env.advance(state, share=share)

    def observe(self) -> StepResult:
        """The tick's end."""
        return self._show(self._env.observe())

    def close(self) -> None:
        """End the film and the game. Idempotent."""
        try:
            self._end()
        finally:
            self._env.close()

    def _show(self, result: StepResult) -> StepResult:
        if self._film is not None and self._shown is not None and self._held:
            self._film.append(self._shown, _tick_of(self._held))
        self._shown, self._held = result[0], []
        if result[2] or result[3]:
            self._shown = None  # what comes after the end is not play
        return result

    def _end(self) -> None:
        film, self._film = self._film, None
        if film is not None:
            film.close()

    def _info(self, seed: int) -> RecordingInfo:
        height, width, _channels = self.observation_space.shape
        return RecordingInfo(
            game=self.name,
            fps=self.fps,
            bindings=self.bindings,
            demonstrator=self._player,
            seed=seed,
            source="gi play",
            license="LicenseRef-game",
            consent="none needed: played by a program",
            height=height,
            width=width,
        )


def _tick_of(held: Sequence[tuple[InputState, float]]) -> InputState:
    """One tick of its substeps: held controls by OR, and of motion and wheel each substep's share."""
    tick = merge(state for state, _share in held)
    dx, dy, wheel_x, wheel_y = (
        round(sum(moved * share for moved, share in axis))
        for axis in zip(
            *([(moved, share) for moved in (*each.motion, *each.wheel)] for each, share in held), strict=True
        )
    )
    return replace(tick, motion=(dx, dy), wheel=(wheel_x, wheel_y))


class _Film:
    """One episode on its way to disk, in a thread."""

    def __init__(self, folder: Path, recording_id: str, info: RecordingInfo) -> None:
        self._writer = RecordingWriter(folder, recording_id, info, clip_ticks=_ONE_FILE)
        self._tick_ns, self._num_ticks = 1e9 / info.fps, 0
        self._ticks: queue.SimpleQueue[tuple[Frame, InputState, int] | None] = queue.SimpleQueue()
        self._error: GiError | None = None
        self._thread = threading.Thread(target=self._write, name="film", daemon=True)
        self._thread.start()

    def append(self, frame: Frame, state: InputState) -> None:
        """The next tick."""
        self._ticks.put((np.array(frame), state, round(self._num_ticks * self._tick_ns)))
        self._num_ticks += 1

    def close(self) -> None:
        """Write what waits, and end the file. Raises CorpusError if the disk refused."""
        self._ticks.put(None)
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _write(self) -> None:
        try:
            while (tick := self._ticks.get()) is not None:
                frame, state, t_ns = tick
                self._writer.append(frame, state, t_ns=t_ns)
            if self._num_ticks:
                self._writer.finish()
        except GiError as error:
            self._error = error
            self._writer.abandon()

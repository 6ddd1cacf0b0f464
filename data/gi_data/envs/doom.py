"""`DoomEnvironment`: a Doom scenario behind the `Environment` protocol: 160x120 RGB, 17.5 ticks of two tics a second.

Benchmarks of video ask for a larger screen and every tic.

The game runs in ViZDoom's own process (`doom_engine`), started by the first `reset`. Only the last tic of a lock-step
tick is rendered, which saves a third of the time; tics played by `advance` all are, since their caller may look at any
time. Scripted demonstrators ask for `reveal` and `sight`; nothing of it touches the frames (a test compares them). They
may look while a clock in another thread drives the game (`realtime`), hence the lock: ViZDoom has none.
"""

import random
import threading
from typing import Any, Final

from gi_data.envs import gather_maps
from gi_data.envs.doom_engine import HEIGHT, DoomEngine
from gi_data.envs.doom_scenarios import ANALOGUE, DIGITAL, find_scenario
from gi_data.envs.doom_sight import Sight, Walls, read_sight, read_walls
from gi_data.envs.protocol import InputSpace, StepResult, box
from gi_model.actions import InputState
from gi_model.errors import GameError
from gi_model.frames import Frame

TICS_PER_SECOND: Final = 35
TICS_PER_TICK: Final = 2


class DoomEnvironment:
    """One Doom game. See `gi_data.envs.protocol.Environment`. `info` has "score" and "tic"."""

    def __init__(self, name: str, *, screen_height: int = HEIGHT, tics_per_tick: int = TICS_PER_TICK) -> None:
        self._scenario = find_scenario(name)
        self.name = name
        self.fps = TICS_PER_SECOND / tics_per_tick
        self.substeps = tics_per_tick
        self._screen_height = screen_height
        self.bindings = self._scenario.bindings
        self.observation_space = box(screen_height, screen_height * 4 // 3)
        self.action_space = InputSpace(self.bindings)
        self._engine: DoomEngine | None = None
        self._lock = threading.RLock()
        self._block_id = -1
        self._is_revealed = False
        self._walls: Walls | None = None
        self._frame: Frame | None = None
        self._reward_seen = 0.0

    def reset(self, *, seed: int | None = None) -> tuple[Frame, dict[str, Any]]:
        """Start an episode; the same seed and inputs give the same frames."""
        seed = random.randrange(1 << 31) if seed is None else seed
        with self._lock:
            try:
                self._begin(seed)
            except GameError:
                self.close()  # a dead engine is replaced once: its crash belongs to the episode before
                self._begin(seed)
            self._frame, self._walls, self._reward_seen = None, None, self._running.total_reward
            frame, _, _, _, info = self.observe()
            return frame, info

    def step(self, state: InputState) -> StepResult:
        """Play one tick, rendering its last tic only."""
        for substep in range(self.substeps):
            self._advance(state, share=1.0, render=substep == self.substeps - 1)
        return self.observe()

    def advance(self, state: InputState, *, share: float = 1.0) -> None:
        """Play one tic with `state` held and `share` / 2 of its motion; does nothing after the end."""
        self._advance(state, share=share, render=True)

    def observe(self) -> StepResult:
        """The newest frame, the reward since the last `observe`, and whether the episode is over."""
        with self._lock:
            engine = self._running
            is_over = engine.is_finished
            if not is_over:
                self._frame = engine.frame()
            if self._frame is None:
                raise GameError(f"{self.name} ended before its first frame", do="Choose another seed or level.")
            reward, self._reward_seen = engine.total_reward - self._reward_seen, engine.total_reward
            is_timeout = is_over and engine.is_timeout
            return self._frame, reward, is_over and not is_timeout, is_timeout, self._info()

    def close(self) -> None:
        """End the game's process. Idempotent."""
        with self._lock:
            if self._engine is not None:
                self._engine.close()
            self._engine = None

    # ------------------------------------------------------------------ for scripted demonstrators

    def reveal(self) -> None:
        """Make `sight` available from the next `reset` on."""
        if not self._is_revealed:
            self.close()
        self._is_revealed = True

    def sight(self) -> Sight | None:
        """What is on the screen, as things and distances; None after the end. Raises GameError before `reveal`."""
        if not self._is_revealed:
            raise GameError(f"{self.name} hides its state", do="Call reveal() before reset().")
        with self._lock:
            state = self._running.state()
            if state is None:
                return None
            if self._walls is None:
                self._walls = read_walls(state)
            return read_sight(self._running, state, self._walls)

    # ------------------------------------------------------------------ the game's process

    @property
    def _running(self) -> DoomEngine:
        if self._engine is None:
            raise GameError(f"{self.name} is not running", do="Call reset() first.")
        return self._engine

    def _begin(self, seed: int) -> None:
        """Start an episode, and the engine where there is none or it holds other maps."""
        block_id, level = gather_maps.locate(seed) if self._scenario.is_generated else (-1, "")
        if self._engine is None or block_id != self._block_id:
            self.close()
            wad = gather_maps.write_block(block_id) if self._scenario.is_generated else b""
            self._engine = DoomEngine(
                self._scenario, wad=wad, reveal=self._is_revealed, screen_height=self._screen_height
            )
            self._block_id = block_id
        self._engine.begin(seed=seed, level=level)

    def _advance(self, state: InputState, *, share: float, render: bool) -> None:
        with self._lock:
            if not self._running.is_finished:
                self._running.advance(self._values(state, share / self.substeps), render=render)

    def _values(self, state: InputState, share: float) -> list[float]:
        """The engine's buttons: 1 if held, or degrees."""
        held = self.bindings.actions(state)
        values = []
        for button in self._scenario.buttons:
            if button in DIGITAL:
                values.append(float(DIGITAL[button][0] in held))
            else:
                values.append(self.bindings.amount(state, ANALOGUE[button][0]) * share)
        return values

    def _info(self) -> dict[str, Any]:
        engine = self._running
        return {"score": engine.score(self._scenario.score), "tic": engine.tic}

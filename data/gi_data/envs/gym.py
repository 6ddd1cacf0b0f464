"""`GymEnvironment`: any Gymnasium environment that renders to rgb_array: `gym/ALE/Breakout-v5`, `gym/Pendulum-v1`.

Discrete actions are numbers; a `KeyMap` says which held keys mean which. It follows by itself from action names
(Atari: "RIGHTFIRE" is ArrowRight + Space), else action i is key Digit(i + 1) and no key is action 0. Continuous actions
are driven through an embodiment (`gym_box`), whose camera also says how large the picture is. Where an environment
repeats actions (Atari: 4 frames), it is made without and the repetition becomes `substeps`, so that a clock can drive
each frame.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

import gymnasium
import numpy as np

from gi_data.envs.gym_box import BoxMap, make_box_map
from gi_data.envs.protocol import InputSpace, StepResult, box
from gi_model.actions import Bindings, InputState
from gi_model.embodiment import Camera
from gi_model.errors import ConfigError, GameError
from gi_model.frames import Frame, check_frame, resize

MAX_SECONDS: Final = 180  # of an episode, where the environment sets no limit
ATARI_FPS: Final = 60
_WORDS: Final = {"UP": "ArrowUp", "DOWN": "ArrowDown", "LEFT": "ArrowLeft", "RIGHT": "ArrowRight", "FIRE": "Space"}


@dataclass(frozen=True)
class KeyMap:
    """Which held controls mean which discrete action; `digital` names the controls' meanings."""

    digital: Mapping[str, str]
    actions: Mapping[frozenset[str], int]

    def __post_init__(self) -> None:
        if frozenset() not in self.actions:
            raise ConfigError("key map has no action for no key", do="Map frozenset() to the action that does least.")

    @property
    def bindings(self) -> Bindings:
        """The controls that mean something."""
        return Bindings(dict(self.digital))

    def action(self, state: InputState) -> int:
        """The action of the largest mapped set of controls that are all held."""
        held = state.held
        return self.actions[
            max((keys for keys in self.actions if keys <= held), key=lambda keys: (len(keys), sorted(keys)))
        ]


class GymEnvironment:
    """One Gymnasium environment. See `gi_data.envs.protocol.Environment`. `info["score"]` is the sum of rewards."""

    def __init__(self, name: str, *, key_map: KeyMap | None = None) -> None:
        env_id, _, file = name.removeprefix("gym/").partition("@")
        self.name = f"gym/{env_id}"
        spec = _find_spec(env_id)
        self.substeps = int(spec.kwargs.get("frameskip", 1))
        self._env = self._make(spec)
        self._size: tuple[int, int] | None = None
        self._env.reset(seed=0)
        self._controls = key_map or self._make_controls(file)
        self.embodiment = self._controls.embodiment if isinstance(self._controls, BoxMap) else None
        if isinstance(self._controls, BoxMap):
            camera, self.substeps = self._controls.embodiment.camera, self._controls.substeps(self._frame_rate())
            self._size = camera.height, camera.width
        self.fps = self._frame_rate() / self.substeps
        self.bindings = self._controls.bindings
        self.action_space = InputSpace(self.bindings, embodiment=self.embodiment)
        self.observation_space = box(*self._render().shape[:2])
        self._is_begun, self._is_over, self._is_truncated = False, True, False
        self._score = self._score_seen = 0.0

    def reset(self, *, seed: int | None = None) -> tuple[Frame, dict[str, Any]]:
        """Start an episode; the same seed and inputs give the same frames."""
        self._env.reset(seed=seed)
        self._is_begun, self._is_over, self._is_truncated = True, False, False
        self._score = self._score_seen = 0.0
        return self._render(), self._info()

    def step(self, state: InputState) -> StepResult:
        """Play one tick."""
        for _ in range(self.substeps):
            self.advance(state)
        return self.observe()

    def advance(self, state: InputState, *, share: float = 1.0) -> None:
        """Play one frame of the game with `state` held: velocities, so the mouse has no motion to share out."""
        del share
        if not self._is_begun:
            raise GameError(f"{self.name} is not running", do="Call reset() first.")
        if not self._is_over:
            _, reward, terminated, truncated, _ = self._env.step(self._controls.action(state))
            self._score += float(reward)
            self._is_over, self._is_truncated = terminated or truncated, truncated and not terminated

    def observe(self) -> StepResult:
        """The newest frame, the reward since the last `observe`, and whether the episode is over."""
        reward, self._score_seen = self._score - self._score_seen, self._score
        terminated = self._is_over and not self._is_truncated
        return self._render(), reward, terminated, self._is_truncated, self._info()

    def close(self) -> None:
        """Release the game. Idempotent."""
        self._env.close()

    def _make(self, spec: Any) -> gymnasium.Env[Any, Any]:
        options: dict[str, Any] = {"frameskip": 1} if "frameskip" in spec.kwargs else {}
        if spec.max_episode_steps is None:
            options["max_episode_steps"] = MAX_SECONDS * ATARI_FPS
        try:
            return gymnasium.make(spec.id, render_mode="rgb_array", disable_env_checker=True, **options)
        except (gymnasium.error.Error, ImportError, TypeError) as error:
            raise GameError(f"{self.name} cannot be made", got=error, do="Is its package installed?") from error

    def _frame_rate(self) -> float:
        return float(ATARI_FPS if self.name.startswith("gym/ALE/") else self._env.metadata.get("render_fps", 30))

    def _render(self) -> Frame:
        frame = check_frame(np.asarray(self._env.render()))
        return resize(frame, *self._size) if self._size else frame

    def _make_controls(self, file: str) -> KeyMap | BoxMap:
        space = self._env.action_space
        if not isinstance(space, gymnasium.spaces.Box):
            if file:
                raise ConfigError(f"{self.name} takes no embodiment", got=space, expected="continuous actions")
            return make_key_map(self._env)
        height, width = (side // 2 * 2 for side in self._render().shape[:2])
        camera = Camera(width, height, self._frame_rate())
        return make_box_map(space, file, name=self.name.removeprefix("gym/"), camera=camera)

    def _info(self) -> dict[str, Any]:
        return {"score": self._score}


def make_key_map(env: gymnasium.Env[Any, Any]) -> KeyMap:
    """The key map of a discrete environment. Raises ConfigError on other action spaces."""
    space = env.action_space
    if not isinstance(space, gymnasium.spaces.Discrete):
        do = "Pass a KeyMap with the actions you want to reach."
        raise ConfigError("actions without a key map", got=space, expected="a Discrete space, or a Box", do=do)
    if hasattr(env.unwrapped, "get_action_meanings"):
        words = [re.findall("|".join(_WORDS), name) for name in env.unwrapped.get_action_meanings()]
        used = {word for names in words for word in names}
        digital = {word.lower(): key for word, key in _WORDS.items() if word in used}
        return KeyMap(digital, {frozenset(_WORDS[word] for word in names): i for i, names in enumerate(words)})
    keys = [f"Digit{(index + 1) % 10}" for index in range(min(10, int(space.n)))]
    singles = {frozenset({key}): index for index, key in enumerate(keys)}
    return KeyMap({f"action_{index}": key for index, key in enumerate(keys)}, {frozenset(): 0} | singles)


def list_environments() -> list[str]:
    """Names of all registered environments."""
    _register_known()
    return sorted(f"gym/{env_id}" for env_id in gymnasium.registry)


def _find_spec(env_id: str) -> Any:
    _register_known()
    if env_id not in gymnasium.registry:
        near = get_close_matches(env_id, list(gymnasium.registry), n=3, cutoff=0.4)
        do = "Import the package that registers it first."
        raise ConfigError("unknown game", got=f"'gym/{env_id}'", expected=", ".join(f"gym/{n}" for n in near), do=do)
    return gymnasium.spec(env_id)


def _register_known() -> None:
    try:
        import ale_py
    except ImportError:
        return
    gymnasium.register_envs(ale_py)

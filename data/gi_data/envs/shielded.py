"""`ShieldedEnvironment`: a robot whose every input a shield judges first, at the body, where the clearance is known.

What was done instead is told as `info["executed"]`, as a person's take-over is, so whoever plays can put it into the
policy's history (`gi play` does, by `action.executed`). Below the clock, like a film: in real time it judges what the
body would really get, in each substep anew.
"""

from collections import Counter
from typing import Any

from gi_data.envs.protocol import Environment, StepResult
from gi_model.actions import InputState
from gi_model.embodiment import Embodiment
from gi_model.errors import ConfigError
from gi_model.frames import Frame
from gi_model.shield import ClearanceShield, Outcome, Shield, judge, load_shield


class ShieldedEnvironment:
    """Lets `shield` judge what `env` is given. outcomes: ticks by the gravest thing it did in them."""

    def __init__(self, env: Environment, shield: Shield) -> None:
        self._env, self._shield, self.embodiment = env, shield, embodiment_of(env)
        self.name, self.fps, self.substeps, self.bindings = env.name, env.fps, env.substeps, env.bindings
        self.observation_space, self.action_space = env.observation_space, env.action_space
        self.outcomes: Counter[Outcome] = Counter()
        self._frame: Frame | None = None
        self._clearance_m: float | None = None
        self._overruled: tuple[InputState, Outcome] | None = None  # in this tick

    def reset(self, *, seed: int | None = None) -> tuple[Frame, dict[str, Any]]:
        """Start an episode."""
        frame, info = self._env.reset(seed=seed)
        self._overruled = None
        self._see(frame, info)
        return frame, info

    def step(self, state: InputState) -> StepResult:
        """One tick."""
        return self._tell(self._env.step(self._judge(state)))

    def advance(self, state: InputState, *, share: float = 1.0) -> None:
        """One substep."""
        self._env.advance(self._judge(state), share=share)

    def observe(self) -> StepResult:
        """The tick's end."""
        return self._tell(self._env.observe())

    def close(self) -> None:
        """Release the robot. Idempotent."""
        self._env.close()

    def _judge(self, state: InputState) -> InputState:
        assert self._frame is not None
        allowed, outcome = judge(self._shield, self.embodiment, self._frame, state, clearance_m=self._clearance_m)
        if outcome != "allowed":
            self._overruled = allowed, outcome
        return allowed

    def _tell(self, result: StepResult) -> StepResult:
        frame, reward, terminated, truncated, info = result
        self._see(frame, info)
        overruled, self._overruled = self._overruled, None
        self.outcomes["allowed" if overruled is None else overruled[1]] += 1
        if overruled is not None:
            info = {**info, "executed": overruled[0]}
        return frame, reward, terminated, truncated, info

    def _see(self, frame: Frame, info: dict[str, Any]) -> None:
        clearance_m = info.get("clearance_m")
        self._frame, self._clearance_m = frame, None if clearance_m is None else float(clearance_m)


def embodiment_of(env: Environment) -> Embodiment:
    """The body of `env`. Raises ConfigError if it is no robot."""
    embodiment = getattr(env, "embodiment", None)
    if not isinstance(embodiment, Embodiment):
        raise ConfigError("a shield guards robots", got=env.name, expected="an environment such as robot/rover")
    return embodiment


def make_shield(name: str, env: Environment) -> Shield:
    """The shield `clearance`, of the first actuator, or `MODULE:NAME`. Raises ConfigError."""
    body = embodiment_of(env)
    return ClearanceShield(body, body.actuators[0].name) if name == "clearance" else load_shield(name)

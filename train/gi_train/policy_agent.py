"""`PolicyAgent`: a checkpoint that plays in this process, without a server.

Agent spec: `policy:FOLDER`, or `policy:FOLDER+ADAPTER` with what `gi posttrain` made for it; either with
`,keys=calibrated` (or mode) or `,motion=sample` to draw its keys or its motion in another way.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, get_args

import torch

from gi_data.agents import Agent, check_commands
from gi_data.envs.protocol import Environment
from gi_model.actions import InputState
from gi_model.adapters import load_adapter
from gi_model.attachment import merge
from gi_model.calibration import load_calibration
from gi_model.checkpoint import load_policy
from gi_model.embodiment import Embodiment
from gi_model.errors import ConfigError
from gi_model.frames import Frame, resize
from gi_model.policy_stepper import PolicyStepper, load_stepper
from gi_model.stepper import Keys, Motion, Sampling, Stepper

WAYS: Final = {"keys": get_args(Keys), "motion": get_args(Motion)}


class PolicyAgent:
    """Steps one stream of `stepper`. confidence: of the last action, by factor."""

    def __init__(self, stepper: Stepper, sampling: Sampling | None = None) -> None:
        self._stepper, self._sampling = stepper, sampling or Sampling()
        self.confidence: Mapping[str, float] | None = None

    def reset(self, *, seed: int) -> None:
        """Start a new stream with an empty memory."""
        self.confidence = None
        self._stepper.open(0, replace(self._sampling, seed=seed))

    def act(self, frame: Frame) -> InputState:
        """The policy's answer to `frame`, of any size."""
        stepper = self._stepper
        answer = stepper.step(resize(frame, stepper.height, stepper.width)[None], [0])
        self.confidence = dict(zip(stepper.factors, map(float, answer.confidence[0]), strict=True))
        return replace(stepper.action_space.decode(answer.tokens[0]), commands=answer.commands_of(0))

    def close(self) -> None:
        """Nothing held but memory."""


def make_policy_agent(spec: str, env: Environment) -> Agent:
    """The agent of a spec. Raises ConfigError on a spec it cannot read, CheckpointError if it cannot be loaded."""
    place, *options = spec.partition(":")[2].split(",")
    if not place:
        raise ConfigError("no checkpoint named", got=spec, expected="policy:FOLDER or policy:FOLDER+ADAPTER")
    sampling = _read_sampling(options)
    torch.set_num_threads(1)  # games run beside it, one process a core
    stepper, fps, body = _load(place)
    _check_rate(fps, env)
    check_commands(body, env)
    stepper.open(0, sampling)  # refuses what the checkpoint lacks before a game begins
    return PolicyAgent(stepper, sampling)


def _read_sampling(options: Sequence[str]) -> Sampling:
    """How actions are drawn, by options such as "keys=mode"."""
    chosen = dict[str, Any]()
    for option in options:
        name, _, value = option.partition("=")
        if name not in WAYS:
            raise ConfigError(
                "no such option of a policy", got=option, expected=" | ".join(f"{name}=" for name in WAYS)
            )
        if value not in WAYS[name]:
            raise ConfigError(f"no such way to draw {name}", got=value, expected=" | ".join(WAYS[name]))
        chosen[name] = value
    return Sampling(**chosen)


def _load(place: str) -> tuple[Stepper, float, Embodiment | None]:
    """What plays, its ticks a second, its body. An adapter is merged, for it plays alone, and has a rate of its own."""
    folder, plus, adapter_folder = place.rpartition("+")
    if not plus or Path(place).exists():  # a folder's own name may have the sign
        stepper = load_stepper(Path(place), num_slots=1)
        return stepper, stepper.fps, None
    policy, adapter = load_policy(Path(folder)), load_adapter(Path(adapter_folder))
    merge(policy, adapter)
    calibration = load_calibration(Path(adapter_folder), policy.space)
    stepper = PolicyStepper(policy, num_slots=1, name=policy.name, calibration=calibration)
    return stepper, adapter.config.fps, adapter.config.embodiment


def _check_rate(fps: float, env: Environment) -> None:
    if abs(fps - env.fps) > 0.5:
        do = "Play it in games with its own tick rate, or train it on recordings of this game."
        raise ConfigError(f"{env.name} ticks at another rate than the policy", got=env.fps, expected=fps, do=do)

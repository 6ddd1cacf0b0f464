"""`IsolatedEnvironment`: any game in a process of its own, so that its crash is a GameError and not the caller's end.

For programs that must outlive a game: native engines can take down the process they are called from. Costs the copy of
a frame through a pipe (0.1 ms at 160x120). Recording and evaluation do without: there, player and game share a process
that may die.
"""

import multiprocessing
import signal
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, Final

from gi_data.envs.protocol import InputSpace, StepResult
from gi_model.actions import InputState
from gi_model.errors import GameError, GiError
from gi_model.frames import Frame

PATIENCE_S: Final = 5.0
_FACTS: Final = ("name", "fps", "substeps", "bindings", "observation_space", "embodiment")


class IsolatedEnvironment:
    """The game called `name`, played in a child process. Raises what `make_environment` raises."""

    def __init__(self, name: str) -> None:
        self.name = name
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, name), daemon=True)
        self._process.start()
        theirs.close()
        facts = self._receive()
        self.fps, self.substeps = facts["fps"], facts["substeps"]
        self.bindings, self.observation_space = facts["bindings"], facts["observation_space"]
        self.embodiment = facts["embodiment"]  # None where the game is no robot
        self.action_space = InputSpace(self.bindings, embodiment=self.embodiment)

    def reset(self, *, seed: int | None = None) -> tuple[Frame, dict[str, Any]]:
        """Start an episode; the same seed and inputs give the same frames."""
        result: tuple[Frame, dict[str, Any]] = self._ask("reset", seed=seed)
        return result

    def step(self, state: InputState) -> StepResult:
        """Play one tick."""
        result: StepResult = self._ask("step", state)
        return result

    def advance(self, state: InputState, *, share: float = 1.0) -> None:
        """Play one substep."""
        self._ask("advance", state, share=share)

    def observe(self) -> StepResult:
        """The newest frame, the reward since the last `observe`, and whether the episode is over."""
        result: StepResult = self._ask("observe")
        return result

    def close(self) -> None:
        """End the game's process. Idempotent."""
        self._pipe.close()
        self._process.join(PATIENCE_S)
        self._process.kill()
        self._process.join()

    def _ask(self, method: str, *args: Any, **options: Any) -> Any:
        if self._pipe.closed:
            raise GameError(f"{self.name} is closed", do="Make it again.")
        with suppress(BrokenPipeError):
            self._pipe.send((method, args, options))
        return self._receive()

    def _receive(self) -> Any:
        try:
            answer = self._pipe.recv()
        except (EOFError, OSError) as error:
            self.close()
            code = self._process.exitcode
            raise GameError(f"the process of {self.name} died", got=f"exit code {code}", do="Make it again.") from error
        if isinstance(answer, GiError):
            raise answer
        return answer


def _serve(pipe: Connection, name: str) -> None:
    """Answer calls until the pipe closes."""
    from gi_data.envs import make_environment

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the caller's to answer
    try:
        env = make_environment(name)
    except GiError as error:
        pipe.send(error)
        return
    try:
        pipe.send({fact: getattr(env, fact, None) for fact in _FACTS})
        while True:
            method, args, options = pipe.recv()
            try:
                pipe.send(getattr(env, method)(*args, **options))
            except GiError as error:
                pipe.send(error)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the caller closed the game, or is gone
    finally:
        env.close()

"""`SessionFace`: what the sessions of both clients, the blocking and the async one, show of their core."""

from gi_model.actions import InputState
from gi_model.embodiment import Embodiment
from gi_model.errors import ServeError
from gi_serve.client_core import ConnectionLostError, ModelInfo, SessionConfig, SessionCore
from gi_serve.command_plan import CommandPlan


class SessionFace:
    """What the sessions of both clients show of their core."""

    def __init__(self, config: SessionConfig) -> None:
        self.config, self._core = config, SessionCore(config)
        self._lost: ConnectionLostError | None = None
        self._is_closed = False

    @property
    def model(self) -> ModelInfo:
        """What plays."""
        return self._core.model

    @property
    def adapter(self) -> str | None:
        """What plays with it, by name; None: the model alone."""
        return self._core.adapter

    @property
    def seed(self) -> int:
        """What reproduces the play."""
        return self._core.seed

    @property
    def id(self) -> str:
        """The session's name on the server, for REST; a secret."""
        return self._core.id

    @property
    def is_fresh(self) -> bool:
        """Whether the newest answer is no older than `patience_s`, and the connection stands."""
        return self._lost is None and self._core.is_fresh

    @property
    def is_down(self) -> bool:
        """Whether the connection is lost, for now or for good: every key is up."""
        return self._lost is not None or self._core.is_down

    @property
    def state(self) -> InputState:
        """What to hold right now: the newest answer, or what the fail-safe contract says when it is too old."""
        return self._core.state

    def due(self) -> InputState | None:
        """What to begin to hold now, None to go on: each tick of an answer once, when its time comes."""
        return self._core.due()

    @property
    def embodiment(self) -> Embodiment | None:
        """The body that the session drives, if it drives one."""
        return self._core.embodiment

    def take_plan(self) -> CommandPlan | None:
        """The newest commands for the body that nobody took yet, of an answer or of a stop; None if there are none."""
        return self._core.take_plan()

    @property
    def num_late_feedback(self) -> int:
        """How often `execute` came too late to count."""
        return self._core.num_late_feedback

    def _check(self) -> None:
        if self._lost is not None:
            raise self._lost
        if self._is_closed:
            raise ServeError("the session is closed", do="Open a new one.")

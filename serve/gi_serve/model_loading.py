"""`ModelLoader`: a folder that `gi pretrain` wrote -> a stepper that is warm, at start or while the server runs.

What is asked for over the network is a path below one folder, never any path of the machine.
"""

import re
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gi_model.errors import ConfigError, GiError
from gi_serve.problems import MODEL_INVALID, Problem

if TYPE_CHECKING:
    from gi_model.stepper import Stepper
    from gi_serve.step_times import StepTimes

NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model to serve. name None: the checkpoint's own."""

    path: Path
    name: str | None = None

    @classmethod
    def parse(cls, text: str) -> "ModelSpec":
        """`PATH` or `NAME=PATH`. Raises ConfigError."""
        name, equals, path = text.partition("=")
        if not equals:
            return cls(Path(text))
        if not NAME.fullmatch(name) or not path:
            raise ConfigError("not a model", got=text, expected="PATH or NAME=PATH", do="Names have a-z A-Z 0-9 . _ -")
        return cls(Path(path), name)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that has taken its first steps, and how long those took."""

    stepper: "Stepper"
    times: "StepTimes"


@dataclass(frozen=True, slots=True)
class ModelLoader:
    """How models are loaded. models_dir: below which clients may name checkpoints; None: they may not."""

    device: str = "cpu"
    num_slots: int = 32
    models_dir: Path | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)  # two at once would need twice the memory

    def load(self, spec: ModelSpec) -> LoadedModel:
        """The model of `spec`, warm: the first player must not wait for the first step's allocations.

        Raises GiError if the checkpoint is missing or damaged. Belongs off the event loop: it takes seconds.
        """
        from gi_model.policy_stepper import load_stepper
        from gi_serve.step_times import measure

        with self._lock:
            stepper = load_stepper(spec.path, num_slots=self.num_slots, device=self.device)
            if spec.name is not None:
                stepper.name = spec.name
            return LoadedModel(stepper, measure(stepper))

    def find(self, path: str) -> Path:
        """The checkpoint that a client names, relative to `models_dir`. Raises Problem if it is none of ours."""
        if self.models_dir is None:
            raise Problem(MODEL_INVALID, "This server was started without --models-dir.")
        root = self.models_dir.resolve()
        try:
            found = (root / path).resolve()  # follows links: one that leads outside is outside
            is_ours = root in found.parents and found.is_dir()
        except (OSError, ValueError):  # a name too long, a null byte
            is_ours = False
        if not is_ours:
            raise Problem(MODEL_INVALID, "No such folder below --models-dir.")
        return found

    def load_for_client(self, name: str, path: str) -> LoadedModel:
        """The model at `path` below `models_dir`, as `name`. Raises Problem, without paths of the machine."""
        found = self.find(path)
        try:
            return self.load(ModelSpec(found, name))
        except GiError as error:
            raise Problem(MODEL_INVALID, f"{error.what.replace(str(found), path)}.") from error

"""`ModelLoader`: a folder that `gi pretrain` wrote -> a stepper that is warm, at start or while the server runs.

What is asked for over the network is a path below one folder, never any path of the machine.
"""

import re
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gi_model.errors import ConfigError, GiError
from gi_serve.problems import ADAPTER_INVALID, MODEL_INVALID, Problem, ProblemKind

if TYPE_CHECKING:
    from gi_model.adapters import Adapter
    from gi_model.stepper import Stepper
    from gi_serve.step_times import StepTimes

NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model, or adapter, to serve. name None: the folder's own."""

    path: Path
    name: str | None = None

    @classmethod
    def parse(cls, text: str) -> "ModelSpec":
        """`PATH` or `NAME=PATH`. Raises ConfigError."""
        name, equals, path = text.partition("=")
        if not equals:
            return cls(Path(text))
        if not NAME.fullmatch(name) or not path:
            do = "Names have a-z A-Z 0-9 . _ -"
            raise ConfigError("not a model or adapter", got=text, expected="PATH or NAME=PATH", do=do)
        return cls(Path(path), name)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that has taken its first steps, and how long those took."""

    stepper: "Stepper"
    times: "StepTimes"


@dataclass(frozen=True, slots=True)
class ModelLoader:
    """How models are loaded. models_dir, adapters_dir: below which clients may name folders; None: they may not."""

    device: str = "cpu"
    num_slots: int = 32
    models_dir: Path | None = None
    adapters_dir: Path | None = None
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
            if self.device.startswith("cuda"):
                stepper.use_graphs()  # batches of 1, 2, 4, ... rows, each one launch; `measure` captures them
            return LoadedModel(stepper, measure(stepper))

    def find(self, path: str) -> Path:
        """The checkpoint that a client names, relative to `models_dir`. Raises Problem if it is none of ours."""
        return _find_below(self.models_dir, path, kind=MODEL_INVALID, flag="--models-dir")

    def load_for_client(self, name: str, path: str) -> LoadedModel:
        """The model at `path` below `models_dir`, as `name`. Raises Problem, without paths of the machine."""
        found = self.find(path)
        try:
            return self.load(ModelSpec(found, name))
        except GiError as error:
            raise Problem(MODEL_INVALID, f"{error.what.replace(str(found), path)}.") from error

    def load_adapter_for_client(self, path: str) -> "Adapter":
        """The adapter at `path` below `adapters_dir`. Raises Problem, without paths of the machine."""
        from gi_model.adapters import load_adapter

        found = _find_below(self.adapters_dir, path, kind=ADAPTER_INVALID, flag="--adapters-dir")
        try:
            return load_adapter(found)
        except GiError as error:
            raise Problem(ADAPTER_INVALID, f"{error.what.replace(str(found), path)}.") from error


def _find_below(folder: Path | None, path: str, *, kind: ProblemKind, flag: str) -> Path:
    """The folder that a client names, relative to `folder`, which `flag` gives. Raises Problem if it is not below."""
    if folder is None:
        raise Problem(kind, f"This server was started without {flag}.")
    root = folder.resolve()
    try:
        found = (root / path).resolve()  # follows links: one that leads outside is outside
        is_ours = root in found.parents and found.is_dir()
    except (OSError, ValueError):  # a name too long, a null byte
        is_ours = False
    if not is_ours:
        raise Problem(kind, f"No such folder below {flag}.")
    return found

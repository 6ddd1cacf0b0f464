"""Every error a user can meet, each saying what, got, expected, do this.

GiError
├── ConfigError        a setting, preset, or flag that cannot work
├── ActionError        an input state or action tokens outside the action space
├── FrameError         an image of the wrong size, type, or coding
├── GameError          a game that is missing, died, or was asked for what it lacks
├── CorpusError        recordings, shards, manifests, indexes
│   └── ClipError      one damaged clip; readers may skip and count it
├── CheckpointError    a checkpoint or adapter that is damaged, foreign, or of another action space
│   └── BaseMismatchError  an adapter of another base
├── TrainingError      a run that must stop
│   ├── NonFiniteError a loss or gradient that is no number
│   └── PeerLostError  another process of the run is gone
└── ServeError         the API and its clients

The command line prints a GiError as one panel and exits with its `exit_code`; nobody sees a traceback.
"""

from gi_model.exit_codes import ExitCode


class GiError(Exception):
    """What went wrong, with what was got, what was expected, and what to do about it."""

    exit_code = ExitCode.FAILED

    def __init__(self, what: str, *, got: object = None, expected: object = None, do: str = "") -> None:
        self.what, self.got, self.expected, self.do = what, got, expected, do
        parts = [what]
        if got is not None:
            parts.append(f"got {got}")
        if expected is not None:
            parts.append(f"expected {expected}")
        super().__init__("; ".join(parts) + (f". {do}" if do else ""))

    def __reduce__(self) -> tuple[object, ...]:
        """Cross process boundaries with all four parts."""
        return (_rebuild, (type(self), self.what, self.got, self.expected, self.do))


def _rebuild(kind: type[GiError], what: str, got: object, expected: object, do: str) -> GiError:
    return kind(what, got=got, expected=expected, do=do)


class ConfigError(GiError):
    """A setting, preset, or flag that cannot work."""

    exit_code = ExitCode.SETTINGS


class ActionError(GiError):
    """An input state or action tokens outside the action space."""


class FrameError(GiError):
    """An image of the wrong size, type, or coding."""


class GameError(GiError):
    """A game that is missing, died, or was asked for what it lacks."""


class CorpusError(GiError):
    """Recordings, shards, manifests, indexes."""


class ClipError(CorpusError):
    """One damaged clip; readers may skip and count it."""


class CheckpointError(GiError):
    """A checkpoint or adapter that is damaged, foreign, or of another action space."""


class BaseMismatchError(CheckpointError):
    """An adapter whose base is not the policy at hand."""


class TrainingError(GiError):
    """A run that must stop."""


class NonFiniteError(TrainingError):
    """A loss or gradient that is no number."""

    exit_code = ExitCode.NOT_FINITE


class PeerLostError(TrainingError):
    """Another process of the run is gone."""

    exit_code = ExitCode.PEER_LOST


class ServeError(GiError):
    """The API and its clients."""

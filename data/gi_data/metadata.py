"""`RecordingInfo` and `ClipMetadata`: where a clip comes from and what it holds; the `KEY.json` everywhere.

Provenance travels with every clip (game, demonstrator, seed, source, licence, consent, bindings), because a corpus is
mixed from many sources and must be able to answer for each of them.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from gi_model.actions import Bindings
from gi_model.errors import ClipError, CorpusError, GiError

JsonScalar = str | int | float | bool | None

SCHEMA_VERSION = 1
_ID = re.compile(r"[A-Za-z0-9_-]{1,120}")  # no dot: tar readers cut a member's key at the first one


@dataclass(frozen=True)
class RecordingInfo:
    """What is known before the first frame. fps: ticks a second; height, width: of the stored video, in pixels."""

    game: str
    fps: float
    bindings: Bindings
    demonstrator: str
    seed: int
    source: str
    license: str
    consent: str
    height: int
    width: int
    extra: Mapping[str, JsonScalar] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < self.fps <= 240:
            raise CorpusError("fps out of range", got=self.fps, expected="above 0, at most 240")
        if self.height < 2 or self.width < 2 or self.height % 2 or self.width % 2:
            got, do = f"{self.width}x{self.height}", "Resize or crop: H.264 stores colour for pairs of pixels."
            raise CorpusError("video size cannot be stored", got=got, expected="even numbers", do=do)


@dataclass(frozen=True)
class ClipMetadata:
    """One clip: part `part` of `recording_id`. num_parts: None until the recording ended. sha256: by kind of file."""

    info: RecordingInfo
    recording_id: str
    part: int
    num_ticks: int
    t0_ns: int
    sha256: Mapping[str, str]
    num_parts: int | None = None
    score: float | None = None
    recovered: bool = False

    @property
    def key(self) -> str:
        """The clip's name, unique within a corpus."""
        return clip_key(self.recording_id, self.part)

    def to_json(self) -> bytes:
        """One indented JSON object."""
        fields = {"schema": SCHEMA_VERSION, "key": self.key} | asdict(replace(self, info=None))  # type: ignore[arg-type]
        del fields["info"]
        info = {name: value for name, value in vars(self.info).items() if name != "bindings"}
        info["extra"] = dict(self.info.extra)
        return json.dumps(fields | info | {"bindings": self.info.bindings.to_dict()}, indent=1, sort_keys=True).encode()

    @classmethod
    def from_json(cls, content: bytes, name: str) -> Self:
        """Inverse of `to_json`. Raises ClipError naming `name` if `content` is not a clip's metadata."""
        try:
            data: dict[str, Any] = json.loads(content)
            if data.pop("schema") != SCHEMA_VERSION:
                raise ValueError(f"schema version is not {SCHEMA_VERSION}")
            del data["key"]
            data["bindings"] = Bindings.from_dict(data["bindings"])
            info = {field: data.pop(field) for field in RecordingInfo.__dataclass_fields__}
            return cls(info=RecordingInfo(**info), **data)
        except (ValueError, KeyError, TypeError, AttributeError, GiError) as error:
            do = "Record the clip again, or leave it out with --skip-damaged."
            raise ClipError(f"metadata of clip {name} cannot be read", got=repr(error)[:200], do=do) from error


def clip_key(recording_id: str, part: int) -> str:
    """Name of part `part` of a recording."""
    return f"{recording_id}-{part:04d}"


def check_recording_id(recording_id: str) -> str:
    """Return `recording_id` if it can name files and tar members. Raises CorpusError otherwise."""
    if not _ID.fullmatch(recording_id):
        raise CorpusError(
            "recording id cannot name a file", got=repr(recording_id), expected="letters, digits, _ and -"
        )
    return recording_id

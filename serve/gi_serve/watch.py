"""`Watch`: what a session tells while somebody looks over its player's shoulder; `Watcher`: who looks, and how far.

    session --see, hear--> Watch, the newest of it --update--> Watcher: JSON with a JPEG, a few times a second

A session that nobody watches pays one comparison a frame; one that is watched hands over references, and the newest
wins: the JPEG is made in a thread, at the watcher's own pace, so that a slow watcher costs nobody but itself.
"""

import asyncio
import base64
import json
import math
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import simplejpeg

from gi_model.frames import Frame
from gi_serve.access import Caller
from gi_serve.engine import Engine
from gi_serve.logs import tag_of
from gi_serve.protocol import ActionMessage
from gi_serve.service import Service
from gi_serve.sessions import Session

ANSWERS_KEPT: Final = 64
JPEG_QUALITY: Final = 92
COUNTERS: Final = ("num_frames", "num_answers", "num_dropped", "num_late")


class Watched(Protocol):
    """What a session tells, while it is watched."""

    def see(self, pixels: Frame, seq: int, /) -> None:
        """Frame `seq`, of the model's size, waits for a step."""
        ...

    def hear(self, message: ActionMessage, /) -> None:
        """It was answered."""
        ...


@dataclass(slots=True, eq=False)
class Watch:
    """The newest of one session: a frame, and the answers since a watcher last asked. Never grows."""

    seq: int = -1
    pixels: Frame | None = None
    answers: deque[ActionMessage] = field(default_factory=lambda: deque(maxlen=ANSWERS_KEPT))
    num_heard: int = 0
    num_watchers: int = 0

    def see(self, pixels: Frame, seq: int) -> None:
        """The newest frame wins."""
        self.pixels, self.seq = pixels, seq

    def hear(self, message: ActionMessage) -> None:
        """The oldest answer gives way."""
        self.answers.append(message)
        self.num_heard += 1

    def since(self, num_heard: int) -> list[ActionMessage]:
        """Answers after the first `num_heard`, as far as they are kept."""
        fresh = min(self.num_heard - num_heard, len(self.answers))
        return list(self.answers)[len(self.answers) - fresh :]


@contextmanager
def watching(session: Session) -> Iterator[Watch]:
    """Let the session tell, for as long as anybody watches."""
    watch = session.watch if isinstance(session.watch, Watch) else Watch()
    session.watch = watch
    watch.num_watchers += 1
    try:
        yield watch
    finally:
        watch.num_watchers -= 1
        if not watch.num_watchers:
            session.watch = None


@dataclass(slots=True)
class Watcher:
    """One connection that watches, and how far it has seen."""

    service: Service
    engine: Engine
    session: Session
    caller: Caller
    seen_seq: int = -1
    num_heard: int = 0

    @property
    def why_over(self) -> str:
        """Why there is nothing more to see; empty while there is."""
        if self.session.is_closed:
            return "the session ended"
        return "" if self.service.access.knows(self.caller.id) else "your key was revoked"

    def describe(self) -> dict[str, Any]:
        """The first message."""
        stepper = self.engine.stepper
        return {
            "type": "watch.started",
            "tag": tag_of(self.session.id),
            "model": stepper.name,
            "fps": stepper.fps,
            "factors": list(stepper.factors),
            "shape": [stepper.height, stepper.width, 3],
            "deadline_ms": self.session.options.deadline_s * 1e3,
        }

    async def update(self, watch: Watch) -> str | None:
        """The next message, or None when nothing happened."""
        answers, self.num_heard = watch.since(self.num_heard), watch.num_heard
        pixels, is_new, self.seen_seq = watch.pixels, watch.seq != self.seen_seq, watch.seq
        if not answers and not is_new:
            return None
        seq, shown = self.seen_seq, None
        if pixels is not None and is_new:
            shown = {"seq": seq, "jpeg": await asyncio.to_thread(_encode, pixels)}
        return json.dumps(
            {
                "type": "watch.update",
                "frame": shown,
                "answers": [_describe(answer) for answer in answers],
                "counts": {name: getattr(self.session, name) for name in COUNTERS},
            },
            separators=(",", ":"),
        )


def _encode(pixels: Frame) -> str:
    """In a thread: base64 of a JPEG."""
    return base64.b64encode(simplejpeg.encode_jpeg(pixels, quality=JPEG_QUALITY, colorsubsampling="444")).decode()


def _describe(answer: ActionMessage) -> dict[str, Any]:
    return {
        "seq": answer.seq,
        "age_us": answer.age_us,
        "num_dropped": answer.num_dropped,
        "is_late": answer.is_late,
        "action": answer.states[0].to_dict(),
        "confidence": [_number(each) for each in answer.confidence[0]],
    }


def _number(probability: float) -> float | None:
    """JSON has no NaN."""
    return round(float(probability), 4) if math.isfinite(probability) else None

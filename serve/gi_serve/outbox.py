"""`Outbox`: what is sent on one connection: events in order, and of each stream's answers only the newest.

All is written at once, as long as the client reads. One that reads slowly gets fewer, newer answers, each saying how
many frames went unanswered, instead of a growing queue of stale ones; one that does not read at all is cut off when
its events pile up.
"""

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from gi_serve.protocol import ActionMessage

MAX_EVENTS: Final = 256
CLOSE_GOING_AWAY: Final = 1001
CLOSE_KEY_REVOKED: Final = 4401
CLOSE_IDLE: Final = 4408
CLOSE_RESUMED: Final = 4409  # its last session went to a newer connection
CLOSE_SLOW_READER: Final = 4429


class Writer(Protocol):
    """The connection, as an outbox sees it."""

    @property
    def is_writable(self) -> bool:
        """Whether the client reads what it is sent."""
        ...

    def write(self, message: str | ActionMessage, /) -> None:
        """Send an event or an answer."""
        ...

    def end(self, code: int, /) -> None:
        """Nothing more will be sent."""
        ...


@dataclass(slots=True, eq=False)
class Outbox:
    """Belongs to the event loop's thread. close_code: set by `close`, or when the client does not read its events."""

    writer: Writer
    close_code: int | None = None
    _events: deque[str] = field(default_factory=deque)
    _answers: dict[int, ActionMessage] = field(default_factory=dict)  # by stream id

    def put_event(self, event: Mapping[str, Any]) -> None:
        """Send `event` after those before it."""
        if self.close_code is not None:
            return
        if len(self._events) >= MAX_EVENTS:
            self._events.clear()
            self.close(CLOSE_SLOW_READER)
            return
        self._events.append(json.dumps(event, separators=(",", ":")))
        self.flush()

    def put_answer(self, message: ActionMessage) -> None:
        """Send `message`, in the place of an older answer that is still unsent."""
        if (unsent := self._answers.pop(message.stream_id, None)) is not None:
            message = replace(message, num_dropped=message.num_dropped + unsent.num_dropped + 1)
        self._answers[message.stream_id] = message
        self.flush()

    def replace_answer(self, message: ActionMessage) -> None:
        """Let `message` take the place of the unsent answer to the same frame."""
        unsent = self._answers.get(message.stream_id)
        if unsent is not None and unsent.seq == message.seq:
            self._answers[message.stream_id] = replace(message, num_dropped=unsent.num_dropped)

    def is_unsent(self, stream_id: int) -> bool:
        """Whether an answer of the stream waits to be sent."""
        return stream_id in self._answers

    def forget_answer(self, stream_id: int) -> None:
        """Drop the unsent answer of a stream that was reset or closed."""
        self._answers.pop(stream_id, None)

    def close(self, code: int) -> None:
        """Let the connection end once the events are sent."""
        if self.close_code is None:
            self.close_code = code
            self.flush()

    def flush(self) -> None:
        """Write what waits, while the client reads. Events first: an answer may rely on one (`session.created`)."""
        while self._events and self.writer.is_writable:
            self.writer.write(self._events.popleft())
        if self.close_code is not None:
            self._answers.clear()
            if not self._events:
                self.writer.end(self.close_code)
            return
        while self._answers and self.writer.is_writable:
            self.writer.write(self._answers.pop(next(iter(self._answers))))

"""`Outbox`: what waits to be sent on one connection: events in order, and of each stream's answers only the newest.

A client that reads slowly gets fewer, newer answers, each saying how many frames went unanswered, instead of a
growing queue of stale ones; a client that does not read at all is cut off when its events pile up.
"""

import asyncio
import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from gi_serve.protocol import ActionMessage

MAX_EVENTS: Final = 256
CLOSE_GOING_AWAY: Final = 1001
CLOSE_KEY_REVOKED: Final = 4401
CLOSE_IDLE: Final = 4408
CLOSE_RESUMED: Final = 4409  # its last session went to a newer connection
CLOSE_SLOW_READER: Final = 4429


@dataclass(slots=True, eq=False)
class Outbox:
    """Belongs to the event loop's thread. close_code: set by `close`, or when the client does not read its events."""

    close_code: int | None = None
    _events: deque[str] = field(default_factory=deque)
    _answers: dict[int, ActionMessage] = field(default_factory=dict)  # by stream id
    _filled: asyncio.Event = field(default_factory=asyncio.Event)

    def put_event(self, event: Mapping[str, Any]) -> None:
        """Send `event` after those before it."""
        if len(self._events) >= MAX_EVENTS:
            self._events.clear()
            self.close(CLOSE_SLOW_READER)
        elif self.close_code is None:
            self._events.append(json.dumps(event, separators=(",", ":")))
            self._filled.set()

    def put_answer(self, message: ActionMessage) -> None:
        """Send `message`, in the place of an older answer that is still unsent."""
        if (unsent := self._answers.pop(message.stream_id, None)) is not None:
            message = replace(message, num_dropped=message.num_dropped + unsent.num_dropped + 1)
        self._answers[message.stream_id] = message
        self._filled.set()

    def forget_answer(self, stream_id: int) -> None:
        """Drop the unsent answer of a stream that was reset or closed."""
        self._answers.pop(stream_id, None)

    def close(self, code: int) -> None:
        """Let the connection end once the events are sent."""
        if self.close_code is None:
            self.close_code = code
        self._filled.set()

    async def take(self) -> str | ActionMessage | None:
        """The next to send, None at the end. Events first: an answer may rely on one (`session.created`)."""
        while True:
            if self._events:
                return self._events.popleft()
            if self.close_code is not None:
                return None
            if self._answers:
                return self._answers.pop(next(iter(self._answers)))
            self._filled.clear()
            await self._filled.wait()

"""`Person`: what a person at the keyboard holds and moves, tick by tick."""

from gi_data.desktop.protocol import Ear
from gi_data.ingest.events import Event
from gi_data.ingest.timeline import Hands
from gi_model.actions import InputState


class Person:
    """Reads `ear`. A tap between two ticks is in the tick in which it happened."""

    def __init__(self, ear: Ear) -> None:
        self._ear, self._hands = ear, Hands()
        self._ahead: list[Event] = []  # heard, but of a later tick

    def state_until(self, end_ns: int) -> InputState:
        """What was held, and all that moved, since the last call and before `end_ns` (`time.monotonic_ns`)."""
        heard = self._ahead + self._ear.take()
        self._hands.begin_tick()
        for event in heard:
            if event.t_ns < end_ns:
                self._hands.apply(event)
        self._ahead = [event for event in heard if event.t_ns >= end_ns]
        return self._hands.state(end_ns)

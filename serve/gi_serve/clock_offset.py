"""`ClockOffset`: the server's clock as the client sees it, from one exchange of times (NTP, RFC 5905, section 8)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class ClockOffset:
    """Add offset_ns to the client's time for the server's. Off by round_trip_ns / 2 at most."""

    offset_ns: int
    round_trip_ns: int

    @classmethod
    def of(cls, sent_ns: int, received_ns: int, answered_ns: int, returned_ns: int) -> Self:
        """From the times of one exchange: the first and last of the client's clock, the others of the server's."""
        offset_ns = (received_ns - sent_ns + answered_ns - returned_ns) // 2
        return cls(offset_ns, returned_ns - sent_ns - (answered_ns - received_ns))

    @classmethod
    def best(cls, offsets: Iterable[Self]) -> Self:
        """The one of the shortest round trip: what waited in no queue erred least."""
        return min(offsets, key=lambda offset: offset.round_trip_ns)

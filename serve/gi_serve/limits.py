"""Limits: how much one key, one session, one address may ask for. What is over them is refused and says when to retry.

Token buckets, refilled by the clock when they are asked: no task, no timer, a few bytes each.
"""

import math
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from gi_model.errors import ConfigError
from gi_serve.problems import RATE_LIMITED, Problem

_MAX_BUCKETS: Final = 10_000  # of the keys and addresses that asked last
_BURST_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """None: no limit. Rates are a second; a second's worth may come at once."""

    requests_per_s: float | None = None  # of REST and handshakes, a key (an address, on a server without keys)
    frames_per_s: float | None = None  # a session
    sessions_per_key: int | None = None

    def __post_init__(self) -> None:
        for name in ("requests_per_s", "frames_per_s", "sessions_per_key"):
            if (limit := getattr(self, name)) is not None and limit <= 0:
                raise ConfigError(f"{name} lets nothing through", got=limit, expected="above 0, or no limit")


@dataclass(slots=True)
class Bucket:
    """Lets `rate` things a second pass, and a second's worth (at least one) at once."""

    rate: float
    _left: float = field(init=False)
    _at: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._left = self._size

    @property
    def _size(self) -> float:
        return max(1.0, self.rate * _BURST_S)

    def take(self, now: float | None = None) -> float:
        """Take one and return 0, or return the seconds until there is one."""
        now = time.monotonic() if now is None else now
        self._left = min(self._size, self._left + max(0.0, now - self._at) * self.rate)
        self._at = now
        if self._left < 1.0:
            return (1.0 - self._left) / self.rate
        self._left -= 1.0
        return 0.0

    def check(self, what: str) -> None:
        """Take one. Raises Problem when there is none: `what` are too many."""
        if (wait_s := self.take()) > 0:
            detail = f"At most {self.rate:g} {what} a second."
            raise Problem(RATE_LIMITED, detail, retry_after_s=max(1, math.ceil(wait_s)))


class Buckets:
    """One bucket for each key or address; the one that was silent longest is forgotten first."""

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def check(self, who: str, what: str) -> None:
        """Take one from the bucket of `who`. Raises Problem when there is none."""
        if self._rate is None:
            return
        bucket = self._buckets.setdefault(who, Bucket(self._rate))
        self._buckets.move_to_end(who)
        if len(self._buckets) > _MAX_BUCKETS:
            self._buckets.popitem(last=False)
        bucket.check(what)

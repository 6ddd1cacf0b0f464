"""Which of the waiting frames join the next step: those that waited longest, as many as still meet their deadlines.

Who waited longest is told by the deadline of the oldest frame since the session's last step, not of the newest: under
overload every newer frame would push its own session back, and some would never be served. A larger batch is cheaper
a player but takes longer, so it grows only as long as none misses that could have been met; one that is too late in any
case holds nobody back. A batch is never so small that its fixed cost exceeds that of its rows.
"""

from collections.abc import Sequence

from gi_serve.sessions import ReadyFrame
from gi_serve.step_times import StepTimes


def choose_size(frames: Sequence[ReadyFrame], times: StepTimes, now_ns: int) -> int:
    """How many of the leading `frames` to take; all of them while nothing is known of `times`."""
    if not times.is_known or not frames:
        return len(frames)
    a, b = times.line
    enough = min(len(frames), int(a / b) + 1) if b else len(frames)
    soonest_ns, first_ns = float("inf"), now_ns + times.expect(1) * 1e9
    for size, frame in enumerate(frames, 1):
        if frame.deadline_ns >= first_ns:
            soonest_ns = min(soonest_ns, frame.deadline_ns)
        if size > enough and now_ns + times.expect(size) * 1e9 > soonest_ns:
            return size - 1
    return len(frames)

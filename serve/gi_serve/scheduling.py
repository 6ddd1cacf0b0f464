"""Which of the waiting frames join the next step: those that waited longest, as many as still meet their deadlines.

Who waited longest is told by the deadline of the oldest frame since the session's last step, not of the newest: under
overload every newer frame would push its own session back, and some would never be served. A larger batch is cheaper
a player but takes longer, so it grows only as long as none misses a deadline that it could meet, by steps as long as
they may well be; one that is too late already must still not wait twice as long as its deadline says, and beyond that
it holds nobody back. A batch is never so small that its fixed cost exceeds that of its rows.
"""

from collections.abc import Iterable, Sequence

from gi_serve.sessions import ReadyFrame, Session
from gi_serve.step_times import StepTimes


def choose(sessions: Iterable[Session], times: StepTimes, now_ns: int) -> list[Session]:
    """Those of `sessions` whose frames go into the step that begins now, longest wait first."""
    waiting = [(each.due_ns or 0, each.slot, each, frame) for each in sessions if (frame := each.pending) is not None]
    waiting.sort()
    size = choose_size([frame for _due_ns, _slot, _session, frame in waiting], times, now_ns)
    return [session for _due_ns, _slot, session, _frame in waiting[:size]]


def choose_size(frames: Sequence[ReadyFrame], times: StepTimes, now_ns: int) -> int:
    """How many of the leading `frames` to take; all of them while nothing is known of `times`."""
    if not times.is_known or len(frames) <= 1:
        return len(frames)
    a, b = times.line
    enough = min(len(frames), int(a / b) + 1) if b else len(frames)
    second_ns = 1e9 * (1.0 + times.margin)  # of a step that takes longer than expected
    soonest_ns, first_ns = float("inf"), now_ns + times.expect(1) * second_ns
    for size, frame in enumerate(frames, 1):
        soonest_ns = min(soonest_ns, _limit(frame, first_ns))
        if size > enough and now_ns + times.expect(size) * second_ns > soonest_ns:
            return size - 1
    return len(frames)


def _limit(frame: ReadyFrame, first_ns: float) -> float:
    """Until when `frame` must be answered, if a step that is done at `first_ns` at the soonest can do that."""
    twice_ns = 2 * frame.deadline_ns - frame.received_ns
    return next((limit_ns for limit_ns in (frame.deadline_ns, twice_ns) if limit_ns >= first_ns), float("inf"))

"""Who may join: a session is refused if it would make others late, by the measured time of a step.

A frame waits, at worst, for the step that has just begun, then for its own. As long as everybody is on time each
session has one frame among those two steps, so n sessions wait 2 a + b n seconds at worst, for steps of a + b n. That
must fit the deadline of everybody who is on time now, and of the newcomer. Whoever asks for less than a step takes even
alone is late by its own choice: it is taken, and nobody is refused for its sake.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gi_serve.step_times import StepTimes

MAX_LOAD: Final = 0.9  # share of the time that the rows of a batch may take


@dataclass(frozen=True, slots=True)
class Demand:
    """What a session asks of the model: frames a second, and the seconds each may wait."""

    fps: float
    deadline_s: float


def worst_wait_s(times: StepTimes, num_sessions: int) -> float:
    """Seconds from a frame's arrival to its answer, at worst, among `num_sessions` that are on time."""
    a, b = times.line
    steps = 1 if num_sessions == 1 else 2
    return (steps * a + b * num_sessions) * (1.0 + times.margin)


def admits(times: StepTimes, present: Sequence[Demand], newcomer: Demand) -> bool:
    """Whether `newcomer` may join `present` without making anybody late who is not."""
    if not times.is_known or not present:
        return True
    before, after = worst_wait_s(times, len(present)), worst_wait_s(times, len(present) + 1)
    if any(before <= each.deadline_s < after for each in present):
        return False
    if times.expect(1) <= newcomer.deadline_s < after:
        return False
    return times.line[1] * sum(each.fps for each in (*present, newcomer)) <= MAX_LOAD


def count_on_time(times: StepTimes, demand: Demand, num_slots: int) -> int:
    """How many sessions of `demand` a model with `num_slots` can hold on time, by what is known."""
    if not times.is_known:
        return num_slots
    a, b = times.line
    if times.expect(1) > demand.deadline_s:
        return 0
    left_s = demand.deadline_s / (1.0 + times.margin) - 2 * a
    if b == 0.0:
        return num_slots if left_s >= 0 else 1
    return max(1, min(num_slots, int(left_s / b), int(MAX_LOAD / (b * demand.fps))))

"""`record_person`: a person plays a game in its window, and the play is recorded as it happens.

Time stamps are the clock's. The person ends a session by Ctrl-C in the terminal or by closing the window: what was
played until then is a finished recording. Only Doom games have a window of their own.
"""

import time
from collections.abc import Callable

from gi_data.envs import make_environment
from gi_data.record import Recorded, RecordPlan
from gi_data.record_jobs import Seeds, Tally, locked
from gi_data.recording import RecordingWriter
from gi_data.recovery import recover
from gi_model.errors import ConfigError, GameError

CONSENT = "given: the player started the recorder"


def record_person(plan: RecordPlan, on_change: Callable[[Tally], None] = lambda _: None) -> Tally:
    """Record a person playing `plan`, one episode after the other. Raises GameError when the window closes."""
    if plan.game.partition("/")[0] not in ("doom", "freedoom"):
        raise ConfigError("no window to play in", got=plan.game, expected="a game of doom/ or freedoom/")
    with locked(plan.out):
        tally = Tally(recovered=recover(plan.out))
        seeds = Seeds(plan, tally)
        while (seed := seeds.take()) is not None:
            on_change(tally)
            _record_episode(plan, seed, tally, on_change)
        on_change(tally)
    return tally


def _record_episode(plan: RecordPlan, seed: int, tally: Tally, on_change: Callable[[Tally], None]) -> None:
    from gi_data.envs.doom_person import DoomPerson

    info = plan.info(make_environment(plan.game), seed, consent=CONSENT)
    person = DoomPerson(plan.game, seed=seed)
    ticks, began_ns = 0, time.monotonic_ns()
    try:
        with RecordingWriter(plan.out, plan.recording_id(seed), info) as writer:
            try:
                person.begin()
                while (frame := person.look()) is not None:
                    seen_ns = time.monotonic_ns() - began_ns
                    writer.append(frame, person.play(), t_ns=seen_ns)
                    ticks, tally.ticks = ticks + 1, tally.ticks + 1
                    on_change(tally)
            except (KeyboardInterrupt, GameError):
                if ticks:
                    writer.finish()
                raise
            writer.finish(score=person.score)
        tally.recorded.append(Recorded(seed, ticks, person.score))
    finally:
        person.close()

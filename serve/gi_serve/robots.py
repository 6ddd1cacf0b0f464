"""`Robots`: one engine's sessions that drive a body: their plans, the shield, the stop, the watchdog.

    model's thread:  steps --shield--> what it lets through
    event loop:      --envelope--> plan + what is executed --> the answer, and the model's history if it differs

An action is limited before the next step may start, so that a correction always lands between the two. A stop and a
watchdog push neutral plans, a tick at a time, until the body is at rest. An engine without robots pays for none of it:
it looks at `num_open` once a step. Everything but `judge` belongs to the event loop's thread.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gi_model.actions import InputState
from gi_model.embodiment import Embodiment
from gi_model.envelope import KINDS
from gi_model.errors import ActionError
from gi_model.shield import Outcome, Shield, judge
from gi_model.stepper import Stepper, Steps
from gi_serve.command_plan import Cause, CommandPlan
from gi_serve.controls import decode_tokens
from gi_serve.logs import tag_of
from gi_serve.metrics import ModelMetrics
from gi_serve.model_thread import Entry
from gi_serve.problems import EMBODIMENT_MISMATCH, NOT_A_ROBOT, REQUEST_INVALID, Problem
from gi_serve.robot_session import RobotSession, check_body, check_direct
from gi_serve.sessions import Session, SessionOptions

logger = logging.getLogger("gi_serve")
MAX_NAMES: Final = 64  # of actuators in the metrics of a model: clients may bring bodies of their own
Judged = Mapping[int, tuple[InputState, Outcome]]  # by row of the batch
Limited = tuple[InputState, CommandPlan]


class Robots:
    """remember: lets an input state be what was held in the newest tick of a session, unless that was its answer."""

    def __init__(
        self,
        stepper: Stepper,
        metrics: ModelMetrics,
        remember: Callable[[Session, int, InputState], None],
        *,
        shield: Shield | None = None,
    ) -> None:
        self.shield, self.num_open = shield, 0
        self._stepper, self._metrics, self._remember = stepper, metrics, remember
        self._timers: dict[Session, asyncio.TimerHandle] = {}

    # ------------------------------------------------------------------ life

    def body_of(self, options: SessionOptions) -> Embodiment | None:
        """The body that a session is to drive: its adapter's, or its own; None for none. Raises Problem."""
        adapter = None if options.adapter is None else self._stepper.adapters[options.adapter]
        theirs = None if adapter is None else adapter.embodiment
        body = options.embodiment or theirs
        if body is not None and theirs is not None and body.fingerprint != theirs.fingerprint:
            detail = f"The adapter {options.adapter} was made for {theirs.name}: leave the session's embodiment out."
            raise Problem(EMBODIMENT_MISMATCH, detail)
        if body is None:
            return None
        if theirs is None:
            check_direct(body)
        return check_body(body, self._stepper.fps if adapter is None else adapter.fps)

    def make(self, options: SessionOptions) -> RobotSession | None:
        """What a session drives, at rest; None for a game. Raises Problem, and GiError for a body that cannot be."""
        body = self.body_of(options)
        return None if body is None else RobotSession(body)

    def open(self, session: Session, robot: RobotSession | None) -> None:
        """Let `session` drive `robot`."""
        if robot is not None:
            self._add(session, robot)

    def fork(self, session: Session, fork: Session) -> None:
        """Let `fork` drive a body of its own, in the state of that of `session`."""
        if session.robot is not None:
            self._add(fork, session.robot.copy())

    def close(self, session: Session) -> None:
        """The session ended."""
        if session.robot is not None:
            self.num_open -= 1
            self._timers.pop(session).cancel()

    def _add(self, session: Session, robot: RobotSession) -> None:
        session.robot = robot
        self.num_open += 1
        self._arm(session, robot.embodiment.watchdog_ms / 1e3)

    # ------------------------------------------------------------------ actions

    def states_of(self, entry: Entry, steps: Steps, row: int) -> tuple[InputState, ...]:
        """An answer's states, a robot's with the commands of its direct actuators.

        Raises ActionError on tokens that no state encodes to, and on commands of another body.
        """
        states = tuple(decode_tokens(self._stepper.action_space, tick.tobytes()) for tick in steps.tokens[row])
        robot, commands = entry.session.robot, steps.commands_of(row)
        if robot is None or not commands:
            return states
        if len(commands) != robot.num_commands:
            got, expected = f"{len(commands)} commands", f"{robot.num_commands} of {robot.embodiment.name}"
            raise ActionError("not the commands of this body's direct actuators", got=got, expected=expected)
        return tuple(replace(state, commands=commands) for state in states)

    def judge(self, entries: Sequence[Entry], steps: Steps) -> Judged:
        """What the shield lets through, by row. On the model's thread: it may look at the frame for a while."""
        judged: dict[int, tuple[InputState, Outcome]] = {}
        for row, entry in enumerate(entries):
            if self.shield is not None and entry.session.robot is not None and entry.is_wanted:
                state = self._first_of(entry, steps, row)
                if state is not None:
                    body = entry.session.robot.embodiment
                    judged[row] = judge(self.shield, body, entry.frame.pixels, state)
        return judged

    def limit(self, entries: Sequence[Entry], steps: Steps, judged: Judged) -> Mapping[int, Limited]:
        """What each robot of a batch executes, and its plan, by row; histories are corrected where it differs."""
        limited: dict[int, Limited] = {}
        for row, entry in enumerate(entries):
            if entry.session.robot is not None and entry.is_wanted:
                asked = self._first_of(entry, steps, row)
                if asked is not None:
                    limited[row] = self._limit(entry, asked, judged.get(row, (asked, "allowed")))
        return limited

    def _limit(self, entry: Entry, asked: InputState, judged: tuple[InputState, Outcome]) -> Limited:
        session, robot, (state, outcome) = entry.session, entry.session.robot, judged
        assert robot is not None
        robot.shielded[outcome] += 1
        self._metrics.shielded[outcome] += 1
        executed, plan = robot.follow(state, "policy" if outcome == "allowed" else "shield")
        self._count(robot, plan)
        robot.followed_ns = robot.planned_ns
        if session.executed_seq != entry.frame.seq:
            session.answered = entry.frame.seq, asked
            self._remember(session, entry.frame.seq, executed)
        return executed, plan

    def overrule(
        self, states: tuple[InputState, ...], tokens: NDArray[np.int64], limited: Limited
    ) -> tuple[tuple[InputState, ...], NDArray[np.int64]]:
        """An answer's states and tokens (N, K); in every tick what is executed, if that is not what was asked."""
        executed, _plan = limited
        if executed == states[0]:
            return states, tokens
        row = self._stepper.action_space.encode(executed)
        return (executed,) * len(states), np.broadcast_to(row, tokens.shape)

    def _first_of(self, entry: Entry, steps: Steps, row: int) -> InputState | None:
        """The first tick's state; None if there is no such state, which the answer will tell."""
        try:
            return self.states_of(entry, steps, row)[0]
        except ActionError:
            return None

    def _count(self, robot: RobotSession, plan: CommandPlan) -> None:
        robot.planned_ns = time.monotonic_ns()
        if plan.clamps.any():
            for index, kind in zip(*np.nonzero(plan.clamps), strict=True):
                name, counts = robot.embodiment.actuators[index].name, self._metrics.clamps
                is_known = any(name == known for known, _ in counts) or len({known for known, _ in counts}) < MAX_NAMES
                counts[name if is_known else "other", KINDS[kind]] += 1

    def check_executed(self, session: Session, state: InputState) -> None:
        """Raise Problem if `state` has commands, and not one for each direct actuator of the session's body."""
        num_commands = 0 if session.robot is None else session.robot.num_commands
        if state.commands and len(state.commands) != num_commands:
            name = "a session without a body" if session.robot is None else session.robot.embodiment.name
            detail = f"{len(state.commands)} commands, but {name} has {num_commands} direct actuators."
            raise Problem(REQUEST_INVALID, detail)

    # ------------------------------------------------------------------ stop and watchdog

    def stop(self, session: Session) -> None:
        """Go to neutral now, whatever is asked, until `release`. Idempotent. Raises Problem if it is no robot."""
        robot = self._robot_of(session)
        if not robot.envelope.is_stopped:
            robot.num_stops += 1
            self._metrics.stops += 1
            logger.warning("robot stopped", extra={"session": tag_of(session.id)})
        robot.envelope.stop()
        if session.sink.is_unsent(session):
            robot.rewind()
        self._push(session, robot, "stop")
        self._arm(session, 1.0 / robot.embodiment.fps)

    def release(self, session: Session) -> None:
        """Obey the policy again. Idempotent. Raises Problem if it is no robot."""
        robot = self._robot_of(session)
        if robot.envelope.is_stopped:
            logger.warning("robot released", extra={"session": tag_of(session.id)})
        robot.envelope.release()

    def _robot_of(self, session: Session) -> RobotSession:
        if session.robot is None:
            raise Problem(NOT_A_ROBOT, "Open it with an embodiment, or with an adapter that has one.")
        return session.robot

    def _push(self, session: Session, robot: RobotSession, cause: Cause) -> None:
        """Plan a tick toward neutral; an answer that was not sent yet, or may be sent again, is changed to that."""
        plan = robot.go_neutral(cause)
        self._count(robot, plan)
        if session.answered is not None:
            self._remember(session, session.stepped_seq, robot.neutral)
        if (answer := session.newest_answer) is not None:
            states, tokens = self.overrule(answer.states, answer.tokens, (robot.neutral, plan))
            answer = session.newest_answer = replace(answer, states=states, tokens=tokens, plan=plan)
        session.sink.planned(session, plan, answer)

    def _arm(self, session: Session, seconds: float) -> None:
        if (timer := self._timers.get(session)) is not None:
            timer.cancel()
        self._timers[session] = asyncio.get_running_loop().call_later(seconds, partial(self._watch, session))

    def _watch(self, session: Session) -> None:
        """Now and then: did actions stop, and is it on its way to neutral? Frames that lead to none do not count."""
        robot = session.robot
        assert robot is not None
        body, now_ns, push = robot.embodiment, time.monotonic_ns(), False
        tick_ns, left_ns = 1e9 / body.fps, body.watchdog_ms * 1e6 - (now_ns - robot.followed_ns)
        is_silent = left_ns <= 0 and robot.followed_ns > 0 and not session.options.lockstep
        if is_silent and robot.silent_since_ns != robot.followed_ns:
            robot.silent_since_ns, push = robot.followed_ns, True
            robot.num_watchdogs += 1
            self._metrics.watchdogs += 1
            logger.warning("robot got no action in time", extra={"session": tag_of(session.id)})
        is_returning = (is_silent or robot.envelope.is_stopped) and not robot.envelope.is_neutral
        if push or (is_returning and now_ns - robot.planned_ns >= 0.9 * tick_ns):
            self._push(session, robot, "watchdog")
        wait_ns = tick_ns if is_returning else left_ns if left_ns > 0 else body.watchdog_ms * 1e6
        self._arm(session, max(1e-3, wait_ns / 1e9))

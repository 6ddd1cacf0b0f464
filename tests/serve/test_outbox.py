"""Laws of the outbox: order of events, newest answer, every unsent answer counted, an end."""

import asyncio
import json
from collections.abc import Coroutine
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gi_model.actions import NEUTRAL
from gi_serve.outbox import CLOSE_SLOW_READER, MAX_EVENTS, Outbox
from gi_serve.protocol import ActionMessage


def answer(seq: int, stream_id: int, num_dropped: int = 0) -> ActionMessage:
    return ActionMessage(
        seq=seq,
        capture_ns=0,
        age_us=0,
        num_dropped=num_dropped,
        is_late=False,
        states=(NEUTRAL,),
        tokens=np.zeros((1, 14), np.int64),
        confidence=np.zeros((1, 4), np.float32),
        stream_id=stream_id,
    )


def run(job: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(job, 10))


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)) | st.none(), max_size=40))
def test_each_stream_gets_its_newest_answer_and_the_count_of_the_rest(script: list[tuple[int, int] | None]) -> None:
    """A step puts an answer (stream, drops) or, None, takes one: seqs rise by stream, and nothing goes uncounted."""

    async def check() -> None:
        outbox, put, taken = Outbox(), dict.fromkeys(range(3), 0), dict.fromkeys(range(3), 0)
        last = dict.fromkeys(range(3), -1)
        waiting: set[int] = set()

        async def take() -> None:
            message = await outbox.take()
            assert isinstance(message, ActionMessage)
            assert message.seq > last[message.stream_id]
            last[message.stream_id] = message.seq
            taken[message.stream_id] += 1 + message.num_dropped
            waiting.discard(message.stream_id)

        for seq, step in enumerate(script):
            if step is not None:
                stream_id, num_dropped = step
                outbox.put_answer(answer(seq, stream_id, num_dropped))
                put[stream_id] += 1 + num_dropped
                waiting.add(stream_id)
            elif waiting:
                await take()
        while waiting:
            await take()
        assert taken == put

    run(check())


def test_events_go_first_and_in_order_and_the_end_is_last() -> None:
    async def check() -> None:
        outbox = Outbox()
        outbox.put_answer(answer(1, 0))
        for number in range(5):
            outbox.put_event({"type": "error", "number": number})
        for number in range(4):
            event = await outbox.take()
            assert isinstance(event, str)
            assert json.loads(event)["number"] == number
        outbox.close(1001)
        outbox.close(4408)
        outbox.put_event({"type": "error", "number": 99})
        assert isinstance(await outbox.take(), str)
        assert await outbox.take() is None
        assert outbox.close_code == 1001

    run(check())


def test_whoever_does_not_read_is_cut_off() -> None:
    async def check() -> None:
        outbox = Outbox()
        for _ in range(MAX_EVENTS):
            outbox.put_event({"type": "error"})
        assert outbox.close_code is None
        outbox.put_event({"type": "error"})
        assert outbox.close_code == CLOSE_SLOW_READER
        assert await outbox.take() is None

    run(check())


def test_a_reset_takes_back_what_was_not_sent() -> None:
    async def check() -> None:
        outbox = Outbox()
        outbox.put_answer(answer(1, 5))
        outbox.put_answer(answer(2, 6))
        outbox.forget_answer(5)
        message = await outbox.take()
        assert isinstance(message, ActionMessage)
        assert message.stream_id == 6

    run(check())

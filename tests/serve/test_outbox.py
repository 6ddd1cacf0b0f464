"""Laws of the outbox: order of events, newest answer, every unsent answer counted, an end."""

import json
from dataclasses import dataclass, field

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gi_model.actions import NEUTRAL
from gi_serve.outbox import CLOSE_SLOW_READER, MAX_EVENTS, Outbox
from gi_serve.protocol import ActionMessage


@dataclass
class Reader:
    """A connection whose client reads `room` more messages."""

    room: int = 10**9
    read: list[str | ActionMessage] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)

    @property
    def is_writable(self) -> bool:
        return self.room > 0

    def write(self, message: str | ActionMessage) -> None:
        assert self.room > 0
        assert not self.codes
        self.room -= 1
        self.read.append(message)

    def end(self, code: int) -> None:
        self.codes.append(code)


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


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)) | st.none(), max_size=40))
def test_each_stream_gets_its_newest_answer_and_the_count_of_the_rest(script: list[tuple[int, int] | None]) -> None:
    """A step puts an answer (stream, drops) or, None, reads one: seqs rise by stream, and nothing goes uncounted."""
    reader = Reader(room=0)
    outbox, put = Outbox(reader), dict.fromkeys(range(3), 0)
    for seq, step in enumerate(script):
        if step is not None:
            stream_id, num_dropped = step
            outbox.put_answer(answer(seq, stream_id, num_dropped))
            put[stream_id] += 1 + num_dropped
        else:
            reader.room = 1
            outbox.flush()
    reader.room = 10**9
    outbox.flush()
    for stream_id, count in put.items():
        read = [each for each in reader.read if isinstance(each, ActionMessage) and each.stream_id == stream_id]
        assert sum(1 + each.num_dropped for each in read) == count
        assert [each.seq for each in read] == sorted({each.seq for each in read})


def test_who_reads_gets_everything_at_once() -> None:
    reader = Reader()
    outbox = Outbox(reader)
    outbox.put_event({"type": "session.created"})
    outbox.put_answer(answer(1, 0))
    outbox.put_answer(answer(2, 0))
    assert [each.seq for each in reader.read if isinstance(each, ActionMessage)] == [1, 2]
    assert isinstance(reader.read[0], str)


def test_events_go_first_and_in_order_and_the_end_is_last() -> None:
    reader = Reader(room=0)
    outbox = Outbox(reader)
    outbox.put_answer(answer(1, 0))
    for number in range(5):
        outbox.put_event({"type": "error", "number": number})
    reader.room = 4
    outbox.flush()
    outbox.close(1001)
    outbox.close(4408)
    outbox.put_event({"type": "error", "number": 99})
    assert not reader.codes
    reader.room = 10**9
    outbox.flush()
    assert [json.loads(each)["number"] for each in reader.read if isinstance(each, str)] == [0, 1, 2, 3, 4]
    assert len(reader.read) == 5  # no answer after the last word
    assert reader.codes == [1001]
    outbox.put_answer(answer(2, 0))
    assert len(reader.read) == 5


def test_whoever_does_not_read_is_cut_off() -> None:
    reader = Reader(room=0)
    outbox = Outbox(reader)
    for _ in range(MAX_EVENTS):
        outbox.put_event({"type": "error"})
    assert outbox.close_code is None
    outbox.put_event({"type": "error"})
    assert reader.codes == [CLOSE_SLOW_READER]
    assert not reader.read


def test_a_reset_takes_back_what_was_not_sent() -> None:
    reader = Reader(room=0)
    outbox = Outbox(reader)
    outbox.put_answer(answer(1, 5))
    outbox.put_answer(answer(2, 6))
    outbox.forget_answer(5)
    reader.room = 1
    outbox.flush()
    assert [each.stream_id for each in reader.read if isinstance(each, ActionMessage)] == [6]

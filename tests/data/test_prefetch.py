import threading
from collections.abc import Iterator

import pytest

from gi_data.prefetch import Prefetch


def count(limit: int, *, error: Exception | None = None) -> Iterator[int]:
    yield from range(limit)
    if error is not None:
        raise error


def test_items_come_in_order_and_end() -> None:
    assert list(Prefetch(count(50), depth=3)) == list(range(50))


def test_an_error_comes_through_after_the_items_before_it() -> None:
    items = Prefetch(count(3, error=ValueError("broken")), depth=8)
    assert [next(items) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="broken"):
        next(items)
    assert next(items, None) is None


def test_it_runs_no_further_ahead_than_asked() -> None:
    made: list[int] = []
    items = Prefetch((made.append(number) or number for number in range(100)), depth=4)  # type: ignore[func-returns-value]
    for consumed in range(1, 20):
        next(items)
        assert len(made) <= consumed + 4 + 1  # the queue, and one item that waits for room in it
    items.close()


def test_closing_wakes_a_consumer_that_waits() -> None:
    never = threading.Event()
    items = Prefetch(iter(lambda: never.wait(0.05), True), depth=1)
    seen: list[int] = []
    consumer = threading.Thread(target=lambda: seen.extend(map(int, items)))
    consumer.start()
    items.close()
    consumer.join(timeout=5)
    assert not consumer.is_alive()

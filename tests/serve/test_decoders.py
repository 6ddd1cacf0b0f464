"""Work done in threads: every result reaches the loop once, in its order from one thread, whatever it raises."""

import asyncio
import threading

import pytest

from gi_serve.decoders import Decoders
from gi_serve.problems import FRAME_INVALID, INTERNAL, Problem


@pytest.mark.parametrize("num_threads", [1, 3])
def test_every_result_comes_to_the_loop_exactly_once(num_threads: int) -> None:
    heard: list[int | Problem] = []
    threads = set[int]()

    async def play() -> None:
        decoders, loop_thread = Decoders(num_threads), threading.get_ident()
        decoders.start()

        def hear(result: int | Problem) -> None:
            threads.add(threading.get_ident())
            heard.append(result)

        for number in range(2000):
            decoders.put(lambda number=number: number, hear)  # type: ignore[misc]
            if not number % 7:
                await asyncio.sleep(0)
        async with asyncio.timeout(20):
            while len(heard) < 2000:
                await asyncio.sleep(0.001)
        decoders.stop()
        assert threads == {loop_thread}

    asyncio.run(play())
    numbers = [each for each in heard if isinstance(each, int)]
    assert sorted(numbers) == list(range(2000))
    assert num_threads > 1 or numbers == list(range(2000))


def test_what_is_raised_becomes_a_problem_and_the_thread_lives_on() -> None:
    async def play() -> list[str | Problem]:
        decoders, heard = Decoders(1), list[str | Problem]()
        decoders.start()

        def fail() -> str:
            raise ZeroDivisionError("of a codec")

        def refuse() -> str:
            raise Problem(FRAME_INVALID)

        def stumble(_result: str | Problem) -> None:
            raise LookupError("whoever hears is no better")

        asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
        for work in (fail, refuse, lambda: "fine"):
            decoders.put(work, stumble)
            decoders.put(work, heard.append)
        async with asyncio.timeout(20):
            while len(heard) < 3:
                await asyncio.sleep(0.001)
        decoders.stop()
        return heard

    failed, refused, fine = asyncio.run(play())
    assert isinstance(failed, Problem)
    assert failed.kind == INTERNAL
    assert isinstance(refused, Problem)
    assert refused.kind == FRAME_INVALID
    assert fine == "fine"


@pytest.mark.parametrize("is_long_first", [False, True])
def test_nobody_waits_for_somebodys_long_work(is_long_first: bool) -> None:
    async def play() -> list[str | Problem]:
        decoders, heard, is_heard = Decoders(1 + is_long_first), list[str | Problem](), threading.Event()
        decoders.start()

        def hear(result: str | Problem) -> None:
            heard.append(result)
            is_heard.set()

        def short() -> None:
            decoders.put(lambda: "short", hear)

        def long() -> None:
            decoders.put(lambda: "long, and heard of the other" if is_heard.wait(20) else "long", heard.append)

        for put in (long, short) if is_long_first else (short, long):
            put()
        async with asyncio.timeout(30):
            while len(heard) < 2:
                await asyncio.sleep(0.001)
        decoders.stop()
        return heard

    assert asyncio.run(play()) == ["short", "long, and heard of the other"]

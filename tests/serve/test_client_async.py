"""The async client keeps the laws of the blocking one."""

import asyncio
import random
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import pytest

from gi_model.actions import NEUTRAL, InputState
from gi_model.errors import ServeError
from gi_serve.client import ConnectionLostError, SessionConfig
from gi_serve.client_async import AsyncClient, AsyncSession
from tests.serve.cable import Cable
from tests.serve.fake_steppers import HistoryStepper
from tests.serve.pictures import paint
from tests.serve.serving import Running, serving, wait_until

T = TypeVar("T")


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with serving(HistoryStepper(num_slots=8)) as started:
        yield started


def run(job: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(job, 30))


async def play(session: AsyncSession, num_ticks: int, cut: Any = lambda: None) -> list[InputState]:
    states = []
    for tick in range(num_ticks):
        cut()
        states.append((await session.act(paint(tick))).state)
        if tick % 3 == 0:
            await session.execute(InputState(keys=frozenset({"KeyQ"}), motion=(tick, 0)))
    return states


def test_it_plays_what_the_blocking_client_plays(running: Running) -> None:
    with running.session(seed=5) as blocking:
        expected = [blocking.act(paint(tick)).state for tick in range(5)]

    async def check() -> None:
        assert (await AsyncClient(running.url).models())[0]["name"] == "history"
        async with await AsyncClient(running.url).session(seed=5) as session:
            assert (session.seed, session.model.name) == (5, "history")
            for tick, state in enumerate(expected):
                assert (await session.act(paint(tick))).state == state == session.state
            await session.reset(seed=5)
            assert session.state == NEUTRAL
            seq = await session.send(paint(0))
            offset = await session.sync_clock()
            assert abs(offset.offset_ns) <= offset.round_trip_ns
            action = await session.latest(5.0)
            assert action is not None
            assert (action.seq, action.state) == (seq, expected[0])
            assert session.due() == expected[0]
            assert await session.latest() is None

    run(check())
    wait_until(lambda: not running.engine.sessions)


@pytest.mark.parametrize("seed", range(2))
def test_a_stream_whose_connection_is_cut_again_and_again_plays_as_one_that_never_was(
    running: Running, seed: int
) -> None:
    choice = random.Random(seed)

    async def check(cable: Cable) -> None:
        def cut() -> None:
            if choice.random() < 0.4:
                asyncio.get_running_loop().call_later(choice.random() * 0.004, cable.cut)

        async with await AsyncClient(running.url).session(seed=seed) as whole:
            expected = await play(whole, 40)
        async with await AsyncClient(cable.url).session(seed=seed) as session:
            assert await play(session, 40, cut) == expected
            assert cable.num_connections > 5
            cable.cut()
            await session.reset(seed=seed)
            assert await play(session, 5) == expected[:5]

    with Cable(running.port) as cable:
        run(check(cable))
    wait_until(lambda: not running.engine.sessions)


def test_keys_are_up_while_the_connection_is_down_and_nothing_blocks(running: Running) -> None:
    async def check(cable: Cable) -> None:
        config = SessionConfig(on_late="hold", patience_s=60.0)
        async with await AsyncClient(cable.url).session(config) as session:
            assert (await session.act(paint(3))).state == session.state != NEUTRAL
            cable.unplug()
            assert await session.latest(5.0) is None
            assert (session.state, session.due(), session.is_fresh, session.is_down) == (NEUTRAL, NEUTRAL, False, True)
            await session.send(paint(4))
            cable.plug()
            answer = None
            while answer is None:
                answer = await session.latest(5.0)
            assert answer.seq == 1
            assert session.state == answer.state

    with Cable(running.port) as cable:
        run(check(cable))


def test_many_sessions_in_one_loop(running: Running) -> None:
    async def check() -> None:
        sessions = [await AsyncClient(running.url).session(seed=7) for _ in range(6)]
        plays = await asyncio.gather(*(play(session, 10) for session in sessions))
        assert all(each == plays[0] for each in plays)
        await asyncio.gather(*(session.close() for session in sessions))

    run(check())
    wait_until(lambda: not running.engine.sessions)


def test_the_end_is_told_and_closing_frees_the_slot(running: Running) -> None:
    async def check(cable: Cable) -> None:
        lost = await AsyncClient(cable.url).session(SessionConfig(resume_s=0.3))
        closed = await AsyncClient(cable.url).session()
        await closed.act(paint(1))
        cable.cut()
        await closed.close()
        await closed.close()
        with pytest.raises(ServeError, match="closed"):
            await closed.send(paint(1))
        cable.unplug()
        with pytest.raises(ConnectionLostError, match="released"):
            await lost.act(paint(1))
        assert lost.state == NEUTRAL
        cable.plug()
        with pytest.raises(ConnectionLostError):
            await lost.send(paint(1))
        await lost.close()

    with Cable(running.port) as cable:
        run(check(cable))
    for session in list(running.engine.sessions.values()):
        assert session.lost_ns is not None  # waits for a client that gave up


def test_no_server_is_told(running: Running) -> None:
    with Cable(running.port) as cable:
        cable.unplug()
        with pytest.raises(ServeError, match="gi serve"):
            run(AsyncClient(cable.url).session())

"""The same for asyncio."""

from collections.abc import Awaitable, Callable

from gi_model.actions import NEUTRAL, InputState
from gi_model.frames import Frame
from gi_serve.client_async import AsyncClient


async def play_game(grab: Callable[[], Awaitable[Frame | None]], press: Callable[[InputState], None]) -> None:
    """`await grab()` gives uint8 (height, width, 3) RGB a tick, None at the end; `press` holds what it is given."""
    try:
        async with await AsyncClient("http://127.0.0.1:8000").session(seed=1) as session:
            while (frame := await grab()) is not None:
                await session.send(frame)
                await session.latest(timeout_s=1 / session.model.fps)
                if (state := session.due()) is not None:
                    press(state)
    finally:
        press(NEUTRAL)

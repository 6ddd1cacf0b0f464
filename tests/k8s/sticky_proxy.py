"""A Service, as kube-proxy makes one: connections go to pods that are ready; a client comes back to the pod it had.

Clients are told apart by the loopback address that they call (127.0.0.2, 127.0.0.3, ...), which stands for their own.
"""

import asyncio
import contextlib
import random
import threading
import time
from dataclasses import dataclass, field


@dataclass
class StickyProxy:
    """Serves in a thread of its own; a context manager. endpoints: address -> when it was last found ready."""

    timeout_s: float  # for how long a client's pod is remembered
    port: int = 0
    endpoints: set[tuple[str, int]] = field(default_factory=set)
    num_refused: int = 0
    _sticky: dict[str, tuple[tuple[str, int], float]] = field(default_factory=dict)
    _dice: random.Random = field(default_factory=lambda: random.Random(0))

    def __enter__(self) -> "StickyProxy":
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="proxy")
        self._thread.start()
        assert ready.wait(10)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join(10)

    def pod_of(self, client: str) -> tuple[str, int] | None:
        """Where `client` is sent; None where nobody is ready."""
        pod, seen = self._sticky.get(client, (None, 0.0))
        if pod not in self.endpoints or time.monotonic() > seen + self.timeout_s:
            pod = self._dice.choice(sorted(self.endpoints)) if self.endpoints else None
        if pod is not None:
            self._sticky[client] = pod, time.monotonic()
        return pod

    def _run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve(ready))
        self._loop.close()

    async def _serve(self, ready: threading.Event) -> None:
        self._done = asyncio.Event()
        server = await asyncio.start_server(self._relay, "0.0.0.0", self.port)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await self._done.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pod = self.pod_of(writer.get_extra_info("sockname")[0])
        try:
            if pod is None:
                raise ConnectionRefusedError
            back_reader, back_writer = await asyncio.open_connection(*pod)
        except OSError:
            self.num_refused += 1
            writer.close()
            return
        pumps = [self._pump(reader, back_writer), self._pump(back_reader, writer)]
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await asyncio.gather(*pumps)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()

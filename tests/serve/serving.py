"""A real server on a loopback socket, in a thread of the test's process."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gi_model.stepper import Stepper
from gi_serve.access import Access
from gi_serve.client import Client, Session, SessionConfig
from gi_serve.engine import Engine
from gi_serve.model_loading import ModelLoader
from gi_serve.server import Server, Tls, bind
from gi_serve.service import Service, ServiceConfig

if TYPE_CHECKING:
    from gi_serve.tracing import StepTracer


@dataclass(frozen=True)
class Running:
    """A server that runs, and what a test may look into."""

    service: Service
    server: Server
    thread: threading.Thread
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def stream_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/v1/realtime"

    @property
    def engine(self) -> Engine:
        return next(iter(self.service.engines.values()))

    def session(self, config: SessionConfig | None = None, *, seed: int | None = None) -> Session:
        return Client(self.url).session(config, seed=seed)

    def stop(self) -> None:
        """End it as SIGTERM would."""
        self.server.should_exit = True
        self.thread.join(20)
        assert not self.thread.is_alive()


@contextmanager
def serving(
    *steppers: Stepper,
    heartbeat_s: float = 5.0,
    idle_timeout_s: float = 60.0,
    config: ServiceConfig | None = None,
    access: Access | None = None,
    loader: ModelLoader | None = None,
    tls: Tls | None = None,
    tracer: "StepTracer | None" = None,
) -> Iterator[Running]:
    """Serve `steppers` on a free port."""
    config = config or ServiceConfig(idle_timeout_s=idle_timeout_s)
    service = Service(steppers, config=config, access=access, loader=loader, tracer=tracer)
    server, bound, ready = Server(service, heartbeat_s=heartbeat_s, tls=tls), bind("127.0.0.1", 0), threading.Event()
    thread = threading.Thread(target=server.serve_on, args=(bound, ready.set))
    thread.start()
    assert ready.wait(20)
    running = Running(service, server, thread, bound.getsockname()[1])
    try:
        yield running
    finally:
        running.stop()


@contextmanager
def serving_elsewhere(*, drain_s: float = 0.0) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """An echo server in a process of its own, and its address."""
    command = [sys.executable, "-m", "tests.serve.echo_server", "8", str(drain_s)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    assert process.stdout is not None
    try:
        yield process, f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for `condition`; fail if it does not come true."""
    done = threading.Event()
    for _ in range(int(seconds / 0.01)):
        if condition():
            return
        done.wait(0.01)
    raise AssertionError(f"not true within {seconds} s")

"""`gi serve`: a checkpoint as an API, until Ctrl-C or SIGTERM."""

import gc
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gi_serve.cli_play import play_command

if TYPE_CHECKING:
    from gi_model.stepper import Stepper


def register(app: typer.Typer) -> None:
    """Add `gi serve` and `gi play`."""
    app.command("serve")(serve_command)
    app.command("play")(play_command)


def serve_command(
    checkpoint: Annotated[Path, typer.Option(help="Folder that `gi pretrain` wrote.")],
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for every network.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 picks a free one.", min=0, max=65535)] = 8000,
    max_sessions: Annotated[int, typer.Option(help="Players at a time.", min=1, max=4096)] = 32,
    threads: Annotated[int, typer.Option(help="Of the model, on a CPU; more than one hurts on shared cores.")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    idle_timeout: Annotated[float, typer.Option(help="Seconds after which a silent session loses its slot.")] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON line when ready.")] = False,
) -> None:
    """Serve a checkpoint: frames in, actions out, over REST and WebSocket."""
    from gi_serve.server import Server, bind, end_quietly_on_sigterm
    from gi_serve.service import Service

    bound = bind(host, port)  # before the model: a taken port is known at once
    with bound:
        stepper, device = _load(checkpoint, device, threads=threads, num_slots=max_sessions)
        address, port = bound.getsockname()[:2]
        url = f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"
        facts = {"url": url, "port": port, "model": stepper.name, "fingerprint": stepper.fingerprint}
        facts |= {"device": device, "threads": threads, "fps": stepper.fps, "max_sessions": max_sessions}
        server = Server(Service([stepper], idle_timeout_s=idle_timeout))
        end_quietly_on_sigterm()
        with _short_pauses():
            server.serve_on(bound, on_ready=lambda: _announce(facts, as_json=as_json))


def _load(checkpoint: Path, device: str, *, threads: int, num_slots: int) -> "tuple[Stepper, str]":
    """The model, warm: the first player must not wait for the first step's allocations."""
    import numpy as np
    import torch

    from gi_model.policy_stepper import load_stepper
    from gi_model.stepper import Sampling

    torch.set_num_threads(max(1, threads))
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    stepper = load_stepper(checkpoint, num_slots=num_slots, device=device)
    stepper.open(0, Sampling())
    for _ in range(3):
        stepper.step(np.zeros((1, stepper.height, stepper.width, 3), np.uint8), [0])
    return stepper, device


@contextmanager
def _short_pauses() -> Iterator[None]:
    """Keep torch's many objects out of every garbage collection, so that none of its pauses makes an action late."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()  # or extension modules report them as leaked at exit


def _announce(facts: dict[str, object], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(facts))
        return
    from rich.console import Console

    console = Console()
    console.print(f"[bold]{facts['model']}[/] on {facts['device']}, {facts['threads']} thread(s), {facts['fps']:g} fps")
    console.print(f"up to {facts['max_sessions']} players at [bold]{facts['url']}[/]  (docs: {facts['url']}/docs)")
    console.print("Ctrl-C ends it.")

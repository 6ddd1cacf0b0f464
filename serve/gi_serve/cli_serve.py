"""`gi serve`: checkpoints as an API, until Ctrl-C or SIGTERM."""

import gc
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gi_serve.cli_keys import keys_app
from gi_serve.cli_play import play_command
from gi_serve.cli_replay import replay_command

if TYPE_CHECKING:
    import socket

    from gi_serve.access import Access
    from gi_serve.limits import Limits
    from gi_serve.model_loading import ModelSpec
    from gi_serve.server import Tls
    from gi_serve.service import Service
    from gi_serve.tracing import StepTracer

_ACCESS, _LIMITS, _OPERATIONS = "Who may", "How much", "Operations"


def register(app: typer.Typer) -> None:
    """Add `gi serve`, `gi play`, `gi replay`, and `gi keys`."""
    app.command("serve")(serve_command)
    app.command("play")(play_command)
    app.command("replay")(replay_command)
    app.add_typer(keys_app, name="keys")


def serve_command(
    models: Annotated[
        list[str] | None, typer.Argument(help="Folders that `gi pretrain` wrote: PATH or NAME=PATH.")
    ] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="The same, for one model.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for every network.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 picks a free one.", min=0, max=65535)] = 8000,
    max_sessions: Annotated[int, typer.Option(help="Players at a time, of each model.", min=1, max=4096)] = 32,
    threads: Annotated[int, typer.Option(help="Of the model, on a CPU; more than one hurts on shared cores.")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    idle_timeout: Annotated[float, typer.Option(help="Seconds after which a silent session loses its slot.")] = 60.0,
    resume_timeout: Annotated[
        float, typer.Option(help="Seconds for which a session outlives a lost connection; 0: not at all.", min=0)
    ] = 30.0,
    admission: Annotated[
        bool, typer.Option("--admission/--no-admission", help="Refuse players that would make others late.")
    ] = True,
    record_sessions: Annotated[
        Path | None,
        typer.Option(help="Folder that gets every frame and action, for `gi replay`: a film of the players."),
    ] = None,
    record_play: Annotated[
        Path | None, typer.Option(help="Folder for what people play in pages of this server and agree to record.")
    ] = None,
    playground: Annotated[
        bool | None,
        typer.Option("--playground/--no-playground", help="Pages at /, and who may watch sessions. Off if --insecure."),
    ] = None,
    models_dir: Annotated[
        Path | None, typer.Option(help="Below it, admins may load models while the server runs.")
    ] = None,
    adapter: Annotated[
        list[str] | None, typer.Option(help="Folder that `gi posttrain` wrote: PATH or NAME=PATH; again for more.")
    ] = None,
    adapters_dir: Annotated[
        Path | None, typer.Option(help="Below it, admins may load adapters while the server runs.")
    ] = None,
    shield: Annotated[
        str | None, typer.Option(help="MODULE:NAME of a callable that may veto or replace what robots do.")
    ] = None,
    keys: Annotated[
        Path | None, typer.Option(help="File of `gi keys`; without it nobody is asked.", rich_help_panel=_ACCESS)
    ] = None,
    token_secret: Annotated[
        Path | None,
        typer.Option(
            help="File of 32 bytes or more, shared by servers that accept each other's client tokens.",
            rich_help_panel=_ACCESS,
        ),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Listen beyond this machine without keys.", rich_help_panel=_ACCESS)
    ] = False,
    tls_cert: Annotated[
        Path | None, typer.Option(help="PEM: the certificate and its chain.", rich_help_panel=_ACCESS)
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM: its private key.", rich_help_panel=_ACCESS)] = None,
    max_sessions_per_key: Annotated[int | None, typer.Option(help="At a time.", min=1, rich_help_panel=_LIMITS)] = None,
    max_frames_per_second: Annotated[
        float | None, typer.Option(help="Of one session.", rich_help_panel=_LIMITS)
    ] = None,
    max_requests_per_second: Annotated[
        float | None, typer.Option(help="Of one key; without keys, of one address.", rich_help_panel=_LIMITS)
    ] = None,
    drain_seconds: Annotated[
        float, typer.Option(help="How long sessions play on after SIGTERM.", min=0, rich_help_panel=_OPERATIONS)
    ] = 10.0,
    log_format: Annotated[
        Literal["text", "json"], typer.Option(help="Of stderr.", rich_help_panel=_OPERATIONS)
    ] = "text",
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], typer.Option(rich_help_panel=_OPERATIONS)
    ] = "warning",
    access_log: Annotated[
        bool, typer.Option("--access-log", help="Log requests, but for frames and health.", rich_help_panel=_OPERATIONS)
    ] = False,
    otel: Annotated[
        bool,
        typer.Option(
            "--otel", help="Send spans by OTLP; OTEL_EXPORTER_OTLP_ENDPOINT says where.", rich_help_panel=_OPERATIONS
        ),
    ] = False,
    otel_share: Annotated[
        float, typer.Option(help="Of the steps that become spans.", min=0, max=1, rich_help_panel=_OPERATIONS)
    ] = 0.01,
    recap_socket: Annotated[
        Path | None, typer.Option(help="Socket file for open-p2p's capture tool.", rich_help_panel=_OPERATIONS)
    ] = None,
    recap_port: Annotated[
        int | None,
        typer.Option(help="The same by TCP, for this machine only.", min=0, max=65535, rich_help_panel=_OPERATIONS),
    ] = None,
    print_openapi: Annotated[bool, typer.Option("--print-openapi", help="Print the OpenAPI document and end.")] = False,
    print_asyncapi: Annotated[
        bool, typer.Option("--print-asyncapi", help="Print the AsyncAPI document of the WebSocket and end.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON line when ready.")] = False,
) -> None:
    """Serve checkpoints: frames in, actions out, over REST and WebSocket."""
    if print_openapi or print_asyncapi:
        _print_specification(is_async=print_asyncapi)
        return
    from gi_model.shield import load_shield
    from gi_serve.limits import Limits
    from gi_serve.logs import configure_logs
    from gi_serve.model_loading import ModelLoader, ModelSpec
    from gi_serve.server import Server, bind, end_quietly_on_sigterm
    from gi_serve.service import Service, ServiceConfig

    configure_logs(log_format, level=log_level, access=access_log)
    limits = Limits(max_requests_per_second, max_frames_per_second, max_sessions_per_key)
    access = make_access(host, keys, token_secret, limits=limits, insecure=insecure)
    tls = make_tls(tls_cert, tls_key)
    specs = [ModelSpec.parse(text) for text in models or []] + ([ModelSpec(checkpoint)] if checkpoint else [])
    with bind(host, port) as bound:  # before the models: a taken port is known at once
        loader = ModelLoader(_choose_device(device, threads), max_sessions, models_dir, adapters_dir)
        config = ServiceConfig(
            idle_timeout_s=idle_timeout,
            resume_timeout_s=resume_timeout,
            record_dir=record_sessions,
            play_dir=record_play,
            has_pages=not insecure if playground is None else playground,
            admits_late=not admission,
            shield=None if shield is None else load_shield(shield),
            drain_s=drain_seconds,
            recap=bind_recap_sockets(recap_socket, recap_port, has_keys=keys is not None),
        )
        service = Service(
            [], config=config, access=access, loader=loader, tracer=make_tracer(otel_share) if otel else None
        )
        add_models(service, specs)
        for text in adapter or []:
            service.adapters.load_at_start(ModelSpec.parse(text))
        server = Server(service, tls=tls)
        end_quietly_on_sigterm()
        facts = {**_describe(service), **_address_of(bound.getsockname(), tls)}
        facts |= {
            "has_pages": config.has_pages,
            "device": loader.device,
            "threads": threads,
            "max_sessions": max_sessions,
        }
        if config.recap:
            facts["recap"] = [each.getsockname() for each in config.recap]
        with _short_pauses():
            server.serve_on(bound, on_ready=lambda: _announce(facts, as_json=as_json))


def make_access(
    host: str, keys: Path | None, token_secret: Path | None, *, limits: "Limits", insecure: bool = False
) -> "Access":
    """Who may do what. Raises ConfigError: for a server without keys that strangers could reach, above all."""
    from gi_model.errors import ConfigError
    from gi_serve.access import Access, is_loopback

    if keys is None and not insecure and not is_loopback(host):
        do = "Make one with: gi keys new NAME --scope play, and add --keys keys.json; or say --insecure."
        raise ConfigError("a server without keys is for this machine only", got=f"--host {host}", do=do)
    try:
        secret = None if token_secret is None else token_secret.read_bytes()
    except OSError as error:
        raise ConfigError("cannot read the token secret", got=f"{token_secret} ({error})") from None
    return Access(keys, limits=limits, secret=secret)


def bind_recap_sockets(path: Path | None, port: int | None, *, has_keys: bool) -> "tuple[socket.socket, ...]":
    """What open-p2p's capture tool may connect to. Raises ConfigError beside keys, of which it knows nothing."""
    from gi_model.errors import ConfigError

    if path is None and port is None:
        return ()
    if has_keys:
        raise ConfigError("open-p2p's protocol knows no keys", got="--keys", do="Serve it without, on this machine.")
    from gi_serve.recap import bind_recap
    from gi_serve.server import bind

    by_file = () if path is None else (bind_recap(path),)
    return by_file if port is None else (*by_file, bind("127.0.0.1", port))


def make_tls(cert: Path | None, key: Path | None) -> "Tls | None":
    """TLS by two files, or none. Raises ConfigError for one file, or two that do not belong together."""
    from gi_model.errors import ConfigError
    from gi_serve.server import Tls

    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise ConfigError("TLS needs two files", got=f"{cert or key}", expected="--tls-cert and --tls-key")
    tls = Tls(cert, key)
    tls.check()
    return tls


def make_tracer(share: float) -> "StepTracer":
    """Spans of a share of the steps. Raises ConfigError without the extra `otel`."""
    from gi_model.errors import ConfigError

    try:
        from gi_serve.tracing import make_otlp_tracer
    except ImportError:
        raise ConfigError("spans need OpenTelemetry", do="pip install 'gi-model[otel]'") from None
    return make_otlp_tracer(share)


def add_models(service: "Service", specs: "Sequence[ModelSpec]") -> None:
    """Load every model, in order. Raises GiError if one cannot be loaded, ConfigError if there is none to come."""
    from gi_model.errors import ConfigError

    if not specs and service.loader.models_dir is None:
        raise ConfigError("no model to serve", expected="gi serve PATH, or NAME=PATH NAME2=PATH2, or --models-dir")
    for spec in specs:
        loaded = service.loader.load(spec)
        service.add_model(loaded.stepper, loaded.times)


def _choose_device(device: str, threads: int) -> str:
    import torch

    torch.set_num_threads(max(1, threads))
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


def _print_specification(*, is_async: bool) -> None:
    from gi_serve.app import build_app
    from gi_serve.asyncapi import build_asyncapi
    from gi_serve.service import Service

    typer.echo(json.dumps(build_asyncapi() if is_async else build_app(Service([])).openapi(), indent=1))


@contextmanager
def _short_pauses() -> Iterator[None]:
    """Keep torch's many objects out of every garbage collection, so that none of its pauses makes an action late."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()  # or extension modules report them as leaked at exit


def _describe(service: "Service") -> dict[str, object]:
    """What is served; of the first model, its name and rate as well."""
    steppers = [engine.stepper for engine in service.engines.values()]
    rows = [{"model": each.name, "fingerprint": each.fingerprint, "fps": each.fps} for each in steppers]
    adapters = [{"adapter": config.name, "model": engine.stepper.name} for engine, config in service.adapters.all()]
    return {**(rows[0] if rows else {}), "models": rows, "adapters": adapters}


def _address_of(bound: tuple[str, int], tls: "Tls | None") -> dict[str, object]:
    address, port = bound[:2]
    scheme, name = "http" if tls is None else "https", f"[{address}]" if ":" in address else address
    return {"url": f"{scheme}://{name}:{port}", "port": port}


def _announce(facts: dict[str, object], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(facts))
        return
    from rich.console import Console

    console = Console()
    assert isinstance(facts["models"], list)
    for each in facts["models"]:
        console.print(
            f"[bold]{each['model']}[/], {each['fps']:g} fps, on {facts['device']}, {facts['threads']} thread(s)"
        )
    assert isinstance(facts["adapters"], list)
    for each in facts["adapters"]:
        console.print(f"[bold]{each['adapter']}[/], an adapter of {each['model']}")
    console.print(f"up to {facts['max_sessions']} players at [bold]{facts['url']}[/]  (docs: {facts['url']}/docs)")
    if facts["has_pages"]:
        console.print(f"watch them at [bold]{facts['url']}/playground/[/]", highlight=False)
    for address in facts.get("recap", ()):  # type: ignore[attr-defined]
        console.print(f"open-p2p's capture tool connects to [bold]{address}[/]", highlight=False)
    console.print("Ctrl-C ends it.")

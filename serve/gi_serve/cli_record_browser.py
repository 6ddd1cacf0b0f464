"""`gi record GAME --browser`: a server without a model that shows a game's page and keeps what people play there."""

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

from gi_model.errors import ConfigError

if TYPE_CHECKING:
    from gi_data.ingest.convert import Ingested

PAGES: Final = {"web/arena": "game/"}


def record_from_browser(game: str, *, out: Path, port: int, as_json: bool) -> None:
    """Serve the page of `game` on this machine until Ctrl-C; recordings go to `out`. Raises GiError."""
    if game not in PAGES:
        raise ConfigError("no page of that game", got=game, expected=" | ".join(PAGES))
    from gi_serve.logs import configure_logs
    from gi_serve.server import Server, bind, end_quietly_on_sigterm
    from gi_serve.service import Service, ServiceConfig

    configure_logs("text", level="warning", access=False)
    made: list[Ingested] = []
    service = Service([], config=ServiceConfig(play_dir=out))
    assert service.uploads is not None
    service.uploads.on_made = lambda report: _tell(report, made, as_json=as_json)
    with bind("127.0.0.1", port) as bound:
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/{PAGES[game]}"
        end_quietly_on_sigterm()
        with suppress(KeyboardInterrupt):  # uvicorn raises it again once all is written
            Server(service).serve_on(bound, on_ready=lambda: _announce(url, as_json=as_json))
    _sum_up(made, out, as_json=as_json)


def _announce(url: str, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"url": url}))
        return
    from rich.console import Console

    console = Console()
    console.print(f"Play at [bold]{url}[/]; tick the box there to be recorded.", highlight=False)
    console.print("A demonstrator: [bold]?player=demonstrator&record&fast&episodes=8[/]. Ctrl-C ends.", highlight=False)


def _tell(report: "Ingested", made: "list[Ingested]", *, as_json: bool) -> None:
    made.append(report)
    if not as_json:
        typer.echo(f"{report.recording_id}: {report.failure or f'{report.seconds:.0f} s'}")


def _sum_up(made: "list[Ingested]", out: Path, *, as_json: bool) -> None:
    kept = [report for report in made if not report.failure]
    facts: dict[str, Any] = {
        "recordings": [report.recording_id for report in kept],
        "seconds": round(sum(report.seconds for report in kept), 2),
        "failed": {report.recording_id: report.failure for report in made if report.failure},
        "out": str(out),
    }
    if as_json:
        typer.echo(json.dumps(facts))
    else:
        typer.echo(f"{len(kept)} recordings, {facts['seconds']:.0f} s, in {out}")

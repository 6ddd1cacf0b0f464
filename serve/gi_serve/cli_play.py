"""`gi play`: a game that a served model plays."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from gi_data.envs.protocol import Environment
    from gi_serve.client import Client, Session
    from gi_serve.play import EpisodePlay
    from gi_serve.play_window import WindowPlay


def play_command(
    game: Annotated[str, typer.Argument(help="Name of a game, like doom/defend_the_center.")],
    server: Annotated[str, typer.Option(help="Address of a `gi serve`.")] = "http://127.0.0.1:8000",
    episodes: Annotated[int, typer.Option(help="How many to play.", min=1)] = 1,
    seed: Annotated[int | None, typer.Option(help="Of the first; then one more each. Default: never recorded.")] = None,
    realtime: Annotated[bool, typer.Option("--realtime/--lockstep", help="Whether the game's clock runs on.")] = True,
    fps: Annotated[
        float | None, typer.Option(help="Ticks a second of the game's clock. Default: its real speed.", min=0.1)
    ] = None,
    record: Annotated[
        Path | None, typer.Option(help="Folder for a recording of each episode: video (mp4) and what was held.")
    ] = None,
    window: Annotated[
        str | None, typer.Option(help="Play in the window whose title contains this: any game; GAME is then a name.")
    ] = None,
    bindings: Annotated[
        Path | None,
        typer.Option(help="With --window: TOML with the controls it may use. Default: those of most games."),
    ] = None,
    hotkey: Annotated[str, typer.Option(help="With --window: the key that gives you control, and takes it.")] = "F10",
    adapter: Annotated[str | None, typer.Option(help="Of the server, to play with.")] = None,
    shield: Annotated[
        str | None, typer.Option(help="Of a robot: clearance, or MODULE:NAME, may veto or replace what it does.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print episodes and summary as JSON.")] = False,
) -> None:
    """Play a game through a server: frames out, actions in.

    Example: gi play doom/defend_the_center --episodes 3
    Any game on your screen: gi play mygame --window "My Game"
    """
    from gi_data.agents import check_commands
    from gi_data.envs import EVAL_SEED_START, make_environment
    from gi_data.envs.realtime import RealTimeEnvironment
    from gi_data.envs.shielded import ShieldedEnvironment, make_shield
    from gi_serve.client import Client, SessionConfig
    from gi_serve.filmed import FilmedEnvironment
    from gi_serve.play_window import WindowPlay
    from gi_serve.remote_agent import check_rate

    if window is not None:
        play = WindowPlay(game, window, fps=fps, bindings=bindings, hotkey=hotkey, record=record)
        _show(game, [_play_window(Client(server), play, adapter)], as_json)
        return
    first = EVAL_SEED_START if seed is None else seed
    with Client(server).session(SessionConfig(seed=first, adapter=adapter, lockstep=not realtime)) as session:
        env: Environment = make_environment(game)
        try:
            check_rate(session.model, env)
            check_commands(session.embodiment, env)
            if record is not None:
                env = FilmedEnvironment(env, record, player=f"policy {_name_of(session)}")
            if shield is not None:
                env = ShieldedEnvironment(env, make_shield(shield, env))
            if realtime:
                env = RealTimeEnvironment(env)
                env.fps = fps or env.fps
            played = _play(env, session, range(first, first + episodes))
        finally:
            env.close()
    _show(game, played, as_json)


def summarise(played: "Sequence[EpisodePlay]") -> dict[str, float]:
    """Mean score, percentiles of frame-to-action in ms, and what was dropped or late."""
    import numpy as np

    latencies_ms = np.concatenate([each.latencies_ms for each in played])
    p50, p95, p99 = np.percentile(latencies_ms, [50, 95, 99]).tolist() if len(latencies_ms) else [float("nan")] * 3
    return {
        "score": float(np.mean([each.score for each in played])),
        "frame_to_action_ms_p50": p50,
        "frame_to_action_ms_p95": p95,
        "frame_to_action_ms_p99": p99,
        "num_answers": len(latencies_ms),
        "num_dropped": sum(each.num_dropped for each in played),
        "late_substeps": sum(each.late_substeps for each in played),
    }


def _play(env: "Environment", session: "Session", seeds: range) -> "list[EpisodePlay]":
    from rich.console import Console
    from rich.progress import track

    from gi_serve.play import play_episode

    shown = track(seeds, description=f"playing {env.name}", console=Console(stderr=True))
    try:
        return [play_episode(env, session, seed=seed) for seed in shown]
    finally:
        env.close()  # stops the clock of a game in real time before the game itself


def _name_of(session: "Session") -> str:
    return session.model.name if session.adapter is None else f"{session.model.name} with {session.adapter}"


def _play_window(client: "Client", play: "WindowPlay", adapter: str | None) -> "EpisodePlay":
    from rich.console import Console

    from gi_serve.client import SessionConfig
    from gi_serve.play_window import play_window

    console = Console(stderr=True)
    console.print(f"[bold]{play.hotkey}[/] gives you control at once, and takes it; Ctrl-C here ends.", highlight=False)
    with client.session(SessionConfig(adapter=adapter)) as session, console.status(f"playing {play.game}"):
        played, why = play_window(session, play)
    console.print(f"ended: {why}", highlight=False)
    return played


def _show(game: str, played: "Sequence[EpisodePlay]", as_json: bool) -> None:
    summary = summarise(played)
    if as_json:
        typer.echo(json.dumps({"game": game, "episodes": [asdict(each) for each in played], "summary": summary}))
    else:
        _print(game, played, summary)


def _print(game: str, played: "Sequence[EpisodePlay]", summary: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("seed", "score", "ticks", "seconds", "dropped", title=game)
    for each in played:
        table.add_row(f"{each.seed}", _score(each.score), f"{each.ticks}", f"{each.seconds:.1f}", f"{each.num_dropped}")
    console = Console()
    console.print(table)
    percentiles = " / ".join(f"{summary[f'frame_to_action_ms_{name}']:.1f}" for name in ("p50", "p95", "p99"))
    console.print(f"mean score [bold]{_score(summary['score'])}[/]")
    console.print(f"frame to action {percentiles} ms (p50 / p95 / p99) over {summary['num_answers']} answers")
    console.print(f"{summary['num_dropped']} frames dropped, {summary['late_substeps']} game steps late")


def _score(score: float) -> str:
    """A game in a window has none that we know of."""
    return "-" if score != score else f"{score:g}"

"""`gi evaluate`, `gi report`, `gi demo`: play agents in games, show what came of it, live the whole life at once."""

import json
import re
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from gi_model.errors import ConfigError
from gi_train import cli_label
from gi_train.stopping import stoppable

DEMO = Path("runs/demo")
DEMO_GAMES = "doom/defend_the_center,doom/health_gathering_supreme,doom/gather"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("evaluate")(evaluate_command)
    app.command("report")(report_command)
    app.command("demo")(demo_command)
    cli_label.register(app)


def evaluate_command(
    agent: Annotated[
        str,
        typer.Argument(
            help="idle | random | demonstrator | policy:FOLDER | http://HOST:PORT; several with commas. Behind a "
            "policy's FOLDER: +ADAPTER, and ,keys=calibrated (or mode) and ,motion=sample to draw them so. "
            "With --task idm: the folder of an inverse dynamics model."
        ),
    ],
    games: Annotated[
        list[str], typer.Argument(help="Games, such as doom/defend_the_center. With --task idm: a corpus with labels.")
    ],
    task: Annotated[
        Literal["play", "idm"], typer.Option(help="play: closed loop. idm: label held-out clips, beside the truth.")
    ] = "play",
    episodes: Annotated[int, typer.Option(help="Episodes a game.")] = 40,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the first episode (default: the first for evaluation).")
    ] = None,
    jobs: Annotated[int, typer.Option(help="Games played at a time (0: by cores and mode).")] = 0,
    realtime: Annotated[bool, typer.Option("--realtime/--lockstep", help="The game's clock does not wait.")] = False,
    json_: Annotated[
        Path | None, typer.Option("--json", help="Results, one JSON object a line; what is there is kept.")
    ] = None,
    baselines: Annotated[
        list[Path] | None, typer.Option(help="More results to compare with (from --json); repeatable.")
    ] = None,
    label: Annotated[str, typer.Option(help="Names of the agents in the results (default: AGENT).")] = "",
    traces: Annotated[
        Path | None, typer.Option(help="Folder for a trace of each game's first episode, for films.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print no table.")] = False,
    split: Annotated[str, typer.Option(help="With --task idm: val | train.")] = "val",
) -> None:
    """Play an agent in games, closed loop, on seeds that were never recorded, and print its scores.

    With --task idm nothing is played: the labels of an inverse dynamics model are scored on held-out clips (--json: one
    object of all scores).

    Example: gi evaluate policy:runs/tiny/checkpoint doom/gather --episodes 40 --json runs/gather.jsonl

    Example: gi evaluate --task idm runs/idm/checkpoint runs/corpus
    """
    if task == "idm":
        cli_label.evaluate_idm_and_print(agent, games, split=split, out=json_, quiet=quiet)
        return
    from gi_data.envs import EVAL_SEED_START
    from gi_train.episodes import ResultsFile
    from gi_train.evaluate import Evaluation, evaluate
    from gi_train.report_table import draw_table, make_scoreboard

    evaluation = Evaluation(
        agents=split_agents(agent),
        games=tuple(games),
        num_episodes=episodes,
        seed_start=EVAL_SEED_START if seed is None else seed,
        realtime=realtime,
        num_players=jobs,
        labels=tuple(label.split(",")) if label else (),
        traces=traces,
    )
    with stoppable("episodes that ended are kept with --json"):
        results = evaluate(evaluation, ResultsFile(json_))
    others = [result for path in baselines or () for result in ResultsFile(_existing(path)).read()]
    if not quiet:
        Console().print(draw_table(make_scoreboard(others + results)))


def split_agents(agents: str) -> tuple[str, ...]:
    """Agents that were given with commas; what follows one as NAME=VALUE belongs to the agent before it."""
    return tuple(re.split(r",(?!\w+=)", agents))


def report_command(
    out: Annotated[Path, typer.Option(help="The report, one HTML file; of results, results.json goes beside it.")],
    results: Annotated[list[Path] | None, typer.Argument(help="Results from gi evaluate --json.")] = None,
    run: Annotated[
        Path | None,
        typer.Option(help="Instead of results: folder of a training run (gi pretrain --out), also while it runs."),
    ] = None,
    metrics: Annotated[Path | None, typer.Option(help="metrics.jsonl of gi pretrain, for training curves.")] = None,
    traces: Annotated[Path | None, typer.Option(help="Folder of traces from gi evaluate --traces, for films.")] = None,
    facts: Annotated[Path | None, typer.Option(help="JSON object of facts about the run to show.")] = None,
) -> None:
    """Write a report of evaluations, or of a training run, as one HTML file that loads nothing.

    Example: gi report runs/baselines.jsonl runs/policy.jsonl --out runs/report.html
    """
    if bool(results) == bool(run):
        expected, do = "one of them", "gi report RESULTS --out FILE, or gi report --run FOLDER --out FILE"
        raise ConfigError(
            "a report of results, or of a run?", got="both" if run else "neither", expected=expected, do=do
        )
    if run:
        from gi_train.run_page import write_run_page

        write_run_page(run, out)
        typer.echo(f"report: {out}")
        return
    from gi_data.storage import write_atomic
    from gi_train.episodes import ResultsFile
    from gi_train.report import ReportInputs, read_facts, write_report
    from gi_train.report_table import make_scoreboard
    from gi_train.run_files import read_rows

    episodes = [result for path in results or () for result in ResultsFile(_existing(path)).read()]
    board = make_scoreboard(episodes)
    inputs = ReportInputs(
        results=episodes,
        board=board,
        metrics=read_rows(_existing(metrics)) if metrics else (),
        traces=sorted(_existing(traces).glob("*.npz")) if traces else (),
        facts=read_facts(_existing(facts)) if facts else {},
    )
    write_report(inputs, out)
    write_atomic(out.with_name("results.json"), json.dumps(board.to_dict(), indent=1).encode())
    typer.echo(f"report: {out}")


def demo_command(
    what: Annotated[
        Literal["games", "robot"],
        typer.Argument(help="games: pretrain a policy and play. robot: adapt that policy to a simulated robot."),
    ] = "games",
    minutes: Annotated[
        float, typer.Option(help="About how long it may take on two cores; scales data, training, and play.")
    ] = 10.0,
    scenarios: Annotated[str, typer.Option(help="Games, with commas between.")] = DEMO_GAMES,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the demo; finished stages in it are kept (default: runs/demo, runs/demo-robot)."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Fixes recording and training.")] = 0,
    episodes: Annotated[
        int | None, typer.Option(help="Test episodes a game (default: 40, fewer in a shorter demo).")
    ] = None,
    base: Annotated[
        Path | None, typer.Option(help="robot: checkpoint to adapt (default: that of gi demo, made if it is missing).")
    ] = None,
) -> None:
    """Live the whole life on real games: record, shard, pretrain, serve, play in real time, report.

    gi demo robot goes on from there: record a few minutes of teleoperation, post-train an adapter, serve it, drive.

    Stop it with Ctrl-C at any time: the same call goes on from there.

    Example: gi demo --minutes 10
    """
    from gi_train.demo import Demo, run_demo

    is_robot = what == "robot"
    place = DEMO if out is None or is_robot else out
    size, some = (10.0, None) if is_robot else (minutes, episodes)  # of the base's demo, or of this one
    demo = Demo.sized(size, games=scenarios.split(","), out=place, seed=seed, episodes=some)
    with stoppable("finished stages are kept: the same call goes on from here"):
        if is_robot:
            from gi_train.demo_robot import RobotDemo, run_robot_demo

            place = out or DEMO.with_name("demo-robot")
            robot = RobotDemo.sized(minutes, base=base, base_demo=demo, out=place, episodes=episodes)
            run_robot_demo(robot, Console())
        else:
            run_demo(demo, Console())


def _existing(path: Path) -> Path:
    if not path.exists():
        raise ConfigError("no such file or folder", got=path, do="Check the path.")
    return path

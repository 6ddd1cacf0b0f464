"""`gi study posttrain`: what pretraining is worth to whoever has few demonstrations."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from gi_model.errors import ConfigError
from gi_train.stopping import stoppable

SIZES, ARMS = "5,10,25,50,100", "adapter,full,scratch,random"


def study_posttrain_command(
    base: Annotated[Path, typer.Option(help="The pretrained policy; it must not have seen the game.")],
    game: Annotated[str, typer.Option(help="Game or body to record and to learn, such as doom/defend_the_line.")],
    out: Annotated[Path, typer.Option(help="Folder of the study; finished stages in it are kept.")],
    embodiment: Annotated[Path | None, typer.Option(metavar="FILE.toml", help="Of the body, if it is one.")] = None,
    play: Annotated[str, typer.Option(help="Games to play in the end, with commas (default: --game).")] = "",
    sizes: Annotated[str, typer.Option(help="Numbers of demonstrations, with commas.")] = SIZES,
    arms: Annotated[str, typer.Option(help="What to compare, with commas.")] = ARMS,
    seeds: Annotated[int, typer.Option(help="Runs of each arm and size.")] = 3,
    steps: Annotated[int, typer.Option(help="Optimiser steps of a run.")] = 300,
    episodes: Annotated[int, typer.Option(help="Episodes that each run plays, the same for all.")] = 20,
    past_actions: Annotated[
        Literal["hidden", "seen"], typer.Option(help="Whether policies are shown their last action, in every arm.")
    ] = "hidden",
    jobs: Annotated[int, typer.Option(help="Runs at a time, a core each.")] = 1,
) -> None:
    """Compare an adapter, full fine-tuning, training from scratch, and an adapter on an untrained base.

    Closed loop, normalised (random play 0, demonstrator 1), by number of demonstrations. Stop it with Ctrl-C at any
    time: the same call goes on from there.

    Example: gi study posttrain --base runs/demo/policy/checkpoint --game doom/defend_the_line --out runs/few --jobs 2
    """
    from rich.console import Console

    from gi_train.posttrain_study import PosttrainStudy, run_study

    study = PosttrainStudy(
        out=out,
        base=base,
        game=game,
        embodiment=embodiment,
        play=tuple(filter(None, play.split(","))),
        arms=tuple(arms.split(",")),
        sizes=_numbers(sizes),
        seeds=seeds,
        steps=steps,
        episodes=episodes,
        past_actions=past_actions,
        jobs=jobs,
    )
    with stoppable("finished stages are kept: the same call goes on from here"):
        run_study(study, Console())


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError as error:
        raise ConfigError("cannot read --sizes", got=text, expected="numbers with commas between") from error

"""What holds for every command: the real `gi`, the real torchrun, and the real checks of the settings accept it."""

import contextlib
import io
from collections.abc import Iterator
from functools import cache
from typing import Any

import typer.main

from gi_model.cli import build_app
from gi_model.config import preset
from gi_model.errors import ConfigError
from gi_train.cli_pretrain import apply_settings
from gi_train.config import PRESETS
from gi_train.preflight import check_environment
from tests.k8s.rendering import Object
from tests.k8s.rules_jobs import world_size
from tests.k8s.workloads import argv, commands, environment, workloads


@cache
def _gi() -> Any:
    return typer.main.get_command(build_app())


def command_problems(objects: list[Object]) -> Iterator[str]:
    """Of every command in `objects`."""
    for where, words, variables in commands(objects):
        yield from (f"{where}: {problem}" for problem in _command(words, variables))
    for workload in workloads(objects):
        if workload.spec["containers"][0].get("command", [])[:2] == ["gi", "torchrun"]:
            main = workload.spec["containers"][0]
            words = argv(main, environment(main, objects))
            yield from (f"{workload.title}: {each}" for each in _settings(words, world_size(workload, objects)))


def parse(words: list[str]) -> tuple[str, dict[str, Any]]:
    """The subcommand and its parameters. Raises what click raises; nothing is run."""
    command, context = _gi(), None
    while isinstance(command, typer.core.TyperGroup):
        context = command.make_context(words[0], list(words[1:]), parent=context)
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        words = [name or "", *rest]
    context = command.make_context(words[0], list(words[1:]), parent=context)
    return str(command.name), dict(context.params)


def _command(words: list[str], variables: dict[str, str]) -> Iterator[str]:
    if words[0] != "gi":
        yield f"starts {words[0]}, not gi"
        return
    if words[1] == "torchrun":
        try:
            inner = torchrun(words[2:])
        except ValueError as error:
            yield f"torchrun: {error}"
            return
        yield from _command(inner, variables)
        return
    try:
        parse(words)
    except Exception as error:
        yield f"{' '.join(words[:2])}: {getattr(error, 'message', None) or error}"


def torchrun(words: list[str]) -> list[str]:
    """The command that torchrun would start. Raises ValueError with its complaint."""
    from torch.distributed.run import parse_args

    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            parsed = parse_args(words)  # type: ignore[no-untyped-call, unused-ignore]
    except SystemExit as error:
        raise ValueError(complaint.getvalue().strip().splitlines()[-1]) from error
    if not parsed.no_python:
        raise ValueError("gi is no Python script: --no-python")
    return [parsed.training_script, *parsed.training_script_args]


def torchrun_flags() -> set[str]:
    """Variables that stand for a flag of torchrun."""
    from torch.distributed.run import get_args_parser

    parser = get_args_parser()
    return {f"PET_{action.dest.upper()}" for action in parser._actions}


def _settings(words: list[str], ranks: int) -> Iterator[str]:
    """What `gi pretrain` itself would refuse in its first second."""
    try:
        _, found = parse(torchrun(words[2:]))
    except Exception:
        return
    try:
        policy = preset(found["preset"])
        config = PRESETS[found["preset"]].replace(steps=found["steps"], strategy=found["strategy"])
        _, config = apply_settings(found["set_"] or [], policy, config)
        check_environment(config, {"LOCAL_RANK": "0", "WORLD_SIZE": str(ranks)})
    except ConfigError as error:
        yield f"gi pretrain: {error}"

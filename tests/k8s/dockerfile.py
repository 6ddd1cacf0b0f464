"""Dockerfiles as stages of instructions, so that tests can judge them and play them through without Docker."""

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Instruction:
    """NAME text, with the flags (--from=build) apart."""

    name: str
    text: str
    flags: dict[str, str] = field(default_factory=dict)

    @property
    def words(self) -> list[str]:
        """The JSON form as a list, else split at spaces."""
        return list(json.loads(self.text)) if self.text.startswith("[") else shlex.split(self.text)


@dataclass(frozen=True)
class Stage:
    """FROM image AS name, and what follows."""

    image: str
    name: str
    instructions: tuple[Instruction, ...]

    def all(self, name: str) -> list[Instruction]:
        return [each for each in self.instructions if each.name == name]


def parse(path: Path) -> list[Stage]:
    """The stages of a Dockerfile, ARGs before the first FROM put in. Raises ValueError for what it does not know."""
    arguments: dict[str, str] = {}
    stages: list[tuple[str, str, list[Instruction]]] = []
    for line in _lines(path.read_text()):
        name, _, rest = line.partition(" ")
        flags, text = _flags(rest.strip())
        if name == "ARG" and not stages:
            key, _, value = text.partition("=")
            arguments[key] = value
        elif name == "FROM":
            image, _, stage = re.sub(r"\$\{(\w+)\}", lambda found: arguments[found[1]], text).partition(" AS ")
            stages.append((image, stage, []))
        elif name in ("RUN", "COPY", "ENV", "USER", "WORKDIR", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD"):
            stages[-1][2].append(Instruction(name, text, flags))
        else:
            raise ValueError(f"{path}: what is {line}?")
    return [Stage(image, name, tuple(instructions)) for image, name, instructions in stages]


def _lines(text: str) -> list[str]:
    """Without comments, continued lines joined."""
    kept = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    return [" ".join(line.split()) for line in kept.replace("\\\n", " ").splitlines() if line.strip()]


def _flags(text: str) -> tuple[dict[str, str], str]:
    flags = {}
    while found := re.match(r"--([a-z-]+)=(\S+)\s+", text):
        flags[found[1]] = found[2]
        text = text[found.end() :]
    return flags, text

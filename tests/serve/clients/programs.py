"""The clients of other languages as programs: built once, they speak the same lines, and the same tests drive them.

driver URL NUM_FRAMES PERIOD_MS ON_LATE PATIENCE_S RESUME_S RESET_AT
-> "status KIND: WORDS", "action SEQ DX DY AGE IS_LATE OTHERS", "hold KEYS DX DY",
   "counts SENT ANSWERED DROPPED LATE LOST RESUMED", and "error WORDS" with exit code 3 where the session did not open
"""

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
CLIENTS: Final = HERE.parents[2] / "serve" / "clients"
WARNINGS: Final = ("-Wall", "-Wextra", "-Werror", "-Wpedantic", "-Wshadow", "-Wconversion")
SANITIZERS: Final = ("-O0", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
NAMES: Final = ("javascript", "cpp", "csharp", "godot3")


@dataclass(frozen=True)
class Counts:
    """What a client counted."""

    sent: int
    answered: int
    dropped: int
    late: int
    lost: int
    resumed: int


@dataclass(frozen=True)
class Answer:
    """An action as a client read it. age: how many frames the stream had seen before, up to 9."""

    seq: int
    motion: tuple[int, int]
    age: int
    is_late: bool
    others: tuple[str, ...]  # wheel down, mouse buttons, gamepad buttons, four axes, two triggers, keys, =commands


def _read_answer(line: str) -> Answer:
    _action, *words = line.split()
    seq, dx, dy, age, late = (int(word) for word in words[:5])
    return Answer(seq, (dx, dy), age, bool(late), tuple(words[5:]))


@dataclass
class Play:
    """A program that plays, and what it has said so far."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)

    def wait_for(self, start: str) -> str:
        """The next line that starts so; fail at the end of all lines."""
        for line in self._read():
            if line.startswith(start):
                return line
        raise AssertionError(f"no line {start!r}; the client said: {self.lines[-20:]}")

    def finish(self) -> "Play":
        """Read to the end."""
        for _ in self._read():
            pass
        self.process.wait(20)
        return self

    def _read(self) -> Iterator[str]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            yield self.lines[-1]

    @property
    def answers(self) -> list[Answer]:
        return [_read_answer(line) for line in self.of("action")]

    @property
    def counts(self) -> Counts:
        return Counts(*(int(part) for part in self.of("counts")[-1].split()[1:]))

    def of(self, kind: str) -> list[str]:
        """The lines of this kind, in order."""
        return [line for line in self.lines if line.startswith(kind)]


@dataclass(frozen=True)
class Program:
    """A client that can be run."""

    name: str
    folder: Path  # where it runs: Godot writes logs there
    command: tuple[str, ...]
    last: tuple[str, ...] = ()  # arguments after the driver's own

    def play(
        self,
        url: str,
        *,
        num_frames: int = 20,
        period_ms: int = 20,
        on_late: str = "neutral",
        patience_s: float = 5.0,
        resume_s: float = 20.0,
        reset_at: int = -1,
    ) -> Play:
        """Start to play; `reset_at`: the frame before which it starts anew."""
        arguments = (url, str(num_frames), str(period_ms), on_late, str(patience_s), str(resume_s), str(reset_at))
        command = (*self.command, *arguments, *self.last)
        process = subprocess.Popen(
            command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        return Play(process)


class MissingToolError(Exception):
    """A tool that is not installed here."""


def build(name: str, folder: Path) -> Program:
    """The program `name`, compiled into `folder` where need be. Raises MissingToolError."""
    match name:
        case "javascript":
            node, flag = need("node"), "--experimental-websocket"
            if subprocess.run([node, flag, "-e", "0"], capture_output=True, check=False).returncode:
                raise MissingToolError("a node that has WebSockets (20.10 or newer)")
            return Program(name, folder, (node, flag, "--no-warnings", str(HERE / "driver.mjs")))
        case "cpp":
            target = folder / "driver"
            source = (f"-I{CLIENTS / 'cpp'}", str(HERE / "driver.cpp"), "-o", str(target), "-pthread")
            run_compiler(need("g++"), "-std=c++17", *WARNINGS, *SANITIZERS, *source)
            return Program(name, folder, (str(target),))
        case "csharp":
            target = folder / "driver.exe"
            sources = (str(CLIENTS / "csharp" / "GiClient.cs"), str(HERE / "Driver.cs"))
            run_compiler(need("mcs"), "-langversion:7", "-warnaserror", f"-out:{target}", *sources)
            return Program(name, folder, (need("mono"), str(target)))
        case "godot3":
            engine = (need("godot3-server"), "--no-window", "--fixed-fps", "200", "-s", str(HERE / "driver_godot3.gd"))
            return Program(name, folder, (*engine, "--url"), (str(CLIENTS / "godot" / "gi_client_godot3.gd"),))
    raise ValueError(name)


def need(tool: str) -> str:
    """Where `tool` is. Raises MissingToolError."""
    found = shutil.which(tool)
    if found is None:
        raise MissingToolError(tool)
    return found


def run_compiler(*command: str) -> None:
    """Compile without a warning."""
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr

"""Stages: commands run one after the other, each remembered by a stamp: a second call does only what is missing.

A stamp holds the fingerprint of the stage's commands and of the stages before it. Same fingerprint and finished: the
stage is kept. Same and unfinished: its commands run again and resume by themselves. Another fingerprint: what the
stage wrote is removed first, for it answers another question. Rejected: make's timestamps, which know neither flags
nor half-done outputs.
"""

import hashlib
import json
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape

from gi_model import __version__
from gi_model.errors import GiError

Command = tuple[str, ...]  # "gi" as the first word is this installation's
GI: Command = (sys.executable, "-c", "from gi_model.cli import main; main()")
GRACE_S = 20.0  # for a child to save what it has
LOG_TAIL = 12  # lines of a failed background stage that are shown


class StageError(GiError):
    """A stage whose command failed; the command's own message stands above."""


@dataclass(frozen=True)
class Stage:
    """One step of a larger whole. outputs: what it writes. "{...}" in commands is filled in when it runs."""

    name: str
    commands: tuple[Command, ...]
    outputs: tuple[Path, ...]
    after: tuple["Stage", ...] = ()

    @property
    def fingerprint(self) -> str:
        """Changes with the commands, with those of every stage before, and with the version of gi-model.

        How many jobs run at a time is no part of what comes out: a study may go on with more, or with fewer.
        """
        commands = [_without_jobs(command) for command in self.commands]
        parts = [__version__, self.name, commands, [stage.fingerprint for stage in self.after]]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Stamp:
    """What is remembered of a stage."""

    fingerprint: str
    is_finished: bool
    seconds: float = 0.0


class Running:
    """A stage in the background, writing to a log; a thread notes when it ended."""

    def __init__(self, stage: Stage, process: subprocess.Popen[bytes], log: Path) -> None:
        self.stage, self.process, self.log = stage, process, log
        self.seconds = 0.0
        self._began = time.monotonic()
        self._watch = threading.Thread(target=self._note_end, daemon=True)
        self._watch.start()

    def wait(self) -> None:
        """Return when it has ended; `seconds` is what it took."""
        self._watch.join()

    def _note_end(self) -> None:
        self.process.wait()
        self.seconds = time.monotonic() - self._began


@dataclass(frozen=True)
class Beside:
    """A process in the background that is no stage: what the stages use."""

    process: subprocess.Popen[bytes]
    log: Path


class Stages:
    """Runs stages under `folder`. A context: leaving it ends every child process."""

    def __init__(self, folder: Path, console: Console) -> None:
        self.folder, self.console = folder, console
        self._children: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for child in self._children:
            if child.poll() is None:
                child.terminate()
        for child in self._children:
            _reap(child)

    # ------------------------------------------------------------------ running

    def run(self, stage: Stage, **filled: str) -> None:
        """Run `stage` in the terminal unless it is finished. Raises StageError with the command that failed."""
        if self.keep(stage):
            return
        began = self._begin(stage)
        for command in stage.commands:
            self._check(stage, command, self._spawn(_fill(command, filled)), filled)
        self._finish(stage, time.monotonic() - began)

    def start(self, stage: Stage) -> Running | None:
        """Start a stage of one command in the background; None if it is finished already."""
        if self.keep(stage):
            return None
        self._begin(stage, where=" in the background")
        (command,) = stage.commands
        log = self.folder / "logs" / f"{stage.name}.log"
        return Running(stage, self._spawn(command, log=log), log)

    def wait(self, running: Running | None) -> None:
        """Wait for a background stage. Raises StageError with the end of its log."""
        if running is None:
            return
        running.wait()
        try:
            self._check(running.stage, running.stage.commands[0], running.process, {})
        except StageError:
            tail = running.log.read_text(errors="replace").splitlines()[-LOG_TAIL:]
            self.console.print("\n".join(tail), style="dim", markup=False, highlight=False)
            raise
        self._finish(running.stage, running.seconds)

    @contextmanager
    def beside(self, name: str, command: Command) -> Iterator[Beside]:
        """Keep `command` running in the background for as long as the context is open; its output goes to a log."""
        log = self.folder / "logs" / f"{name}.log"
        child = self._spawn(command, log=log)
        try:
            yield Beside(child, log)
        finally:
            if child.poll() is None:
                child.terminate()
            _reap(child)

    def seconds(self, stages: Sequence[Stage]) -> dict[str, float]:
        """What each finished stage took."""
        stamps = {stage.name: self._read(stage) for stage in stages}
        return {name: stamp.seconds for name, stamp in stamps.items() if stamp and stamp.is_finished}

    # ------------------------------------------------------------------ stamps

    def keep(self, stage: Stage) -> bool:
        """Whether `stage` is finished and stands; says so."""
        stamp = self._read(stage)
        is_kept = (
            stamp is not None
            and stamp.is_finished
            and stamp.fingerprint == stage.fingerprint
            and all(path.exists() for path in stage.outputs)
        )
        if is_kept and stamp:
            self.console.print(f"[green]kept[/]  {escape(stage.name)} [dim]({stamp.seconds:.0f} s before)[/]")
        return is_kept

    def _begin(self, stage: Stage, where: str = "") -> float:
        stamp = self._read(stage)
        if stamp is None or stamp.fingerprint != stage.fingerprint:
            for path in stage.outputs:
                _remove(path)
        self._write(stage, Stamp(stage.fingerprint, is_finished=False))
        self.console.print(f"[bold]start[/] {escape(stage.name)}{where}")
        return time.monotonic()

    def _finish(self, stage: Stage, seconds: float) -> None:
        self._write(stage, Stamp(stage.fingerprint, is_finished=True, seconds=round(seconds, 1)))
        self.console.print(f"[green]done[/]  {escape(stage.name)} [dim]in {seconds:.0f} s[/]")

    def _stamp_path(self, stage: Stage) -> Path:
        return self.folder / "stamps" / f"{stage.name}.json"

    def _read(self, stage: Stage) -> Stamp | None:
        try:
            return Stamp(**json.loads(self._stamp_path(stage).read_text()))
        except (OSError, ValueError, TypeError):
            return None  # no stamp, or a torn one: the stage runs again

    def _write(self, stage: Stage, stamp: Stamp) -> None:
        path = self._stamp_path(stage)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(vars(stamp)))

    # ------------------------------------------------------------------ processes

    def _spawn(self, command: Command, *, log: Path | None = None) -> subprocess.Popen[bytes]:
        words = (*GI, *command[1:]) if command[0] == "gi" else command
        if log is None:
            child = subprocess.Popen(words)
        else:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("wb") as file:
                child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)
        self._children.append(child)
        return child

    def _check(self, stage: Stage, command: Command, child: subprocess.Popen[bytes], filled: Mapping[str, str]) -> None:
        code = child.wait()
        if code in (130, -signal.SIGINT):
            raise KeyboardInterrupt
        if code != 0:
            do = f"The same call goes on from here; this stage alone: {shlex.join(_fill(command, filled))}"
            raise StageError(f"stage {stage.name} failed", got=f"exit {code}", do=do)


def _fill(command: Command, filled: Mapping[str, str]) -> Command:
    return tuple(word.format(**filled) if filled else word for word in command)


def _without_jobs(command: Command) -> Command:
    if "--jobs" not in command:
        return command
    at = command.index("--jobs")
    return command[:at] + command[at + 2 :]


def _reap(child: subprocess.Popen[bytes]) -> None:
    try:
        child.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)

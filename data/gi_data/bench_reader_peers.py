"""Peers that live in an environment of their own: one run of a script of `bench_peers` is one sample."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gi_data.bench_reader_meter import Sample

_SCRIPTS: Final = Path(__file__).parent / "bench_peers"
TIMEOUT_S: Final = 1800


class PeerMissingError(Exception):
    """The environment cannot run this peer; the message says why. Never reaches a user: it becomes a note."""


@dataclass(frozen=True)
class PeerRun:
    """`script` of `bench_peers` under `python`, on `job`, which is written to `folder`."""

    python: Path
    script: str
    job: Mapping[str, Any]
    folder: Path

    def __call__(self) -> Sample:
        """Run it once. Raises PeerMissingError if the environment lacks it, or it fails."""
        path = self.folder / f"{self.script}.json"
        path.write_text(json.dumps(dict(self.job)))
        command = [str(self.python), str(_SCRIPTS / f"{self.script}.py"), str(path)]
        try:
            ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PeerMissingError(f"{self.script} cannot be run: {error}") from error
        if ran.returncode:
            last = (ran.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise PeerMissingError(f"{self.script} failed: {last}")
        return _read(self.script, ran.stdout)


def _read(script: str, output: str) -> Sample:
    try:
        result = json.loads(output.strip().splitlines()[-1])
        if "missing" in result:
            raise PeerMissingError(f"{script}: not there: {result['missing']}")
        return Sample(int(result["frames"]), float(result["cpu_s"]), float(result["wall_s"]))
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise PeerMissingError(f"{script} gave no result: {output[-200:]!r}") from error

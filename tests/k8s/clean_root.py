"""A root file system with a bare Python and nothing of ours: where an image's steps are played through.

The host's /usr and /etc stand in for the base image, in a mount namespace of its own; what the steps write lies in a
folder that is thrown away. That folder stands beside uv's cache, so that packages are linked and not copied.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.k8s.dockerfile import Instruction, Stage
from tests.k8s.rendering import ROOT

HOST = ("bin", "sbin", "lib", "lib64", "usr", "etc", "dev", "proc", "sys")
KEPT = ("PIP_", "UV_", "SSL_", "HTTP", "http", "NO_PROXY", "no_proxy")  # how this machine reaches its registries
PYTHON = Path(sys.base_prefix)


def is_possible() -> bool:
    """Whether this user may make namespaces."""
    words = ["unshare", "--mount", "true"]
    return (
        shutil.which("unshare") is not None and subprocess.run(words, capture_output=True, check=False).returncode == 0
    )


@dataclass
class CleanRoot:
    """Of one stage. Writable: what lies in `scratch`, shown at `ROOT/scratch`, and the folders that point into it."""

    path: Path
    scratch: Path
    cache: Path
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": f"{PYTHON}/bin:/usr/bin:/bin", "HOME": "/tmp"})
    directory: str = "/"
    user: str = "0:0"

    def __post_init__(self) -> None:
        self.environment |= {name: value for name, value in os.environ.items() if name.startswith(KEPT)}
        self.environment["UV_CACHE_DIR"] = f"/scratch/{self.cache.name}"
        for name in (*HOST, "scratch"):
            (self.path / name).mkdir(parents=True)
        if not PYTHON.is_relative_to("/usr"):
            (self.path / PYTHON.relative_to("/")).mkdir(parents=True)
        for name in ("opt", "src", "wheels", "tmp", "srv"):
            (self.scratch / f"files-{self.path.name}" / name).mkdir(parents=True)
            (self.path / name).symlink_to(f"/scratch/{self.scratch.name}/files-{self.path.name}/{name}")
        (self.scratch / f"files-{self.path.name}" / "tmp").chmod(0o1777)

    def outside(self, inside: str) -> Path:
        """Where a path inside lies on the host."""
        return self.scratch / f"files-{self.path.name}" / inside.lstrip("/")

    def play(self, stage: Stage, stages: "dict[str, CleanRoot]") -> None:
        """Carry out the instructions of `stage`, except those that need a package manager or make users."""
        for each in stage.instructions:
            if each.name == "WORKDIR":
                self.directory = each.text
            elif each.name == "ENV":
                pairs = (word.partition("=") for word in each.words)
                self.environment |= {key: value.replace("$PATH", self.environment["PATH"]) for key, _, value in pairs}
            elif each.name == "USER":
                self.user = each.text
            elif each.name == "COPY":
                self._copy(each, stages)
            elif each.name == "RUN" and "useradd" not in each.text:  # /etc is the host's
                self.run("sh", "-ec", each.text)

    def run(self, *words: str, limit_s: float = 600.0) -> str:
        """What a command inside prints. Raises AssertionError if it fails."""
        ran = subprocess.run(self.command(*words), capture_output=True, text=True, check=False, timeout=limit_s)
        assert ran.returncode == 0, f"{words}: {ran.stdout[-2000:]}{ran.stderr[-4000:]}"
        return ran.stdout

    def command(self, *words: str) -> list[str]:
        """The command line that runs `words` inside, as the stage's user, in its folder and environment."""
        root, user, group = str(self.path), *self.user.split(":")
        mounts = [f"mount --rbind /{name} {root}/{name}" for name in HOST if Path("/", name).exists()]
        mounts += [f"mount --bind {PYTHON} {root}{PYTHON}", f"mount --bind {self.scratch.parent} {root}/scratch"]
        variables = [f"{name}={value}" for name, value in self.environment.items()]
        script = "; ".join(["set -e", *mounts, f'exec chroot --userspec={user}:{group} --groups= {root} "$@"'])
        inside = ["sh", "-c", f'cd {self.directory}; exec "$@"', "inside", "env", "-i", *variables, *words]
        return ["unshare", "--mount", "--propagation=private", "sh", "-c", script, "clean", *inside]

    def _copy(self, each: Instruction, stages: "dict[str, CleanRoot]") -> None:
        *sources, destination = each.words
        other = stages[each.flags["from"]] if "from" in each.flags else None
        target = self.outside(os.path.join(self.directory, destination))  # noqa: PTH118 - paths inside may be absolute
        for source in sources:
            found = other.outside(source) if other else ROOT / source
            into = target / found.name if len(sources) > 1 or destination.endswith("/") else target
            if found.is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                link = os.link if other else shutil.copy2
                shutil.copytree(found, target, symlinks=True, ignore=None if other else ignored, copy_function=link)
            else:
                into.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(found, into if not into.is_dir() else into / found.name)


@contextmanager
def clean_roots(names: list[str]) -> Iterator[dict[str, CleanRoot]]:
    """Empty roots by name, gone afterwards."""
    uv = Path(sys.executable).parent / "uv"
    cache = Path(subprocess.run([uv, "cache", "dir"], capture_output=True, text=True, check=True).stdout.strip())
    cache.mkdir(parents=True, exist_ok=True)
    scratch = cache.parent / f"gi-image-{os.getpid()}"
    try:
        yield {name: CleanRoot(scratch / f"root-{name}", scratch, cache) for name in names}
    finally:
        shutil.rmtree(scratch, ignore_errors=True)

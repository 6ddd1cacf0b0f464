"""Virtual environments for programs that cannot live in ours: made once by uv, in the user's cache."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

UV: Final = Path(sys.executable).parent / "uv"


def environment(name: str, *installs: tuple[str, ...]) -> Path:
    """Its folder of programs; `installs`: arguments of `uv pip install`. Skips where the registry cannot be reached."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "gi-model-tests" / name
    python, done = folder / "bin" / "python", folder / "done"
    if not done.exists():
        make = ("venv", "--quiet", "--clear", "--python", sys.executable, str(folder))
        for step in (make, *(("pip", "install", "--quiet", "--python", str(python), *install) for install in installs)):
            ran = subprocess.run([str(UV), *step], capture_output=True, text=True, check=False)
            if ran.returncode:
                pytest.skip(f"{name} cannot be installed here: {ran.stderr.strip()[-300:]}")
        done.touch()
    return python.parent

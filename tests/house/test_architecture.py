"""The architecture is tested too: layers, owners of heavy dependencies, light imports, a truthful README."""

import ast
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from gi_model.cli import build_app

ROOT = Path(__file__).resolve().parents[2]
DEPARTMENTS = {"gi_model": ROOT, "gi_data": ROOT / "data", "gi_train": ROOT / "train", "gi_serve": ROOT / "serve"}
OWNERS: dict[str, str | tuple[str, ...]] = {
    "timm": "gi_model",
    "safetensors": ("gi_model", "gi_train/train_state.py", "gi_train/state_saver.py"),
    "av": "gi_data",
    "webdataset": "gi_data",
    "pyarrow": "gi_data",
    "fsspec": ("gi_data/urls.py", "gi_data/query.py"),
    "duckdb": "gi_data/query.py",
    "h5py": "gi_data/ingest/csgo",
    "mcap": "gi_data/ingest/owa",
    "google": ("gi_data/ingest/open_p2p", "gi_serve/recap.py"),
    "ray": "gi_data/engine_ray.py",
    "gymnasium": "gi_data/envs",
    "vizdoom": "gi_data/envs",
    "ale_py": "gi_data/envs",
    "mujoco": "gi_data/envs/robots",
    "mss": "gi_data/desktop",
    "Xlib": "gi_data/desktop",
    "pynput": "gi_data/desktop",
    "accelerate": "gi_train",
    "deepspeed": "gi_train",
    "peft": "gi_train/adapted_modules.py",
    "matplotlib": ("gi_train", "gi_data/card"),
    "fastapi": "gi_serve",
    "msgpack": "gi_serve/openpi_messages.py",
    "uvicorn": "gi_serve",
    "prometheus_client": "gi_serve",
    "opentelemetry": "gi_serve/tracing.py",
}
FENCES = re.compile(r"^```(?:bash|sh|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def sources() -> Iterator[tuple[str, Path]]:
    for package, folder in DEPARTMENTS.items():
        for path in sorted((folder / package).rglob("*.py")):
            yield path.relative_to(folder).as_posix(), path


def imports(path: Path) -> set[str]:
    """Top-level names that a module imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def test_imports_point_down() -> None:
    linter = Path(sys.executable).parent / "lint-imports"
    ran = subprocess.run([linter], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout


def test_each_heavy_dependency_has_one_owner() -> None:
    strays = []
    for name, path in sources():
        for dependency in imports(path) & set(OWNERS):
            allowed = OWNERS[dependency]
            if not name.startswith(allowed):
                strays.append(f"{name} imports {dependency}, which {allowed} owns")
    assert not strays


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("gi_model.actions", ("torch", "av", "fastapi", "gymnasium")),
        ("gi_model.frames", ("torch", "av", "fastapi", "gymnasium")),
        ("gi_serve.client", ("torch", "av", "fastapi", "gymnasium", "pyarrow")),
        ("gi_model.cli", ("torch", "av", "fastapi", "vizdoom")),
    ],
)
def test_a_players_machine_stays_small(module: str, forbidden: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print([m for m in {forbidden} if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_building_the_command_line_imports_nothing_heavy() -> None:
    heavy = ("torch", "av", "vizdoom", "fastapi")
    code = f"import sys, gi_model.cli as c; c.build_app(); print([m for m in {heavy} if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def documented_commands() -> list[tuple[str, list[str]]]:
    """(document, argv) of every `gi ...` line in shell blocks of README and docs."""
    found = []
    for document in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for block in FENCES.findall(document.read_text()):
            for line in block.replace("\\\n", " ").splitlines():
                argv = shlex.split(line, comments=True)
                if argv[:1] == ["gi"]:
                    found.append((document.name, argv[1:]))
    return found


@pytest.mark.parametrize(("document", "argv"), documented_commands())
def test_documented_commands_parse(document: str, argv: list[str]) -> None:
    """Each command and each of its flags exists; nothing is run."""
    command = typer.main.get_command(build_app())
    context = command.make_context("gi", list(argv), resilient_parsing=False)
    while isinstance(command, typer.core.TyperGroup):
        name, found, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        assert found is not None
        command = found
        context = command.make_context(name, rest, parent=context)


def test_the_readme_names_the_two_commands_and_every_department() -> None:
    text = (ROOT / "README.md").read_text()
    for needed in ("make demo", "make test", *DEPARTMENTS):
        assert needed in text
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`?make ([a-z]+)`?", text):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"README names make {target}"


def test_the_readme_tree_matches_the_files() -> None:
    """Every path in it exists, and no module is missing."""
    tree = re.search(r"<!-- tree -->\n```\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert tree is not None
    paths = [line.split()[0] for line in tree.group(1).splitlines() if line.strip()]
    assert [path for path in paths if not (ROOT / path).exists()] == []
    modules = {path.relative_to(ROOT).as_posix() for _, path in sources() if path.name != "__init__.py"}
    assert modules - set(paths) == set()


def test_nothing_unsafe_is_loaded() -> None:
    unsafe = re.compile(r"\bpickle\.|allow_pickle=True|yaml\.load\(|torch\.load\((?!.*weights_only=True)")
    assert [name for name, path in sources() if unsafe.search(path.read_text())] == []


def test_the_lock_holds_versions_and_hashes_but_no_addresses() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    pinned = re.findall(r"^([a-z0-9._-]+(?:\[[a-z,]+\])?)==", lock, re.MULTILINE)
    assert len(pinned) > 50
    assert lock.count("--hash=sha256:") >= len(pinned)

"""The examples that guides and the playground show: each runs as it stands, but for the server's address.

Unity's and Unreal's are compiled against declarations of what they use: neither engine is to be had here.
"""

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gi_model.actions import NEUTRAL, InputState
from gi_model.frames import Frame
from tests.serve.clients.environments import environment
from tests.serve.clients.programs import CLIENTS, HERE, WARNINGS, MissingToolError, need, run_compiler
from tests.serve.fake_steppers import EchoStepper
from tests.serve.pictures import paint, read_identity
from tests.serve.serving import Running, serving, wait_until

pytestmark = pytest.mark.slow  # compilers, and engines that start
ADDRESS = "http://127.0.0.1:8000"
NUM_FRAMES = 20


@pytest.fixture
def running() -> Iterator[Running]:
    with serving(EchoStepper()) as running:
        yield running
        wait_until(lambda: running.service.num_players == 0)  # every example ends its session, or was killed


@pytest.fixture
def web(running: Running, tmp_path: Path) -> Path:
    """The examples with the address of a server that runs."""
    shutil.copytree(CLIENTS / "js", tmp_path / "client")
    for path in sorted((CLIENTS / "examples").iterdir()):
        (tmp_path / "examples").mkdir(exist_ok=True)
        (tmp_path / "examples" / path.name).write_text(path.read_text().replace(ADDRESS, running.url))
    return tmp_path / "examples"


def tool(name: str) -> str:
    try:
        return need(name)
    except MissingToolError as missing:
        pytest.skip(f"not installed: {missing}")


def pressed(command: list[str]) -> list[str]:
    """The lines of a program's presses."""
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return [line for line in ran.stdout.splitlines() if line.startswith("press")]


class Game:
    """Shows numbered frames, and notes what is pressed."""

    def __init__(self) -> None:
        self.number, self.states = 0, list[InputState]()

    def grab(self) -> Frame | None:
        self.number += 1
        return paint(self.number) if self.number <= NUM_FRAMES else None

    def check(self) -> None:
        assert self.states[-1] == NEUTRAL
        played = [state for state in self.states if state.keys]
        assert len(played) > NUM_FRAMES // 2
        assert [read_identity(state) for state in played] == sorted({read_identity(state) for state in played})


def load(path: Path) -> Any:
    names: dict[str, Any] = {}
    exec(compile(path.read_text(), path.name, "exec"), names)
    return names["play_game"]


def test_python(web: Path) -> None:
    game = Game()
    load(web / "python.py")(game.grab, game.states.append)
    game.check()


def test_python_async(web: Path) -> None:
    game = Game()

    async def grab() -> Frame | None:
        return game.grab()

    async def play() -> None:
        await load(web / "python_async.py")(grab, game.states.append)

    asyncio.run(play())
    game.check()


def test_node(web: Path) -> None:
    node = tool("node")
    lines = pressed(
        [node, "--experimental-websocket", "--no-warnings", str(HERE / "run_node.mjs"), str(web / "node.mjs"), "20"]
    )
    assert "press KeyW" in lines
    assert lines[-1] == "press"


def test_any_engine_in_cpp(web: Path, tmp_path: Path) -> None:
    program = tmp_path / "program"
    folders = (f"-I{CLIENTS / 'cpp'}", f"-I{web}")
    run_compiler(
        tool("g++"), "-std=c++17", *WARNINGS, *folders, str(HERE / "run_engine.cpp"), "-o", str(program), "-pthread"
    )
    lines = pressed([str(program)])
    assert "press KeyW" in lines
    assert lines[-1] == "press"


def test_unreal_compiles(running: Running) -> None:
    folders = (f"-I{CLIENTS / 'cpp'}", f"-I{HERE / 'stubs'}")
    source = str(CLIENTS / "examples" / "UnrealPlayer.cpp")
    run_compiler(tool("g++"), "-std=c++17", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", *folders, source)


def test_unity_compiles(running: Running, tmp_path: Path) -> None:
    sources = [CLIENTS / "csharp" / "GiClient.cs", HERE / "stubs" / "Unity.cs", CLIENTS / "examples" / "UnityPlayer.cs"]
    flags = (
        "-langversion:7",
        "-warnaserror",
        "-nowarn:0649,0169",
        "-target:library",
        f"-out:{tmp_path / 'player.dll'}",
    )
    run_compiler(tool("mcs"), *flags, *map(str, sources))


def test_godot3_scene(web: Path, tmp_path: Path) -> None:
    """A whole project, headless: no picture is drawn there, so the session opens, and nothing is pressed."""
    engine, project = tool("godot3-server"), tmp_path / "project"
    project.mkdir()
    (project / "project.godot").write_text('config_version=4\n[application]\nrun/main_scene="res://main.tscn"\n')
    resource = '[gd_scene load_steps=2 format=2]\n[ext_resource path="res://player.gd" type="Script" id=1]\n'
    (project / "main.tscn").write_text(resource + '[node name="Main" type="Node"]\nscript = ExtResource( 1 )\n')
    shutil.copy(web / "godot3_player.gd", project / "player.gd")
    shutil.copy(CLIENTS / "godot" / "gi_client_godot3.gd", project)
    command = [engine, "--path", str(project), "--no-window", "--fixed-fps", "100"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if line.startswith("gi "):
            break
    process.terminate()
    process.wait(20)
    process.stdout.close()
    assert said[-1].strip() == "gi open: echo plays", said
    assert not [line for line in said if "SCRIPT ERROR" in line]


@pytest.mark.parametrize("path", ["godot/gi_client_godot4.gd", "examples/godot4_player.gd"])
def test_godot4_parses(path: str) -> None:
    """Godot 4 itself is not to be had here: gdtoolkit's parser of its language, and a look for Godot 3's names."""
    parser = environment("gdtoolkit-4.5.0", ("gdtoolkit==4.5.0",)) / "gdparse"
    ran = subprocess.run([str(parser), str(CLIENTS / path)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    gone = (
        "PoolByteArray",
        "PoolStringArray",
        "WebSocketClient",
        "OS.get_ticks",
        "emit_signal",
        "KEY_CONTROL",
        "scancode",
    )
    assert not [word for word in gone if word in (CLIENTS / path).read_text()]

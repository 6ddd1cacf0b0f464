"""Post-training a body with direct actuators: its head learns from pictures, resumes, and plays."""

from pathlib import Path

import numpy as np
import pytest
import torch

from gi_data.agents import Agent, make_agent
from gi_data.demonstrations import body_of, take_demonstrations
from gi_data.embodied import embodied
from gi_data.recording import RecordingWriter
from gi_model.actions import Bindings, InputState
from gi_model.adapters import load_adapter, read_adapter_fingerprint
from gi_model.checkpoint import save_policy
from gi_model.config import preset
from gi_model.embodiment import Actuator, Camera, Embodiment
from gi_model.errors import ConfigError
from gi_model.frames import Frame
from gi_model.policy import Policy
from gi_train.posttrain import posttrain
from gi_train.posttrain_config import PosttrainConfig
from gi_train.run_files import RunPaths, read_rows
from gi_train.schedule import lr_at
from gi_train.trainee import Trainee
from tests.conftest import Barcodes, MakeCorpus
from tests.train.fake_game import FakeGame

FPS = 20.0
BODY = Embodiment(
    "mast",
    FPS,
    100.0,
    200.0,
    Camera(96, 32, FPS),
    (
        Actuator("pan", "rad", 0.0, -1.0, 1.0, 20.0, None, levels=33),
        Actuator("tilt", "rad", 0.0, -0.5, 0.5, 20.0, None, levels=9),
    ),
)
SETTINGS = PosttrainConfig(rank=4)
SETTINGS = SETTINGS.replace(
    train=SETTINGS.train.replace(
        steps=60, batch_size=8, window_ticks=5, warmup_steps=5, log_every=10, evaluate_every=20, save_every=20
    )
)


def is_bright_left(tick: int) -> bool:
    return tick // 5 % 2 == 0


def picture(tick: int) -> Frame:
    """One half is bright, and there the mast is to look."""
    frame = np.zeros((32, 96, 3), np.uint8)
    frame[:, :48] += np.uint8(220 * is_bright_left(tick))
    frame[:, 48:] += np.uint8(220 * (not is_bright_left(tick)))
    return frame


def command(tick: int) -> tuple[float, float]:
    return (-0.75, 0.25) if is_bright_left(tick) else (0.5, -0.5)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("base") / "checkpoint"
    save_policy(Policy(preset("debug").replace(height=32, width=48, fps=FPS)), folder)
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, barcodes: Barcodes, make_corpus: MakeCorpus) -> Path:
    folder = tmp_path_factory.mktemp("mast")
    info = barcodes.info("mast", bindings=Bindings(), extra=embodied(BODY))
    for index in range(3):
        with RecordingWriter(folder / "recordings", f"r-{index}", info) as writer:
            for tick in range(60):
                writer.append(picture(tick), InputState(commands=command(tick)), t_ns=tick * 50_000_000)
    return make_corpus(folder / "recordings", folder / "corpus", val_fraction=0.0)


def start(base: Path, corpus: Path, out: Path, settings: PosttrainConfig = SETTINGS) -> Trainee:
    demonstrations = take_demonstrations(corpus, RunPaths(out).demonstrations, episodes=3)
    return Trainee.start(base, demonstrations, out=out, config=settings, body=body_of(demonstrations))


@pytest.fixture(scope="module")
def trained(base: Path, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "mast"
    posttrain(start(base, corpus, out))
    return out


class Mast(FakeGame):
    """A game whose body's actuators nothing but a command drives."""

    def __init__(self) -> None:
        super().__init__("fake/mast")
        self.fps, self.embodiment = FPS, BODY


def make_player(base: Path, run: Path) -> Agent:
    return make_agent(f"policy:{base}+{RunPaths(run).adapter}", Mast())


def test_what_it_sees_is_what_it_commands(base: Path, trained: Path) -> None:
    agent = make_player(base, trained)
    agent.reset(seed=0)
    off = [np.abs(np.array(agent.act(picture(tick)).commands) - command(tick)) for tick in range(40)]
    assert (np.array(off) < (0.2, 0.2)).all(axis=1).mean() > 0.8


def test_a_base_alone_is_refused_where_nothing_else_commands(base: Path) -> None:
    with pytest.raises(ConfigError, match="nothing commands fake/mast; got no commands; expected pan, tilt"):
        make_agent(f"policy:{base}", Mast())


def test_held_out_nats_are_those_of_tokens_and_commands(trained: Path) -> None:
    first, *_, last = [row for row in read_rows(RunPaths(trained).metrics) if row["kind"] == "val"]
    assert 3 * float(last["nll/commands"]) < float(first["nll/commands"])
    factors = [float(value) for name, value in last.items() if name.startswith("nll/")]
    assert float(last["nll"]) == pytest.approx(sum(factors), rel=1e-3)
    assert load_adapter(RunPaths(trained).adapter).config.embodiment == BODY


def test_a_killed_run_goes_on_to_the_very_same_head(
    base: Path, corpus: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(config: object, step: int) -> float:
        if step == 25:
            raise RuntimeError("killed")
        return lr_at(config, step)  # type: ignore[arg-type]

    out = tmp_path / "mast"
    monkeypatch.setattr("gi_train.posttrain.lr_at", die)
    with pytest.raises(RuntimeError, match="killed"):
        posttrain(start(base, corpus, out))
    monkeypatch.undo()
    posttrain(start(base, corpus, out))
    first, second = (read_adapter_fingerprint(RunPaths(place).adapter) for place in (out, trained))
    assert first == second


def test_the_head_alone_learns_it_too(base: Path, corpus: Path, tmp_path: Path) -> None:
    result = posttrain(start(base, corpus, tmp_path / "mast", SETTINGS.replace(method="head")))
    tensors = load_adapter(result.folder).tensors
    assert {name.partition(".")[0] for name in tensors} == {"decoder", "command_head"}
    assert result.values["nll/commands"] < 2.0


def test_a_checkpoint_takes_no_head(base: Path, corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="direct actuators need an adapter; got pan, tilt"):
        start(base, corpus, tmp_path, SETTINGS.replace(method="full"))

"""A run tells Kubeflow Trainer how far it is, and never minds whether anybody listens."""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from gi_data.blend import Blend
from gi_data.corpus import Corpus
from gi_model.config import preset
from gi_model.errors import ConfigError
from gi_train import kubeflow_status
from gi_train.config import PRESETS
from gi_train.kubeflow_status import KubeflowStatus, RunStatus
from gi_train.pretrain import pretrain
from tests.train.kubeflow_server import StatusServer, status_server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StatusServer]:
    with status_server(tmp_path) as running:
        yield running


def reporter(server: StatusServer, said: list[str] | None = None) -> KubeflowStatus:
    made = KubeflowStatus.from_environment(
        server.environment, say=lambda text: None if said is None else said.append(text)
    )
    assert made is not None
    return made


def at(step: int, *, seconds_left: float | None = 60.4) -> RunStatus:
    return RunStatus(step, 200, seconds_left, {"loss": 1 / 3})


def test_a_run_reports_from_its_first_steps_to_its_last(
    server: StatusServer,
    corpus_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    config = PRESETS["debug"].replace(steps=10, log_every=5)
    pretrain(Blend([Corpus(corpus_path)]), tmp_path / "run", preset("debug"), config)
    assert server.progress[-1] == 100
    last = server.got[-1].trainer_status
    assert last is not None
    assert last.metrics is not None
    assert {metric.name for metric in last.metrics} == {"loss", "frames_per_s", "step"}
    assert all(math.isfinite(float(metric.value)) for metric in last.metrics)
    assert last.estimated_remaining_seconds == 0
    lines = [line for line in capfd.readouterr().out.splitlines() if line.startswith("pretrain ")]
    assert lines[-1].startswith("pretrain 10/10  loss ")
    assert lines[-1].endswith("frames/s  0:00:00 left")


def test_the_newest_state_is_what_arrives_late(server: StatusServer) -> None:
    """Of what is told within the period, the first goes at once, the last at the end, and nothing between."""
    status = reporter(server)
    for step in (2, 4, 6, 199):
        status.report(at(step))
    status.close()
    assert server.progress == [1, 99]


def test_a_token_that_was_replaced_is_used(server: StatusServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubeflow_status, "PERIOD_S", 0.0)
    status = reporter(server)
    status.report(at(0))
    assert status._flight is not None
    status._flight.result()
    server.token_file.write_text("second")
    status.report(at(200, seconds_left=None))
    status.close()
    assert server.refused == []
    assert server.progress == [0, 100]
    last = server.got[-1].trainer_status
    assert last is not None
    assert last.estimated_remaining_seconds is None


@pytest.mark.parametrize("answer", [403, 404, 422, 500])
def test_a_server_that_refuses_is_complained_about_once(
    server: StatusServer, answer: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubeflow_status, "PERIOD_S", 0.0)
    said: list[str] = []
    status, server.answer = reporter(server, said), answer
    for step in (1, 2, 3):
        status.report(at(step))
        assert status._flight is not None
        status._flight.result()
    status.close()
    assert len(server.refused) == 3
    assert len(said) == 1
    assert str(answer) in said[0]


@pytest.mark.parametrize("break_it", ["token", "port", "trust"])
def test_nobody_there_costs_no_step(server: StatusServer, tmp_path: Path, break_it: str) -> None:
    environment, said = dict(server.environment), list[str]()
    if break_it == "token":
        server.token_file.unlink()
    elif break_it == "port":
        environment["KUBEFLOW_TRAINER_SERVER_URL"] = "https://127.0.0.1:9/status"
    else:
        other = tmp_path / "other"
        other.mkdir()
        with status_server(other) as stranger:
            environment["KUBEFLOW_TRAINER_SERVER_CA_CERT"] = str(stranger.ca_file)
    status = KubeflowStatus.from_environment(environment, say=said.append)
    assert status is not None
    status.report(at(1))
    status.close()
    assert server.got == []
    assert len(said) == 1


def test_without_the_variables_there_is_nobody_to_tell() -> None:
    assert KubeflowStatus.from_environment({}, say=print) is None


@pytest.mark.parametrize("name", ["CA_CERT", "TOKEN"])
def test_half_of_the_variables_are_refused(server: StatusServer, name: str) -> None:
    environment = dict(server.environment)
    del environment[f"KUBEFLOW_TRAINER_SERVER_{name}"]
    with pytest.raises(ConfigError, match=f"KUBEFLOW_TRAINER_SERVER_{name} is not"):
        KubeflowStatus.from_environment(environment, say=print)


def test_a_ca_file_that_is_none_is_refused(server: StatusServer, tmp_path: Path) -> None:
    environment = server.environment | {"KUBEFLOW_TRAINER_SERVER_CA_CERT": str(tmp_path / "none")}
    with pytest.raises(ConfigError, match="CA_CERT"):
        KubeflowStatus.from_environment(environment, say=print)

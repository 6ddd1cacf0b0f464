"""`gi bridge`: its flags reach the bridge, and what cannot work is said at once."""

from pathlib import Path

from typer.testing import CliRunner

from gi_model.cli import build_app
from gi_model.errors import ConfigError, ServeError
from tests.serve.fake_steppers import EchoStepper
from tests.serve.robot_bodies import rover
from tests.serve.serving import serving


def test_a_missing_file_a_missing_server_and_a_body_without_twist_are_told(tmp_path: Path) -> None:
    run, path = CliRunner().invoke, tmp_path / "embodiment.toml"
    missing = run(build_app(), ["bridge", "ros2", "--embodiment", str(path)])
    assert isinstance(missing.exception, ConfigError)
    assert str(path) in str(missing.exception)
    path.write_text(rover().to_toml())
    nobody = run(build_app(), ["bridge", "ros2", "--embodiment", str(path), "--server", "http://127.0.0.1:9"])
    assert isinstance(nobody.exception, ServeError)
    with serving(EchoStepper()) as running:
        command = ["bridge", "ros2", "--server", running.url]
        stray = run(build_app(), [*command, "--embodiment", str(path)])
        assert "no Twist has; got drive" in str(stray.exception)
        bodiless = run(build_app(), command)
        assert "no body to drive" in str(bodiless.exception)

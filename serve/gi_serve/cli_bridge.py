"""`gi bridge`: a served policy at the wheel of a robot that speaks another language."""

from pathlib import Path
from typing import Annotated

import typer

bridge_app = typer.Typer(no_args_is_help=True, help="Drive a robot that speaks another language.")


def register(app: typer.Typer) -> None:
    """Add `gi bridge`."""
    app.add_typer(bridge_app, name="bridge")


@bridge_app.callback()
def _group() -> None:
    """Drive a robot that speaks another language."""


@bridge_app.command("ros2")
def ros2_command(
    server: Annotated[str, typer.Option(help="Address of a `gi serve`.")] = "http://127.0.0.1:8000",
    rosbridge: Annotated[str, typer.Option(help="Address of a rosbridge server.")] = "ws://127.0.0.1:9090",
    embodiment: Annotated[
        Path | None, typer.Option(help="embodiment.toml of the robot. Default: the adapter's.")
    ] = None,
    adapter: Annotated[str | None, typer.Option(help="Of the server, to drive with.")] = None,
    image_topic: Annotated[str, typer.Option(help="sensor_msgs/CompressedImage.")] = "/camera/image_raw/compressed",
    command_topic: Annotated[str, typer.Option(help="geometry_msgs/Twist.")] = "/cmd_vel",
    joy_topic: Annotated[str, typer.Option(help="sensor_msgs/Joy, for a person to take over. Default: none.")] = "",
    takeover_button: Annotated[int, typer.Option(help="Held while the person drives.", min=0)] = 4,
    stop_button: Annotated[int, typer.Option(help="Stops the robot until the release button.", min=0)] = 1,
    release_button: Annotated[int, typer.Option(min=0)] = 7,
) -> None:
    """Drive a ROS 2 robot through rosbridge: compressed images in, cmd_vel out. Ctrl-C ends it, at neutral."""
    import signal

    from gi_model.embodiment import read_embodiment
    from gi_serve.client import Client, SessionConfig
    from gi_serve.logs import configure_logs
    from gi_serve.ros2_bridge import BridgeConfig, Ros2Bridge
    from gi_serve.ros2_messages import JoyButtons

    configure_logs("text", level="warning")
    body = None if embodiment is None else read_embodiment(embodiment)
    buttons = JoyButtons(takeover_button, stop_button, release_button)
    config = BridgeConfig(rosbridge, image_topic, command_topic, joy_topic, buttons)
    bridge = Ros2Bridge(Client(server), SessionConfig(embodiment=body, adapter=adapter), config)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: bridge.stop())
    name, model = bridge.body.name, bridge.model
    typer.echo(f"{model} drives {name} at {bridge.body.command_hz:g} Hz on {command_topic}; Ctrl-C ends it.")
    bridge.run()

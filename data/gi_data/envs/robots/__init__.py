"""Simulated robots with real physics (MuJoCo), driven by gaming-style inputs through an embodiment.

    robot/rover         a wheeled robot with a gamepad: reach blue balls on the floor of a cluttered arena
    robot/rover_keys    the same body driven as a game is: KeyW, KeyS, and the mouse
    robot/rover_direct  the same body without controls: a policy commands its velocities by a command head
    robot/drone         a camera drone with two sticks (mode 2): reach orange balloons among pillars
    ..._unseen          the same in arenas of another kind: only for evaluation, never recorded

Ticks and pictures are those of the Doom games (17.5 Hz, 160x120, 90 degrees wide), so that what a policy learned there
about motion from one frame to the next holds here: a rate or a view of its own would have been one more thing to adapt.
"""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gi_data.envs.robots.environment import RobotEnvironment

BODIES: Final = ("rover", "rover_keys", "rover_direct", "drone")
UNSEEN: Final = "_unseen"


def list_robots() -> list[str]:
    """Names of all robot games."""
    return [f"robot/{body}{suffix}" for body in BODIES for suffix in ("", UNSEEN)]


def make_robot(name: str) -> "RobotEnvironment":
    """Make the robot game called `name`, one of `list_robots()`."""
    from gi_data.envs.robots.arena import SEEN_RANGES, UNSEEN_RANGES
    from gi_data.envs.robots.drone import Drone
    from gi_data.envs.robots.environment import RobotEnvironment
    from gi_data.envs.robots.rover import Rover

    title = name.removeprefix("robot/")
    body_name = title.removesuffix(UNSEEN)
    body = Drone() if body_name == "drone" else Rover(body_name)
    return RobotEnvironment(name, body, UNSEEN_RANGES if title.endswith(UNSEEN) else SEEN_RANGES)

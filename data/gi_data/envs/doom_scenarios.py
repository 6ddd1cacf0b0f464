"""Which Doom games there are, what the player may press in each, and what counts as score.

    doom/SCENARIO      the scenarios shipped with ViZDoom, by the name of their .cfg
    doom/gather        items on generated maps (`gather_maps`)
    freedoom/MAP       a level of the free games Freedoom 1 (E1M1 ... E4M9) and 2 (MAP01 ... MAP32)

A shipped scenario keeps exactly the buttons its authors gave it, so that scores compare with published ones; turning
becomes mouse motion, as a person would play it. Multiplayer scenarios are left out: they wait for other machines.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import vizdoom

from gi_model.actions import AxisBinding, Bindings
from gi_model.errors import ConfigError

Score = Literal["kills", "items", "tics", "reward"]

DEGREES_PER_COUNT: Final = 0.25
TIMEOUT_TICS: Final = 35 * 180  # of a Freedoom level: three minutes

# Engine button -> semantic action and control. Buttons that are missing here are not offered to the player.
# ViZDoom's "look" counts upwards, the mouse downwards.
DIGITAL: Final[dict[str, tuple[str, str]]] = {
    "MOVE_FORWARD": ("move_forward", "KeyW"),
    "MOVE_BACKWARD": ("move_backward", "KeyS"),
    "MOVE_LEFT": ("move_left", "KeyA"),
    "MOVE_RIGHT": ("move_right", "KeyD"),
    "ATTACK": ("attack", "MouseLeft"),
    "USE": ("use", "KeyE"),
    "JUMP": ("jump", "Space"),
    "CROUCH": ("crouch", "ControlLeft"),
    "SPEED": ("run", "ShiftLeft"),
    "SELECT_NEXT_WEAPON": ("next_weapon", "KeyX"),
    "SELECT_PREV_WEAPON": ("previous_weapon", "KeyZ"),
    **{f"SELECT_WEAPON{digit}": (f"weapon_{digit}", f"Digit{digit}") for digit in range(1, 8)},
}
ANALOGUE: Final[dict[str, tuple[str, AxisBinding]]] = {
    "TURN_LEFT_RIGHT_DELTA": ("turn", AxisBinding("motion.x", DEGREES_PER_COUNT)),
    "LOOK_UP_DOWN_DELTA": ("look", AxisBinding("motion.y", -DEGREES_PER_COUNT)),
}
_TURNING: Final = {"TURN_LEFT", "TURN_RIGHT"}
_UNPLAYABLE: Final = {"cig", "multi", "multi_duel", "doom", "doom2", "freedoom1", "freedoom2", "oblige", "learning"}
_SCORES: Final[dict[str, Score]] = {
    "defend_the_center": "kills",
    "defend_the_line": "kills",
    "deathmatch": "kills",
    "health_gathering": "tics",
    "health_gathering_supreme": "tics",
    "take_cover": "tics",
}
_FREEDOOM_BUTTONS: Final = (
    *("MOVE_FORWARD", "MOVE_BACKWARD", "MOVE_LEFT", "MOVE_RIGHT", "ATTACK", "USE", "JUMP", "SPEED"),
    *("SELECT_NEXT_WEAPON", "SELECT_PREV_WEAPON", "TURN_LEFT_RIGHT_DELTA", "LOOK_UP_DOWN_DELTA"),
)
_GATHER_BUTTONS: Final = ("MOVE_FORWARD", "MOVE_BACKWARD", "MOVE_LEFT", "MOVE_RIGHT", "TURN_LEFT_RIGHT_DELTA")


@dataclass(frozen=True)
class DoomScenario:
    """One game: `config` is a ViZDoom .cfg, or `wad` and `level` name a level; `is_generated`: maps follow the seed."""

    name: str
    buttons: tuple[str, ...]
    score: Score
    config: Path | None = None
    wad: Path | None = None
    level: str = ""
    timeout_tics: int = TIMEOUT_TICS
    is_generated: bool = False

    @property
    def bindings(self) -> Bindings:
        """Device controls of the buttons."""
        digital = dict(DIGITAL[button] for button in self.buttons if button in DIGITAL)
        return Bindings(digital, dict(ANALOGUE[button] for button in self.buttons if button in ANALOGUE))


def list_scenarios() -> list[str]:
    """Names of all Doom games."""
    shipped = [path.stem for path in sorted(Path(vizdoom.scenarios_path).glob("*.cfg")) if path.stem not in _UNPLAYABLE]
    episodes = [f"E{episode}M{level}" for episode in range(1, 5) for level in range(1, 10)]
    levels = [f"MAP{level:02d}" for level in range(1, 33)]
    return ["doom/gather", *(f"doom/{name}" for name in shipped), *(f"freedoom/{name}" for name in episodes + levels)]


def find_scenario(name: str) -> DoomScenario:
    """The Doom game called `name`, one of `list_scenarios()`."""
    family, _, title = name.partition("/")
    if name == "doom/gather":
        return DoomScenario(name, _GATHER_BUTTONS, "items", timeout_tics=35 * 30, is_generated=True)
    if family == "doom":
        config = Path(vizdoom.scenarios_path) / f"{title}.cfg"
        return DoomScenario(name, _buttons_of(config), _SCORES.get(title, "reward"), config=config)
    if family == "freedoom":
        wad = Path(vizdoom.__file__).parent / ("freedoom1.wad" if title.startswith("E") else "freedoom2.wad")
        return DoomScenario(name, _FREEDOOM_BUTTONS, "kills", wad=wad, level=title)
    raise ConfigError("not a Doom game", got=name, expected="doom/... or freedoom/...")


def _buttons_of(config: Path) -> tuple[str, ...]:
    """Buttons of a shipped scenario, turning keys replaced by the mouse."""
    game = vizdoom.DoomGame()
    game.load_config(str(config))
    names = [button.name for button in game.get_available_buttons()]
    turns = any(name in _TURNING for name in names) and "TURN_LEFT_RIGHT_DELTA" not in names
    kept = [name for name in names if name in DIGITAL or name in ANALOGUE]
    return (*kept, "TURN_LEFT_RIGHT_DELTA") if turns else tuple(kept)

"""Writers of other people's formats: frames and input states -> small files to each format's own specification.

For tests, and to make samples of each format from real play. A format stores what it can: CS:GO's motion becomes that
of the nearest bin, open-p2p's annotation t + 1 holds what the state of frame t says.
"""

import json
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import h5py

from gi_data.ingest import vpt_keys
from gi_data.ingest.csgo_actions import encode
from gi_data.ingest.csgo_file import HEIGHT, WIDTH
from gi_data.ingest.open_p2p_messages import MESSAGES
from gi_data.ingest.open_p2p_names import PAD_FIELDS
from gi_data.ingest.vpt_states import SCREEN
from gi_data.video_writer import VideoWriter
from gi_model.actions import MOUSE_BUTTONS, NEUTRAL, InputState
from gi_model.frames import Frame, resize

_VPT_KEYS: Final = {code: name for name, code in vpt_keys.KEYS.items()}
_VPT_BUTTONS: Final = {code: number for number, code in vpt_keys.BUTTONS.items()}
_P2P_KEYS: Final = {
    **{f"Arrow{side}": f"{side}Arrow" for side in ("Up", "Down", "Left", "Right")},
    **{f"{name}{side}": f"{side}{name}" for side in ("Left", "Right") for name in ("Shift", "Control", "Alt")},
}


def write_video(path: Path, frames: Iterable[Frame], fps: float) -> None:
    """Encode frames of one size, every one a tick."""
    writer: VideoWriter | None = None
    for frame in frames:
        if writer is None:
            writer = VideoWriter(path, fps=fps, height=frame.shape[0], width=frame.shape[1])
        writer.append(frame)
    if writer is not None:
        writer.close()


def vpt_line(state: InputState, before: InputState = NEUTRAL, **changes: Any) -> dict[str, Any]:
    """One line of VPT labels: a state with a cursor is one in an open window of the game."""
    x, y = (0.5, 0.5) if state.cursor is None else state.cursor
    mouse = {
        "x": x * SCREEN[0],
        "y": y * SCREEN[1],
        "dx": float(state.motion[0]),
        "dy": float(state.motion[1]),
        "scaledX": x * SCREEN[0] - SCREEN[0] / 2,
        "scaledY": y * SCREEN[1] - SCREEN[1] / 2,
        "dwheel": float(-state.wheel[1]),
        "buttons": sorted(_VPT_BUTTONS[button] for button in state.buttons),
        "newButtons": sorted(_VPT_BUTTONS[button] for button in state.buttons - before.buttons),
    }
    keyboard = {
        "keys": sorted(_VPT_KEYS[key] for key in state.keys),
        "newKeys": sorted(_VPT_KEYS[key] for key in state.keys - before.keys),
        "chars": "",
    }
    line = {"mouse": mouse, "keyboard": keyboard, "isGuiOpen": state.cursor is not None, "isGuiInventory": False}
    return line | {"hotbar": 0, "yaw": 0.0, "pitch": 0.0, "tick": 0, "milli": 0, "inventory": []} | changes


def write_vpt(folder: Path, frames: Iterable[Frame], states: Sequence[InputState], name: str = "play") -> Path:
    """NAME.mp4 and NAME.jsonl at 20 Hz; returns the latter."""
    folder.mkdir(parents=True, exist_ok=True)
    write_video(folder / f"{name}.mp4", frames, 20)
    pairs = zip(states, [NEUTRAL, *states], strict=False)
    lines = [json.dumps(vpt_line(state, before, tick=tick)) for tick, (state, before) in enumerate(pairs)]
    path = folder / f"{name}.jsonl"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def write_csgo(folder: Path, frames: Iterable[Frame], states: Iterable[InputState], name: str = "hdf5_dm_1") -> Path:
    """NAME.hdf5 with data sets of each frame, resized to 150 x 280, 16 Hz; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    with h5py.File(folder / f"{name}.hdf5", "w") as file:
        for number, (frame, state) in enumerate(zip(frames, states, strict=True)):
            file[f"frame_{number}_x"] = resize(frame, HEIGHT, WIDTH)[..., ::-1]
            file[f"frame_{number}_xaux"] = [0.0] * 54
            file[f"frame_{number}_y"] = encode(state)
            file[f"frame_{number}_helperarr"] = [0.0, 0.0]
    return folder / f"{name}.hdf5"


def p2p_action(state: InputState, *, known: bool = True) -> Any:
    """A LowLevelAction that says what is held, and what moved."""
    action = MESSAGES["LowLevelAction"](is_known=known)
    action.keyboard.keys.extend(sorted(p2p_key(key) for key in state.keys))
    action.mouse.buttons_down.extend(sorted(str(MOUSE_BUTTONS.index(button)) for button in state.buttons))
    action.mouse.mouse_delta_px.x, action.mouse.mouse_delta_px.y = state.motion
    action.mouse.scroll_delta_px.x, action.mouse.scroll_delta_px.y = state.wheel[0], -state.wheel[1]
    if (pad := state.gamepad) is not None:
        for field, name in PAD_FIELDS.items():
            setattr(action.game_pad.buttons, field, name in pad.buttons)
        for field, (x, y), name in (
            ("left_stick", pad.left_stick, "GamepadLeftStick"),
            ("right_stick", pad.right_stick, "GamepadRightStick"),
        ):
            stick = getattr(action.game_pad, field)
            stick.x, stick.y, stick.pressed = x, -y, name in pad.buttons
        action.game_pad.left_trigger, action.game_pad.right_trigger = pad.triggers
    return action


def p2p_key(code: str) -> str:
    """How the recorder spells a key."""
    plain = code.removeprefix("Key").removeprefix("Digit")
    return plain.lower() if len(plain) == 1 else _P2P_KEYS.get(code, plain)


def p2p_annotation(states: Sequence[InputState], fps: float = 20.0, env: str = "doom") -> Any:
    """A VideoAnnotation for one frame more than there are states: annotation t + 1 says what was done in tick t."""
    annotation = MESSAGES["VideoAnnotation"](version=1)
    annotation.metadata.frames_per_second = fps
    annotation.metadata.env.env = env
    for number, state in enumerate([NEUTRAL, *states]):
        frame = annotation.frame_annotations.add(frame_time=round(number * 1e9 / fps))
        frame.user_action.CopyFrom(p2p_action(state))
    return annotation


def write_open_p2p(
    folder: Path, frames: Sequence[Frame], states: Sequence[InputState], fps: float = 20.0, annotation: Any = None
) -> Path:
    """FOLDER/annotation.proto and 192x192.mp4; the last frame has no action of its own, so its state is left out."""
    folder.mkdir(parents=True, exist_ok=True)
    write_video(folder / "192x192.mp4", frames, fps)
    annotation = annotation or p2p_annotation(states[: len(frames) - 1], fps)
    (folder / "annotation.proto").write_bytes(annotation.SerializeToString())
    return folder


def pack(archive: Path, *folders: Path) -> Path:
    """Put folders into a .tar or .tar.gz, under their own names."""
    with tarfile.open(archive, "w:gz" if archive.suffix != ".tar" else "w") as tar:
        for folder in folders:
            tar.add(folder, arcname=folder.name)
    return archive

"""What films show in the mouse's place where there is none: sticks and triggers, and commands of direct actuators."""

from collections.abc import Sequence

import numpy as np
from PIL import ImageDraw

from gi_model.actions import Gamepad
from gi_train.overlay_ink import FAINT, INK, LINE, LIT, Box, font
from gi_train.trace import Trace

RADIUS = 32  # of a stick's circle, pixels


def paint_gamepad(draw: ImageDraw.ImageDraw, box: Box, pad: Gamepad) -> None:
    """Two sticks, and between them the triggers as columns."""
    draw.rounded_rectangle(box, 8, outline=LINE, width=2)
    draw.text((box[0] + 8, box[1] + 6), "GAMEPAD", FAINT, font(11))
    y = (box[1] + box[3]) / 2 + 8
    for x, (across, down) in ((box[0] + 46, pad.left_stick), (box[2] - 46, pad.right_stick)):
        draw.ellipse((x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS), outline=LINE, width=2)
        tip = (x + across * RADIUS, y + down * RADIUS)
        draw.line(((x, y), tip), LIT, 3)
        draw.ellipse((tip[0] - 4, tip[1] - 4, tip[0] + 4, tip[1] + 4), INK)
    middle = (box[0] + box[2]) / 2
    for x, pressed in zip((middle - 6, middle + 6), pad.triggers, strict=True):
        draw.line(((x, y + RADIUS), (x, y - RADIUS)), LINE, 4)
        draw.line(((x, y + RADIUS), (x, y + RADIUS - 2 * RADIUS * pressed)), LIT, 4)


def paint_commands(draw: ImageDraw.ImageDraw, box: Box, commands: Sequence[float], reach: Sequence[float]) -> None:
    """A bar a direct actuator, from zero in the middle; `reach`: the command that fills half of it."""
    draw.rounded_rectangle(box, 8, outline=LINE, width=2)
    draw.text((box[0] + 8, box[1] + 6), "COMMANDS", FAINT, font(11))
    middle, half = (box[0] + box[2]) / 2, (box[2] - box[0]) / 2 - 12
    room = box[3] - box[1] - 28
    height = min(12.0, room / max(1, len(commands)) - 2)
    for index, (command, most) in enumerate(zip(commands, reach, strict=False)):
        y = box[1] + 26 + index * (height + 2)
        draw.rectangle((middle - half, y, middle + half, y + height), fill=LINE)
        end = middle + half * max(-1.0, min(1.0, command / most))
        draw.rectangle((min(middle, end), y, max(middle, end), y + height), fill=LIT)


def reach_of(trace: Trace) -> list[float]:
    """The largest command of each direct actuator in `trace`; empty where there is none."""
    told = [moment.inputs.commands for moment in trace.moments if moment.inputs.commands]
    return np.maximum(np.abs(np.array(told)).max(axis=0), 1e-6).tolist() if told else []

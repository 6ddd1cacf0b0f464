"""The film of a trace: the game's picture, large, and beside it what the agent did, how sure it was, its score.

Drawn with Pillow, frame by frame, on a canvas of fixed size; encoded by `gi_data.video`, so any browser plays it.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from gi_data.video_writer import VideoWriter
from gi_model.actions import InputState
from gi_model.actions.controls import MOUSE_BUTTONS
from gi_model.frames import Frame
from gi_train.overlay_ink import FAINT, GROUND, INK, LINE, LIT, Box, font
from gi_train.overlay_robot import paint_commands, paint_gamepad, reach_of
from gi_train.trace import Trace

GAME_HEIGHT = 360  # pixels of the game's picture in the film
PANEL_WIDTH = 216
MARGIN = 16
TRAIL_SECONDS = 0.8
FILM_CRF = 28  # half the bytes of a recording's quality: films travel inside the report
CERTAIN = 0.999  # a factor that is never below this is not a decision (a wheel no game uses)


def write_film(trace: Trace, path: Path) -> None:
    """Draw `trace` and encode it to `path` (.mp4)."""
    painter = Painter(trace)
    path.parent.mkdir(parents=True, exist_ok=True)
    video = VideoWriter(path, fps=trace.fps, height=painter.height, width=painter.width, crf=FILM_CRF)
    try:
        for tick in range(len(trace.moments)):
            video.append(painter.paint(tick))
    except BaseException:
        video.abandon()
        raise
    video.close()


class Painter:
    """Draws the film's frames, uint8 (height, width, 3)."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        rows, columns = trace.frames.shape[1:3]
        self._picture = (_even(GAME_HEIGHT * columns / rows), GAME_HEIGHT)
        self.width, self.height = self._picture[0] + PANEL_WIDTH, GAME_HEIGHT
        self._keys = [control for control in trace.controls if control not in MOUSE_BUTTONS]
        self._buttons = [name for name in MOUSE_BUTTONS[:2] if name in trace.controls]
        self._factors = _undecided(trace)
        self._reach, self._commands_reach = _reach(trace), reach_of(trace)

    def paint(self, tick: int) -> Frame:
        """The film's frame at `tick`."""
        canvas = Image.new("RGB", (self.width, self.height), GROUND)
        picture = Image.fromarray(self._trace.frames[tick])
        canvas.paste(picture.resize(self._picture, Image.Resampling.BICUBIC), (0, 0))
        draw = ImageDraw.Draw(canvas)
        left = self._picture[0] + MARGIN
        moment = self._trace.moments[tick]
        self._paint_score(draw, left, tick)
        self._paint_keys(draw, (left, 78), moment.inputs)
        self._paint_device(draw, (left, 160, left + PANEL_WIDTH - 2 * MARGIN, 260), tick)
        self._paint_confidence(draw, (left, 274), tick)
        return np.asarray(canvas)

    def _paint_score(self, draw: ImageDraw.ImageDraw, left: int, tick: int) -> None:
        moment = self._trace.moments[tick]
        draw.text((left, 12), "SCORE", FAINT, font(11))
        draw.text((left, 24), f"{moment.score:.0f}", INK, font(34))
        right = self.width - MARGIN
        draw.text((right, 12), f"{tick / self._trace.fps:.1f} s", FAINT, font(12), anchor="ra")
        draw.text((right, 30), f"{moment.latency_ms:.1f} ms", FAINT, font(12), anchor="ra")

    def _paint_keys(self, draw: ImageDraw.ImageDraw, at: tuple[int, int], inputs: InputState) -> None:
        x, y = at
        for control in self._keys[:5]:
            is_held = control in inputs.held
            box = (x, y, x + 32, y + 32)
            draw.rounded_rectangle(box, 6, fill=LIT if is_held else None, outline=LIT if is_held else LINE, width=2)
            draw.text((x + 16, y + 16), _cap(control), GROUND if is_held else FAINT, font(14), anchor="mm")
            x += 37
        if len(self._keys) > 5:
            others = sorted(inputs.held - set(self._keys[:5]) - set(MOUSE_BUTTONS))
            draw.text((at[0], y + 40), " ".join(map(_cap, others)), LIT, font(12))
        elif self._keys:
            held = [self._trace.controls[key].replace("_", " ") for key in self._keys if key in inputs.held]
            draw.text((at[0], y + 40), ", ".join(held), LIT, font(12))

    def _paint_device(self, draw: ImageDraw.ImageDraw, box: Box, tick: int) -> None:
        inputs = self._trace.moments[tick].inputs
        if self._commands_reach:
            paint_commands(draw, box, inputs.commands, self._commands_reach)
        elif inputs.gamepad is not None:
            paint_gamepad(draw, box, inputs.gamepad)
        else:
            self._paint_mouse(draw, box, tick)

    def _paint_mouse(self, draw: ImageDraw.ImageDraw, box: Box, tick: int) -> None:
        draw.rounded_rectangle(box, 8, outline=LINE, width=2)
        draw.text((box[0] + 8, box[1] + 6), "MOUSE", FAINT, font(11))
        self._paint_buttons(draw, box, self._trace.moments[tick].inputs)
        middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2 + 4)
        length = max(2, round(TRAIL_SECONDS * self._trace.fps))
        recent = [moment.inputs.motion for moment in self._trace.moments[max(0, tick - length + 1) : tick + 1]]
        points = _trail(recent, middle, scale=(box[2] - box[0] - 24) / 2 / self._reach)
        for step, (start, end) in enumerate(pairwise(points), 1):
            draw.line((start, end), _fade(step / (len(points) - 1)), 3)
        x, y = points[-1]
        draw.ellipse((x - 4, y - 4, x + 4, y + 4), INK)

    def _paint_buttons(self, draw: ImageDraw.ImageDraw, box: Box, inputs: InputState) -> None:
        right = box[2] - 8
        for name in reversed(self._buttons):
            is_held = name in inputs.buttons
            cell = (right - 26, box[1] + 7, right, box[1] + 25)
            draw.rounded_rectangle(cell, 4, fill=LIT if is_held else None, outline=LIT if is_held else LINE, width=2)
            label = name.removeprefix("Mouse")[0]
            draw.text((right - 13, box[1] + 16), label, GROUND if is_held else FAINT, font(11), anchor="mm")
            right -= 31

    def _paint_confidence(self, draw: ImageDraw.ImageDraw, at: tuple[int, int], tick: int) -> None:
        x, y = at
        width = PANEL_WIDTH - 2 * MARGIN
        draw.text((x, y), "CONFIDENCE" if self._factors else "", FAINT, font(11))
        for name in self._factors[:3]:
            y += 20
            value = self._trace.moments[tick].confidence.get(name, 0.0)
            draw.text((x, y), name, INK, font(12))
            start = x + 62
            draw.rounded_rectangle((start, y + 4, x + width, y + 12), 4, fill=LINE)
            if (end := start + value * (width - 62)) > start + 6:
                draw.rounded_rectangle((start, y + 4, end, y + 12), 4, fill=LIT)


def _undecided(trace: Trace) -> list[str]:
    """Factors that are in doubt at least once."""
    names = {name: None for moment in trace.moments for name in moment.confidence}
    return [name for name in names if min(moment.confidence.get(name, 1.0) for moment in trace.moments) < CERTAIN]


def _reach(trace: Trace) -> float:
    """Counts of motion that the mouse box must hold: the longest trail's, nearly."""
    length = max(2, round(TRAIL_SECONDS * trace.fps))
    motion = np.array([moment.inputs.motion for moment in trace.moments], dtype=np.float64)
    travelled = np.cumsum(np.abs(motion).max(axis=1))
    spans = travelled[length:] - travelled[:-length] if len(travelled) > length else travelled[-1:]
    return max(8.0, float(np.percentile(spans, 95)))


def _trail(
    motions: Sequence[tuple[int, int]], middle: tuple[float, float], *, scale: float
) -> list[tuple[float, float]]:
    """The recent path of the mouse in canvas pixels; it ends as far from `middle` as it moved since its start."""
    path = np.vstack([np.zeros((1, 2)), np.cumsum(np.array(motions, dtype=np.float64), axis=0)]) * scale
    reach = np.abs(path).max(axis=0)
    limits = np.array([80.0, 34.0])
    path *= min(1.0, *(limits / np.maximum(reach, 1e-9)))
    return [(middle[0] + x, middle[1] + y) for x, y in path.tolist()]


def _fade(part: float) -> tuple[int, int, int]:
    """From the ground's colour (0) to lit (1)."""
    dark, lit = (np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) for colour in (GROUND, LIT))
    red, green, blue = (dark + (lit - dark) * part).astype(int).tolist()
    return red, green, blue


def _cap(control: str) -> str:
    """What is printed on a key."""
    arrows = {"ArrowUp": "^", "ArrowDown": "v", "ArrowLeft": "<", "ArrowRight": ">"}
    short = control.removeprefix("Key").removeprefix("Digit").removesuffix("Left")
    return arrows.get(control, short if len(short) <= 3 else short[:3])


def _even(pixels: float) -> int:
    """H.264 stores colour for pairs of pixels."""
    return round(pixels / 2) * 2

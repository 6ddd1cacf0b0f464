"""`draw_cursor`: an arrow where a game's own cursor was, for recorders that leave it out of the picture.

VPT's recorder does; its published loader pastes a 16 x 16 sprite at that place. Ours is drawn from the text below, so
that no picture of others is shipped: white with a black edge, tip at the cursor.
"""

from typing import Final

import numpy as np

from gi_model.frames import Frame

_ARROW: Final = (  # X: black, o: white
    "X",
    "XX",
    "XoX",
    "XooX",
    "XoooX",
    "XooooX",
    "XoooooX",
    "XooooooX",
    "XoooooooX",
    "XooooooooX",
    "XoooooXXXXX",
    "XooXooX",
    "XoX XooX",
    "XX  XooX",
    "X    XooX",
    "      XX",
)
_WIDTH: Final = max(map(len, _ARROW))
_SHAPE: Final = np.array([list(row.ljust(_WIDTH)) for row in _ARROW])


def draw_cursor(frame: Frame, position: tuple[float, float]) -> Frame:
    """Copy uint8 (H, W, 3) with an arrow whose tip is at x, y in [0, 1]; what is beyond the edge is cut off."""
    height, width = frame.shape[:2]
    left, top = int(position[0] * width), int(position[1] * height)
    marked = frame.copy()
    part = marked[top : top + _SHAPE.shape[0], left : left + _SHAPE.shape[1]]
    shape = _SHAPE[: part.shape[0], : part.shape[1]]
    part[shape == "X"] = 0
    part[shape == "o"] = 255
    return marked

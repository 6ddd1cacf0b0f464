"""Pictures that carry a number, in every codec, and how to read it in an echoed answer."""

import io

import numpy as np
import simplejpeg
from PIL import Image

from gi_model.actions import InputState
from gi_model.frames import Frame

HEIGHT, WIDTH = 16, 24


def paint(identity: int) -> Frame:
    """A frame that carries `identity` (0 to 999) in colours that survive JPEG."""
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    frame[...] = identity // 32 * 8, identity % 32 * 8, 100
    return frame


def see_identity(frame: Frame) -> int:
    """Inverse of `paint`."""
    high, low = (frame[0, 0, :2].astype(int) + 4) // 8
    return int(high * 32 + low)


def read_identity(state: InputState) -> int:
    """The identity that `EchoStepper` saw: motion is exact up to 16 counts."""
    return (state.motion[0] + 16) + 33 * (state.motion[1] + 16)


def read_age(state: InputState) -> int:
    """How many frames the answering stream had seen before, up to 9."""
    return state.wheel[0]


def png_of(frame: Frame) -> bytes:
    out = io.BytesIO()
    Image.fromarray(frame).save(out, "PNG")
    return out.getvalue()


def jpeg_of(frame: Frame) -> bytes:
    """As good as JPEG gets: a flat colour stays what it was."""
    data: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(frame), quality=100, colorsubsampling="444")
    return data

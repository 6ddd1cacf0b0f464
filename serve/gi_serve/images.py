"""Images that strangers send -> frames of the model's size, by the one resize. Runs off the event loop.

The size is read from the header before a pixel is decoded, so that a kilobyte of PNG cannot become a gigabyte of RGB.
JPEG is decoded by libjpeg-turbo (simplejpeg, a third of Pillow's time, without the GIL), PNG by Pillow.
"""

import io
import struct
from typing import Final

import numpy as np
import simplejpeg
from PIL import Image

from gi_model.frames import Frame, resize
from gi_serve.problems import FRAME_INVALID, FRAME_TOO_LARGE, Problem
from gi_serve.protocol import Codec, FrameMessage

MAX_SIDE: Final = 4096
MAX_PIXELS: Final = 3840 * 2400
MIN_SIDE: Final = 8
_PNG_START: Final = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"


def decode_image(message: FrameMessage, height: int, width: int) -> Frame:
    """The frame of `message` at the model's size, uint8 (height, width, 3).

    Raises Problem: frame-too-large, or frame-invalid if the bytes are not the image they say.
    """
    return resize(_DECODERS[message.codec](message), height, width)


def view_raw(message: FrameMessage) -> Frame:
    """The pixels of a raw frame in place, uint8 (H, W, 3), read-only. Its byte count was checked when it was read."""
    _check_size(message.height, message.width)
    return np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)


def _decode_jpeg(message: FrameMessage) -> Frame:
    try:
        height, width, _space, _subsampling = simplejpeg.decode_jpeg_header(message.data)
        _check_size(height, width)
        frame: Frame = simplejpeg.decode_jpeg(message.data, colorspace="RGB")
    except ValueError as error:
        raise Problem(FRAME_INVALID, "The bytes are not a whole JPEG image.") from error
    return frame


def _decode_png(message: FrameMessage) -> Frame:
    data = message.data
    if not data.startswith(_PNG_START) or len(data) < len(_PNG_START) + 8:
        raise Problem(FRAME_INVALID, "The bytes are not a PNG image.")
    width, height = struct.unpack_from(">II", data, len(_PNG_START))
    _check_size(height, width)
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, struct.error, Image.DecompressionBombError) as error:
        raise Problem(FRAME_INVALID, "The bytes are not a whole PNG image.") from error


def _check_size(height: int, width: int) -> None:
    if height * width > MAX_PIXELS or max(height, width) > MAX_SIDE:
        limit = f"at most {MAX_PIXELS} pixels and {MAX_SIDE} a side are taken"
        raise Problem(FRAME_TOO_LARGE, f"The image has {width} x {height} pixels; {limit}.")
    if min(height, width) < MIN_SIDE:
        raise Problem(FRAME_INVALID, f"The image has {width} x {height} pixels; each side needs {MIN_SIDE} or more.")


_DECODERS: Final = {Codec.RAW: view_raw, Codec.JPEG: _decode_jpeg, Codec.PNG: _decode_png}

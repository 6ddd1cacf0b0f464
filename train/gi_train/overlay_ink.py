"""Colours, letters, and boxes of films."""

from functools import lru_cache

from PIL import ImageFont

INK, FAINT, LIT, GROUND, LINE = "#e8ecf3", "#8a94a6", "#4fd1a5", "#12161e", "#2b3342"

Box = tuple[float, float, float, float]  # left, top, right, bottom


@lru_cache(maxsize=16)
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Letters of `size` pixels."""
    return ImageFont.load_default(size)

"""Charts in the house style: SVG that takes its colours and fonts from a page, or a PNG that brings its own.

Matplotlib draws SVG with stand-in colours, which become CSS variables afterwards, so that light and dark both work;
text stays text. A PNG is the same drawing with the colours of a light page.
"""

import io
import re
from collections.abc import Callable
from dataclasses import astuple, dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure


@dataclass(frozen=True)
class Palette:
    """Colours by their use; accent and warm stand out, accent2 and warm2 beside them."""

    ink: str
    faint: str
    line: str
    accent: str
    warm: str
    accent2: str
    warm2: str

    @property
    def series(self) -> tuple[str, ...]:
        """For lines that are of one kind."""
        return (self.accent, self.warm, self.accent2, self.warm2, self.ink)


VARIABLES = Palette("--ink", "--faint", "--line", "--accent", "--warm", "--accent2", "--warm2")
STAND_INS = Palette("#010101", "#020202", "#030303", "#040404", "#050505", "#060606", "#070707")
LIGHT = Palette("#1b2230", "#6a7383", "#dfe3e8", "#0f8f6b", "#d1663a", "#3b6fb6", "#a05195")

Draw = Callable[[Figure, Palette], None]


def draw_svg(draw: Draw, width: float, height: float) -> str:
    """What `draw` draws on a figure of so many inches, as an SVG element for a page that defines the variables."""
    raw = io.StringIO()
    with mpl.rc_context(_style(STAND_INS)):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure, STAND_INS)
        figure.savefig(raw, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _adopt(raw.getvalue())


def draw_png(draw: Draw, width: float, height: float) -> bytes:
    """The same drawing as a PNG on white."""
    raw = io.BytesIO()
    with mpl.rc_context(_style(LIGHT)):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure, LIGHT)
        figure.savefig(raw, format="png", dpi=140)
    return raw.getvalue()


def _style(colours: Palette) -> Any:  # the typed names of matplotlib settings are 300 literals
    return {
        "svg.fonttype": "none",
        "svg.hashsalt": "gi",  # the same chart gives the same bytes
        "font.family": "sans-serif",
        "font.size": 10,
        "axes.edgecolor": colours.line,
        "axes.labelcolor": colours.faint,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlecolor": colours.ink,
        "axes.titlelocation": "left",
        "axes.titlesize": 11,
        "grid.color": colours.line,
        "legend.frameon": False,
        "legend.labelcolor": colours.ink,
        "text.color": colours.ink,
        "xtick.color": colours.faint,
        "ytick.color": colours.faint,
    }


def _adopt(svg: str) -> str:
    """Make matplotlib's SVG part of the page: no prologue, the page's colours and fonts, any width."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg)
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg).replace("xlink:href", "href")
    for stand_in, variable in zip(astuple(STAND_INS), astuple(VARIABLES), strict=True):
        svg = svg.replace(stand_in, f"var({variable})")
    return svg

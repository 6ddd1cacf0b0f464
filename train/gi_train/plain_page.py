"""A page of sections, each a heading over cards (charts, tables, facts); one HTML file that loads nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from gi_train.report_page import draw_boxes, fill_page


@dataclass(frozen=True)
class Section:
    """cards: HTML, from `draw_svg`, `draw_table`, `draw_facts`; empty ones are left out. note: plain text."""

    title: str
    cards: Sequence[str]
    note: str = ""


def render_page(title: str, lead: str, boxes: Sequence[tuple[str, str]], sections: Sequence[Section]) -> str:
    """The whole document. boxes: large figures and what they say."""
    drawn = "".join(map(_draw_section, sections))
    return fill_page(
        "plain_page.html", title=escape(title), lead=escape(lead), headline=draw_boxes(boxes), sections=drawn
    )


def draw_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; its first column names the row."""
    if not rows:
        return ""
    lines = [_row("th", heads), *(_row("td", row) for row in rows)]
    return f"<table>{''.join(lines)}</table>"


def draw_facts(facts: Mapping[str, str]) -> str:
    """Names and values."""
    lines = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
    return f"<dl>{lines}</dl>" if facts else ""


def _draw_section(section: Section) -> str:
    cards = "".join(f'<div class="card">{card}</div>' for card in section.cards if card)
    note = f'<p class="note">{escape(section.note)}</p>' if section.note else ""
    return f"<h2>{escape(section.title)}</h2>{note}{cards}" if cards else ""


def _row(tag: str, cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"

"""The contact sheet as one HTML file with everything in it (styles, script, videos as base64), which loads nothing.

Names in a corpus are a stranger's text. They reach the page as JSON only, whose `<` is escaped, and the script writes
them as text, never as HTML; a content security policy names the one script that may run, by its hash.
"""

import base64
import hashlib
import json
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from gi_data.contact_sheet import Sheet, SheetConfig, Tile
from gi_data.manifest import Manifest


def render(sheet: Sheet, manifest: Manifest, config: SheetConfig, *, title: str) -> str:
    """The whole HTML document."""
    script = _read("contact_sheet_page.js")
    return Template(_read("contact_sheet_page.html")).substitute(
        title=escape(title),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        script=script,
        sheet=_embed({"totals": _totals(manifest), "draw": _describe_draw(sheet, config)}),
        tiles="".join(map(_tile, sheet.tiles)),
    )


def _tile(tile: Tile) -> str:
    """One script element a tile, so that no single string is as large as the page."""
    video = base64.b64encode(tile.video).decode()
    return f'<script type="application/json" class="tile">{_embed(tile.describe() | {"video": video})}</script>\n'


def _embed(value: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def _totals(manifest: Manifest) -> dict[str, Any]:
    return {
        "hours": manifest.hours,
        "clips": manifest.num_clips,
        "recordings": manifest.num_recordings,
        "hours_by_game": manifest.hours_by_game,
        "hours_by_license": manifest.hours_by_license,
        "hours_by_split": manifest.hours_by_split,
    }


def _describe_draw(sheet: Sheet, config: SheetConfig) -> dict[str, Any]:
    return {
        "shown": len(sheet.tiles),
        "drawn": sheet.num_drawn,
        "seed": config.seed,
        "games": list(config.games),
        "split": config.split,
    }


def _read(name: str) -> str:
    return files(__package__ or "gi_data").joinpath(name).read_text("utf-8")

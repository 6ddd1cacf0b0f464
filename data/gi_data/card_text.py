"""The corpus card as Markdown, with the front matter that data-set hubs read: a summary first, then detail.

Names in a corpus are a stranger's text: they are escaped here, where they meet Markdown and YAML.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from gi_data.card_facts import Facts, Tally

MAX_ROWS = 50
_ROUND_SIZES = ((1e3, "n<1K"), (1e4, "1K<n<10K"), (1e5, "10K<n<100K"), (1e6, "100K<n<1M"), (1e7, "1M<n<10M"))
_SPDX = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*")


def write_text(facts: Facts, charts: Mapping[str, str], *, title: str, description: str = "") -> str:
    """The card. charts: path of each chart's file, as the card links to it. description: Markdown, kept as it is."""
    sections = [
        _front_matter(facts, title),
        f"# {plain(title)}",
        description.strip(),
        _summary(facts),
        "## Games",
        _image(charts, "hours_by_game", "Hours by game and split"),
        _games(facts),
        "## Where it comes from",
        _image(charts, "hours_by_player", "Hours by source and player"),
        "Licences and consent:",
        _table(
            ("licence", "consent", "hours", "clips"),
            ((*_names(group), _hours(group.hours), _count(group.num_clips)) for group in facts.by_license),
        ),
        _revoked(facts.num_revoked),
        "## How it is played",
        _image(charts, "controls", "Share of ticks each control is held, by game"),
        _image(charts, "motion", "Mouse motion a tick, by game"),
        _image(charts, "idle", "Share of ticks without any input, by game"),
        _bindings(facts),
        "## Frames and clips",
        _image(charts, "clip_lengths", "Clip lengths"),
        _shapes(facts),
        *_curation(facts),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line; "none" if there is none."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    escaped = re.sub(r"([\\`*\[\]|~#!])", r"\\\1", escape(line, quote=False))
    return re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", escaped) or "none"


def _front_matter(facts: Facts, title: str) -> str:
    licences = list(dict.fromkeys(group.names[0] for group in facts.by_license))
    fields: dict[str, Any] = {
        "pretty_name": title,
        "license": [name.lower() if _SPDX.fullmatch(name) else "other" for name in licences],
        "license_names": licences,
        "task_categories": ["robotics", "reinforcement-learning"],
        "tags": ["gameplay", "imitation-learning", "keyboard", "mouse", "webdataset"],
        "size_categories": [next((name for end, name in _ROUND_SIZES if facts.total.num_clips < end), "n>10M")],
        "num_clips": facts.total.num_clips,
        "num_recordings": facts.total.num_recordings,
        "hours": round(facts.total.hours, 4),
        "num_bytes": facts.num_bytes,
        "games": [group.names[0] for group in facts.by_game],
    }
    lines = [f"{name}: {json.dumps(_printable(value), ensure_ascii=False)}" for name, value in fields.items()]
    return "\n".join(["---", *lines, "---"])  # JSON is YAML


def _printable(value: Any) -> Any:
    if isinstance(value, list):
        return list(dict.fromkeys(map(_printable, value)))
    return "".join(letter if letter.isprintable() else " " for letter in value) if isinstance(value, str) else value


def _summary(facts: Facts) -> str:
    total, games = facts.total, len(facts.by_game)
    licences = _shares(facts, 0)
    median = float(np.median(facts.clip_seconds))
    held_out = sum(group.hours for group in facts.by_game_and_split if group.names[1] == "val")
    return "\n".join(
        (
            f"**{_hours(total.hours)} of play** in {_plural(games, 'game')}: {_plural(total.num_clips, 'clip')} of "
            f"{_plural(total.num_recordings, 'recording')}, {_plural(total.num_ticks, 'tick')}, "
            f"{_bytes(facts.num_bytes)}.",
            "",
            f"- Every tick is a frame with what the player held after seeing it; {total.known_ratio:.1%} of ticks are "
            f"labelled, {total.null_ratio:.1%} are idle, {total.presses / max(1e-9, total.hours * 3600):.1f} presses "
            "a second.",
            f"- Held out for validation: {_hours(held_out)}, by recording. The median clip lasts {median:.1f} s.",
            f"- Licences: {licences}.",
            *_biggest(facts),
        )
    )


def _biggest(facts: Facts) -> Iterable[str]:
    share = facts.by_game[0].hours / max(1e-9, facts.total.hours)
    if len(facts.by_game) > 1:
        yield f"- The largest game, {plain(facts.by_game[0].names[0])}, makes up {share:.0%} of the hours."


def _shares(facts: Facts, column: int) -> str:
    hours: dict[str, float] = {}
    for group in facts.by_license:
        hours[group.names[column]] = hours.get(group.names[column], 0.0) + group.hours
    total = max(1e-9, facts.total.hours)
    ordered = sorted(hours.items(), key=lambda item: -item[1])
    shown = [f"{plain(name)} {spent / total:.0%}" for name, spent in ordered[:8]]
    return ", ".join([*shown, f"{len(ordered) - 8} more"] if len(ordered) > 8 else shown)


def _games(facts: Facts) -> str:
    head = ("game", "hours", "clips", "recordings", "idle", "labelled", "presses a second")
    return _table(
        head,
        (
            (
                *_names(group),
                _hours(group.hours),
                _count(group.num_clips),
                _count(group.num_recordings),
                f"{group.null_ratio:.1%}",
                f"{group.known_ratio:.1%}",
                f"{group.presses / max(1e-9, group.hours * 3600):.1f}",
            )
            for group in facts.by_game
        ),
    )


def _bindings(facts: Facts) -> str:
    """What the controls do, for the games on the charts."""
    rows = []
    for play in facts.plays:
        for bindings in facts.bindings.get(play.game, [])[:1]:
            moves = {action: axis["axis"] for action, axis in bindings.get("analogue", {}).items()}
            controls = {**bindings.get("digital", {}), **moves}
            rows.append((plain(play.game), ", ".join(f"{plain(c)} {plain(a)}" for a, c in controls.items()) or "none"))
    return "What the controls do:\n\n" + _table(("game", "control and action"), rows) if rows else ""


def _shapes(facts: Facts) -> str:
    rows = (
        (f"{width} x {height}", fps, _hours(group.hours), _count(group.num_clips))
        for group in facts.by_shape
        for width, height, fps in [group.names]
    )
    return "Pictures as they are stored:\n\n" + _table(("pixels", "ticks a second", "hours", "clips"), rows)


def _curation(facts: Facts) -> Iterable[str]:
    if facts.curation:
        yield "## What was curated out"
        yield _table(
            ("filter", "hours in", "hours out", "removed"),
            (
                (
                    plain(step.name),
                    _hours(step.hours_in),
                    _hours(step.hours_out),
                    _removed(step.hours_in, step.hours_out),
                )
                for step in facts.curation
            ),
        )


def _removed(hours_in: float, hours_out: float) -> str:
    return f"{1 - hours_out / hours_in:.1%}" if hours_in > 0 else "0.0%"


def _revoked(number: int) -> str:
    return f"Withdrawn by those who gave them: {_plural(number, 'recording')}, counted nowhere above." if number else ""


def _image(charts: Mapping[str, str], name: str, alternative: str) -> str:
    return f"![{alternative}]({charts[name]})" if name in charts else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table of cells that are escaped already; the first MAX_ROWS rows."""
    rows = list(rows)
    lines = [head, ["---"] * len(head), *rows[:MAX_ROWS]]
    more = f"\n\n{len(rows) - MAX_ROWS} more rows are not shown." if len(rows) > MAX_ROWS else ""
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + more


def _names(group: Tally) -> list[str]:
    return [plain(name) for name in group.names]


def _hours(hours: float) -> str:
    return f"{hours * 60:.1f} min" if hours < 1 else f"{hours:,.1f} h"


def _bytes(number: int) -> str:
    unit, name = next((u for u in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")) if number >= u[0]), (1e3, "kB"))
    return f"{number / unit:.1f} {name}"


def _count(number: int) -> str:
    return f"{number:,}"


def _plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"

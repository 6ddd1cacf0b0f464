"""`write_card`: CORPUS_CARD.md and its charts, for people who ask what a corpus holds before they use it.

Everything on it comes from the index, so it is true of views, too, and costs no decoding; words of one's own are passed
in. Rejected: figures typed by hand, which are wrong by the next append.
"""

from pathlib import Path

from gi_data.card_facts import Facts
from gi_data.card_text import write_text
from gi_data.storage import Location, disk_error, write_atomic

CARD_NAME = "CORPUS_CARD.md"
CHARTS_NAME = "corpus_card"


def write_card(corpus: Location, directory: Path, *, title: str, description: str = "") -> list[Path]:
    """Write the card of `corpus` into `directory`; return the paths: the card, then its charts. Raises CorpusError."""
    from gi_data.card_charts import draw_all

    facts = Facts.read(corpus)
    folder = directory / CHARTS_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(folder, error) from error
    svgs = draw_all(facts)
    charts = {name: folder / f"{name}.svg" for name in svgs}
    for name, path in charts.items():
        write_atomic(path, svgs[name])
    links = {name: f"{CHARTS_NAME}/{path.name}" for name, path in charts.items()}
    card = directory / CARD_NAME
    write_atomic(card, write_text(facts, links, title=title, description=description).encode())
    return [card, *charts.values()]

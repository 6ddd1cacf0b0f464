"""A few recordings out of many: nested draws, held out by recording; what is no demonstration of a body is named."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gi_data.corpus import Corpus
from gi_data.demonstrations import Demonstrations, body_of, take_demonstrations
from gi_data.embodied import embodied
from gi_data.recording import RecordingWriter
from gi_model.actions import InputState
from gi_model.actuators import Actuator, Source
from gi_model.embodiment import Camera, Embodiment
from gi_model.errors import CorpusError
from tests.conftest import Barcodes, MakeCorpus

TURN = Actuator("angular.z", "rad/s", 0.0, -4.0, 4.0, 99.0, None, (Source("motion.x", 0.2),))
LOOK = Actuator("tilt", "rad", 0.0, -4.0, 4.0, 99.0, None, (Source("motion.y", 0.1),))
LIFT = Actuator("lift", "m", 0.0, -1.0, 1.0, 99.0, None, levels=33)
GO = Actuator("linear.x", "m/s", 0.0, 0.0, 1.0, 99.0, None, (Source("KeyW", 1.0),))


def body(*actuators: Actuator, fps: float = 20.0) -> Embodiment:
    return Embodiment("rover", fps, 100.0, 250.0, Camera(160, 120, 20.0), actuators or (TURN, LOOK, GO))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, barcodes: Barcodes, make_corpus: MakeCorpus) -> Path:
    """Eight short recordings, one or two of them held out."""
    folder = tmp_path_factory.mktemp("demonstrations")
    for index in range(8):
        barcodes.record(folder / "recordings", f"demo-{index}", num_ticks=12, first=index)
    return make_corpus(folder / "recordings", folder / "corpus", val_fraction=0.2)


def splits(demonstrations: Demonstrations) -> dict[str, str]:
    view = Corpus(demonstrations.folder)
    return {row.recording_id: row.split for row in map(view.row, range(view.num_clips))}


def test_all_demonstrations_keep_the_splits_of_their_corpus(corpus: Path, tmp_path: Path) -> None:
    found = take_demonstrations(corpus, tmp_path)
    whole = Corpus(corpus)
    assert splits(found) == {row.recording_id: row.split for row in map(whole.row, range(whole.num_clips))}
    assert (len(found), found.num_ticks, found.fps, found.games) == (8, 96, 20.0, ("barcode",))


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 1000), few=st.integers(2, 6), more=st.integers(0, 4))
def test_draws_of_one_seed_are_nested(
    corpus: Path, tmp_path_factory: pytest.TempPathFactory, seed: int, few: int, more: int
) -> None:
    drawn = [
        take_demonstrations(corpus, tmp_path_factory.mktemp("view"), episodes=min(6, number), seed=seed)
        for number in (few, few + more)
    ]
    sets = [set(each.train + each.held_out) for each in drawn]
    assert sets[0] <= sets[1]
    assert [len(each) for each in drawn] == [few, min(6, few + more)]
    for each in drawn:
        assert not set(each.train) & set(each.held_out)
        assert splits(each) == dict.fromkeys(each.train, "train") | dict.fromkeys(each.held_out, "val")


def test_the_same_draw_is_the_same_view(corpus: Path, tmp_path: Path) -> None:
    first, again, other = (
        take_demonstrations(corpus, tmp_path / name, episodes=3, seed=s) for name, s in (("a", 1), ("a", 1), ("b", 2))
    )
    assert first == again
    assert Corpus(first.folder).fingerprint != Corpus(other.folder).fingerprint


def test_other_demonstrations_do_not_take_their_place(corpus: Path, tmp_path: Path) -> None:
    taken = take_demonstrations(corpus, tmp_path, episodes=4, seed=1)
    with pytest.raises(CorpusError, match="holds other demonstrations"):
        take_demonstrations(corpus, tmp_path, episodes=3, seed=1)
    assert take_demonstrations(corpus, tmp_path, episodes=4, seed=1) == taken


@pytest.mark.parametrize("episodes", [0, 1, 9])
def test_too_few_demonstrations_are_counted(corpus: Path, tmp_path: Path, episodes: int) -> None:
    with pytest.raises(CorpusError, match=r"too few demonstrations.*got \d recordings"):
        take_demonstrations(corpus, tmp_path, episodes=episodes)


def test_demonstrations_of_two_rates_are_named(
    barcodes: Barcodes, make_corpus: MakeCorpus, corpus: Path, tmp_path: Path
) -> None:
    for name, fps in (("slow", 10.0), ("quick", 20.0)):
        with RecordingWriter(tmp_path / "recordings", name, barcodes.info(fps=fps)) as writer:
            for tick in range(6):
                writer.append(barcodes.frame(tick), barcodes.state(tick), t_ns=round(tick * 1e9 / fps))
    mixed = make_corpus(tmp_path / "recordings", tmp_path / "corpus")
    with pytest.raises(CorpusError, match=r"different rates.*slow-0000.*quick-0000"):
        take_demonstrations(mixed, tmp_path / "view")


def test_a_body_accepts_its_own_demonstrations(corpus: Path, tmp_path: Path) -> None:
    assert body_of(take_demonstrations(corpus, tmp_path), body()) == body()


def test_a_game_has_no_body(corpus: Path, tmp_path: Path) -> None:
    assert body_of(take_demonstrations(corpus, tmp_path)) is None


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (body(fps=17.5), r"recording demo-\d-0000 has another rate than its embodiment; got 20 ticks a second"),
        (body(TURN, LOOK), r"clip demo-\d-0000 holds what drives no rover; got KeyW"),
        (
            body(Actuator("angular.z", "rad/s", 0.0, -1.0, 1.0, 9.0, None, (Source("motion.x", 0.2),)), GO),
            r"demo-\d-0000 has commands beyond the limits; got angular.z = 1.\d rad/s",
        ),
    ],
)
def test_demonstrations_of_another_body_are_named(corpus: Path, tmp_path: Path, wrong: Embodiment, words: str) -> None:
    with pytest.raises(CorpusError, match=words):
        body_of(take_demonstrations(corpus, tmp_path), wrong)


def test_clips_know_their_body(barcodes: Barcodes, make_corpus: MakeCorpus, tmp_path: Path) -> None:
    """It is taken from them; limits may be others than when they were recorded, but not what an input commands."""
    for index in range(2):
        info = barcodes.info(extra=embodied(body()))
        with RecordingWriter(tmp_path / "recordings", f"demo-{index}", info) as writer:
            for tick in range(6):
                writer.append(barcodes.frame(tick), barcodes.state(tick), t_ns=tick * 50_000_000)
    found = take_demonstrations(make_corpus(tmp_path / "recordings", tmp_path / "corpus"), tmp_path / "view")
    assert body_of(found) == body()
    slower = replace(body(), watchdog_ms=300.0, actuators=(replace(TURN, max_rate=9.0), LOOK, GO))
    assert body_of(found, slower) == slower
    reversed_turn = replace(TURN, sources=(Source("motion.x", -0.2),))
    with pytest.raises(CorpusError, match=r"clip demo-\d-0000 was recorded with another body"):
        body_of(found, body(reversed_turn, LOOK, GO))


Told = Callable[[int], tuple[float, ...]]  # commands of a tick


@pytest.fixture
def view(barcodes: Barcodes, make_corpus: MakeCorpus, tmp_path: Path) -> Callable[..., Demonstrations]:
    """Demonstrations of six ticks of a body that only turns by the mouse, with commands as well."""

    def make(told: Told, *, known: Callable[[int], bool] = lambda _: True) -> Demonstrations:
        for index in range(2):
            with RecordingWriter(tmp_path / "recordings", f"demo-{index}", barcodes.info()) as writer:
                for tick in range(6):
                    state = InputState(motion=(tick, 0), commands=told(tick))
                    writer.append(barcodes.frame(tick), state, t_ns=tick * 50_000_000, known=known(tick))
        return take_demonstrations(make_corpus(tmp_path / "recordings", tmp_path / "corpus"), tmp_path / "view")

    return make


def test_a_body_with_direct_actuators_accepts_its_own_demonstrations(view: Any) -> None:
    """Where nothing is known, nothing has to be told."""
    whole = body(TURN, LIFT)
    assert body_of(view(lambda tick: (0.25,) if tick else (), known=bool), whole) == whole


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (lambda _: (), r"clip demo-\d-0000 does not say what rover was told; got 0 commands in a tick; expected 1"),
        (lambda tick: (0.25,) if tick != 4 else (), "got 0 commands in a tick; expected 1"),
        (lambda _: (0.25, 0.5), "got 2 commands in a tick; expected 1"),
        (lambda tick: (0.5 * tick,), r"demo-\d-0000 has commands beyond the limits; got lift = 1.5 m"),
    ],
)
def test_demonstrations_that_told_a_direct_actuator_nothing_or_wrong_are_named(
    view: Any, told: Told, words: str
) -> None:
    with pytest.raises(CorpusError, match=words):
        body_of(view(told), body(TURN, LIFT))


def test_commands_of_a_body_without_direct_actuators_are_refused(view: Any) -> None:
    with pytest.raises(CorpusError, match="got 1 commands in a tick; expected 0"):
        body_of(view(lambda _: (0.5,)), body(TURN))


def test_levels_are_no_meaning_but_whether_an_actuator_is_direct_is(
    barcodes: Barcodes, make_corpus: MakeCorpus, tmp_path: Path
) -> None:
    recorded = body(TURN, LIFT)
    for index in range(2):
        info = barcodes.info(extra=embodied(recorded))
        with RecordingWriter(tmp_path / "recordings", f"demo-{index}", info) as writer:
            for tick in range(6):
                writer.append(barcodes.frame(tick), InputState(commands=(0.5,)), t_ns=tick * 50_000_000)
    found = take_demonstrations(make_corpus(tmp_path / "recordings", tmp_path / "corpus"), tmp_path / "view")
    assert body_of(found) == recorded
    finer = body(TURN, replace(LIFT, levels=129))
    assert body_of(found, finer) == finer
    driven = body(TURN, replace(LIFT, levels=None, sources=(Source("motion.y", 0.1),)))
    with pytest.raises(CorpusError, match="was recorded with another body"):
        body_of(found, driven)


def test_play_of_a_game_enters_no_body_whatever_comes_first(
    barcodes: Barcodes, make_corpus: MakeCorpus, tmp_path: Path
) -> None:
    """It has controls that drive nothing there."""
    for name, extra in (("a-game", {}), ("b-game", {}), ("c-rover", embodied(body(TURN, LOOK)))):
        with RecordingWriter(tmp_path / "recordings", name, barcodes.info(extra=extra)) as writer:
            for tick in range(6):
                state = barcodes.state(tick)
                held = state if not extra else replace(state, keys=frozenset(), buttons=frozenset())
                writer.append(barcodes.frame(tick), held, t_ns=tick * 50_000_000)
    found = take_demonstrations(make_corpus(tmp_path / "recordings", tmp_path / "corpus"), tmp_path / "view")
    with pytest.raises(CorpusError, match=r"clip [ab]-game-0000 holds what drives no rover"):
        body_of(found)


def test_ticks_that_are_not_the_players_may_hold_anything(
    barcodes: Barcodes, make_corpus: MakeCorpus, tmp_path: Path
) -> None:
    for index in range(2):
        with RecordingWriter(tmp_path / "recordings", f"demo-{index}", barcodes.info()) as writer:
            for tick in range(6):
                held = InputState(keys=frozenset({"KeyW"})) if tick == 3 else InputState()
                writer.append(barcodes.frame(tick), held, t_ns=tick * 50_000_000, known=tick != 3)
    found = take_demonstrations(make_corpus(tmp_path / "recordings", tmp_path / "corpus"), tmp_path / "view")
    assert body_of(found, body(TURN)) == body(TURN)

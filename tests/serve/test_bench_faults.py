"""Laws of `gi bench faults`: what it would not forgive is seen, and counted."""

import asyncio
import json
from collections import Counter
from typing import Any

import pytest
from typer.testing import CliRunner

from gi_model.cli import build_app
from gi_model.errors import ConfigError
from gi_serve.bench_faults import FaultCampaign, growth_mb
from gi_serve.bench_faults_players import Play
from gi_serve.bench_serve_stepper import Answer, to_state
from gi_serve.controls import pack_state


def answer(seq: int, player: int = 5, *, is_own: bool = True, is_first: bool = False) -> bytes:
    head = bytes(8) + seq.to_bytes(8, "little") + bytes(20)
    return head + pack_state(to_state(Answer(player, is_own, is_first)))


def faults_of(*messages: bytes | dict[str, Any]) -> dict[str, int]:
    async def play() -> Counter[str]:
        player = Play(5, Counter(), 1)
        player.seq = 9
        for message in messages:
            if isinstance(message, bytes):
                player.heard(message)
            else:
                player.told(message)
        return player.counts

    counts = asyncio.run(play())
    return {name: count for name, count in counts.items() if count and name != "answers"}


def test_a_good_session_has_no_fault() -> None:
    assert faults_of(answer(0, is_first=True), answer(1), answer(4)) == {}


@pytest.mark.parametrize(
    ("messages", "fault"),
    [
        ((answer(0, player=6),), "answers_to_the_wrong_player"),
        ((answer(0, is_own=False),), "answers_to_the_wrong_player"),
        ((answer(1), answer(1)), "answers_out_of_order"),
        ((answer(2), answer(1)), "answers_out_of_order"),
        ((answer(10),), "answers_out_of_order"),  # to a frame that was never sent
        ((answer(0), answer(1, is_first=True)), "memories_lost"),
    ],
)
def test_a_fault_is_counted(messages: tuple[bytes, ...], fault: str) -> None:
    assert faults_of(*messages) == {fault: 1}


def test_a_reset_empties_the_memory_rightly() -> None:
    assert faults_of(answer(0), {"type": "session.updated"}, answer(1, is_first=True)) == {}


def test_growth_leaves_the_warm_up_out() -> None:
    assert growth_mb([50.0, 90.0, 100.0, 100.0, 100.0, 100.0, 100.0, 101.0]) == pytest.approx(0.5)
    assert growth_mb([float(mb) for mb in range(100)]) == pytest.approx(50.0)
    assert growth_mb([70.0]) == 0.0


@pytest.mark.parametrize("bad", [{"num_frames": 0}, {"num_sessions": 0}, {"seconds": 0.0}])
def test_an_empty_campaign_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="no campaign"):
        FaultCampaign(**bad)


@pytest.mark.slow  # a server, and a few dozen players in processes
def test_a_small_campaign_of_faults_keeps_every_promise() -> None:
    args = ["bench", "faults", "--frames", "20000", "--sessions", "48", "--seconds", "12", "--json"]
    ran = CliRunner().invoke(build_app(), args)
    facts = json.loads(ran.stdout)
    growth = "growth of the server's memory in MB"
    missed = {bar["name"] for bar in facts["bars"] if not bar["is_met"]}
    assert missed <= {growth}  # its bar is for minutes: a server that was just started still fills caches
    assert next(bar["value"] for bar in facts["bars"] if bar["name"] == growth) < 40
    assert ran.exit_code == bool(missed)
    assert facts["counts"]["answers"] > 100
    assert facts["counts"]["resumed"] > 0

"""A rank that is gone is named; what is this process's own fault is not called another's."""

import signal
from pathlib import Path

import pytest
from torch.distributed import DistBackendError, DistNetworkError

from gi_model.config import preset
from gi_model.errors import PeerLostError
from gi_model.exit_codes import ExitCode
from gi_train.config import TrainConfig
from gi_train.peers import peers_watched
from tests.train.ranks import Ranks, Run, train_rank

ENDLESS = TrainConfig(steps=100_000, batch_size=4, window_ticks=5, log_every=1)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(
            "[gloo/transport/tcp/pair.cc:545] Read error [10.0.0.1]:1: Connection reset. This is typically ..."
        ),
        DistNetworkError("recv, got 0 bytes"),
        DistBackendError("NCCL error: remote process exited or there was a network error"),
    ],
)
def test_signs_of_a_peer_that_is_gone(error: RuntimeError) -> None:
    with pytest.raises(PeerLostError, match="another process") as caught, peers_watched():
        raise error
    assert "typically" not in str(caught.value)
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), DistBackendError("NCCL: unhandled cuda error")])
def test_what_is_our_own_fault_stays_as_it_is(error: RuntimeError) -> None:
    with pytest.raises(type(error)) as caught, peers_watched():
        raise error
    assert caught.value is error


def watched_rank(run: Run, rank: int, world_size: int, port: int) -> None:
    """A rank that ends as `gi pretrain` would."""
    try:
        with peers_watched():
            train_rank(run, rank, world_size, port)
    except PeerLostError as error:
        raise SystemExit(error.exit_code) from None


@pytest.mark.slow
def test_who_outlives_a_killed_rank_says_so(corpus_path: Path, tmp_path: Path) -> None:
    run = Run(corpus_path, tmp_path, preset("debug"), ENDLESS)
    with Ranks(run, 2, target=watched_rank) as ranks:
        assert ranks.wait_for_step(2)
        ranks.signal(signal.SIGKILL, 1)
        assert ranks.join() == [ExitCode.PEER_LOST, -signal.SIGKILL]

"""Groups of ranks that follow each other on one store, as an elastic agent's do, never meet each other's keys."""

import threading
from datetime import timedelta

import pytest
from torch.distributed import DistStoreError, TCPStore  # type: ignore[attr-defined]

from gi_train.meeting import agree_on_name

SOON, LONG = timedelta(seconds=0.3), timedelta(seconds=60)


@pytest.fixture
def server() -> TCPStore:
    return TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)


def client(server: TCPStore) -> TCPStore:
    return TCPStore("127.0.0.1", server.port, is_master=False)


def group(server: TCPStore, order: tuple[int, ...]) -> list[str]:
    """What the ranks agree on that come one after the other, by rank."""
    names: dict[int, str] = {}

    def come(rank: int, store: TCPStore) -> None:
        names[rank] = agree_on_name(store, rank, len(order), LONG)

    threads = [threading.Thread(target=come, args=(rank, client(server))) for rank in order]
    for thread in threads:
        thread.start()
        thread.join(0.1)  # time enough to believe what an earlier group left
    for thread in threads:
        thread.join()
    return [names[rank] for rank in range(len(order))]


def test_groups_that_follow_each_other_have_names_of_their_own(server: TCPStore) -> None:
    """Whoever comes first: rank 0, another one, or none."""
    orders = [(0,), (0, 1), (1, 0), (0, 1, 2), (2, 1, 0), (1, 0, 2)]
    found = [group(server, order) for order in orders]
    assert [len(set(names)) for names in found] == [1] * len(orders)
    assert len({names[0] for names in found}) == len(orders)


@pytest.mark.parametrize("left", [0, 1])
def test_what_a_group_left_that_never_met_is_no_matter(server: TCPStore, left: int) -> None:
    with pytest.raises(DistStoreError):
        agree_on_name(client(server), left, 2, SOON)
    assert len(set(group(server, (1, 0)))) == 1


def test_a_rank_alone_says_who_is_missing(server: TCPStore) -> None:
    group(server, (0, 1))
    with pytest.raises(DistStoreError, match="rank 0 did not answer rank 1"):
        agree_on_name(client(server), 1, 2, SOON)
    with pytest.raises(DistStoreError):
        agree_on_name(client(server), 0, 2, SOON)

"""How ranks find each other: torch's own rendezvous, and below a name that no group before has used.

An elastic agent starts a group anew after a crash, or when a node joins, and serves the same store to all groups it
starts (torch 2.15, whatever a comment there says). A rank may then read the address that a dead one left, and wait for
it until the group's timeout. So each group agrees on a name of its own first, and writes below that.

Rejected: TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1, torch's way out. It must be set for the agent, which may be anybody's
(`torchrun`, `accelerate launch`), and rank 0 then listens on a port that something else may have taken meanwhile; the
count of restarts as the name, because each node keeps its own.
"""

import secrets
import time
from collections.abc import Iterator
from datetime import timedelta

from torch.distributed import DistStoreError
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import register_rendezvous_handler, rendezvous

SCHEME = "gi"
METHOD = f"{SCHEME}://"  # for the init_method of a process group
_NEWEST = "gi/group"


def agree_on_name(store: Store, rank: int, world_size: int, timeout: timedelta) -> str:
    """A name that all ranks of this group share, and no other group; what earlier ones left in `store` is no matter.

    Rank 0 draws the name; another one believes it only once rank 0 answers what that rank drew. The processes of an
    earlier group must be dead by now: an agent sees to that before it starts the next. Raises DistStoreError if a rank
    does not come within `timeout`.
    """
    own = secrets.token_hex(8)
    if rank == 0:
        store.set(_NEWEST, own)
        calls = [f"{own}/rank/{other}" for other in range(1, world_size)]
        store.wait(calls, timeout)
        for call in calls:
            store.set(f"{own}/{store.get(call).decode()}", "")
        return own
    begun, pause = time.monotonic(), 0.01
    while time.monotonic() - begun < timeout.total_seconds():
        if store.check([_NEWEST]):
            name = store.get(_NEWEST).decode()
            store.set(f"{name}/rank/{rank}", own)
            time.sleep(pause)
            if store.check([f"{name}/{own}"]):
                return name
        time.sleep(pause)
        pause = min(2 * pause, 1.0)
    raise DistStoreError(f"rank 0 did not answer rank {rank} within {timeout.total_seconds():.0f} s")


def _meet(url: str, timeout: timedelta, **kwargs: object) -> Iterator[tuple[Store, int, int]]:
    """What torch calls for METHOD: the store, rank, and size of the group, as a launcher's variables tell them."""
    del url, kwargs
    store, rank, world_size = next(rendezvous("env://", timeout=timeout))
    name = agree_on_name(store, rank, world_size, timeout)
    yield PrefixStore(name, store), rank, world_size
    raise RuntimeError("a group meets once")


register_rendezvous_handler(SCHEME, _meet)  # type: ignore[no-untyped-call]

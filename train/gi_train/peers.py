"""Names what a rank sees when another one is gone: torch's and gloo's messages speak of sockets.

A failing backend may be this process's own fault, so it counts as lost only where NCCL blames the other side. Often
NCCL's watchdog ends the process itself (SIGABRT, 134) before anything can be caught: that is a crash like any other.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from gi_model.errors import PeerLostError

_SIGNS = ("gloo/transport", "remote process exited")  # of gloo, a plain RuntimeError; of NCCL, a DistBackendError


@contextmanager
def peers_watched() -> Iterator[None]:
    """Raise PeerLostError for what torch raises when a process of the group, or the store they meet at, is gone."""
    from torch.distributed import DistNetworkError, DistStoreError

    try:
        yield
    except RuntimeError as error:
        is_lost = isinstance(error, DistNetworkError | DistStoreError) or any(sign in str(error) for sign in _SIGNS)
        if not is_lost:
            raise
        raise _lost(error) from error


def _lost(error: Exception) -> PeerLostError:
    text = str(error).splitlines()[0].partition(". This is typically")[0]
    do = "Its own output says why; the same command goes on from the newest saved step."
    return PeerLostError("another process of the run is gone", got=text, do=do)

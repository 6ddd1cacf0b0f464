"""`gi torchrun`: torchrun whose exit code says why its workers ended.

torchrun itself ends with 1 whatever happened, so that a job's failure policy could not tell a wrong setting (never run
it again) from a node that was taken away (run it again, for nothing). This one ends with the code of its workers, and
with 143 when it was asked to stop, or 75 when the other nodes are gone. All flags are torchrun's, and so are its
variables: PET_NNODES, PET_RDZV_ENDPOINT, ... stand for --nnodes, --rdzv-endpoint, ...

Rejected: --max-restarts above 0 in jobs. It would run wrong settings again, inside of what Kubernetes retries.
"""

import logging
import signal
import sys
from collections.abc import Iterable
from types import FrameType

from gi_model.exit_codes import ExitCode, Retry, retry_of

logger = logging.getLogger("gi_train.torchrun")
_BY_WEIGHT = (Retry.NEVER, Retry.COUNTED, Retry.FREE)


def run_torchrun(arguments: list[str]) -> int:
    """Run torchrun with its own `arguments`; the code to exit with."""
    from torch.distributed import DistNetworkError, DistStoreError
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousError
    from torch.distributed.run import parse_args, run

    signal.signal(signal.SIGTERM, _leave)  # until workers run; process 1 of a container would ignore it otherwise
    try:
        run(parse_args(arguments))  # type: ignore[no-untyped-call]
    except ChildFailedError as error:
        codes = {rank: shell_code(failure.exitcode) for rank, failure in error.failures.items()}
        logger.error("ranks that failed, and their exit codes: %s", codes)
        return gravest(codes.values())
    except SignalException as stop:
        return ExitCode.STOPPED if stop.sigval == signal.SIGTERM else ExitCode.INTERRUPTED
    except (RendezvousError, DistNetworkError, DistStoreError) as error:
        logger.error("the other nodes are gone, or did not come: %s", error)
        return ExitCode.PEER_LOST
    return ExitCode.DONE


def gravest(codes: Iterable[int]) -> int:
    """The code that decides: what need not be tried again first, then what counts, then what costs nothing."""
    return min(codes, key=lambda code: (_BY_WEIGHT.index(retry_of(code)), code), default=ExitCode.FAILED)


def shell_code(code: int) -> int:
    """As shells and Kubernetes tell it: 128 + the signal that ended a process."""
    return code if code >= 0 else 128 - code


def _leave(number: int, frame: FrameType | None) -> None:
    del number, frame
    sys.exit(ExitCode.STOPPED)

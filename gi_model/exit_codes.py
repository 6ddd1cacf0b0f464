"""`ExitCode`: what the end of a `gi` process means, for shells, launchers, and the rules of Kubernetes' jobs alike.

Each code says whether to run the same command again, and whether that costs one of the retries somebody allows:

    never    it would fail again: fix it first            FailJob
    counted  it may pass: the disk, the network, a crash  counts towards backoffLimit
    free     nothing is wrong here, and nothing is lost   Ignore: starts again, costs no retry

65 and 75 are EX_DATAERR and EX_TEMPFAIL of sysexits.h; 130 and 143 are 128 + the signal, as shells say it. Every test
of `k8s/` holds the manifests to these rules; docs/kubernetes.md has them as a table.
"""

from enum import Enum, IntEnum


class Retry(Enum):
    """Whether to run the same command again."""

    NEVER = "never"
    COUNTED = "counted"
    FREE = "free"


class ExitCode(IntEnum):
    """Of `gi`. Whatever is not listed (137: killed, out of memory) is counted."""

    DONE = 0
    FAILED = 1  # anything that has no code of its own
    SETTINGS = 2  # flags or files that cannot work
    NOT_FINITE = 65  # the loss or a gradient is no number
    PEER_LOST = 75  # another process of the group is gone; it says itself why
    INTERRUPTED = 130  # Ctrl-C, or SIGTERM of a command that keeps what is finished
    STOPPED = 143  # SIGTERM: saved, and left because it was asked to

    @property
    def retry(self) -> Retry:
        """Whether to run the same command again; DONE: there is no need."""
        return _RETRIES.get(self, Retry.COUNTED)


_RETRIES = {
    ExitCode.DONE: Retry.NEVER,
    ExitCode.SETTINGS: Retry.NEVER,
    ExitCode.NOT_FINITE: Retry.NEVER,
    ExitCode.PEER_LOST: Retry.FREE,
    ExitCode.INTERRUPTED: Retry.FREE,
    ExitCode.STOPPED: Retry.FREE,
}


def retry_of(code: int) -> Retry:
    """Whether to run again what ended with `code`, any code there is."""
    return ExitCode(code).retry if code in set(ExitCode) else Retry.COUNTED

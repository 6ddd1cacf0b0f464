"""`gi torchrun` ends with the code of its workers: what a job's failure policy sees."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gi_model.exit_codes import ExitCode
from gi_train.torchrun import gravest, shell_code

GI = Path(sys.executable).parent / "gi"


def command(*worker: str, ranks: int = 1) -> list[str]:
    return [str(GI), "torchrun", f"--nproc-per-node={ranks}", "--monitor-interval=0.1", "--no-python", *worker]


def run(*worker: str, ranks: int = 1) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command(*worker, ranks=ranks), capture_output=True, text=True, check=False, timeout=120)


@contextmanager
def started(*worker: str) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(command(*worker), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_the_gravest_code_decides() -> None:
    assert gravest([143, 75]) == 75
    assert gravest([143, 1, 75]) == 1
    assert gravest([143, 137, 1]) == 1
    assert gravest([1, 65, 143]) == 65
    assert gravest([65, 2]) == 2
    assert gravest([]) == 1


def test_signals_are_told_as_shells_tell_them() -> None:
    assert [shell_code(code) for code in (-9, -15, 0, 75)] == [137, 143, 0, 75]


def test_codes_of_workers_come_through() -> None:
    """One launch of three ranks: 0 is asked to stop by the agent when rank 1 ends with 2."""
    script = 'test "$RANK" = 1 && exit 2; sleep 60'
    ran = run("sh", "-c", script, ranks=3)
    assert ran.returncode == ExitCode.SETTINGS, ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_stop_reaches_the_workers_and_comes_back_as_one(tmp_path: Path) -> None:
    """What a preempted pod does: SIGTERM to process 1, which passes it on, waits, and says that it was asked."""
    script = (
        f'trap "echo saved > {tmp_path}/saved; exit 143" TERM; echo up > {tmp_path}/up; while :; do sleep 0.05; done'
    )
    with started("sh", "-c", script) as process:
        deadline = time.monotonic() + 60
        while not (tmp_path / "up").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == ExitCode.STOPPED
    assert (tmp_path / "saved").exists()


def test_nodes_that_do_not_come_are_no_fault_of_this_one() -> None:
    environment = {**os.environ, "PET_NNODES": "2", "PET_RDZV_BACKEND": "c10d", "PET_RDZV_ENDPOINT": "127.0.0.1:0"}
    environment |= {"PET_RDZV_ID": "test", "PET_RDZV_CONF": "join_timeout=1,last_call_timeout=1"}
    ran = subprocess.run(command("true"), capture_output=True, text=True, check=False, timeout=120, env=environment)
    assert ran.returncode == ExitCode.PEER_LOST, ran.stderr

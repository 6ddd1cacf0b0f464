"""`python -m gi_serve.bench_serve_host JOB`: the server of a benchmark, in a process of its own: the real one.

Only the model may be a stand-in. Prints one line of JSON once it takes players: {"port", "capacity"}.
"""

import gc
import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gi_serve.bench_serve_stepper import BenchStepper
from gi_serve.server import Server, bind, end_quietly_on_sigterm
from gi_serve.service import Service, ServiceConfig
from gi_serve.step_times import measure

if TYPE_CHECKING:
    from gi_model.stepper import Stepper


@dataclass(frozen=True, slots=True)
class HostJob:
    """What to serve. checkpoint: a folder, or "" for the stand-in; preset: a real policy with random weights."""

    num_slots: int
    height: int
    width: int
    base_s: float = 0.0
    per_session_s: float = 0.0
    preset: str = ""
    checkpoint: str = ""
    heartbeat_s: float = 5.0
    resume_timeout_s: float = 30.0


def main() -> None:
    """Serve until killed."""
    job = HostJob(**json.loads(sys.argv[1]))
    stepper = make_stepper(job)
    # Everybody is let in: a benchmark shows what becomes of too many; `capacity` tells whom admission would refuse.
    config = ServiceConfig(resume_timeout_s=job.resume_timeout_s, admits_late=True)
    service = Service([], config=config)
    engine = service.add_model(stepper, measure(stepper))
    bound = bind("127.0.0.1", 0)
    end_quietly_on_sigterm()
    gc.collect()
    gc.freeze()  # as `gi serve` does
    facts: dict[str, Any] = {"port": bound.getsockname()[1], "capacity": engine.capacity}
    server = Server(service, heartbeat_s=job.heartbeat_s)
    server.serve_on(bound, lambda: print(json.dumps(facts), flush=True))  # noqa: T201


def make_stepper(job: HostJob) -> "Stepper":
    """The model of `job`."""
    if not (job.preset or job.checkpoint):
        return BenchStepper(
            job.height, job.width, num_slots=job.num_slots, base_s=job.base_s, per_session_s=job.per_session_s
        )
    import torch

    torch.set_num_threads(1)
    from pathlib import Path

    from gi_model.config import preset
    from gi_model.policy import Policy
    from gi_model.policy_stepper import PolicyStepper, load_stepper

    if job.checkpoint:
        return load_stepper(Path(job.checkpoint), num_slots=job.num_slots)
    torch.manual_seed(0)
    return PolicyStepper(Policy(preset(job.preset)), num_slots=job.num_slots)


if __name__ == "__main__":
    main()

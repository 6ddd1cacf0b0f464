"""`python -m tests.serve.echo_server [SLOTS [DRAIN_SECONDS]]`: a server to kill, or to time."""

import sys

from gi_serve.server import Server, bind, end_quietly_on_sigterm
from gi_serve.service import Service, ServiceConfig
from tests.serve.fake_steppers import EchoStepper


def main() -> None:
    bound = bind("127.0.0.1", 0)
    end_quietly_on_sigterm()
    stepper = EchoStepper(num_slots=int(sys.argv[1]) if len(sys.argv) > 1 else 8)
    config = ServiceConfig(drain_s=float(sys.argv[2]) if len(sys.argv) > 2 else 0.0, admits_late=True)
    Server(Service([stepper], config=config)).serve_on(bound, lambda: print(bound.getsockname()[1], flush=True))  # noqa: T201


if __name__ == "__main__":
    main()

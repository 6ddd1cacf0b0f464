"""`python -m tests.serve.echo_server [SLOTS]`: a server in its own process, for tests that kill it and for timings."""

import sys

from gi_serve.server import Server, bind, end_quietly_on_sigterm
from gi_serve.service import Service
from tests.serve.fake_steppers import EchoStepper


def main() -> None:
    bound = bind("127.0.0.1", 0)
    end_quietly_on_sigterm()
    stepper = EchoStepper(num_slots=int(sys.argv[1]) if len(sys.argv) > 1 else 8)
    Server(Service([stepper])).serve_on(bound, lambda: print(bound.getsockname()[1], flush=True))  # noqa: T201


if __name__ == "__main__":
    main()

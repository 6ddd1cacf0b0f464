"""`python -m tests.serve.logging_server KEYS`: a server that asks for keys and logs all it can, in JSON."""

import sys
from pathlib import Path

from gi_serve.access import Access
from gi_serve.logs import configure_logs
from gi_serve.server import Server, bind, end_quietly_on_sigterm
from gi_serve.service import Service
from tests.serve.fake_steppers import FailingStepper


def main() -> None:
    configure_logs("json", level="debug", access=True)
    bound = bind("127.0.0.1", 0)
    end_quietly_on_sigterm()
    service = Service([FailingStepper()], access=Access(Path(sys.argv[1])))
    Server(service).serve_on(bound, lambda: print(bound.getsockname()[1], flush=True))  # noqa: T201


if __name__ == "__main__":
    main()

"""`KubeflowStatus`: tells Kubeflow Trainer how far a run is; `kubectl get trainjob` then shows it.

Trainer 2.2 and later, with its feature gate TrainJobStatus, gives each pod an address, a CA file, and a token file in
KUBEFLOW_TRAINER_SERVER_URL, _CA_CERT, and _TOKEN, and takes a POST of

    {"trainerStatus": {"progressPercentage": 45, "estimatedRemainingSeconds": 120,
                       "metrics": [{"name": "loss", "value": "2.31"}], "lastUpdatedTime": "2026-01-02T03:04:05+00:00"}}

Without those variables there is nobody to tell. Posts leave from a thread, at most one in five seconds, the newest
state first; a server that does not answer costs a run a line of output and no step. The token is read for every post:
it is replaced every hour.
"""

import json
import ssl
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self
from urllib.request import Request, urlopen

from gi_model.errors import ConfigError

PERIOD_S = 5.0
TIMEOUT_S = 5.0
_VARIABLE = "KUBEFLOW_TRAINER_SERVER_"


@dataclass(frozen=True)
class RunStatus:
    """How far a run is: `step` of `steps`, seconds left (None: unknown), figures by name."""

    step: int
    steps: int
    seconds_left: float | None
    metrics: Mapping[str, float]

    def to_request(self) -> dict[str, Any]:
        """The body of a post. 100 % only once the last step is done."""
        status: dict[str, Any] = {
            "progressPercentage": 100 * self.step // self.steps,
            "metrics": [{"name": name, "value": f"{value:.6g}"} for name, value in self.metrics.items()],
            "lastUpdatedTime": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        if self.seconds_left is not None:
            status["estimatedRemainingSeconds"] = round(self.seconds_left)
        return {"trainerStatus": status}


class KubeflowStatus:
    """Posts what `report` is told; `say` gets a line when that begins to fail."""

    def __init__(self, url: str, ca_file: str, token: Path, *, say: Callable[[str], None]) -> None:
        """Raises ConfigError for a CA file that cannot be read."""
        self._url, self._token, self._say = url, token, say
        try:
            self._tls = ssl.create_default_context(cafile=ca_file) if url.startswith("https:") else None
        except OSError as error:
            do = "Kubeflow Trainer mounts it; see the volumes of the pod."
            raise ConfigError(f"cannot read {_VARIABLE}CA_CERT", got=f"{ca_file} ({error})", do=do) from error
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="kubeflow")
        self._flight: Future[None] | None = None
        self._waiting: RunStatus | None = None
        self._left_at = -PERIOD_S
        self._is_failing = False

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], *, say: Callable[[str], None]) -> Self | None:
        """The reporter of this pod, or None where nobody asked. Raises ConfigError if only some variables are set."""
        found = {name: environment.get(_VARIABLE + name) for name in ("URL", "CA_CERT", "TOKEN")}
        url, ca_file, token = found.values()
        if url is None:
            return None
        if ca_file is None or token is None:
            missing = next(_VARIABLE + name for name, value in found.items() if value is None)
            raise ConfigError(f"{_VARIABLE}URL is set, {missing} is not", do="Set all three, or none.")
        return cls(url, ca_file, Path(token), say=say)

    def report(self, status: RunStatus) -> None:
        """Post `status` now, or later what is newest by then."""
        self._waiting = status
        is_free = self._flight is None or self._flight.done()
        if is_free and time.monotonic() >= self._left_at + PERIOD_S:
            self._send()

    def close(self) -> None:
        """Post what still waits, and end."""
        if self._waiting is not None:
            self._send()
        self._thread.shutdown()

    def _send(self) -> None:
        assert self._waiting is not None
        status, self._waiting, self._left_at = self._waiting, None, time.monotonic()
        self._flight = self._thread.submit(self._post, status)

    def _post(self, status: RunStatus) -> None:
        """In the thread. Nothing that goes wrong here is worth a step."""
        try:
            headers = {"Authorization": f"Bearer {self._token.read_text().strip()}", "Content-Type": "application/json"}
            request = Request(self._url, json.dumps(status.to_request()).encode(), headers, method="POST")
            with urlopen(request, timeout=TIMEOUT_S, context=self._tls) as answer:
                answer.read()
        except (OSError, ValueError) as error:  # URLError, HTTPError, and timeouts are OSErrors
            if not self._is_failing:
                self._say(f"Kubeflow Trainer does not take the run's progress: {error}")
            self._is_failing = True
        else:
            self._is_failing = False

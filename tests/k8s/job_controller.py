"""A small Job controller: it starts the pods of an Indexed Job, and does about their ends what the manifest says."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.k8s.failures import PodEnd, judge_pod
from tests.k8s.sandbox import Pod
from tests.k8s.workloads import Workload

Start = Callable[[int], Pod]
KILLED = 137


@dataclass
class JobController:
    """Of one Job. start: makes the pod of an index. said: what it did, for the record."""

    workload: Workload
    start: Start
    say: Callable[[str], object] = print
    pods: dict[int, Pod] = field(default_factory=dict)
    disrupted: set[int] = field(default_factory=set)  # indexes whose pod has the condition DisruptionTarget
    killed_at: dict[int, float] = field(default_factory=dict)  # when the grace of an index's pod is over
    num_failed: int = 0
    num_restarts: int = 0
    num_succeeded: int = 0
    state: str = "Running"

    def begin(self) -> None:
        """Start all pods."""
        assert self.workload.job is not None
        for index in range(self.workload.job["completions"]):
            self.pods[index] = self.start(index)

    def preempt(self, index: int) -> None:
        """What a node drain, or a spot notice, does: mark the pod, SIGTERM, and SIGKILL when its grace is over."""
        self.disrupted.add(index)
        self.pods[index].terminate()
        self.killed_at[index] = time.monotonic() + self.workload.spec["terminationGracePeriodSeconds"]

    def lose_node(self, index: int) -> None:
        """What a power cut does: nothing runs any more, and the pod is marked once the node is found gone."""
        self.disrupted.add(index)
        self.pods[index].lose_power()
        self._ended(index, KILLED)

    def step(self) -> None:
        """Look at the pods once."""
        for index, pod in list(self.pods.items()):
            if index in self.killed_at and time.monotonic() > self.killed_at[index] and pod.exit_code is None:
                pod.lose_power()
            if (code := pod.exit_code) is not None:
                self._ended(index, code)
            if self.state != "Running":
                return

    def run(self, until: Callable[[], bool] = lambda: False, *, limit_s: float = 300.0) -> None:
        """Control until `until`, or the Job's end."""
        give_up = time.monotonic() + limit_s
        while self.state == "Running" and not until():
            assert time.monotonic() < give_up, f"nothing came of it in {limit_s} s"
            self.step()
            time.sleep(0.05)

    def stop(self) -> None:
        """End what still runs."""
        for pod in self.pods.values():
            pod.lose_power()

    def _ended(self, index: int, code: int) -> None:
        assert self.workload.job is not None
        job, was_disrupted = self.workload.job, index in self.disrupted
        self.disrupted.discard(index)
        self.killed_at.pop(index, None)
        del self.pods[index]
        if code == 0:
            self.say(f"pod {index} succeeded")
            self.num_succeeded += 1
            rules = job.get("successPolicy", {}).get("rules", [])
            if any(self.num_succeeded >= rule["succeededCount"] for rule in rules) or not self.pods:
                self.state = "Complete"
                self.stop()
            return
        action, message = judge_pod(job, PodEnd(code, disrupted=was_disrupted))
        how = "preempted or lost" if was_disrupted else "failed"
        self.num_failed += action == "Count"
        self.say(f"pod {index} {how} with {code}: {action}; {self.num_failed} of {job['backoffLimit']} retries spent")
        if action == "FailJob" or self.num_failed > job["backoffLimit"]:
            self.state = f"Failed: {message}"
            self.stop()
            return
        self.num_restarts += 1
        self.pods[index] = self.start(index)

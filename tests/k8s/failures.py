"""What Kubernetes does about a pod that failed: the Job controller's rules, and JobSet's on top.

Small interpreters of `podFailurePolicy` and `failurePolicy`, as their controllers read them (rules in order, the first
that matches; the messages are the Job controller's own). Tests hold the manifests to `gi_model.exit_codes` by them, and
the rehearsal restarts its pods by them.
"""

import re
from dataclasses import dataclass
from typing import Literal

from gi_model.exit_codes import Retry
from tests.k8s.rendering import Object
from tests.k8s.workloads import Workload

Action = Literal["FailJob", "Ignore", "Count", "FailIndex"]


@dataclass(frozen=True)
class PodEnd:
    """How a pod ended. disrupted: it has the condition DisruptionTarget (preempted, drained, evicted)."""

    exit_code: int
    disrupted: bool = False
    container: str = "node"


def judge_pod(job: Object, end: PodEnd) -> tuple[Action, str]:
    """What the Job controller does, and its message when that fails the Job."""
    for index, rule in enumerate(job.get("podFailurePolicy", {}).get("rules", [])):
        action: Action = rule["action"]
        if "onExitCodes" in rule and _matches(rule["onExitCodes"], end):
            reason = f"Container {end.container} for pod gi/x failed with exit code {end.exit_code}"
            return action, f"{reason} matching {action} rule at index {index}"
        for condition in rule.get("onPodConditions", []):
            is_met = end.disrupted and condition.get("status", "True") == "True"
            if condition["type"] == "DisruptionTarget" and is_met:
                return action, f"Pod gi/x has condition DisruptionTarget matching {action} rule at index {index}"
    return "Count", "Job has reached the specified backoff limit"


def _matches(rule: Object, end: PodEnd) -> bool:
    if rule.get("containerName", end.container) != end.container or end.exit_code == 0:
        return False
    return bool((end.exit_code in rule["values"]) == (rule["operator"] == "In"))


def retry_after(workload: Workload, end: PodEnd) -> Retry:
    """Whether the work is done again after a pod's end, and whether that costs a retry."""
    assert workload.job is not None
    action, message = judge_pod(workload.job, end)
    if workload.failure_policy is None:
        return {"FailJob": Retry.NEVER, "Ignore": Retry.FREE}.get(action, Retry.COUNTED)
    if action == "Ignore":
        return Retry.FREE
    reason = "PodFailurePolicy" if action == "FailJob" else "BackoffLimitExceeded"
    for rule in workload.failure_policy.get("rules", []):
        reasons, patterns = rule.get("onJobFailureReasons", []), rule.get("onJobFailureMessagePatterns", [])
        if (not reasons or reason in reasons) and (not patterns or any(re.search(each, message) for each in patterns)):
            actions = {"FailJobSet": Retry.NEVER, "RestartJobSetAndIgnoreMaxRestarts": Retry.FREE}
            return actions.get(rule["action"], Retry.COUNTED)
    return Retry.COUNTED

"""Every manifest there is, and some that users would put together, meets every demand."""

import re
from pathlib import Path

import pytest

from gi_model.exit_codes import ExitCode
from tests.k8s.failures import PodEnd, judge_pod
from tests.k8s.rendering import BASES, K8S, OVERLAYS, ROOT, TOGETHER, Object, of_kind, render, render_together
from tests.k8s.rules import problems
from tests.k8s.rules_commands import torchrun_flags
from tests.k8s.schemas import VERSIONS
from tests.k8s.workloads import commands, workloads


@pytest.mark.parametrize("name", [*BASES, *OVERLAYS])
def test_it_meets_every_demand(name: str) -> None:
    assert problems(render(K8S / name)) == []


@pytest.mark.parametrize("name", TOGETHER)
def test_what_users_put_together_does_too(name: str, tmp_path: Path) -> None:
    assert problems(render_together(tmp_path, *TOGETHER[name])) == []


def test_the_three_newest_versions_are_meant() -> None:
    assert VERSIONS == ("1.35", "1.36", "1.37")


def test_local_runs_the_very_command_of_the_readme() -> None:
    (_, words, _), *others = commands(render(K8S / "overlays/local"))
    assert not others
    assert " ".join(words) in (ROOT / "README.md").read_text()


def test_the_other_ways_to_train_run_the_pods_of_the_base() -> None:
    """JobSet and Trainer start what the Job starts: one pod template, changed by nothing but what starts it."""
    (job,) = workloads(render(K8S / "overlays/ddp"))
    for name in ("jobset", "trainjob"):
        (other,) = workloads(render(K8S / "overlays" / name))
        assert other.template == job.template


def test_variables_of_torchrun_are_its_flags() -> None:
    for name in ("base/pretrain", "overlays/jobset", "overlays/trainjob"):
        data = of_kind(render(K8S / name), "ConfigMap")[0]["data"]
        assert {variable for variable in data if variable.startswith("PET_")} <= torchrun_flags()


def test_the_table_of_exit_codes_is_in_the_documents() -> None:
    text = (ROOT / "docs/kubernetes.md").read_text()
    for code in ExitCode:
        assert re.search(rf"^\| {int(code)} \| .*{code.retry.value if code else 'done'}", text, re.MULTILINE), code


def test_rules_are_read_in_order() -> None:
    job: Object = {
        "podFailurePolicy": {
            "rules": [
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                {"action": "FailJob", "onExitCodes": {"operator": "NotIn", "values": [7]}},
            ]
        }
    }
    assert judge_pod(job, PodEnd(1, disrupted=True))[0] == "Ignore"
    action, message = judge_pod(job, PodEnd(1))
    assert (action, message) == (
        "FailJob",
        "Container node for pod gi/x failed with exit code 1 matching FailJob rule at index 1",
    )
    assert judge_pod(job, PodEnd(7))[0] == "Count"

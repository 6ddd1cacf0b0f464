"""A real API server takes every manifest, loses nothing of it, and refuses broken ones.

Runs where `make api-server` has built it. In front stands Kubernetes 1.20, so what came later is taken out of core
objects first (`as_of_1_20`); custom resources are judged by 1.36 as they are.
"""

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubeflow_trainer_api.models as kubeflow  # type: ignore[import-untyped]
import pytest

from tests.k8s.api_server import ApiServer, api_server, is_built
from tests.k8s.breakages import BREAKAGES, box, one
from tests.k8s.custom_resources import MODELLED, RULES, TOLD
from tests.k8s.rendering import BASES, K8S, OVERLAYS, TOGETHER, Object, render, render_together
from tests.k8s.schemas import lost
from tests.k8s.workloads import workloads

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not is_built(), reason="no API server is built; do this: make api-server"),
]
CUSTOM = {kind: f"{group}/{version}" for group, version, kind in (*MODELLED, *TOLD)}
OLDER = {"autoscaling/v2": "autoscaling/v2beta2", "policy/v1": "policy/v1beta1"}  # became these, and did not change
REFUSED = {  # of the campaign in test_mutations.py, what servers must notice; the rest is wrong only for us
    "a field with a typing error": "restartPolicyy",
    "a number that is a word": "completions",
    "a value outside of its choice": "protocol",
    "a field JobSet does not know": "network2",
    "a field JobSet knows at another place": "spec.maxRestarts",
    "a wrong type in JobSet": "maxRestarts: expected numeric",
    "a field of an older Trainer": "podTemplateOverrides",
    "a pod field inside of a runtime": "gracePeriod",
    "a pod field inside of Ray's": "image2",
    "the node's disk": "more than 1 volume type",
    "a request beyond the limit": "less than or equal to memory limit",
    "a mount without a volume": 'Not found: "keys"',
    "labels that nobody finds": "selector.*does not match template",
}
NEWER = (  # fields of Jobs
    *("completionMode", "backoffLimitPerIndex", "maxFailedIndexes", "successPolicy"),
    *("podFailurePolicy", "podReplacementPolicy", "suspend"),
)


def as_of_1_20(objects: list[Object]) -> list[Object]:
    """The same, as Kubernetes 1.20 knows it: core kinds without what came later; custom resources untouched."""
    objects = copy.deepcopy(objects)
    for each in objects:
        each["apiVersion"] = OLDER.get(each["apiVersion"], each["apiVersion"])
        if each["kind"] == "Job":
            each["spec"] = {name: value for name, value in each["spec"].items() if name not in NEWER}
        if each["kind"] == "Service":  # a default that its server-side apply did not see
            each["spec"]["ports"] = [{"protocol": "TCP", **port} for port in each["spec"]["ports"]]
    for workload in workloads([each for each in objects if each["kind"] == "Deployment"]):
        for container in workload.containers:
            if "sleep" in container.get("lifecycle", {}).get("preStop", {}):
                container["lifecycle"]["preStop"] = {"exec": {"command": ["sleep", "10"]}}
    return objects


@pytest.fixture(scope="module")
def server() -> Iterator[ApiServer]:
    with api_server() as running:
        yield running


def returned(text: str) -> dict[tuple[str, str], Object]:
    answer = json.loads(text)
    items = answer["items"] if answer["kind"] == "List" else [answer]
    return {(each["kind"], each["metadata"]["name"]): each for each in items}


def takes(server: ApiServer, objects: list[Object]) -> None:
    objects = as_of_1_20(objects)
    ran = server.apply(objects, "--dry-run=server")
    assert ran.returncode == 0, ran.stderr
    answers = returned(ran.stdout)
    for each in objects:
        assert list(lost(each, answers[each["kind"], each["metadata"]["name"]])) == []


def refusal(server: ApiServer, objects: list[Object]) -> str:
    """Why `objects` are not taken; empty if they are."""
    ran = server.apply(as_of_1_20(objects), "--dry-run=server")
    return ran.stderr if ran.returncode else ""


@pytest.mark.parametrize("name", [*BASES, *OVERLAYS])
def test_it_takes_every_manifest_whole(server: ApiServer, name: str) -> None:
    takes(server, render(K8S / name))


def test_it_takes_what_users_put_together(server: ApiServer, tmp_path: Path) -> None:
    takes(server, render_together(tmp_path, *TOGETHER["everything on spot GPUs in a queue, watched"]))


@pytest.mark.parametrize("name", REFUSED)
def test_it_refuses(server: ApiServer, name: str) -> None:
    objects = copy.deepcopy(render(K8S / BREAKAGES[name].manifest))
    good = copy.deepcopy(objects)
    BREAKAGES[name].do(objects)
    assert re.search(REFUSED[name], refusal(server, [each for each in objects if each not in good]))


@pytest.mark.parametrize("kind", CUSTOM)
def test_fields_that_are_not_known_are_refused(server: ApiServer, kind: str) -> None:
    spec: Any = {"colour": "red"}
    resource = {"apiVersion": CUSTOM[kind], "kind": kind, "metadata": {"name": "x", "namespace": "gi"}, "spec": spec}
    assert "colour" in refusal(server, [resource])


def test_a_choice_that_there_is_not(server: ApiServer) -> None:
    objects = copy.deepcopy(render(K8S / "overlays/jobset"))
    one(objects, "JobSet")["spec"]["failurePolicy"]["rules"][0]["action"] = "Panic"
    one(objects, "LocalQueue")["spec"]["stopPolicy"] = "Never"
    found = refusal(server, objects)
    assert re.search('action: Unsupported value: "Panic"', found)
    assert re.search('stopPolicy: Unsupported value: "Never"', found)


def test_one_variable_twice(server: ApiServer) -> None:
    """Which of the two would win? Lists with keys may not have one twice."""
    for name in ("overlays/jobset", "overlays/trainjob", "base/serve"):
        objects = copy.deepcopy(render(K8S / name))
        box(objects)["env"].append({"name": "HOME", "value": "/"})
        assert "duplicate" in refusal(server, objects), name


def test_what_may_not_change_does_not(server: ApiServer) -> None:
    """Rules in CEL, of upstream: they compare with what is there, so it is really made."""
    made = [*render(K8S / "overlays/jobset"), *render(K8S / "overlays/trainjob")]
    made = copy.deepcopy([each for each in made if each["kind"] in CUSTOM])
    ran = server.apply(made)
    assert ran.returncode == 0, ran.stderr
    one(made, "JobSet")["spec"]["network"]["subdomain"] = "elsewhere"
    one(made, "TrainJob")["spec"]["runtimeRef"]["name"] = "other"
    one(made, "LocalQueue")["spec"]["clusterQueue"] = "other"
    assert len(re.findall("immutable", refusal(server, made))) == 3


def test_every_rule_is_of_a_field_there_is() -> None:
    for rule in RULES:
        model, field = rule.split(".")
        assert field in getattr(kubeflow, model).model_json_schema(by_alias=True)["properties"], rule

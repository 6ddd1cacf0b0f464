"""Every pod template there is, wherever an object keeps it, and the job around it."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.k8s.rendering import Object, settings

REFERENCE = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)")


@dataclass(frozen=True)
class Workload:
    """A pod template in its object. job: the Job's spec around it, if one is; around: what decides over failed Jobs."""

    kind: str
    name: str
    template: Object
    annotations: dict[str, str] = field(default_factory=dict)
    job: Object | None = None
    failure_policy: Object | None = None  # of a JobSet

    @property
    def spec(self) -> Object:
        spec: Object = self.template["spec"]
        return spec

    @property
    def containers(self) -> list[Object]:
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    @property
    def labels(self) -> dict[str, str]:
        return dict(self.template.get("metadata", {}).get("labels", {}))

    @property
    def title(self) -> str:
        return f"{self.kind}/{self.name}"


def workloads(objects: list[Object]) -> Iterator[Workload]:
    """All of `objects`."""
    for each in objects:
        kind, meta, spec = each["kind"], each["metadata"], each.get("spec", {})
        annotations = meta.get("annotations", {})
        if kind == "Job":
            yield Workload(kind, meta["name"], spec["template"], annotations, job=spec)
        elif kind == "Deployment":
            yield Workload(kind, meta["name"], spec["template"], annotations)
        elif kind == "JobSet":
            yield from _of_job_set(kind, meta["name"], spec, annotations)
        elif kind == "TrainingRuntime":
            inner = spec["template"]
            yield from _of_job_set(kind, meta["name"], inner["spec"], inner.get("metadata", {}).get("annotations", {}))
        elif kind == "RayJob":
            cluster = spec["rayClusterSpec"]
            for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
                yield Workload(kind, meta["name"], group["template"])


def _of_job_set(kind: str, name: str, spec: Object, annotations: dict[str, str]) -> Iterator[Workload]:
    for replicated in spec["replicatedJobs"]:
        job = replicated["template"]["spec"]
        policy = spec.get("failurePolicy", {})
        yield Workload(kind, name, job["template"], annotations, job=job, failure_policy=policy)


def environment(container: Object, objects: list[Object]) -> dict[str, str]:
    """What a container finds in its environment; values that only a cluster knows are stand-ins."""
    found: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        found |= settings(objects, source.get("configMapRef", {}).get("name", ""))
    for variable in container.get("env") or []:
        found[variable["name"]] = variable.get("value", _stand_in(variable.get("valueFrom", {})))
    return found


def _stand_in(source: dict[str, Any]) -> str:
    return "0" if "job-completion-index" in source.get("fieldRef", {}).get("fieldPath", "") else "secret"


def argv(container: Object, variables: dict[str, str]) -> list[str]:
    """Command and arguments as the kubelet would start them: $(NAME) becomes its value, or stays if there is none."""
    words = [*container.get("command", []), *container.get("args", [])]
    return [REFERENCE.sub(lambda found: variables.get(found[1], found[0]), word) for word in words]


def commands(objects: list[Object]) -> Iterator[tuple[str, list[str], dict[str, str]]]:
    """(where, argv, environment) of every command that is started."""
    for workload in workloads(objects):
        for container in workload.containers:
            variables = environment(container, objects)
            if words := argv(container, variables):
                yield f"{workload.title}/{container['name']}", words, variables
    for each in objects:
        if each["kind"] == "RayJob":
            yield f"RayJob/{each['metadata']['name']}", shlex.split(each["spec"]["entrypoint"]), {}

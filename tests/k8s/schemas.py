"""Objects against schemas: the core's at the three newest API versions, JobSet's and Kubeflow Trainer's by models."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import kubeflow_trainer_api.models as kubeflow  # type: ignore[import-untyped]
import kubernetes_validate.utils as validating  # type: ignore[import-untyped]
from pydantic import ValidationError

from tests.k8s.rendering import Object
from tests.k8s.workloads import workloads

MODELS: dict[str, Any] = {
    "JobSet": kubeflow.JobsetV1alpha2JobSet,
    "TrainJob": kubeflow.TrainerV1alpha1TrainJob,
    "TrainingRuntime": kubeflow.TrainerV1alpha1TrainingRuntime,
}
UNKNOWN = {  # no package here has their schemas; their pod templates are judged all the same (and test_api_server.py)
    ("RayJob", "ray.io/v1"),
    ("LocalQueue", "kueue.x-k8s.io/v1beta2"),
    ("ServiceMonitor", "monitoring.coreos.com/v1"),
}
VERSIONS = tuple(dict.fromkeys(validating.major_minor(each) for each in validating.all_versions()))[-3:]
validating.schema_contents = cache(validating.schema_contents)  # megabytes of JSON, else read for every object


def schema_problems(objects: list[Object]) -> Iterator[str]:
    """What no API server would accept."""
    for each in objects:
        title = f"{each['kind']}/{each['metadata']['name']}"
        if each["kind"] in MODELS:
            yield from (f"{title}: {problem}" for problem in _modelled(each))
        elif (each["kind"], each["apiVersion"]) not in UNKNOWN:
            yield from (f"{title}: {problem}" for problem in _validated(each))
    for workload in workloads(objects):  # inside of objects whose schema is looser, or unknown
        if workload.kind not in ("Job", "Deployment"):
            inner: Object = {"apiVersion": "v1", "kind": "PodTemplate", "template": workload.template}
            if workload.job is not None:
                inner = {"apiVersion": "batch/v1", "kind": "Job", "spec": workload.job}
            yield from (f"in {workload.title}: {problem}" for problem in _validated(inner))


def _validated(each: Object) -> Iterator[str]:
    for version in VERSIONS:
        try:
            validating.validate(each, version, strict=True)
        except validating.ValidationError as error:
            yield f"{version}: {'.'.join(map(str, error.path))}: {error.message[:200]}"
        except validating.SchemaNotFoundError as error:
            yield f"{version}: {error.message}"


def _modelled(each: Object) -> Iterator[str]:
    """The models drop what they do not know: what comes back must be what went in."""
    try:
        returned = MODELS[each["kind"]].from_dict(each).to_dict()
    except (ValidationError, ValueError) as error:
        yield str(error)[:300]
        return
    yield from (f"unknown field {path}" for path in lost(each, returned))


def lost(sent: Any, returned: Any, path: str = "") -> Iterator[str]:
    """The paths of fields that were sent and did not come back."""
    if isinstance(sent, dict) and isinstance(returned, dict):
        for name, value in sent.items():
            if name not in returned:
                yield f"{path}.{name}"
            else:
                yield from lost(value, returned[name], f"{path}.{name}")
    elif isinstance(sent, list) and isinstance(returned, list):
        for index, (one, other) in enumerate(zip(sent, returned, strict=True)):
            yield from lost(one, other, f"{path}[{index}]")

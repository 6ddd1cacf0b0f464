"""What holds for every pod: no root, no rights, bounded resources, whole volumes, secrets by reference."""

import re
from collections.abc import Iterator
from functools import cache

from gi_model import __version__
from tests.k8s.rendering import K8S, Object, of_kind, render
from tests.k8s.workloads import REFERENCE, Workload, argv, environment, workloads

SECRETS = {"gi-object-storage", "gi-serve-keys"}  # docs/kubernetes.md says how to make them
BOUNDED = ("cpu", "memory", "ephemeral-storage")
_UNITS = {"": 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9}
_SECRET = re.compile(r"KEY|SECRET|TOKEN|PASSWORD")


def pod_problems(objects: list[Object]) -> Iterator[str]:
    """Of every pod template in `objects`."""
    names = {each["metadata"]["name"] for each in of_kind(objects, "ConfigMap")}
    for workload in workloads(objects):
        found = [*_not_hardened(workload), *_volumes(workload)]
        for container in workload.containers:
            found += [*_not_contained(container), *_unbounded(container, workload), *_mounts(container, workload)]
            found += [*_environment(container, objects, names)]
        yield from (f"{workload.title}: {problem}" for problem in found)


def quantity(text: object) -> float:
    """A Kubernetes quantity as a number."""
    found = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", str(text))
    assert found is not None, text
    return float(found[1]) * _UNITS[found[2]]


@cache
def in_common(kind: str) -> set[str]:
    """Names of what every namespace has: `kubectl apply -k k8s/base/common`."""
    return {each["metadata"]["name"] for each in of_kind(render(K8S / "base/common"), kind)}


def _not_hardened(workload: Workload) -> Iterator[str]:
    spec = workload.spec
    user = spec.get("securityContext", {})
    if user.get("runAsNonRoot") is not True or not user.get("runAsUser") or not user.get("runAsGroup"):
        yield "may run as root"
    if user.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield "no seccomp profile"
    if not user.get("fsGroup"):
        yield "no fsGroup: volumes belong to root"
    if any(spec.get(name) for name in ("hostNetwork", "hostPID", "hostIPC")):
        yield "shares a namespace of the node"
    if spec.get("automountServiceAccountToken") is not False:
        yield "holds a token of the cluster"
    if spec.get("serviceAccountName") not in in_common("ServiceAccount"):
        yield "no service account of ours"
    if (
        workload.labels.get("app.kubernetes.io/part-of") != "gi-model"
        or "app.kubernetes.io/name" not in workload.labels
    ):
        yield "no labels: network policies and services do not find it"


def _not_contained(container: Object) -> Iterator[str]:
    limits = container.get("securityContext", {})
    if limits.get("allowPrivilegeEscalation") is not False or limits.get("privileged"):
        yield f"{container['name']} may gain privileges"
    if limits.get("readOnlyRootFilesystem") is not True:
        yield f"{container['name']} may write into its image"
    if limits.get("capabilities", {}).get("drop") != ["ALL"] or limits.get("capabilities", {}).get("add"):
        yield f"{container['name']} has capabilities"
    name, _, tag = container["image"].partition(":")
    if name.rpartition("/")[2] not in ("gi-train", "gi-serve") or tag != __version__:
        yield f"image {container['image']} is not of this version"


def _unbounded(container: Object, workload: Workload) -> Iterator[str]:
    resources = container.get("resources", {})
    requests, limits = resources.get("requests", {}), resources.get("limits", {})
    for name in BOUNDED:
        if name not in requests or name not in limits:
            yield f"{container['name']} has no request or limit of {name}"
        elif quantity(requests[name]) > quantity(limits[name]):
            yield f"{container['name']} requests more {name} than its limit"
    if requests.get("nvidia.com/gpu") != limits.get("nvidia.com/gpu"):
        yield f"{container['name']} requests other GPUs than its limit"
    disks = [volume["emptyDir"] for volume in workload.spec.get("volumes", []) if "emptyDir" in volume]
    on_disk = sum(quantity(disk.get("sizeLimit", 0)) for disk in disks if disk.get("medium") != "Memory")
    if "ephemeral-storage" in limits and on_disk > quantity(limits["ephemeral-storage"]):
        yield f"{container['name']}: its empty volumes outgrow its limit of ephemeral-storage"
    in_memory = sum(quantity(disk.get("sizeLimit", 0)) for disk in disks if disk.get("medium") == "Memory")
    if "memory" in limits and in_memory > quantity(limits["memory"]) / 2:
        yield f"{container['name']}: shared memory takes over half of its memory"


def _volumes(workload: Workload) -> Iterator[str]:
    mounted = {mount["name"] for container in workload.containers for mount in container.get("volumeMounts", [])}
    for volume in workload.spec.get("volumes", []):
        if volume["name"] not in mounted:
            yield f"volume {volume['name']} is used by nobody"
        if "hostPath" in volume:
            yield f"volume {volume['name']} is the node's"
        if "emptyDir" in volume and "sizeLimit" not in volume["emptyDir"]:
            yield f"volume {volume['name']} has no bound"
        claim = volume.get("persistentVolumeClaim", {}).get("claimName")
        if claim and claim not in in_common("PersistentVolumeClaim"):
            yield f"there is no claim {claim}"
        secret = volume.get("secret", {}).get("secretName")
        if secret and secret not in SECRETS:
            yield f"nobody makes the secret {secret}"


def _mounts(container: Object, workload: Workload) -> Iterator[str]:
    volumes = {volume["name"] for volume in workload.spec.get("volumes", [])}
    mounts = container.get("volumeMounts", [])
    for mount in mounts:
        if mount["name"] not in volumes:
            yield f"{container['name']} mounts {mount['name']}, which there is not"
    if "/tmp" not in {mount["mountPath"] for mount in mounts}:
        yield f"{container['name']} has no place for temporary files"


def _environment(container: Object, objects: list[Object], config_maps: set[str]) -> Iterator[str]:
    for source in container.get("envFrom") or []:
        name = source.get("configMapRef", {}).get("name")
        if name not in config_maps:
            yield f"there is no ConfigMap {name}"
    for variable in container.get("env") or []:
        if _SECRET.search(variable["name"]) and "value" in variable:
            yield f"{variable['name']} holds a secret in the open"
        secret = variable.get("valueFrom", {}).get("secretKeyRef", {}).get("name")
        if secret and secret not in SECRETS:
            yield f"nobody makes the secret {secret}"
    variables = environment(container, objects)
    for word in argv(container, variables):
        yield from (f"{container['name']}: {name} is not set" for name in REFERENCE.findall(word))
    if not str(variables.get("HOME", "")).startswith("/tmp"):
        yield f"{container['name']} has no home to write to"

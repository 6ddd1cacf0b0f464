"""What holds for a render as a whole: one namespace, closed networks, versions that fit together."""

import re
from collections.abc import Iterator

from tests.k8s.rendering import ROOT, Object, of_kind
from tests.k8s.workloads import workloads


def cluster_problems(objects: list[Object]) -> Iterator[str]:
    """Of `objects` together."""
    seen: set[tuple[str, str]] = set()
    for each in objects:
        key = each["kind"], each["metadata"]["name"]
        if key in seen:
            yield f"{'/'.join(key)} is there twice"
        seen.add(key)
        if each["kind"] != "Namespace" and each["metadata"].get("namespace") != "gi":
            yield f"{'/'.join(key)} is outside of the namespace"
    yield from _networks(objects)
    yield from _ray(objects)
    yield from _storage(objects)


def _networks(objects: list[Object]) -> Iterator[str]:
    policies = of_kind(objects, "NetworkPolicy")
    if of_kind(objects, "Namespace") and not any(
        each["spec"]["podSelector"] == {}
        and set(each["spec"].get("policyTypes", [])) == {"Ingress", "Egress"}
        and not each["spec"].get("ingress")
        and not each["spec"].get("egress")
        for each in policies
    ):
        yield "pods may talk to anybody"
    for each in policies:
        title = f"NetworkPolicy/{each['metadata']['name']}"
        wanted = each["spec"]["podSelector"].get("matchLabels", {})
        selected = [one for one in workloads(objects) if wanted.items() <= one.labels.items()]
        names = {port.get("name") for one in selected for port in one.spec["containers"][0].get("ports", [])}
        for rule in (*each["spec"].get("ingress", []), *each["spec"].get("egress", [])):
            peers = rule.get("from", rule.get("to"))
            if not peers:
                yield f"{title}: lets everybody in or out"
            for port in rule.get("ports", []):
                if selected and isinstance(port["port"], str) and port["port"] not in names:
                    yield f"{title}: no pod of its has a port {port['port']}"
            for block in (peer["ipBlock"] for peer in peers or [] if "ipBlock" in peer):
                if not any(part.startswith("169.254.") for part in block.get("except", [])):
                    yield f"{title}: the cloud's metadata address is open"
    for each in of_kind(objects, "Namespace"):
        if each["metadata"].get("labels", {}).get("pod-security.kubernetes.io/enforce") != "restricted":
            yield "the namespace takes pods that are not restricted"


def _ray(objects: list[Object]) -> Iterator[str]:
    locked = re.search(r"^ray==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert locked is not None
    for each in of_kind(objects, "RayJob"):
        if (version := each["spec"]["rayClusterSpec"].get("rayVersion")) != locked[1]:
            yield f"the operator is told Ray {version}, the image has {locked[1]}"
        if not each["spec"].get("shutdownAfterJobFinishes"):
            yield "the cluster outlives its job"


def _storage(objects: list[Object]) -> Iterator[str]:
    """What several nodes write must be a volume that several nodes can mount."""
    pods = sum((each.job or {}).get("parallelism", 1) for each in workloads(objects))
    for each in of_kind(objects, "PersistentVolumeClaim"):
        if pods > 1 and each["spec"]["accessModes"] != ["ReadWriteMany"]:
            yield f"PersistentVolumeClaim/{each['metadata']['name']}: only one node can write it"

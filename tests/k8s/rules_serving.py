"""What holds for serving: probes ask routes there are, a pod leaves only after its players, and those find it again."""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from gi_serve.app import build_app
from gi_serve.metrics import MetricsCollector, ModelMetrics, ServerMetrics
from gi_serve.server import HEARTBEAT_S
from gi_serve.service import Service
from tests.k8s.rendering import Object, of_kind
from tests.k8s.rules_commands import parse
from tests.k8s.workloads import Workload, argv, environment, workloads

LOAD_MARGIN = 3  # a cold disk, a busy node
SECONDS_AFTER_DRAIN = 5.0


def serving_problems(objects: list[Object]) -> Iterator[str]:
    """Of every server in `objects`, and of what stands in front of it."""
    for workload in workloads(objects):
        container = workload.spec["containers"][0]
        words = argv(container, environment(container, objects))
        if words[:2] == ["gi", "serve"]:
            try:
                _, flags = parse(words)
            except Exception:
                continue
            found = [*_probes(workload, container), *_end(workload, container, flags), *_listens(container, flags)]
            found += [*_front(workload, objects, flags), *_files(container, flags)]
            yield from (f"{workload.title}: {problem}" for problem in found)
    yield from _scaling(objects)
    yield from _monitors(objects)


@cache
def routes() -> dict[str, set[str]]:
    """Paths of the real app, and their methods."""
    found: dict[str, set[str]] = {}
    for path, operations in build_app(Service([])).openapi()["paths"].items():
        found[path] = {method.upper() for method in operations}
    return found


@cache
def metrics() -> set[str]:
    """Names in /metrics, of counters as Prometheus shows them."""
    collector = MetricsCollector(ServerMetrics(), lambda: {"model": ModelMetrics()})
    return {sample.name for family in collector.collect() for sample in family.samples} | {
        family.name for family in collector.collect()
    }


def _ports(container: Object) -> dict[str, int]:
    return {port["name"]: port["containerPort"] for port in container.get("ports", [])}


def _probes(workload: Workload, container: Object) -> Iterator[str]:
    ports = _ports(container)
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        probe = container.get(name, {}).get("httpGet", {})
        if "GET" not in routes().get(probe.get("path", ""), set()):
            yield f"{name} asks {probe.get('path')}, which the server does not have"
        if probe.get("port") not in (*ports, *ports.values()):
            yield f"{name} asks port {probe.get('port')}, which is not open"
    if not container.get("readinessProbe", {}).get("httpGet", {}).get("path", "").endswith("/ready"):
        yield "readiness is not the engine's own"
    if not container.get("livenessProbe", {}).get("httpGet", {}).get("path", "").endswith("/live"):
        yield "a pod that drains would be restarted under its players"
    startup = container.get("startupProbe", {})
    budget_s = startup.get("periodSeconds", 10) * startup.get("failureThreshold", 3) + startup.get(
        "initialDelaySeconds", 0
    )
    measured_s = float(workload.annotations.get("gi-model/measured-load-seconds", "inf"))
    if budget_s < LOAD_MARGIN * measured_s:
        yield f"killed {budget_s} s after its start; loading took {measured_s:g} s where it was measured"


def _end(workload: Workload, container: Object, flags: dict[str, Any]) -> Iterator[str]:
    pre_stop_s = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    readiness_s = container.get("readinessProbe", {}).get("periodSeconds", 10)
    if pre_stop_s < readiness_s + 1:
        yield "SIGTERM comes before those who send new players know"
    grace_s = workload.spec.get("terminationGracePeriodSeconds", 30)
    if grace_s < pre_stop_s + flags["drain_seconds"] + SECONDS_AFTER_DRAIN:
        yield f"killed {grace_s} s after the end began; it needs {pre_stop_s} + {flags['drain_seconds']:g} + 5"
    if not flags["drain_seconds"]:
        yield "nobody plays on while it drains"


def _listens(container: Object, flags: dict[str, Any]) -> Iterator[str]:
    if flags["port"] not in _ports(container).values():
        yield f"listens on port {flags['port']}, which is not open"
    if flags["host"] != "0.0.0.0":
        yield f"listens on {flags['host']}, where the kubelet does not reach it"
    if flags["keys"] is None or flags["insecure"]:
        yield "answers anybody"
    if flags["token_secret"] is None:
        yield "client tokens of one pod are refused by the others"


def _files(container: Object, flags: dict[str, Any]) -> Iterator[str]:
    """That what the flags name lies on a volume."""
    mounts = [mount["mountPath"].rstrip("/") + "/" for mount in container.get("volumeMounts", [])]
    named = [text.partition("=")[2] or text for text in flags["models"] or []]
    named += [str(flags[name]) for name in ("keys", "token_secret", "models_dir") if flags[name] is not None]
    yield from (f"{path} is on no volume" for path in named if not path.startswith(tuple(mounts)))


def _front(workload: Workload, objects: list[Object], flags: dict[str, Any]) -> Iterator[str]:
    """The Service that leads to it, and what keeps it there."""
    labels, ports = workload.labels, _ports(workload.spec["containers"][0])
    services = [each["spec"] for each in of_kind(objects, "Service") if each["metadata"]["name"] == workload.name]
    if not services or not services[0].get("selector") or not services[0]["selector"].items() <= labels.items():
        yield "no service leads to it"
        return
    service = services[0]
    if any(port["targetPort"] not in (*ports, *ports.values()) for port in service["ports"]):
        yield "the service leads to a port that is not open"
    kept_s = service.get("sessionAffinityConfig", {}).get("clientIP", {}).get("timeoutSeconds", 10800)
    if service.get("sessionAffinity") != "ClientIP":
        yield "who comes back finds another pod, without the session"
    elif kept_s <= max(flags["resume_timeout"], flags["idle_timeout"], HEARTBEAT_S):
        yield "the way back to a pod is forgotten before the session"
    deployment = next(each for each in of_kind(objects, "Deployment") if each["metadata"]["name"] == workload.name)
    if not deployment["spec"].get("selector", {}).get("matchLabels", {}).items() <= labels.items():
        yield "the deployment does not select its own pods"
    rolling = deployment["spec"].get("strategy", {}).get("rollingUpdate", {})
    if rolling.get("maxUnavailable") != 0:
        yield "an update takes servers away before others are there"
    budgets = [
        each["spec"]
        for each in of_kind(objects, "PodDisruptionBudget")
        if (each["spec"].get("selector") or {}).get("matchLabels", {}).items() <= labels.items()
    ]
    if not any(budget.get("maxUnavailable") == 1 and budget["selector"].get("matchLabels") for budget in budgets):
        yield "drained nodes take all servers away at once"


def _scaling(objects: list[Object]) -> Iterator[str]:
    deployments = {each["metadata"]["name"]: each for each in of_kind(objects, "Deployment")}
    for each in of_kind(objects, "HorizontalPodAutoscaler"):
        spec, title = each["spec"], f"HorizontalPodAutoscaler/{each['metadata']['name']}"
        target = deployments.get(spec["scaleTargetRef"]["name"])
        if spec["scaleTargetRef"]["kind"] != "Deployment" or target is None:
            yield f"{title}: scales nothing"
            continue
        if "replicas" in target["spec"]:
            yield f"{title}: every kubectl apply would undo it: the deployment says replicas"
        if not 2 <= spec.get("minReplicas", 1) <= spec["maxReplicas"]:
            yield f"{title}: one pod that goes is all there were"
        down = spec.get("behavior", {}).get("scaleDown", {})
        gentle = down.get("policies", []) and all(
            policy["type"] == "Pods" and policy["value"] == 1 for policy in down["policies"]
        )
        if down.get("stabilizationWindowSeconds", 300) < 600 or not gentle:
            yield f"{title}: takes servers from players too eagerly"
        yield from (f"{title}: {problem}" for metric in spec.get("metrics", []) for problem in _metric(metric, target))


def _metric(metric: Object, target: Object) -> Iterator[str]:
    container = target["spec"]["template"]["spec"]["containers"][0]
    if metric.get("type") == "Resource":
        if metric["resource"]["name"] not in container["resources"]["requests"]:
            yield f"a share of {metric['resource']['name']} that nobody requests"
    elif metric.get("type") == "Pods":
        name, aim = metric["pods"]["metric"]["name"], metric["pods"]["target"].get("averageValue", "0")
        if name not in metrics():
            yield f"there is no metric {name}"
        slots = next(
            (int(word.partition("=")[2]) for word in container["args"] if word.startswith("--max-sessions=")), 32
        )
        if name == "gi_serve_sessions" and not 0 < float(aim) < slots:
            yield f"new servers come at {aim} players, of {slots} a server holds"


def _monitors(objects: list[Object]) -> Iterator[str]:
    services = of_kind(objects, "Service")
    for each in of_kind(objects, "ServiceMonitor"):
        wanted = each["spec"]["selector"].get("matchLabels", {})
        found = [one for one in services if wanted.items() <= one["metadata"].get("labels", {}).items()]
        ports = {port.get("name") for one in found for port in one["spec"]["ports"]}
        for endpoint in each["spec"]["endpoints"]:
            if endpoint["port"] not in ports:
                yield f"ServiceMonitor: no service with a port {endpoint['port']}"
            if "GET" not in routes().get(endpoint.get("path", "/metrics"), set()):
                yield f"ServiceMonitor: the server has no {endpoint['path']}"
            if "authorization" not in endpoint:
                yield "ServiceMonitor: /metrics asks for a key"
    for each in of_kind(objects, "ConfigMap"):
        rule = each.get("data", {}).get("rule.yaml", "")
        for name in set(re.findall(r"\bgi_serve_\w+", rule)) - metrics():
            yield f"ConfigMap/{each['metadata']['name']}: there is no metric {name}"

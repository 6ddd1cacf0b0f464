"""What holds for jobs: ends mean what `gi_model.exit_codes` says; there is time to save before the kill."""

import re
from collections.abc import Iterator

from gi_model.exit_codes import ExitCode, Retry, retry_of
from tests.k8s.failures import PodEnd, retry_after
from tests.k8s.rendering import Object, of_kind, settings
from tests.k8s.workloads import Workload, environment, workloads

DEFAULT_GRACE_S = 30
KILLED = 137
TIMEOUT = "TORCH_ELASTIC_SHUTDOWN_TIMEOUT"


def job_problems(objects: list[Object]) -> Iterator[str]:
    """Of every job in `objects`."""
    for workload in workloads(objects):
        if workload.job is not None:
            found = [*_failures(workload), *_preemption(workload, objects), *_topology(workload, objects)]
            yield from (f"{workload.title}: {problem}" for problem in found)
    yield from _queues(objects)


def _failures(workload: Workload) -> Iterator[str]:
    assert workload.job is not None
    for code in (*ExitCode, KILLED, 134):
        if code != ExitCode.DONE and retry_after(workload, PodEnd(code)) != retry_of(code):
            yield f"exit code {int(code)} is not retried as it says ({retry_of(code).value})"
    for code in (ExitCode.FAILED, ExitCode.STOPPED, KILLED):
        if retry_after(workload, PodEnd(code, disrupted=True)) != Retry.FREE:
            yield f"a preempted pod that ended with {int(code)} costs a retry"
    if workload.spec.get("restartPolicy") != "Never":
        yield "the kubelet restarts containers itself: no rule would see their exit codes"
    if workload.job.get("podReplacementPolicy") != "Failed":
        yield "a pod is replaced while the old one may still write"
    around = workload.failure_policy
    limits = [workload.job.get("backoffLimit"), workload.job.get("backoffLimitPerIndex")]
    if around is None and not any(limits):
        yield "no retries at all"
    if around is not None and (any(limits) or not around.get("maxRestarts")):
        yield "pods are retried one by one, inside of what starts all of them anew"


def _preemption(workload: Workload, objects: list[Object]) -> Iterator[str]:
    """grace > torch elastic's timeout > measured time of a step and a save."""
    grace_s = workload.spec.get("terminationGracePeriodSeconds", DEFAULT_GRACE_S)
    for container in workload.containers:
        if container["command"][:2] != ["gi", "torchrun"]:
            continue
        timeout_s = float(environment(container, objects).get(TIMEOUT, DEFAULT_GRACE_S))
        measured_s = float(workload.annotations.get("gi-model/measured-stop-seconds", "inf"))
        if not grace_s > timeout_s:
            yield f"killed after {grace_s} s, while torchrun waits {timeout_s:g} s for its ranks"
        if not timeout_s > measured_s:
            yield f"torchrun kills its ranks after {timeout_s:g} s; a step and a save take {measured_s:g} s"


def _topology(workload: Workload, objects: list[Object]) -> Iterator[str]:
    job = workload.job or {}
    main = workload.spec["containers"][0]
    variables = environment(main, objects)
    if job.get("completionMode") == "Indexed" and workload.kind != "TrainingRuntime":
        if job.get("completions") != job.get("parallelism"):
            yield "not all parts run at once"
        yield from _parts(workload, main)
    if main["command"][:2] != ["gi", "torchrun"]:
        return
    if job.get("completionMode") != "Indexed":
        yield "pods have no index, so no names"
    if job.get("successPolicy", {}).get("rules") != [{"succeededCount": 1}]:
        yield "a pod that is lost after another has succeeded would wait for that one for ever"
    gpus = main["resources"]["limits"].get("nvidia.com/gpu")
    if workload.kind == "TrainingRuntime":
        yield from _train_job(workload, objects, variables, gpus)
        return
    if str(job.get("completions")) != variables.get("PET_NNODES"):
        yield f"{job.get('completions')} pods, but torchrun waits for {variables.get('PET_NNODES')}"
    if gpus is not None and gpus != variables.get("PET_NPROC_PER_NODE"):
        yield f"{gpus} GPUs, but {variables.get('PET_NPROC_PER_NODE')} ranks a pod"
    if variables.get("PET_MAX_RESTARTS") != "0":
        yield "torchrun retries inside of what Kubernetes retries"
    yield from _meeting_place(workload, objects, main, variables)


def _parts(workload: Workload, main: Object) -> Iterator[str]:
    """That commands that take a part of the work know how many parts there are."""
    count = (workload.job or {}).get("completions")
    for container in workload.containers:
        for word in container.get("args", []):
            for found in re.findall(r"\$\(PART\)/(\d+)|% (\d+) = \$\(PART\)", word):
                if "".join(found) != str(count):
                    yield f"{count} pods, but {''.join(found)} parts in {word}"


def _meeting_place(workload: Workload, objects: list[Object], main: Object, variables: dict[str, str]) -> Iterator[str]:
    """That the ranks' rendezvous is the name and port of pod 0."""
    host, _, port = variables.get("PET_RDZV_ENDPOINT", "").rpartition(":")
    if port not in {str(each["containerPort"]) for each in main.get("ports", [])}:
        yield f"the ranks meet at port {port}, which is not open"
    if workload.kind == "JobSet":
        network = of_kind(objects, "JobSet")[0]["spec"]["network"]
        first = f"{workload.name}-node-0-0.{network.get('subdomain', workload.name)}"
        if not (network.get("enableDNSHostnames") and network.get("publishNotReadyAddresses")):
            yield "pods have no names before they are ready"
    else:
        first = f"{workload.name}-0.{workload.spec.get('subdomain')}"
        yield from _headless(workload, objects)
    if host != first:
        yield f"the ranks meet at {host}, but pod 0 is {first}"


def _headless(workload: Workload, objects: list[Object]) -> Iterator[str]:
    named = [
        each["spec"]
        for each in of_kind(objects, "Service")
        if each["metadata"]["name"] == workload.spec.get("subdomain")
    ]
    if not named or named[0].get("clusterIP") != "None" or not named[0].get("publishNotReadyAddresses"):
        yield "no headless service gives the pods names before they are ready"
    elif not named[0].get("selector", {}).items() <= workload.labels.items() or not named[0].get("selector"):
        yield "the headless service selects other pods"


def _train_job(workload: Workload, objects: list[Object], variables: dict[str, str], gpus: str | None) -> Iterator[str]:
    """Trainer sets these by itself: what we set would win where it must not."""
    clashes = {"PET_NNODES", "PET_NPROC_PER_NODE", "PET_NODE_RANK", "PET_MASTER_ADDR", "PET_MASTER_PORT"}
    clashes |= {name for name in variables if name.startswith("PET_RDZV")}
    if found := clashes & set(variables):
        yield f"{sorted(found)} are Trainer's to set"
    runtime = next(each for each in of_kind(objects, "TrainingRuntime") if each["metadata"]["name"] == workload.name)
    replicated = runtime["spec"]["template"]["spec"]["replicatedJobs"][0]
    label = (
        replicated["template"].get("metadata", {}).get("labels", {}).get("trainer.kubeflow.org/trainjob-ancestor-step")
    )
    if replicated["name"] != "node" or workload.spec["containers"][0]["name"] != "node" or label != "trainer":
        yield "Trainer does not find its container: job and container are named node, the job labelled trainer"
    if "torch" not in runtime["spec"].get("mlPolicy", {}):
        yield "no torch policy: nobody says where the ranks meet"
    jobs = [
        each["spec"] for each in of_kind(objects, "TrainJob") if each["spec"]["runtimeRef"]["name"] == workload.name
    ]
    if not jobs or jobs[0]["runtimeRef"].get("kind") != "TrainingRuntime":
        yield "no TrainJob uses the runtime"
    elif str(jobs[0].get("trainer", {}).get("numProcPerNode")) != gpus:
        yield "another number of ranks than GPUs"


def _queues(objects: list[Object]) -> Iterator[str]:
    """Kueue starts what is suspended and has a queue; one without the other starts at once, or never."""
    queues = {each["metadata"]["name"] for each in of_kind(objects, "LocalQueue")}
    for each in objects:
        if each["kind"] in ("Job", "JobSet", "TrainJob"):
            queue = each["metadata"].get("labels", {}).get("kueue.x-k8s.io/queue-name")
            if bool(each["spec"].get("suspend")) != (queue is not None):
                yield f"{each['kind']}/{each['metadata']['name']}: suspended without a queue, or queued without waiting"
            if queue is not None and queue not in queues:
                yield f"{each['kind']}/{each['metadata']['name']}: there is no queue {queue}"


def world_size(workload: Workload, objects: list[Object]) -> int:
    """How many ranks a workload under torchrun has."""
    variables = environment(workload.spec["containers"][0], objects)
    if workload.kind == "TrainingRuntime":
        trainer = of_kind(objects, "TrainJob")[0]["spec"]["trainer"]
        return int(trainer["numNodes"]) * int(trainer["numProcPerNode"])
    found = settings(objects, "gi-pretrain") | variables
    return int(found["PET_NNODES"]) * int(found["PET_NPROC_PER_NODE"])

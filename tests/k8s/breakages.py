"""Ways to break a good manifest."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.k8s.rendering import Object, of_kind
from tests.k8s.workloads import Workload, workloads

Objects = list[Object]


@dataclass(frozen=True)
class Breakage:
    """What is done to which manifest, and the word that the complaint must have."""

    manifest: str
    do: Callable[[Objects], object]
    complaint: str


def one(objects: Objects, kind: str, name: str | None = None) -> Any:
    return next(each for each in of_kind(objects, kind) if name in (None, each["metadata"]["name"]))


def work(objects: Objects, name: str | None = None) -> Workload:
    return next(each for each in workloads(objects) if name in (None, each.name))


def pod(objects: Objects, name: str | None = None) -> Any:
    return work(objects, name).spec


def box(objects: Objects, name: str | None = None) -> Any:
    return pod(objects, name)["containers"][0]


def setting(objects: Objects, name: str, value: str | None) -> object:
    data = one(objects, "ConfigMap", "gi-pretrain")["data"]
    return data.update({name: value}) if value is not None else data.pop(name)


def argument(objects: Objects, old: str, new: str | None) -> None:
    args = box(objects)["args"]
    index = next(index for index, word in enumerate(args) if word.startswith(old))
    args[index : index + 1] = [] if new is None else [new]


def job(objects: Objects) -> Any:
    found = work(objects).job
    assert found is not None
    return found


def rules(objects: Objects) -> Any:
    return job(objects)["podFailurePolicy"]["rules"]


def without(mapping: Any, *names: str) -> None:
    for name in names:
        del mapping[name]


PRETRAIN, SERVE, JOBSET, TRAINJOB = "base/pretrain", "base/serve", "overlays/jobset", "overlays/trainjob"
DDP, LABEL, INGEST, COMMON, RAY = "overlays/ddp", "base/label", "base/ingest", "base/common", "overlays/ray"
SESSIONS, KUEUE = "overlays/serve-sessions", "overlays/jobset"

BREAKAGES = {
    # ------------------------------------------------------------------ schemas
    "a field with a typing error": Breakage(
        PRETRAIN, lambda o: pod(o).update(restartPolicyy="Never"), "restartPolicyy"
    ),
    "a number that is a word": Breakage(PRETRAIN, lambda o: job(o).update(completions="two"), "completions"),
    "an API version that is gone": Breakage(
        SERVE, lambda o: one(o, "HorizontalPodAutoscaler").update(apiVersion="autoscaling/v2beta2"), "schema"
    ),
    "a value outside of its choice": Breakage(SERVE, lambda o: box(o)["ports"][0].update(protocol=7), "protocol"),
    "a field JobSet does not know": Breakage(
        JOBSET, lambda o: one(o, "JobSet")["spec"].update(network2={}), "network2"
    ),
    "a field JobSet knows at another place": Breakage(
        JOBSET, lambda o: one(o, "JobSet")["spec"].update(maxRestarts=3), "maxRestarts"
    ),
    "a wrong type in JobSet": Breakage(
        JOBSET, lambda o: one(o, "JobSet")["spec"]["failurePolicy"].update(maxRestarts="3"), "maxRestarts"
    ),
    "a field of an older Trainer": Breakage(
        TRAINJOB, lambda o: one(o, "TrainJob")["spec"].update(podTemplateOverrides=[]), "podTemplateOverrides"
    ),
    "a pod field inside of a runtime": Breakage(TRAINJOB, lambda o: pod(o).update(gracePeriod=3), "gracePeriod"),
    "a pod field inside of Ray's": Breakage(RAY, lambda o: box(o).update(image2="x"), "image2"),
    # ------------------------------------------------------------------ pods
    "a container that may be root": Breakage(
        PRETRAIN, lambda o: without(pod(o)["securityContext"], "runAsNonRoot"), "root"
    ),
    "a user that is root": Breakage(SERVE, lambda o: pod(o)["securityContext"].update(runAsUser=0), "root"),
    "no seccomp profile": Breakage(LABEL, lambda o: without(pod(o)["securityContext"], "seccompProfile"), "seccomp"),
    "privileges to gain": Breakage(
        SERVE, lambda o: box(o)["securityContext"].update(allowPrivilegeEscalation=True), "privileges"
    ),
    "an image to write into": Breakage(
        RAY, lambda o: box(o)["securityContext"].update(readOnlyRootFilesystem=False), "write into its image"
    ),
    "a capability too many": Breakage(
        PRETRAIN, lambda o: box(o)["securityContext"]["capabilities"].update(add=["SYS_ADMIN"]), "capabilities"
    ),
    "an unhardened first container": Breakage(
        LABEL, lambda o: without(pod(o)["initContainers"][0], "securityContext"), "part may"
    ),
    "the node's network": Breakage(PRETRAIN, lambda o: pod(o).update(hostNetwork=True), "namespace of the node"),
    "the node's disk": Breakage(
        INGEST, lambda o: pod(o)["volumes"][0].update({"hostPath": {"path": "/"}, "name": "tmp"}), "the node's"
    ),
    "a token of the cluster": Breakage(SERVE, lambda o: pod(o).update(automountServiceAccountToken=True), "token"),
    "no limit of memory": Breakage(
        PRETRAIN, lambda o: without(box(o)["resources"]["limits"], "memory"), "limit of memory"
    ),
    "a request beyond the limit": Breakage(
        SERVE, lambda o: box(o)["resources"]["requests"].update(memory="8Gi"), "more memory"
    ),
    "a GPU requested but not limited": Breakage(
        DDP, lambda o: without(box(o)["resources"]["requests"], "nvidia.com/gpu"), "GPUs"
    ),
    "the newest image, whatever it is": Breakage(
        SERVE, lambda o: box(o).update(image="gi-serve:latest"), "this version"
    ),
    "a cache without a bound": Breakage(
        PRETRAIN, lambda o: next(v for v in pod(o)["volumes"] if v["name"] == "cache").update(emptyDir={}), "no bound"
    ),
    "a cache larger than what the pod may use": Breakage(
        PRETRAIN,
        lambda o: next(v for v in pod(o)["volumes"] if v["name"] == "cache").update(emptyDir={"sizeLimit": "90Gi"}),
        "outgrow",
    ),
    "a mount without a volume": Breakage(SERVE, lambda o: pod(o)["volumes"].pop(), "mounts"),
    "a volume that nobody mounts": Breakage(SERVE, lambda o: box(o)["volumeMounts"].pop(), "nobody|no volume"),
    "no place for temporary files": Breakage(
        INGEST,
        lambda o: box(o).update(volumeMounts=[m for m in box(o)["volumeMounts"] if m["mountPath"] != "/tmp"]),
        "temp",
    ),
    "a claim that there is not": Breakage(
        PRETRAIN,
        lambda o: next(v for v in pod(o)["volumes"] if v["name"] == "runs")["persistentVolumeClaim"].update(
            claimName="x"
        ),
        "no claim x",
    ),
    "a secret in the open": Breakage(
        PRETRAIN,
        lambda o: (
            next(v for v in box(o)["env"] if v["name"] == "AWS_SECRET_ACCESS_KEY").update(value="s", valueFrom=None)
            or next(v for v in box(o)["env"] if v["name"] == "AWS_SECRET_ACCESS_KEY").pop("valueFrom")
        ),
        "in the open",
    ),
    "settings that there are not": Breakage(
        PRETRAIN, lambda o: box(o)["envFrom"][0]["configMapRef"].update(name="other"), "ConfigMap other|not set"
    ),
    "a variable that nobody sets": Breakage(PRETRAIN, lambda o: setting(o, "GI_CORPUS", None), "GI_CORPUS is not set"),
    "labels that nobody finds": Breakage(
        SERVE, lambda o: work(o).template["metadata"]["labels"].pop("app.kubernetes.io/part-of"), "labels"
    ),
    # ------------------------------------------------------------------ ends of jobs
    "wrong settings tried again": Breakage(
        PRETRAIN, lambda o: rules(o)[0]["onExitCodes"].update(values=[65]), "exit code 2 "
    ),
    "a loss that is no number tried again": Breakage(
        PRETRAIN, lambda o: rules(o)[0]["onExitCodes"].update(values=[2]), "exit code 65"
    ),
    "everything but one code tried again": Breakage(
        PRETRAIN, lambda o: rules(o)[0]["onExitCodes"].update(operator="NotIn"), "exit code"
    ),
    "preemption that costs a retry": Breakage(PRETRAIN, lambda o: rules(o).pop(1), "preempted"),
    "preemption that ends the job": Breakage(PRETRAIN, lambda o: rules(o)[1].update(action="FailJob"), "preempted"),
    "a lost peer that costs a retry": Breakage(PRETRAIN, lambda o: rules(o).pop(2), "exit code 75"),
    "torchrun's own 1 taken for a stop": Breakage(
        PRETRAIN, lambda o: rules(o)[2]["onExitCodes"]["values"].append(1), "exit code 1 "
    ),
    "rules for another container": Breakage(
        PRETRAIN, lambda o: rules(o)[0]["onExitCodes"].update(containerName="trainer"), "exit code 2 "
    ),
    "containers that the kubelet restarts": Breakage(
        PRETRAIN, lambda o: pod(o).update(restartPolicy="OnFailure"), "kubelet"
    ),
    "pods replaced while the old ones write": Breakage(
        INGEST, lambda o: job(o).update(podReplacementPolicy="TerminatingOrFailed"), "replaced"
    ),
    "no retries": Breakage(PRETRAIN, lambda o: job(o).update(backoffLimit=0), "no retries"),
    "a JobSet that tries wrong settings again": Breakage(
        JOBSET, lambda o: one(o, "JobSet")["spec"]["failurePolicy"]["rules"].pop(0), "exit code 2 "
    ),
    "a JobSet whose pattern does not match": Breakage(
        JOBSET,
        lambda o: one(o, "JobSet")["spec"]["failurePolicy"]["rules"][1].update(
            onJobFailureMessagePatterns=["DisruptionTarget matching Ignore"]
        ),
        "preempted",
    ),
    "a JobSet that counts preemptions": Breakage(
        JOBSET,
        lambda o: one(o, "JobSet")["spec"]["failurePolicy"]["rules"][1].update(action="RestartJobSet"),
        "preempted",
    ),
    "a JobSet whose pods come back one by one": Breakage(JOBSET, lambda o: job(o).update(backoffLimit=6), "one by one"),
    # ------------------------------------------------------------------ time to save
    "killed while torchrun waits": Breakage(
        PRETRAIN, lambda o: pod(o).update(terminationGracePeriodSeconds=120), "killed after"
    ),
    "the default grace": Breakage(PRETRAIN, lambda o: without(pod(o), "terminationGracePeriodSeconds"), "killed after"),
    "ranks killed while they save": Breakage(
        PRETRAIN, lambda o: setting(o, "TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "10"), "kills its ranks"
    ),
    "a save that nobody measured": Breakage(
        PRETRAIN, lambda o: one(o, "Job")["metadata"].pop("annotations"), "kills its ranks"
    ),
    # ------------------------------------------------------------------ who meets whom
    "torchrun waits for more pods than there are": Breakage(
        PRETRAIN, lambda o: setting(o, "PET_NNODES", "3"), "waits for 3"
    ),
    "pods that are not all there at once": Breakage(PRETRAIN, lambda o: job(o).update(parallelism=1), "at once"),
    "a pod that waits for one that succeeded": Breakage(PRETRAIN, lambda o: job(o).pop("successPolicy"), "for ever"),
    "fewer ranks than GPUs": Breakage(DDP, lambda o: setting(o, "PET_NPROC_PER_NODE", "4"), "4 ranks"),
    "a meeting place that is nobody": Breakage(
        PRETRAIN, lambda o: setting(o, "PET_RDZV_ENDPOINT", "gi-pretrain-1.gi-pretrain:29400"), "meet at"
    ),
    "a JobSet that meets where a Job would": Breakage(
        JOBSET, lambda o: setting(o, "PET_RDZV_ENDPOINT", "gi-pretrain-0.gi-pretrain:29400"), "meet at"
    ),
    "a port that is not open": Breakage(
        PRETRAIN, lambda o: setting(o, "PET_RDZV_ENDPOINT", "gi-pretrain-0.gi-pretrain:29500"), "port 29500"
    ),
    "names only for who is ready": Breakage(
        PRETRAIN, lambda o: one(o, "Service")["spec"].pop("publishNotReadyAddresses"), "headless"
    ),
    "a service with an address of its own": Breakage(
        PRETRAIN, lambda o: one(o, "Service")["spec"].pop("clusterIP"), "headless"
    ),
    "a service of other pods": Breakage(
        PRETRAIN, lambda o: one(o, "Service")["spec"].update(selector={"app": "x"}), "other pods"
    ),
    "retries inside of retries": Breakage(PRETRAIN, lambda o: setting(o, "PET_MAX_RESTARTS", "3"), "inside"),
    "what is Trainer's to set": Breakage(TRAINJOB, lambda o: setting(o, "PET_NNODES", "2"), "Trainer's"),
    "a container that Trainer does not find": Breakage(TRAINJOB, lambda o: box(o).update(name="trainer"), "named node"),
    "a TrainJob of another runtime": Breakage(
        TRAINJOB, lambda o: one(o, "TrainJob")["spec"]["runtimeRef"].update(name="torch-distributed"), "no TrainJob"
    ),
    "a TrainJob with fewer ranks than GPUs": Breakage(
        TRAINJOB, lambda o: one(o, "TrainJob")["spec"]["trainer"].update(numProcPerNode=4), "than GPUs"
    ),
    "fewer parts than pods": Breakage(INGEST, lambda o: job(o).update(completions=4, parallelism=4), "8 parts"),
    "queued, but started at once": Breakage(KUEUE, lambda o: one(o, "JobSet")["spec"].pop("suspend"), "queue"),
    "suspended for ever": Breakage(
        KUEUE, lambda o: one(o, "JobSet")["metadata"]["labels"].pop("kueue.x-k8s.io/queue-name"), "queue"
    ),
    # ------------------------------------------------------------------ commands
    "a flag with a typing error": Breakage(PRETRAIN, lambda o: argument(o, "--preset", "--pre-set=tiny"), "pre-set"),
    "a flag of another command": Breakage(SERVE, lambda o: box(o)["args"].append("--preset=tiny"), "preset"),
    "a value of the wrong kind": Breakage(SERVE, lambda o: argument(o, "--port", "--port=http"), "valid integer"),
    "a flag that is required": Breakage(PRETRAIN, lambda o: argument(o, "--out", None), "parameter: out"),
    "a command that there is not": Breakage(
        "base/posttrain", lambda o: box(o).update(command=["gi", "finetune"]), "finetune"
    ),
    "a flag of torchrun with a typing error": Breakage(
        PRETRAIN, lambda o: box(o)["args"].insert(0, "--nodes=2"), "torchrun"
    ),
    "gi as a Python script": Breakage(PRETRAIN, lambda o: argument(o, "--no-python", None), "no-python"),
    "a preset that there is not": Breakage(PRETRAIN, lambda o: setting(o, "GI_PRESET", "huge"), "huge|preset"),
    "a strategy that there is not": Breakage(PRETRAIN, lambda o: setting(o, "GI_STRATEGY", "fsdp"), "fsdp"),
    "a strategy that the optimiser refuses": Breakage(DDP, lambda o: setting(o, "GI_STRATEGY", "zero2"), "Muon"),
    "a batch that cannot be shared": Breakage(
        PRETRAIN,
        lambda o: job(o).update(completions=3, parallelism=3) or setting(o, "PET_NNODES", "3"),
        "shared equally",
    ),
    "a Ray job that cannot be parsed": Breakage(
        RAY, lambda o: one(o, "RayJob")["spec"].update(entrypoint="gi curate a b --engine slurm"), "slurm"
    ),
    "a Ray that the image does not have": Breakage(
        RAY, lambda o: one(o, "RayJob")["spec"]["rayClusterSpec"].update(rayVersion="2.9.0"), "2.9.0"
    ),
    # ------------------------------------------------------------------ serving
    "a probe of a route that there is not": Breakage(
        SERVE, lambda o: box(o)["livenessProbe"]["httpGet"].update(path="/healthz"), "healthz"
    ),
    "a probe of a route that takes posts only": Breakage(
        SERVE, lambda o: box(o)["readinessProbe"]["httpGet"].update(path="/v1/actions"), "actions"
    ),
    "a probe of another port": Breakage(SERVE, lambda o: box(o)["startupProbe"]["httpGet"].update(port=8080), "8080"),
    "ready as soon as it lives": Breakage(
        SERVE, lambda o: box(o)["readinessProbe"]["httpGet"].update(path="/v1/health/live"), "readiness"
    ),
    "dead as soon as it drains": Breakage(
        SERVE, lambda o: box(o)["livenessProbe"]["httpGet"].update(path="/v1/health/ready"), "under its players"
    ),
    "killed while it loads": Breakage(
        SERVE, lambda o: box(o)["startupProbe"].update(failureThreshold=10), "loading took"
    ),
    "SIGTERM before anybody knows": Breakage(SERVE, lambda o: box(o).pop("lifecycle"), "SIGTERM"),
    "killed while it drains": Breakage(SERVE, lambda o: pod(o).update(terminationGracePeriodSeconds=60), "it needs"),
    "players cut off": Breakage(SERVE, lambda o: argument(o, "--drain", "--drain-seconds=0"), "plays on"),
    "listening to itself": Breakage(SERVE, lambda o: argument(o, "--host", "--host=127.0.0.1"), "127.0.0.1"),
    "listening on another port": Breakage(SERVE, lambda o: argument(o, "--port", "--port=9000"), "9000"),
    "answering anybody": Breakage(SERVE, lambda o: argument(o, "--keys", "--insecure"), "anybody"),
    "keys that no volume holds": Breakage(SERVE, lambda o: argument(o, "--keys", "--keys=/keys.json"), "no volume"),
    "a policy that no volume holds": Breakage(
        SERVE, lambda o: argument(o, "policy=", "policy=/srv/policy"), "no volume"
    ),
    "no way back to a session": Breakage(
        SERVE, lambda o: one(o, "Service")["spec"].pop("sessionAffinity"), "another pod"
    ),
    "a way back that is forgotten too soon": Breakage(
        SERVE,
        lambda o: one(o, "Service")["spec"]["sessionAffinityConfig"]["clientIP"].update(timeoutSeconds=10),
        "forgotten",
    ),
    "a service that leads nowhere": Breakage(
        SERVE, lambda o: one(o, "Service")["spec"]["ports"][0].update(targetPort="web"), "not open"
    ),
    "a service of other servers": Breakage(
        SERVE, lambda o: one(o, "Service")["spec"].update(selector={"a": "b"}), "no service"
    ),
    "an update that takes servers first": Breakage(
        SERVE, lambda o: one(o, "Deployment")["spec"]["strategy"]["rollingUpdate"].update(maxUnavailable=1), "update"
    ),
    "no disruption budget": Breakage(SERVE, lambda o: o.remove(one(o, "PodDisruptionBudget")), "drained nodes"),
    "a disruption budget of everybody": Breakage(
        SERVE, lambda o: one(o, "PodDisruptionBudget")["spec"].update(selector={}), "drained nodes"
    ),
    "scaling of nothing": Breakage(
        SERVE, lambda o: one(o, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"].update(name="x"), "nothing"
    ),
    "scaling that kubectl undoes": Breakage(SERVE, lambda o: one(o, "Deployment")["spec"].update(replicas=2), "undo"),
    "scaling down in a hurry": Breakage(
        SERVE,
        lambda o: one(o, "HorizontalPodAutoscaler")["spec"]["behavior"]["scaleDown"].update(
            stabilizationWindowSeconds=0
        ),
        "eagerly",
    ),
    "scaling down by half": Breakage(
        SERVE,
        lambda o: one(o, "HorizontalPodAutoscaler")["spec"]["behavior"]["scaleDown"]["policies"][0].update(
            type="Percent"
        ),
        "eagerly",
    ),
    "a single server": Breakage(
        SERVE, lambda o: one(o, "HorizontalPodAutoscaler")["spec"].update(minReplicas=1), "all there"
    ),
    "scaling by a metric that there is not": Breakage(
        SESSIONS,
        lambda o: one(o, "HorizontalPodAutoscaler")["spec"]["metrics"][0]["pods"]["metric"].update(
            name="gi_serve_players"
        ),
        "gi_serve_players",
    ),
    "new servers when it is too late": Breakage(
        SESSIONS,
        lambda o: one(o, "HorizontalPodAutoscaler")["spec"]["metrics"][0]["pods"]["target"].update(averageValue="40"),
        "40 players",
    ),
    "an adapter's rule for another metric": Breakage(
        SESSIONS,
        lambda o: one(o, "ConfigMap", "gi-serve-adapter-rule")["data"].update({"rule.yaml": "sum(gi_serve_session)"}),
        "gi_serve_session",
    ),
    "Prometheus at a port that there is not": Breakage(
        SESSIONS, lambda o: one(o, "ServiceMonitor")["spec"]["endpoints"][0].update(port="metrics"), "port metrics"
    ),
    "Prometheus without a key": Breakage(
        SESSIONS, lambda o: one(o, "ServiceMonitor")["spec"]["endpoints"][0].pop("authorization"), "key"
    ),
    # ------------------------------------------------------------------ the whole
    "an object in another namespace": Breakage(
        SERVE, lambda o: one(o, "Service")["metadata"].update(namespace="default"), "outside"
    ),
    "open networks": Breakage(COMMON, lambda o: o.remove(one(o, "NetworkPolicy", "gi-nothing")), "anybody"),
    "players from everywhere": Breakage(
        COMMON, lambda o: one(o, "NetworkPolicy", "gi-players")["spec"]["ingress"][0].pop("from"), "everybody"
    ),
    "the cloud's metadata address": Breakage(
        COMMON,
        lambda o: one(o, "NetworkPolicy", "gi-names-and-storage")["spec"]["egress"][1]["to"][0]["ipBlock"].pop(
            "except"
        ),
        "metadata",
    ),
    "a namespace that takes any pod": Breakage(
        COMMON,
        lambda o: one(o, "Namespace")["metadata"]["labels"].pop("pod-security.kubernetes.io/enforce"),
        "restricted",
    ),
    "runs on a disk of one node": Breakage(
        "base",
        lambda o: one(o, "PersistentVolumeClaim", "gi-runs")["spec"].update(accessModes=["ReadWriteOnce"]),
        "one node",
    ),
}

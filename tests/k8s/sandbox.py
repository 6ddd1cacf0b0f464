"""Pods as local processes: a network of their own addresses, the pod's host name, volumes at their mount paths.

What a kubelet would do, by Linux namespaces: a container's command is process 1 of its own process namespace, as the
user of its security context, on a read-only root, in a network namespace on a bridge. Stands in for the image: this
machine's /usr and the project's own environment.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.k8s.rendering import ROOT, Object
from tests.k8s.workloads import Workload, argv, environment

HOST = ("bin", "sbin", "lib", "lib64", "usr", "etc", "dev")
PREFIX = f"gi{os.getpid() % 10_000}"  # of interfaces: at most 15 letters
SUBNET = "10.77.0"


def is_possible() -> bool:
    """Whether this user may make network, mount, and process namespaces (as root), and there is iproute2."""
    words = ["unshare", "--net", "--mount", "--pid", "--fork", "ip", "link"]
    return bool(shutil.which("unshare") and shutil.which("ip")) and (
        subprocess.run(words, capture_output=True, check=False).returncode == 0
    )


@dataclass(frozen=True)
class Node:
    """Where a pod runs: a network namespace with one address, and its name among the others."""

    name: str
    address: str

    @property
    def namespace(self) -> str:
        return f"{PREFIX}-{self.address.rpartition('.')[2]}"


@contextmanager
def network(names: list[str]) -> Iterator[dict[str, Node]]:
    """Nodes by name on one bridge, whose own end is SUBNET.1; gone afterwards."""
    nodes = {name: Node(name, f"{SUBNET}.{10 + index}") for index, name in enumerate(names)}
    bridge = f"{PREFIX}-br"
    try:
        _ip(f"link add {bridge} type bridge", f"addr add {SUBNET}.1/24 dev {bridge}", f"link set {bridge} up")
        for node in nodes.values():
            inner, outer = f"{node.namespace}e", f"{node.namespace}h"
            _ip(
                f"netns add {node.namespace}",
                f"link add {outer} type veth peer name {inner}",
                f"link set {outer} master {bridge} up",
                f"link set {inner} netns {node.namespace} name eth0",
                f"-n {node.namespace} addr add {node.address}/24 dev eth0",
                f"-n {node.namespace} link set eth0 up",
                f"-n {node.namespace} link set lo up",
            )
        yield nodes
    finally:
        for node in nodes.values():
            _ip(f"netns del {node.namespace}", check=False)
        _ip(f"link del {bridge}", check=False)


def _ip(*commands: str, check: bool = True) -> None:
    for command in commands:
        ran = subprocess.run(["ip", *command.split()], capture_output=True, text=True, check=False)
        assert ran.returncode == 0 or not check, f"ip {command}: {ran.stderr}"


@dataclass(frozen=True)
class Cluster:
    """What pods share: their objects, names, and the folders behind claims and secrets."""

    objects: list[Object]
    nodes: dict[str, Node]
    volumes: dict[str, Path]  # by claim or secret
    folder: Path  # for what is each pod's own, and logs
    hosts: dict[str, str] = field(default_factory=dict)  # name -> address

    def start(self, workload: Workload, node: Node, *, hostname: str, index: int = 0) -> "Pod":
        """Start the pod's container on a node."""
        container = workload.spec["containers"][0]
        variables = environment(container, self.objects) | {"JOB_COMPLETION_INDEX": str(index)}
        own = self.folder / hostname
        own.mkdir(exist_ok=True)
        script = _Setup(self, workload, own, hostname).script()
        user = workload.spec["securityContext"]
        words = ["ip", "netns", "exec", node.namespace, "unshare", "--mount", "--uts", "--pid", "--fork"]
        words += ["--propagation=private", "sh", "-c", script, "pod"]
        words += ["chroot", f"--userspec={user['runAsUser']}:{user['runAsGroup']}", "--groups=", str(own / "root")]
        path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
        words += ["env", "-i", f"PATH={path}", *(f"{name}={value}" for name, value in variables.items())]
        log = (own / "log").open("ab")
        process = subprocess.Popen([*words, *argv(container, variables)], stdout=log, stderr=log)
        log.close()
        return Pod(process, own / "log", node)


@dataclass(frozen=True)
class Pod:
    """A running pod. `process` is outside of its namespace; its child is process 1 inside."""

    process: "subprocess.Popen[bytes]"
    log: Path
    node: Node

    @property
    def exit_code(self) -> int | None:
        """As Kubernetes tells it; None while it runs."""
        code = self.process.poll()
        return None if code is None else code if code >= 0 else 128 - code

    def terminate(self) -> None:
        """SIGTERM to process 1, as a kubelet begins the end of a pod."""
        self._signal(signal.SIGTERM)

    def lose_power(self) -> None:
        """End everything in it at once: with process 1 goes its whole namespace."""
        self._signal(signal.SIGKILL)
        self.process.wait()

    def _signal(self, number: int) -> None:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended already
            for child in children.read_text().split():
                os.kill(int(child), number)


@dataclass(frozen=True)
class _Setup:
    """The shell script that makes a pod's root, and then runs its words."""

    cluster: Cluster
    workload: Workload
    own: Path
    hostname: str

    def script(self) -> str:
        root = self.own / "root"
        root.mkdir(exist_ok=True)
        hosts = self.own / "hosts"
        lines = [f"{address} {name}" for name, address in self.cluster.hosts.items()]
        hosts.write_text("\n".join(["127.0.0.1 localhost", *lines]) + "\n")
        steps = [f"hostname {self.hostname}", f"mount -t tmpfs -o mode=755 tmpfs {root}"]
        for name in HOST:
            if Path("/", name).exists():
                steps += [f"mkdir {root}/{name}", f"mount --rbind /{name} {root}/{name}"]
        steps += [f"mount --bind {hosts} {root}/etc/hosts", f"mkdir {root}/proc", f"mount -t proc proc {root}/proc"]
        for mount in self.workload.spec["containers"][0]["volumeMounts"]:
            steps += self._mount(mount)
        for folder in {str(ROOT), sys.prefix, sys.base_prefix}:  # last: they may lie where a volume is mounted, in /tmp
            steps += [f"mkdir -p {root}{folder}", f"mount --rbind {folder} {root}{folder}"]
        return "; ".join(["set -e", *steps, f"mount -o remount,ro {root}", 'exec "$@"'])

    def _mount(self, mount: Object) -> list[str]:
        volume = next(each for each in self.workload.spec["volumes"] if each["name"] == mount["name"])
        claim = volume.get("persistentVolumeClaim", {}).get("claimName") or volume.get("secret", {}).get("secretName")
        folder = self.cluster.volumes[claim] if claim else self.own / f"empty-{mount['name']}"
        folder.mkdir(exist_ok=True)
        if not claim:
            os.chown(folder, 10001, 10001)
        target = f"{self.own}/root{mount['mountPath']}"
        steps = [f"mkdir -p {target}", f"mount --bind {folder} {target}"]
        return [*steps, f"mount -o remount,bind,ro {target}"] if mount.get("readOnly") else steps

"""A real API server on loopback, which nothing runs behind: it says what it would take, and what not, and why.

    python -m tests.k8s.api_server      # until Ctrl-C; prints where its kubeconfig is

Two servers, joined as clusters join them, by API aggregation: in front a whole Kubernetes 1.20, the newest that can be
built from packages; behind it the server of custom resources of 1.36, with the definitions of `custom_resources`.
k8s/api_server/build makes both. Rejected: envtest's binaries, which no package registry has.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import trustme
import yaml

from tests.k8s.custom_resources import resources
from tests.k8s.rendering import KUBECTL, Object

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "gi-model/api-server"
PROGRAMS = ("etcd", "kube-apiserver", "apiextensions-apiserver")
TOKEN = "admin"  # on loopback, for seconds
Flags = dict[str, object]
TOO_NEW = "MutatingAdmissionPolicy,ValidatingAdmissionPolicy"  # the one behind would ask the one in front for them


def is_built() -> bool:
    """Whether k8s/api_server/build has been run."""
    return all((CACHE / name).exists() for name in (*PROGRAMS, "kinds.json.gz"))


@dataclass(frozen=True)
class ApiServer:
    """What there is to talk to."""

    kubeconfig: Path

    def kubectl(self, *words: str | Path, objects: list[Object] | None = None) -> "subprocess.CompletedProcess[str]":
        """Run kubectl; `objects` go to its standard input, for `-f -`."""
        return subprocess.run(
            [KUBECTL, "--kubeconfig", self.kubeconfig, "--cache-dir", self.kubeconfig.parent / "discovery", *words],
            input=yaml.safe_dump_all(objects or []),
            capture_output=True,
            text=True,
            check=False,
        )

    def apply(self, objects: list[Object], *words: str) -> "subprocess.CompletedProcess[str]":
        """Server-side apply, strict about unknown fields; what would be there comes back as JSON."""
        return self.kubectl(
            *("apply", "--server-side", "--force-conflicts", "--validate=strict", "--output=json", "-f", "-", *words),
            objects=objects,
        )

    def must(self, *words: str | Path, objects: list[Object] | None = None) -> str:
        """Run kubectl, which must succeed."""
        ran = self.kubectl(*words, objects=objects)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout


@contextmanager
def api_server() -> Iterator[ApiServer]:
    """Start everything, and end it; its data goes with it."""
    with TemporaryDirectory(prefix="gi-api-server-") as name, ExitStack() as running:
        folder = Path(name)
        key = _write_key(folder)
        etcd, front, behind = _free_ports(3)
        running.enter_context(_program(folder, "etcd", _etcd(etcd)))
        (folder / "tokens").write_text(f"{TOKEN},admin,admin,system:masters\n")
        server = ApiServer(_kubeconfig(folder / "kubeconfig", front, {"token": TOKEN}))
        running.enter_context(_program(folder, "kube-apiserver", _core(etcd, front)))
        _wait(lambda: server.kubectl("get", "--raw", "/readyz"))
        direct = ApiServer(_kubeconfig(folder / "direct", behind, key))
        running.enter_context(_program(folder, "apiextensions-apiserver", _custom(etcd, behind)))
        _wait(lambda: direct.kubectl("get", "--raw", "/healthz"))
        _join(server, direct, behind)
        yield server


def _write_key(folder: Path) -> dict[str, str]:
    """One key for all that needs one: who holds it is the administrator of the server behind."""
    authority = trustme.CA()
    pair = authority.issue_cert("localhost", common_name="front", organization_name="system:masters")
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    pair.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    pair.private_key_pem.write_to_path(str(folder / "key.pem"))
    return {"client-certificate": str(folder / "cert.pem"), "client-key": str(folder / "key.pem")}


def _etcd(port: int) -> Flags:
    url = f"http://127.0.0.1:{port}"
    return {
        "data-dir": "etcd",
        "listen-client-urls": url,
        "advertise-client-urls": url,
        "listen-peer-urls": "http://127.0.0.1:0",
        "unsafe-no-fsync": "true",
    }


def _core(etcd: int, port: int) -> Flags:
    return {
        "etcd-servers": f"http://127.0.0.1:{etcd}",
        "bind-address": "127.0.0.1",
        "advertise-address": "127.0.0.1",
        "endpoint-reconciler-type": "none",
        "secure-port": port,
        "cert-dir": "front",
        "token-auth-file": "tokens",
        "authorization-mode": "AlwaysAllow",
        "feature-gates": "TTLAfterFinished=true",
        "service-account-issuer": "https://localhost",
        "service-account-key-file": "key.pem",
        "service-account-signing-key-file": "key.pem",
        "proxy-client-cert-file": "cert.pem",
        "proxy-client-key-file": "key.pem",
    }


def _custom(etcd: int, port: int) -> Flags:
    return {
        "etcd-servers": f"http://127.0.0.1:{etcd}",
        "bind-address": "127.0.0.1",
        "secure-port": port,
        "cert-dir": "behind",
        "client-ca-file": "authority.pem",
        "authentication-skip-lookup": "true",
        "enable-priority-and-fairness": "false",
        "disable-admission-plugins": TOO_NEW,
        **dict.fromkeys(("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"), "kubeconfig"),
    }


@contextmanager
def _program(folder: Path, name: str, flags: Flags) -> Iterator[None]:
    log = folder / f"{name}.log"
    with log.open("wb") as file:
        words = [str(CACHE / name), *(f"--{flag}={value}" for flag, value in flags.items())]
        process = subprocess.Popen(words, stdout=file, stderr=file, cwd=folder)
    try:
        yield
    except AssertionError as error:
        error.add_note(f"{name}: {log.read_text()[-2000:]}")
        raise
    finally:
        process.kill()  # nothing of it is kept
        process.wait()


def _join(server: ApiServer, direct: ApiServer, port: int) -> None:
    """Tell the server behind the kinds, and the one in front whose they are; then wait until it has noticed."""
    kinds = resources(CACHE / "kinds.json.gz")
    for kind in kinds:
        file = server.kubeconfig.parent / f"{kind.kind}.json"
        file.write_text(json.dumps(kind.definition))
        direct.must("create", "--raw", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", "-f", file)
    place = {"namespace": "default", "name": "behind"}
    there: Object = {"type": "ExternalName", "externalName": "localhost"}
    groups = sorted({(kind.group, kind.version) for kind in kinds})
    server.must(
        *("create", "--validate=false", "-f", "-"),
        objects=[
            {"apiVersion": "v1", "kind": "Service", "metadata": place, "spec": there},
            *(_api_service(*group, port) for group in groups),
        ],
    )
    for group, version in groups:
        server.must("wait", "--for=condition=Available", f"apiservice/{version}.{group}", "--timeout=60s")
    server.must("create", "namespace", "gi")


def _api_service(group: str, version: str, port: int) -> Object:
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": f"{version}.{group}"},
        "spec": {
            "group": group,
            "version": version,
            "service": {"namespace": "default", "name": "behind", "port": port},
            "insecureSkipTLSVerify": True,
            "groupPriorityMinimum": 1000,
            "versionPriority": 10,
        },
    }


def _kubeconfig(path: Path, port: int, user: dict[str, str]) -> Path:
    cluster = {"server": f"https://127.0.0.1:{port}", "insecure-skip-tls-verify": True}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "loopback", "cluster": cluster}],
        "users": [{"name": "admin", "user": user}],
        "contexts": [{"name": "gi", "context": {"cluster": "loopback", "user": "admin", "namespace": "gi"}}],
        "current-context": "gi",
    }
    path.write_text(yaml.safe_dump(content))
    return path


def _wait(ask: Callable[[], "subprocess.CompletedProcess[str]"], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while (ran := ask()).returncode:
        assert time.monotonic() < end, ran.stderr
        time.sleep(0.5)


def _free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


if __name__ == "__main__":
    if not is_built():
        sys.exit("no server is built; do this: k8s/api_server/build")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with api_server() as running_server, suppress(KeyboardInterrupt):
        sys.stdout.write(f"export KUBECONFIG={running_server.kubeconfig}    # until Ctrl-C\n")
        sys.stdout.flush()
        signal.pause()

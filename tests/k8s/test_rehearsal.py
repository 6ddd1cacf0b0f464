"""`make rehearse`: the manifests' own commands, as local processes, in the manifests' topology, through a bad day.

Everything is read from the rendered overlay `rehearsal` (the base, with a small model): commands, environment, users,
volumes, addresses, grace periods, failure rules, probes, ports. Nothing is typed again.
"""

import base64
import os
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import typer

from gi_model.errors import ServeError
from gi_serve.client import Client, Session, SessionConfig
from gi_train.run_events import read_events
from gi_train.run_files import RunPaths, read_rows
from tests.k8s.job_controller import JobController
from tests.k8s.rendering import K8S, Object, of_kind, render, settings
from tests.k8s.sandbox import Cluster, Node, Pod, is_possible, network
from tests.k8s.sticky_proxy import StickyProxy
from tests.k8s.workloads import Workload, workloads
from tests.train.ranks import last_step

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not is_possible(), reason="needs root and iproute2: network namespaces"),
]
SERVERS = ("gi-serve-0", "gi-serve-1")
NUM_PLAYERS = 8
FRAME = np.zeros((32, 40, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def objects() -> list[Object]:
    return render(K8S / "overlays/rehearsal")


def workload(objects: list[Object], kind: str) -> Workload:
    return next(each for each in workloads(objects) if each.kind == kind)


@pytest.fixture(scope="module")
def cluster(objects: list[Object], corpus_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A bridge with a node for each pod, and a folder for each claim and secret."""
    folder = tmp_path_factory.mktemp("cluster")
    volumes = {name: folder / name for name in ("gi-corpora", "gi-runs", "gi-serve-keys")}
    for path in volumes.values():
        path.mkdir()
        os.chown(path, 10001, 10001)  # fsGroup
    shutil.copytree(corpus_path, volumes["gi-corpora"] / "corpus")
    for path in volumes["gi-corpora"].rglob("*"):
        os.chown(path, 10001, 10001)
    job = workload(objects, "Job")
    assert job.job is not None
    pods = [f"{job.name}-{index}" for index in range(job.job["completions"])]
    with network([*pods, *SERVERS]) as nodes:
        subdomain = job.spec["subdomain"]
        names = {f"{pod}.{subdomain}.gi.svc.cluster.local {pod}.{subdomain} {pod}": nodes[pod].address for pod in pods}
        yield Cluster(objects, nodes, volumes, folder, names)


def controller(cluster: Cluster, name: str) -> JobController:
    """Of the pretraining Job, into the run `name`."""
    job = workload(cluster.objects, "Job")
    changed = [
        each | {"data": each["data"] | {"GI_RUN": f"/runs/{name}"}} if each["kind"] == "ConfigMap" else each
        for each in cluster.objects
    ]
    own = Cluster(changed, cluster.nodes, cluster.volumes, cluster.folder, cluster.hosts)

    def start(index: int) -> Pod:
        pod = f"{job.name}-{index}"
        return own.start(job, cluster.nodes[pod], hostname=pod, index=index)

    return JobController(job, start, say=lambda text: typer.echo(f"  {name}: {text}"))


def rows(run: Path) -> dict[int, float]:
    """Loss by step; of a step that was done again, the last."""
    return {int(row["step"]): row["loss"] for row in read_rows(RunPaths(run).metrics) if row["kind"] == "train"}


def logs(cluster: Cluster, run: JobController) -> str:
    return "\n".join((cluster.folder / f"{run.workload.name}-{index}/log").read_text()[-3000:] for index in range(2))


def test_pretraining_survives_preemption_and_power_cuts(cluster: Cluster) -> None:
    runs = cluster.volumes["gi-runs"]
    calm = controller(cluster, "calm")
    calm.begin()
    calm.run()
    assert calm.state == "Complete", logs(cluster, calm)
    assert (calm.num_restarts, calm.num_failed) == (0, 0)

    storm = controller(cluster, "policy")
    try:
        storm.begin()
        storm.run(until=lambda: last_step(runs / "policy") >= 100)
        asked = time.monotonic()
        storm.preempt(1)
        storm.run(until=lambda: storm.num_restarts >= 2)
        stop_s = time.monotonic() - asked
        typer.echo(f"  policy: stopped and saved on all nodes {stop_s:.1f} s after the notice to one")
        at = last_step(runs / "policy")
        storm.run(until=lambda: last_step(runs / "policy") >= at + 100)
        storm.lose_node(0)
        storm.run()
    finally:
        storm.stop()
    assert storm.state == "Complete", logs(cluster, storm)
    assert storm.num_failed == 0, "a retry was spent on what the cluster did"
    assert storm.num_restarts == 4
    found, expected = rows(runs / "policy"), rows(runs / "calm")  # it also logs the first step after each start
    assert {step: found[step] for step in expected} == expected, "the losses of the run that nothing befell"
    kinds = [event["kind"] for event in read_events(RunPaths(runs / "policy").events)]
    assert [kind for kind in kinds if kind != "straggler"] == ["start", "stop", "resume", "resume", "finish"]
    timeout_s = float(settings(cluster.objects, "gi-pretrain")["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"])
    assert stop_s < timeout_s
    last = max(expected)
    typer.echo(
        f"  loss at step {last}: {found[last]:.6f}, undisturbed {expected[last]:.6f}; all {len(expected)} logged equal"
    )


def test_wrong_settings_fail_the_job_at_once(cluster: Cluster) -> None:
    """A preset that there is not: no pod is started again."""
    wrong = [
        each | {"data": each["data"] | {"GI_PRESET": "huge"}} if each["kind"] == "ConfigMap" else each
        for each in cluster.objects
    ]
    own = Cluster(wrong, cluster.nodes, cluster.volumes, cluster.folder, cluster.hosts)
    job = workload(own.objects, "Job")

    def start(index: int) -> Pod:
        return own.start(job, own.nodes[f"{job.name}-{index}"], hostname=f"{job.name}-{index}", index=index)

    run = JobController(job, start, say=lambda text: typer.echo(f"  wrong: {text}"))
    run.begin()
    run.run()
    assert "exit code 2 matching FailJob" in run.state
    assert run.num_restarts == 0


# ---------------------------------------------------------------------- serving


class Servers:
    """The Deployment's pods behind its Service: probed, drained, and ended as its manifest says."""

    def __init__(self, cluster: Cluster, proxy: StickyProxy) -> None:
        self.workload, self.proxy = workload(cluster.objects, "Deployment"), proxy
        self.container = self.workload.spec["containers"][0]
        self.pods = {name: cluster.start(self.workload, cluster.nodes[name], hostname=name) for name in SERVERS}
        self.terminating: set[str] = set()

    def is_ready(self, node: Node, probe: str = "readinessProbe") -> bool:
        found = self.container[probe]["httpGet"]
        ports = {port["name"]: port["containerPort"] for port in self.container["ports"]}
        url = f"http://{node.address}:{ports.get(found['port'], found['port'])}{found['path']}"
        try:
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            return bool(opener.open(url, timeout=1).status == 200)
        except OSError:
            return False

    def probe(self) -> None:
        """What kubelets and the endpoints controller do, once a period."""
        for name, pod in self.pods.items():
            if name not in self.terminating:
                ready = pod.exit_code is None and self.is_ready(pod.node)
                change = self.proxy.endpoints.add if ready else self.proxy.endpoints.discard
                change((pod.node.address, self.container["ports"][0]["containerPort"]))

    def wait_until_ready(self) -> float:
        """Seconds until all are; fails where the startup probe would have them killed."""
        started, probe = time.monotonic(), self.container["startupProbe"]
        while not all(self.is_ready(pod.node, "startupProbe") for pod in self.pods.values()):
            assert time.monotonic() - started < probe["periodSeconds"] * probe["failureThreshold"]
            assert all(pod.exit_code is None for pod in self.pods.values()), self.pods["gi-serve-0"].log.read_text()
            time.sleep(0.2)
        self.probe()
        return time.monotonic() - started

    def end(self, name: str) -> tuple[int, float]:
        """Delete a pod as Kubernetes does; its exit code, and how long it took. Fails if it outlives its grace."""
        pod, began = self.pods[name], time.monotonic()
        self.terminating.add(name)
        self.proxy.endpoints.discard((pod.node.address, self.container["ports"][0]["containerPort"]))
        time.sleep(self.container["lifecycle"]["preStop"]["sleep"]["seconds"])
        pod.terminate()
        left_s = self.workload.spec["terminationGracePeriodSeconds"] - (time.monotonic() - began)
        code = pod.process.wait(left_s)
        return code, time.monotonic() - began

    def stop(self) -> None:
        for pod in self.pods.values():
            pod.lose_power()


class Player(threading.Thread):
    """Plays without end. Told that its server goes, it opens a session anew: at once, or, impolite, when cut off."""

    def __init__(self, number: int, port: int, key: str, done: threading.Event) -> None:
        super().__init__(name=f"player {number}")
        self.client = Client(f"http://127.0.0.{2 + number}:{port}", key=key)
        self.done, self.is_polite = done, number % 2 == 0
        self.num_actions = self.num_moves = self.num_refused = 0
        self.lost: list[str] = []

    def run(self) -> None:
        while not self.done.is_set():
            try:
                session = self.client.session(SessionConfig(seed=1))
            except ServeError:
                self.num_refused += 1
                self.done.wait(0.5)
                continue
            with session:
                self.play(session)

    def play(self, session: Session) -> None:
        """Until the end, or until the server says that it goes."""
        while not self.done.wait(1 / 10):
            try:
                session.act(FRAME)
                self.num_actions += 1
            except ServeError as error:
                if not session._core.goodbye:
                    self.lost.append(str(error))
                self.num_moves += bool(session._core.goodbye)
                return
            if session._core.goodbye and self.is_polite:
                self.num_moves += 1
                return


def test_a_server_is_drained_and_no_session_is_lost_without_notice(cluster: Cluster) -> None:
    run = RunPaths(cluster.volumes["gi-runs"] / "policy")
    assert run.checkpoint.exists(), "the training before made it"
    keys = cluster.volumes["gi-serve-keys"]
    gi = str(Path(sys.executable).parent / "gi")
    new = [gi, "keys", "new", "players", "--file", str(keys / "keys.json")]
    key = subprocess.run(new, capture_output=True, text=True, check=True).stdout.split()[-1]
    (keys / "token-secret").write_bytes(base64.b64encode(os.urandom(32)))
    for path in keys.iterdir():
        os.chown(path, 0, 10001)  # as a secret's files with fsGroup and mode 0440
        path.chmod(0o440)
    service = next(each for each in of_kind(cluster.objects, "Service") if each["metadata"]["name"] == "gi-serve")
    with StickyProxy(service["spec"]["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"]) as proxy:
        servers = Servers(cluster, proxy)
        done = threading.Event()
        players = [Player(number, proxy.port, key, done) for number in range(NUM_PLAYERS)]
        try:
            typer.echo(f"  servers: both ready after {servers.wait_until_ready():.1f} s")
            for player in players:
                player.start()
            time.sleep(3)
            before = {player.name: proxy.pod_of(f"127.0.0.{2 + number}") for number, player in enumerate(players)}
            assert len(set(before.values())) == 2, "players on both servers"
            busy = Counter(pod[0] for pod in before.values() if pod).most_common(1)[0][0]
            leaving = next(name for name in SERVERS if servers.pods[name].node.address == busy)
            code, took_s = servers.end(leaving)
            time.sleep(2)
            after = {player.name: proxy.pod_of(f"127.0.0.{2 + number}") for number, player in enumerate(players)}
        finally:
            done.set()
            for player in players:
                if player.is_alive():
                    player.join(30)
            servers.stop()
    moved = [name for name, pod in before.items() if pod and pod[0] == busy]
    typer.echo(f"  servers: {leaving} drained in {took_s:.1f} s, exit code {code}; {len(moved)} of {NUM_PLAYERS} moved")
    lost = [loss for player in players for loss in player.lost]
    refused = sum(player.num_refused for player in players)
    num_actions = sum(player.num_actions for player in players)
    typer.echo(f"  players: {num_actions} actions, lost sessions: {lost}, refused at first: {refused}")
    assert code == 0
    assert lost == []
    assert {player.name for player in players if player.num_moves == 1} == set(moved)
    assert all(pod and pod[0] != busy for pod in after.values())
    assert all(before[name] == after[name] for name in before if name not in moved), "the others stayed"
    assert all(player.num_actions > 20 for player in players)

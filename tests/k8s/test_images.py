"""Images without Docker: the locks are cut from requirements.lock, and the steps are played through in a clean root."""

import json
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import httpx
import numpy as np
import pytest
from packaging.requirements import Requirement

from gi_model import __version__
from gi_model.checkpoint import save_policy
from gi_serve.client import Client
from tests.k8s.clean_root import CleanRoot, clean_roots, is_possible
from tests.k8s.dockerfile import Stage, parse
from tests.k8s.rendering import K8S, ROOT, render
from tests.k8s.rules_serving import routes
from tests.k8s.workloads import workloads
from tests.model.factories import make_policy

IMAGES = ("serve", "train")
needs_namespaces = pytest.mark.skipif(not is_possible(), reason="this user may not make mount namespaces")


def stages(image: str) -> tuple[Stage, Stage]:
    build, final = parse(ROOT / image / "Dockerfile")
    return build, final


def entries(lock: Path) -> dict[str, str]:
    """Each package's whole entry: version, markers, hashes."""
    blocks = re.split(r"^(?=[a-z0-9._-]+(?:\[[a-z,]+\])?==)", lock.read_text(), flags=re.MULTILINE)
    return {re.split(r"[\[=]", block)[0]: block.strip() for block in blocks if "==" in block}


@pytest.mark.parametrize("name", ["build", "serve", "train"])
def test_a_lock_is_cut_from_the_one_that_is_tested(name: str) -> None:
    whole, cut = entries(ROOT / "requirements.lock"), entries(K8S / "images" / f"{name}.lock")
    assert cut
    for package, entry in cut.items():
        assert re.findall(r"==\S+|sha256:\w+", entry) == re.findall(r"==\S+|sha256:\w+", whole[package]), package
    assert "://" not in (K8S / "images" / f"{name}.lock").read_text()


def test_the_server_holds_nothing_that_trains_or_builds() -> None:
    names = set(entries(K8S / "images/serve.lock"))
    trains = {"accelerate", "deepspeed", "peft", "ray", "tensorboard", "transformers", "webdataset"}
    assert not names & (trains | {"duckdb", "vizdoom", "mujoco", "hatchling", "pip", "pytest", "uv"})


def test_what_the_server_asks_for_is_what_the_project_declares() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *(line for name in ("model", "data", "serve", "otel") for line in extras[name])]
    declared = {Requirement(line).name for line in lines} - {"gi-model"}
    asked = {line for line in (K8S / "images/serve.in").read_text().split("\n") if line and not line.startswith("#")}
    assert asked == declared - {"webdataset", "aiohttp", "fsspec"}  # which read corpora


def test_the_server_imports_nothing_else() -> None:
    """With every package hidden that its image lacks, all of its parts can be imported, and its app be built."""
    held = {name.replace("-", "_") for name in entries(K8S / "images/serve.lock")} | {"gi_model"}
    hidden = sorted(
        module
        for module, names in packages_distributions().items()
        if not {re.sub(r"[-.]+", "_", name).lower() for name in names} & held and not module.startswith("_")
    )
    code = f"""
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {set(hidden)!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hidden())
import gi_model.policy_stepper, gi_serve.client, gi_serve.model_loading, gi_serve.tracing, gi_serve.video_intake
from gi_model.cli import build_app as build_command
from gi_serve.app import build_app
from gi_serve.server import Server
from gi_serve.service import Service
build_command()
Server(Service([]))
print(len(build_app(Service([])).openapi()["paths"]))
"""
    assert {"webdataset", "deepspeed", "accelerate", "gymnasium", "duckdb"} <= set(hidden)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) > 5


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_is_built_in_one_stage_and_run_in_another(image: str) -> None:
    build, final = stages(image)
    assert build.image == final.image
    assert re.fullmatch(r"python:3\.\d+-slim-\w+", final.image), "a version, never latest"
    (copied,) = final.all("COPY")
    assert copied.flags == {"from": build.name}
    assert copied.words == ["/opt/gi", "/opt/gi"]
    installs = " ".join(run.text for run in build.all("RUN"))
    assert f"{image}.lock" in installs
    assert installs.count("--require-hashes") == 2
    assert not re.search(r"\bpip\b|\buv\b", " ".join(run.text for run in final.all("RUN")))


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_runs_as_the_user_of_the_manifests(image: str) -> None:
    _, final = stages(image)
    wanted = {
        f"{each.spec['securityContext']['runAsUser']}:{each.spec['securityContext']['runAsGroup']}"
        for each in workloads(render(K8S / "base"))
    }
    (user,) = final.all("USER")
    assert {user.text} == wanted
    names = [each.name for each in final.instructions]
    assert "RUN" not in names[names.index("USER") :]
    assert final.all("ENTRYPOINT")[0].words == ["gi"]
    assert len(final.all("HEALTHCHECK")) == 1


def test_the_health_check_asks_the_port_and_route_there_are() -> None:
    _, final = stages("serve")
    port, path = re.findall(r"127\.0\.0\.1:(\d+)(/[a-z0-9/]+)", final.all("HEALTHCHECK")[0].text)[0]
    assert path in routes()
    assert final.all("EXPOSE")[0].text == port
    (server,) = workloads(render(K8S / "base/serve"))
    assert server.spec["containers"][0]["ports"][0]["containerPort"] == int(port)


@pytest.mark.parametrize("image", IMAGES)
def test_the_tag_in_the_documents_is_the_version(image: str) -> None:
    assert f"-t gi-{image}:{__version__} ." in (ROOT / image / "Dockerfile").read_text()


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    files = [ROOT / image / "Dockerfile" for image in IMAGES]
    ran = subprocess.run([hadolint, *files], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout


# ---------------------------------------------------------------------- played through


def play(image: str, roots: dict[str, CleanRoot]) -> CleanRoot:
    for stage in stages(image):
        roots[stage.name].play(stage, roots)
    return roots[""]


@pytest.mark.slow
@pytest.mark.timeout(900)
@needs_namespaces
def test_the_servers_image_serves(tmp_path: Path) -> None:
    """Its steps, then its server as its user; its health check passes, a client plays, SIGTERM ends it with 0."""
    save_policy(make_policy(), tmp_path / "checkpoint")
    with clean_roots(["build", ""]) as roots:
        root = play("serve", roots)
        assert root.run("gi", "--version").strip() == __version__
        assert root.run("id", "-u").strip() == "10001"
        model = root.outside("/srv/checkpoint")
        model.mkdir()
        for path in (tmp_path / "checkpoint").iterdir():
            (model / path.name).write_bytes(path.read_bytes())
        command = root.command("gi", "serve", "/srv/checkpoint", "--json")
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                assert "http://127.0.0.1:8000" in server.stdout.readline()
                check = re.search(r"CMD (\[.*\])", stages("serve")[1].all("HEALTHCHECK")[0].text)
                assert check is not None
                root.run(*json.loads(check[1]))
                with Client("http://127.0.0.1:8000").session(seed=1) as session:
                    session.act(np.zeros((32, 40, 3), np.uint8))
                assert httpx.get("http://127.0.0.1:8000/metrics", trust_env=False).status_code == 200
                server.terminate()
                assert server.wait(60) == 0
            finally:
                server.kill()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif("GI_REHEARSE" not in os.environ, reason="two minutes: `make rehearse` plays it through")
@needs_namespaces
def test_the_trainers_image_has_its_commands() -> None:
    with clean_roots(["build", ""]) as roots:
        root = play("train", roots)
        assert root.run("gi", "--version").strip() == __version__
        for command in ("ingest", "shard", "curate", "label", "pretrain", "posttrain", "evaluate"):
            assert "Usage" in root.run("gi", command, "--help")
        code = "import accelerate, deepspeed, peft, ray, torch, transformers, webdataset; print(torch.__version__)"
        root.run("python", "-c", code)
        assert "--rdzv-endpoint" in root.run("gi", "torchrun", "--help")

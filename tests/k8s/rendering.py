"""What kustomize makes of k8s/: every base, every overlay, and overlays that only tests put together."""

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
K8S = ROOT / "k8s"
KUBECTL = Path(sys.executable).parent / "kubectl"
Object = dict[str, Any]

BASES = tuple(f"base/{name}" for name in ("common", "ingest", "label", "pretrain", "posttrain", "serve"))
OVERLAYS = tuple(f"overlays/{path.name}" for path in sorted((K8S / "overlays").iterdir()))
TOGETHER = {  # resources, components: as a user would write them
    "everything": (("base",), ()),
    "everything on GPUs": (("base",), ("gpu",)),
    "ddp on spot machines": (("overlays/ddp",), ("spot",)),
    "everything on spot GPUs in a queue, watched": (("base",), ("gpu", "spot", "kueue", "prometheus")),
}


@cache
def _render(folder: Path) -> str:
    ran = subprocess.run([KUBECTL, "kustomize", folder], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def render(folder: Path) -> list[Object]:
    """The objects of a kustomization."""
    return [each for each in yaml.safe_load_all(_render(folder)) if each]


def render_together(folder: Path, resources: tuple[str, ...], components: tuple[str, ...]) -> list[Object]:
    """The objects of a kustomization that is written into `folder`, a sibling of the project's."""
    up = "/".join([".."] * len(folder.relative_to("/").parts)) + str(K8S)
    lines = {"resources": [f"{up}/{name}" for name in resources]}
    lines["components"] = [f"{up}/components/{name}" for name in components]
    (folder / "kustomization.yaml").write_text(yaml.safe_dump({"namespace": "gi", **lines}))
    return render(folder)


def of_kind(objects: list[Object], kind: str) -> list[Object]:
    """Those of a kind."""
    return [each for each in objects if each["kind"] == kind]


def settings(objects: list[Object], name: str) -> dict[str, str]:
    """The data of a ConfigMap; empty if there is none."""
    found = [each for each in of_kind(objects, "ConfigMap") if each["metadata"]["name"] == name]
    return dict(found[0]["data"]) if found else {}

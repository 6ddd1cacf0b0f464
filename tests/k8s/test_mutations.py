"""Good manifests, broken in every way we could think of: all are rejected, for the reason they were broken in."""

import copy
import re

import pytest

from tests.k8s.breakages import BREAKAGES
from tests.k8s.rendering import K8S, render
from tests.k8s.rules import problems

MANIFESTS = {breakage.manifest for breakage in BREAKAGES.values()}


@pytest.mark.parametrize("name", BREAKAGES)
def test_it_is_rejected(name: str) -> None:
    breakage = BREAKAGES[name]
    objects = copy.deepcopy(render(K8S / breakage.manifest))
    breakage.do(objects)
    found = problems(objects)
    assert any(re.search(breakage.complaint, problem) for problem in found), found


def test_there_are_enough_kinds_of_breakage() -> None:
    assert len(BREAKAGES) >= 25


@pytest.mark.parametrize("manifest", sorted(MANIFESTS))
def test_what_was_broken_had_been_good(manifest: str) -> None:
    assert problems(render(K8S / manifest)) == []

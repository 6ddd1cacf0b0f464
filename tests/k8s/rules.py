"""Everything that is demanded of manifests, and what of it is not met."""

from tests.k8s.rendering import Object
from tests.k8s.rules_cluster import cluster_problems
from tests.k8s.rules_commands import command_problems
from tests.k8s.rules_jobs import job_problems
from tests.k8s.rules_pods import pod_problems
from tests.k8s.rules_serving import serving_problems
from tests.k8s.schemas import schema_problems

RULES = (schema_problems, pod_problems, job_problems, command_problems, serving_problems, cluster_problems)


def problems(objects: list[Object]) -> list[str]:
    """All of `objects`; schemas first: what they refuse, the other rules need not understand."""
    if found := list(schema_problems(objects)):
        return found
    return [problem for rule in RULES[1:] for problem in rule(objects)]

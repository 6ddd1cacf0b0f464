"""`map_ray`: what `map_local` does, on a Ray cluster: a task a job, wherever there is a free core.

Every machine must see the same folders under the same paths, and have this package installed. Without a cluster
(RAY_ADDRESS, or one that runs here) Ray starts one on this machine. A task whose worker dies is tried again by Ray; one
that keeps dying costs its job, not the run.
"""

import logging
from collections.abc import Callable, Generator, Sequence
from typing import Any, Final

from gi_data.engines import Job, Result
from gi_model.errors import ConfigError

RETRIES: Final = 1  # after a worker's death; Ray Data's own default is to try for ever


def map_ray(
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    *,
    workers: int,
    on_death: Callable[[Job, str], Result],
) -> Generator[Result, None, None]:
    """Results of a function that can be imported, as they come; at most `workers` at a time, 0: as the cluster has."""
    ray = _connect()
    context = ray.data.DataContext.get_current()
    before = (context.max_errored_blocks, context.enable_progress_bars)
    context.max_errored_blocks, context.enable_progress_bars = -1, False
    try:
        missing = dict(enumerate(jobs))
        rows = ray.data.from_items([{"row": row} for row in missing.items()], override_num_blocks=max(1, len(jobs)))
        for answer in rows.map(
            _Task(function), num_cpus=1, concurrency=workers or None, max_retries=RETRIES
        ).iter_rows():
            number, result = answer["row"]
            del missing[number]
            yield result
    finally:
        context.max_errored_blocks, context.enable_progress_bars = before
    for job in missing.values():
        yield on_death(job, "its Ray task died; the logs of Ray say why")


class _Task:
    """A function of a job as one of a row; an object so that the function travels by name, not by value."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function
        self.__name__ = self.__class__.__name__  # Ray names its operators by it

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        number, job = row["row"]
        return {"row": (number, self._function(job))}


def _connect() -> Any:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ConfigError(
            "Ray is not installed", do="pip install 'gi-model[ray]', or leave out --engine ray."
        ) from error
    if not ray.is_initialized():
        ray.init(logging_level=logging.ERROR, log_to_driver=False)
    return ray

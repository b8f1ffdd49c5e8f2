"""Choose between processes of this machine and the workers of a cluster for the jobs of a sweep."""

from __future__ import annotations

import os
from collections.abc import Callable

from wcrnn_models.errors import UserError
from wcrnn_models.sweeps.cluster import ClusterPool
from wcrnn_models.sweeps.pools import J, Pool
from wcrnn_models.sweeps.processes import ProcessPool
from wcrnn_models.sweeps.worker import Outcome


def make_pool(task: Callable[[J], list[Outcome]], workers: int | None, scheduler: str | None) -> Pool[J]:
    """Return processes of this machine, all cores by default, or the cluster of a scheduler.

    Args:
        task: Function to call with a job. It must be a function of a module, so that another process finds it.
        workers: Number of processes at a time.
        scheduler: Address of a dask.distributed scheduler.

    Raises:
        UserError: If both are given, there is no worker, or the scheduler cannot be reached.
    """
    if workers is not None and workers < 1:
        raise UserError(f"workers must be at least 1, got {workers}.")
    if scheduler is None:
        return ProcessPool(workers or available_workers(), task)
    if workers is not None:
        raise UserError("workers does not go with scheduler, whose cluster has its own; leave one of them out.")
    return ClusterPool(scheduler, task)


def available_workers() -> int:
    """Count the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

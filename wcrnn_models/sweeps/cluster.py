"""Use the workers of a dask.distributed cluster, for sweeps that outgrow one machine.

On machines that share a disk, start ``dask scheduler`` on one and ``dask worker tcp://HOST:8786 --nthreads 1 --nworkers
CORES`` on each. Then run ``wcrnn sweep DIRECTORY --scheduler tcp://HOST:8786 ...`` anywhere. Under SLURM, dask-jobqueue
asks for the workers::

    from dask_jobqueue import SLURMCluster

    cluster = SLURMCluster(cores=8, processes=8, memory="32GB", walltime="08:00:00")
    cluster.scale(jobs=10)
    sweep(configs, directory, scheduler=cluster.scheduler_address)

A worker that reaches its walltime loses the work of its run since the last evaluation. The next worker resumes there.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from importlib import import_module
from typing import Any, Generic

from wcrnn_models.errors import UserError, clause
from wcrnn_models.sweeps.pools import J
from wcrnn_models.sweeps.worker import Outcome, failure

_SECONDS_TO_CONNECT = 30


class ClusterPool(Generic[J]):
    """The workers of a scheduler, which see the directory of the sweep under the same name.

    If a worker dies, the scheduler gives its job to another one, which resumes the run from its last evaluation.

    Args:
        address: Address of the scheduler, such as ``tcp://host:8786``.
        task: Function that a worker calls with its job.

    Raises:
        UserError: If dask.distributed is not installed, or if there is no scheduler.
    """

    def __init__(self, address: str, task: Callable[[J], list[Outcome]]) -> None:
        try:
            self._dask: Any = import_module("distributed")
        except ImportError as error:
            raise UserError(
                "a sweep on a cluster needs dask.distributed; run `pip install 'lyapkit[cluster]'`."
            ) from error
        try:
            self._client: Any = self._dask.Client(address, timeout=_SECONDS_TO_CONNECT, set_as_default=False)
        except (OSError, ValueError) as error:
            raise UserError(
                f"there is no scheduler at {address!r} ({clause(error)}); start one by `dask scheduler` and give "
                "its address."
            ) from error
        self.task = task
        self._running: dict[Any, J] = {}

    def room(self) -> int:
        """Return room for all jobs: the scheduler queues them, and knows its workers."""
        return 1 << 30

    def submit(self, job: J) -> None:
        """Queue a job under a key of its own: a job of an earlier driver may still be at work."""
        key = f"wcrnn-{'-'.join(job.names)[:64]}-{uuid.uuid4().hex}"
        self._running[self._client.submit(self.task, job, key=key, pure=False)] = job

    def outcomes(self, seconds: float) -> list[Outcome]:
        """Return a job whose workers died several times counts as killed."""
        if not self._running:
            return []
        if self._client.status not in ("running", "connecting"):
            raise UserError("the connection to the scheduler is lost; start the sweep again when it is back.")
        try:
            with self._client.as_current():
                done = self._dask.wait(list(self._running), timeout=seconds, return_when="FIRST_COMPLETED").done
        except TimeoutError:
            return []
        found = []
        for future in done:
            job = self._running.pop(future)
            if future.cancelled():
                found += [Outcome(name, "killed", "the scheduler dropped it") for name in job.names]
            elif (error := future.exception()) is None:
                found += future.result()
            elif isinstance(error, self._dask.KilledWorker):
                found += [Outcome(name, "killed", "its workers died") for name in job.names]
            else:
                found += [failure(name, error) for name in job.names]
        return found

    def close(self) -> None:
        """Cancel jobs that have not begun; a worker finishes its present run."""
        self._client.cancel(list(self._running), force=True)
        self._client.close()

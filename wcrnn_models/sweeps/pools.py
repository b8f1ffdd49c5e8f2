"""Define the interface of pools, which run the jobs of a sweep side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from wcrnn_models.sweeps.worker import Outcome


class NamedJob(Protocol):
    """One job of a process, which can be pickled."""

    @property
    def names(self) -> Sequence[str]:
        """Names of its parts. Each part will have an `Outcome`."""


J = TypeVar("J", bound=NamedJob)
J_contra = TypeVar("J_contra", bound=NamedJob, contravariant=True)


class Pool(Protocol[J_contra]):
    """Interface of a pool that runs jobs side by side."""

    def room(self) -> int:
        """Return how many more jobs the pool takes now."""

    def submit(self, job: J_contra) -> None:
        """Begin a job, or queue it."""

    def outcomes(self, seconds: float) -> list[Outcome]:
        """Return the outcomes of jobs that ended since the last call; wait up to so many seconds for one."""

    def close(self) -> None:
        """Stop everything; the next sweep resumes unfinished runs."""

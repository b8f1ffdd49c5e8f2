"""Interfaces of pools, which run the jobs of a sweep side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from wcrnn_models.sweeps.worker import Outcome


class NamedJob(Protocol):
    """One job of a process; it can be pickled."""

    @property
    def names(self) -> Sequence[str]:
        """Names of its parts, for each of which there will be an `Outcome`."""


J = TypeVar("J", bound=NamedJob)
J_contra = TypeVar("J_contra", bound=NamedJob, contravariant=True)


class Pool(Protocol[J_contra]):
    """Runs jobs side by side."""

    def room(self) -> int:
        """Return how many more jobs it takes now."""

    def submit(self, job: J_contra) -> None:
        """Begin a job, or queue it."""

    def outcomes(self, seconds: float) -> list[Outcome]:
        """Return the outcomes of jobs that ended since the last call; wait so many seconds for one."""

    def close(self) -> None:
        """Stop everything; what is not finished goes on in the next sweep."""

"""The number of threads that the operations of an analysis are worth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor

WORTH_THREADS = 1e7
"""Multiplications of an operation from which on several threads share it. Threads meet after every operation, and where
another process keeps a core busy, one waits for the other until the operating system runs it, for milliseconds: on two
busy cores a product of 200 x 200 took 9 ms by two threads and 1 ms by one, on idle ones 0.2 and 0.35 ms."""


@contextmanager
def with_threads(number: int) -> Iterator[None]:
    """Let PyTorch use a number of threads, and as many as before afterwards.

    The number is PyTorch's for the thread of Python that calls. Where it is the same already, nothing is set, so
    analyses in several threads do not restore what another has set. A thread of Python that uses PyTorch for the first
    time meanwhile keeps the number of that time.

    Args:
        number: Threads.

    Example:
        >>> import torch
        >>> before = torch.get_num_threads()
        >>> with with_threads(1):
        ...     torch.get_num_threads()
        1
        >>> torch.get_num_threads() == before
        True
    """
    before = torch.get_num_threads()
    if before == number:
        yield
        return
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def threads_for(multiplications: float) -> AbstractContextManager[None]:
    """Return a context with one thread if operations are small, else with those that there are.

    Args:
        multiplications: Multiplications of the largest operation.
    """
    return with_threads(torch.get_num_threads() if multiplications >= WORTH_THREADS else 1)


_PLACE = {"mm": 0, "bmm": 0, "mv": 0, "dot": 0, "addmm": 1, "baddbmm": 1, "addbmm": 1, "addmv": 1}
"""Place of the first factor of a product among the arguments."""


def multiplications(name: str, args: Sequence[Any], result: object) -> int:
    """Count the multiplications of an operation: terms of sums, and otherwise the elements of its result.

    Args:
        name: Name of the operation, without that of its overload.
        args: Its arguments.
        result: What it has returned.
    """
    numbers = result.numel() if isinstance(result, Tensor) else 0
    if name in _PLACE:
        return numbers * int(args[_PLACE[name]].shape[-1])
    if name == "convolution":
        return numbers * int(args[1].numel() // max(1, args[1].shape[0]))
    return numbers

"""Notice that a call draws random numbers, whatever other threads draw meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class _SeeDraws(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes operations that draw random numbers, in this thread alone."""

    seen = False

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.seen = self.seen or torch.Tag.nondeterministic_seeded in func.tags
        return func(*args, **(kwargs or {}))


def has_drawn(before: Tensor, again: Callable[[], object]) -> bool:
    """Return whether a call has drawn random numbers.

    PyTorch's default generator is that of all threads. Where its state has changed, the call is done once more, and
    its own operations are looked at.

    Args:
        before: Result of `torch.get_rng_state` before the call.
        again: Does the same call again.
    """
    if torch.equal(torch.get_rng_state(), before):
        return False
    with _SeeDraws() as mode:  # type: ignore[no-untyped-call]
        again()
    return bool(mode.seen)

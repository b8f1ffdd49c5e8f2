"""Memory that is allocated once and used at every iteration.

The states of a batch of 128 for 100 units over 784 steps are 40 MB. Fresh memory of that size is handed out by the
operating system page by page, which costs as much time as the arithmetic.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


class Buffers:
    """Named tensors over storage that grows when it has to.

    Args:
        dtype: Their type.
        device: Where they live.

    Attributes:
        moved: How often storage was replaced by a larger one, after which earlier tensors are out of use.
    """

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self.dtype, self.device = dtype, device
        self.moved = 0
        self._storage: dict[str, Tensor] = {}

    def get(self, name: str, *shape: int) -> Tensor:
        """Return a contiguous tensor; another shape under the same name is other views of the same memory."""
        count = math.prod(shape)
        storage = self._storage.get(name)
        if storage is None or storage.numel() < count:
            self.moved += storage is not None
            storage = self._storage[name] = torch.empty(count, dtype=self.dtype, device=self.device)
        return storage[:count].view(shape)

"""Inputs that have been through the encoder of a whole model."""

from __future__ import annotations

from torch import Tensor


class Encoded(Tensor):
    """Inputs that the core of a whole model reads, marked so that no analysis encodes them again.

    Parts, stacks and copies of such a tensor are marked, too.
    """

"""Modules and functions without `torch.compile`, which rounds differently and has no second derivatives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def uncompiled(part: Any) -> Any:
    """Return a compiled module or function as it was, with the same weights, and anything else as it is."""
    if type(part).__name__ == "OptimizedModule":
        return part._orig_mod
    return getattr(part, "_torchdynamo_orig_callable", part) if not isinstance(part, type) else part


@contextmanager
def compiled_parts_named() -> Iterator[None]:
    """Say that a part of a model is compiled, where PyTorch refuses to differentiate it twice.

    Raises:
        ValueError: If a part is compiled; the message says how to run it as it was written.
    """
    try:
        yield
    except RuntimeError as error:
        if "donated buffer" not in str(error) and "support double backward" not in str(error):
            raise
        raise ValueError(
            "a part of the model or the loss is compiled by torch.compile and has no second derivatives; call the "
            'analysis under torch.compiler.set_stance("force_eager"), or pass the parts as they were (._orig_mod).'
        ) from error

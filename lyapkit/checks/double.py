"""Steps in double precision, whatever types they close over or convert to."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lyapkit.checks.one_at_a_time import ONE_AT_A_TIME
from lyapkit.checks.threads import multiplications

COARSE = frozenset(
    getattr(torch, name)
    for name in ("float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz")
    if hasattr(torch, name)
)
"""Floating-point types of two or three digits."""

WIDE = frozenset((torch.float64, torch.complex128))


class InDouble(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Mode in which every operation is in float64 or complex128: weights, constants and conversions, too.

    Attributes:
        coarse: The types of half precision or less that operations asked for.
        needed: Whether an operation had to be widened.
        multiplications: Multiplications of the largest operation.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.coarse: set[torch.dtype] = set()
        self.needed = False
        self.multiplications = 0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Carry out one operation."""
        named = dict(kwargs or {})
        if func._schema.is_mutable:  # tensors that are written into keep their type
            written = {
                part.name for part in func._schema.arguments if part.alias_info is not None and part.alias_info.is_write
            }
            places = zip(args, func._schema.arguments, strict=False)
            given = [value if part.name in written else self._wider(value) for value, part in places]
            return func(*given, **{k: value if k in written else self._wider(value) for k, value in named.items()})
        given = [self._wider(value) for value in args]
        result = func(*given, **{name: self._wider(value) for name, value in named.items()})
        count = multiplications(func.overloadpacket.__name__, given, result)
        self.multiplications = max(self.multiplications, count)
        return self._wider(result)

    def _wider(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            wide = self._widest(value.dtype)
            return value if wide == value.dtype else value.to(wide)
        if isinstance(value, torch.dtype):
            return self._widest(value)
        if isinstance(value, list | tuple):
            return type(value)(self._wider(part) for part in value) if type(value) in (list, tuple) else value
        return value

    def _widest(self, dtype: torch.dtype) -> torch.dtype:
        if dtype in WIDE or not (dtype.is_floating_point or dtype.is_complex):
            return dtype
        self.needed = True
        if dtype in COARSE:
            self.coarse.add(dtype)
        return torch.complex128 if dtype.is_complex else torch.float64


@contextmanager
def in_double() -> Iterator[InDouble]:
    """Open `InDouble`, and run compiled modules as they were before they were compiled."""
    with ExitStack() as stack:
        if "torch._dynamo" in sys.modules:  # without it nothing is compiled
            stack.enter_context(ONE_AT_A_TIME)
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield stack.enter_context(InDouble())

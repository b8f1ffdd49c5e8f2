"""Record the operations of a step and its tangent map with PyTorch's tracer, or give the reason why this fails."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch._guards import TracingContext, tracing
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import jvp, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from lyapkit.checks.one_at_a_time import ONE_AT_A_TIME, WarningsHere
from lyapkit.recurrent_map import RecurrentMap
from lyapkit.tangents.tracing.step_graph import changes_values
from lyapkit.trajectories.networks import InOrder


class Untraceable(Exception):
    """A step that cannot be written as straight-line operations; the message says why."""


class _RefuseChangingShapes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuse shapes that depend on values, which the tracer would take for constants."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.Tag.dynamic_output_shape in func.tags:
            raise Untraceable(f"the shape of a tensor depends on values ({func})")
        return func(*args, **(kwargs or {}))


class _RefuseReading(TorchFunctionMode):
    """Refuse to read values out of tensors: the tracer does not see this, and would take the values for constants."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in ("tolist", "numpy", "__array__", "__dlpack__"):
            raise Untraceable(f"the step reads values out of tensors ({func.__name__})")
        return func(*args, **(kwargs or {}))


def record(map: RecurrentMap, example: tuple[Tensor, ...]) -> torch.fx.GraphModule:
    """Return the operations that lead from (state, tangents, input) to the next state and its tangents.

    Args:
        map: The map.
        example: States (B, N), tangents in rows (k, B, N) and, for a driven map, inputs (B, M).

    Raises:
        Untraceable: If the step reads values out of tensors, depends on their layout, or changes tensors in place.
    """
    function: Callable[..., Any] = lambda state, rows, input: _both(map, state, input, rows)  # noqa: E731
    if len(example) == 2:
        function = lambda state, rows: _both(map, state, None, rows)  # noqa: E731
    one_mode = tracing(TracingContext(FakeTensorMode()))  # otherwise the tracer makes a new mode for every operation
    with ONE_AT_A_TIME, one_mode, _RefuseChangingShapes(), _RefuseReading():  # type: ignore[no-untyped-call]
        traced = make_fx(function)(*example)
    for node in traced.graph.nodes:
        if node.target is torch.ops.aten.as_strided.default:
            raise Untraceable("the step depends on how a tensor lies in memory (as_strided)")
        if changes_values(node):
            raise Untraceable(f"the step changes tensors in place ({node.target})")
    return traced


def _both(map: RecurrentMap, state: Tensor, input: Tensor | None, rows: Tensor) -> Any:
    """Return the next state, and the tangents in rows after the step."""
    if isinstance(map, InOrder):
        assert input is not None, "it holds the numbers of the networks"
        return map.together(_both, state, input, rows)

    def along(row: Tensor) -> Any:
        return jvp(lambda x: map.step(x, input), (state,), (row,))

    after, pushed = vmap(along)(rows)
    return after[0], pushed  # the state is the same along all rows


_NO_WARNING = WarningsHere("error", other_than=(DeprecationWarning,))
"""vmap warns if it can only loop."""


@lru_cache(maxsize=1)
def _simpler() -> dict[Any, Callable[..., Any]]:
    """Return the rules that replace composed operations by simpler ones."""
    from torch._decomp import get_decompositions  # this import adds filters of warnings

    aten = torch.ops.aten
    return get_decompositions(
        [
            aten.celu, aten.gelu, aten.gelu_backward, aten.hardswish,
            aten.hardswish_backward, aten.hardtanh, aten.hardtanh_backward, aten.log_sigmoid_backward,
            aten.log_sigmoid_forward, aten.logsumexp, aten.mish, aten.mish_backward, aten.native_layer_norm, aten.selu,
            aten.silu, aten.silu_backward, aten.std, aten.var, aten.var_mean,
        ]
    )  # fmt: skip


def record_without_values(map: RecurrentMap, state: Tensor, input: Tensor | None, k: int) -> torch.fx.GraphModule:
    """Record a step of one trajectory with k tangents, on tensors that have shapes but no values.

    So no decision in Python can depend on the state, its tangents or the input. If one does, recording fails.

    Args:
        map: The map.
        state: State, shape (N,). Only its size and type matter.
        input: Input, shape (M,), or None.
        k: Number of tangents.

    Raises:
        Untraceable: If the step cannot be recorded; the message says why.
    """
    rows = torch.ones(k, 1, len(state), dtype=state.dtype, device=state.device)
    example: tuple[Tensor, ...] = (state.detach().unsqueeze(0).clone(), rows)
    function: Callable[..., Any] = lambda state, rows: _both(map, state, None, rows)  # noqa: E731
    if input is not None:
        example = (*example, input.detach().unsqueeze(0).clone())
        function = lambda state, rows, input: _both(map, state, input, rows)  # noqa: E731
    try:
        with ONE_AT_A_TIME, torch.no_grad(), _RefuseReading(), _NO_WARNING.open():
            tracer = make_fx(function, _simpler(), tracing_mode="fake", _allow_non_fake_inputs=True)
            return tracer(*example)
    except Untraceable:
        raise
    except Exception as error:  # a map may raise anything under the tracer; other strategies remain
        reason = str(error).splitlines()[0] if str(error) else ""
        raise Untraceable(f"{type(error).__name__}: {reason}") from error

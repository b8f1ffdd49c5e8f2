"""Tangents by a step that was traced once: straight-line operations instead of PyTorch's transformations.

`torch.func.jvp` under `vmap` costs many times the arithmetic of a small step, at every step. Here one step with its
tangents is recorded once, simplified (see `lyapkit.tangents.simplify`) and split into what depends on the state alone
and what is linear in the tangents. The latter is done step by step, the factors it needs for many steps at once.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.func import jvp, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from lyapkit.drive import Drive, Stretch
from lyapkit.recurrent_map import RecurrentMap
from lyapkit.tangents.forward import ForwardTangents
from lyapkit.tangents.simplify import simplify, view_directly
from lyapkit.tangents.step_graph import StepGraph, changes_values
from lyapkit.tangents.straight import straight_line
from lyapkit.tangents.strategy import TangentStrategy

Result = TypeVar("Result")

AGREEMENT = {torch.float64: 1e-10, torch.float32: 1e-3}
"""Relative difference from the strategy it stands for that a traced step may show when it is tried."""


STEP_AGREEMENT = {torch.float64: 1e-10, torch.float32: 1e-4}
"""Difference of a state from the map's own, evaluated for many states at once, relative to 1 + its size."""

WORTH_TRACING = 256
"""Steps from which on the tenth of a second that tracing takes is won back; fewer for more than 100 units."""


class Untraceable(Exception):
    """A step that cannot be written as straight-line operations; the message says why."""


class TracedStep:
    """A step and its tangent map for B trajectories and k directions, as straight-line functions.

    The next state is the map's own to the bit; tangents agree with forward mode up to rounding. They are computed in
    ``dtype``, whatever the map computes in: a float32 map is given float64 tangents of its float32 state, and a float64
    map may be given float32 tangents.

    Args:
        map: the map.
        state: B states, shape (B, N).
        input: their inputs, shape (B, M), or None.
        k: number of directions.
        dtype: of the tangents.

    Raises:
        Untraceable: the step reads values out of tensors, changes tensors in place, or fails under the tracer.
    """

    def __init__(self, map: RecurrentMap, state: Tensor, input: Tensor | None, k: int, dtype: torch.dtype) -> None:
        state = state.detach().clone()
        rows = torch.ones(k, *state.shape, dtype=state.dtype, device=state.device)
        example = (state, rows) if input is None else (state, rows, input.detach().clone())
        graph = StepGraph(_traced(map, example), example)
        simplify(graph)
        self.k, self.dtype = k, dtype
        pushed = graph.outputs[1]
        state_node, rows_node, *input_nodes = graph.placeholders
        moving = [node for node in graph.graph.nodes if node in graph.moving and node.op == "call_function"]
        mixed = any(_dtype(graph.values[node]) not in (state.dtype, None) for node in (*moving, pushed))
        self._tangent_dtype = state.dtype if mixed else dtype  # a step that changes types inside keeps them all
        self.mixed = mixed

        edge: dict[Any, None] = {}  # what the tangent operations need of the rest of the graph, in order
        for node in moving:
            edge.update((source, None) for source in node.all_input_nodes if source not in graph.moving)
        if pushed not in graph.moving:
            edge[pushed] = None
        constants = [node for node in edge if node in graph.steady]
        factors = [node for node in edge if node not in graph.steady]
        self.factor_bytes: int = sum(graph.values[node].numel() * dtype.itemsize for node in factors)
        self._constants = [self._cast(graph.values[node]).contiguous() for node in constants]
        self._push = straight_line([rows_node, *factors, *constants], [pushed])
        weights = [node for node in graph.graph.nodes if node in graph.steady]
        given = [state_node, *input_nodes]
        self._weights = [graph.values[node] for node in weights]
        self._factors = straight_line([*given, *weights], factors)
        for node in list(graph.graph.nodes):
            if node.op == "call_function" and node not in graph.moving:
                view_directly(graph, node)
        graph.refresh()
        weights = [node for node in graph.graph.nodes if node in graph.steady]
        self._step_weights = [graph.values[node] for node in weights]
        self._step = straight_line([*given, *weights], [graph.outputs[0]])

    def step(self, state: Tensor, input: Tensor | None = None) -> Tensor:
        """x_{t+1}, shape (B, N), as the map's own step gives it."""
        given = (state.contiguous(),) if input is None else (state.contiguous(), input.contiguous())
        return self._step(*given, *self._step_weights)[0]

    def factors(self, states: Tensor, inputs: Tensor | None) -> list[tuple[Tensor, ...]]:
        """What the tangent map needs of each of L steps, from states (L, B, N) and inputs (L, B, M)."""
        length = states.shape[0]
        if not self.factor_bytes:
            return [()] * length
        given = (states,) if inputs is None else (states, inputs)
        with torch.no_grad():
            all_steps = vmap(self._factors, in_dims=(*(0 for _ in given), *(None for _ in self._weights)))(
                *given, *self._weights
            )
        return list(zip(*(self._cast(factor).contiguous().unbind(0) for factor in all_steps), strict=True))

    def _cast(self, value: Tensor) -> Tensor:
        return value if self.mixed or not value.is_floating_point() else value.to(self._tangent_dtype)

    def carry(self, frame: Tensor, factors: Sequence[tuple[Tensor, ...]]) -> Tensor:
        """J_n ... J_1 times a frame, (B, N, k) -> (B, N, k), over the steps that the factors belong to."""
        rows = frame.permute(2, 0, 1).to(self._tangent_dtype)  # tangents in rows, each next to itself in memory
        with torch.no_grad():
            for step in factors:
                if rows.storage_offset() or not rows.is_contiguous():  # the layout that was traced
                    rows = rows.clone(memory_format=torch.contiguous_format)
                (rows,) = self._push(rows, *step, *self._constants)
        return rows.permute(1, 2, 0).to(self.dtype)


def trace_step(
    map: RecurrentMap, state: Tensor, input: Tensor | None, k: int, dtype: torch.dtype, check: TangentStrategy
) -> TracedStep:
    """A traced step that has been tried against the map itself, at the given states and beside them.

    Raises:
        Untraceable: it cannot be traced or disagrees with the map.
    """
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("error")  # vmap warns where it can only loop
            warnings.simplefilter("ignore", DeprecationWarning)  # of PyTorch's own, when it loads its decompositions
            traced = TracedStep(map, state, input, k, dtype)
            generator = torch.Generator().manual_seed(0)
            frame = torch.randn(*state.shape, k, generator=generator, dtype=torch.float64).to(state)
            aside = torch.randn(state.shape, generator=generator, dtype=torch.float64).to(state)
            for other in (state, state + 0.1 * (1 + state.abs()) * aside):
                _try(traced, map, other, input, frame, check)
    except Untraceable:
        raise
    except Exception as error:  # whatever a map does under the tracer: the other strategies are still there
        raise Untraceable(f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}") from error
    return traced


def _try(
    traced: TracedStep, map: RecurrentMap, state: Tensor, input: Tensor | None, frame: Tensor, check: TangentStrategy
) -> None:
    if not torch.equal(traced.step(state, input), map.step(state, input)):
        raise Untraceable("the traced step differs from the map's")
    factors = traced.factors(state[None], None if input is None else input[None])
    found, expected = (
        traced.carry(frame.to(traced.dtype), factors).double(),
        check.push(map, state, input, frame).double(),
    )
    if not _agree(traced, state.dtype, found, expected):
        raise Untraceable("the traced tangents differ from forward mode")


def _agree(traced: TracedStep, dtype: torch.dtype, found: Tensor, expected: Tensor) -> bool:
    single = torch.float32 in (dtype, traced.dtype) or traced.mixed
    size = torch.linalg.vector_norm(expected, dim=-2).amax()
    return bool(((found - expected).abs() <= AGREEMENT[torch.float32 if single else torch.float64] * size).all())


class TracingFailed(Exception):
    """A traced step that turned out not to be the map's along the trajectory; the message says where."""


def confirm(
    traced: TracedStep,
    map: RecurrentMap,
    plain: TangentStrategy,
    stretch: Stretch,
    factors: Sequence[tuple[Tensor, ...]],
    active: Tensor | None,
) -> None:
    """Hold a stretch of a run against the map itself: every step, and the tangents at one of them (first, three).

    What a step does at other states than the ones it was tried at may not have been traced: a branch that depends on
    values, a counter.

    Args:
        traced: what has run.
        map: the map.
        plain: the strategy that the traced step stands for.
        stretch: the states it went through.
        factors: what its tangents are computed from, for each step.
        active: which trajectories did each step, shape (L, B), or None for all.

    Raises:
        TracingFailed: a state or a tangent differs.
    """
    states, inputs = stretch.states, stretch.inputs
    length = states.shape[0]
    after = torch.cat((states[1:], stretch.after[None]))
    chosen = range(length) if getattr(map, "batching", "native") != "loop" else sorted({0, length // 2, length - 1})
    where = torch.tensor(list(chosen), device=states.device)
    with torch.no_grad():
        again = map.step(states[where], None if inputs is None else inputs[where])
    room = STEP_AGREEMENT[map.dtype] * (1 + after[where].abs().amax(dim=-1, keepdim=True))
    wrong = ~((again - after[where]).abs() <= room).all(dim=-1)  # (L, B)
    if active is not None:
        wrong &= active[where]
    if bool(wrong.any()):
        step = int(where[wrong.any(dim=-1).nonzero()[0]])
        raise TracingFailed(f"the traced step differs from the map's at step {stretch.start + step + 1}")
    generator = torch.Generator().manual_seed(stretch.start)
    batch, size = stretch.after.shape
    frame = torch.randn(batch, size, traced.k, generator=generator, dtype=torch.float64).to(states.device)
    mixture = torch.randn(traced.k, 1, generator=generator, dtype=torch.float64).to(states.device)
    somewhere = int(torch.randint(length, (), generator=generator))
    for step in sorted({0, somewhere, length - 1}) if stretch.start == 0 else [somewhere]:
        found = traced.carry(frame.to(traced.dtype), factors[step : step + 1]).double() @ mixture
        direction = (frame @ mixture).to(map.dtype)
        expected = plain.push(map, states[step], None if inputs is None else inputs[step], direction).double()
        if not _agree(traced, map.dtype, found, expected):
            raise TracingFailed(f"the traced tangents differ from forward mode at step {stretch.start + step + 1}")


class TracedTangents:
    """A traced step for what it was traced for, and the strategy it was tried against for everything else.

    Args:
        traced: the traced step.
        plain: the strategy.
        batch: B that it was traced for.
    """

    name = "forward mode (traced)"

    def __init__(self, traced: TracedStep, plain: TangentStrategy, batch: int) -> None:
        self.traced = traced
        self.plain = plain
        self._batch = batch

    def fits(self, batch: int, k: int, dtype: torch.dtype) -> bool:
        """Whether frames (B, N, k) of a dtype can be carried by the traced step."""
        return (batch, k, dtype) == (self._batch, self.traced.k, self.traced.dtype)

    def push(self, map: RecurrentMap, state: Tensor, input: Tensor | None, frame: Tensor) -> Tensor:
        """As the strategy does it."""
        return self.plain.push(map, state, input, frame)

    def jacobian(self, map: RecurrentMap, state: Tensor, input: Tensor | None) -> Tensor:
        """As the strategy does it."""
        return self.plain.jacobian(map, state, input)


def with_fallback(
    run: Callable[[TangentStrategy], Result], tangents: TangentStrategy, untraced: str
) -> tuple[Result, TangentStrategy, str]:
    """Run an analysis, and once more by the plain strategy where the traced step turns out not to be the map's.

    Args:
        run: the analysis, given a strategy; nothing of a run that fails may be left.
        tangents: the strategy to try first, of `traced_where_it_pays`.
        untraced: why it is not a traced one.

    Returns:
        The result, the strategy it was got by, and why that is not a traced one; empty where it is.
    """
    try:
        return run(tangents), tangents, untraced
    except TracingFailed as reason:
        assert isinstance(tangents, TracedTangents), "nothing else is traced"
        return run(tangents.plain), tangents.plain, str(reason)


def traced_where_it_pays(
    map: RecurrentMap, drive: Drive, k: int, dtype: torch.dtype, plain: TangentStrategy
) -> tuple[TangentStrategy, str]:
    """Trace the step for a long run.

    Args:
        map: the map.
        drive: what it will be run on.
        k: directions.
        dtype: of the frame.
        plain: the strategy to use otherwise.

    Returns:
        The strategy to use, and why it is not a traced one; empty where it is.
    """
    if drive.steps * max(1.0, map.state_size / 100) < WORTH_TRACING:
        return plain, f"too few steps ({drive.steps})"
    if not isinstance(plain, ForwardTangents):
        return plain, "no forward mode"
    try:
        traced = trace_step(map, drive.state, drive.input_at(0), k, dtype, plain)
    except Untraceable as reason:
        return plain, str(reason)
    return TracedTangents(traced, plain, drive.state.shape[0]), ""


class _RefuseChangingShapes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Shapes that depend on values would be taken for constants."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.Tag.dynamic_output_shape in func.tags:
            raise Untraceable(f"the shape of a tensor depends on values ({func})")
        return func(*args, **(kwargs or {}))


class _RefuseReading(TorchFunctionMode):
    """Values that leave the tensors unseen by the tracer would be taken for constants."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in ("tolist", "numpy", "__array__", "__dlpack__"):
            raise Untraceable(f"the step reads values out of tensors ({func.__name__})")
        return func(*args, **(kwargs or {}))


def _traced(map: RecurrentMap, example: tuple[Tensor, ...]) -> torch.fx.GraphModule:
    def both(state: Tensor, rows: Tensor, input: Tensor | None) -> Any:
        def along(row: Tensor) -> Any:
            return jvp(lambda x: map.step(x, input), (state,), (row,))

        return vmap(along, out_dims=(None, 0))(rows)  # type: ignore[arg-type]  # the state is the same along all rows

    function: Callable[..., Any]
    if len(example) == 2:
        function = lambda state, rows: both(state, rows, None)  # noqa: E731
    else:
        function = both
    with _RefuseChangingShapes(), _RefuseReading():  # type: ignore[no-untyped-call]
        traced = make_fx(function)(*example)
    for node in traced.graph.nodes:
        if node.target is torch.ops.aten.as_strided.default:
            raise Untraceable("the step depends on how a tensor lies in memory (as_strided)")
        if changes_values(node):
            raise Untraceable(f"the step changes tensors in place ({node.target})")
    return traced


def _dtype(value: Any) -> torch.dtype | None:
    return value.dtype if isinstance(value, Tensor) else None

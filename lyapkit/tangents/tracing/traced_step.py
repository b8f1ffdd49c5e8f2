"""Represent one step with its tangents by straight-line functions.

At every step, `torch.func.jvp` under `vmap` costs many times the arithmetic of a small step. Here one step with its
tangents is recorded once, and simplified (see `lyapkit.tangents.tracing.simplify`). It is then split into two parts:
one depends on the state alone, the other is linear in the tangents. The first gives factors for many steps at once; the
second uses them step by step. Results are written into memory that is laid out once (see
`lyapkit.tangents.tracing.memory`), which changes no value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap

from lyapkit.recurrent_map import RecurrentMap
from lyapkit.tangents.tracing.recording import record
from lyapkit.tangents.tracing.simplify import simplify, view_directly
from lyapkit.tangents.tracing.step_graph import StepGraph
from lyapkit.tangents.tracing.straight import StraightLine


class TracedStep:
    """A step and its tangent map for B trajectories and k directions, as straight-line functions.

    The next state is the map's own to the bit; tangents agree with forward mode up to rounding. They are computed in
    ``dtype``, which need not be the type of the map: a float32 map may have float64 tangents of its float32 state, and
    a float64 map may have float32 tangents.

    Args:
        map: The map.
        state: States, shape (B, N).
        input: Inputs of these states, shape (B, M), or None.
        k: Number of directions.
        dtype: Type of the tangents.
        side_by_side: True to store the same unit of all trajectories side by side, for states and tangents.

    Attributes:
        trial_frame: A random frame to try tangents on, shape (B, N, k), float64.

    Raises:
        Untraceable: If the step reads values out of tensors, changes tensors in place, or fails under the tracer.
    """

    def __init__(
        self,
        map: RecurrentMap,
        state: Tensor,
        input: Tensor | None,
        k: int,
        dtype: torch.dtype,
        side_by_side: bool = False,
    ) -> None:
        self.side_by_side = side_by_side
        state = self._laid_out(state.detach().clone())
        rows = self._laid_out(torch.ones(k, *state.shape, dtype=state.dtype, device=state.device))
        example = (state, rows) if input is None else (state, rows, input.detach().clone())
        graph = StepGraph(record(map, example), example)
        simplify(graph)
        self.k, self.dtype = k, dtype
        generator = torch.Generator().manual_seed(0)
        trial = torch.randn(*state.shape, k, generator=generator, dtype=torch.float64, device="cpu")
        self.trial_frame = trial.to(state.device)
        self._shape, self._state_dtype, self._device = state.shape, state.dtype, state.device
        pushed = graph.outputs[1]
        state_node, rows_node, *input_nodes = graph.placeholders
        moving = [node for node in graph.graph.nodes if node in graph.moving and node.op == "call_function"]
        mixed = any(_dtype(graph.values[node]) not in (state.dtype, None) for node in (*moving, pushed))
        self._tangent_dtype = state.dtype if mixed else dtype  # a step that changes types inside keeps all of them
        self.mixed = mixed

        edge: dict[Any, None] = {}  # nodes of the rest that the tangent operations need, in order
        for node in moving:
            edge.update((source, None) for source in node.all_input_nodes if source not in graph.moving)
        if pushed not in graph.moving:
            edge[pushed] = None
        constants = [node for node in edge if node in graph.steady]
        factors = [node for node in edge if node not in graph.steady]
        self.factor_bytes: int = sum(graph.values[node].numel() * dtype.itemsize for node in factors)
        self._constants = [self._cast(graph.values[node]).contiguous() for node in constants]
        values, kept = (None, None) if mixed else (graph.values, self._tangent_dtype)
        self._push = StraightLine([rows_node, *factors, *constants], [pushed], values, kept)
        self._spare = [self._push.new_results() for _ in range(2)]
        weights = [node for node in graph.graph.nodes if node in graph.steady]
        given = [state_node, *input_nodes]
        self._weights = [graph.values[node] for node in weights]
        self._factors = StraightLine([*given, *weights], factors).function
        if not self.side_by_side:  # with it, states are parts of a stretch, without a fixed layout
            for node in list(graph.graph.nodes):
                if node.op == "call_function" and node not in graph.moving:
                    view_directly(graph, node)
            graph.refresh()
        weights = [node for node in graph.graph.nodes if node in graph.steady]
        self._step_weights = [graph.values[node] for node in weights]
        self._step = StraightLine([*given, *weights], [graph.outputs[0]], graph.values)
        after = graph.values[graph.outputs[0]]
        results = self._step.new_results()  # the next state is a view of these, perhaps in another order
        same = bool(results) and (results[0].shape, results[0].stride()) == (after.shape, after.stride())
        whole = bool(results) and results[0].numel() == after.numel() and results[0].is_contiguous()
        self._in_order = same if side_by_side else whole and after.is_contiguous()

    def _laid_out(self, value: Tensor) -> Tensor:
        """Return a tensor (..., B, N) in the layout of the trace: contiguous, or with trajectories side by side."""
        contiguous = value.mT if self.side_by_side else value
        if contiguous.is_contiguous() and not value.storage_offset():
            return value
        contiguous = contiguous.clone(memory_format=torch.contiguous_format)
        return contiguous.mT if self.side_by_side else contiguous

    def step(self, state: Tensor, input: Tensor | None = None, into: Sequence[Tensor] | None = None) -> Tensor:
        """Compute x_{t+1}, shape (B, N), as the map's own step does.

        Args:
            state: State x_t, shape (B, N).
            input: Input s_t, shape (B, M), or None.
            into: One of the places that `stretch_memory` gives. The result may lie elsewhere.
        """
        state = state if self.side_by_side else state.contiguous()
        given = (state,) if input is None else (state, input.contiguous())
        into = self._step.new_results() if into is None else into
        return self._step.function(*given, *self._step_weights, *into)[0]

    def stretch_memory(self, length: int) -> tuple[Tensor, list[Sequence[Tensor]]]:
        """Return memory for the states of a stretch, (L, B, N), and for each state a place for `step` to write it."""
        results = self._step.new_results()
        batch, size = self._shape
        if self.side_by_side:
            memory = torch.empty(size, length, batch, dtype=self._state_dtype, device=self._device)
            states = memory.permute(1, 2, 0)
            places = list(states) if self._in_order else []
        else:
            states = torch.empty(length, batch, size, dtype=self._state_dtype, device=self._device)
            places = list(states.view(length, *results[0].shape)) if self._in_order else []
        return states, [(place,) for place in places] or [results] * length

    def factors(self, states: Tensor, inputs: Tensor | None) -> list[tuple[Tensor, ...]]:
        """Compute the factors of the tangent map for each of L steps, from states (L, B, N) and inputs (L, B, M)."""
        length = states.shape[0]
        if not self.factor_bytes:
            return [()] * length
        given = (states,) if inputs is None else (states, inputs)
        with torch.no_grad():
            all_steps = vmap(self._factors, in_dims=(*(0 for _ in given), *(None for _ in self._weights)))(
                *given, *self._weights
            )
        cast = [self._cast(factor) for factor in all_steps]
        if not self.side_by_side:
            cast = [factor.contiguous() for factor in cast]
        return list(zip(*(factor.unbind(0) for factor in cast), strict=True))

    def _cast(self, value: Tensor) -> Tensor:
        return value if self.mixed or not value.is_floating_point() else value.to(self._tangent_dtype)

    def carry(self, frame: Tensor, factors: Sequence[tuple[Tensor, ...]]) -> Tensor:
        """Multiply a frame (B, N, k) by J_n ... J_1, (B, N, k) -> (B, N, k), over the steps of the factors."""
        rows = frame.permute(2, 0, 1).to(self._tangent_dtype)  # tangents in rows, each contiguous in memory
        push, last = self._push.function, len(factors) - 1
        with torch.no_grad():
            for place, step in enumerate(factors):
                into = self._push.new_results() if place == last else self._spare[place % 2]
                (rows,) = push(self._laid_out(rows), *step, *self._constants, *into)
        return rows.permute(1, 2, 0).to(self.dtype)


def _dtype(value: Any) -> torch.dtype | None:
    return value.dtype if isinstance(value, Tensor) else None

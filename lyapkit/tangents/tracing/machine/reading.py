"""Read a recorded step into statements."""

from __future__ import annotations

import operator
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from lyapkit.tangents.tracing.machine.pointwise import POINTWISE, Pointwise, copy, linear_in, names
from lyapkit.tangents.tracing.machine.program import (
    Array,
    Block,
    Elementwise,
    Part,
    Product,
    Program,
    Reduction,
    Statement,
)
from lyapkit.tangents.tracing.machine.views import VIEWS, part_along
from lyapkit.tangents.tracing.recording import Untraceable
from lyapkit.tangents.tracing.step_graph import ZEROS, changes_values, is_operation, owns_argument

RESHAPINGS = ("reshape", "view", "_unsafe_view")
MOST_PICKED = 64
"""Largest number of elements that are picked one by one."""

REDUCTIONS = {"sum": "sum", "mean": "sum", "amax": "amax", "amin": "amin"}
PRODUCTS = ("addmm", "addmv", "baddbmm", "bmm", "dot", "mm", "mv")


class Reader:
    """Reader of a recorded graph, which returns statements.

    Args:
        traced: Graph of (state, tangents in rows[, input]) -> (next state, its tangents).
        k: Number of tangents.

    Raises:
        Untraceable: If an operation has no machine code.
    """

    def __init__(self, traced: fx.GraphModule, k: int) -> None:
        traced.graph.eliminate_dead_code()
        self._module, self._graph = traced, traced.graph
        self._starts: list[int] = []  # addresses of blocks
        self._located: list[Block] = []
        self._blocks: list[Block] = []
        self._statements: list[Statement] = []
        self._values: dict[fx.Node, Any] = {}  # arrays in the memory of blocks, and constant tensors
        self._numbers: dict[tuple[float, bool], Array] = {}
        self._weights: dict[int, tuple[Tensor, Array]] = {}  # by identity, kept so that no other gets the same
        self._directions = k

    def program(self) -> Program:
        """Return the statements."""
        placeholders = [node for node in self._graph.nodes if node.op == "placeholder"]
        size = placeholders[0].meta["val"].shape[-1]
        inputs = placeholders[2].meta["val"].shape[-1] if len(placeholders) > 2 else 0
        point = self._new("point", (1 + self._directions, size))
        given = [point[:1], point[1:].reshape(self._directions, 1, size)]
        if inputs:
            given.append(self._new("input", (1, inputs)))
        self._values.update(zip(placeholders, given, strict=True))
        for node in self._graph.nodes:
            if node.op == "get_attr":
                self._values[node] = self._attribute(node)
            elif node.op == "call_function":
                self._values[node] = self._result(node)
        results: Any = self._graph.output_node().args[0]
        after, pushed = results
        return Program(
            size,
            self._directions,
            inputs,
            self._statements,
            self.part(np.broadcast_to(self._array(self._values[after]), (1, size))),
            self.part(np.broadcast_to(self._array(self._values[pushed]), (self._directions, 1, size))),
        )

    def _attribute(self, node: fx.Node) -> Any:
        value: Any = self._module
        for name in str(node.target).split("."):
            value = getattr(value, name)
        return value.detach() if isinstance(value, Tensor) else value

    def _new(self, kind: str, shape: tuple[int, ...], boolean: bool = False, array: Array | None = None) -> Array:
        if 0 in shape:
            raise Untraceable("a tensor of the step has no elements")
        memory: Array = np.empty(shape) if array is None else array
        block = Block(kind, sum(other.kind == kind for other in self._blocks), memory, boolean)
        self._blocks.append(block)
        address = memory.__array_interface__["data"][0]
        place = bisect_right(self._starts, address)
        self._starts.insert(place, address)
        self._located.insert(place, block)
        return memory

    def part(self, view: Array) -> Part:
        """Find the block that an array lies in."""
        address = view.__array_interface__["data"][0]
        place = bisect_right(self._starts, address) - 1
        block = self._located[place]
        strides = tuple(
            stride // 8 if length > 1 else 0 for stride, length in zip(view.strides, view.shape, strict=True)
        )
        assert 0 <= address - self._starts[place] < block.array.nbytes, "every array lies in a block"
        return Part(block, (address - self._starts[place]) // 8, strides, view.shape)

    def _array(self, value: Any) -> Array:
        """Return an array for a constant tensor or a number."""
        if isinstance(value, np.ndarray):
            return value
        if not isinstance(value, Tensor):
            value = torch.tensor(value, dtype=torch.float64 if isinstance(value, float) else None, device="cpu")
        if id(value) not in self._weights:
            self._weights[id(value)] = value, self._constant(value)
        return self._weights[id(value)][1]

    def _constant(self, value: Tensor) -> Array:
        boolean = value.dtype == torch.bool
        if value.dtype not in (torch.float64, torch.float32, torch.bool, torch.int64):  # all are exact in float64
            raise Untraceable(f"a constant of the step is {value.dtype}")
        numbers = value.detach().to("cpu", torch.float64).resolve_neg().numpy()
        first = float(numbers.flat[0]) if numbers.size else 0.0
        if numbers.size and (numbers == first).all():
            if (first, boolean) not in self._numbers:
                self._numbers[first, boolean] = self._new("number", (1,), boolean, np.array([first]))
            return np.broadcast_to(self._numbers[first, boolean].reshape(()), numbers.shape)
        return self._new("weight", numbers.shape, boolean, np.ascontiguousarray(numbers))

    def _zero(self, value: Any) -> bool:
        """Tell whether a value is zero by construction."""
        if isinstance(value, Tensor):
            value = self._array(value)
        if isinstance(value, np.ndarray):
            block = self.part(value).block
            return block.kind == "number" and block.array[0] == 0
        return isinstance(value, int | float) and value == 0

    def _result(self, node: fx.Node) -> Any:
        resolved: Any = fx.map_arg((node.args, node.kwargs), lambda source: self._values[source])
        args, kwargs = resolved
        name = names(getattr(node.target, "overloadpacket", getattr(node.target, "__name__", node.target)))
        if node.target is operator.getitem:
            return args[0][args[1]]
        if changes_values(node):
            raise Untraceable(f"the step changes tensors in place ({node.target})")
        if name == "copy_":  # into a new tensor
            return args[1]
        if name.endswith("_") and owns_argument(node):
            name = name.removesuffix("_")
        if not any(isinstance(value, np.ndarray) for value in _flat((args, tuple(kwargs.values())))):
            return self._computed(node, args, kwargs)
        shape, boolean = tuple(node.meta["val"].shape) if isinstance(node.meta["val"], Tensor) else (), False
        if isinstance(node.meta["val"], Tensor):
            dtype = node.meta["val"].dtype
            boolean = dtype == torch.bool
            if dtype not in (torch.float64, torch.bool):
                raise Untraceable(f"the step computes in {dtype} inside")
        if name in VIEWS:
            if name == "_to_copy":
                return self._converted(args[0], boolean)
            first, *rest = args
            return VIEWS[name](self._array(first), *rest, **_without_layout(kwargs))
        if name in RESHAPINGS:
            return self._reshaped(self._array(args[0]), shape)
        if is_operation(node, ZEROS) or name in ("zeros_like", "new_zeros"):
            return self._array(torch.zeros(shape, dtype=torch.float64, device="cpu"))
        if name in ("ones_like", "full_like", "new_ones", "new_full"):
            fill = 1.0 if "ones" in name else float(args[-1])
            return self._array(torch.full(shape, fill, dtype=torch.float64, device="cpu"))
        if name in PRODUCTS:
            return self._product(name, [self._array(one) for one in args], kwargs, shape)
        if name in ("cat", "stack"):
            return self._joined(name, [self._array(one) for one in args[0]], *args[1:], **kwargs, shape=shape)
        if name == "roll":
            return self._rolled(self._array(args[0]), *args[1:])
        if name in REDUCTIONS:
            return self._reduced(name, self._array(args[0]), *args[1:], **kwargs, shape=shape)
        if name == "var" and len(args) > 1:
            return self._variance(self._array(args[0]), args[1], args[2] if len(args) > 2 else 1, shape)
        if name == "index" and sum(one is not None for one in args[1]) == 1:
            return self._picked(self._array(args[0]), args[1], shape)
        if name in ("_softmax", "_log_softmax"):
            return self._softmax(name, self._array(args[0]), args[1])
        if name in POINTWISE and (name != "div" or not kwargs):
            return self._elementwise(name, args, kwargs, shape, boolean)
        raise Untraceable(f"there is no machine code for {node.target}")

    def _computed(self, node: fx.Node, args: Any, kwargs: Any) -> Any:
        """Return the value of an operation on constants."""
        assert callable(node.target), "an operation"
        return node.target(*args, **kwargs)

    def _converted(self, value: Any, boolean: bool) -> Array:
        array = self._array(value)
        if self.part(array).block.boolean == boolean:
            return array
        if boolean:
            return self._elementwise("ne", (array, 0.0), {}, array.shape, True)
        return self._emit(copy, (array,), array.shape)

    def _emit(
        self,
        function: Pointwise,
        operands: Sequence[Any],
        shape: tuple[int, ...],
        boolean: bool = False,
        out: Array | None = None,
        options: tuple[tuple[str, Any], ...] = (),
    ) -> Array:
        out = self._new("result", shape, boolean) if out is None else out
        parts = tuple(
            self.part(np.broadcast_to(one, shape)) if isinstance(one, np.ndarray) else one for one in operands
        )
        self._statements.append(Elementwise(self.part(out), function, parts, options))
        return out

    def _reshaped(self, array: Array, shape: tuple[int, ...]) -> Array:
        block = self.part(array).block
        found = array.reshape(shape)
        if np.shares_memory(found, block.array) or found.size == 0:
            return found
        return self._emit(copy, (array,), array.shape).reshape(shape)

    def _elementwise(
        self, name: str, args: Sequence[Any], kwargs: dict[str, Any], shape: tuple[int, ...], boolean: bool
    ) -> Array:
        if name in ("add", "sub") and kwargs.get("alpha", 1) == 1:
            if self._zero(args[1]):
                return np.broadcast_to(self._array(args[0]), shape)
            if self._zero(args[0]):
                if name == "add":
                    return np.broadcast_to(self._array(args[1]), shape)
                name, args = "neg", (args[1],)
        if any(linear_in(name, place) and self._zero(value) for place, value in enumerate(args)):
            return self._array(torch.zeros(shape, dtype=torch.float64, device="cpu"))
        operands = [self._array(one) if isinstance(one, Tensor) else one for one in args]
        return self._emit(POINTWISE[name], operands, shape, boolean, None, tuple(kwargs.items()))

    def _product(self, name: str, args: list[Array], kwargs: dict[str, Any], shape: tuple[int, ...]) -> Array:
        total = args.pop(0) if name in ("addmm", "addmv", "baddbmm") else None
        left, right = args
        if self._zero(left) or self._zero(right):
            found = self._array(torch.zeros(shape, dtype=torch.float64, device="cpu"))
        elif name == "bmm" or name == "baddbmm":
            found = self._batch_product(left, right, shape)
        else:
            rows = left if left.ndim == 2 else left[None]
            columns = right if right.ndim == 2 else right[:, None]
            found = self._new("result", (rows.shape[0], columns.shape[1]))
            self._statements.append(Product(self.part(found), self.part(rows), self.part(columns)))
            found = found.reshape(shape)
        alpha, beta = kwargs.get("alpha", 1), kwargs.get("beta", 1)
        if alpha != 1:
            found = self._elementwise("mul", (found, float(alpha)), {}, shape, False)
        if total is None:
            return found
        if beta != 1:
            total = self._elementwise("mul", (total, float(beta)), {}, total.shape, False)
        return self._elementwise("add", (found, total), {}, shape, False)

    def _batch_product(self, left: Array, right: Array, shape: tuple[int, ...]) -> Array:
        """Multiply stacks of matrices: in one product if a factor is the same for all, else one by one."""
        count, rows, columns = shape
        if right.strides[0] == 0 or count == 1:
            flat = self._reshaped(left, (count * rows, left.shape[2]))
            out = self._new("result", (count * rows, columns))
            self._statements.append(Product(self.part(out), self.part(flat), self.part(right[0])))
            return out.reshape(shape)
        if left.strides[0] == 0:  # K X = (X^T K^T)^T
            turned = self._reshaped(np.swapaxes(right, 1, 2), (count * columns, right.shape[1]))
            out = self._new("result", (count * columns, rows))
            self._statements.append(Product(self.part(out), self.part(turned), self.part(left[0].T)))
            return np.swapaxes(out.reshape(count, columns, rows), 1, 2)
        out = self._new("result", shape)
        for one, first, second in zip(out, left, right, strict=True):
            self._statements.append(Product(self.part(one), self.part(first), self.part(second)))
        return out

    def _joined(self, name: str, parts: list[Array], dim: int = 0, *, shape: tuple[int, ...]) -> Array:
        if name == "cat":
            parts = [one for one in parts if one.size]
        if len(parts) == 1:
            return parts[0] if name == "cat" else np.expand_dims(parts[0], dim)
        dim %= len(shape)
        if all(self._zero(one) for one in parts):
            return self._array(torch.zeros(shape, dtype=torch.float64, device="cpu"))
        out = self._new("result", shape, self.part(parts[0]).block.boolean)
        begin = 0
        for one in parts:
            length = one.shape[dim] if name == "cat" else 1
            target = out[(slice(None),) * dim + (slice(begin, begin + length),)]
            if name == "stack":
                target = np.squeeze(target, dim)
            self._emit(copy, (one,), one.shape, out=target)
            begin += length
        return out

    def _rolled(self, array: Array, shifts: Any, dims: Any = ()) -> Array:
        """Rotate an array along some dimensions, or along the flattened array."""
        shifts, dims = ((one,) if isinstance(one, int) else tuple(one) for one in (shifts, dims))
        if not dims:
            flat = self._reshaped(array, (array.size,))
            return self._rolled(flat, shifts, (0,)).reshape(array.shape)
        for shift, dim in zip(shifts, dims, strict=True):
            cut = -shift % array.shape[dim]
            if cut:
                parts = [part_along(array, dim, cut), part_along(array, dim, 0, cut)]
                array = self._joined("cat", parts, dim, shape=array.shape)
        return array

    def _reduced(
        self, name: str, array: Array, dims: Any = None, keepdim: bool = False, *, shape: tuple[int, ...], **_: Any
    ) -> Array:
        dims = range(array.ndim) if dims is None or dims == [] else (dims,) if isinstance(dims, int) else dims
        chosen = [dim % array.ndim for dim in dims]
        rest = [dim for dim in range(array.ndim) if dim not in chosen]
        if self._zero(array):
            return self._array(torch.zeros(shape, dtype=torch.float64, device="cpu"))
        turned = np.transpose(array, (*rest, *chosen))
        kept = turned.shape[: len(rest)]
        count = int(np.prod(turned.shape[len(rest) :], dtype=int))
        turned = self._reshaped(turned, (*kept, count))
        out = self._new("result", kept)
        self._statements.append(Reduction(self.part(out), self.part(turned), REDUCTIONS[name]))
        result = out.reshape(shape)
        return self._elementwise("div", (result, float(count)), {}, shape, False) if name == "mean" else result

    def _variance(self, array: Array, dims: Sequence[int], correction: float, shape: tuple[int, ...]) -> Array:
        chosen = [dim % array.ndim for dim in dims]
        kept = tuple(1 if place in chosen else length for place, length in enumerate(array.shape))
        lower = self._elementwise(
            "sub", (array, self._reduced("mean", array, dims, True, shape=kept)), {}, array.shape, False
        )
        square = self._elementwise("square", (lower,), {}, array.shape, False)
        count = float(np.prod([array.shape[dim] for dim in chosen], dtype=int) - correction)
        return self._elementwise("div", (self._reduced("sum", square, dims, shape=shape), count), {}, shape, False)

    def _picked(self, array: Array, indices: Sequence[Any], shape: tuple[int, ...]) -> Array:
        """Select elements along one dimension, by a list of constants."""
        dim = next(place for place, one in enumerate(indices) if one is not None)
        index = indices[dim]
        if not isinstance(index, Tensor) or index.dtype != torch.int64 or index.ndim != 1 or len(index) > MOST_PICKED:
            raise Untraceable("the step looks up elements by others than a short list of constants")
        parts = [part_along(array, dim, at, at + 1) for at in (index % array.shape[dim]).tolist()]
        return self._joined("cat", parts, dim, shape=shape)

    def _softmax(self, name: str, array: Array, dim: int) -> Array:
        kept = tuple(1 if place == dim % array.ndim else length for place, length in enumerate(array.shape))
        largest = self._reduced("amax", array, dim, True, shape=kept)
        lower = self._elementwise("sub", (array, largest), {}, array.shape, False)
        powers = self._elementwise("exp", (lower,), {}, array.shape, False)
        total = self._reduced("sum", powers, dim, True, shape=kept)
        if name == "_softmax":
            return self._elementwise("div", (powers, total), {}, array.shape, False)
        return self._elementwise(
            "sub", (lower, self._elementwise("log", (total,), {}, kept, False)), {}, array.shape, False
        )


def _without_layout(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in kwargs.items() if name not in ("memory_format", "implicit")}


def _flat(values: Any) -> list[Any]:
    if isinstance(values, list | tuple):
        return [one for value in values for one in _flat(value)]
    return [values]

"""Lay out memory for the operations of a straight-line function once, to be used again at every step.

New memory for every result costs more than the arithmetic of a small step: the operating system clears each page of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from lyapkit.tangents.tracing.step_graph import is_operation, used_once

aten = torch.ops.aten

WRITABLE = frozenset(
    (
        "add", "addcmul", "addmm", "bmm", "cos", "div", "exp", "mm", "mul", "mv", "neg", "pow", "rsub", "sigmoid",
        "sin", "stack", "sub", "tanh",
    )
)  # fmt: skip
"""Operations of `torch` that take ``out=``, the place to write to."""

PARTS = frozenset(("add", "addcmul", "cos", "div", "exp", "mul", "neg", "pow", "rsub", "sigmoid", "sin", "sub", "tanh"))
"""Operations that write into a part of a larger tensor as fast as into a tensor of their own."""


class Memory:
    """Plan where the nodes of a straight-line function write.

    A node gets a tensor that no other node still needs. The last operation behind an output writes to the place that
    the caller gives. Operations whose results are only stacked write directly into the stack.

    Args:
        needed: Nodes that are computed, in order.
        outputs: Nodes that are handed to the caller.
        values: Values of all nodes at an example, from which shapes and layouts are taken.
        dtype: Type of the results, if it differs from that at the example.

    Attributes:
        target: Name of the tensor for each node that is told where to write.
        written: Stacks that are complete once their parts have been written.
        tensors: Tensors that are laid out once, by name.
        views: For each name of a part of a given tensor: the whole tensor, the dimension and the position.
        given: For each output, the node that writes into the given tensor; None if no node does.
    """

    def __init__(
        self,
        needed: Sequence[fx.Node],
        outputs: Sequence[fx.Node],
        values: dict[fx.Node, Any],
        dtype: torch.dtype | None,
    ) -> None:
        self.target: dict[fx.Node, str] = {}
        self.written: set[fx.Node] = set()
        self.tensors: dict[str, Tensor] = {}
        self.views: dict[str, tuple[str, int, int]] = {}
        self._values, self._dtype = values, dtype
        position = {node: place for place, node in enumerate(needed)}
        last_use: dict[int, int] = {}  # of each memory at the example, through any view
        for place, node in enumerate(needed):
            for value in (values[node], *(values[source] for source in node.all_input_nodes)):
                last_use.update(dict.fromkeys(_memories(value), place))
        wholes = [node for node in needed if self._writable(node)]
        behind = [_memories(values[output]) for output in outputs]
        self.given = [_only([node for node in wholes if _memories(values[node]) == memory]) for memory in behind]
        kept = {memory for memories in behind for memory in memories}
        stacks = {part: node for node in wholes if is_operation(node, (aten.stack,)) for part in self._parts(node)}
        free: list[tuple[int, str]] = []  # last use, name
        for node in wholes:
            if node in self.target:
                continue
            whole = stacks.get(node, node)
            (memory,) = _memories(values[whole])
            if whole in self.given and self.given.count(whole) == 1:
                name = f"result{self.given.index(whole)}"
            elif memory in kept:
                continue
            else:
                name = self._take(free, whole, position[node])
                free.append((last_use[memory], name))
            self.target[whole] = name
            self._place_parts(whole, name)
        self.given = [node if node in self.target else None for node in self.given]

    def _writable(self, node: fx.Node) -> bool:
        value = self._values[node]
        if not isinstance(node.target, torch._ops.OpOverload) or not isinstance(value, Tensor):
            return False
        name = node.target._schema.name.removeprefix("aten::")
        if name == "rsub" and (len(node.args) != 2 or node.kwargs or isinstance(node.args[1], fx.Node)):
            return False
        plain = value.numel() > 0 and value.is_floating_point() and value.storage_offset() == 0
        dense = value.untyped_storage().nbytes() == value.numel() * value.dtype.itemsize
        return name in WRITABLE and plain and dense

    def _parts(self, stack: fx.Node) -> list[fx.Node]:
        """Return the parts of a stack, if they may be written directly into the stack."""
        parts: list[fx.Node] = stack.args[0]  # type: ignore[assignment]
        for part in parts:
            if not (isinstance(part, fx.Node) and self._writable(part) and used_once(part)):
                return []
            assert isinstance(part.target, torch._ops.OpOverload), "checked above"
            if part.target._schema.name.removeprefix("aten::") not in PARTS:
                return []
            if self._values[part].dtype != self._values[stack].dtype:
                return []
        return list(parts) if len(set(parts)) == len(parts) else []

    def _place_parts(self, whole: fx.Node, name: str) -> None:
        if not is_operation(whole, (aten.stack,)):
            return
        parts = self._parts(whole)
        dimension = whole.args[1] if len(whole.args) > 1 else 0
        assert isinstance(dimension, int), "the dimension of a stack"
        for place, part in enumerate(parts):
            self.target[part] = f"{name}_{place}"
            if name in self.tensors:
                self.tensors[self.target[part]] = self.tensors[name].select(dimension, place)
            else:
                self.views[self.target[part]] = (name, dimension, place)
        if parts:
            self.written.add(whole)

    def _take(self, free: list[tuple[int, str]], node: fx.Node, place: int) -> str:
        """Return the name of a free tensor of the node's layout, or of a new one if none is free at this place."""
        value = self._values[node]
        for entry in free:
            tensor = self.tensors[entry[1]]
            same = tensor.dtype == (self._dtype or value.dtype) and tensor.shape == value.shape
            if entry[0] < place and same and tensor.stride() == value.stride():
                free.remove(entry)
                return entry[1]
        name = f"memory{len(self.tensors)}"
        self.tensors[name] = new_memory(*layout(value, self._dtype))
        return name


def layout(value: Tensor, dtype: torch.dtype | None) -> tuple[Any, ...]:
    """Return the arguments of `new_memory` for a tensor of the same layout, and of another type if one is given."""
    return value.shape, value.stride(), dtype or value.dtype, value.device


def new_memory(shape: Sequence[int], stride: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return a new tensor of some layout, without setting its values."""
    return torch.empty_strided(shape, stride, dtype=dtype, device=device)


def _memories(value: Any) -> tuple[int, ...]:
    """Return the memory in which a value, or each part of it, lies."""
    parts = value if isinstance(value, list | tuple) else (value,)
    return tuple(dict.fromkeys(part.untyped_storage().data_ptr() for part in parts if isinstance(part, Tensor)))


def _only(nodes: list[fx.Node]) -> fx.Node | None:
    return nodes[0] if len(nodes) == 1 else None

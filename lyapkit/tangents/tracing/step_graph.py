"""Hold the operation graph of a traced step, with the values of its nodes at one example."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, fx

aten = torch.ops.aten

ZEROS = (aten._efficientzerotensor, aten.zeros, aten.zeros_like, aten.new_zeros, aten._new_zeros_with_same_feature_meta)

NEW_VIEWS = {
    aten.squeeze_.default: aten.squeeze.default,
    aten.squeeze_.dim: aten.squeeze.dim,
    aten.squeeze_.dims: aten.squeeze.dims,
    aten.unsqueeze_.default: aten.unsqueeze.default,
    aten.transpose_.default: aten.transpose.int,
    aten.t_.default: aten.t.default,
}
"""In-place changes of shape, and the views that replace them: all later operations use the result."""


class StepGraph:
    """The graph of a step with its values at one example.

    Attributes:
        graph: Graph with the placeholders state, rows and, for a driven map, input. Its outputs are the next state and
            the pushed rows.
        values: Values of every node at the example.
        moving: Nodes that depend on the rows.
        steady: Nodes that depend on neither state, input nor rows.
    """

    def __init__(self, traced: fx.GraphModule, example: tuple[Tensor, ...]) -> None:
        self.module = traced
        self.graph = traced.graph
        for node in self.graph.nodes:
            if is_operation(node, (aten.view, aten._unsafe_view)) and node.target is not aten.view.dtype:
                node.target = aten.reshape.default  # the same, and it works after a copy is dropped
            node.target = NEW_VIEWS.get(node.target, node.target)
            if owns_argument(node):
                packet, overload = node.target.overloadpacket, node.target._overloadname
                node.target = getattr(getattr(aten, packet.__name__.removesuffix("_")), overload)
        self.example = example
        self.values: dict[fx.Node, Any] = {}
        self._made_from: dict[fx.Node, Any] = {}
        self.refresh()

    @property
    def placeholders(self) -> list[fx.Node]:
        """State, rows and, for a driven map, input."""
        return [node for node in self.graph.nodes if node.op == "placeholder"]

    @property
    def outputs(self) -> tuple[fx.Node, fx.Node]:
        """Next state and pushed rows."""
        after, pushed = argument(self.graph.output_node())
        return after, pushed

    def refresh(self) -> None:
        """Drop nodes that are not needed, and compute the values of changed nodes anew."""
        self.graph.eliminate_dead_code()
        given = dict(zip(self.placeholders, self.example, strict=True))
        rows = self.placeholders[1]
        before, self.values = self.values, {}
        self.moving, self.steady = {rows}, set[fx.Node]()
        for node in self.graph.nodes:
            if node.op == "output":
                continue
            if node.op == "placeholder":
                self.values[node] = given[node]
                continue
            if node.op == "get_attr":
                self.values[node] = before[node] if node in before else self._attribute(node)
            else:
                self._compute(node, before)
            sources = node.all_input_nodes
            if any(source in self.moving for source in sources):
                self.moving.add(node)
            elif all(source in self.steady for source in sources):
                self.steady.add(node)

    def _attribute(self, node: fx.Node) -> Any:
        value: Any = self.module
        for name in node.target.split("."):  # type: ignore[union-attr]  # the path of an attribute
            value = getattr(value, name)
        return value.detach() if isinstance(value, Tensor) else value

    def _compute(self, node: fx.Node, before: dict[fx.Node, Any]) -> None:
        """Compute the value of an operation, or keep its value if its arguments are the same tensors."""
        made_from = (node.target, node.args, node.kwargs, [id(self.values[source]) for source in node.all_input_nodes])
        if node not in before or self._made_from[node] != made_from:
            args, kwargs = fx.map_arg((node.args, node.kwargs), lambda part: self.values[part])
            self.values[node] = node.target(*args, **kwargs)  # type: ignore[operator]  # an operation
        else:
            self.values[node] = before[node]
        self._made_from[node] = made_from

    def insert(self, before: fx.Node, target: Any, *args: Any, **kwargs: Any) -> fx.Node:
        """Return a new node with its value."""
        with self.graph.inserting_before(before):
            node = self.graph.call_function(target, args, kwargs)
        self._compute(node, {})
        sources = node.all_input_nodes
        if any(source in self.moving for source in sources):
            self.moving.add(node)
        elif all(source in self.steady for source in sources):
            self.steady.add(node)
        return node

    def replace(self, node: fx.Node, other: fx.Node) -> None:
        """Replace a node by another one of the same shape and value."""
        assert same_kind(self.values[node], self.values[other]), (node, other)
        node.replace_all_uses_with(other)


def is_operation(node: Any, packets: Iterable[Any]) -> bool:
    """Tell whether a node calls an operator of one of these names, in any overload."""
    return isinstance(node, fx.Node) and getattr(node.target, "overloadpacket", None) in packets


def argument(node: fx.Node, position: int = 0) -> Any:
    """Return an argument of an operation."""
    return node.args[position]


def used_once(node: fx.Node) -> bool:
    """Tell whether exactly one other node reads a node; then no other node needs its value."""
    return len(node.users) == 1


def changes_values(node: fx.Node) -> bool:
    """Tell whether a node writes into a tensor that other nodes use.

    Writes that PyTorch makes by itself do not count. These are in-place changes of shape, in-place arithmetic on a new
    result that no other node uses, and copies of a whole tensor into one that was made for this copy.
    """
    schema = getattr(node.target, "_schema", None)
    if schema is None or not schema.is_mutable or node.target in NEW_VIEWS or owns_argument(node):
        return False
    if not is_operation(node, (aten.copy_,)) or not is_operation(argument(node), ZEROS):
        return True
    new, source = argument(node), argument(node, 1)
    return not (used_once(new) and same_kind(new.meta["val"], source.meta["val"]))


def same_kind(one: Any, other: Any) -> bool:
    """Tell whether two values are tensors of the same type, device and shape."""
    return (
        isinstance(one, Tensor)
        and isinstance(other, Tensor)
        and (one.dtype, one.device, one.shape) == (other.dtype, other.device, other.shape)
    )


def owns_argument(node: fx.Node) -> bool:
    """Tell whether an operation writes into its first argument, a new tensor that only it uses."""
    schema = getattr(node.target, "_schema", None)
    if schema is None or not schema.is_mutable or not schema.name.endswith("_") or is_operation(node, (aten.copy_,)):
        return False
    (first, *rest), source = schema.arguments, node.args[0]
    if first.alias_info is None or any(argument.alias_info is not None for argument in rest):
        return False
    made = getattr(getattr(source, "target", None), "_schema", None)
    new = made is not None and len(made.returns) == 1 and made.returns[0].alias_info is None
    return new and isinstance(source, fx.Node) and used_once(source)


def base_of(step: StepGraph, node: fx.Node) -> tuple[fx.Node, int]:
    """Return the node that a node is a view of, and the number of operations between them."""
    depth = 0
    while node.op == "call_function" and len(node.all_input_nodes) == 1:
        (source,) = node.all_input_nodes
        if not is_view(step.values[node], step.values[source]) or _type(step, node) != _type(step, source):
            break
        node, depth = source, depth + 1
    return node, depth


def _type(step: StepGraph, node: fx.Node) -> Any:
    """Return the type of a node's numbers; for a list of tensors, the type of the first."""
    value = step.values[node]
    first = value[0] if isinstance(value, list | tuple) else value
    return first.dtype if isinstance(first, Tensor) else None


def geometry(value: Any) -> Any:
    """Return the places of the elements of a plain tensor; None for anything else."""
    if not isinstance(value, Tensor) or value.is_conj() or value.is_neg() or value.is_complex():
        return None
    return value.dtype, value.shape, value.stride(), value.storage_offset()


def is_view(value: Any, source: Any) -> bool:
    """Tell whether a value, or each part of it, lies in the memory of its source."""
    if isinstance(value, list | tuple):
        return bool(value) and all(is_view(part, source) for part in value)
    if isinstance(source, list | tuple):
        return any(is_view(value, part) for part in source)
    if not isinstance(value, Tensor) or not isinstance(source, Tensor) or value.numel() == 0:
        return False
    return value.untyped_storage().data_ptr() == source.untyped_storage().data_ptr()

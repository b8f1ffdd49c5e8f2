"""Straight-line functions from operation graphs: what is left of a traced step once Python is out of the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx

DIRECT = frozenset(
    (
        "add", "addcmul", "addmm", "as_strided", "bmm", "cat", "cos", "div", "exp", "matmul", "mm", "mul", "mv", "neg",
        "pow", "relu", "reshape", "rsub", "sigmoid", "sin", "stack", "sub", "tanh", "where",
    )
)  # fmt: skip
"""Operations that `torch` offers under the same name with the same arguments, called directly: half the overhead."""


def straight_line(inputs: Sequence[fx.Node], outputs: Sequence[fx.Node]) -> Callable[..., tuple[Tensor, ...]]:
    """A Python function that computes nodes of a graph from others, one operation per line.

    Args:
        inputs: nodes whose values are given, in the order of the function's arguments.
        outputs: nodes whose values are wanted; everything they need is computed from the inputs.

    Returns:
        A function of the inputs' values that returns the outputs' values. A value is dropped after its last use, so
        that its memory is used again while it is still in the cache.
    """
    names = {node: f"given{position}" for position, node in enumerate(inputs)}
    namespace: dict[str, Any] = {}
    needed = _ancestors(outputs, set(inputs))
    last_use = {argument: node for node in needed for argument in node.all_input_nodes}
    lines = []
    for position, node in enumerate(needed):
        names[node] = f"value{position}"
        namespace[f"operation{position}"] = _callable(node)
        arguments = [_source(argument, names, namespace) for argument in node.args]
        arguments += [f"{key}={_source(argument, names, namespace)}" for key, argument in node.kwargs.items()]
        lines.append(f"    {names[node]} = operation{position}({', '.join(arguments)})")
        done = [names[old] for old in node.all_input_nodes if last_use[old] is node and old not in outputs]
        if done:
            lines.append(f"    del {', '.join(done)}")
    header = f"def straight({', '.join(names[node] for node in inputs)}):"
    result = "".join(f"{names[node]}, " for node in outputs)
    exec("\n".join([header, *lines, f"    return ({result})"]), namespace)  # a list of tensor operations, nothing else
    function: Callable[..., tuple[Tensor, ...]] = namespace["straight"]
    return function


def _ancestors(outputs: Sequence[fx.Node], given: set[fx.Node]) -> list[fx.Node]:
    """The nodes to compute, in the order of the graph."""
    wanted, stack = set[fx.Node](), [node for node in outputs if node not in given]
    while stack:
        node = stack.pop()
        if node not in wanted:
            wanted.add(node)
            stack += [argument for argument in node.all_input_nodes if argument not in given]
    return [node for node in (outputs[0].graph.nodes if outputs else ()) if node in wanted]


def _callable(node: fx.Node) -> Callable[..., Any]:
    target = node.target
    if isinstance(target, torch._ops.OpOverload):
        name = target._schema.name.removeprefix("aten::")
        if name in DIRECT:
            direct: Callable[..., Any] = getattr(torch, name)
            return direct
        return target
    assert callable(target), f"{node.format_node()} is not an operation"
    return target


def _source(argument: Any, names: dict[fx.Node, str], namespace: dict[str, Any]) -> str:
    if isinstance(argument, fx.Node):
        return names[argument]
    if isinstance(argument, list | tuple):
        return f"[{', '.join(_source(part, names, namespace) for part in argument)}]"
    name = f"constant{len(namespace)}"
    namespace[name] = argument
    return name

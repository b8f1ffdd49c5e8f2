"""Make straight-line functions of operation graphs, so that a traced step runs with little overhead of Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from lyapkit.tangents.tracing.memory import Memory, layout, new_memory
from lyapkit.tangents.tracing.step_graph import is_operation

aten = torch.ops.aten

DIRECT = frozenset(
    (
        "add", "addcmul", "addmm", "as_strided", "bmm", "cat", "cos", "div", "exp", "matmul", "mm", "mul", "mv", "neg",
        "pow", "relu", "reshape", "rsub", "select", "sigmoid", "sin", "stack", "sub", "tanh", "where",
    )
)  # fmt: skip
"""Operations that `torch` offers under the same name with the same arguments. Calling them directly halves the
overhead."""


class StraightLine:
    """A Python function that computes nodes of a graph from others, one operation per line.

    Args:
        inputs: Nodes whose values are given, in the order of the function's arguments.
        outputs: Nodes to compute, with everything that they need, from the inputs.
        values: Values of all nodes at an example. If they are given, results are written into memory that is laid out
            once. The function then takes, after the inputs, a tensor to write each output into: one of `new_results`.
            Inputs must have the layout that they have at the example. Without values, every result is a new tensor, and
            a value is dropped after its last use, so that its memory is used again while it is still in the cache.
        dtype: Type of the results, with ``values``, if it differs from that at the example.

    Attributes:
        function: Function from the inputs' values to the outputs' values.
    """

    def __init__(
        self,
        inputs: Sequence[fx.Node],
        outputs: Sequence[fx.Node],
        values: dict[fx.Node, Any] | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self._names = {node: f"given{position}" for position, node in enumerate(inputs)}
        self._namespace: dict[str, Any] = {}
        needed = _ancestors(outputs, set(inputs))
        memory = None if values is None else Memory(needed, outputs, values, dtype)
        self._results: list[tuple[Any, ...]] = []
        header = [self._names[node] for node in inputs]
        lines = []
        if memory is not None and values is not None:
            self._results = [layout(values[node], dtype) for node in memory.given if node is not None]
            self._namespace.update(memory.tensors)
            header += [f"result{place}" for place, node in enumerate(memory.given) if node is not None]
            lines += [
                f"    {name} = {whole}.select({dimension}, {position})"
                for name, (whole, dimension, position) in memory.views.items()
            ]
        last_use = {argument: node for node in needed for argument in node.all_input_nodes}
        for node in needed:
            lines += self._lines(node, memory)
            done = [self._names[old] for old in node.all_input_nodes if last_use[old] is node and old not in outputs]
            lines += [f"    del {', '.join(done)}"] if done and memory is None else []
        result = "".join(f"{self._names[node]}, " for node in outputs)
        text = "\n".join([f"def straight({', '.join(header)}):", *lines, f"    return ({result})"])
        exec(text, self._namespace)  # a list of tensor operations, nothing else
        self.function: Callable[..., tuple[Tensor, ...]] = self._namespace["straight"]

    def new_results(self) -> list[Tensor]:
        """Return new memory for the outputs that are written into tensors of the caller, in their order."""
        return [new_memory(*where) for where in self._results]

    def _lines(self, node: fx.Node, memory: Memory | None) -> list[str]:
        target = None if memory is None else memory.target.get(node)
        if memory is not None and node in memory.written:
            assert target is not None, "it has been written somewhere"
            self._names[node] = target
            return []
        name = f"value{len(self._names)}"
        arguments = [self._source(argument) for argument in node.args]
        arguments += [f"{key}={self._source(argument)}" for key, argument in node.kwargs.items()]
        function = _callable(node)
        if target is not None:
            if is_operation(node, (aten.rsub,)):  # c - x, which only takes ``out=`` when c is a tensor
                function = torch.sub
                arguments = [
                    self._constant(torch.tensor(node.args[1], dtype=torch.float64, device="cpu")),
                    arguments[0],
                ]
            arguments.append(f"out={target}")
        self._names[node] = name
        return [f"    {name} = {self._constant(function)}({', '.join(arguments)})"]

    def _constant(self, value: Any) -> str:
        name = f"constant{len(self._namespace)}"
        self._namespace[name] = value
        return name

    def _source(self, argument: Any) -> str:
        if isinstance(argument, fx.Node):
            return self._names[argument]
        if isinstance(argument, list | tuple):
            return f"[{', '.join(self._source(part) for part in argument)}]"
        return self._constant(argument)


def _ancestors(outputs: Sequence[fx.Node], given: set[fx.Node]) -> list[fx.Node]:
    """Return the nodes to compute, in the order of the graph."""
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

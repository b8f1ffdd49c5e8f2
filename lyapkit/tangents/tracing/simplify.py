"""Simplify the graph of a traced step: the same tangents by fewer operations.

PyTorch's record of the tangent of a step is full of zero tangents, copies, aliases and views. Each rewriting here keeps
the value of every node, up to the rounding of a reordered product. Nodes that do not depend on the tangents keep their
values to the bit.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from lyapkit.tangents.tracing.step_graph import (
    ZEROS,
    StepGraph,
    argument,
    base_of,
    geometry,
    is_operation,
    same_kind,
    used_once,
)

aten = torch.ops.aten

KEEP_ZERO = (
    aten.alias, aten.clone, aten.detach, aten.expand, aten.neg, aten.permute, aten.reshape, aten.select, aten.slice,
    aten.squeeze, aten.sum, aten.t, aten.transpose, aten.unsqueeze, aten._to_copy,
)  # fmt: skip
ANNIHILATED = (aten.bmm, aten.dot, aten.mm, aten.mul, aten.mv)
COPIES = (aten._to_copy, aten.clone, aten.contiguous, aten.copy, aten.lift_fresh, aten.lift_fresh_copy)
TRANSPOSITIONS = (aten.permute, aten.t, aten.transpose)
RESHAPINGS = (aten.reshape,)


def simplify(step: StepGraph) -> None:
    """Apply every rewriting, until the graph is straight and short."""
    for rewrite in (
        _drop_copies, _drop_zeros, _drop_copies, _drop_idle_views, _derivative_factors, _rows_from_the_left,
        _merge_factors, _merge_factors, _scale_matrices, _drop_views, _accumulate, _drop_views, _share,
    ):  # fmt: skip
        for node in list(step.graph.nodes):
            if node.op == "call_function":
                rewrite(step, node)
        step.refresh()


def _drop_copies(step: StepGraph, node: fx.Node) -> None:
    """Replace a copy of the same type by its original, since no operation here writes in place."""
    if is_operation(node, (aten.copy_,)) and len(node.args) > 1:
        source = node.args[1]
    elif is_operation(node, COPIES):
        source = argument(node)
    elif is_operation(node, (aten.cat,)) and len(argument(node)) == 1:
        (source,) = argument(node)
    else:
        return
    if isinstance(source, fx.Node) and same_kind(step.values[node], step.values[source]):
        step.replace(node, source)
        step.graph.erase_node(node)


def _drop_zeros(step: StepGraph, node: fx.Node) -> None:
    """Replace a sum by one part if the other is a tangent that is zero by construction."""
    if not is_operation(node, (aten.add, aten.sub)) or len(node.args) < 2 or node.kwargs.get("alpha", 1) != 1:
        return
    left, right = node.args[:2]
    if isinstance(left, fx.Node) and isinstance(right, fx.Node):
        if _zero(left):
            other = step.insert(node, aten.neg.default, right) if is_operation(node, (aten.sub,)) else right
        elif _zero(right):
            other = left
        else:
            return
        if not same_kind(step.values[node], step.values[other]):
            if step.values[node].dtype != step.values[other].dtype:
                return
            other = step.insert(node, aten.expand.default, other, list(step.values[node].shape))
        step.replace(node, other)


def _zero(node: Any) -> bool:
    if is_operation(node, ZEROS):
        return True
    if is_operation(node, KEEP_ZERO):
        return _zero(argument(node))
    return is_operation(node, ANNIHILATED) and any(_zero(argument) for argument in node.args[:2])


def _derivative_factors(step: StepGraph, node: fx.Node) -> None:
    """Write g phi'(a) as a product with a factor that does not depend on the tangents."""
    if node not in step.moving or not is_operation(node, (aten.tanh_backward, aten.sigmoid_backward)):
        return
    tangent, value = node.args[:2]
    if not isinstance(value, fx.Node) or value in step.moving:
        return
    if is_operation(node, (aten.tanh_backward,)):
        square = step.insert(node, aten.mul.Tensor, value, value)
        factor = step.insert(node, aten.rsub.Scalar, square, 1)
    else:
        complement = step.insert(node, aten.rsub.Scalar, value, 1)
        factor = step.insert(node, aten.mul.Tensor, value, complement)
    step.replace(node, step.insert(node, aten.mul.Tensor, tangent, factor))


def _rows_from_the_left(step: StepGraph, node: fx.Node) -> None:
    """Use (K X^T)^T = X K^T for a constant K.

    This saves transposing tangents, and takes one product for a whole batch.
    """
    if not is_operation(node, TRANSPOSITIONS) or node not in step.moving:
        return
    product = argument(node)
    while is_operation(product, RESHAPINGS) and step.values[product].shape == step.values[argument(product)].shape:
        product = argument(product)
    if not (is_operation(product, (aten.mm, aten.bmm)) and _transposed(step, node, product)):
        return
    matrix, right = product.args[:2]
    while is_operation(right, (*RESHAPINGS, aten.expand)):
        if step.values[right].shape != step.values[argument(right)].shape:
            break
        right = argument(right)
    if matrix not in step.steady or not is_operation(right, TRANSPOSITIONS):
        return
    if not _transposed(step, right, argument(right)):
        return
    rows = argument(right)
    if is_operation(product, (aten.mm,)):
        kernel = step.insert(node, aten.t.default, matrix)
        step.replace(node, step.insert(node, aten.mm.default, rows, kernel))
        return
    if step.values[matrix].stride(0) != 0:  # another matrix for each member of the batch
        return
    kernel = step.insert(node, aten.t.default, step.insert(node, aten.select.int, matrix, 0, 0))
    flat = step.insert(node, aten.reshape.default, rows, [-1, step.values[rows].shape[-1]])
    long = step.insert(node, aten.mm.default, flat, kernel)
    step.replace(node, step.insert(node, aten.reshape.default, long, list(step.values[node].shape)))


def _transposed(step: StepGraph, node: fx.Node, source: Any) -> bool:
    """Tell whether a node is its source with the last two dimensions exchanged."""
    if step.values[source].ndim < 2:
        return False
    swapped = step.values[source].mT
    return bool(step.values[node].shape == swapped.shape and step.values[node].stride() == swapped.stride())


def _fixed(step: StepGraph, argument: Any) -> bool:
    """Tell whether an argument is a number, or a node that does not depend on the tangents."""
    return isinstance(argument, int | float) or (isinstance(argument, fx.Node) and argument not in step.moving)


def _factor(step: StepGraph, node: Any) -> tuple[fx.Node, Any] | None:
    """Split a product with a factor that does not depend on the tangents into (tangent, factor)."""
    if is_operation(node, (aten.neg,)) and node in step.moving:
        return argument(node), -1.0
    if not is_operation(node, (aten.mul,)) or node not in step.moving or len(node.args) < 2:
        return None
    left, right = node.args[:2]
    if _fixed(step, right) and left in step.moving:
        return left, right
    if _fixed(step, left) and right in step.moving:
        return right, left
    return None


def _exact_factor(step: StepGraph, node: fx.Node, factor: Any) -> bool:
    """Tell whether factors may be multiplied before the tangents. Integers, which overflow, and booleans may not."""
    if isinstance(factor, fx.Node):
        return bool(step.values[factor].dtype == step.values[node].dtype)
    return isinstance(factor, float) or abs(factor) < 2**53


def _merge_factors(step: StepGraph, node: fx.Node) -> None:
    """Use (g a) b = g (a b)."""
    outer = _factor(step, node)
    if outer is None:
        return
    inner = _factor(step, outer[0])
    if inner is None or not used_once(outer[0]):
        return
    first, second = inner[1], outer[1]
    if not (_exact_factor(step, node, first) and _exact_factor(step, node, second)):
        return
    if isinstance(first, fx.Node):
        both: Any = step.insert(node, aten.mul.Tensor, first, second)
    elif isinstance(second, fx.Node):
        both = step.insert(node, aten.mul.Tensor, second, first)
    else:
        both = first * second
    merged = step.insert(node, aten.mul.Tensor, inner[0], both)
    if same_kind(step.values[merged], step.values[node]):
        step.replace(node, merged)


def _scale_matrices(step: StepGraph, node: fx.Node) -> None:
    """Use (X K) c = X (c K) for a number c and a constant K."""
    scaled = _factor(step, node)
    if scaled is None or not isinstance(scaled[1], int | float):
        return
    path, product = [], scaled[0]
    while is_operation(product, RESHAPINGS) and used_once(product):
        path.append(product)
        product = argument(product)
    if not (is_operation(product, (aten.mm,)) and used_once(product) and product.args[1] in step.steady):
        return
    rows, kernel = product.args[:2]
    if not (_exact_factor(step, node, kernel) and _exact_factor(step, node, scaled[1])):
        return
    result = step.insert(node, aten.mm.default, rows, step.insert(node, aten.mul.Tensor, kernel, scaled[1]))
    if path:
        result = step.insert(node, aten.reshape.default, result, list(step.values[node].shape))
    step.replace(node, result)


def _accumulate(step: StepGraph, node: fx.Node) -> None:
    """Move sums into the operation that computes one of their parts: c X + Y K, x + y z."""
    subtract = is_operation(node, (aten.sub,))
    if node not in step.moving or not (subtract or is_operation(node, (aten.add,))) or len(node.args) < 2:
        return
    if node.kwargs.get("alpha", 1) != 1:
        return
    left, right = node.args[:2]
    if not all(isinstance(part, fx.Node) and part in step.moving for part in (left, right)):
        return
    assert isinstance(left, fx.Node), "checked above"
    assert isinstance(right, fx.Node), "checked above"
    shape = step.values[node].shape
    if step.values[left].shape != shape or step.values[right].shape != shape:
        return
    for total, part, sign in ((left, right, -1.0 if subtract else 1.0), (right, left, 1.0)):
        if subtract and part is left:
            continue
        if _add_product(step, node, total, part, sign) or _add_multiple(step, node, total, part, sign):
            return


def _add_product(step: StepGraph, node: fx.Node, total: fx.Node, part: fx.Node, sign: float) -> bool:
    """Compute total + sign * (rows @ kernel) in one operation, with the factor of the total if it is a number."""
    product = part
    while is_operation(product, RESHAPINGS) and used_once(product):
        product = argument(product)
    if not (is_operation(product, (aten.mm,)) and used_once(product)):
        return False
    scaled = _factor(step, total)
    beta = 1.0
    if scaled is not None and isinstance(scaled[1], int | float) and used_once(total):
        total, beta = scaled
    if step.values[total].dtype != step.values[product].dtype:
        return False
    if step.values[total].shape != step.values[product].shape:
        total = step.insert(node, aten.reshape.default, total, list(step.values[product].shape))
    result = step.insert(node, aten.addmm.default, total, *product.args[:2], beta=beta, alpha=sign)
    if step.values[result].shape != step.values[node].shape:
        result = step.insert(node, aten.reshape.default, result, list(step.values[node].shape))
    step.replace(node, result)
    return True


def _add_multiple(step: StepGraph, node: fx.Node, total: fx.Node, part: fx.Node, sign: float) -> bool:
    scaled = _factor(step, part)
    if scaled is None or not isinstance(scaled[1], fx.Node) or not used_once(part):
        return False
    tangent, factor = scaled
    if not step.values[total].dtype == step.values[tangent].dtype == step.values[factor].dtype:
        return False
    step.replace(node, step.insert(node, aten.addcmul.default, total, tangent, factor, value=sign))
    return True


def _drop_idle_views(step: StepGraph, node: fx.Node) -> None:
    """Replace a view that leads back to the layout of its base by the base."""
    base, depth = base_of(step, node)
    if depth and geometry(step.values[node]) == geometry(step.values[base]) is not None:
        step.replace(node, base)


def _drop_views(step: StepGraph, node: fx.Node) -> None:
    """Replace a chain of views of the tangents by one view, if any."""
    _drop_idle_views(step, node)
    if node.users and node in step.moving:
        view_directly(step, node)


def view_directly(step: StepGraph, node: fx.Node) -> None:
    """Make one view of a chain of views, for functions whose arguments have the memory layouts of the example."""
    base, depth = base_of(step, node)
    view, whole = step.values[node], step.values[base]
    if depth < 2 or geometry(view) is None or geometry(whole) is None:
        return
    arguments: list[Any] = [base, list(view.shape), list(view.stride())]
    if view.storage_offset() != whole.storage_offset():
        if base.op == "placeholder" and base not in step.moving:
            return  # states and inputs may lie anywhere in a larger tensor
        arguments.append(view.storage_offset())
    step.replace(node, step.insert(node, aten.as_strided.default, *arguments))


def _share(step: StepGraph, node: fx.Node) -> None:
    """Do each operation on the same arguments only once."""
    mark = (node.target, _frozen(node.args), _frozen(node.kwargs))
    for other in step.graph.nodes:
        if other is node:
            return
        if other.op == "call_function" and (other.target, _frozen(other.args), _frozen(other.kwargs)) == mark:
            node.replace_all_uses_with(other)
            return


def _frozen(argument: Any) -> Any:
    if isinstance(argument, list | tuple):
        return tuple(_frozen(part) for part in argument)
    if isinstance(argument, dict):
        return tuple((key, _frozen(part)) for key, part in argument.items())
    return argument if isinstance(argument, fx.Node) else (type(argument), argument)

"""Vector-Jacobian products of several cotangents at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd import grad

from lyapkit.checks.one_at_a_time import WarningsHere

_LOOPED = WarningsHere("ignore", "There is a performance drop", UserWarning)
"""Filter for the warning about operations without a batching rule: PyTorch loops over them, as this module would."""


def grad_columns(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], cotangents: Sequence[Tensor], *, at_once: int
) -> list[Tensor]:
    """Return J^T u for a stack of cotangents u, with J the Jacobian of the outputs with respect to the inputs.

    One sweep through the graph serves up to ``at_once`` cotangents (``is_grads_batched``). It takes ``at_once`` times
    the memory, but little more time than a sweep for one if the operations are small. Some graphs cannot be swept so,
    such as those with a `torch.autograd.Function` without a batching rule. They are swept once per cotangent.

    Args:
        outputs: Tensors; those without a graph count as constants. The graph is kept.
        inputs: Tensors that the outputs may depend on.
        cotangents: For every output, shape (b, *output.shape).
        at_once: Number of cotangents per sweep, at least 1.

    Returns:
        For every input, shape (b, *input.shape); zero if no output depends on it.
    """
    count = cotangents[0].shape[0]
    zeros = [tensor.new_zeros(count, *tensor.shape) for tensor in inputs]
    live = [index for index, output in enumerate(outputs) if output.requires_grad]
    if not live or count == 0:
        return zeros
    outputs, cotangents = [outputs[index] for index in live], [cotangents[index] for index in live]
    chunks = [
        _chunk(outputs, inputs, [stack[start : start + at_once] for stack in cotangents])
        for start in range(0, count, at_once)
    ]
    return [
        zero if parts[0] is None else torch.cat(parts)
        for zero, parts in zip(zeros, zip(*chunks, strict=True), strict=True)
    ]


def _chunk(outputs: Sequence[Tensor], inputs: Sequence[Tensor], cotangents: Sequence[Tensor]) -> list[Tensor | None]:
    if cotangents[0].shape[0] > 1:
        try:
            with _LOOPED.open():
                return list(
                    grad(outputs, inputs, cotangents, retain_graph=True, allow_unused=True, is_grads_batched=True)
                )
        except RuntimeError:
            pass  # no batching rule, or too little memory; for other errors, the loop below raises them again
    rows = [grad(outputs, inputs, row, retain_graph=True, allow_unused=True) for row in zip(*cotangents, strict=True)]
    return [None if parts[0] is None else torch.stack(parts) for parts in zip(*rows, strict=True)]

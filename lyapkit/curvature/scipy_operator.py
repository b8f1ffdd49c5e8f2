"""Curvature as a SciPy `LinearOperator`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from lyapkit.checks.named_arguments import named_arguments
from lyapkit.curvature.parameters import ParameterChoice
from lyapkit.curvature.problem import curvature_problem
from lyapkit.curvature.products.operators import Operator
from lyapkit.curvature.recurrent.products import MEMORY_BUDGET
from lyapkit.losses.batch_weights import Reduction
from lyapkit.losses.batches import Batch

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator


@named_arguments()
def curvature_operator(
    model: object,
    batches: Batch | Iterable[Batch],
    loss: Callable[[Any, Any], Tensor],
    *,
    operator: Operator = "hessian",
    readout: Callable[[Tensor], Tensor] | None = None,
    parameters: ParameterChoice | None = None,
    reduction: Reduction | None = None,
    batch_weight: Callable[[Any], float] | None = None,
    lengths: Any = None,
    batch_first: bool | None = None,
    block_size: int = 8,
    memory_budget: int = MEMORY_BUDGET,
    check: bool = True,
) -> LinearOperator:
    """Return the Hessian of a loss, or one of its two parts in eq. (7), as an operator that SciPy's solvers take.

    Vectors hold the flattened parameters one after the other, in float64 for models of any type. The model's parameters
    must not change while the operator is in use.

    Args:
        model: As for `lyapkit.hessian_spectrum`.
        batches: As for `lyapkit.hessian_spectrum`.
        loss: As for `lyapkit.hessian_spectrum`.
        operator: As for `lyapkit.hessian_spectrum`.
        readout: As for `lyapkit.hessian_spectrum`.
        parameters: As for `lyapkit.hessian_spectrum`.
        reduction: As for `lyapkit.hessian_spectrum`.
        batch_weight: As for `lyapkit.hessian_spectrum`.
        lengths: As for `lyapkit.hessian_spectrum`.
        batch_first: As for `lyapkit.hessian_spectrum`.
        block_size: Number of columns of a matrix that are differentiated together if there is no recursion through
            time; memory grows with it.
        memory_budget: As for `lyapkit.hessian_spectrum`.
        check: As for `lyapkit.hessian_spectrum`.

    Returns:
        A symmetric operator of shape (P, P). Its product with all columns of a matrix costs far less than one product
        for each. Products with complex vectors raise a TypeError.

    Raises:
        TypeError: If an argument is of the wrong kind; see `lyapkit.hessian_spectrum`.
        ValueError: If an argument is out of range; see `lyapkit.hessian_spectrum`.
        FloatingPointError: If a product is not finite.
        RuntimeError: If the model cannot be differentiated twice.

    Example:
        >>> import lyapkit, torch, numpy
        >>> model = torch.nn.Linear(2, 1, bias=False).double()
        >>> x = torch.tensor([[2.0, 0.0], [0.0, 1.0]]).double()
        >>> hessian = lyapkit.curvature_operator(model, (x, torch.zeros(2, 1).double()), torch.nn.functional.mse_loss)
        >>> (hessian @ numpy.eye(2)).round(6).tolist()  # 2 X'X / n
        [[4.0, 0.0], [0.0, 1.0]]
    """
    from scipy.sparse.linalg import LinearOperator  # here, since importing lyapkit must not change warning filters

    problem = curvature_problem(
        model,
        batches,
        loss,
        operator=operator,
        readout=readout,
        parameters=parameters,
        reduction=reduction,
        batch_weight=batch_weight,
        lengths=lengths,
        batch_first=batch_first,
        columns=block_size,
        memory_budget=memory_budget,
        check=check,
    )

    def matmat(block: np.ndarray) -> np.ndarray:
        if np.iscomplexobj(block):
            raise TypeError("the operator takes real vectors, got complex ones. Multiply .real and .imag separately.")
        columns = torch.from_numpy(np.ascontiguousarray(block, dtype=np.float64)).to(problem.device)
        images: np.ndarray = problem.product(columns).cpu().numpy()
        return images

    def matvec(vector: np.ndarray) -> np.ndarray:
        return matmat(vector.reshape(-1, 1))[:, 0]

    return LinearOperator(
        (problem.size, problem.size),
        matvec=matvec,
        rmatvec=matvec,
        matmat=matmat,
        rmatmat=matmat,
        dtype=np.float64,
    )

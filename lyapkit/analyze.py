"""`analyze`: every analysis of one network on one set of sequences, in one tree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import xarray as xr
from torch import Tensor

from lyapkit.adapters import as_map
from lyapkit.arguments import check_integer, check_k, check_positive
from lyapkit.curvature import hessian_spectrum
from lyapkit.curvature.learning_rate import check_momentum
from lyapkit.curvature.parameters import ParameterChoice
from lyapkit.curvature.problem import Operator, check_operator, parameter_count
from lyapkit.drive import as_tensor
from lyapkit.gradients import gradient_propagation
from lyapkit.lyapunov import lyapunov_spectrum, variational_term
from lyapkit.named_arguments import named_arguments
from lyapkit.progress import progress_bar
from lyapkit.scalar_loss import check_loss_callable
from lyapkit.unrolled import resolve_readout

ANALYSES = ("lyapunov_spectrum", "variational_term", "gradient_propagation", "hessian_spectrum")


@named_arguments()
def analyze(
    model: object,
    inputs: Any,
    targets: Any,
    loss: Callable[[Any, Any], Tensor],
    *,
    readout: Callable[[Tensor], Tensor] | None = None,
    include: Sequence[str] | str = ANALYSES,
    k: int | None = None,
    hessian_k: int | None = None,
    operator: Operator = "hessian",
    parameters: ParameterChoice | None = None,
    trajectories: int | None = None,
    record_every: int = 1,
    transient: int = 0,
    learning_rate: float | None = None,
    momentum: float = 0.0,
    rng: torch.Generator | int | None = None,
    check: bool = True,
    progress: bool = False,
) -> xr.DataTree:
    """Lyapunov spectrum, variational term, gradient propagation and Hessian spectrum of one network.

    Args:
        model: anything `lyapkit.as_map` takes.
        inputs: (T, B, M), time first, a tensor or an array.
        targets: as ``loss`` reads them for a batch of B.
        loss: ``loss(outputs, targets)``, a scalar averaged over the batch (or summed, if its own ``reduction`` says
            so), on the outputs of the last step.
        readout: from the map's output to what ``loss`` reads; the model's own by default.
        include: which analyses to do.
        k: number of leading exponents; all by default.
        hessian_k: number of Hessian eigenvalues; 20 by default, or as many as there are parameters.
        operator: whose eigenvalues: ``"hessian"``, or one of its parts, ``"ggn"`` and ``"residual"``; as for
            `lyapkit.hessian_spectrum`.
        parameters: with respect to which parameters: names, globs such as ``"*weight_hh*"``, one of either, or a
            predicate ``(name, tensor) -> bool``; all that require gradients by default. The leading eigenvectors of all
            may be those of the readout alone.
        trajectories: how many of the B sequences the Lyapunov spectrum and the variational term follow (the first
            ones); all by default. Gradients and Hessian use all B.
        record_every: steps between recorded singular values of the variational term.
        transient: leading steps that the Lyapunov spectrum does not count.
        learning_rate: eta of the effective learning rates; left out by default.
        momentum: b of the largest stable learning rate, which comes with them.
        rng: generator or seed.
        check: probe the map and the loss first.
        progress: show progress bars: one that says which analysis is running, and below it that analysis' own.

    Returns:
        A DataTree with one child per analysis, named after it; each child is what the function of that name returns.

    Raises:
        TypeError: inputs do not have three dimensions, or a part of the arguments is of the wrong kind.
        ValueError: an unknown analysis, or arguments that one of the analyses refuses.
        FloatingPointError: a trajectory overflows.

    Example:
        >>> import lyapkit, torch
        >>> tree = lyapkit.analyze(
        ...     torch.nn.GRU(1, 3), torch.rand(12, 4, 1), torch.zeros(4, 1), torch.nn.functional.mse_loss,
        ...     readout=torch.nn.Linear(3, 1), hessian_k=2,
        ... )
        >>> sorted(tree.children)
        ['gradient_propagation', 'hessian_spectrum', 'lyapunov_spectrum', 'variational_term']
    """
    if isinstance(include, str):
        include = (include,)
    if not isinstance(include, Sequence):
        raise TypeError(f"include must be a sequence of names of analyses, got {include!r}.")
    unknown = [name for name in include if name not in ANALYSES]
    if unknown or not include:
        raise ValueError(f"include must name some of {', '.join(ANALYSES)}; got {list(include)}.")
    inputs = as_tensor("inputs", inputs)
    if inputs.ndim != 3:
        raise TypeError(f"inputs must have shape (T, B, M), time first, got {tuple(inputs.shape)}.")
    if trajectories is not None:
        trajectories = check_integer("trajectories", trajectories)
    if trajectories is not None and not 1 <= trajectories <= inputs.shape[1]:
        raise ValueError(f"trajectories must be between 1 and the batch size {inputs.shape[1]}, got {trajectories}.")
    # what the later analyses would refuse is refused before the first long one
    check_k(k, as_map(model).state_size)
    if set(include) & {"gradient_propagation", "hessian_spectrum"}:
        check_loss_callable(loss)
    if learning_rate is not None:
        check_positive("learning_rate", learning_rate)
    check_momentum(momentum, learning_rate)
    if "gradient_propagation" in include:
        resolve_readout(as_map(model), readout)
    if "hessian_spectrum" in include:
        check_operator(operator)
        count = parameter_count(model, readout, parameters)
        hessian_k = min(20, count) if hessian_k is None else check_integer("hessian_k", hessian_k, "an integer or None")
        if not 1 <= hessian_k <= count:
            raise ValueError(f"hessian_k must be between 1 and the number of parameters {count}, got {hessian_k}.")
    followed = inputs[:, :trajectories]
    todo: dict[str, Callable[[], xr.Dataset]] = {
        "lyapunov_spectrum": lambda: lyapunov_spectrum(
            model, followed, k=k, transient=transient, rng=rng, check=check, progress=progress
        ),
        "variational_term": lambda: variational_term(
            model, followed, k=k, record_every=record_every, check=check, progress=progress
        ),
        "gradient_propagation": lambda: gradient_propagation(
            model, inputs, targets, loss, readout=readout, rng=rng, check=check, progress=progress
        ),
        "hessian_spectrum": lambda: hessian_spectrum(
            model,
            (inputs, targets),
            loss,
            k=20 if hessian_k is None else hessian_k,
            operator=operator,
            readout=readout,
            parameters=parameters,
            learning_rate=learning_rate,
            momentum=momentum,
            rng=rng,
            check=check,
            progress=progress,
        ),
    }
    chosen = [name for name in ANALYSES if name in include]
    results = {}
    with progress_bar(len(chosen), "analyze", progress) as bar:
        for number, name in enumerate(chosen, start=1):
            bar.set_description(f"{number} of {len(chosen)}: {name.replace('_', ' ')}")
            results[name] = todo[name]()
            bar.update()
    return xr.DataTree.from_dict(results)

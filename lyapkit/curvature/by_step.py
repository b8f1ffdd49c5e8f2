"""The analysis `curvature_by_step`: contributions of time steps to the leading curvature of a recurrent network."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from lyapkit.adapters import as_single_map
from lyapkit.cell_derivatives import AffineCell
from lyapkit.checks.arguments import check_integer, inference_tensors_explained
from lyapkit.checks.compiled import uncompiled
from lyapkit.checks.named_arguments import named_arguments
from lyapkit.checks.progress import progress_bar
from lyapkit.curvature.aside import aside
from lyapkit.curvature.batch_check import check_weights
from lyapkit.curvature.earlier_eigenvectors import eigenvectors_of, operator_of, strangers
from lyapkit.curvature.layout import laid_out
from lyapkit.curvature.loss_check import check_loss
from lyapkit.curvature.parameters import ParameterChoice, choose_parameters, names_and_shapes
from lyapkit.curvature.problem import check_operator, encoding_known, measured_gradient, refuse_unusable
from lyapkit.curvature.products.difference_check import Products
from lyapkit.curvature.products.operators import Operator, WeightedLoss
from lyapkit.curvature.quadratic_forms.autodiff import step_sums_by_autodiff
from lyapkit.curvature.quadratic_forms.recursion import StepSums, step_sums
from lyapkit.curvature.recurrent.head import Head
from lyapkit.curvature.recurrent.layout import ParameterLayout
from lyapkit.curvature.recurrent.products import MEMORY_BUDGET, recurrent_products
from lyapkit.curvature.recurrent.trajectory import Trajectory
from lyapkit.curvature.spectrum import hessian_spectrum
from lyapkit.losses.batch_weights import Reduction, weighted_batches
from lyapkit.losses.batches import Batch
from lyapkit.losses.unrolled import UnrolledNetwork, check_sequence, resolve_readout
from lyapkit.results import make_dataset, provenance
from lyapkit.trajectories.buffers import Buffers
from lyapkit.trajectories.encoded import Encoded

MOST_BINS = 28
"""Default number of bins: the rows of an image that is read as a sequence of 784 pixels (section 4 of the paper)."""


@named_arguments()
@inference_tensors_explained()
def curvature_by_step(
    model: object,
    batches: Batch | Iterable[Batch],
    loss: Callable[[Any, Any], Tensor],
    *,
    k: int = 5,
    operator: Operator = "hessian",
    eigenvectors: xr.Dataset | None = None,
    bins: int | None = None,
    readout: Callable[[Tensor], Tensor] | None = None,
    parameters: ParameterChoice | None = None,
    reduction: Reduction | None = None,
    batch_weight: Callable[[Any], float] | None = None,
    lengths: Any = None,
    batch_first: bool | None = None,
    tolerance: float | None = None,
    max_products: int = 2000,
    memory_budget: int = MEMORY_BUDGET,
    rng: torch.Generator | int | None = None,
    check: bool = True,
    progress: bool = False,
) -> xr.Dataset:
    r"""Resolve the leading curvature of a loss on the last step by the time step at which the parameters act.

    The recurrent parameters are used at every step t = 1, ..., T. Give each step its own copy of them, and count the
    readout's parameters r as a last step. The Hessian A then consists of blocks A_st, and along an eigenvector v

    .. math:: \lambda = v^\top A v = \sum_{s, t \in \{1, \ldots, T, r\}} v^\top A_{st} v

    holds exactly. Large entries far from the diagonal show that distant uses of the weights interact. For the
    generalised Gauss-Newton matrix this is the double sum of eqs. (7) and (8) of Dubinin & Effenberger (2024).

    Where the state is carried by a fixed linear residual (eq. 11), eq. (14) replaces every product of Jacobians in that
    sum by a power of the residual. For a fixed number of steps and :math:`\gamma \to 0`, its entries between steps
    deviate from those of the Gauss-Newton matrix by :math:`O(\gamma^3)`, and those between steps and the readout by
    :math:`O(\gamma^2)`. For R = r I the deviation compounds like :math:`(1 + \gamma \|W\| / r)^{(T-s) + (T-t)}`, so it
    is not small unless :math:`\gamma T` is. An example: in untrained networks with gamma = 0.01, over the 784 steps of
    an image, the entries along the leading eigenvector summed to 0.97, 0.17, 0.24 and 0.65 of the measured curvature
    for r = 0.95, 0.995, 1.0025 and 1.01. The entries equal those of the Hessian up to the residual term, which vanishes
    only where training has converged.

    The residual term of eq. (7) is a sum over unrolled layers. Each contributes the second differential of one step,
    weighted with dL/dx_t, so the contributions follow the gradient back in time (eqs. 9 and 10). As printed, eq. (9)
    holds only the part that is quadratic in the earlier state. The change of a layer's own parameters adds further
    terms, without which the contributions do not sum to the whole. Both forms are returned.

    Args:
        model: Anything `lyapkit.as_map` takes, as for `lyapkit.hessian_spectrum` with a ``readout``.
        batches: One ``(inputs, targets)`` pair or an iterable of them, as for `lyapkit.hessian_spectrum`; inputs
            (T, B, M) with one T for all.
        loss: A callable ``loss(outputs, targets)``, a scalar.
        k: Number of leading eigenvectors.
        operator: The matrix A: ``"hessian"``, ``"ggn"`` (generalised Gauss-Newton) or ``"residual"`` (their
            difference).
        eigenvectors: Result of `lyapkit.hessian_spectrum` with ``eigenvectors=True`` for the same parameters. By
            default, it is computed first. If it is of another operator, v'Av is the part of its eigenvalue that belongs
            to ``operator``. A warning says if they are no eigenvectors here, since they belong to other weights or
            batches.
        bins: Number of stretches, of about equal length, in the matrix between steps. By default it is 28, or T if that
            is less. Time and memory grow with it.
        readout: Function from the map's output to the input of ``loss``; the model's own by default.
        parameters: The parameters to include: a name, a glob such as ``"*weight_hh*"``, a list of these, or a predicate
            ``(name, tensor) -> bool``. Globs and predicates choose among those that require gradients, which are all
            included by default. The result names those that were chosen.
        reduction: As for `lyapkit.hessian_spectrum`.
        batch_weight: As for `lyapkit.hessian_spectrum`.
        lengths: As for `lyapkit.hessian_spectrum`.
        batch_first: As for `lyapkit.hessian_spectrum`.
        tolerance: As for `lyapkit.hessian_spectrum`, where eigenvectors are computed.
        max_products: As for `lyapkit.hessian_spectrum`.
        memory_budget: Bytes that may hold intermediate results; what does not fit is recomputed.
        rng: Generator or seed of the eigensolver's start vectors.
        check: Whether to check the loss and the map's derivatives first.
        progress: Whether to show progress bars.

    Returns:
        A Dataset over ``rank`` with

        - ``eigenvalue``, and ``curvature``, v'Av on these batches (equal up to the error of the eigenvalue);
        - ``step_curvature`` (rank, step), the row sums of the matrix of steps; together with ``readout_curvature`` they
          sum to ``curvature``;
        - ``step_to_step_curvature`` (rank, bin, other_bin), a symmetric matrix that sums to ``curvature``. Its last bin
          is the readout. ``first_step`` and ``last_step`` bound each bin (the readout's is T + 1);
        - ``weak_coupling_curvature`` (rank, bin, other_bin), eq. (14), for maps with a fixed linear residual;
        - unless the operator is "ggn", ``layer_curvature`` (rank, step) and ``readout_layer_curvature``, which sum to
          the residual term along v, and ``layer_state_curvature``, the part of eq. (9).

    Raises:
        TypeError: If a readout is missing, or an argument is of the wrong kind.
        ValueError: If an argument is out of range, sequences differ in length, eigenvectors belong to other parameters,
            or the map's derivatives are not those of its step.
        FloatingPointError: If derivatives overflow.

    Example:
        >>> import lyapkit, torch
        >>> layer, readout = torch.nn.GRU(1, 3).double(), torch.nn.Linear(3, 1).double()
        >>> batch = torch.rand(12, 4, 1).double(), torch.zeros(4, 1).double()
        >>> ds = lyapkit.curvature_by_step(
        ...     layer, batch, torch.nn.functional.mse_loss, readout=readout, k=2, bins=3, rng=0
        ... )
        >>> ds.bin.values.tolist()
        ['1-4', '5-8', '9-12', 'readout']
        >>> bool(abs(ds.step_to_step_curvature.sum(["bin", "other_bin"]) - ds.eigenvalue).max() < 1e-9)
        True
    """
    map = as_single_map(model, "curvature_by_step")
    network = UnrolledNetwork(map, resolve_readout(map, readout))
    refuse_unusable(choose_parameters(dict(network.named_parameters()), parameters), check)
    data = weighted_batches(batches, uncompiled(loss), reduction, batch_weight)
    held, pairs = laid_out(network, data.pairs, lengths, batch_first)
    assert isinstance(held, UnrolledNetwork), "as it was"
    network, data = encoding_known(held, readout), replace(data, pairs=pairs)
    available = dict(network.named_parameters())
    chosen = choose_parameters(available, parameters)
    steps = _common_steps(network, pairs)
    check_operator(operator)
    k = check_integer("k", k)
    bins = min(MOST_BINS, steps) if bins is None else check_integer("bins", bins, "an integer or None")
    if not 1 <= bins <= steps:
        raise ValueError(f"bins must be between 1 and the number of steps {steps}, got {bins}.")
    memory_budget = check_integer("memory_budget", memory_budget)
    if memory_budget < 0:
        raise ValueError(f"memory_budget must be a number of bytes of at least 0, got {memory_budget}.")
    objective = WeightedLoss(network, chosen, pairs, data.weights, data.loss)
    given: Products | None = None
    if eigenvectors is not None:
        check_loss(objective, check, available.values() if parameters is None else None)
        weights = check_weights(objective, data, check)
        derivatives = measured_gradient(aside(objective), check)
        given = recurrent_products(objective, memory_budget=memory_budget, check=check) or objective
        vectors = _leading_vectors(eigenvectors, chosen, k).to(map.device)
    else:
        eigenvectors = hessian_spectrum(
            network.map,
            ((inputs.as_subclass(Encoded), targets) for inputs, targets in pairs),  # determined from a single one
            loss,
            k=k,
            operator=operator,
            readout=network.readout,
            parameters=parameters,
            reduction=reduction,
            batch_weight=batch_weight,
            batch_first=False,
            tolerance=tolerance,
            max_products=max_products,
            eigenvectors=True,
            rng=rng,
            memory_budget=memory_budget,
            check=check,
            progress=progress,
        )
        weights = json.loads(eigenvectors.attrs["config_json"])["batch_weights"]
        derivatives = json.loads(eigenvectors.attrs["config_json"])["derivatives"]
        vectors = _leading_vectors(eigenvectors, chosen, k).to(map.device)
    bin_of_step = torch.arange(steps, device=map.device) * bins // steps
    run = _Run(objective, operator, bin_of_step, memory_budget)
    with progress_bar(len(pairs) * k, "curvature by step", progress) as bar:
        values = run.values(vectors, bar.update)
    for name, value in values.items():
        if not np.isfinite(value).all():
            rank = int(np.argwhere(~np.isfinite(value))[0][0]) + 1
            raise FloatingPointError(
                f"{name.replace('_', ' ')} of eigenvector {rank} is not finite: tangents or cotangents overflow on "
                "their way through time. Use shorter sequences, or .double()."
            )
    if given is not None:
        _warn_of_strangers(eigenvectors, vectors, given, map.dtype)
    first = [int((bin_of_step == index).nonzero()[0]) + 1 for index in range(bins)] + [steps + 1]
    last = [start - 1 for start in first[1:]] + [steps + 1]
    labels = [str(a) if a == b else f"{a}-{b}" for a, b in zip(first[:-1], last[:-1], strict=True)]
    values |= {
        "eigenvalue": eigenvectors["eigenvalue"].values[:k],
        "first_step": np.array(first),
        "last_step": np.array(last),
    }
    config: dict[str, object] = {
        "operator": operator,
        "eigenvectors_of": operator_of(eigenvectors, "eigenvectors"),
        "reduction": data.reduction,
        "k": k,
        "bins": bins,
        "parameters": names_and_shapes(chosen),
        "batches": len(pairs),
        "batch_weights": weights,
        "loss": getattr(loss, "__name__", type(loss).__name__),
        "derivatives": derivatives,
        "by_recursion": run.cells is not None,
    }
    return make_dataset(
        "curvature_by_step",
        values,
        {
            "rank": np.arange(1, k + 1),
            "step": np.arange(1, steps + 1),
            "bin": [*labels, "readout"],
            "other_bin": [*labels, "readout"],
        },
        provenance(config, dtype=map.dtype, device=map.device),
    )


class _Run:
    """The sums over all batches for every vector."""

    def __init__(self, objective: WeightedLoss, operator: Operator, bin_of_step: Tensor, memory_budget: int) -> None:
        network = objective.network
        assert isinstance(network, UnrolledNetwork)
        self._network, self._objective, self._operator = network, objective, operator
        self._bins, self._budget = bin_of_step, memory_budget
        self.cells: Sequence[AffineCell] | None = network.map.cell_derivatives()
        self._layout = ParameterLayout(objective.parameters, self.cells or ())

    def values(self, vectors: Tensor, update: Callable[[], object]) -> dict[str, np.ndarray]:
        """Return the result's variables for vectors (P, k); ``update`` is called after each vector and batch."""
        found: list[StepSums] = []
        by_residual: list[StepSums] = []
        for (inputs, targets), weight in zip(self._objective.batches, self._objective.weights, strict=True):
            exact, weak = self._batch(inputs, targets, weight, vectors, update)
            found = [a + b for a, b in zip(found, exact, strict=True)] if found else exact
            by_residual = [a + b for a, b in zip(by_residual, weak, strict=True)] if by_residual else weak
        rows = torch.stack([sums.rows for sums in found])  # (k, T+1, bins+1)
        values = {
            "curvature": rows.sum(dim=(1, 2)),
            "step_curvature": rows[:, :-1].sum(dim=2),
            "readout_curvature": rows[:, -1].sum(dim=1),
            "step_to_step_curvature": self._binned(rows),
        }
        if self._operator != "ggn":
            layers = torch.stack([sums.layers for sums in found])
            values["layer_curvature"], values["readout_layer_curvature"] = layers[:, :-1], layers[:, -1]
            values["layer_state_curvature"] = torch.stack([sums.layers_by_state[:-1] for sums in found])
        if by_residual:
            values["weak_coupling_curvature"] = self._binned(torch.stack([sums.rows for sums in by_residual]))
        return {name: value.cpu().numpy() for name, value in values.items()}

    @torch.no_grad()
    def _batch(
        self, inputs: Tensor, targets: Any, weight: float, vectors: Tensor, update: Callable[[], object]
    ) -> tuple[list[StepSums], list[StepSums]]:
        """Compute the exact sums for every vector and, if the map has a linear residual, those of weak coupling."""
        map, objective, operator = self._network.map, self._objective, self._operator
        state = map.initial_state(inputs.shape[1])
        if self.cells is None:
            for input in inputs:
                state = map.step(state, input)
        else:
            trajectory = Trajectory(self.cells, state, inputs)
            state = trajectory.final
        head = Head(self._network, state, targets, weight, objective.loss, objective.parameters)
        exact: list[StepSums] = []
        weak: list[StepSums] = []
        if self.cells is None:
            own = self._layout.rows_of(head.parameters)
            for vector in vectors.T:
                arguments = map, inputs, head, objective.tensors, vector, own, self._bins, operator
                exact.append(step_sums_by_autodiff(*arguments))
                update()
            return exact, weak
        half = self._budget // 2
        if operator == "ggn":
            trajectory.keep(half)
        else:
            trajectory.carry_back(head.gradient().to(state), half)
        buffers = Buffers(state)
        for vector in vectors.T:
            sweep = partial(step_sums, trajectory, head, self._layout, vector, self._bins, buffers=buffers)
            exact.append(sweep(operator=operator, budget=half))
            if len(self.cells) == 1 and self.cells[0].pointwise.linear_residual:
                weak.append(sweep(operator="ggn", budget=0, coupled=False))
            update()
        return exact, weak

    def _binned(self, rows: Tensor) -> Tensor:
        """Sum rows (k, T+1, bins+1) over the steps of every bin: (k, bins+1, bins+1)."""
        readout = self._bins[-1:] + 1
        target = torch.cat((self._bins, readout))
        return rows.new_zeros(len(rows), rows.shape[2], rows.shape[2]).index_add_(1, target, rows)


def _common_steps(network: UnrolledNetwork, pairs: Sequence[Batch]) -> int:
    for inputs, _ in pairs:
        check_sequence(network.map, inputs)
    lengths = sorted({len(inputs) for inputs, _ in pairs})
    if len(lengths) > 1:
        raise ValueError(f"all batches must have the same number of steps, got {lengths}. Analyse them one by one.")
    return lengths[0]


def _warn_of_strangers(spectrum: xr.Dataset, vectors: Tensor, products: Products, dtype: torch.dtype) -> None:
    """Warn if the given vectors are no eigenvectors, on these batches, of the operator that they were computed for."""
    own = products.product(operator_of(spectrum, "eigenvectors"))
    if strange := strangers(vectors, spectrum, own, dtype):
        warnings.warn(f"eigenvectors= holds {strange}", stacklevel=5)


def _leading_vectors(spectrum: xr.Dataset, chosen: Mapping[str, nn.Parameter], k: int) -> Tensor:
    """Return the first k eigenvectors, shape (P, k), float64."""
    vectors = eigenvectors_of(spectrum, chosen, "eigenvectors")
    available = vectors.shape[1]
    if not 1 <= k <= available:
        raise ValueError(f"k must be between 1 and the number of eigenvectors {available}, got {k}.")
    return vectors[:, :k].contiguous()

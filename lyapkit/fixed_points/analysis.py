"""The analysis `fixed_points`: the points where a map rests, and their stability, as a labelled result."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lyapkit.adapters import as_single_map
from lyapkit.checks.arguments import check_floating, check_integer, check_interval, check_positive
from lyapkit.checks.named_arguments import named_arguments
from lyapkit.checks.randomness import make_generator
from lyapkit.fixed_points.cloud import cloud_of
from lyapkit.fixed_points.iterated import IteratedMap, dense_tangents
from lyapkit.fixed_points.measured import Measured, measure, order, renumbered
from lyapkit.fixed_points.points import Points, collect
from lyapkit.fixed_points.search import ARRIVED, LOST, RUNNING, STALLED, Ends, search
from lyapkit.fixed_points.starts import given_states, sampled_states
from lyapkit.recurrent_map import RecurrentMap
from lyapkit.results import make_dataset, provenance
from lyapkit.tangents import TangentRun
from lyapkit.trajectories.closed_loop import with_feedback
from lyapkit.trajectories.encoded import Encoded
from lyapkit.trajectories.prepare_drive import prepare_drive
from lyapkit.trajectories.sequences import as_tensor, encoded

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}
"""Default tolerances: a hundred thousand and a hundred times the distance of neighbouring numbers."""


@named_arguments()
def fixed_points(
    model: object,
    input: Any = None,
    *,
    starts: Any = None,
    period: int = 1,
    feedback: Callable[[Tensor], Tensor] | None = None,
    n_starts: int = 512,
    tolerance: float | None = None,
    eigenvectors: int = 0,
    max_iterations: int = 200,
    rng: torch.Generator | int | None = None,
    check: bool = True,
) -> xr.Dataset:
    r"""Find fixed points, slow points and periodic points of a recurrent map at a constant input.

    .. math:: f^p(x^*, s) = x^*

    From every start, the Levenberg-Marquardt method lowers the speed :math:`|f^p(x, s) - x|`, with exact Jacobians and
    for all starts at once. It converges to stable points, saddles and repellers alike. Searches that end at the same
    point are merged, and Newton steps bring the point down to rounding error. A minimum of the speed above zero is
    listed as a *slow point*.

    All lengths are measured per unit, in the scale of the starts and their images, so that units of measurement do not
    matter. A point is fixed if

    .. math:: \max_i |f^p(x, s) - x|_i \,/\, \mathrm{scale}_i \le \mathrm{tolerance}

    up to the part of the difference that rounding alone can make. Two searches have ended at the same point if the
    distance of their ends is at most four times their errors, or the square root of the resolution of the type (1.5e-8
    in float64).

    Eigenvalues are those of the Jacobian of f^p at the point. Lyapunov exponents of the orbit are the logarithms of
    their magnitudes, divided by p. `lyapkit.jacobians` with the points as ``initial_state`` returns the Jacobians
    themselves, with respect to state and input.

    A search finds the points that its starts lead to. Nothing guarantees that these are all fixed points. More starts,
    from everywhere among the states that matter, make it more likely.

    Args:
        model: Anything `lyapkit.as_map` takes.
        input: Constant input s of a driven map, shape (M,); of a whole model, one of its own inputs, such as a token.
        starts: States to start from, (S, N) or (N,); or the result of `lyapkit.states`, or of `lyapkit.fixed_points`
            for another input or network. By default, states are sampled around the initial state, along short runs from
            these states, and around the runs. Give states of your own if the scale of the states is far from 1.
        period: Period p. Points of a shorter period that divides p are found, too; ``minimal_period`` shows which they
            are.
        feedback: Function from the map's output to its next input, such as a readout. It closes the loop, and replaces
            ``input``.
        n_starts: Number of starts that are sampled, or drawn from a result with more states.
        tolerance: Largest residual of a fixed point; 1e-10 by default, and 1e-5 for a map in float32.
        eigenvectors: Number of leading eigenvectors to return.
        max_iterations: Largest number of steps of a search.
        rng: Generator or seed of the sampled or drawn starts.
        check: True to probe the map before the search and, afterwards, to repeat steps and check derivatives at the
            points found.

    Returns:
        A Dataset over ``fixed_point``, ``unit`` and ``eigenvalue``. Fixed points come before slow ones. Among them,
        points with fewer unstable directions come first.

        - ``state`` (fixed_point, unit), in the type of the map.
        - ``speed`` (fixed_point): :math:`|f^p(x, s) - x|`, and ``residual``, the largest component in units of its
          scale. ``slow`` is 1 for slow points.
        - ``eigenvalue_real`` and ``eigenvalue_imag`` (fixed_point, eigenvalue), by descending magnitude.
        - ``stable``: 1 at fixed points if all magnitudes are below 1. ``unstable_dimensions`` counts magnitudes above
          1. ``marginal_dimensions`` counts those that cannot be told from 1 (within 1.5e-8, or 3.5e-4 in float32); they
          leave stability undecided.
        - ``state_error``: distance from the exact point, to first order; inf if there is no exact point, as for slow
          points, or if the point is not isolated.
        - ``continuum_dimension``: 0 for isolated points. It is 1 on a line of fixed points (a line attractor) and 2 on
          a plane. Then at most 16 points are listed, far from each other, and a warning says so.
        - ``starts``: number of starts that ended at the point or, on a continuum, nearest to it.
        - ``outlier``: 1 if the point is more than 3 times as far from the middle of the starts as any start.
        - ``on_kink``: 1 if the map has no derivative at the point, as a rectifier at 0. The eigenvalues are then those
          of one side, and stability is undecided.
        - ``minimal_period``: shortest period of the point. ``orbit``: number of its orbit, the same for all points of
          one orbit. Orbits are complete.
        - ``eigenvector_real`` and ``eigenvector_imag`` (fixed_point, unit, eigenvector), if asked for: unit vectors in
          the order of the eigenvalues.

        The attributes count the starts: ``starts_arrived`` ended at fixed points, ``starts_slow`` at minima of the
        speed, ``starts_lost`` left the region of the starts, and ``starts_unfinished`` were still running after
        ``max_iterations``. Minima above a tenth of the typical speed of the starts are not listed.

    Raises:
        TypeError: If an argument is of the wrong kind, if a driven map is given no input, or if an autonomous map is
            given one.
        ValueError: If an argument is out of range, starts have the wrong shape or are not finite, or the map fails the
            probe.

    Example:
        >>> import lyapkit
        >>> ds = lyapkit.fixed_points(lyapkit.systems.henon().map, rng=0)
        >>> ds.state.values.round(4).tolist(), ds.unstable_dimensions.values.tolist()
        ([[-1.1314, -0.3394], [0.6314, 0.1894]], [1, 1])
        >>> ds = lyapkit.fixed_points(lyapkit.systems.henon().map, period=2, rng=0)
        >>> ds.state.sel(unit=ds.unit[0]).values.round(4).tolist(), ds.minimal_period.values.tolist()
        ([-1.1314, 0.6314, -0.4758, 0.9758], [1, 1, 2, 2])
    """
    map = with_feedback(as_single_map(model, "fixed_points"), feedback, 0.0)
    period = check_interval(period, "period")
    n_starts, max_iterations = check_interval(n_starts, "n_starts"), check_interval(max_iterations, "max_iterations")
    count = _check_eigenvectors(eigenvectors, map.state_size)
    tolerance = TOLERANCE[map.dtype] if tolerance is None else check_positive("tolerance", tolerance)
    constant = _constant_input(map, input, feedback is not None)
    generator = make_generator(rng)
    given = None if starts is None else given_states(map, starts, n_starts, generator)
    single = None if constant is None else constant.expand(1, -1).as_subclass(Encoded)  # what the map itself reads
    drive = prepare_drive(map, single, 1 if constant is None else None, given)
    run = TangentRun.prepare(map, drive, map.state_size, map.dtype, check=check)
    repeated = None if constant is None else constant.expand(len(drive.state[:2]), -1)
    iterated = IteratedMap(map, dense_tangents(map, run.derivative, drive.state[:2], repeated), constant, period)
    start = sampled_states(iterated, n_starts, generator) if given is None else given
    cloud = cloud_of(start, iterated.orbit(start, 1)[1])
    speed = torch.linalg.vector_norm(iterated.displacement(start) / cloud.scale, dim=-1)
    ends = search(iterated, start, cloud, tolerance, max_iterations)
    points = collect(iterated, ends, cloud, tolerance, max_iterations, float(speed.nan_to_num(nan=torch.inf).median()))
    found = measure(iterated, points, cloud)
    if check and len(points.state):
        driven = iterated.input_of(points.state[None])
        drive.visited.take(points.state[None], driven, iterated.orbit(points.state, 1)[1], drive.offset)
    run.confirm()
    _warn(ends, points, found)
    config: dict[str, object] = {
        "period": period,
        "n_starts": len(start),
        "starts_given": starts is not None,
        "tolerance": tolerance,
        "max_iterations": max_iterations,
        "input": None if constant is None else constant.tolist(),
        "feedback": feedback is not None,
        "rng_seed": generator.initial_seed(),
        **run.notes,
        "tangents": iterated.tangents.name,
    }
    attributes = provenance(config, dtype=map.dtype, device=map.device)
    outcomes = {"arrived": ARRIVED, "slow": STALLED, "lost": LOST, "unfinished": RUNNING}
    attributes |= {f"starts_{name}": int((ends.outcome == code).sum()) for name, code in outcomes.items()}
    place = order(points, found, cloud)
    values = {name: value.cpu()[place] for name, value in _values(points, found, count).items()}
    values["orbit"] = renumbered(values["orbit"])
    coordinates: dict[str, Any] = {
        "fixed_point": np.arange(1, len(place) + 1),
        "unit": list(map.unit_names),
        "eigenvalue": np.arange(1, map.state_size + 1),
    }
    if count:
        coordinates["eigenvector"] = np.arange(1, count + 1)
    return make_dataset(
        "fixed_points", {name: value.numpy() for name, value in values.items()}, coordinates, attributes
    )


def _values(points: Points, found: Measured, eigenvectors: int) -> dict[str, Tensor]:
    """Return the variables of the result by name."""
    roots, vectors = found.stability.eigenvalues, found.stability.eigenvectors[..., :eigenvectors]
    unsettled = (found.stability.unstable + found.stability.marginal > 0) | found.on_kink | points.slow
    values = {
        "state": points.state,
        "speed": found.speed,
        "stable": (~unsettled).to(torch.int8),
        "unstable_dimensions": found.stability.unstable,
        "slow": points.slow.to(torch.int8),
        "eigenvalue_real": roots.real,
        "eigenvalue_imag": roots.imag,
        "residual": found.residual,
        "state_error": found.error,
        "marginal_dimensions": found.stability.marginal,
        "continuum_dimension": points.continuum,
        "starts": points.starts,
        "outlier": found.outlier.to(torch.int8),
        "on_kink": found.on_kink.to(torch.int8),
        "minimal_period": found.period,
        "orbit": found.orbit,
    }
    if eigenvectors:
        values |= {"eigenvector_real": vectors.real, "eigenvector_imag": vectors.imag}
    return values


def _warn(ends: Ends, points: Points, found: Measured) -> None:
    """Warn of findings that a reader of the numbers must know first."""
    fixed = ~points.slow
    if not bool(fixed.any()):
        slowest = f" The smallest speed, {float(found.speed.min()):.3g}, is that of a slow point." if len(fixed) else ""
        warnings.warn(
            f"No fixed point was found from {len(ends.state)} starts: {int((ends.outcome == STALLED).sum())} searches "
            "ended where the speed |f(x) - x| has a minimum or is constant, "
            f"{int((ends.outcome == LOST).sum())} left the region of the starts.{slowest} The map may have none "
            "at this input. Otherwise, give starts nearer to it.",
            stacklevel=4,
        )
    lying = points.continuum > 0
    if bool(lying.any()):
        warnings.warn(
            f"The map has a continuum of fixed points, of dimension {int(points.continuum.max())}: "
            f"{points.starts_on_continuum} of {len(ends.state)} searches ended on it. The "
            f"{int(lying.sum())} points listed with continuum_dimension > 0 are samples of it, far from each other.",
            stacklevel=4,
        )
    if bool(found.on_kink.any()):
        warnings.warn(
            f"{int(found.on_kink.sum())} of the points lie on a kink of the map, where it has different derivatives on "
            "both sides, like a rectifier at 0. Their eigenvalues are those of one side and do not tell stability.",
            stacklevel=4,
        )
    unfinished = int((ends.outcome == RUNNING).sum())
    if unfinished > len(ends.state) // 10:
        warnings.warn(
            f"{unfinished} of {len(ends.state)} searches had not ended when their steps ran out; raise "
            "max_iterations=.",
            stacklevel=4,
        )


def _check_eigenvectors(count: Any, size: int) -> int:
    number: int = check_integer("eigenvectors", count)
    if not 0 <= number <= size:
        raise ValueError(f"eigenvectors must be a number between 0 and the state size {size}, got {number}.")
    return number


def _constant_input(map: RecurrentMap, input: Any, is_closed: bool) -> Tensor | None:
    """Return the constant input, shape (M,), or None for an autonomous map."""
    size = map.input_size
    if size == 0:
        if input is not None:
            fed = "feedback= runs the map on its own outputs" if is_closed else "the map is autonomous (input_size 0)"
            raise TypeError(f"{fed}, so that it takes no input; leave input= out.")
        return None
    if input is None:
        raise TypeError(
            f"the map is driven, and has fixed points at a constant input only; give input= of shape ({size},), such "
            f"as torch.zeros({size})."
        )
    tensor = as_tensor("input", input)
    if not isinstance(tensor, Encoded):  # a whole model reads a sequence of one step
        given = encoded(map, tensor.unsqueeze(0))
        tensor = given if isinstance(given, Encoded) else tensor
    if isinstance(tensor, Encoded):
        tensor = tensor.as_subclass(Tensor).reshape(-1) if tensor.numel() == size else tensor.as_subclass(Tensor)
    check_floating("input", tensor.dtype, map.dtype)
    if tensor.shape not in ((size,), (1, size)):
        many = "; call once for each of several inputs" if tensor.ndim > 1 else ""
        raise ValueError(f"input must be one input of shape ({size},), got {tuple(tensor.shape)}{many}.")
    if not bool(torch.isfinite(tensor).all()):
        raise ValueError("input holds a value that is not finite; clean it first.")
    return tensor.detach().reshape(size).to(dtype=map.dtype, device=map.device)

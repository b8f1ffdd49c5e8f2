"""The analysis `compare`: how alike two networks compute on the same inputs, as a labelled result."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lyapkit.adapters import as_single_map
from lyapkit.checks.arguments import check_dt, check_k, time_unit
from lyapkit.checks.named_arguments import named_arguments
from lyapkit.checks.progress import progress_bar
from lyapkit.checks.randomness import make_generator
from lyapkit.comparison.growth import Exponents, exponents, resolved
from lyapkit.comparison.procrustes import Alignment, align
from lyapkit.comparison.same_inputs import (
    NETWORKS,
    NamedNetwork,
    check_pair,
    check_same_inputs,
    check_subspaces,
    counted_states,
    counted_steps,
    prepare_drives,
    run_apart,
)
from lyapkit.comparison.subspaces import SubspaceAngles, subspace_angles
from lyapkit.comparison.values import angle_values, exponent_values, shape_values
from lyapkit.lyapunov.decomposition import random_refill, refill_seed
from lyapkit.lyapunov.ginelli import random_frames
from lyapkit.recurrent_map import RecurrentMap
from lyapkit.results import make_dataset, provenance
from lyapkit.tangents.along import TangentRun
from lyapkit.trajectories.closed_loop import with_feedback
from lyapkit.trajectories.drive import Drive


@named_arguments()
def compare(
    a: object,
    b: object,
    inputs: Any = None,
    *,
    steps: int | None = None,
    k: int | None = None,
    subspaces: int | None = None,
    initial_states: Any = None,
    lengths: Any = None,
    batch_first: bool | None = None,
    feedback: tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]] | None = None,
    teacher_forcing: float = 0.0,
    transient: int | None = None,
    dt: float = 1.0,
    rng: torch.Generator | int | None = None,
    check: bool = True,
    progress: bool = False,
) -> xr.Dataset:
    r"""Compare how two networks compute on the same inputs: exponents, shape of the trajectories, leading subspaces.

    **Exponents.** The difference :math:`\lambda_i^a - \lambda_i^b` of the i-th Lyapunov exponents (`lyapunov_spectrum`
    with a decomposition at every step), trajectory by trajectory.

    **Shape.** With the states of all trajectories and steps in the rows of X and Y, centred and divided by their
    Frobenius norms, the Procrustes distance is the angle

    .. math:: \theta = \min_Q \arccos \langle X, Y Q \rangle = \arccos \| X^\mathsf{T} Y \|_*, \qquad
        0 \le \theta \le \pi/2,

    over orthogonal Q (nuclear norm; the smaller state is padded with zeros). It is the Riemannian shape distance of
    Williams, Kunz, Kornblith & Linderman, "Generalized shape metrics on neural representations", NeurIPS 2021: a metric
    which does not see shifts, scales, rotations and reflections of the states.

    **Subspaces.** Q takes the tangent space of b to that of a. Between the spans of the first j covariant Lyapunov
    vectors of both, which are those of the first j frame vectors, there are j principal angles at every step. Their
    means over steps and trajectories say whether perturbations that live longest lie along the same directions of the
    aligned states. Two random subspaces of many dimensions are nearly orthogonal.

    Intervals are for these two networks on further inputs, or from further initial states, of the same kind. With
    several trajectories, each counts as one independent draw: Student's t over trajectories, and for the distance a
    jackknife that leaves out one trajectory (or group of trajectories) after the other. With a single trajectory they
    come from its series, whose autocorrelation counts, and the error is inf where the run is too short for it.
    The angles' intervals take the alignment as given. Networks of other seeds are a sample of their own: compare all
    pairs.

    Args:
        a: The first network, anything `lyapkit.as_map` takes.
        b: The second, with as many inputs, in the same type and on the same device. Its state may have another size.
        inputs: Inputs of driven maps, (T, M) for one sequence or (T, B, M) for many; or a PackedSequence.
        steps: Number of steps of autonomous maps.
        k: Number of leading exponents; as many as the smaller state has by default.
        subspaces: Largest number j of leading vectors whose spans are compared; 3 by default, or k if it is smaller.
        initial_states: A pair of flat states, (N,) or (B, N) for a and (M,) or (B, M) for b, either of which may be
            None; the maps' own by default.
        lengths: Steps of each of B sequences of unequal length, (B,) integers. What lies behind them in the inputs is
            padding (any numbers) and changes nothing.
        batch_first: Inputs lie (B, T, M) instead of (T, B, M); by default as the modules' own ``batch_first`` says.
        feedback: Closes both loops: a pair of functions, from each map's output to its next input, such as readouts.
            The maps then run freely and take ``steps`` instead of ``inputs``.
        teacher_forcing: Share s of the given inputs with ``feedback``; the input is s times the given one plus (1 - s)
            times the fed-back one.
        transient: First steps, which settle states and frames and are not counted; a quarter of the steps (of the
            shortest sequence) by default.
        dt: Duration of a step; exponents are divided by it and their units say so.
        rng: Generator or seed of the random initial frames; results that have settled do not depend on it.
        check: Probe the maps before the run; afterwards, repeat steps and check derivatives all over it.
        progress: Show a progress bar.

    Returns:
        A Dataset. Variables with ``_error``, ``_low`` and ``_high`` have a standard error and a 95 % interval; the
        interval is that of `lyapkit.summary`.

        - ``exponent_difference`` (exponent), a minus b; 0 where both annihilate the direction.
        - ``procrustes_distance``, theta in radians of the states given. A fit to few states comes out too small:
          ``procrustes_bias`` is the jackknife's estimate, and the interval is around the distance without it. Near
          pi/2, where hardly anything fits, the jackknife finds only half of the bias. NaN, with a warning, where the
          states of a network do not vary.
        - ``principal_angle`` (subspace, angle_rank), ascending, in radians; NaN where ``angle_rank`` is
          above ``subspace``, and where a direction is annihilated or nothing is aligned.
        - ``forward_difference`` (network, subspace): distance of the span from that of another random start where the
          window begins, the largest of all trajectories. Where it is not near 0, the span is not settled, or not
          determined because exponents j and j + 1 are equal: lengthen ``transient`` or take another j.
        - ``alignment_open`` (subspace): how far another alignment that fits the states as well could move the mean
          cosine of the angles. 0 where the states of both vary in all their dimensions.
        - ``lyapunov_exponent`` (network, trajectory, exponent), descending.
        - ``rotation`` (unit, other_unit) and ``scale``: state of a minus its mean is about scale times rotation times
          the state of b minus its mean. ``aligned_dimensions`` is the number of dimensions in which states determine
          the rotation.

    Raises:
        TypeError: If an argument is of the wrong kind, or one map is driven and the other autonomous.
        ValueError: If the networks have other numbers of inputs, types, devices or layouts of batches, an argument is
            out of range, or a map fails the probe or has changed; the message says which network.
        FloatingPointError: If a trajectory overflows; the message names network, step and trajectory.

    Example:
        >>> import lyapkit, torch
        >>> _ = torch.manual_seed(0)
        >>> network, inputs = torch.nn.GRU(2, 4).double(), torch.randn(200, 5, 2).double()
        >>> same = lyapkit.compare(network, network, inputs, rng=0)
        >>> round(float(same.procrustes_distance), 9), round(float(abs(same.exponent_difference).max()), 9)
        (0.0, 0.0)
        >>> other = lyapkit.compare(network, torch.nn.GRU(2, 6).double(), inputs, rng=0)
        >>> bool(other.procrustes_distance_low > 0.1)
        True
    """
    loops = check_pair("feedback", feedback, "functions")
    maps = _map("a", a, loops[0], teacher_forcing), _map("b", b, loops[1], teacher_forcing)
    swapped = check_same_inputs(*maps, inputs, batch_first)
    k = check_k(k, min(map.state_size for map in maps))
    subspaces = check_subspaces(subspaces, k)
    dt = check_dt(dt)
    drives = prepare_drives(maps, inputs, steps, initial_states, lengths, swapped, transient)
    generator = make_generator(rng)
    runs = []
    for name, map, drive in zip(NETWORKS, maps, drives, strict=True):
        with NamedNetwork(name):
            runs.append(TangentRun.prepare(map, drive, k, torch.float64, check=check))
    drive, eps = drives[0], torch.finfo(maps[0].dtype).eps
    active = counted_steps(drive).to(maps[0].device)
    with progress_bar(3 * drive.steps, "comparison", progress) as bar:
        states = []
        for name, map, its_drive in zip(NETWORKS, maps, drives, strict=True):
            with NamedNetwork(name):
                states.append(counted_states(map, its_drive)[active])
        x, y = states
        alignment = align(x, y, eps)
        found = _exponents(runs, alignment, generator, bar.update)
        for name, its_run in zip(NETWORKS, runs, strict=True):
            with NamedNetwork(name):
                its_run.confirm()
        angles = None
        if alignment is None:
            warnings.warn(
                "The states of one of the networks do not vary, so that there is neither a Procrustes distance nor an "
                "angle between aligned subspaces; compare on inputs that move the states, or from several initial "
                "states.",
                stacklevel=3,
            )
        elif d := min(subspaces, resolved(*found)):
            angles = _angles(maps, drives, d, alignment, generator, bar.update)
    values = {
        **exponent_values(found, dt),
        **shape_values(alignment, (x, y), active, eps),
        **angle_values(angles, active, subspaces),
    }
    config: dict[str, object] = {
        "steps": drive.steps,
        "transient": drive.transient,
        "trajectories": len(drive.state),
        "k": k,
        "subspaces": subspaces,
        "dt": dt,
        "driven": drive.inputs is not None,
        "feedback": feedback is not None,
        "teacher_forcing": teacher_forcing,
        "rng_seed": generator.initial_seed(),
        "networks": [repr(map) for map in maps],
        **{f"run_of_{name}": its_run.notes for name, its_run in zip(NETWORKS, runs, strict=True)},
    }
    return make_dataset(
        "compare",
        {name: value.cpu().numpy() for name, value in values.items()},
        {
            "exponent": np.arange(1, k + 1),
            "subspace": np.arange(1, subspaces + 1),
            "angle_rank": np.arange(1, subspaces + 1),
            "network": list(NETWORKS),
            **drive.coordinates,
            "unit": list(maps[0].unit_names),
            "other_unit": list(maps[1].unit_names),
        },
        provenance(config, dtype=maps[0].dtype, device=maps[0].device),
        time_unit(dt),
    )


def _map(name: str, model: object, loop: Any, teacher_forcing: float) -> RecurrentMap:
    with NamedNetwork(name):
        return with_feedback(as_single_map(model, "compare"), loop, teacher_forcing)


def _exponents(
    runs: list[TangentRun], alignment: Alignment | None, generator: torch.Generator, on_steps: Callable[[int], object]
) -> tuple[Exponents, Exponents]:
    """Return the exponents of both networks, whose frames start in the same place of the aligned states."""
    starts = [random_frames(each.map.state_size, each.k, generator)[0] for each in runs]
    if alignment is not None:
        starts[1] = torch.linalg.qr(alignment.rotation.T.cpu() @ starts[0]).Q
    refill = random_refill(refill_seed(generator))

    def of(index: int) -> Exponents:
        state = runs[index].drive.state
        frame = starts[index].to(state.device).repeat(len(state), 1, 1)
        with NamedNetwork(NETWORKS[index]):
            return runs[index].follow(lambda run: exponents(run, frame, refill, on_steps))

    return of(0), of(1)


def _angles(
    maps: tuple[RecurrentMap, RecurrentMap],
    drives: tuple[Drive, Drive],
    d: int,
    alignment: Alignment,
    generator: torch.Generator,
    on_steps: Callable[[int], object],
) -> SubspaceAngles:
    """Return the angles of the d leading subspaces, in a further run of both networks."""
    first, second = (
        TangentRun.prepare(map, run_apart(drive), d, torch.float64, check=False)
        for map, drive in zip(maps, drives, strict=True)
    )

    def side_by_side(one: TangentRun, other: TangentRun) -> SubspaceAngles:
        return subspace_angles(one, other, alignment, generator=generator, on_step=lambda: on_steps(1))

    return first.follow(lambda one: second.follow(lambda other: side_by_side(one, other)))

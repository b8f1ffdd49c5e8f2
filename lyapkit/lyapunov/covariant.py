"""The analysis `covariant_vectors`: covariant Lyapunov vectors along a trajectory, their angles and localisation."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lyapkit.adapters import as_map
from lyapkit.checks.arguments import check_dt, check_flag, check_integer, check_interval, check_k, time_unit
from lyapkit.checks.kinks import KinkWatch
from lyapkit.checks.named_arguments import named_arguments
from lyapkit.checks.progress import progress_bar
from lyapkit.checks.randomness import make_generator
from lyapkit.lyapunov.angles import consecutive_angles, participation_ratio, splitting_angles
from lyapkit.lyapunov.chosen_angles import check_pairs, chosen_angles, named_pair
from lyapkit.lyapunov.ginelli import CovariantVectors, ginelli
from lyapkit.results import make_dataset, provenance
from lyapkit.tangents.along import TangentRun
from lyapkit.trajectories.closed_loop import with_feedback
from lyapkit.trajectories.drive import Drive
from lyapkit.trajectories.prepare_drive import prepare_drive


@named_arguments()
def covariant_vectors(
    model: object,
    inputs: Any = None,
    *,
    steps: int | None = None,
    k: int | None = None,
    initial_state: Tensor | None = None,
    lengths: Any = None,
    batch_first: bool | None = None,
    trajectory_names: Collection[str | float] | None = None,
    feedback: Callable[[Tensor], Tensor] | None = None,
    teacher_forcing: float = 0.0,
    transient: int | None = None,
    settle: int | None = None,
    record_every: int = 1,
    instantaneous: bool = False,
    angles: Sequence[tuple[int | Sequence[int], int | Sequence[int]]] | None = None,
    dt: float = 1.0,
    rng: torch.Generator | int | None = None,
    check: bool = True,
    progress: bool = False,
) -> xr.Dataset:
    r"""Compute covariant Lyapunov vectors: the map carries them, and they grow with the Lyapunov exponents.

    At every state :math:`x_n` of the trajectory there are unit vectors :math:`v_i(n)`, not orthogonal in general, with

    .. math:: J_n v_i(n-1) = e^{g_i(n)} v_i(n), \qquad \lambda_i = \lim_{T \to \infty} \frac{1}{T} \sum_n g_i(n).

    If J is constant, they are its eigenvectors (Oseledets' splitting). A forward pass decomposes the frame at every
    step, :math:`J_n Q_{n-1} = Q_n R_n`. A backward pass then computes :math:`C_{n-1} = R_n^{-1} C_n` with columns of
    length 1, and :math:`v_i(n) = Q_n c_i(n)` (Ginelli et al., Phys. Rev. Lett. 99, 130601, 2007). Frames are float64.

    Both passes need some steps to forget their random starts: they forget by about exp(-gap) per step, where gap is the
    distance to the next exponent. ``forward_difference`` and ``backward_difference`` say how much of the starts is
    left. Vectors of equal exponents, such as complex pairs, do not settle: only the space that they span is determined,
    and the differences stay of order 1.

    Args:
        model: Anything `lyapkit.as_map` takes.
        inputs: Inputs of a driven map, (T, M) for one sequence or (T, B, M) for many; or a PackedSequence.
        steps: Number of steps of an autonomous map, including those that settle.
        k: Number of leading vectors; all N by default. They do not depend on the others.
        initial_state: Flat states (N,) or (B, N); the map's own by default.
        lengths: Number of steps of each of B sequences of unequal length, (B,) integers. Inputs after these steps are
            padding; they may be any numbers and change nothing.
        batch_first: True if inputs have the layout (B, T, M) instead of (T, B, M). The default is the module's own
            ``batch_first``.
        trajectory_names: A text or a number for each trajectory, such as the conditions of an experiment. They are the
            coordinate ``trajectory`` of the result, which counts from 0 by default, and plots show them.
        feedback: Function from the map's output to its next input, such as a readout. It closes the loop: the map then
            runs freely and takes ``steps`` instead of ``inputs``.
        teacher_forcing: Share a of the given inputs with ``feedback``; the input is a s_t + (1 - a) feedback.
        transient: Number of first steps, which settle state and frame and are not counted; by default a quarter of the
            steps (of the shortest sequence).
        settle: Number of last steps of each sequence, which settle the backward pass and are not counted; by default a
            quarter of the steps (of the shortest sequence).
        record_every: Number of steps between recorded vectors. For every sequence, the last step before those of
            ``settle`` is always recorded. Means and maxima over the window take every step.
        instantaneous: True to also return the growth rates of every step, however few vectors are recorded.
        angles: Pairs of vectors whose angle is returned, by their ranks from 1, such as ``[(1, 3)]``; or pairs of sets
            of vectors, whose spans are compared, such as ``[((1, 2), (3, 4)), (1, (2, 3))]``.
        dt: Duration of a step; rates are divided by it and their units say so.
        rng: Generator or seed of the random starts; settled vectors do not depend on it.
        check: True to probe the map before the run and, afterwards, to repeat steps and check derivatives all over the
            run.
        progress: True to show a progress bar.

    Returns:
        A Dataset over ``trajectory``, ``step`` (vectors at n belong to the state after n steps), ``unit``, ``exponent``
        and ``split`` (j = 1, ..., k-1, between the first j vectors and the others). Exponents are in the order of the
        QR, which is descending once it has settled. ``last_step`` (trajectory) is the last step that is counted. After
        it, in shorter sequences, vectors and angles stay constant, and the local growth is 0.

        - ``covariant_vector`` has length 1. The map carries it with its sign; at the last recorded step, the component
          of largest magnitude is positive.
        - ``angle`` is the smallest principal angle between the span of the first j vectors and that of the other k - j,
          in radians. If j is the number of positive exponents, this is the angle between the expanding and the
          contracting subspace; near 0 they are almost tangent. ``consecutive_angle`` is the angle between vector j and
          vector j + 1.
        - ``participation_ratio`` is 1 / sum_i v_i^4: 1 for a vector on a single unit, N for one that is spread evenly.
        - ``local_growth`` is the mean of g_i since the recorded step before. ``covariant_exponent`` is its mean over
          the window, which equals the mean of log |R_ii| up to a term that fades like 1/T.
        - ``instantaneous_exponent`` (trajectory, window_step, exponent), with ``instantaneous=True``, is g_i(n) at
          every step of the window: the instantaneous covariant Lyapunov exponents. It is 0 after ``last_step``. Its
          mean is ``covariant_exponent``; with ``record_every=1``, it equals the local growth.
        - ``chosen_angle`` (trajectory, step, pair, angle_rank), with ``angles=``, holds the principal angles between
          the spans of both sets of a pair, ascending, in radians between 0 and pi/2. For two single vectors, it is the
          angle between their lines. It is NaN where ``angle_rank`` exceeds the size of the smaller set. ``pair`` names
          the ranks, such as ``1,2 | 3``.
        - ``covariance_residual`` is the largest |J v / |J v| - v'| of the window, where v' is the vector at the next
          step. It is about eps |J| / |J v|, with the eps of the map's own type, whether or not the vectors have
          settled.
        - ``forward_difference`` is taken at the beginning of the window: the distance between the span of the first j
          frame vectors and that of a second, independent frame (Frobenius norm of the sines of their principal angles).
          ``backward_difference`` is taken at the end of the window: the sine of the angle between the vectors of two
          independent backward passes. Both are 0 when settled; otherwise lengthen ``transient`` or ``settle``.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If an argument is out of range, shapes or dtypes disagree, the map fails the probe or has changed,
            or a step annihilates one of the leading k directions, which then has no past (the message says which k is
            possible).
        FloatingPointError: If the trajectory overflows; the message names step and trajectory.

    Example:
        >>> import lyapkit, torch
        >>> matrix = torch.tensor([[2.3, -0.6], [0.9, 0.2]], dtype=torch.float64)  # eigenvalues 2 and 1/2
        >>> x0 = torch.zeros(2, dtype=torch.float64)
        >>> ds = lyapkit.covariant_vectors(lyapkit.as_map(lambda x: matrix @ x, state=x0), steps=120, rng=0)
        >>> ds.covariant_vector.values[0, -1].round(4).tolist()  # its eigenvectors, in columns
        [[0.8944, 0.3162], [0.4472, 0.9487]]
        >>> ds.angle.values[0, -1].round(4).tolist()  # pi/4: they are not orthogonal
        [0.7854]
    """
    map = with_feedback(as_map(model), feedback, teacher_forcing)
    k = check_k(k, map.state_size)
    record_every = check_interval(record_every, "record_every")
    pairs = check_pairs(angles, k)
    check_flag("instantaneous", instantaneous)
    dt = check_dt(dt)
    drive, settle = _with_window(
        prepare_drive(map, inputs, steps, initial_state, 0, lengths, batch_first, trajectory_names), transient, settle
    )
    generator = make_generator(rng)
    run = TangentRun.prepare(map, drive, k, torch.float64, check=check)
    window = drive.steps - drive.transient - settle

    def follow(run: TangentRun) -> CovariantVectors:
        with progress_bar(drive.steps + window, "covariant vectors", progress) as bar:
            return ginelli(run, settle=settle, generator=generator, record_every=record_every, on_step=bar.update)

    found = run.follow(follow)
    run.confirm()
    done = torch.tensor(found.steps, device="cpu") - drive.transient
    growth = found.log_growth.cpu()
    between = growth.cumsum(dim=0)[done - 1].diff(dim=0, prepend=torch.zeros_like(growth[:1]))
    length = done.diff(prepend=torch.zeros(1, dtype=done.dtype, device="cpu")).reshape(-1, 1, 1)
    config: dict[str, object] = {
        "steps": drive.steps,
        "transient": drive.transient,
        "settle": settle,
        "k": k,
        "record_every": record_every,
        "instantaneous": instantaneous,
        "angles": [named_pair(pair) for pair in pairs],
        "dt": dt,
        "driven": map.input_size > 0,
        "feedback": feedback is not None,
        "teacher_forcing": teacher_forcing,
        "rng_seed": generator.initial_seed(),
        **run.notes,
    }
    with run.threads():
        values = {
            "covariant_vector": found.vectors.movedim(0, 1).contiguous(),  # (B, L, ...), trajectories first
            "angle": splitting_angles(found.coordinates).movedim(0, 1),
            "consecutive_angle": consecutive_angles(found.coordinates).movedim(0, 1),
            "participation_ratio": participation_ratio(found.vectors).movedim(0, 1),
            "local_growth": (between / length / dt).movedim(0, 1),
            "covariant_exponent": growth.sum(dim=0) / (found.last - drive.transient).unsqueeze(-1) / dt,
            "covariance_residual": found.residual,
            "forward_difference": found.forward_difference,
            "backward_difference": found.backward_difference,
            "last_step": found.last,
        }
        if pairs:
            values["chosen_angle"] = chosen_angles(found.coordinates, pairs).movedim(0, 1)
    coordinates: dict[str, Any] = {
        **drive.coordinates,
        "step": np.asarray(found.steps),
        "unit": list(map.unit_names),
        "exponent": np.arange(1, k + 1),
        "split": np.arange(1, k),
    }
    if instantaneous:
        values["instantaneous_exponent"] = (growth / dt).movedim(0, 1)
        coordinates["window_step"] = np.arange(drive.transient + 1, drive.steps - settle + 1)
    if pairs:
        coordinates["pair"] = [named_pair(pair) for pair in pairs]
        coordinates["angle_rank"] = np.arange(1, values["chosen_angle"].shape[-1] + 1)
    return make_dataset(
        "covariant_vectors",
        {name: value.cpu().numpy() for name, value in values.items()},
        coordinates,
        provenance(config, dtype=map.dtype, device=map.device),
        time_unit(dt),
    )


def _with_window(drive: Drive, transient: int | None, settle: int | None) -> tuple[Drive, int]:
    """Return the drive with its transient, and the steps that settle the backward pass."""
    shortest = int(drive.last_steps.min())
    transient = _settling_steps("transient", transient, shortest)
    settle = _settling_steps("settle", settle, shortest)
    if shortest - transient - settle < 1:
        raise ValueError(
            f"no steps left to analyse: of {shortest} steps, {transient} are transient and {settle} settle the "
            "backward pass."
        )
    return replace(drive, transient=transient, kinks=KinkWatch(transient, drive.steps)), settle


def _settling_steps(name: str, value: int | None, steps: int) -> int:
    if value is None:
        return steps // 4
    value = check_integer(name, value, "an integer or None")
    if value < 0:
        raise ValueError(f"{name} must be at least 0, got {value}.")
    return value

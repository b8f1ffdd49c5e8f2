"""The analysis `lyapunov_spectrum`: Algorithm 1 on any recurrent map, as a labelled result."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lyapkit.adapters import as_map
from lyapkit.arguments import check_dt, check_interval, check_k, time_unit
from lyapkit.drive import prepare_drive
from lyapkit.lyapunov.dimensions import entropy_rate, kaplan_yorke_dimension, memory_timescale
from lyapkit.lyapunov.interval import IntervalRule
from lyapkit.lyapunov.qr import initial_frame, qr_growth
from lyapkit.lyapunov.uncertainty import batch_means_error
from lyapkit.probe import probed_tangents
from lyapkit.progress import progress_bar
from lyapkit.randomness import make_generator
from lyapkit.results import make_dataset, provenance


def lyapunov_spectrum(
    model: object,
    inputs: Any = None,
    *,
    steps: int | None = None,
    k: int | None = None,
    initial_state: Tensor | None = None,
    transient: int = 0,
    qr_interval: int | Literal["auto"] = "auto",
    frame_dtype: torch.dtype | None = None,
    dt: float = 1.0,
    rng: torch.Generator | int | None = None,
    check: bool = True,
    progress: bool = False,
) -> xr.Dataset:
    r"""Lyapunov exponents of a recurrent map, by QR decomposition along a trajectory.

    With the Jacobians J_t along the trajectory and a frame Q_0,

        J_t Q_{t-1} = Q_t R_t,     lambda_i = 1/T \sum_t log |(R_t)_ii|,

    which is Algorithm 1 of Dubinin & Effenberger (2024), after Benettin et al. (1980) and Sandri (1996), with
    exact derivatives of the step and Householder QR. A driven map has *conditional* exponents: they describe how
    perturbations of the state fade or grow under the given input, and need no zero exponent.

    Args:
        model: anything `lyapkit.as_map` takes.
        inputs: inputs of a driven map, (T, M) for one sequence or (T, B, M) for many.
        steps: number of steps of an autonomous map.
        k: number of leading exponents; all N by default.
        initial_state: flat states (N,) or (B, N); the map's own by default.
        transient: leading steps that settle state and frame and are not counted.
        qr_interval: steps between QR decompositions. ``"auto"`` starts with 1, as Algorithm 1 does, and stretches the
            interval while the condition number of the frame stays below 1e6 (1e3 for a float32 frame), up to 1/64 of
            the run, so that standard errors keep their windows. The error that an interval adds is about eps times the
            condition number reached (``frame_condition``), on the lowest exponents.
        frame_dtype: type of the frame and its QR; float64 by default, whatever the map computes in.
        dt: duration of a step; exponents are divided by it and their units say so.
        rng: generator or seed of the random initial frame when k < N (for k = N it is the identity).
        check: probe the map once before the run (deterministic, pure, finite, correctly differentiated).
        progress: show a progress bar.

    Returns:
        A Dataset over ``trajectory``, ``step`` and ``exponent`` (sorted descending) with ``lyapunov_exponent``,
        ``standard_error`` (batch means, respecting autocorrelation; inf where fewer than 4 QR steps cannot tell it),
        ``memory_timescale`` (-1/lambda, inf where perturbations do not fade), ``running_exponent`` and
        ``local_growth`` at each QR step, ``kaplan_yorke_dimension`` (with ``kaplan_yorke_is_lower_bound`` = 1 when
        k is too small to close it), ``entropy_rate`` (sum of the positive exponents), ``frame_condition`` (the
        largest condition number of the frame before a decomposition) and ``log_volume_residual`` (the sum of the
        exponents against volumes computed without QR). Exponents are in nats per step, or per unit time with
        ``dt``. A direction that the map annihilates has exponent -inf, as has one that is smaller than rounding
        resolves, |R_ii| <= N eps |column|.

    Raises:
        TypeError: an argument is of the wrong kind (integer inputs, both or neither of inputs and steps).
        ValueError: an argument is out of range, shapes or dtypes disagree, or the map fails the probe.
        FloatingPointError: the trajectory or the frame overflows; the message names step and trajectory.

    Example:
        >>> import lyapkit, torch
        >>> rotation = torch.tensor([[0.0, -0.9], [0.9, 0.0]], dtype=torch.float64)
        >>> x0 = torch.zeros(2, dtype=torch.float64)
        >>> ds = lyapkit.lyapunov_spectrum(lyapkit.as_map(lambda x: rotation @ x, state=x0), steps=100)
        >>> ds.lyapunov_exponent.values.round(4).tolist()  # log 0.9, twice
        [[-0.1054, -0.1054]]
    """
    map = as_map(model)
    drive = prepare_drive(map, inputs, steps, initial_state, transient)
    k = check_k(k, map.state_size)
    dt = check_dt(dt)
    frame_dtype = torch.float64 if frame_dtype is None else frame_dtype
    if frame_dtype not in (torch.float32, torch.float64):
        raise ValueError(f"frame_dtype must be torch.float32 or torch.float64, got {frame_dtype}.")
    if qr_interval == "auto":
        rule = IntervalRule.automatic(drive.steps - drive.transient, frame_dtype)
    else:
        rule = IntervalRule(check_interval(qr_interval))
    generator = make_generator(rng)
    tangents, derivative_error = probed_tangents(map, drive.state, drive.input_at(0), check)
    frame = initial_frame(drive.state.shape[0], map.state_size, k, generator, drive.state.to(frame_dtype))
    with progress_bar(drive.steps, "Lyapunov spectrum", progress) as bar:
        growth = qr_growth(map, drive, frame, tangents=tangents, rule=rule, on_step=bar.update)

    log_growth = growth.log_growth / dt  # (W, B, k)
    window = growth.window
    done = window.cumsum(0)
    mean = log_growth.sum(dim=0) / done[-1]  # (B, k)
    order = mean.argsort(dim=-1, descending=True, stable=True)
    log_growth = log_growth.gather(-1, order.expand_as(log_growth))
    mean = mean.gather(-1, order)
    columns = window.reshape(-1, 1, 1)
    dimension, bound = kaplan_yorke_dimension(mean, map.state_size)
    values = {
        "lyapunov_exponent": mean,
        "standard_error": batch_means_error(log_growth, window),
        "memory_timescale": memory_timescale(mean),
        "running_exponent": (log_growth.cumsum(dim=0) / done.reshape(-1, 1, 1)).movedim(0, 1),
        "local_growth": (log_growth / columns).movedim(0, 1),
        "kaplan_yorke_dimension": dimension,
        "kaplan_yorke_is_lower_bound": bound.to(torch.int8),
        "entropy_rate": entropy_rate(mean),
        "log_volume_residual": growth.log_volume_residual / dt,
        "frame_condition": growth.condition,
    }
    config: dict[str, object] = {
        "steps": drive.steps,
        "transient": drive.transient,
        "k": k,
        "qr_interval": "auto" if rule.limit is not None else rule.interval,
        "frame_dtype": str(frame_dtype).removeprefix("torch."),
        "dt": dt,
        "driven": drive.inputs is not None,
        "rng_seed": generator.initial_seed(),
        "tangents": tangents.name,
        "batching": getattr(map, "batching", "native"),
        "derivative_error": derivative_error,
    }
    return make_dataset(
        "lyapunov_spectrum",
        {name: value.cpu().numpy() for name, value in values.items()},
        {
            "trajectory": np.arange(mean.shape[0]),
            "step": (drive.transient + done).long().cpu().numpy(),
            "exponent": np.arange(1, k + 1),
        },
        provenance(config, dtype=map.dtype, device=map.device),
        time_unit(dt),
    )

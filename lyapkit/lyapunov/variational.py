"""The analysis `variational_term`: singular values of V_t = J_t ... J_1 over time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lyapkit.adapters import as_map
from lyapkit.adapters.closed_loop import with_feedback
from lyapkit.arguments import check_dt, check_interval, check_k, time_unit
from lyapkit.drive import prepare_drive
from lyapkit.lyapunov.carrying import pushed_frames
from lyapkit.lyapunov.graded import GradedProduct
from lyapkit.probe import probed_tangents
from lyapkit.progress import progress_bar
from lyapkit.results import make_dataset, provenance


def variational_term(
    model: object,
    inputs: Any = None,
    *,
    steps: int | None = None,
    k: int | None = None,
    initial_state: Tensor | None = None,
    feedback: Callable[[Tensor], Tensor] | None = None,
    teacher_forcing: float = 0.0,
    record_every: int = 1,
    dt: float = 1.0,
    check: bool = True,
    progress: bool = False,
) -> xr.Dataset:
    """Singular values of the variational term along a trajectory.

    The variational term of eq. (3) of Dubinin & Effenberger (2024) is V_t = J_t ... J_1; its singular values
    sigma_i(V_t) say how much a perturbation of the first state has grown or faded after t steps. The finite-time
    exponents

        log sigma_i(V_t) / t

    are the eigenvalues of eq. (4) before its limit and tend to the Lyapunov exponents.

    The product is never formed: it is kept as U D T with the logarithms of D, so that singular values far
    below eps times the largest, and far outside the range of float64, keep their digits: the error of a logarithm
    is about eps times the condition number of the single Jacobians, not of their product.

    Args:
        model: anything `lyapkit.as_map` takes.
        inputs: inputs of a driven map, (T, M) or (T, B, M).
        steps: number of steps of an autonomous map.
        k: number of leading singular values to return; all N by default. All N are computed in any case.
        initial_state: flat states (N,) or (B, N); the map's own by default.
        feedback: closes the loop: from the map's output to its next input, such as a readout. The map then runs freely
            and takes ``steps`` instead of ``inputs``.
        teacher_forcing: with ``feedback``, how much of the given inputs is mixed in: a s_t + (1 - a) feedback.
        record_every: steps between recorded singular values; the last step is always recorded.
        dt: duration of a step; finite-time exponents are divided by it.
        check: probe the map once before the run.
        progress: show a progress bar.

    Returns:
        A Dataset with ``log_singular_value`` (nats) and ``running_exponent`` (nats per step, or per unit time),
        both over (trajectory, step, exponent), descending at each step; -inf where V_t is singular.

    Raises:
        TypeError: an argument is of the wrong kind.
        ValueError: an argument is out of range, shapes or dtypes disagree, or the map fails the probe.
        FloatingPointError: the trajectory overflows; the message names step and trajectory.

    Example:
        >>> import lyapkit, torch
        >>> shear = torch.tensor([[1.0, 1.0], [0.0, 1.0]], dtype=torch.float64)
        >>> x0 = torch.zeros(2, dtype=torch.float64)
        >>> ds = lyapkit.variational_term(lyapkit.as_map(lambda x: shear @ x, state=x0), steps=1)
        >>> ds.log_singular_value.values.round(4).tolist()  # the golden ratio, although both exponents are 0
        [[[0.4812, -0.4812]]]
    """
    map = with_feedback(as_map(model), feedback, teacher_forcing)
    drive = prepare_drive(map, inputs, steps, initial_state)
    k = check_k(k, map.state_size)
    record_every = check_interval(record_every, "record_every")
    dt = check_dt(dt)
    tangents, derivative_error = probed_tangents(map, drive.state, drive.input_at(0), check)

    product = GradedProduct.identity(drive.state.shape[0], map.state_size, map.device)
    recorded, at = [], []
    with progress_bar(drive.steps, "variational term", progress) as bar:
        for push, _, step in pushed_frames(map, drive, tangents, map.state_size, torch.float64):
            product = product.after(push)
            bar.update()
            done = step + 1
            if done % record_every == 0 or done == drive.steps:
                recorded.append(product.log_singular_values()[:, :k])
                at.append(done)
    log_values = torch.stack(recorded, dim=1)  # (B, T, k)
    count = torch.tensor(at, dtype=torch.float64, device=map.device)
    config: dict[str, object] = {
        "steps": drive.steps,
        "k": k,
        "record_every": record_every,
        "dt": dt,
        "driven": drive.inputs is not None,
        "feedback": feedback is not None,
        "teacher_forcing": teacher_forcing,
        "tangents": tangents.name,
        "batching": getattr(map, "batching", "native"),
        "derivative_error": derivative_error,
    }
    return make_dataset(
        "variational_term",
        {
            "log_singular_value": log_values.cpu().numpy(),
            "running_exponent": (log_values / count.reshape(1, -1, 1) / dt).cpu().numpy(),
        },
        {
            "trajectory": np.arange(log_values.shape[0]),
            "step": np.asarray(at),
            "exponent": np.arange(1, k + 1),
        },
        provenance(config, dtype=map.dtype, device=map.device),
        time_unit(dt),
    )

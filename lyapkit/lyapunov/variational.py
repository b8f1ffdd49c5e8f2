"""The analysis `variational_term`: singular values of products of Jacobians over time."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lyapkit.adapters import as_map
from lyapkit.checks.arguments import check_dt, check_interval, check_k, time_unit
from lyapkit.checks.named_arguments import named_arguments
from lyapkit.checks.progress import progress_bar
from lyapkit.lyapunov.graded import GradedProduct
from lyapkit.lyapunov.sliding import SlidingProduct
from lyapkit.lyapunov.steadiness import RepeatedProduct
from lyapkit.results import make_dataset, provenance
from lyapkit.tangents.along import TangentRun
from lyapkit.trajectories.closed_loop import with_feedback
from lyapkit.trajectories.drive import held_at_the_end
from lyapkit.trajectories.prepare_drive import prepare_drive


@named_arguments()
def variational_term(
    model: object,
    inputs: Any = None,
    *,
    steps: int | None = None,
    k: int | None = None,
    horizon: int | None = None,
    initial_state: Tensor | None = None,
    lengths: Any = None,
    batch_first: bool | None = None,
    trajectory_names: Collection[str | float] | None = None,
    feedback: Callable[[Tensor], Tensor] | None = None,
    teacher_forcing: float = 0.0,
    record_every: int = 1,
    dt: float = 1.0,
    check: bool = True,
    progress: bool = False,
) -> xr.Dataset:
    r"""Compute singular values of the variational term along a trajectory.

    The variational term is eq. (3) of Dubinin & Effenberger (2024),

    .. math:: V_t = J_t \cdots J_1.

    Its singular values :math:`\sigma_i(V_t)` say how much a perturbation of the first state has grown or faded after t
    steps. The finite-time exponents

    .. math:: \frac{1}{t} \log \sigma_i(V_t)

    are the eigenvalues of eq. (4) before its limit. They tend to the Lyapunov exponents.

    With a ``horizon`` H, only the last H Jacobians are multiplied, :math:`J_t \cdots J_{t-H+1}`, for every recorded t
    from H on. This shows how strongly a state acts on the state H steps later, which is all that backpropagation
    through time truncated to H steps can see. The exponents are then :math:`\log \sigma_i / H`.

    The product is never formed. It is kept as U D T, with the logarithms of D. So singular values keep their digits
    even far below eps times the largest, and far outside the range of float64: the error of a logarithm is about eps
    times the condition number of the single Jacobians, not of their product. A sliding window is equally exact.

    A step costs one QR decomposition of N x N. The first 2 N steps, at most 64 and H, cost two. With a horizon, every
    step costs two. Each recorded window then costs one more for each multiple of 16 in the span of the logarithms of
    its singular values, but at most H, and the memory is that of 2 H matrices N x N for each trajectory.

    Args:
        model: Anything `lyapkit.as_map` takes.
        inputs: Inputs of a driven map, (T, M) for one sequence or (T, B, M) for many; or a PackedSequence.
        steps: Number of steps of an autonomous map.
        k: Number of leading singular values to return; all N by default. All N are computed in any case.
        horizon: Number of last steps whose Jacobians are multiplied, H; all steps up to t by default.
        initial_state: Flat states (N,) or (B, N); the map's own by default.
        lengths: Number of steps of each of B sequences of unequal length, (B,) integers, none below the horizon. Inputs
            after these steps are padding; they may be any numbers and change nothing.
        batch_first: True if inputs have the layout (B, T, M) instead of (T, B, M). The default is the module's own
            ``batch_first``.
        trajectory_names: A text or a number for each trajectory, such as the conditions of an experiment. They are the
            coordinate ``trajectory`` of the result, which counts from 0 by default, and plots show them.
        feedback: Function from the map's output to its next input, such as a readout. It closes the loop: the map then
            runs freely and takes ``steps`` instead of ``inputs``.
        teacher_forcing: Share a of the given inputs with ``feedback``; the input is a s_t + (1 - a) feedback.
        record_every: Number of steps between recorded singular values; the last step of each sequence is always
            recorded. With a horizon, the first recorded step is H.
        dt: Duration of a step; finite-time exponents are divided by it.
        check: True to probe the map before the run and, afterwards, to repeat steps and check derivatives all over the
            run.
        progress: True to show a progress bar.

    Returns:
        A Dataset with ``log_singular_value`` (nats) and ``running_exponent`` (nats per step, or per unit time), both
        over (trajectory, step, exponent), descending at each step; -inf if the product is singular. After the end of a
        shorter sequence, both stay constant; ``last_step`` (trajectory) is the step at which it ends.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If an argument is out of range, shapes or dtypes disagree, or the map fails the probe or has
            changed.
        FloatingPointError: If the trajectory overflows or a derivative is not finite; the message names step and
            trajectory.

    Example:
        >>> import lyapkit, torch
        >>> shear = torch.tensor([[1.0, 1.0], [0.0, 1.0]], dtype=torch.float64)
        >>> x0 = torch.zeros(2, dtype=torch.float64)
        >>> ds = lyapkit.variational_term(lyapkit.as_map(lambda x: shear @ x, state=x0), steps=1)
        >>> ds.log_singular_value.values.round(4).tolist()  # the golden ratio, although both exponents are 0
        [[[0.4812, -0.4812]]]
        >>> factors = torch.tensor([[0.5], [0.5], [2.0], [2.0]])
        >>> scaling = lyapkit.as_map(lambda x, s: s * x, state=torch.ones(1), input=torch.ones(1))
        >>> ds = lyapkit.variational_term(scaling, factors, horizon=2)
        >>> ds.step.values.tolist(), ds.running_exponent.values[0, :, 0].round(4).tolist()  # log 0.5, 0, log 2
        ([2, 3, 4], [-0.6931, 0.0, 0.6931])
    """
    map = with_feedback(as_map(model), feedback, teacher_forcing)
    drive = prepare_drive(map, inputs, steps, initial_state, 0, lengths, batch_first, trajectory_names)
    last = drive.last_steps
    k = check_k(k, map.state_size)
    record_every = check_interval(record_every, "record_every")
    if horizon is not None:
        horizon = check_interval(horizon, "horizon")
        if horizon > int(last.min()):
            raise ValueError(f"horizon must be at most the number of steps {int(last.min())}, got {horizon}.")
    dt = check_dt(dt)
    run = TangentRun.prepare(map, drive, map.state_size, torch.float64, check=check)
    at = sorted({*range(horizon or record_every, drive.steps, record_every), drive.steps, *last.tolist()})

    def follow(run: TangentRun) -> list[tuple[Tensor, Tensor]]:
        recorded: list[tuple[Tensor, Tensor]] = []
        finite: list[tuple[int, Tensor]] = []
        batch, size = drive.state.shape
        product: GradedProduct | SlidingProduct
        if horizon is None:
            product = GradedProduct.identity(batch, size, map.device)
        else:
            product = SlidingProduct(batch, size, horizon=horizon, recorded=at, device=map.device)
        repeated = RepeatedProduct(batch, size, map.device, horizon or drive.steps)
        with progress_bar(drive.steps, "variational term", progress) as bar:
            for push, _, step in run.steps(drive):
                product = product.after(_watched(push, step + 1, finite))
                repeated.follow(push, product.block)
                bar.update()
                if step + 1 == at[len(recorded)]:
                    _refuse_infinite(finite)
                    window = product.window()
                    resolved = torch.minimum(window.resolved, repeated.resolved).unsqueeze(-1)
                    recorded.append((window.log_singular_values(), torch.arange(size, device=map.device) >= resolved))
        return recorded

    recorded = run.follow(follow)
    run.confirm()
    log_values, doubtful = (
        held_at_the_end(torch.stack(values, dim=1)[..., :k], at, last) for values in zip(*recorded, strict=True)
    )  # (B, T, k)
    done = (
        torch.minimum(torch.tensor(at, device="cpu"), last.unsqueeze(-1))
        if horizon is None
        else torch.full((1, 1), horizon, device="cpu")
    )
    count = done.to(log_values).unsqueeze(-1)
    config: dict[str, object] = {
        "steps": drive.steps,
        "k": k,
        "horizon": horizon,
        "record_every": record_every,
        "dt": dt,
        "driven": map.input_size > 0,
        "feedback": feedback is not None,
        "teacher_forcing": teacher_forcing,
        **run.notes,
    }
    return make_dataset(
        "variational_term",
        {
            "log_singular_value": log_values.cpu().numpy(),
            "running_exponent": (log_values / count / dt).cpu().numpy(),
            "below_resolution": doubtful.to(torch.int8).cpu().numpy(),
            "last_step": last.numpy(),
        },
        {
            **drive.coordinates,
            "step": np.asarray(at),
            "exponent": np.arange(1, k + 1),
        },
        provenance(config, dtype=map.dtype, device=map.device),
        time_unit(dt),
    )


def _watched(
    push: Callable[[Tensor], Tensor], step: int, finite: list[tuple[int, Tensor]]
) -> Callable[[Tensor], Tensor]:
    """Return the push, noting whether its results are finite, (B,), without waiting for the device."""

    def watched(frame: Tensor) -> Tensor:
        pushed = push(frame)
        finite.append((step, torch.isfinite(pushed).flatten(start_dim=1).all(dim=1)))
        return pushed

    return watched


def _refuse_infinite(finite: list[tuple[int, Tensor]]) -> None:
    """Raise an error if a result noted since the last call is not finite, and forget the notes."""
    steps, flags = zip(*finite, strict=True)
    bad = ~torch.stack(flags)  # (steps, B)
    if bool(bad.any()):
        index, trajectory = bad.nonzero()[0].tolist()
        raise FloatingPointError(
            f"the tangent frame of trajectory {trajectory} is not finite after step {steps[index]}: the map's "
            "derivative is not finite there."
        )
    finite.clear()

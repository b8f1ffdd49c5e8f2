"""The analysis `gradient_propagation`: how the gradient of a loss travels back through time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lyapkit.adapters import as_single_map
from lyapkit.checks.arguments import check_flag, check_interval, inference_tensors_explained
from lyapkit.checks.compiled import uncompiled
from lyapkit.checks.hooks import refuse_tensor_hooks
from lyapkit.checks.named_arguments import named_arguments
from lyapkit.checks.progress import progress_bar
from lyapkit.checks.randomness import make_generator
from lyapkit.gradients.adjoint import StepGradient, adjoint_sweep
from lyapkit.gradients.arguments import check_norms, check_window, norm_label, predicted_rate
from lyapkit.gradients.exponent import leading_exponent
from lyapkit.gradients.loss import Loss, LossOnEvery, LossOnLast, TrajectoryLoss, outputs_of
from lyapkit.gradients.parameters import ParameterGradients, trained_parameters
from lyapkit.gradients.rate import growth_rates
from lyapkit.losses.scalar_loss import check_loss_callable
from lyapkit.losses.unrolled import resolve_readout
from lyapkit.recurrent_map import RecurrentMap
from lyapkit.results import make_dataset, provenance
from lyapkit.tangents.along import TangentRun
from lyapkit.trajectories.checkpointed import checkpointed
from lyapkit.trajectories.closed_loop import with_feedback
from lyapkit.trajectories.drive import Drive
from lyapkit.trajectories.prepare_drive import prepare_drive
from lyapkit.trajectories.sequences import lies_batch_first


@named_arguments()
@inference_tensors_explained()
def gradient_propagation(
    model: object,
    inputs: Any,
    targets: Any,
    loss: Loss,
    *,
    readout: Callable[[Tensor], Tensor] | None = None,
    norms: Sequence[float | str] | float | str = ("inf", 2),
    loss_on: Literal["last", "every"] = "last",
    steps: int | None = None,
    initial_state: Tensor | None = None,
    lengths: Any = None,
    batch_first: bool | None = None,
    trajectory_names: Collection[str | float] | None = None,
    feedback: Callable[[Tensor], Tensor] | None = None,
    teacher_forcing: float = 0.0,
    fit: tuple[int, int | None] | None = None,
    exponent: bool = True,
    per_unit: bool = False,
    record_every: int = 1,
    parameter_gradients: bool = False,
    rng: torch.Generator | int | None = None,
    check: bool = True,
    progress: bool = False,
) -> xr.Dataset:
    """Compute norms of the total derivatives dL/dx_t along each trajectory, and their exponential rate.

    For a loss on the last state, dL/dx_t = (V^{D-t})^T dL/dx_D, eq. (10) of Dubinin & Effenberger (2024). These are the
    same products of Jacobians as in the variational term, transposed. The derivative is the *total* one, through all
    later steps. (``retain_grad`` on the output of a fused PyTorch layer gives the direct part only.)

    About 2 sqrt(T) of the T states are in memory at a time; the others are computed again from them.

    Args:
        model: Anything `lyapkit.as_map` takes.
        inputs: A tensor or an array, (T, B, M), or (T, M) for one sequence; a PackedSequence; or None with ``steps``
            for an autonomous map. They are one batch, and each of its sequences is a trajectory of the result. The
            curvature of a loss is that of all data, and takes pairs (inputs, targets) in several batches.
        targets: Targets of the batch; they are passed to ``loss`` unchanged.
        loss: A callable ``loss(outputs, targets)``, a scalar. Its reduction over the batch is the user's: with a mean
            over B sequences, every derivative carries the factor 1/B.
        readout: Function from the map's output, (..., O'), to what ``loss`` reads, (..., O). It must read each state by
            itself. The default is the model's own; without one, it is required.
        norms: Vector norms over the units: "inf" or positive numbers.
        loss_on: With ``"last"``, outputs have shape (B, O), from the last step; with ``"every"``, (T, B, O), or
            (B, T, O) if inputs are batch first. With a loss on every step, the norms level off where the direct part
            of a step exceeds the part from later ones.
        steps: Number of steps of an autonomous map.
        initial_state: Flat states (N,) or (B, N); the map's own by default.
        lengths: Number of steps of each of B sequences of unequal length, (B,) integers. A loss on the last step reads
            each sequence at its own last step. A loss on every step must not depend on later outputs. Later inputs are
            padding (any numbers) and change nothing.
        batch_first: True if inputs have the layout (B, T, M) instead of (T, B, M). The default is the module's own
            ``batch_first``.
        trajectory_names: A text or a number for each trajectory, such as the conditions of an experiment. They are the
            coordinate ``trajectory`` of the result, which counts from 0 by default, and plots show them.
        feedback: Function from the map's output to its next input, such as a readout. It closes the loop: the map then
            runs freely and takes ``steps`` instead of ``inputs``.
        teacher_forcing: Share a of the given inputs with ``feedback``; the input is a s_t + (1 - a) feedback.
        fit: Steps back in time (start, stop) that the rate is fitted to, start <= T - t < stop. For example, (50, None)
            leaves out the steps near the end, where the gradient still turns. All steps by default. T is the length of
            each sequence; no sequence may be shorter than ``stop``.
        exponent: Also compute the leading Lyapunov exponent of the same steps.
        per_unit: Also record the derivatives themselves, as logarithm and sign.
        record_every: Steps between recorded derivatives; the last step is always recorded.
        parameter_gradients: Also record what each step contributes to the gradient of each parameter tensor.
        rng: Generator or seed of the first tangent vector of the exponent.
        check: Probe the map before the run, and compute the loss twice; afterwards, repeat steps and check derivatives
            at states throughout the run.
        progress: True to show a progress bar.

    Returns:
        A Dataset over ``norm``, ``trajectory`` and ``step``. After the end of a shorter sequence, gradients are zero;
        ``last_step`` (trajectory) says where it ends.

        - ``gradient_norm`` and ``log_gradient_norm``, the natural logarithm, which does not underflow.
        - ``growth_rate``, the slope of the logarithm per step *back in time* by a robust fit. It is comparable to a
          Lyapunov exponent: negative if gradients vanish, -inf if they are zero at all steps but the last. One step has
          no slope (0, error inf).
        - ``growth_rate_error``, the standard error of the rate, which respects autocorrelation up to that of random
          walks. It says how far the fluctuations of one run move the slope, not how far the run is from stationary.
        - ``growth_offset``, the value of the line at t = T, and ``fitted_steps``, the number of steps of the fit, all
          of which have a gradient that is not zero.
        - ``leading_exponent`` and ``leading_exponent_error`` (trajectory), of the same Jacobians. For a loss on the
          last step the rate tends to it as T grows, for almost every readout.
        - ``predicted_rate`` if the map predicts one (`RecurrentMap.predicted_gradient_rate`).
        - With ``per_unit``, ``log_unit_gradient`` and ``unit_gradient_sign`` (trajectory, recorded_step, unit).
        - With ``parameter_gradients``, ``log_parameter_gradient_norm`` (parameter_tensor, step). It is the 2-norm of
          the vector (df(x_{t-1}, s_t; theta)/dtheta)^T dL/dx_t plus the contribution of the readout of x_t, summed over
          the batch. The sum of these vectors over all steps is the gradient; ``log_total_gradient_norm`` is its norm.

    Raises:
        TypeError: If there is no readout, or an argument is of the wrong kind.
        ValueError: If shapes or dtypes disagree, the loss is not a finite scalar, the map fails the probe, or no
            parameter requires gradients.
        FloatingPointError: If the trajectory overflows; the message names step and trajectory.

    Example:
        >>> import lyapkit, torch
        >>> cell = torch.nn.RNNCell(1, 4)
        >>> ds = lyapkit.gradient_propagation(
        ...     cell, torch.rand(20, 8, 1), torch.zeros(8, 1), torch.nn.functional.mse_loss,
        ...     readout=torch.nn.Linear(4, 1),
        ... )
        >>> dict(ds.gradient_norm.sizes)
        {'norm': 2, 'trajectory': 8, 'step': 20}
    """
    map = with_feedback(as_single_map(model, "gradient_propagation"), feedback, teacher_forcing)
    resolve_readout(map, readout)  # first of all, refuse a missing one
    drive = prepare_drive(map, inputs, steps, initial_state, 0, lengths, batch_first, trajectory_names)
    read = resolve_readout(map, readout)  # again: a whole model now knows which parameters its encoder shares
    total, last = drive.steps, drive.last_steps
    orders = check_norms(norms)
    if loss_on not in ("last", "every"):
        raise ValueError(f'loss_on must be "last" or "every", got {loss_on!r}.')
    check_loss_callable(loss)
    loss = uncompiled(loss)
    switches = {"exponent": exponent, "per_unit": per_unit, "parameter_gradients": parameter_gradients, "check": check}
    for name, value in switches.items():
        check_flag(name, value)
    window = check_window(fit, int(last.min()))
    record_every = check_interval(record_every, "record_every")
    if record_every > 1 and not per_unit:
        raise TypeError(
            "record_every thins out the derivatives of per_unit=True; norms are kept at every step. Pass "
            "per_unit=True too, or leave record_every out."
        )
    parameters = trained_parameters(map, read) if parameter_gradients else {}
    generator = make_generator(rng)
    predicted = predicted_rate(map)
    if check:
        refuse_tensor_hooks(parameters)
    run = TangentRun.prepare(map, drive, 1, torch.float64, check=check, backwards=True)

    with run.threads(), progress_bar(total, "gradient propagation", progress) as bar:
        parts, scalar = _run(map, drive, read, targets, loss, loss_on, lies_batch_first(map, batch_first), check)
        log_norm = torch.empty(len(orders), drive.state.shape[0], total, dtype=torch.float64, device="cpu")
        recorded = _UnitGradients(record_every, total) if per_unit else None
        contributions = ParameterGradients(parameters, scalar, total) if parameters else None
        for arrived in adjoint_sweep(map, parts, scalar.direct, list(parameters.values())):
            _refuse_infinite(arrived)
            for index, order in enumerate(orders):
                log_norm[index, :, arrived.step - 1] = arrived.gradient.log_norm(order).cpu()
            if recorded is not None:
                recorded.add(arrived)
            if contributions is not None:
                contributions.add(arrived)
            bar.update()
        line = growth_rates(log_norm, window, last)
        values = {
            "gradient_norm": log_norm.exp().numpy(),
            "log_gradient_norm": log_norm.numpy(),
            "growth_rate": line.rate.numpy(),
            "growth_rate_error": line.error.numpy(),
            "growth_offset": line.offset.numpy(),
            "fitted_steps": line.steps.numpy(),
            "last_step": last.numpy(),
        }
        config: dict[str, object] = {
            "steps": total,
            "loss_on": loss_on,
            "loss": getattr(loss, "__name__", type(loss).__name__),
            "loss_value": scalar.value,
            "fit": [window[0], window[1] or total],
        }
        if exponent:
            bar.set_description("leading exponent")
            leading, error = leading_exponent(run, window, generator=generator)
            values |= {"leading_exponent": leading.cpu().numpy(), "leading_exponent_error": error.cpu().numpy()}
            config["rng_seed"] = generator.initial_seed()
    run.confirm()
    config |= run.notes
    if predicted is not None:
        values["predicted_rate"] = np.asarray(predicted)
    coordinates: dict[str, Any] = {
        "norm": [norm_label(order) for order in orders],
        **drive.coordinates,
        "step": np.arange(1, total + 1),
    }
    if recorded is not None:
        coordinates |= {"recorded_step": recorded.steps[::-1], "unit": list(map.unit_names)}
        values |= recorded.values()
    if contributions is not None:
        coordinates["parameter_tensor"] = list(parameters)
        values["log_parameter_gradient_norm"] = contributions.log_norm.numpy()
        values["log_total_gradient_norm"] = contributions.log_norm_of_sum().numpy()
    return make_dataset(
        "gradient_propagation", values, coordinates, provenance(config, dtype=map.dtype, device=map.device)
    )


def _run(
    map: RecurrentMap,
    drive: Drive,
    read: Callable[[Tensor], Tensor],
    targets: Any,
    loss: Loss,
    loss_on: str,
    batch_first: bool,
    check: bool,
) -> tuple[list[Drive], TrajectoryLoss]:
    """Return the trajectory in segments, and the loss on it."""
    if loss_on == "last":
        run = checkpointed(map, drive)
        return run.parts, LossOnLast(map, read, loss, targets, run.final, drive.last_steps, check)
    outputs = list[Tensor]()
    run = checkpointed(map, drive, on_states=lambda states: outputs.append(outputs_of(map, read, states)))
    given = torch.cat(outputs), run.final, drive.last_steps
    return run.parts, LossOnEvery(map, read, loss, targets, *given, batch_first=batch_first, check=check)


def _refuse_infinite(arrived: StepGradient) -> None:
    bad = ~torch.isfinite(arrived.gradient.vector).all(dim=-1)
    if bool(bad.any()):
        raise FloatingPointError(
            f"the gradient of trajectory {int(bad.nonzero()[0])} is not finite at step {arrived.step}; check the loss "
            "and the map."
        )


class _UnitGradients:
    """The derivatives at some of the steps, as logarithm and sign."""

    def __init__(self, every: int, last: int) -> None:
        self._every, self._last = every, last
        self.steps: list[int] = []  # descending
        self._logs: list[Tensor] = []
        self._signs: list[Tensor] = []

    def add(self, arrived: StepGradient) -> None:
        if arrived.step % self._every and arrived.step != self._last:
            return
        vector, log_scale = arrived.gradient
        finite = torch.where(torch.isinf(log_scale), torch.zeros_like(log_scale), log_scale)  # log 0 is -inf already
        self.steps.append(arrived.step)
        self._logs.append((vector.abs().log() + finite.unsqueeze(-1)).cpu())
        self._signs.append(vector.sign().to(torch.int8).cpu())

    def values(self) -> dict[str, np.ndarray]:
        return {
            "log_unit_gradient": torch.stack(self._logs[::-1], dim=1).numpy(),
            "unit_gradient_sign": torch.stack(self._signs[::-1], dim=1).numpy(),
        }

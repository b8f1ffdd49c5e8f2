"""The analysis `gradient_propagation`: how the gradient of a loss travels back through time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lyapkit.adapters import as_map
from lyapkit.drive import Drive, prepare_drive, run
from lyapkit.gradients.adjoint import adjoint_sweep, check_pull_back
from lyapkit.gradients.rate import growth_rate
from lyapkit.probe import probed_tangents
from lyapkit.progress import progress_bar
from lyapkit.recurrent_map import RecurrentMap
from lyapkit.results import make_dataset, provenance
from lyapkit.unrolled import resolve_readout

Loss = Callable[[Tensor, Any], Tensor]


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
    check: bool = True,
    progress: bool = False,
) -> xr.Dataset:
    """Norms of the total derivatives dL/dx_t along each trajectory, and their exponential rate.

    For a loss on the last state, dL/dx_t = (V^{D-t})^T dL/dx_D, eq. (10) of Dubinin & Effenberger (2024): the same
    products of Jacobians as in the variational term, transposed. The derivative is the *total* one, through all later
    steps. (``retain_grad`` on the output of a fused PyTorch layer gives the direct part only.)

    Args:
        model: anything `lyapkit.as_map` takes.
        inputs: (T, M) or (T, B, M); None with ``steps`` for an autonomous map.
        targets: handed to ``loss`` as they are.
        loss: ``loss(outputs, targets)``, a scalar. Its reduction over the batch is the user's: with a mean over B
            sequences, every derivative carries the factor 1/B.
        readout: from the map's output, (..., O'), to what ``loss`` reads, (..., O); the model's own by default, and
            required where it has none.
        norms: which vector norms over the units: "inf" or positive numbers.
        loss_on: ``"last"``: outputs have shape (B, O), read at the last step; ``"every"``: (T, B, O).
        steps: number of steps of an autonomous map.
        initial_state: flat states (N,) or (B, N); the map's own by default.
        check: probe the map once before the run, and compute the loss twice.
        progress: show a progress bar.

    Returns:
        A Dataset over ``norm``, ``trajectory`` and ``step``: ``gradient_norm``, ``log_gradient_norm`` (natural
        logarithm, which does not underflow), and over (norm, trajectory) ``growth_rate``, the slope of the
        logarithm per step *back in time*, with its standard error ``growth_rate_error``. It is comparable to a
        Lyapunov exponent: negative when gradients vanish, -inf when they are zero at all steps but the last. One
        step has no slope (0, error inf).

    Raises:
        TypeError: no readout, or arguments of the wrong kind.
        ValueError: shapes or dtypes disagree, the loss is not a finite scalar, or the map fails the probe.
        FloatingPointError: the trajectory overflows; the message names step and trajectory.

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
    map = as_map(model)
    read = resolve_readout(map, readout)
    drive = prepare_drive(map, inputs, steps, initial_state)
    orders = [_order(norm) for norm in ((norms,) if isinstance(norms, str | int | float) else norms)]
    if not orders or len(set(orders)) < len(orders):
        raise ValueError(f'norms must name one or more different norms, such as ("inf", 2); got {norms!r}.')
    if loss_on not in ("last", "every"):
        raise ValueError(f'loss_on must be "last" or "every", got {loss_on!r}.')
    if check:
        tangents, _ = probed_tangents(map, drive.state, drive.input_at(0))
        check_pull_back(map, drive.state, drive.input_at(0), tangents)

    states = _states(map, drive)
    value, direct = _direct_derivatives(map, read, states, targets, loss, loss_on)
    if check and _direct_derivatives(map, read, states, targets, loss, loss_on)[0] != value:
        raise ValueError(
            "the loss differs between two calls, so it is not deterministic; call .eval() on the readout (dropout, "
            "batch norm), and draw no random numbers in the loss."
        )
    batch, total = drive.state.shape[0], drive.steps
    log_norm = torch.empty(len(orders), batch, total, dtype=torch.float64)
    with progress_bar(total, "gradient propagation", progress) as bar:
        for step, gradient, log_scale in adjoint_sweep(map, states, drive.inputs, direct):
            if not bool(torch.isfinite(gradient).all()):
                trajectory = int((~torch.isfinite(gradient)).any(dim=-1).nonzero()[0])
                raise FloatingPointError(
                    f"the gradient of trajectory {trajectory} is not finite at step {step}; check the loss and the map."
                )
            for index, order in enumerate(orders):
                size = torch.linalg.vector_norm(gradient, ord=order, dim=-1)
                log_norm[index, :, step - 1] = (size.log() + log_scale).cpu()
            bar.update()
    rate, error = growth_rate(log_norm)
    config: dict[str, object] = {
        "steps": total,
        "loss_on": loss_on,
        "loss": getattr(loss, "__name__", type(loss).__name__),
        "loss_value": value,
    }
    return make_dataset(
        "gradient_propagation",
        {
            "gradient_norm": log_norm.exp().numpy(),
            "log_gradient_norm": log_norm.numpy(),
            "growth_rate": rate.numpy(),
            "growth_rate_error": error.numpy(),
        },
        {
            "norm": [_label(order) for order in orders],
            "trajectory": np.arange(batch),
            "step": np.arange(1, total + 1),
        },
        provenance(config, dtype=map.dtype, device=map.device),
    )


def _states(map: RecurrentMap, drive: Drive) -> Tensor:
    """x_0, ..., x_T, shape (T+1, B, N)."""
    (stretch,) = run(map, drive, drive.steps)
    return torch.cat((stretch.states, stretch.after[None]))


def _direct_derivatives(
    map: RecurrentMap,
    read: Callable[[Tensor], Tensor],
    states: Tensor,
    targets: Any,
    loss: Loss,
    loss_on: str,
) -> tuple[float, Callable[[int], Tensor | None]]:
    """The loss, and its partial derivatives with respect to the states it reads."""
    with torch.enable_grad():
        seen = (states[-1] if loss_on == "last" else states[1:]).detach().requires_grad_()
        value = loss(read(map.output(seen)), targets)
        if not isinstance(value, Tensor) or value.numel() != 1:
            found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"loss must return a scalar tensor, got {found}; reduce it over the batch.")
        if not bool(torch.isfinite(value)):
            raise ValueError(f"the loss is {value.item()}; check outputs and targets.")
        if not value.requires_grad:
            raise ValueError("the loss does not depend differentiably on the states; check loss and readout.")
        (derivative,) = torch.autograd.grad(value.reshape(()), seen, materialize_grads=True)
    last = states.shape[0] - 1
    if loss_on == "last":
        return value.item(), lambda step: derivative if step == last else None
    return value.item(), lambda step: derivative[step - 1]


def _order(norm: float | str) -> float:
    try:
        order = float(norm)
    except (TypeError, ValueError):
        order = float("nan")
    if not order > 0:
        raise ValueError(f'a norm must be "inf" or a positive number, got {norm!r}.')
    return order


def _label(order: float) -> str:
    return f"{order:g}"

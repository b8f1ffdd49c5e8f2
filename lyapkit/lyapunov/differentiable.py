"""Compute Lyapunov exponents as a tensor that can be differentiated, for use in a loss."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from lyapkit.adapters import as_map
from lyapkit.checks.arguments import (
    check_dt,
    check_flag,
    check_interval,
    check_interval_of_run,
    check_k,
    inference_tensors_explained,
)
from lyapkit.checks.named_arguments import named_arguments
from lyapkit.checks.randomness import make_generator
from lyapkit.lyapunov.decomposition import (
    AGREEMENT,
    Decomposition,
    Refill,
    column_norms,
    decompose,
    random_refill,
    refill_seed,
    settle,
    suspicion,
)
from lyapkit.lyapunov.one_step import Effort
from lyapkit.lyapunov.qr import initial_frame
from lyapkit.recurrent_map import RecurrentMap
from lyapkit.tangents.along import TangentRun
from lyapkit.tangents.strategy import Carry
from lyapkit.trajectories.closed_loop import with_feedback
from lyapkit.trajectories.drive import Drive
from lyapkit.trajectories.networks import Networks
from lyapkit.trajectories.prepare_drive import first_states, prepare_drive
from lyapkit.trajectories.sequences import fill_padding, lies_batch_first, time_first


@named_arguments()
@inference_tensors_explained()
def lyapunov_exponents(
    model: object,
    inputs: Any = None,
    *,
    steps: int | None = None,
    k: int | None = None,
    initial_state: Tensor | None = None,
    lengths: Any = None,
    batch_first: bool | None = None,
    feedback: Callable[[Tensor], Tensor] | None = None,
    teacher_forcing: float = 0.0,
    transient: int = 0,
    qr_interval: int = 1,
    detach_state: bool = True,
    window: int | None = None,
    dt: float = 1.0,
    rng: torch.Generator | int | None = None,
    check: bool = True,
) -> Tensor:
    r"""Compute Lyapunov exponents of a recurrent map, differentiable in everything that its step depends on.

    The values equal those of `lyapkit.lyapunov_spectrum` with the same interval and frame. With the Jacobians
    :math:`J_t(\theta)` along the trajectory :math:`x_t(\theta)`,

    .. math:: J_t Q_{t-1} = Q_t R_t, \qquad \lambda_i = \frac{1}{T} \sum_{t=1}^{T} \log |(R_t)_{ii}|.

    The result is meant for a loss. Gradient flossing, for example, minimises :math:`\sum_i \lambda_i^2` before and
    during training, to push the leading exponents towards zero (Engelken, Gradient flossing: improving gradient descent
    through dynamic control of Jacobians, NeurIPS 2023). `torch.Tensor.backward` reaches the model's parameters, all
    other tensors that the step uses, and ``inputs``. Two arguments choose the derivative:

    - ``detach_state``: :math:`\theta` acts on :math:`J_t(\theta, x_t(\theta))` directly and through the trajectory. By
      default, :math:`x_t` is held fixed, and the second path is left out. On a chaotic trajectory, :math:`dx_t/d\theta`
      grows as :math:`e^{\lambda_1 t}`: after a few hundred steps, the full derivative is correct but useless. With
      ``detach_state=False``, the derivative is the full one, also with respect to ``initial_state``. It stays usable on
      short or fading trajectories.
    - ``window``: the frame :math:`Q_{t-1}` depends on :math:`\theta` through all steps before. The derivatives of
      single exponents need this; their sum over a full spectrum does not. With a window, frame and state are cut from
      the graph at the end of every ``window`` counted steps, as in truncated backpropagation through time. No value
      changes, and all counted steps contribute, but none looks further back than the start of its window. The frame
      forgets as :math:`e^{-(\lambda_i - \lambda_{i+1}) t}`, so windows that are longer than this lose little.

    Maps without forward-mode derivatives are differentiated row by row in reverse mode, N times per step.

    Args:
        model: Anything `lyapkit.as_map` takes.
        inputs: Inputs of a driven map, (T, M) for one sequence or (T, B, M) for many; or a PackedSequence.
        steps: Number of steps of an autonomous map.
        k: Number of leading exponents; all N by default.
        initial_state: Flat states (N,) or (B, N); the map's own by default.
        lengths: Number of steps of each of B sequences of unequal length, (B,) integers. Inputs after these steps are
            padding; they may be any numbers and change nothing.
        batch_first: True if inputs have the layout (B, T, M) instead of (T, B, M). The default is the module's own
            ``batch_first``.
        feedback: Function from the map's output to its next input, such as a readout. It closes the loop: the map then
            runs freely and takes ``steps`` instead of ``inputs``.
        teacher_forcing: Share a of the given inputs with ``feedback``; the input is a s_t + (1 - a) feedback.
        transient: Number of leading steps that settle state and frame; they are neither counted nor in the graph.
        qr_interval: Number of steps between QR decompositions. The error of derivatives grows with the condition number
            that the frame reaches in between; 1 is safest.
        detach_state: True to hold the trajectory fixed, see above.
        window: Number of counted steps over which derivatives look back, a multiple of ``qr_interval``; all by default.
        dt: Duration of a step; exponents are divided by it.
        rng: Generator or seed of the random initial frame when k < N (for k = N it is the identity).
        check: True to probe the map before the run, and its derivatives along the run, too. A training loop may pass
            False after its first iteration.

    Returns:
        Exponents in nats per step, or per unit time with ``dt``, shape (B, k), in the map's dtype; decomposed in
        float64. Each row is sorted descending. So derivatives are defined if exponents differ; if two are equal, they
        are those of one of the two orders. Under `torch.no_grad`, nothing is recorded.

    Raises:
        TypeError: If an argument is of the wrong kind (integer inputs, both or neither of inputs and steps).
        ValueError: If an argument is out of range, shapes or dtypes disagree, or the map cannot be differentiated.
        FloatingPointError: If the trajectory or the frame overflows, or a direction is annihilated, whose exponent is
            -inf and has no derivative; the message names step and trajectory.

    Example:
        >>> import lyapkit, torch
        >>> scale = torch.tensor([0.5, 2.0], dtype=torch.float64, requires_grad=True)
        >>> map = lyapkit.as_map(lambda x: scale * x, state=torch.ones(2, dtype=torch.float64))
        >>> exponents = lyapkit.lyapunov_exponents(map, steps=10)
        >>> exponents.detach().numpy().round(4).tolist()  # log 2, log 0.5
        [[0.6931, -0.6931]]
        >>> exponents.square().sum().backward()
        >>> scale.grad.numpy().round(4).tolist()  # 2 log(a) / a
        [-2.7726, 0.6931]
    """
    map = with_feedback(as_map(model), feedback, teacher_forcing)
    k = check_k(k, map.state_size)
    dt = check_dt(dt)
    interval = check_interval(qr_interval)
    check_flag("detach_state", detach_state)
    if window is not None:
        window = check_interval(window, "window")
        if window % interval:
            raise ValueError(
                f"window must be a multiple of qr_interval, since the graph is cut between decompositions; got "
                f"window={window} and qr_interval={interval}."
            )
    drive = prepare_drive(map, inputs, steps, initial_state, transient, lengths, batch_first)
    check_interval_of_run(interval, drive.steps)
    drive = _reattach(map, drive, inputs, initial_state, detach_state, lies_batch_first(map, batch_first))
    generator = make_generator(rng)
    frame = initial_frame(drive.state.shape[0], map.state_size, k, generator, drive.state.detach().double())
    run = TangentRun.recorded(map, drive, k, torch.float64, check=check, detach_state=detach_state, window=window)
    refill = random_refill(refill_seed(generator))
    growth = run.follow(lambda run: recorded_growth(run, frame, refill=refill, interval=interval, window=window))
    run.confirm()
    counted = (drive.last_steps - drive.transient).to(growth).unsqueeze(-1)
    exponents = growth / (counted * dt)
    return exponents.sort(dim=-1, descending=True, stable=True).values.to(map.dtype)


def recorded_growth(run: TangentRun, frame: Tensor, *, refill: Refill, interval: int, window: int | None) -> Tensor:
    """Return the sum of log |(R_t)_ii| over the counted steps, in the graph.

    Args:
        run: A recorded run; its transient steps settle state and frame without graph.
        frame: Orthonormal frame to start from, shape (B, N, k); its dtype is that of the QR.
        refill: Generator of the directions that replace those annihilated in the transient.
        interval: Number of steps between decompositions.
        window: Number of counted steps after which the frame is cut from the graph, as the run cuts the state.

    Returns:
        The sum, shape (B, k), with columns in the order of the frame.

    Raises:
        FloatingPointError: If state or frame are not finite, or a direction is annihilated.
    """
    drive = run.drive
    total = frame.new_zeros(frame.shape[0], frame.shape[-1])
    opening = _Opening(frame)
    for stretch, carry in run:  # of one step each
        done = stretch.start + 1
        frame = carry(frame, 0, 1)
        opening.carries.append(carry)
        if len(opening.carries) == interval or done in (drive.transient, drive.steps):
            _refuse_overflow(frame, done)
            settled = opening.settled(frame, refill)
            if done > drive.transient:
                if settled is not None:
                    _refuse_annihilation(settled, frame, done, len(opening.carries))
                frame, triangle = torch.linalg.qr(frame)  # Householder; its columns are independent
                log = triangle.diagonal(dim1=-2, dim2=-1).abs().log()  # (B, k)
                growing = drive.active(done - len(opening.carries))  # at the first step since the last decomposition
                total = total + (log if growing is None else torch.where(growing.unsqueeze(-1), log, 0.0))
            else:
                frame = torch.linalg.qr(frame).Q if settled is None else settled.q
            opening.follow(frame)
        if window is not None and done > drive.transient and (done - drive.transient) % window == 0:
            frame = frame.detach()
    return total


class _Opening:
    """The frame at the start of a window, and the steps of the window, which together give its Jacobian."""

    def __init__(self, frame: Tensor) -> None:
        self._fastest = torch.full_like(frame[:, :1, 0], -math.inf)  # (B, 1), log growth per step
        self._effort = Effort()
        self.follow(frame)

    def follow(self, frame: Tensor) -> None:
        """Begin the next window."""
        self._frame = frame.detach()
        self.carries: list[Carry] = []

    @torch.no_grad()
    def settled(self, pushed: Tensor, refill: Refill) -> Decomposition | None:
        """Return the settled directions of the window, or None if nothing is suspect."""
        pushed, steps = pushed.detach(), len(self.carries)
        diagonal = torch.linalg.qr(pushed).R.diagonal(dim1=-2, dim2=-1).abs()
        share = suspicion(pushed.dtype, pushed.shape[-2])
        floor = (steps * self._fastest).exp() * share
        self._fastest = torch.maximum(self._fastest, diagonal.amax(dim=-1, keepdim=True).log() / steps)
        if not bool(((diagonal <= share * column_norms(pushed)) | (diagonal <= floor)).any()):
            return None

        def jacobian() -> Tensor:
            frame = torch.eye(pushed.shape[-2], dtype=pushed.dtype, device=pushed.device).repeat(len(pushed), 1, 1)
            for carry in self.carries:
                frame = carry(frame, 0, 1)
            return frame

        return settle(decompose(pushed, floor), self._frame, jacobian, refill, self._effort)


def _reattach(
    map: RecurrentMap, drive: Drive, inputs: Any, initial_state: Any, detach_state: bool, batch_first: bool
) -> Drive:
    """Return the same drive, connected to the graphs of the given inputs and states; checking has detached it."""
    state, count = drive.state, 1 if drive.networks is None else len(drive.networks)
    batch = drive.state.shape[0] // count
    if not detach_state and (initial_state is None or isinstance(initial_state, Tensor)):
        state = first_states(map, initial_state, batch)
        state = state.clone(memory_format=torch.contiguous_format)
    live = drive.inputs
    if isinstance(inputs, Tensor | PackedSequence):
        given, _ = time_first(map, inputs, None, batch_first)
        live = (given if given.ndim == 3 else given.unsqueeze(1)).expand(-1, batch, -1)
        live = map.numbered(live, drive.steps, batch) if isinstance(map, Networks) else live
        live = live if drive.lengths is None else fill_padding(live, drive.lengths)
    return dataclasses.replace(drive, inputs=live, state=state)


def _refuse_overflow(frame: Tensor, step: int) -> None:
    finite = torch.isfinite(frame).flatten(start_dim=1).all(dim=-1)  # (B,)
    if not bool(finite.all()):
        trajectory = int((~finite).nonzero()[0])
        raise FloatingPointError(
            f"the tangent frame of trajectory {trajectory} is not finite after step {step}: choose a smaller "
            "qr_interval, or check the map's derivative there."
        )


@torch.no_grad()
def _refuse_annihilation(settled: Decomposition, pushed: Tensor, step: int, steps: int) -> None:
    among = f"step {step} or the {steps - 1} before" if steps > 1 else f"step {step}"
    gone = torch.isneginf(settled.log_growth)
    if bool(gone.any()):
        trajectory, direction = gone.nonzero()[0].tolist()
        remedy = f"ask for fewer exponents, k <= {direction}" if direction else "check the map's derivative there"
        if steps > 1:
            remedy = f"choose a smaller qr_interval, since it may be rounding that loses them, or {remedy}"
        raise FloatingPointError(
            f"tangent direction {direction + 1} of trajectory {trajectory} is annihilated by {among}: its exponent is "
            f"-inf and has no derivative; {remedy}."
        )
    plain = torch.linalg.qr(pushed.detach()).R.diagonal(dim1=-2, dim2=-1).abs().log()
    off = (plain - settled.log_growth).abs() > 1000 * AGREEMENT
    if bool(off.any()):
        trajectory, direction = off.nonzero()[0].tolist()
        raise FloatingPointError(
            f"tangent direction {direction + 1} of trajectory {trajectory} grows so much less than others at {among} "
            "that the decomposition loses it to rounding, with its derivative; choose a smaller qr_interval, or "
            f"ask for fewer exponents, k <= {direction}. lyapunov_spectrum finds its value."
        )

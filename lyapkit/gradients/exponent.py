"""The leading Lyapunov exponent over the same steps that a gradient travels."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from lyapkit.lyapunov.decomposition import Refill, random_refill, refill_seed
from lyapkit.lyapunov.qr import initial_frame, qr_growth
from lyapkit.lyapunov.uncertainty import MeanGrowth
from lyapkit.tangents.along import TangentRun
from lyapkit.trajectories.drive import Drive


def leading_exponent(
    run: TangentRun, window: tuple[int, int | None], *, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Compute the growth per step of a tangent vector along the same states, by Algorithm 1 with k = 1.

    Between x_t and x_{t+1} a gradient is multiplied by the transpose of the Jacobian that carries tangents. The steps
    that count are therefore those between the first and the last state of the window. Earlier steps only turn the
    tangent vectors, which all start in the same random direction.

    Args:
        run: The trajectory, with k = 1.
        window: Steps back in time (start, stop) of the states, start <= T - t < stop, where T is the length of each
            sequence. The whole sequence if ``stop`` is None.
        generator: Generator of the first direction.

    Returns:
        The exponent and its standard error, computed as in `lyapunov_spectrum`, nats per step, shape (B,) each. They
        are 0 and inf for a single state, and -inf and NaN if the vector is annihilated.
    """
    map, drive = run.map, run.drive
    frame = initial_frame(1, map.state_size, 1, generator, drive.state.double())  # one for all sequences
    seed = refill_seed(generator)
    exponent, error = torch.empty(2, drive.state.shape[0], dtype=torch.float64, device=drive.state.device)
    lengths = drive.last_steps.to(drive.state.device)
    for length in sorted(set(lengths.tolist())):
        chosen = lengths == length
        inputs = None if drive.inputs is None else drive.inputs[:length, chosen]
        part = Drive(drive.state[chosen], inputs, length, drive.transient, drive.offset)
        whole = window[0], window[1] or length
        exponent[chosen], error[chosen] = _of_equal_length(run, part, whole, frame, random_refill(seed))
    return exponent, error


def _of_equal_length(
    run: TangentRun, drive: Drive, window: tuple[int, int], frame: Tensor, refill: Refill
) -> tuple[Tensor, Tensor]:
    start, stop = window
    last, first = drive.steps - start, drive.steps - stop + 1
    batch = drive.state.shape[0]
    if last <= first:
        zero = torch.zeros(batch, dtype=torch.float64, device=drive.state.device)
        return zero, torch.full_like(zero, torch.inf)
    inputs = None if drive.inputs is None else drive.inputs[:last]
    drive = replace(drive, inputs=inputs, steps=last, transient=first)
    frame = frame.repeat(batch, 1, 1)
    part = TangentRun(run.map, drive, run.k, run.dtype, run.derivative)
    growth = part.follow(lambda part: qr_growth(part, frame, interval=None, refill=refill))
    means = MeanGrowth.of(growth.log_growth, growth.window)
    return means.mean[:, 0], means.errors().standard[:, 0]

"""The leading Lyapunov exponent over the very steps that a gradient travels."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from lyapkit.lyapunov.decomposition import Refill, random_refill, refill_seed
from lyapkit.lyapunov.interval import IntervalRule, replayable_steps
from lyapkit.lyapunov.qr import initial_frame, qr_growth
from lyapkit.lyapunov.uncertainty import MeanGrowth
from lyapkit.recurrent_map import RecurrentMap
from lyapkit.tangents import TangentStrategy, traced_where_it_pays
from lyapkit.tangents.carrying import step_bytes
from lyapkit.trajectories.drive import Drive


def leading_exponent(
    map: RecurrentMap,
    drive: Drive,
    window: tuple[int, int | None],
    *,
    tangents: TangentStrategy,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Growth per step of a tangent vector along the same states, by Algorithm 1 with k = 1.

    Between x_t and x_{t+1} a gradient is multiplied by the transpose of the Jacobian that carries tangents. So the
    steps that count are those between the first and the last state of the window; what comes before only turns the
    tangent vectors, which start in one random direction.

    Args:
        map: the map.
        drive: initial states and inputs.
        window: steps back in time (start, stop) of the states, start <= T - t < stop, T being the length of each
            sequence; all of it where ``stop`` is None.
        tangents: how tangents are carried.
        generator: for the first direction.

    Returns:
        The exponent and its standard error, as those of `lyapunov_spectrum`, nats per step, shape (B,) each; 0 and inf
        for a single state, -inf and NaN where the vector is annihilated.
    """
    frame = initial_frame(1, map.state_size, 1, generator, drive.state.double())  # for all, as if they were alone
    seed = refill_seed(generator)
    exponent, error = torch.empty(2, drive.state.shape[0], dtype=torch.float64, device=drive.state.device)
    lengths = drive.last_steps.to(drive.state.device)
    for length in sorted(set(lengths.tolist())):
        chosen = lengths == length
        inputs = None if drive.inputs is None else drive.inputs[:length, chosen]
        part = Drive(drive.state[chosen], inputs, length, drive.transient, drive.offset)
        whole = window[0], window[1] or length
        exponent[chosen], error[chosen] = _of_equal_length(map, part, whole, tangents, frame, random_refill(seed))
    return exponent, error


def _of_equal_length(
    map: RecurrentMap,
    drive: Drive,
    window: tuple[int, int],
    tangents: TangentStrategy,
    frame: Tensor,
    refill: Refill,
) -> tuple[Tensor, Tensor]:
    start, stop = window
    last, first = drive.steps - start, drive.steps - stop + 1
    batch = drive.state.shape[0]
    if last <= first:
        zero = torch.zeros(batch, dtype=torch.float64, device=drive.state.device)
        return zero, torch.full_like(zero, torch.inf)
    inputs = None if drive.inputs is None else drive.inputs[:last]
    drive = replace(drive, inputs=inputs, steps=last, transient=first)
    tangents, _ = traced_where_it_pays(map, drive, 1, torch.float64, tangents)
    frame = frame.repeat(batch, 1, 1)
    rule = IntervalRule.automatic(frame.dtype, k=1)
    rule.plan(last - first, replayable_steps(step_bytes(tangents, frame)))
    growth = qr_growth(map, drive, frame, tangents=tangents, rule=rule, refill=refill)
    means = MeanGrowth.of(growth.log_growth, growth.window)
    return means.mean[:, 0], means.errors().standard[:, 0]

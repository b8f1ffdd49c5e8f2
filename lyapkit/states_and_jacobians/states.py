"""The analysis `states`: the trajectories of a map, as a labelled result."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lyapkit.adapters import as_map
from lyapkit.checks.arguments import check_flag, check_interval
from lyapkit.checks.named_arguments import named_arguments
from lyapkit.checks.progress import progress_bar
from lyapkit.results import make_dataset, provenance
from lyapkit.states_and_jacobians.principal import principal_axes
from lyapkit.tangents.probe import probe_step
from lyapkit.trajectories.closed_loop import with_feedback
from lyapkit.trajectories.drive import Drive
from lyapkit.trajectories.prepare_drive import prepare_drive
from lyapkit.trajectories.repeated_steps import refuse_other_steps
from lyapkit.trajectories.stepping import run

STEPS_AT_ONCE = 256
"""Number of steps after which states are collected; they take a few MB for 100 units and 32 trajectories."""


@named_arguments()
def states(
    model: object,
    inputs: Any = None,
    *,
    steps: int | None = None,
    initial_state: Tensor | None = None,
    lengths: Any = None,
    batch_first: bool | None = None,
    trajectory_names: Collection[str | float] | None = None,
    feedback: Callable[[Tensor], Tensor] | None = None,
    teacher_forcing: float = 0.0,
    transient: int = 0,
    record_every: int = 1,
    check: bool = True,
    progress: bool = False,
) -> xr.Dataset:
    r"""Return the states of a recurrent map along its trajectories, and their principal axes.

    .. math:: x_t = f(x_{t-1}, s_t), \qquad t = 1, ..., T

    The state is the whole state of the network: h and c of an LSTM, all layers of a stack. `lyapkit.plots.state_space`
    draws it along its principal axes, and `lyapkit.fixed_points` takes the result as starts of its search.

    Args:
        model: Anything `lyapkit.as_map` takes.
        inputs: Inputs of a driven map, (T, M) for one sequence or (T, B, M) for many; or a PackedSequence.
        steps: Number of steps of an autonomous map.
        initial_state: Flat states x_0, (N,) or (B, N); the map's own by default.
        lengths: Number of steps of each of B sequences of unequal length, (B,) integers. Inputs after these steps are
            padding; they may be any numbers and change nothing.
        batch_first: True if inputs have the layout (B, T, M) instead of (T, B, M). The default is the module's own
            ``batch_first``.
        trajectory_names: A text or a number for each trajectory, such as the conditions of an experiment. They are the
            coordinate ``trajectory`` of the result, which counts from 0 by default, and plots show them.
        feedback: Function from the map's output to its next input, such as a readout. It closes the loop: the map then
            runs freely and takes ``steps`` instead of ``inputs``.
        teacher_forcing: Share a of the given inputs with ``feedback``; the input is a s_t + (1 - a) feedback.
        transient: Number of leading steps that are not recorded.
        record_every: Number of steps between recorded states; the last step of each sequence is always recorded.
        check: True to probe the map before the run (deterministic, pure, finite), and to repeat some of its steps
            afterwards.
        progress: True to show a progress bar.

    Returns:
        A Dataset over ``trajectory``, ``step``, ``unit`` and ``component``, in the units of the network.

        - ``state`` (trajectory, step, unit): x_t, in the type of the map. After the end of a shorter sequence, it stays
          constant; ``last_step`` (trajectory) is the step at which it ends.
        - ``initial_state`` (trajectory, unit): x_0, before the first step, whether or not this step is a transient one.
        - ``principal_axis`` (component, unit): orthonormal axes by descending variance of all recorded states, at most
          10, through ``mean_state`` (unit); ``explained_variance`` (component) is the part of the variance along each
          axis. A state has the coordinates ``(state - mean_state) . principal_axis``.

    Raises:
        TypeError: If an argument is of the wrong kind (integer inputs, both or neither of inputs and steps).
        ValueError: If an argument is out of range, shapes or dtypes disagree, or the map fails the probe.
        FloatingPointError: If the trajectory overflows; the message names step and trajectory.

    Example:
        >>> import lyapkit, torch
        >>> halving = lyapkit.as_map(lambda x: x / 2, state=torch.tensor([8.0, 0.0]))
        >>> ds = lyapkit.states(halving, steps=3)
        >>> ds.state.values.tolist(), ds.principal_axis[0].values.tolist()
        ([[[4.0, 0.0], [2.0, 0.0], [1.0, 0.0]]], [1.0, 0.0])
    """
    map = with_feedback(as_map(model), feedback, teacher_forcing)
    drive = prepare_drive(map, inputs, steps, initial_state, transient, lengths, batch_first, trajectory_names)
    at = recorded_steps(drive, record_every)
    if check_flag("check", check):
        probe_step(map, drive.state, drive.input_at(0))
    parts = []
    with progress_bar(drive.steps, "states", progress) as bar:
        for stretch in run(map, drive, STEPS_AT_ONCE):
            after = torch.cat((stretch.states[1:], stretch.after.unsqueeze(0)))
            parts.append(after[[step - stretch.start - 1 for step in at if 0 < step - stretch.start <= len(after)]])
            bar.update(len(after))
    if check:
        refuse_other_steps(map, drive.visited.visits)
    found = torch.cat(parts).transpose(0, 1)  # (B, L, N)
    # a sequence that has ended counts no more
    distinct = torch.tensor(at, device="cpu") <= drive.last_steps.unsqueeze(-1)
    principal = principal_axes(found[distinct.to(found.device)])
    config: dict[str, object] = {
        "steps": drive.steps,
        "transient": drive.transient,
        "record_every": record_every,
        "driven": map.input_size > 0,
        "feedback": feedback is not None,
        "teacher_forcing": teacher_forcing,
        "checked": check,
    }
    values = {
        "state": found,
        "initial_state": drive.state,
        "last_step": drive.last_steps,
        "principal_axis": principal.axes,
        "mean_state": principal.mean,
        "explained_variance": principal.part,
    }
    return make_dataset(
        "states",
        {name: value.cpu().numpy() for name, value in values.items()},
        {
            **drive.coordinates,
            "step": np.asarray(at),
            "unit": list(map.unit_names),
            "component": np.arange(1, len(principal.axes) + 1),
        },
        provenance(config, dtype=map.dtype, device=map.device),
    )


def recorded_steps(drive: Drive, record_every: int) -> list[int]:
    """Return the numbers of the steps to record, from 1: every so many after the transient, and the last of each.

    Raises:
        TypeError: If ``record_every`` is not an integer.
        ValueError: If it is below 1.
    """
    record_every = check_interval(record_every, "record_every")
    return sorted({*range(drive.transient + record_every, drive.steps + 1, record_every), *drive.last_steps.tolist()})

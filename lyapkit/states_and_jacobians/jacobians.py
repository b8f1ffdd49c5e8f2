"""The analysis `jacobians`: the derivatives of each step along a trajectory, as a labelled result."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lyapkit.adapters import as_map
from lyapkit.checks.arguments import check_flag
from lyapkit.checks.named_arguments import named_arguments
from lyapkit.checks.progress import progress_bar
from lyapkit.results import make_dataset, provenance
from lyapkit.states_and_jacobians.states import recorded_steps
from lyapkit.states_and_jacobians.step_jacobian import input_jacobian, sorted_eigenvalues
from lyapkit.tangents import TangentRun
from lyapkit.trajectories.closed_loop import with_feedback
from lyapkit.trajectories.drive import Drive, Stretch
from lyapkit.trajectories.prepare_drive import prepare_drive
from lyapkit.trajectories.stepping import run as stretches_of

STRETCH_BYTES = 32 * 2**20
"""Memory for Jacobians that are computed together."""


@named_arguments()
def jacobians(
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
    eigenvalues: bool = True,
    towards_input: bool = False,
    check: bool = True,
    progress: bool = False,
) -> xr.Dataset:
    r"""Return the Jacobian of each step along a trajectory, with its eigenvalues.

    .. math:: J_t = \frac{\partial f}{\partial x}(x_{t-1}, s_t), \qquad
              \frac{\partial f}{\partial s}(x_{t-1}, s_t) \quad \text{with towards\_input}

    Lyapunov exponents describe the product of these matrices; `lyapkit.lyapunov_spectrum` never keeps them all. To get
    the Jacobians at fixed points, pass the points as ``initial_state`` and ``steps=1``.

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
            runs freely and takes ``steps`` instead of ``inputs``. The Jacobians are those of the closed loop.
        teacher_forcing: Share a of the given inputs with ``feedback``; the input is a s_t + (1 - a) feedback.
        transient: Number of leading steps that are not recorded.
        record_every: Number of steps between recorded Jacobians; the last step of each sequence is always recorded. T
            Jacobians of N units and B sequences take 8 T B N^2 bytes in float64.
        eigenvalues: True to compute the eigenvalues of each Jacobian, too, by about 10 N^3 operations each.
        towards_input: True to compute the Jacobian with respect to the input, too.
        check: True to probe the map before the run and, afterwards, to repeat steps and check derivatives all over the
            run.
        progress: True to show a progress bar.

    Returns:
        A Dataset over ``trajectory``, ``step``, ``unit``, ``from_unit`` and ``eigenvalue``.

        - ``jacobian`` (trajectory, step, unit, from_unit): how component ``unit`` after step t changes with component
          ``from_unit`` before it, in the type of the map. After the end of a shorter sequence, no step is done and it
          is the identity; ``last_step`` (trajectory) is the step at which a sequence ends.
        - ``eigenvalue_real`` and ``eigenvalue_imag`` (trajectory, step, eigenvalue), float64, by descending magnitude.
          In a pair, the one with positive imaginary part comes first.
        - ``input_jacobian`` (trajectory, step, unit, input), with ``towards_input``; 0 after the end of a sequence.

    Raises:
        TypeError: If an argument is of the wrong kind, or if the map is autonomous and ``towards_input`` is given.
        ValueError: If an argument is out of range, shapes or dtypes disagree, the map fails the probe, or has changed.
        FloatingPointError: If the trajectory overflows or a derivative is not finite; the message names step and
            trajectory.

    Example:
        >>> import lyapkit, torch
        >>> turning = torch.tensor([[0.0, -0.5], [0.5, 0.0]])
        >>> map = lyapkit.as_map(lambda x: turning @ x, state=torch.zeros(2))
        >>> ds = lyapkit.jacobians(map, steps=1)
        >>> ds.jacobian.values.tolist(), ds.eigenvalue_imag.values.round(6).tolist()
        ([[[[0.0, -0.5], [0.5, 0.0]]]], [[[0.5, -0.5]]])
    """
    map = with_feedback(as_map(model), feedback, teacher_forcing)
    check_flag("eigenvalues", eigenvalues)
    if check_flag("towards_input", towards_input) and map.input_size == 0:
        raise TypeError("the map is autonomous (input_size 0), so there is no Jacobian towards an input; leave it out.")
    drive = prepare_drive(map, inputs, steps, initial_state, transient, lengths, batch_first, trajectory_names)
    at = recorded_steps(drive, record_every)
    batch, size = drive.state.shape
    run = TangentRun.prepare(map, drive, size, map.dtype, check=check)
    length = max(1, STRETCH_BYTES // (batch * size * size * drive.state.element_size()))
    found: list[Tensor] = []
    towards: list[Tensor] = []
    with progress_bar(drive.steps, "Jacobians", progress) as bar:
        for stretch in stretches_of(map, drive, length):
            chosen = [step - stretch.start - 1 for step in at if 0 < step - stretch.start <= len(stretch.states)]
            bar.update(len(stretch.states))
            if not chosen:
                continue
            before = stretch.states[chosen]
            given = None if stretch.inputs is None else stretch.inputs[chosen]
            ended = _ended(drive, stretch, chosen)
            matrices = run.derivative.jacobian(map, before, given)
            _refuse_infinite(matrices, stretch.start, chosen)
            identity = torch.eye(size, dtype=matrices.dtype, device=matrices.device)
            found.append(torch.where(ended, identity, matrices))
            if towards_input:
                assert given is not None, "only driven maps come here"
                matrices = input_jacobian(map, before, given)
                _refuse_infinite(matrices, stretch.start, chosen)
                towards.append(torch.where(ended, 0, matrices))
    run.confirm()
    jacobian = torch.cat(found).transpose(0, 1)  # (B, L, N, N)
    values = {"jacobian": jacobian, "last_step": drive.last_steps}
    coordinates: dict[str, Any] = {
        **drive.coordinates,
        "step": np.asarray(at),
        "unit": list(map.unit_names),
        "from_unit": list(map.unit_names),
    }
    if eigenvalues:
        roots = sorted_eigenvalues(jacobian)
        values |= {"eigenvalue_real": roots.real, "eigenvalue_imag": roots.imag}
        coordinates["eigenvalue"] = np.arange(1, size + 1)
    if towards_input:
        values["input_jacobian"] = torch.cat(towards).transpose(0, 1)
        coordinates["input"] = np.arange(map.input_size)
    config: dict[str, object] = {
        "steps": drive.steps,
        "transient": drive.transient,
        "record_every": record_every,
        "driven": map.input_size > 0,
        "feedback": feedback is not None,
        "teacher_forcing": teacher_forcing,
        **run.notes,
    }
    return make_dataset(
        "jacobians",
        {name: value.cpu().numpy() for name, value in values.items()},
        coordinates,
        provenance(config, dtype=map.dtype, device=map.device),
    )


def _ended(drive: Drive, stretch: Stretch, chosen: list[int]) -> Tensor:
    """Return true where a trajectory has ended before a step, shape (L, B, 1, 1)."""
    steps = torch.tensor(chosen, device=drive.state.device) + stretch.start
    return (drive.last_steps.to(steps.device) <= steps.unsqueeze(-1))[..., None, None]


def _refuse_infinite(matrices: Tensor, start: int, chosen: list[int]) -> None:
    finite = torch.isfinite(matrices).flatten(start_dim=2).all(dim=-1)  # (L, B)
    if not bool(finite.all()):
        index, trajectory = (~finite).nonzero()[0].tolist()
        raise FloatingPointError(
            f"the derivative of step {start + chosen[index] + 1} of trajectory {trajectory} is not finite, though the "
            "state is; check the map there, such as a square root or a norm at 0."
        )

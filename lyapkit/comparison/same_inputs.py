"""Checks that two networks can run on the same inputs, and the trajectories on which they do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from lyapkit.checks.arguments import check_integer
from lyapkit.checks.kinks import KinkWatch
from lyapkit.recurrent_map import RecurrentMap
from lyapkit.trajectories.drive import Drive
from lyapkit.trajectories.prepare_drive import prepare_drive
from lyapkit.trajectories.sequences import lies_batch_first
from lyapkit.trajectories.stepping import run
from lyapkit.trajectories.visited import Visited

NETWORKS = ("a", "b")

SUBSPACES = 3
"""Leading subspaces that are compared by default."""

STEPS_AT_ONCE = 256
"""Steps that are run before their states are kept."""


class NamedNetwork:
    """A context that names the network in the messages of errors raised inside.

    Args:
        name: Name of the network.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        """Enter the context."""

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        """Raise the error again, with the name in front."""
        if kind in (TypeError, ValueError, FloatingPointError):
            raise kind(f"network {self._name}: {error}") from error


def check_pair(name: str, value: Any, what: str) -> tuple[Any, Any]:
    """Return a pair, one for each network.

    Raises:
        TypeError: If it is not a pair.
    """
    if value is None:
        return None, None
    if not isinstance(value, tuple | list) or len(value) != 2:
        found = f"{len(value)} of them" if isinstance(value, tuple | list) else type(value).__name__
        raise TypeError(f"{name} must be a pair of {what}, one for a and one for b, got {found}.")
    return value[0], value[1]


def check_subspaces(value: int | None, k: int) -> int:
    """Return the largest number of leading vectors whose spans are compared.

    Raises:
        TypeError: If it is not an integer.
        ValueError: If it is outside 1..k.
    """
    if value is None:
        return min(SUBSPACES, k)
    value = check_integer("subspaces", value, "an integer or None")
    if not 1 <= value <= k:
        raise ValueError(f"subspaces must be between 1 and the number of exponents k = {k}, got {value}.")
    return value


def check_same_inputs(first: RecurrentMap, second: RecurrentMap, inputs: Any, batch_first: bool | None) -> bool:
    """Check that two maps can take the same inputs, and return whether these lie batch first.

    Raises:
        TypeError: If one of them is driven and the other autonomous.
        ValueError: If they have other numbers of inputs, types, devices or layouts of batches.
    """
    sizes = first.input_size, second.input_size
    if 0 in sizes and sizes != (0, 0):
        driven, free = NETWORKS if sizes[0] else reversed(NETWORKS)
        raise TypeError(
            f"network {driven} takes inputs and network {free} is autonomous, so that they cannot run on the same "
            "inputs; compare driven networks with each other, or close the loop of both with feedback=."
        )
    if sizes[0] != sizes[1]:
        raise ValueError(
            f"the networks must take the same inputs, but a has {sizes[0]} input components and b has {sizes[1]}; give "
            "them the encoder that makes one of the other with as_map(..., encoder=)."
        )
    for what in ("dtype", "device"):
        own, other = getattr(first, what), getattr(second, what)
        if own != other:
            raise ValueError(f"network a computes in {own} and b in {other}; convert one with .to().")
    swapped = [lies_batch_first(map, batch_first) for map in (first, second)]
    if swapped[0] != swapped[1] and inputs is not None and not isinstance(inputs, PackedSequence):
        layouts = ["(B, T, M), batch first" if each else "(T, B, M), time first" for each in swapped]
        raise ValueError(
            f"network a takes inputs {layouts[0]}, and b takes them {layouts[1]}; say how these inputs lie with "
            "batch_first=True or batch_first=False."
        )
    return swapped[0]


def prepare_drives(
    maps: tuple[RecurrentMap, RecurrentMap],
    inputs: Any,
    steps: int | None,
    initial_states: Any,
    lengths: Any,
    batch_first: bool,
    transient: int | None,
) -> tuple[Drive, Drive]:
    """Check the arguments that say what both maps go through.

    Args:
        maps: The maps, which take the same inputs.
        inputs: Inputs as `prepare_drive` takes them; None when autonomous.
        steps: Number of steps of autonomous maps.
        initial_states: A pair of initial states as `prepare_drive` takes them, or None.
        lengths: Steps of each of B sequences.
        batch_first: Three-dimensional inputs lie (B, T, M).
        transient: Leading steps that are not counted; None for a quarter of those of the shortest sequence.

    Raises:
        TypeError: If an argument is of the wrong kind; the message says for which network.
        ValueError: If an argument is out of range, or the numbers of trajectories differ.
    """
    drives = []
    for name, map, start in zip(NETWORKS, maps, check_pair("initial_states", initial_states, "states"), strict=True):
        with NamedNetwork(name):
            drive = prepare_drive(map, inputs, steps, start, 0, lengths, batch_first)
        drives.append(_with_transient(drive, transient))
    first, second = drives
    if len(first.state) != len(second.state):
        raise ValueError(
            f"initial_states start {len(first.state)} trajectories of a and {len(second.state)} of b; make them equal, "
            "as the comparison goes trajectory by trajectory."
        )
    return first, second


def _with_transient(drive: Drive, transient: int | None) -> Drive:
    shortest = int(drive.last_steps.min())
    transient = shortest // 4 if transient is None else check_integer("transient", transient, "an integer or None")
    if not 0 <= transient < shortest:
        raise ValueError(f"transient must be between 0 and {shortest - 1}, one step before the end, got {transient}.")
    return replace(drive, transient=transient, kinks=KinkWatch(transient, drive.steps))


@torch.no_grad()
def counted_states(map: RecurrentMap, drive: Drive) -> Tensor:
    """Return the states after each step that counts, shape (W, B, N), float64."""
    stretches = run(map, run_apart(drive), STEPS_AT_ONCE)
    after = [torch.cat((stretch.states[1:], stretch.after.unsqueeze(0))).double() for stretch in stretches]
    return torch.cat(after)[drive.transient :]


def run_apart(drive: Drive) -> Drive:
    """Return the same drive for another run, which keeps no states for the checks."""
    return replace(drive, visited=Visited(), kinks=None)


def counted_steps(drive: Drive) -> Tensor:
    """Return which trajectories do each step that counts, shape (W, B), on the CPU."""
    counted = torch.arange(drive.transient, drive.steps, device="cpu")
    return drive.last_steps > counted.unsqueeze(-1)

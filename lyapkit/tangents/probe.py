"""Check before and after a run that a map keeps the rules of the interface, and that its derivatives are right."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lyapkit.checks.clause import clause
from lyapkit.checks.draws import has_drawn
from lyapkit.checks.purity import HIDDEN_STATE, RANDOM_NUMBERS, ModuleWatch
from lyapkit.recurrent_map import RecurrentMap
from lyapkit.tangents.derivative_check import Derivatives, measure_derivatives, suspicion
from lyapkit.tangents.strategy import StepDerivative
from lyapkit.trajectories.drive import Drive
from lyapkit.trajectories.repeated_steps import COUPLED, refuse_other_steps, unlike


class Probe:
    """Compare the derivatives of a map with finite differences, at the start of a run and afterwards along it.

    Args:
        map: The map.
        drive: Initial states and inputs of the run.
        derivative: The derivative to check.
        check: True to refuse wrong derivatives, here and after the run.
        backwards: True to check backward derivatives, too.

    Raises:
        ValueError: If the derivative of the first step is not finite or wrong.
    """

    def __init__(
        self, map: RecurrentMap, drive: Drive, derivative: StepDerivative, check: bool, backwards: bool = False
    ) -> None:
        self._map, self._drive, self._derivative = map, drive, derivative
        self._check, self._backwards = check, backwards
        self.multiplications = math.inf
        if check:
            state, input = drive.first_step
            direction = torch.randn(state.shape, generator=torch.Generator("cpu").manual_seed(0), device="cpu")
            if not torch.isfinite(derivative.push(map, state, input, direction.to(state).unsqueeze(-1))).all():
                raise ValueError("the derivative of the first step is not finite; check the map at its initial state.")
            with torch.no_grad():
                after = map.step(state, input)
            drive.visited.take(state[None], None if input is None else input[None], after, drive.offset)
            measured = self._measured()
            measured.refuse_wrong()
            self.multiplications = measured.multiplications
            drive.visited.suspicion = suspicion(map, derivative)

    def after_run(self) -> dict[str, object]:
        """Check the map again at some states of the run.

        Returns:
            The outcome, for the provenance of a result. ``derivative_error`` is the largest relative deviation of a
            component from a finite difference, found at the step ``derivative_error_step``. They are -1 and 0 if no
            component could be compared. ``derivatives`` is "checked", "surrogate" (they deviate) or "unchecked".

        Raises:
            ValueError: If the map has changed since, if trajectories of a batch influence each other, or if derivatives
                are wrong; only with ``check``.
        """
        if self._check:
            refuse_other_steps(self._map, self._drive.visited.visits)
            measured = self._measured()
            measured.refuse_wrong()
            return measured.provenance()
        random_state = torch.get_rng_state()
        try:
            return self._measured().provenance()
        except Exception:  # a map that was not probed may raise anything
            return {"derivative_error": -1.0, "derivative_error_step": 0, "derivatives": "unchecked"}
        finally:
            torch.set_rng_state(random_state)

    def _measured(self) -> Derivatives:
        return measure_derivatives(self._map, self._drive.visited.visits, self._derivative, backwards=self._backwards)


def probe_step(map: RecurrentMap, state: Tensor, input: Tensor | None) -> None:
    """Check that a step is pure, deterministic and finite, has the right shape, and treats each trajectory by itself.

    Raises:
        TypeError: If a step does not return a tensor.
        ValueError: If the map fails one of the checks; the message says which and what to do.
    """
    random_state = torch.get_rng_state()
    given_state, given_input = state.clone(), None if input is None else input.clone()
    with torch.no_grad():
        with ModuleWatch(map) as watch:
            after = map.step(given_state, given_input)
        watch.refuse_changes()
        if not isinstance(after, Tensor):
            raise TypeError(f"the map must return its next state as one tensor, got {type(after).__name__}.")
        if not torch.equal(given_state, state):
            raise ValueError("the map changes its state argument in place; return a new tensor instead.")
        if given_input is not None and input is not None and not torch.equal(given_input, input):
            raise ValueError("the map changes its input argument in place; leave it as it is.")
        again = map.step(state.clone(), None if input is None else input.clone())
    if after.shape != state.shape or after.dtype != state.dtype:
        raise ValueError(
            f"the map must return a state of shape {tuple(state.shape)} and {state.dtype}, got {tuple(after.shape)} "
            f"and {after.dtype}."
        )
    if not torch.isfinite(after).all():
        raise ValueError("the first step gives a state that is not finite; check weights, inputs and state.")
    if has_drawn(random_state, lambda: map.step(state, input)):
        raise ValueError(RANDOM_NUMBERS)
    if not torch.equal(after, again):
        raise ValueError(HIDDEN_STATE)
    _probe_elsewhere(map, state, input, after)


@torch.no_grad()
def _probe_elsewhere(map: RecurrentMap, state: Tensor, input: Tensor | None, after: Tensor) -> None:
    """Check that trajectories do not influence each other, and that a step from another state leaves no trace.

    The second check finds hidden states that happen to stay constant at the given state, such as one that starts at
    zero and stays there.
    """
    first = state[:1]
    pair = torch.cat((first, first + 0.01 * (1 + first.abs().amax())))
    drive = None if input is None else input[:1].repeat(2, 1)
    try:
        together = map.step(pair, drive)
        alone = torch.cat([map.step(pair[i : i + 1], None if drive is None else drive[i : i + 1]) for i in range(2)])
    except RuntimeError as error:
        raise ValueError(
            f"the map takes {state.shape[0]} states at once, but not one or two: {clause(error)}. A step must take "
            "states with any leading dimensions, and keep nothing between calls. If the map is meant to be so, pass "
            "check=False."
        ) from error
    if not torch.equal(after, map.step(state.clone(), None if input is None else input.clone())):  # same memory layout
        raise ValueError(HIDDEN_STATE)
    if bool(unlike(map, pair, drive, together, alone).any()):
        raise ValueError(COUPLED)

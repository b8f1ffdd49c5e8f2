"""Check that a recurrent map keeps all promises of `RecurrentMap`: the suite that every adapter passes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lyapkit.cell_derivatives import AffineCell
from lyapkit.checks.named_arguments import named_arguments
from lyapkit.recurrent_map import RecurrentMap

OwnStep = Callable[[Tensor, Tensor | None], Tensor]


@named_arguments()
def check_map(map: RecurrentMap, own_step: OwnStep | None = None, *, seed: int = 0) -> None:
    """Check all promises of `RecurrentMap` at random states and inputs.

    Write one test with it for each kind of module that an adapter is for. It checks that

    - sizes, names, types, the initial state, the output and the readout fit together;
    - `RecurrentMap.step` equals the module's own, changes nothing, and gives the same result again;
    - states with any leading dimensions agree with states alone;
    - forward and backward derivatives agree with each other and with finite differences;
    - `RecurrentMap.parameters` are those that a step reads now, and their gradient agrees with finite differences;
    - `RecurrentMap.cell_derivatives`, if the map has them, give the same step and the same derivatives.

    Args:
        map: The map. In float64, the checks resolve about 1e-14 for steps and 1e-8 for derivatives. In float32, they
            find large mistakes only.
        own_step: The module's own step on batches of flat states (B, N) and inputs (B, M), or None for an autonomous
            map. Without it, the step is not compared with the module.
        seed: Seed of random states, inputs and directions. Take another seed if a step has a kink at these states.

    Raises:
        AssertionError: If a promise is broken. The message says which, with the numbers that differ.
        TypeError: If ``map`` is not a `RecurrentMap`.

    Example:
        >>> import torch
        >>> from lyapkit import as_map
        >>> from lyapkit.testing import check_map
        >>> cell = torch.nn.GRUCell(3, 5).double()
        >>> check_map(as_map(cell), own_step=lambda state, input: cell(input, state))
    """
    if not isinstance(map, RecurrentMap):
        raise TypeError(f"check_map takes a RecurrentMap, got {type(map).__name__}; make one with lyapkit.as_map.")
    suite = _Suite(map, seed)
    suite.check_description()
    suite.check_step(own_step)
    suite.check_leading_dimensions()
    suite.check_derivative()
    suite.check_parameters()
    cells = map.cell_derivatives()
    if cells is not None:
        suite.check_cells(list(cells))


class _Suite:
    """Checks of one map, at the same random states and inputs."""

    def __init__(self, map: RecurrentMap, seed: int) -> None:
        self.map = map
        self.generator = torch.Generator().manual_seed(seed)
        self.eps = torch.finfo(map.dtype).eps if map.dtype.is_floating_point else math.nan
        _holds(map.dtype in (torch.float32, torch.float64), f"dtype must be torch.float32 or float64, got {map.dtype}")
        self.rounding = 45 * self.eps  # 1e-14 in float64
        self.difference = 0.7 * math.sqrt(self.eps)  # 1e-8 in float64
        self.shift = self.eps ** (1 / 3)
        self.state = 0.5 * self.random(2, 3, map.state_size)
        self.input = self.random(2, 3, map.input_size) if map.input_size else None

    def random(self, *shape: int) -> Tensor:
        drawn = torch.randn(*shape, generator=self.generator, dtype=torch.float64, device="cpu")
        return drawn.to(dtype=self.map.dtype, device=self.map.device)

    def input_at(self, *place: int) -> Tensor | None:
        return None if self.input is None else self.input[place]

    def agree(self, found: Tensor, expected: Tensor, broken: str, *, rtol: float = 0.0, atol: float) -> None:
        """Raise an AssertionError that begins with the promise that is broken."""
        torch.testing.assert_close(found, expected, rtol=rtol, atol=atol, msg=lambda numbers: f"{broken}.\n{numbers}")

    def check_description(self) -> None:
        map = self.map
        _holds(map.state_size >= 1, f"state_size must be at least 1, got {map.state_size}")
        _holds(map.input_size >= 0, f"input_size must be at least 0, got {map.input_size}")
        names = list(map.unit_names)
        _holds(
            len(names) == len(set(names)) == map.state_size and all(isinstance(name, str) for name in names),
            f"unit_names must be {map.state_size} different texts, one for each state component, got {names}",
        )
        _holds(isinstance(map.batch_first, bool), f"batch_first must be True or False, got {map.batch_first!r}")
        initial = map.initial_state(4)
        _holds(
            initial.shape == (4, map.state_size),
            f"initial_state(4) must have shape (4, {map.state_size}), got {tuple(initial.shape)}",
        )
        _holds(
            (initial.dtype, initial.device) == (map.dtype, map.device),
            f"initial_state must be {map.dtype} on {map.device} like the map, got {initial.dtype} on {initial.device}",
        )
        with torch.no_grad():
            emitted = map.output(self.state)
            _holds(
                emitted.shape[:-1] == self.state.shape[:-1],
                f"output must keep the leading dimensions {tuple(self.state.shape[:-1])}, got {tuple(emitted.shape)}",
            )
            if map.readout is not None:
                map.readout(emitted[0])  # this raises if it does not fit
        rate = map.predicted_gradient_rate
        _holds(
            rate is None or isinstance(rate, float), f"predicted_gradient_rate must be a float or None, got {rate!r}"
        )

    def check_step(self, own_step: OwnStep | None) -> None:
        state, input = self.state[0].clone(), self.input_at(0)
        given = None if input is None else input.clone()
        with torch.no_grad():
            found = self.map.step(state, given)
            again = self.map.step(state, given)
        _holds(torch.equal(state, self.state[0]), "step must not change the state in place")
        _holds(given is None or input is None or torch.equal(given, input), "step must not change the input in place")
        _holds(torch.equal(found, again), "step must give the same result for the same arguments, and gave another")
        if own_step is not None:
            with torch.no_grad():
                own = own_step(self.state[0].clone(), None if input is None else input.clone())
            self.agree(found, own, "step differs from the module's own", rtol=self.rounding, atol=self.rounding)

    def check_leading_dimensions(self) -> None:
        with torch.no_grad():
            together = self.map.step(self.state, self.input)
            row = self.map.step(self.state[1], self.input_at(1))
            single = self.map.step(self.state[1, 2], self.input_at(1, 2))
        _holds(
            together.shape == self.state.shape,
            f"step of states of shape {tuple(self.state.shape)} must keep their shape, got {tuple(together.shape)}",
        )
        close = {"rtol": self.rounding, "atol": self.rounding}
        self.agree(together[1], row, "step of states (A, B, N) differs from step of (B, N)", **close)
        self.agree(row[2], single, "step of states (B, N) differs from step of one state (N,)", **close)

    def check_derivative(self) -> None:
        columns = []
        with torch.no_grad():
            for moved in self._directions():
                ends = [self.map.step(self.state[0] + sign * moved, self.input_at(0)) for sign in (1, -1)]
                columns.append((ends[0] - ends[1]) / (2 * self.shift))
        differences = torch.stack(columns, dim=-1)
        backward = self._backward()
        scale = max(1.0, float(backward.abs().max()))
        broken = "the derivative of step backwards (torch.autograd.grad) differs from differences of step"
        self.agree(backward, differences, broken, atol=self.difference * scale)
        try:
            forward = self._forward()
        except (NotImplementedError, RuntimeError):  # a custom function may lack a forward derivative
            return
        broken = "the derivative of step forwards (torch.func.jvp) differs from that backwards (torch.autograd.grad)"
        self.agree(forward, backward, broken, rtol=100 * self.rounding, atol=10 * self.rounding * scale)

    def _directions(self) -> Iterator[Tensor]:
        """Yield a small step along every unit, shape (3, N)."""
        for unit in range(self.map.state_size):
            direction = torch.zeros_like(self.state[0])
            direction[..., unit] = self.shift
            yield direction

    def _forward(self) -> Tensor:
        """Return the Jacobian of step column by column, shape (3, N, N)."""
        columns = []
        for direction in self._directions():
            ends = torch.func.jvp(
                lambda state: self.map.step(state, self.input_at(0)), (self.state[0],), (direction / self.shift,)
            )
            columns.append(ends[1])
        return torch.stack(columns, dim=-1)

    def _backward(self) -> Tensor:
        """Return the Jacobian of step row by row, shape (3, N, N)."""
        with torch.enable_grad():
            state = self.state[0].clone().requires_grad_()
            after = self.map.step(state, self.input_at(0))
            if not after.requires_grad:
                return torch.zeros(*state.shape, state.shape[-1], dtype=state.dtype, device=state.device)
            rows = []
            for unit in range(self.map.state_size):
                (row,) = torch.autograd.grad(after[:, unit].sum(), state, retain_graph=True, allow_unused=True)
                rows.append(torch.zeros_like(state) if row is None else row)
        return torch.stack(rows, dim=-2)

    def check_parameters(self) -> None:
        """Move all parameters along a random direction and back, and compare with the gradient."""
        map = self.map
        named = list(map.parameters())
        _holds(
            len({name for name, _ in named}) == len(named), f"parameters must have different names, got {list(named)}"
        )
        _holds(
            all(isinstance(tensor, nn.Parameter) for _, tensor in named),
            "parameters must yield pairs of a name and a torch.nn.Parameter",
        )
        tensors = list({id(tensor): tensor for _, tensor in named if tensor.requires_grad}.values())
        if not tensors:
            return
        state, input, weight = self.state[0], self.input_at(0), self.random(3, map.state_size)

        def total() -> Tensor:
            return (weight * map.step(state, input)).sum()

        directions = [self.random(*tensor.shape).reshape(tensor.shape) for tensor in tensors]
        with torch.enable_grad():
            result = total()
            gradients: Sequence[Tensor | None] = [None] * len(tensors)
            if result.requires_grad:
                gradients = torch.autograd.grad(result, tensors, allow_unused=True)
            own = {id(each) for each in map.readout.parameters()} if isinstance(map.readout, nn.Module) else set()
            if all(gradient is None for gradient in gradients) and not own >= {id(tensor) for tensor in tensors}:
                raise AssertionError(
                    "step does not depend on the parameters that `parameters` yields, or is detached from them; yield "
                    "those that it reads, or none."
                )
        slope = torch.zeros_like(result.detach())
        for gradient, direction in zip(gradients, directions, strict=True):
            if gradient is not None:
                slope += (gradient * direction).sum()
        values = [tensor.detach().clone() for tensor in tensors]
        ends = []
        try:
            for sign in (1, -1):
                with torch.no_grad():
                    for tensor, value, direction in zip(tensors, values, directions, strict=True):
                        tensor.copy_(value + sign * self.shift * direction)
                    ends.append(total())
        finally:
            with torch.no_grad():
                for tensor, value in zip(tensors, values, strict=True):
                    tensor.copy_(value)
        difference = (ends[0] - ends[1]) / (2 * self.shift)
        scale = max(1.0, float(weight.abs().sum()), abs(float(slope)))
        broken = (
            "the gradient of step towards its parameters differs from differences: step must read them at every call"
        )
        self.agree(torch.as_tensor(slope, device="cpu"), difference, broken, atol=10 * self.difference * scale)

    def check_cells(self, cells: list[AffineCell]) -> None:
        state, below = self.state[0], self.input_at(0)
        assert below is not None, "cells have inputs"
        after = []
        parts = torch.split(state, [cell.pointwise.components * cell.units for cell in cells], dim=-1)
        for cell, part in zip(cells, parts, strict=True):
            self._check_pointwise(cell)
            self._check_places(cell)
            components = part.reshape(*part.shape[:-1], -1, cell.units)
            augmented = torch.cat((components[:, 0], below, below.new_ones(3, 1)), dim=-1)
            preactivation = (augmented @ cell.weight.T).reshape(3, -1, cell.units)
            moved = cell.pointwise.advance(preactivation, components)
            below = moved[:, 0]
            after.append(moved.flatten(-2))
        with torch.no_grad():
            own = self.map.step(state, self.input_at(0))
        broken = "the step that cell_derivatives describes differs from step"
        self.agree(torch.cat(after, dim=-1).detach(), own, broken, rtol=10 * self.rounding, atol=self.rounding)

    def _check_pointwise(self, cell: AffineCell) -> None:
        """Compare first and second derivatives with automatic ones; where none is given, compare with zero."""
        pointwise, units = cell.pointwise, cell.units
        gates, components = pointwise.preactivations, pointwise.components
        arguments, adjoint = self.random(gates + components, units), self.random(components, units)
        tolerance = 1e-2 * self.difference  # 1e-10 in float64

        def update(values: Tensor) -> Tensor:
            return pointwise.advance(values[:gates], values[gates:])

        first, second = pointwise.linearise(arguments[:gates], arguments[gates:])
        automatic: Any = torch.autograd.functional
        jacobian = automatic.jacobian(update, arguments)  # (C, H, G+C, H)
        expected = torch.zeros_like(jacobian)
        for (component, argument), slope in first.items():
            expected[component, range(units), argument, range(units)] = slope.expand(units)
        broken = "the first derivatives of cell_derivatives differ from automatic ones"
        self.agree(expected, jacobian, broken, atol=tolerance)
        bends = automatic.hessian(lambda values: (adjoint * update(values)).sum(), arguments)
        expected = torch.zeros_like(bends)
        for (i, j), bend in second(adjoint).items():
            _holds(i <= j, f"second derivatives of cell_derivatives must be given for i <= j only, got ({i}, {j})")
            expected[i, range(units), j, range(units)] = bend.expand(units)
            expected[j, range(units), i, range(units)] = bend.expand(units)
        broken = "the second derivatives of cell_derivatives differ from automatic ones"
        self.agree(expected, bends, broken, atol=tolerance)

    def _check_places(self, cell: AffineCell) -> None:
        """Compare the trained rows with the sum of the parameters; check that other rows have no recurrent weights."""
        trained = torch.zeros_like(cell.weight)
        for place in cell.places:
            trained[place.rows, place.columns] += place.parameter.detach().reshape(len(place.rows), -1)
        rows = slice(cell.trained_rows)
        self.agree(trained[rows], cell.weight[rows], "the places of a cell do not hold its parameters", atol=0)
        recurrent = cell.weight[:, : cell.units].clone()
        recurrent[cell.recurrent_rows] = 0
        _holds(not bool(recurrent.any()), "rows outside of a cell's recurrent_rows must have no recurrent weights")


def _holds(condition: bool, promise: str) -> None:
    """Raise an AssertionError that names the promise, unless it is kept."""
    if not condition:
        raise AssertionError(f"{promise}.")

"""What every adapter must satisfy: one function per promise of `RecurrentMap`, run by one suite."""

from collections.abc import Callable

import torch
from torch import Tensor

from lyapkit import RecurrentMap
from lyapkit.cell_derivatives import AffineCell
from lyapkit.tangents import ForwardTangents, ReverseTangents


def check_map(map: RecurrentMap, own_step: Callable[[Tensor, Tensor | None], Tensor], *, seed: int = 0) -> None:
    """Check all promises.

    Args:
        map: the map under test, in float64.
        own_step: the module's own step on batches of flat states (B, N) and inputs (B, M) or None.
        seed: of the random states.
    """
    generator = torch.Generator().manual_seed(seed)
    state = 0.5 * torch.randn(2, 3, map.state_size, generator=generator, dtype=map.dtype)
    input = None
    if map.input_size:
        input = torch.randn(2, 3, map.input_size, generator=generator, dtype=map.dtype)
    check_description(map)
    check_step(map, own_step, state, input)
    check_leading_dimensions(map, state, input)
    check_derivative(map, state[0], None if input is None else input[0])


def check_description(map: RecurrentMap) -> None:
    assert len(map.unit_names) == map.state_size == len(set(map.unit_names))
    initial = map.initial_state(4)
    assert initial.shape == (4, map.state_size)
    assert (initial.dtype, initial.device) == (map.dtype, map.device)


def check_step(
    map: RecurrentMap, own_step: Callable[[Tensor, Tensor | None], Tensor], state: Tensor, input: Tensor | None
) -> None:
    """The step equals the module's own to rounding, and changes nothing."""
    before = state.clone()
    with torch.no_grad():
        mine = map.step(state[0], None if input is None else input[0])
        own = own_step(state[0], None if input is None else input[0])
    torch.testing.assert_close(mine, own, rtol=1e-14, atol=1e-14)
    assert torch.equal(state, before)


def check_leading_dimensions(map: RecurrentMap, state: Tensor, input: Tensor | None) -> None:
    """(N,), (B, N) and (A, B, N) agree."""
    with torch.no_grad():
        all_at_once = map.step(state, input)
        by_row = map.step(state[1], None if input is None else input[1])
        single = map.step(state[1, 2], None if input is None else input[1, 2])
    assert all_at_once.shape == state.shape
    torch.testing.assert_close(all_at_once[1], by_row, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(by_row[2], single, rtol=1e-14, atol=1e-14)


def check_derivative(map: RecurrentMap, state: Tensor, input: Tensor | None) -> None:
    """jvp against central differences in every direction, and forward against reverse mode."""
    forward = ForwardTangents().jacobian(map, state, input)
    step = 1e-6
    columns = []
    with torch.no_grad():
        for unit in range(map.state_size):
            shift = torch.zeros(map.state_size, dtype=map.dtype)
            shift[unit] = step
            columns.append((map.step(state + shift, input) - map.step(state - shift, input)) / (2 * step))
    torch.testing.assert_close(forward, torch.stack(columns, dim=-1), rtol=0, atol=1e-8)
    torch.testing.assert_close(forward, ReverseTangents().jacobian(map, state, input), rtol=1e-12, atol=1e-13)


def check_cells(map: RecurrentMap, *, seed: int = 0) -> None:
    """The registered cells make the map's step, and their derivatives are those of automatic differentiation."""
    cells = map.cell_derivatives()
    assert cells is not None
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=map.dtype)

    state, input = 0.5 * random(3, map.state_size), random(3, map.input_size)
    below, after = input, []
    parts = torch.split(state, [cell.pointwise.components * cell.units for cell in cells], dim=-1)
    for cell, part in zip(cells, parts, strict=True):
        check_pointwise(cell, random)
        check_places(cell)
        components = part.unflatten(-1, (-1, cell.units))
        augmented = torch.cat((components[:, 0], below, below.new_ones(3, 1)), dim=-1)
        preactivation = (augmented @ cell.weight.T).unflatten(-1, (-1, cell.units))
        moved = cell.pointwise.advance(preactivation, components)
        below = moved[:, 0]
        after.append(moved.flatten(-2))
    with torch.no_grad():
        torch.testing.assert_close(torch.cat(after, dim=-1), map.step(state, input), rtol=1e-13, atol=1e-14)


def check_pointwise(cell: AffineCell, random: Callable[..., Tensor]) -> None:
    """First and second derivatives to 1e-10, and zero wherever none is given."""
    pointwise, units = cell.pointwise, cell.units
    gates, components = pointwise.preactivations, pointwise.components
    arguments, adjoint = random(gates + components, units), random(components, units)

    def update(values: Tensor) -> Tensor:
        return pointwise.advance(values[:gates], values[gates:])

    first, second = pointwise.linearise(arguments[:gates], arguments[gates:])
    jacobian = torch.autograd.functional.jacobian(update, arguments)  # (C, H, G+C, H)
    expected = torch.zeros_like(jacobian)
    for (component, argument), slope in first.items():
        expected[component, range(units), argument, range(units)] = slope.expand(units)
    torch.testing.assert_close(jacobian, expected, rtol=0, atol=1e-10)
    bends = torch.autograd.functional.hessian(lambda values: (adjoint * update(values)).sum(), arguments)
    expected = torch.zeros_like(bends)
    for (i, j), bend in second(adjoint).items():
        assert i <= j
        expected[i, range(units), j, range(units)] = bend.expand(units)
        expected[j, range(units), i, range(units)] = bend.expand(units)
    torch.testing.assert_close(bends, expected, rtol=0, atol=1e-10)


def check_places(cell: AffineCell) -> None:
    """The trained rows hold the sum of the parameters, and rows said to be without recurrent weights are."""
    trained = torch.zeros_like(cell.weight)
    for place in cell.places:
        trained[place.rows, place.columns] += place.parameter.detach().reshape(len(place.rows), -1)
    torch.testing.assert_close(trained[: cell.trained_rows], cell.weight[: cell.trained_rows], rtol=0, atol=0)
    recurrent = cell.weight[:, : cell.units].clone()
    recurrent[cell.recurrent_rows] = 0
    assert not recurrent.any()

"""What every adapter must satisfy: one function per promise of `RecurrentMap`, run by one suite."""

from collections.abc import Callable

import torch
from torch import Tensor

from lyapkit import RecurrentMap
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

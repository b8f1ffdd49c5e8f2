"""Analyses choose PyTorch's threads by their operations, and leave their number as it was."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import lyapkit
from lyapkit.checks.double import InDouble
from lyapkit.checks.threads import WORTH_THREADS, threads_for

FINGERPRINT = 5
"""Steps of a fingerprint, which are few and keep their threads."""


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def noted(step: Callable[[Tensor], Tensor], seen: list[int]) -> Callable[[Tensor], Tensor]:
    def noting(x: Tensor) -> Tensor:
        seen.append(torch.get_num_threads())
        return step(x)

    return noting


def random_map(size: int, seen: list[int]) -> lyapkit.RecurrentMap:
    generator = torch.Generator().manual_seed(0)
    weight = 1.5 * torch.randn(size, size, generator=generator, dtype=torch.float64) / size**0.5
    start = torch.randn(size, generator=generator, dtype=torch.float64)
    return lyapkit.as_map(noted(lambda x: torch.tanh(weight @ x), seen), state=start)


ANALYSES = {
    "spectrum": lambda map: lyapkit.lyapunov_spectrum(map, steps=20, rng=0).lyapunov_exponent.values,
    "traced": lambda map: lyapkit.lyapunov_spectrum(map, steps=300, rng=0).lyapunov_exponent.values,
    "leading": lambda map: lyapkit.lyapunov_spectrum(map, steps=20, k=2, rng=0).lyapunov_exponent.values,
    "covariant": lambda map: lyapkit.covariant_vectors(map, steps=40, transient=10, rng=0).covariant_vector.values,
    "variational": lambda map: lyapkit.variational_term(map, steps=20).log_singular_value.values,
    "gradients": lambda map: (
        lyapkit.gradient_propagation(
            map,
            None,
            torch.zeros(1, map.state_size, dtype=torch.float64),
            steps=20,
            loss=nn.functional.mse_loss,
            readout=lambda x: x,
        ).log_gradient_norm.values
    ),
}


@pytest.mark.parametrize("name", ANALYSES)
def test_small_operations_have_one_thread_and_the_number_is_restored(name: str) -> None:
    seen: list[int] = []
    small = random_map(8, seen)
    seen.clear()
    ANALYSES[name](small)
    assert len(seen) > FINGERPRINT
    assert seen.count(2) <= FINGERPRINT
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("name", ANALYSES)
def test_numbers_do_not_depend_on_the_threads(name: str) -> None:
    found = ANALYSES[name](random_map(64, []))
    torch.set_num_threads(1)
    np.testing.assert_array_equal(found, ANALYSES[name](random_map(64, [])))
    assert torch.get_num_threads() == 1


def test_large_products_keep_their_threads() -> None:
    seen: list[int] = []
    lyapkit.lyapunov_spectrum(random_map(256, seen), steps=3)  # 256^3 is 1.7e7
    assert seen.count(2) > FINGERPRINT + 3
    assert torch.get_num_threads() == 2


def test_a_large_network_inside_a_small_map_keeps_its_threads() -> None:
    seen: list[int] = []
    torch.manual_seed(0)
    wide = nn.Sequential(nn.Linear(3, 2500), nn.Tanh(), nn.Linear(2500, 2500), nn.Tanh(), nn.Linear(2500, 3)).double()
    map = lyapkit.as_map(noted(lambda x: wide(x), seen), state=torch.zeros(3, dtype=torch.float64))
    seen.clear()
    lyapkit.lyapunov_spectrum(map, steps=3)  # three tangents times 2500^2 are 1.9e7
    assert seen.count(2) > FINGERPRINT + 3


def test_unchecked_maps_keep_their_threads() -> None:
    seen: list[int] = []
    map = random_map(8, seen)
    lyapkit.lyapunov_spectrum(map, steps=3, check=False)
    assert seen.count(2) > FINGERPRINT + 3


def test_the_number_is_restored_after_an_error() -> None:
    map = lyapkit.as_map(lambda x: 1e30 * x**3 + x, state=torch.ones(2, dtype=torch.float64))
    with pytest.raises((FloatingPointError, ValueError)):
        lyapkit.lyapunov_spectrum(map, steps=50)
    assert torch.get_num_threads() == 2
    seen: list[int] = []

    def fail() -> None:
        with threads_for(1):
            seen.append(torch.get_num_threads())
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert (seen, torch.get_num_threads()) == ([1], 2)


def test_threads_follow_the_work() -> None:
    with threads_for(WORTH_THREADS):
        assert torch.get_num_threads() == 2
    with threads_for(WORTH_THREADS - 1):
        assert torch.get_num_threads() == 1
        with threads_for(1e12):  # an analysis inside another does not take more than that one has
            assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (lambda: torch.ones(3, 5) @ torch.ones(5, 7), 3 * 5 * 7),
        (lambda: torch.ones(3, 5) @ torch.ones(5), 3 * 5),
        (lambda: torch.ones(5) @ torch.ones(5), 5),
        (lambda: torch.ones(2, 3, 5) @ torch.ones(2, 5, 7), 2 * 3 * 5 * 7),
        (lambda: nn.functional.linear(torch.ones(4, 5), torch.ones(7, 5), torch.ones(7)), 4 * 5 * 7),
        (lambda: torch.baddbmm(torch.ones(1), torch.ones(2, 3, 4), torch.ones(2, 4, 7)), 2 * 3 * 4 * 7),
        (lambda: nn.functional.conv1d(torch.ones(2, 3, 10), torch.ones(4, 3, 5)), 2 * 4 * 6 * 3 * 5),
        (lambda: torch.tanh(torch.ones(6, 7)), 42),
    ],
)
def test_multiplications_are_counted(operation: Callable[[], Tensor], expected: int) -> None:
    with InDouble() as mode:
        operation()
    assert mode.multiplications == expected

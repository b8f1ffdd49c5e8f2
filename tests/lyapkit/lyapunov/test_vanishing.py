"""Directions that vanish: in rotated coordinates, in some trajectories only, across interruptions, and in any state."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import lyapkit
from lyapkit import as_map, lyapunov_spectrum
from lyapkit.checks.kinks import kinked
from lyapkit.lyapunov import one_step
from lyapkit.tangents.strategy import jacobian_of

LENGTH, UNITS = 4, 5


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rotated_register(seed: int) -> tuple[lyapkit.RecurrentMap, Tensor]:
    """A network that reads a shift register, in coordinates in which no entry of the Jacobian is zero."""
    size = LENGTH + UNITS
    weight, rotation = numbers(UNITS, UNITS, seed=seed) / 2, torch.linalg.qr(numbers(size, size, seed=seed + 1000)).Q

    def step(x: Tensor, s: Tensor) -> Tensor:
        straight = rotation @ x
        buffer = torch.cat((straight[1:LENGTH], s))
        return rotation.T @ torch.cat((buffer, torch.tanh(weight @ straight[LENGTH:] + buffer.sum())))

    return as_map(step, state=torch.zeros(size).double(), input=torch.zeros(1).double()), numbers(120, 1, seed=seed)


@pytest.mark.slow
@pytest.mark.parametrize("k", [9, 7])
@pytest.mark.parametrize("seed", range(48))
def test_a_register_in_rotated_coordinates_is_minus_infinity_or_flagged(seed: int, k: int) -> None:
    map, inputs = rotated_register(seed)
    ds = lyapunov_spectrum(map, inputs, k=k, transient=50, qr_interval=1, rng=0)
    told = np.isneginf(ds.lyapunov_exponent[0, UNITS:]) | (ds.below_resolution[0, UNITS:] == 1)
    assert told.all()
    finite = np.isfinite(ds.lyapunov_exponent[0])
    assert (ds.standard_error[0][finite] != 0).all()
    assert np.isfinite(ds.lyapunov_exponent[0, : UNITS - 1]).all()


@pytest.mark.parametrize("k", [9, 6])
@pytest.mark.parametrize("seed", [8, 12, 13, 22])
def test_what_only_rounding_keeps_alive_is_flagged(seed: int, k: int) -> None:
    map, inputs = rotated_register(seed)
    ds = lyapunov_spectrum(map, inputs, k=k, transient=50, qr_interval=1, rng=0)
    assert (np.isneginf(ds.lyapunov_exponent[0, UNITS:]) | (ds.below_resolution[0, UNITS:] == 1)).all()


def test_networks_have_nothing_that_only_rounding_keeps_alive() -> None:
    weight = 2 * numbers(40, 40) / 40**0.5
    chaotic = as_map(lambda x: torch.tanh(weight @ x), state=numbers(40, seed=1))
    assert not lyapunov_spectrum(chaotic, steps=600, transient=100).below_resolution.any()
    torch.manual_seed(0)
    for module in (torch.nn.LSTM(3, 12, num_layers=2), torch.nn.GRU(3, 12), torch.nn.RNN(3, 12, nonlinearity="relu")):
        ds = lyapunov_spectrum(module.double(), numbers(300, 3), transient=20)
        assert not ds.below_resolution.any()
        assert not lyapunov_spectrum(module.double(), numbers(300, 3), k=4, rng=0).below_resolution.any()


def nested_register() -> lyapkit.RecurrentMap:
    weight = numbers(UNITS, UNITS) / 2

    def step(state: dict[str, Any], s: Tensor) -> dict[str, Any]:
        buffer, (h,) = state["buffer"], state["net"]
        buffer = torch.cat((buffer[1:], s))
        return {"buffer": buffer, "net": (torch.tanh(weight @ h + buffer.sum()),)}

    zeros = {"buffer": torch.zeros(LENGTH).double(), "net": (torch.zeros(UNITS).double(),)}
    return as_map(step, state=zeros, input=torch.zeros(1).double())


def reduced() -> lyapkit.RecurrentMap:
    """The network alone, of which the register's sums are the input."""
    weight = numbers(UNITS, UNITS) / 2
    return as_map(
        lambda h, s: torch.tanh(weight @ h + s), state=torch.zeros(UNITS).double(), input=torch.zeros(1).double()
    )


@pytest.mark.parametrize("interval", [1, 3, "auto"])
@pytest.mark.parametrize("k", [9, 8, 6, 5, 3, 1])
def test_a_register_has_the_exponents_of_what_reads_it(k: int, interval: int | str) -> None:
    inputs = numbers(500, 1)
    ds = lyapunov_spectrum(nested_register(), inputs, k=k, transient=300, qr_interval=interval, rng=0)
    sums = inputs.unfold(0, LENGTH, 1).sum(dim=-1)  # (T - 3, 1)
    padded = torch.cat((inputs[: LENGTH - 1].cumsum(0), sums))
    alone = lyapunov_spectrum(reduced(), padded, transient=300, qr_interval=1)
    count = min(k, UNITS)
    np.testing.assert_allclose(ds.lyapunov_exponent[0, :count], alone.lyapunov_exponent[0, :count], atol=1e-9)
    assert np.isneginf(ds.lyapunov_exponent[0, count:]).all()
    assert not ds.below_resolution.any()


def resets(at: list[int | None]) -> tuple[lyapkit.RecurrentMap, Tensor]:
    """Trajectories that grow by 1/2 and 1, of which some are reset, each at its step."""
    factors = torch.ones(200, len(at), 2, dtype=torch.float64)
    factors[..., 0] = 0.5
    for trajectory, step in enumerate(at):
        if step is not None:
            factors[step, trajectory] = 0
    two = torch.ones(2, dtype=torch.float64)
    return as_map(lambda x, s: s * x, state=two, input=two), factors


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("interval", [1, 3, "auto"])
@pytest.mark.parametrize("k", [1, 2])
def test_trajectories_are_annihilated_each_at_its_step(k: int, interval: int | str, dtype: torch.dtype) -> None:
    map, factors = resets([2, None, 49, 50, 120, 199])
    ds = lyapunov_spectrum(map, factors, k=k, transient=50, qr_interval=interval, rng=0, frame_dtype=dtype)
    gone = np.isneginf(ds.lyapunov_exponent).all("exponent")
    assert gone.values.tolist() == [False, False, False, True, True, True]
    tolerance = 1e-12 if dtype == torch.float64 else 1e-6
    for trajectory in range(2):
        np.testing.assert_allclose(ds.lyapunov_exponent[trajectory], [0, -math.log(2)][:k], atol=tolerance)
    late = ds.lyapunov_exponent[2]  # all is reset at the last step of the transient: as a run that starts there
    np.testing.assert_allclose(late, [0, -math.log(2)][:k], atol=tolerance if k == 2 else 5 / 150)
    np.testing.assert_allclose(ds.local_growth[2, -1], [0, -math.log(2)][:k], atol=tolerance)  # turned, if at random
    assert not ds.below_resolution.any()


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("cut", [60, 120, 121])
def test_an_interrupted_run_equals_one_that_is_not(cut: int, k: int) -> None:
    map, factors = resets([10, None, 120, 130])
    whole = lyapunov_spectrum(map, factors, k=k, transient=50, qr_interval=1, rng=0)
    first = lyapunov_spectrum(map, factors[:cut], k=k, transient=50, qr_interval=1, rng=0)
    both = lyapunov_spectrum(map, factors[cut:], resume=first, qr_interval=1)
    for name in ("lyapunov_exponent", "standard_error", "below_resolution", "running_exponent", "converged"):
        np.testing.assert_allclose(both[name], whole[name], atol=1e-12, err_msg=name)


def test_sequences_that_end_before_their_reset_keep_their_exponents() -> None:
    map, factors = resets([150, 150, None])
    ds = lyapunov_spectrum(map, factors, lengths=[200, 140, 200], transient=50, qr_interval=1)
    assert np.isneginf(ds.lyapunov_exponent).all("exponent").values.tolist() == [True, False, False]
    np.testing.assert_allclose(ds.lyapunov_exponent[1:], [[0, -math.log(2)]] * 2, atol=1e-12)


def test_a_stop_rule_ends_where_nothing_is_left() -> None:
    map = as_map(lambda x: torch.stack((0 * x[0], 0 * x[1])), state=torch.ones(2).double())
    ds = lyapunov_spectrum(map, until=1e-3, max_steps=100_000, check=False)
    assert np.isneginf(ds.lyapunov_exponent).all()
    assert ds.sizes["step"] < 5000
    assert ds.converged.item() == 0


def test_where_the_effort_ends_what_is_in_doubt_is_flagged(monkeypatch: pytest.MonkeyPatch) -> None:
    exponents = torch.tensor([1.0, 0.0, -20.0, -60.0], dtype=torch.float64)
    matrix = numbers(4, 4).triu(1) + torch.diag(exponents.exp())
    map = as_map(lambda x: matrix @ x, state=torch.zeros(4).double())
    resolved = lyapunov_spectrum(map, steps=120, transient=60, k=3, rng=0)
    np.testing.assert_allclose(resolved.lyapunov_exponent[0], exponents[:3], atol=1e-6)
    assert not resolved.below_resolution.any()
    monkeypatch.setattr(one_step.Effort, "spend", lambda self, milliseconds: False)
    rotation = torch.linalg.qr(numbers(4, 4, seed=5)).Q
    turned = as_map(lambda x: rotation @ (exponents.exp() * (rotation.T @ x)), state=torch.zeros(4).double())
    ds = lyapunov_spectrum(turned, steps=60, qr_interval=1)
    assert ds.below_resolution[0].values.tolist()[-1] == 1


def test_effort_is_reckoned_and_ends() -> None:
    effort = one_step.Effort()
    assert effort.spend(1500)
    assert not effort.spend(501)
    assert effort.spend(500)
    assert not effort.allows_elimination(4)
    assert not one_step.Effort().allows_integers(one_step.EXACT_SIZE + 1)


def test_a_tiny_state_is_beside_a_kink_at_zero_not_on_it() -> None:
    map = as_map(torch.relu, state=torch.ones(2).double())
    states = torch.tensor([[1e-120, 1e-3], [0.0, 1.0], [-1e-30, 1.0]], dtype=torch.float64)
    assert kinked(map, states, None).tolist() == [False, True, False]


FRAMES = {"leading": {"k": 2}, "full": {"k": 4}, "interval": {"k": 3, "qr_interval": 3}}


@pytest.mark.parametrize("frame", FRAMES)
def test_a_trajectory_does_not_depend_on_those_beside_it(frame: str) -> None:
    """Some of the others are reset, all at other steps."""
    weight, four = numbers(4, 4), torch.ones(4, dtype=torch.float64)
    map = as_map(lambda x, s: torch.tanh(weight @ (s * x)) + 0.1, state=four / 3, input=four)
    inputs = torch.ones(120, 5, 4, dtype=torch.float64)
    for trajectory, (step, width) in enumerate([(10, 4), (25, 4), (7, 2), (60, 3)]):
        inputs[step, trajectory, :width] = 0
    options = {"transient": 30, "rng": 0, "qr_interval": 1, **FRAMES[frame]}
    together = lyapunov_spectrum(map, inputs, **options)
    exact = lyapkit.lyapunov_exponents(map, inputs[:, :2], k=options["k"], transient=30, rng=0)
    for trajectory in range(5):
        alone = lyapunov_spectrum(map, inputs[:, trajectory], **options)
        np.testing.assert_allclose(
            alone.lyapunov_exponent[0], together.lyapunov_exponent[trajectory], atol=1e-11, err_msg=str(trajectory)
        )
        if trajectory < 2:
            np.testing.assert_allclose(exact[trajectory], alone.lyapunov_exponent[0], atol=1e-11)


def test_covariant_vectors_do_not_depend_on_trajectories_beside() -> None:
    weight, start = numbers(4, 4), numbers(3, 4, seed=1)
    map = as_map(lambda x: torch.tanh(weight @ x), state=start[0])
    options: dict[str, Any] = {"steps": 60, "transient": 20, "settle": 20, "rng": 0}
    together = lyapkit.covariant_vectors(map, initial_state=start, **options)
    for trajectory in range(3):
        alone = lyapkit.covariant_vectors(map, initial_state=start[trajectory], **options)
        for name in ("covariant_vector", "forward_difference", "backward_difference", "local_growth"):
            np.testing.assert_allclose(alone[name][0], together[name][trajectory], atol=1e-9, err_msg=name)


LONG = [
    # coordinates, components, of the register, k, transient, interval, steps, linear
    ("permuted", 23, 17, 23, 50, 3, 50, True),
    ("straight", 25, 13, 14, 20, 1, 1000, False),
    ("rotated", 33, 22, 33, 20, 1, 200, False),
    ("rotated", 38, 22, 28, 20, 1, 500, True),
    ("permuted", 38, 25, 38, 0, 1, 50, False),
    ("permuted", 40, 15, 40, 20, 1, 200, True),
]


@pytest.mark.parametrize(("coordinates", "size", "length", "k", "transient", "interval", "steps", "linear"), LONG)
def test_long_registers_are_minus_infinity_or_flagged(
    coordinates: str, size: int, length: int, k: int, transient: int, interval: int, steps: int, linear: bool
) -> None:
    units, seed = size - length, 13
    matrix = torch.zeros(size, size, dtype=torch.float64)
    matrix[: length - 1, 1:length] = torch.eye(length - 1)
    matrix[length:, length:] = numbers(units, units, seed=seed) / units**0.5
    matrix[length:, :length] = numbers(units, length, seed=seed + 50) / 2
    turn = {
        "straight": torch.eye(size).double(),
        "permuted": torch.eye(size).double()[torch.randperm(size, generator=torch.Generator().manual_seed(seed))],
        "rotated": torch.linalg.qr(numbers(size, size, seed=seed + 100)).Q,
    }[coordinates]

    def step(x: Tensor, s: Tensor) -> Tensor:
        y = matrix @ (turn @ x)
        buffer = torch.cat((y[: length - 1], y[length - 1 : length] + s))
        return turn.T @ torch.cat((buffer, y[length:] if linear else torch.tanh(y[length:])))

    map = as_map(step, state=numbers(size, seed=3), input=torch.zeros(1).double())
    inputs = numbers(transient + steps, 1, seed=seed)
    ds = lyapunov_spectrum(map, inputs, k=k, transient=transient, qr_interval=interval, rng=0)
    told = np.isneginf(ds.lyapunov_exponent[0]) | (ds.below_resolution[0] == 1)
    assert told[units:].all()
    assert not told[0]


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the size of every Jacobian that a run computes."""
    seen: list[int] = []

    def jacobian(push, frame):
        seen.append(frame.shape[-2])
        return jacobian_of(push, frame)

    monkeypatch.setattr("lyapkit.lyapunov.qr.jacobian_of", jacobian)
    return seen


def low_rank(size: int, rank: int) -> tuple[lyapkit.RecurrentMap, Tensor]:
    """A driven network whose weights have a low rank, so that every step annihilates most directions."""
    weight = 3 * numbers(size, rank, seed=1) @ numbers(rank, size, seed=2) / size
    zeros = torch.zeros(size).double()
    return as_map(lambda x, s: torch.tanh(weight @ x + s), state=zeros, input=zeros), numbers(100, size, seed=3)


def test_jacobians_are_not_computed_once_the_effort_is_spent(monkeypatch) -> None:
    """And the exponents are those that an endless effort finds."""
    map, inputs = low_rank(20, 4)
    endless = lyapunov_spectrum(map, inputs)
    seen = counted(monkeypatch)
    monkeypatch.setattr(one_step.Effort, "spend", lambda self, milliseconds: False)
    ds = lyapunov_spectrum(map, inputs)
    assert len(seen) == 1
    np.testing.assert_allclose(ds.lyapunov_exponent[0, :4], endless.lyapunov_exponent[0, :4], rtol=1e-10)
    assert np.isneginf(ds.lyapunov_exponent[0, 4:]).all()
    assert ds.below_resolution[0].values.tolist() == [0] * 4 + [1] * 16


def test_rows_of_zeros_are_looked_for_also_without_effort(monkeypatch) -> None:
    """A delay line: what its Jacobians annihilate is certain, whatever effort is left."""
    monkeypatch.setattr(one_step.Effort, "spend", lambda self, milliseconds: False)
    line = as_map(lambda x: torch.cat((x[1:], 0 * x[:1])), state=torch.zeros(5).double())
    ds = lyapunov_spectrum(line, steps=30)
    assert np.isneginf(ds.lyapunov_exponent).all()


@pytest.mark.parametrize("target", [None, 1e-9])
def test_the_effort_is_one_for_all_blocks_of_a_run(monkeypatch, target: float | None) -> None:
    """Blocks of a run that goes on until its error is small share what there is to spend."""
    spent: list[float] = []
    before = one_step.Effort.spend

    def spend(self: one_step.Effort, milliseconds: float) -> bool:
        enough = before(self, milliseconds)
        spent.append(milliseconds if enough else 0.0)
        return enough

    monkeypatch.setattr(one_step.Effort, "spend", spend)
    map, inputs = low_rank(40, 4)
    inputs = inputs.repeat(30, 1)  # 3,000 steps, in two blocks of at least 1,024
    lyapunov_spectrum(map, inputs, until=target)
    assert 1900 < sum(spent) <= 2000

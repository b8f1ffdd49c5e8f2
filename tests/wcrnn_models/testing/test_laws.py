"""The laws hold for right networks, fail for wrong ones with the numbers, and failures shrink to small networks."""

import math

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from lyapkit.testing import KnownMatrix, inputs
from wcrnn_models import WCRNN, baselines, residuals
from wcrnn_models.testing import assert_exponents_bounded, assert_scaling, residual_maps, wcrnns
from wcrnn_models.testing.strategies import wcrnn


class Doubled(WCRNN):
    """A network whose step couples twice as strongly as it says."""

    def _update(self, state, projected):
        return self.equation.advance(self.residual(state), self._driven(state, projected), 2 * self.coupling)


class Squared(WCRNN):
    """A network whose step couples with the root of the coupling."""

    def _update(self, state, projected):
        return self.equation.advance(self.residual(state), self._driven(state, projected), 0.1 * self.coupling.sqrt())


def random_inputs(steps: int, *shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(steps, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def network(kind: type[WCRNN] = WCRNN, size: int = 6, residual=None, **options) -> WCRNN:
    residual = residuals.scalar(0.9) if residual is None else residual
    return kind(1, size, 1, residual=residual, rng=0, **{"dtype": torch.float64, **options})


@given(st.data())
def test_any_network_keeps_to_its_bounds_under_any_input(data: st.DataObject) -> None:
    drawn = data.draw(wcrnns(forms=["linear", "A", "B"]))
    given_inputs = data.draw(inputs(drawn, max_steps=30, max_scale=100.0))
    assert_exponents_bounded(drawn, given_inputs)
    k = data.draw(st.integers(1, drawn.hidden_size))
    assert_exponents_bounded(drawn, given_inputs, k=k)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bounds_that_are_attained_are_kept_to_within_rounding(dtype: torch.dtype) -> None:
    """Uncoupled, R = r I attains both bounds of every rank, in either type."""
    model = network(residual=residuals.scalar(0.7), coupling=0.0, dtype=dtype)
    run = assert_exponents_bounded(model, random_inputs(40, 2, 1).to(dtype))
    np.testing.assert_allclose(run.lyapunov_exponent, math.log(0.7), atol=1e-6)


def test_annihilated_directions_keep_to_a_bound_of_minus_infinity() -> None:
    model = network(size=2, residual=residuals.diagonal(torch.tensor([0.5, 0.0]).double()), coupling=0.0)
    run = assert_exponents_bounded(model, random_inputs(20, 1))
    assert run.lyapunov_exponent.values[0, 1] == -math.inf


def test_a_network_that_breaks_its_bounds_is_refused_with_the_numbers() -> None:
    model = network(Doubled, coupling=0.3)
    with torch.no_grad():
        model.recurrent.weight.copy_(torch.eye(6))
        model.recurrent.bias.zero_()
        model.input.bias.zero_()
    with pytest.raises(AssertionError, match=r"exponents of Doubled(?s:.*)are out of their bounds") as caught:
        assert_exponents_bounded(model, 0 * random_inputs(50, 1))
    table = str(caught.value)[str(caught.value).index("trajectory  ") :].splitlines()
    assert table[0].split() == ["trajectory", "exponent", "found", "error", "lower", "bound", "upper", "bound"]
    row = table[1].split()
    assert float(row[2]) == pytest.approx(math.log(0.9 + 0.6), abs=1e-6)  # doubled
    assert float(row[5]) == pytest.approx(math.log(0.9 + 0.3), abs=1e-6)
    assert row[-1] == "outside"


def test_networks_without_bounds_are_refused() -> None:
    for model in (baselines.LSTM(1, 3, 1), baselines.S4D(1, 2, 1), torch.nn.RNN(1, 3)):
        with pytest.raises(TypeError, match=f"no bounds for the exponents of {type(model).__name__}"):
            assert_exponents_bounded(model, torch.zeros(5, 1))


LAWFUL = {
    "scalar": residuals.scalar(0.9),
    "rotation": residuals.rotation(0.7, r=0.9),
    "diagonal": residuals.diagonal(torch.tensor([0.95, 0.9, 0.8, 0.7, 0.6, 0.5]).double()),
    "orthogonal": residuals.orthogonal(0.9, rng=1),
    "non-normal": KnownMatrix(real=[0.95, 0.85, 0.7, -0.6, 0.5, 0.3], condition=5.0, seed=1).matrix,
}


@pytest.mark.parametrize("name", LAWFUL)
def test_exponents_approach_the_residual_in_proportion_to_the_coupling(name: str) -> None:
    run = assert_scaling(network(residual=LAWFUL[name]), random_inputs(1600, 1))
    assert 0.75 < run.attrs["order"] < 2.3
    assert run.distance.values[-1] < 0.02
    np.testing.assert_allclose(run.coupling, [0.04, 0.02, 0.01])
    assert run.lyapunov_exponent.dims == ("coupling", "trajectory", "exponent")


def test_couplings_of_single_units_keep_their_ratios() -> None:
    ratios = torch.linspace(0.5, 1.0, 6).double()
    model = network(coupling=0.3 * ratios)
    run = assert_scaling(model, random_inputs(300, 2, 1), couplings=[0.02, 0.01])
    same = assert_scaling(network(coupling=ratios), random_inputs(300, 2, 1), couplings=[0.02, 0.01])
    np.testing.assert_allclose(run.lyapunov_exponent, same.lyapunov_exponent, rtol=1e-12)
    torch.testing.assert_close(model.coupling, 0.3 * ratios, rtol=0, atol=0)


def test_a_network_without_recurrent_weights_is_exact() -> None:
    model = network()
    with torch.no_grad():
        model.recurrent.weight.zero_()
    assert assert_scaling(model, random_inputs(100, 1)).distance.values.max() < 1e-12


def test_a_coupling_that_enters_by_its_root_is_refused_with_the_numbers() -> None:
    with pytest.raises(AssertionError, match=r"like coupling\^0\.[45]\d, more slowly than coupling\^0\.75") as caught:
        assert_scaling(network(Squared), random_inputs(600, 1))
    lines = str(caught.value)[str(caught.value).index("coupling  ") :].splitlines()
    assert lines[0].split()[:3] == ["coupling", "distance", "distance/coupling"]
    first = lines[1].split()
    assert float(first[0]) == 0.04
    assert float(first[1]) / 0.04 == pytest.approx(float(first[2]), rel=1e-5)
    assert float(first[7]) == pytest.approx(math.log(0.9), abs=1e-6)


def test_a_defective_residual_is_refused() -> None:
    """Its exponents move by the cube root of the coupling."""
    known = KnownMatrix(jordan=[(0.9, 3)])
    with pytest.raises(AssertionError, match=r"like coupling\^-?0\.[0-5]"):
        assert_scaling(network(size=3, residual=known.matrix), random_inputs(2000, 1))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"network": baselines.LSTM(1, 3, 1)}, TypeError, "takes a WCRNN, got LSTM"),
        ({"couplings": [0.1, 0.1]}, ValueError, "at least two different positive numbers"),
        ({"couplings": [0.1, 0.0]}, ValueError, "at least two different positive numbers"),
        ({"network": network(residual=residuals.scalar(0.0))}, ValueError, "the residual has the eigenvalue 0"),
        ({"network": network(coupling=torch.zeros(6))}, ValueError, "the couplings of all units are 0"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        assert_scaling(**{"network": network(), "inputs": random_inputs(40, 1), **arguments})


@pytest.mark.slow
def test_a_wrong_network_shrinks_to_a_small_one_and_prints_its_numbers() -> None:
    drawn = []

    @settings(database=None, derandomize=True, max_examples=30, phases=(Phase.generate, Phase.shrink))
    @given(wcrnns(couplings=(0.1, 0.3)))
    def test_networks_that_say_half_of_their_coupling_keep_to_their_bounds(model: WCRNN) -> None:
        drawn.append(model)
        model.__class__ = Doubled
        with torch.no_grad():
            model.recurrent.weight.copy_(torch.eye(model.hidden_size))
        assert_exponents_bounded(model, torch.zeros(3, model.input_size).double())

    with pytest.raises(AssertionError, match="are out of their bounds") as caught:
        test_networks_that_say_half_of_their_coupling_keep_to_their_bounds()
    assert drawn[-1].hidden_size <= 3
    assert "lower bound" in str(caught.value)
    assert any("model=" in note for note in caught.value.__notes__)


@given(residual_maps(kinds=["scalar", "rotation", "orthogonal"], moduli=(0.6, 0.95), max_size=4))
@settings(max_examples=5)
def test_the_law_holds_for_normal_residuals_of_one_modulus(residual) -> None:
    """Distances over gamma differ by up to a factor of 2 between couplings; only a wide range shows the power."""
    assert_scaling(wcrnn(1, residual, 0.01, "linear", "tanh", 3), random_inputs(600, 1), couplings=[0.03, 0.001])

"""`lyapunov_spectrum` against closed forms, over every code path."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from lyapkit import as_map, lyapunov_spectrum, systems
from references import dense_jacobians, matrix_with_spectrum, random_orthogonal, sorted_log_magnitudes

SPECTRA = {
    "real": ([1.3, -0.9, 0.5, 0.2], []),
    "complex pairs": ([0.4], [(1.1, 0.7), (0.8, 2.0)]),
    "repeated": ([0.9, 0.9, 0.3, 0.3], []),
    "repeated pairs": ([], [(0.95, 0.3), (0.95, 1.1)]),
}


def linear(matrix):
    return as_map(lambda x: matrix @ x, state=torch.zeros(len(matrix), dtype=matrix.dtype))


def nested(matrix):
    def step(state):
        after = matrix @ torch.cat((state["a"], state["b"]))
        return {"a": after[:1], "b": after[1:]}

    return as_map(step, state={"a": torch.zeros(1).double(), "b": torch.zeros(len(matrix) - 1).double()})


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("path", ["plain", "nested", "leading k", "interval", "batched", "driven", "float32 frame"])
def test_constant_matrix(spectrum: str, path: str) -> None:
    matrix = matrix_with_spectrum(*SPECTRA[spectrum], seed=3, skew=3.0)
    expected = sorted_log_magnitudes(matrix)
    steps, options = 2000, {"transient": 500}
    tolerance = 2e-3  # a complex pair contributes its phase once: O(1/steps)
    if path == "nested":
        ds = lyapunov_spectrum(nested(matrix), steps=steps, **options)
    elif path == "driven":
        product = systems.MatrixProduct(len(matrix))
        ds = lyapunov_spectrum(product, matrix.reshape(1, -1).expand(steps, -1), **options)
    elif path == "batched":
        start = torch.zeros(3, len(matrix), dtype=torch.float64)
        ds = lyapunov_spectrum(linear(matrix), steps=steps, initial_state=start, **options)
        assert ds.sizes["trajectory"] == 3
    elif path == "leading k":
        ds = lyapunov_spectrum(linear(matrix), steps=steps, k=2, rng=0, **options)
        expected = expected[:2]
    elif path == "interval":
        ds = lyapunov_spectrum(linear(matrix), steps=steps, qr_interval=7, **options)
    elif path == "float32 frame":
        ds = lyapunov_spectrum(linear(matrix), steps=steps, frame_dtype=torch.float32, **options)
    else:
        ds = lyapunov_spectrum(linear(matrix), steps=steps, **options)
    for row in ds.lyapunov_exponent.values:
        np.testing.assert_allclose(row, expected, atol=tolerance)
    assert (np.diff(ds.lyapunov_exponent.values) <= 0).all()
    residual = {"float32 frame": 1e-4, "interval": 1e-10}.get(path, 1e-11)  # eps times the condition reached
    assert (ds.log_volume_residual.values < residual).all()


def test_real_spectrum_is_exact_after_the_transient() -> None:
    matrix = matrix_with_spectrum([1.3, -0.9, 0.5, 0.2], [], seed=3)
    ds = lyapunov_spectrum(linear(matrix), steps=400, transient=200)
    np.testing.assert_allclose(ds.lyapunov_exponent.values[0], sorted_log_magnitudes(matrix), atol=1e-13)
    np.testing.assert_allclose(ds.running_exponent.values[0, -1], ds.lyapunov_exponent.values[0], rtol=1e-12)


def test_jordan_block_converges_like_log_t_over_t() -> None:
    matrix = torch.tensor([[0.9, 0.0], [1.0, 0.9]], dtype=torch.float64)
    steps = 1000
    ds = lyapunov_spectrum(linear(matrix), steps=steps)
    # V_t = 0.9^t [[1, 0], [t/0.9, 1]]: the growth of e_1 is known exactly
    first = math.log(0.9) + 0.5 * math.log1p((steps / 0.9) ** 2) / steps
    np.testing.assert_allclose(ds.lyapunov_exponent.values[0], [first, 2 * math.log(0.9) - first], atol=1e-12)


@pytest.mark.parametrize("k", [5, 3, 1])
@pytest.mark.parametrize("interval", [1, 4])
def test_periodic_product_gives_floquet_exponents(k: int, interval: int) -> None:
    """Fails for a transposed or reversed product, whose exponents differ for a period of three."""
    period = [matrix_with_spectrum([1.5, 0.7, 0.3], [(1.0, 1.0)], seed=seed, skew=30.0) for seed in (10, 20, 30)]
    monodromy = period[2] @ period[1] @ period[0]
    expected = sorted_log_magnitudes(monodromy) / 3
    reversed_product = sorted_log_magnitudes(period[0] @ period[1] @ period[2]) / 3
    transposed = sorted_log_magnitudes(period[2].T @ period[1].T @ period[0].T) / 3
    torch.testing.assert_close(reversed_product, transposed)  # (A B C)' = C' B' A'
    assert (expected - transposed).abs().max() > 0.02
    inputs = torch.stack(period * 1200).reshape(3600, -1)
    ds = lyapunov_spectrum(systems.MatrixProduct(5), inputs, k=k, transient=600, qr_interval=interval, rng=1)
    np.testing.assert_allclose(ds.lyapunov_exponent.values[0], expected[:k], atol=1e-3)


@pytest.mark.parametrize("driven", [True, False])
def test_determinant_identity(driven: bool) -> None:
    """sum lambda = mean log |det J|, with Jacobians and determinants computed without lyapkit."""
    torch.manual_seed(0)
    size, steps = 12, 200
    weight = 1.5 * torch.randn(size, size).double() / size**0.5
    inputs = torch.randn(steps, size).double() if driven else None

    def step(x, s=None):
        return 0.8 * x + 0.2 * torch.tanh(weight @ x + (0 if s is None else s))

    start = torch.randn(size).double()
    if driven:
        ds = lyapunov_spectrum(as_map(step, state=start, input=inputs[0]), inputs)
    else:
        ds = lyapunov_spectrum(as_map(step, state=start), steps=steps)
    states = [start]
    for t in range(steps - 1):
        states.append(step(states[-1], inputs[t] if driven else None))
    jacobians = dense_jacobians(step, torch.stack(states), inputs)
    expected = torch.stack([torch.linalg.slogdet(jacobian).logabsdet for jacobian in jacobians]).mean()
    assert abs(float(ds.lyapunov_exponent.sum()) - float(expected)) < 1e-9


@pytest.mark.parametrize("size", [2, 5, 16])
def test_gaussian_products_follow_newman(size: int) -> None:
    """Means within statistics and, which tests the error bars, T Var(lambda_i) = trigamma((N-i+1)/2) / 4."""
    from scipy.special import polygamma

    steps, trials = 400, 60
    generator = torch.Generator().manual_seed(size)
    inputs = torch.randn(steps, trials, size * size, generator=generator, dtype=torch.float64) / size**0.5
    ds = lyapunov_spectrum(systems.MatrixProduct(size), inputs)
    exact = np.array(systems.gaussian_product_exponents(size, 1 / size))
    error = np.sqrt(np.array([polygamma(1, (size - i) / 2) / 4 for i in range(size)]) / steps)
    z = (ds.lyapunov_exponent.mean("trajectory").values - exact) / (error / math.sqrt(trials))
    assert np.abs(z).max() < 4
    spread = ds.lyapunov_exponent.std("trajectory", ddof=1).values / error
    np.testing.assert_allclose(spread, 1, atol=0.4)
    assert abs((spread**2).mean() - 1) < 0.3
    told = ds.error_reliable == 1
    assert told.mean() > 0.99
    estimated = ds.standard_error.where(told) / error
    if size > 2:
        np.testing.assert_allclose(np.sqrt((estimated**2).mean("trajectory")), 1, atol=0.15)
    # of 2 x 2 matrices, log |diag R| has a long tail: a run that begins with a rare small number says that it may be a
    # transient, by an error that is 8 times as large, which counts in a mean of squares and not in a median
    np.testing.assert_allclose(estimated.median("trajectory"), 1, atol=0.1 if size > 2 else 0.2)


@pytest.mark.parametrize("layer", [nn.GRUCell, nn.GRU])
def test_gru_without_recurrent_weights_forgets_at_its_update_gate(layer) -> None:
    torch.manual_seed(2)
    module = layer(3, 4).double()
    names = dict(module.named_parameters())
    recurrent = names["weight_hh" if layer is nn.GRUCell else "weight_hh_l0"]
    with torch.no_grad():
        recurrent.zero_()
    inputs = torch.randn(150, 3).double()
    suffix = "" if layer is nn.GRUCell else "_l0"
    gates = torch.sigmoid(
        inputs @ names["weight_ih" + suffix].T + names["bias_ih" + suffix] + names["bias_hh" + suffix]
    )
    expected = gates[:, 4:8].log().mean(0).sort(descending=True).values
    ds = lyapunov_spectrum(module, inputs)
    np.testing.assert_allclose(ds.lyapunov_exponent.values[0], expected.detach(), atol=1e-12)


@pytest.mark.parametrize("k", [8, 6, 2])
@pytest.mark.parametrize("layer", [nn.LSTMCell, nn.LSTM])
def test_lstm_without_recurrent_weights_forgets_at_its_forget_gate(layer, k: int) -> None:
    """The cell block gives the mean log forget gates, the hidden block is annihilated: 2H exponents, H of them -inf."""
    torch.manual_seed(3)
    module = layer(3, 4).double()
    names = dict(module.named_parameters())
    suffix = "" if layer is nn.LSTMCell else "_l0"
    with torch.no_grad():
        names["weight_hh" + suffix].zero_()
    inputs = torch.randn(150, 3).double()
    gates = torch.sigmoid(
        inputs @ names["weight_ih" + suffix].T + names["bias_ih" + suffix] + names["bias_hh" + suffix]
    )
    expected = gates[:, 4:8].log().mean(0).sort(descending=True).values.detach().numpy()
    expected = np.concatenate((expected, [-np.inf] * 4))[:k]
    transient = 0 if k == 8 else 50
    ds = lyapunov_spectrum(module, inputs, k=k, rng=0, transient=transient)
    if k == 8:
        np.testing.assert_allclose(ds.lyapunov_exponent.values[0], expected, atol=1e-12)
        assert np.isnan(ds.standard_error.values[0, 4:]).all()
        assert (ds.error_reliable.values[0, 4:] == 0).all()
        assert (ds.memory_timescale.values[0, 4:] == 0).all()
        assert ds.log_volume_residual.item() == 0
    else:
        assert (np.isinf(ds.lyapunov_exponent.values[0]) == np.isinf(expected)).all()
        tail = gates[50:, 4:8].log().mean(0).sort(descending=True).values.detach().numpy()[:k]
        finite = ds.lyapunov_exponent.values[0][np.isfinite(expected)]
        np.testing.assert_allclose(finite, tail, atol=0.03)  # a random frame takes a while to align


@pytest.mark.parametrize("system", [systems.henon, systems.logistic, systems.cat_map])
def test_reference_systems(system) -> None:
    reference = system()
    ds = lyapunov_spectrum(reference.map, steps=4000, transient=100)
    error = np.hypot(ds.standard_error.values[0], reference.uncertainty) + 1e-6
    deviation = ds.lyapunov_exponent.values[0] - np.array(reference.exponents)
    assert (np.abs(deviation) < 4 * error).all(), deviation / error
    assert (np.abs(deviation) < 0.03).all()  # and the error bars are not merely wide


def test_henon_volume_contracts_by_b() -> None:
    ds = lyapunov_spectrum(systems.henon().map, steps=500, qr_interval=1)
    assert float(ds.lyapunov_exponent.sum()) == pytest.approx(math.log(0.3), abs=1e-13)
    dimension = 1 + float(ds.lyapunov_exponent[0, 0]) / abs(float(ds.lyapunov_exponent[0, 1]))
    assert ds.kaplan_yorke_dimension.item() == pytest.approx(dimension, abs=1e-12)
    assert ds.entropy_rate.item() == pytest.approx(float(ds.lyapunov_exponent[0, 0]))


def test_cat_map_is_exact_to_rounding() -> None:
    ds = lyapunov_spectrum(systems.cat_map().map, steps=200, transient=50)
    np.testing.assert_allclose(ds.lyapunov_exponent.values[0], systems.cat_map().exponents, atol=1e-13)


def test_orthogonal_map_neither_grows_nor_fades() -> None:
    ds = lyapunov_spectrum(linear(random_orthogonal(6, 5)), steps=300)
    np.testing.assert_allclose(ds.lyapunov_exponent.values[0], 0, atol=1e-14)


def test_random_network_golden_value() -> None:
    """x' = J tanh x, N = 64, g = 3, numpy seed 0: 0.2679(10), 0.2416(9), 0.2145(9), mean -2.281554 over 6e4 steps."""
    random = np.random.RandomState(0)
    weight = torch.tensor(3 * random.randn(64, 64) / 8)
    start = torch.tensor(random.randn(64))
    ds = lyapunov_spectrum(as_map(lambda x: weight @ torch.tanh(x), state=start), steps=3000, transient=200)
    leading = ds.lyapunov_exponent.values[0, :3]
    error = np.hypot(ds.standard_error.values[0, :3], 1e-3)
    assert (np.abs(leading - [0.2679, 0.2416, 0.2145]) < 4 * error).all()
    assert (error < 0.012).all()
    batches = ds.local_growth.values[0].mean(axis=1).reshape(40, -1).mean(axis=1)
    mean_error = batches.std(ddof=1) / math.sqrt(40)
    assert mean_error < 0.02
    assert float(ds.lyapunov_exponent.mean()) == pytest.approx(-2.281554, abs=4 * mean_error)

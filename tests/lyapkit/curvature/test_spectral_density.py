"""Stochastic Lanczos quadrature: its exact moments, its measures, its error bands, and the analysis built on it."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from lyapkit import hessian_spectrum, load, save, spectral_density
from lyapkit.curvature.krylov.distribution import cumulated, cumulative_band, probe_error
from lyapkit.curvature.krylov.quadrature import Quadrature, lanczos_quadrature


def symmetric(values, seed: int = 0) -> Tensor:
    values = torch.as_tensor(values, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(len(values), len(values), generator=generator, dtype=torch.float64)).Q
    matrix = basis @ torch.diag(values) @ basis.T
    return (matrix + matrix.T) / 2


def unit(count: int, size: int, seed: int = 0) -> Tensor:
    rows = torch.randn(count, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return rows / rows.norm(dim=1, keepdim=True)


def quadrature(matrix: Tensor, starts: Tensor, order: int, known: Tensor | None = None) -> Quadrature:
    known = torch.zeros(0, len(matrix)).double() if known is None else known
    return lanczos_quadrature(lambda block: matrix @ block, starts, order, known)


def measure(matrix: Tensor, starts: Tensor) -> Quadrature:
    """The spectral measures themselves."""
    values, vectors = torch.linalg.eigh(matrix)
    weights = (starts @ vectors) ** 2
    return Quadrature(values.expand_as(weights), weights, torch.full((len(starts),), len(values)))


class Quadratic(nn.Module):
    """x'Ax / 2 at x = 0, whose Hessian is A."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.zeros(len(matrix), dtype=matrix.dtype))
        self.matrix = matrix

    def forward(self, inputs: Tensor) -> Tensor:
        return 0.5 * self.x @ self.matrix @ self.x


def density_of(matrix: Tensor, **options):
    data = (torch.zeros(1, dtype=matrix.dtype), torch.zeros(1, dtype=matrix.dtype))
    return spectral_density(Quadratic(matrix), data, lambda outputs, targets: outputs, **{"rng": 0, **options})


def trapezoid(values, positions) -> float:
    return float((0.5 * (values[1:] + values[:-1]) * np.diff(positions)).sum())


# --- quadrature


@pytest.mark.parametrize("order", [1, 2, 7])
def test_moments_are_exact_up_to_twice_the_order_and_no_further(order: int) -> None:
    matrix = symmetric(np.random.default_rng(0).standard_normal(60))
    starts = unit(5, 60)
    found = quadrature(matrix, starts, order)
    vectors = starts.clone()
    for j in range(2 * order + 1):
        exact = (starts * vectors).sum(dim=1)
        error = ((found.weights * found.nodes**j).sum(dim=1) - exact).abs()
        if j < 2 * order:
            assert error.max() < 1e-12 * 3**j
        else:
            assert error.min() > 1e-4
        vectors = vectors @ matrix


def test_weights_are_probabilities_and_nodes_lie_within_the_spectrum() -> None:
    matrix = symmetric(np.linspace(-2, 5, 80))
    found = quadrature(matrix, unit(6, 80), 20)
    assert bool((found.weights >= 0).all())
    torch.testing.assert_close(found.weights.sum(dim=1), torch.ones(6).double(), rtol=0, atol=1e-14)
    assert found.nodes.min() >= -2 - 1e-12
    assert found.nodes.max() <= 5 + 1e-12
    assert bool((found.nodes.diff(dim=1) > 0).all())


@pytest.mark.parametrize("rank", [0, 1, 4])
def test_few_distinct_eigenvalues_end_it_exactly(rank: int) -> None:
    values = torch.zeros(50).double()
    values[:rank] = torch.tensor([3.0, -2.0, 1.0, 0.5])[:rank]
    matrix, starts = symmetric(values), unit(3, 50)
    found = quadrature(matrix, starts, 30)
    assert found.steps.tolist() == [rank + 1] * 3  # and the null space
    exact = measure(matrix, starts)
    for probe in range(3):
        live = found.weights[probe] > 1e-12
        assert int(live.sum()) == rank + 1
        for node, weight in zip(found.nodes[probe][live], found.weights[probe][live], strict=True):
            near = (exact.nodes[probe] - node).abs() < 1e-10
            assert weight.item() == pytest.approx(exact.weights[probe][near].sum().item(), abs=1e-12)


def test_all_steps_give_the_measure_itself() -> None:
    matrix, starts = symmetric([100.0, 10.0, *np.linspace(-1, 1, 38)]), unit(4, 40)
    found, exact = quadrature(matrix, starts, 40), measure(matrix, starts)
    torch.testing.assert_close(found.nodes, exact.nodes.contiguous(), rtol=0, atol=1e-11)
    torch.testing.assert_close(found.weights, exact.weights, rtol=0, atol=1e-11)


def test_probes_do_not_know_of_each_other() -> None:
    """One of them ends early; the others go on as if alone."""
    matrix = symmetric(np.linspace(0, 1, 30))
    starts = torch.cat((unit(2, 30), torch.linalg.eigh(matrix).eigenvectors[:, 3:4].T))
    together = quadrature(matrix, starts, 8)
    assert together.steps.tolist() == [8, 8, 1]
    for probe in range(2):
        alone = quadrature(matrix, starts[probe : probe + 1], 8)
        torch.testing.assert_close(together.nodes[probe], alone.nodes[0], rtol=0, atol=1e-12)
        torch.testing.assert_close(together.weights[probe], alone.weights[0], rtol=0, atol=1e-12)


def test_the_complement_of_known_vectors() -> None:
    matrix = symmetric(np.linspace(-1, 4, 30))
    values, vectors = torch.linalg.eigh(matrix)
    known = vectors[:, -5:].T
    starts = unit(3, 30)
    starts = starts - (starts @ known.T) @ known
    starts = starts / starts.norm(dim=1, keepdim=True)
    found = quadrature(matrix, starts, 25, known)
    torch.testing.assert_close(found.nodes, values[:-5].expand(3, -1), rtol=0, atol=1e-11)


def test_a_product_that_is_not_finite_is_refused() -> None:
    with pytest.raises(FloatingPointError, match="not finite"):
        quadrature(torch.full((4, 4), math.nan).double(), unit(1, 4), 2)


# --- bands


@given(
    values=st.lists(st.floats(-3, 3).map(lambda x: round(x, 3)), min_size=1, max_size=30),
    order=st.integers(1, 12),
    seed=st.integers(0, 100),
)
def test_the_measure_lies_between_its_bounds(values, order, seed) -> None:
    matrix, starts = symmetric(values, seed), unit(3, len(values), seed + 1)
    found = quadrature(matrix, starts, min(order, len(values)))
    exact = measure(matrix, starts)
    points = torch.cat((exact.nodes[0], found.nodes.reshape(-1)))
    # on both sides of every node and eigenvalue, where the sums jump
    grid = torch.cat((points - 1e-6, points + 1e-6, torch.linspace(-4, 4, 41).double() + 5e-4)).sort().values
    ended = found.steps < found.nodes.shape[1]
    least, middle, most = cumulated(found, grid, ended)
    truth = (exact.weights[:, :, None] * (exact.nodes[:, :, None] <= grid)).sum(dim=1)
    assert bool((least <= truth + 1e-9).all())
    assert bool((truth <= most + 1e-9).all())
    assert bool((least <= middle).all())
    assert bool((middle <= most).all())


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_a_95_percent_band_covers_95_percent(part: float) -> None:
    """Of the probes' error alone: the measures are exact here."""
    size, trials = 200, 2000
    values = torch.arange(size).double()
    grid = torch.tensor([part * size - 0.5]).double()
    covered = 0
    for trial in range(trials):
        exact = Quadrature(values.expand(2, -1), unit(2, size, trial) ** 2, torch.full((2,), size))
        low, _, high = cumulative_band(exact, grid, torch.ones(2, dtype=torch.bool), torch.empty(0), size, 0.95)
        covered += bool(low[0] <= part <= high[0])
    assert covered / trials == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / trials))


def test_with_the_quadrature_s_error_the_band_covers_at_least_that() -> None:
    size = 150
    matrix = symmetric(np.random.default_rng(0).standard_normal(size) ** 3)
    exact = torch.linalg.eigvalsh(matrix)
    grid = torch.linspace(-3, 3, 25).double()
    truth = (exact <= grid[:, None]).double().mean(dim=1)
    none = torch.empty(0)
    covered, width = [], []
    for trial in range(60):
        found = quadrature(matrix, unit(4, size, trial), 20)
        low, centre, high = cumulative_band(found, grid, torch.zeros(4, dtype=torch.bool), none, size, 0.95)
        assert bool(((low <= centre) & (centre <= high)).all())
        covered.append(((low <= truth) & (truth <= high)).double().mean().item())
        width.append((high - low).mean().item())
    assert np.mean(covered) > 0.95
    assert np.mean(width) < 0.3  # and says something


def test_the_trace_and_its_error() -> None:
    """Hutchinson's estimate: unbiased, with the error it states."""
    size, trials = 60, 3000
    values = torch.linspace(-1, 3, size).double() ** 3
    scores = []
    for trial in range(trials):
        exact = Quadrature(values.expand(3, -1), unit(3, size, trial) ** 2, torch.full((3,), size))
        mean = (exact.weights * exact.nodes).sum(dim=1).mean()
        variance = (exact.weights * exact.nodes**2).sum(dim=1).mean() - mean**2
        scores.append(((size * mean - values.sum()) / (size * probe_error(variance, size, 3))).item())
    assert np.mean(scores) == pytest.approx(0, abs=5 / math.sqrt(trials))
    assert np.std(scores) == pytest.approx(1, abs=0.08)


# --- the analysis


def test_density_and_distribution_of_a_known_spectrum() -> None:
    values = np.concatenate((np.linspace(-1, 1, 60), np.linspace(2, 3, 60)))
    ds = density_of(symmetric(values), probes=6, order=60, kernel_width=0.1)
    grid = ds["value"].values
    assert ds.attrs["kernel_width"] == 0.1
    assert trapezoid(ds.density.values, grid) == pytest.approx(1, abs=1e-5)
    kernel = np.exp(-0.5 * ((grid[:, None] - values) / 0.1) ** 2) / (0.1 * math.sqrt(2 * math.pi))
    exact = kernel.mean(axis=1)
    error = np.abs(ds.density.values - exact)
    assert (error <= 4 * ds.density_standard_error.values + 1e-3).all()
    assert (error <= 2 * ds.density_standard_error.values + 1e-3).mean() > 0.8
    assert error.max() < 0.2 * exact.max()
    truth = (values <= grid[:, None]).mean(axis=1)
    inside = (ds.cumulative_distribution_low.values <= truth) & (truth <= ds.cumulative_distribution_high.values)
    assert inside.mean() > 0.95
    assert np.abs(ds.cumulative_distribution.values - truth).max() < 0.1
    assert abs(float(ds.trace) - values.sum()) < 3 * float(ds.trace_standard_error)
    assert ds.attrs["products"] == 6 * 60
    assert ds.attrs["gradient_equivalents"] > 0
    assert ds.sizes == {"probe": 6, "node": 60, "value": 1000}


def test_the_kernel_width_is_a_standard_deviation() -> None:
    """Of an operator with a single eigenvalue, one sees the kernel itself."""
    ds = density_of(2.0 * torch.eye(6).double(), probes=2, kernel_width=0.25, points=801)
    grid, density = ds["value"].values, ds.density.values
    assert density.max() == pytest.approx(1 / (0.25 * math.sqrt(2 * math.pi)))
    mean = trapezoid(grid * density, grid)
    assert mean == pytest.approx(2.0, abs=1e-3)
    assert math.sqrt(trapezoid((grid - mean) ** 2 * density, grid)) == pytest.approx(0.25, rel=1e-3)
    np.testing.assert_allclose(ds.density_standard_error, 0, atol=1e-6)
    assert float(ds.trace) == pytest.approx(12)
    assert float(ds.trace_standard_error) == pytest.approx(0, abs=1e-6)


def test_default_kernel_widths() -> None:
    matrix = symmetric(np.linspace(-1, 3, 90))
    ds = density_of(matrix, order=20)
    nodes = ds.quadrature_node.values
    assert ds.attrs["kernel_width"] == pytest.approx((nodes.max() - nodes.min()) / 20)
    assert density_of(matrix, order=20, scale="log").attrs["kernel_width"] == 0.1
    assert density_of(torch.zeros(5, 5).double()).attrs["kernel_width"] == 1 / 5  # no range to measure by


def test_the_logarithmic_scale_resolves_a_spike_at_zero() -> None:
    """A third of the spectrum at zero, the rest spread over three decades of either sign."""
    spread = np.logspace(-2, 1, 20)
    values = np.concatenate((spread, -spread, np.zeros(20)))
    ds = density_of(symmetric(values), probes=8, order=60, scale="log", linear_threshold=1e-5)
    grid, density = ds["value"].values, ds.density_per_decade.values
    assert "density" not in ds
    assert ds.attrs["linear_threshold"] == 1e-5
    position = np.arcsinh(grid / 2e-5) / math.log(10)
    np.testing.assert_allclose(np.diff(position), np.diff(position)[0], rtol=1e-6)  # evenly spaced
    assert trapezoid(density, position) == pytest.approx(1, abs=1e-4)
    middle, right, left = abs(position) < 1.5, position >= 1.5, position <= -1.5
    for side in (middle, right, left):
        assert trapezoid(density[side], position[side]) == pytest.approx(1 / 3, abs=0.06)
    flat = (grid > 0.05) & (grid < 2)
    assert density[flat].mean() == pytest.approx(20 / 60 / 3 * 20 / 19, rel=0.25)
    assert density_of(symmetric(values), scale="log").attrs["linear_threshold"] == pytest.approx(1e-3, rel=1e-6)


@pytest.mark.parametrize("given_result", [False, True])
def test_deflation_counts_the_leading_eigenvalues_exactly(given_result: bool) -> None:
    bulk = np.linspace(-1, 1, 97)
    matrix = symmetric([500.0, 80.0, -30.0, *bulk])
    deflate = 3
    if given_result:
        data = (torch.zeros(1).double(), torch.zeros(1).double())
        deflate = hessian_spectrum(
            Quadratic(matrix), data, lambda o, t: o, k=3, eigenvectors=True, rng=0, tolerance=1e-9
        )
    plain = density_of(matrix, probes=4, order=20)
    ds = density_of(matrix, probes=4, order=20, deflate=deflate, kernel_width=0.2, points=4000)
    np.testing.assert_allclose(ds.deflated_eigenvalue, [500, 80, -30], rtol=1e-9)
    assert abs(ds.quadrature_node.values).max() < 1.001
    np.testing.assert_allclose(ds.quadrature_weight.sum("node"), 1, rtol=1e-12)
    assert abs(float(ds.trace) - 550) < 4 * float(ds.trace_standard_error)
    assert float(ds.trace_standard_error) < 0.02 * float(plain.trace_standard_error)
    assert trapezoid(ds.density.values, ds["value"].values) == pytest.approx(1, abs=1e-3)
    for value, below in ((100.0, 0.99), (70.0, 0.98), (-10.0, 0.01)):
        there = ds.sel(value=value, method="nearest")
        assert float(there.cumulative_distribution) == pytest.approx(below, abs=1e-12)
        assert float(there.cumulative_distribution_low) <= below <= float(there.cumulative_distribution_high)
    assert float(ds.cumulative_distribution_low.isel(value=-1)) > 0.8
    assert json.loads(ds.attrs["config_json"])["deflated"] == 3


def test_deflation_that_does_not_converge_is_said(monkeypatch) -> None:
    monkeypatch.setattr("lyapkit.curvature.density.MOST_PRODUCTS", 0)
    with pytest.warns(UserWarning, match="did not converge within 4 products"):
        density_of(symmetric(np.linspace(-1, 1, 30)), deflate=2)


def test_a_network_against_its_dense_hessian(tmp_path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 2)).double()
    inputs, targets = torch.randn(20, 3).double(), torch.randn(20, 2).double()
    batches = [(inputs[:12], targets[:12]), (inputs[12:], targets[12:])]
    for operator in ("hessian", "ggn", "residual"):
        exact = hessian_spectrum(model, batches, mse_loss, operator=operator, k=38, rng=0).eigenvalue.values
        ds = spectral_density(model, batches, mse_loss, operator=operator, probes=3, order=100, rng=1)
        assert ds.sizes["node"] == 38  # no more steps than dimensions
        live = ds.quadrature_weight.values > 1e-9
        distance = np.abs(ds.quadrature_node.values[live][:, None] - exact).min(axis=1)
        assert distance.max() < 1e-8
        assert abs(float(ds.trace) - exact.sum()) < 4 * float(ds.trace_standard_error) + 1e-9
        np.testing.assert_array_equal(load(save(ds, tmp_path / "x.nc")).density, ds.density)
    again = spectral_density(model, batches, mse_loss, operator="residual", probes=3, order=100, rng=1, block_size=1)
    for name in ("density", "cumulative_distribution_low", "cumulative_distribution_high", "trace"):
        np.testing.assert_allclose(again[name], ds[name], rtol=1e-8)


def test_single_precision() -> None:
    values = np.concatenate(([50.0], np.linspace(0, 1, 99)))
    ds = density_of(symmetric(values).float(), probes=8, order=30)
    assert ds.attrs["dtype"] == "float32"
    assert ds.quadrature_node.values.max() == pytest.approx(50, rel=1e-5)
    truth = (values <= ds["value"].values[:, None]).mean(axis=1)
    assert (
        (ds.cumulative_distribution_low.values <= truth) & (truth <= ds.cumulative_distribution_high.values)
    ).mean() > 0.95


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (dict(probes=0), ValueError, "probes must be at least 1, got 0"),
        (dict(order=0), ValueError, "order must be at least 1, got 0"),
        (dict(points=1), ValueError, "points must be at least 2, got 1"),
        (dict(probes=2.5), TypeError, "probes must be an integer, got 2.5"),
        (dict(scale="symlog"), ValueError, '"linear" or "log", got \'symlog\''),
        (dict(linear_threshold=1.0), TypeError, 'belongs to scale="log"'),
        (dict(kernel_width=0.0), ValueError, "kernel_width must be a positive number or None, got 0.0"),
        (dict(kernel_width="wide"), ValueError, "kernel_width must be a positive number or None, got 'wide'"),
        (dict(linear_threshold=-1.0, scale="log"), ValueError, "linear_threshold must be a positive number"),
        (dict(confidence=1.0), ValueError, "confidence must be between 0 and 1, got 1.0"),
        (dict(confidence="high"), ValueError, "confidence must be between 0 and 1, got 'high'"),
        (dict(block_size=0), ValueError, "block_size must be at least 1, got 0"),
        (dict(operator="fisher"), ValueError, "hessian, ggn, residual, got 'fisher'"),
        (dict(memory_budget=-1), ValueError, "memory_budget must be a number of bytes of at least 0, got -1"),
        (dict(deflate=3), ValueError, "must be between 0 and 2, got 3"),
        (dict(deflate=-1), ValueError, "between 0 and 2, got -1"),
        (dict(deflate="two"), TypeError, "deflate must be an integer or a result of hessian_spectrum, got 'two'"),
    ],
)
def test_refusals_say_what_is_wrong(options, error, message) -> None:
    with pytest.raises(error, match=message):
        density_of(torch.eye(3).double(), **options)


def test_eigenvectors_of_something_else_are_not_deflated() -> None:
    model, data = nn.Linear(2, 1).double(), (torch.randn(5, 2).double(), torch.randn(5, 1).double())
    ds = hessian_spectrum(model, data, mse_loss, k=1, eigenvectors=True)
    with pytest.raises(ValueError, match="operator 'hessian', but the operator here is 'ggn'"):
        spectral_density(model, data, mse_loss, operator="ggn", deflate=ds)
    with pytest.raises(ValueError, match=r"parameters weight \[1, 2\], in this order, got one for weight .*, bi"):
        spectral_density(model, data, mse_loss, parameters=["weight"], deflate=ds)
    with pytest.raises(ValueError, match="with eigenvectors=True"):
        spectral_density(model, data, mse_loss, deflate=hessian_spectrum(model, data, mse_loss, k=1))

"""The O(gamma) law: what is measured against closed forms, and what is drawn against what was measured."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import xarray as xr

from figures import coupling_law as figure
from figures.experiments import coupling_law as experiment
from figures.experiments.coupling_law import EFFORT, RESIDUALS, STRENGTH, Effort, measure
from lyapkit.results import provenance
from training_results import files, footnote


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> xr.DataTree:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "WEAKEST", 1e-3)
        small = Effort(2, 6, 3, steps=0.25, fewest=250)
        return measure(tmp_path_factory.mktemp("runs"), progress=False, effort=small)


def test_three_instances_are_measured_of_blocks_of_two_units() -> None:
    assert (EFFORT.instances, EFFORT.units) == (3, 100)  # Jordan blocks and rotations are of size 2


@pytest.mark.parametrize("name", RESIDUALS)
def test_all_residuals_have_eigenvalues_of_the_same_magnitude(name: str) -> None:
    magnitudes = RESIDUALS[name](8, 0).build(8, dtype=torch.float64).log_magnitudes()
    np.testing.assert_allclose(magnitudes, math.log(STRENGTH), atol=1e-7)  # of Jordan blocks to sqrt(eps)


def test_condition_of_eigenvectors() -> None:
    for name in ("scalar", "rotation", "orthogonal"):
        assert experiment.eigenvector_condition(name, 0, 20) == pytest.approx(1, abs=1e-9)
    assert 10 < experiment.eigenvector_condition("non-normal", 0, 20) < 1.5 * experiment.CONDITION
    assert experiment.eigenvector_condition("defective", 0, 20) > 1e12


def test_mean_is_first_order_and_its_remainder_second(measured: xr.DataTree) -> None:
    dataset = measured["coupling_law"].to_dataset()
    assert dict(dataset.sizes) == {"residual": 5, "seed": 2, "coupling": 3, "exponent": 6, "law": 3}
    normal = dataset.sel(residual=["scalar", "rotation", "orthogonal"])
    np.testing.assert_allclose(normal.slope.sel(law="remainder"), 2, atol=0.02)
    weakest = dataset.isel(coupling=0)
    np.testing.assert_allclose(weakest.mean_deviation, weakest.first_order_mean, rtol=0.02)


def test_no_deviation_exceeds_its_bound(measured: xr.DataTree) -> None:
    dataset = measured["coupling_law"].to_dataset()
    deviation = abs(dataset.lyapunov_exponent - dataset.residual_log_magnitude)
    np.testing.assert_array_equal(deviation.max("exponent"), dataset.largest_deviation)
    assert bool((dataset.largest_deviation <= dataset.largest_bound).all())
    # for r I the first bound is log(1 + gamma |W| / r) above, and -log(1 - gamma |W| / r) below
    for seed in (0, 1):
        reach = float(
            torch.linalg.matrix_norm(experiment.build("scalar", 0.1, seed, 6).recurrent.weight.detach(), ord=2)
        )
        expected = -np.log1p(-dataset.coupling * reach / STRENGTH)
        np.testing.assert_allclose(dataset.largest_bound.sel(residual="scalar", seed=seed), expected, rtol=1e-9)


def test_first_order_term_is_the_derivative_of_the_mean_log_determinant() -> None:
    inputs = torch.from_numpy(np.random.default_rng(1).random((30, 1)))
    network = experiment.build("non-normal", 1e-6, 3, 6)
    state, growth = torch.zeros(6, dtype=torch.float64), 0.0
    for step, row in enumerate(inputs):
        jacobian = torch.autograd.functional.jacobian(lambda x, row=row: network.step(x, row), state)
        growth += float(torch.linalg.slogdet(jacobian).logabsdet) if step >= 10 else 0.0
        state = network.step(state, row).detach()
    expected = growth / 20 / 6 - math.log(STRENGTH)
    assert experiment.first_order_mean(network, inputs, 10) == pytest.approx(expected, rel=1e-4)


def test_stretches_of_the_trajectory_do_not_change_the_first_order_term(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = torch.from_numpy(np.random.default_rng(1).random((50, 1)))
    network = experiment.build("orthogonal", 0.05, 0, 6)
    whole = experiment.first_order_mean(network, inputs, 17)
    monkeypatch.setattr(experiment, "STRETCH", 7)
    assert experiment.first_order_mean(network, inputs, 17) == pytest.approx(whole, rel=1e-12)


def test_power_law() -> None:
    gamma = np.geomspace(1e-4, 1e-2, 5)
    slope, error = experiment.power_law(gamma, -3 * gamma**1.5)
    assert slope == pytest.approx(1.5)
    assert error < 1e-6
    noise = np.array([1.0, -1.0, 1.0, -1.0, 1.0]) * 0.1
    slope, error = experiment.power_law(gamma, gamma * np.exp(noise))
    x, residual = np.log(gamma) - np.log(gamma).mean(), noise - noise.mean()
    assert slope == pytest.approx(1 + x @ noise / (x @ x))
    left = residual - (slope - 1) * x
    assert error == pytest.approx(math.sqrt(left @ left / 3 / (x @ x)))


def synthetic(instances: int) -> xr.DataTree:
    gamma = np.geomspace(1e-4, 0.1, 4)
    shape = (5, instances, 4)
    scale = (1 + np.arange(5))[:, None, None] * (1 + np.arange(instances))[:, None]
    dataset = xr.Dataset(
        {
            "largest_deviation": (("residual", "seed", "coupling"), scale * gamma),
            "largest_error": (("residual", "seed", "coupling"), np.full(shape, 3e-6)),
            "mean_deviation": (("residual", "seed", "coupling"), -0.1 * scale * gamma),
            "mean_error": (("residual", "seed", "coupling"), np.full(shape, 1e-7)),
            "first_order_mean": (("residual", "seed", "coupling"), -0.1 * scale * gamma + gamma**2),
            "largest_bound": (("residual", "seed", "coupling"), np.broadcast_to(2 * gamma, shape)),
            "slope": (("residual", "seed", "law"), 1 + 0.1 * np.ones((5, 1, 3)) * np.arange(instances)[:, None]),
            "slope_error": (("residual", "seed", "law"), np.full((5, instances, 3), 0.02)),
            "eigenvector_condition": (("residual", "seed"), np.full((5, instances), 50.0)),
        },
        {
            "residual": list(RESIDUALS),
            "seed": range(instances),
            "coupling": gamma,
            "law": ["largest", "mean", "remainder"],
        },
        provenance({}, dtype=torch.float64, device=torch.device("cpu"))
        | {"units": 6, "strength": 0.8, "fitted_up_to": 0.01},
    )
    tree = xr.DataTree.from_dict({"coupling_law": dataset})
    tree.attrs = {"experiment": "coupling_law", "seeds": instances, "commit": "0123456789"}
    return tree


@pytest.mark.parametrize("instances", [1, 3])
def test_drawn_are_the_averages_with_errors_and_ranges(instances: int) -> None:
    drawn = figure.draw(files(coupling_law=synthetic(instances)))
    largest, mean, remainder = drawn.axes
    gamma = np.geomspace(1e-4, 0.1, 4)
    factor = np.mean(1 + np.arange(instances))
    scalar = largest.containers[0]
    np.testing.assert_allclose(scalar.lines[0].get_ydata(), factor * gamma)
    bars = np.array([segment[:, 1] for segment in scalar.lines[2][0].get_segments()])
    np.testing.assert_allclose(bars[:, 1] - bars[:, 0], 2 * 3e-6 / math.sqrt(instances), rtol=1e-6)
    np.testing.assert_allclose(mean.containers[4].lines[0].get_ydata(), 0.5 * factor * gamma)
    np.testing.assert_allclose(remainder.containers[2].lines[0].get_ydata(), gamma**2, rtol=1e-9)
    assert len(mean.collections) - 5 == 5 * (instances > 1)  # 5 sets of error bars
    (legend,) = drawn.legends
    assert [text.get_text() for text in legend.get_texts()] == [*RESIDUALS, "Weyl's bound, normal residuals"]
    np.testing.assert_allclose(largest.lines[-1].get_ydata(), 2 * gamma)
    assert legend.get_lines()[-1].get_linestyle() == largest.lines[-1].get_linestyle() == "--"
    for ax in drawn.axes:
        slopes = [text.get_text() for text in ax.get_legend().get_texts()]
        assert slopes == ["1.000 $\\pm$ 0.020" if instances == 1 else "1.100 $\\pm$ 0.058"] * 5
    assert all(ax.get_xscale() == ax.get_yscale() == "log" for ax in drawn.axes)
    assert "cond(V) = 50" in footnote(drawn)
    assert ("mean and range over seeds" in footnote(drawn)) == (instances > 1)
    assert "cancel" not in footnote(drawn)
    plt.close(drawn)


def test_legends_do_not_cover_the_data() -> None:
    drawn = figure.draw(files(coupling_law=synthetic(1)))
    drawn.canvas.draw()
    for ax in drawn.axes:
        legend = ax.get_legend().get_window_extent()
        for line in ax.lines:
            path = line.get_path().interpolated(20).transformed(line.get_transform())
            assert not any(legend.contains(*point) for point in path.vertices)
    plt.close(drawn)


@pytest.mark.parametrize(
    ("slope", "error", "text"),
    [
        (2.00022, 0.00051, "2.0002 $\\pm$ 0.0005"),
        (1, 0, "1.000 $\\pm$ 0.000"),
        (1, 0.001, "1.000 $\\pm$ 0.001"),
        (1, np.nextafter(0.001, 0), "1.000 $\\pm$ 0.001"),  # the last bit of an error changes nothing
        (1, 0.00096, "1.000 $\\pm$ 0.001"),
    ],
)
def test_powers_are_written_to_the_first_digit_of_their_error(slope: float, error: float, text: str) -> None:
    measured = xr.Dataset({"slope": ("seed", [slope]), "slope_error": ("seed", [error])})
    assert figure._slope(measured, figure._digits(measured)) == text


def test_powers_of_one_panel_have_equally_many_digits() -> None:
    tree = synthetic(1)
    tree["coupling_law"].slope_error[2, 0, 1] = 0.00002
    drawn = figure.draw(files(coupling_law=tree))
    slopes = [[text.get_text() for text in ax.get_legend().get_texts()] for ax in drawn.axes]
    even = ["1.00000 $\\pm$ 0.02000"] * 5
    even[2] = "1.00000 $\\pm$ 0.00002"
    assert slopes == [["1.000 $\\pm$ 0.020"] * 5, even, ["1.000 $\\pm$ 0.020"] * 5]
    plt.close(drawn)


def test_the_caption_explains_where_the_remainder_shrinks() -> None:
    tree = synthetic(1)
    dataset = tree["coupling_law"].to_dataset()
    dataset["first_order_mean"][4, 0, -1] = dataset.mean_deviation[4, 0, -1] - 1e-9
    tree["coupling_law"] = xr.DataTree(dataset)
    drawn = figure.draw(files(coupling_law=tree))
    caption = footnote(drawn)
    assert "C, defective: where it falls, terms of second and third order nearly cancel each other" in caption
    plt.close(drawn)


def test_of_the_defective_network_second_and_third_order_cancel_at_the_strongest_coupling() -> None:
    """The mean of log |det(1 + gamma A)| / N in powers of gamma, A = R^-1 D_t W, for the shipped network."""
    gamma, units = experiment.STRONGEST, 20
    network = experiment.build("defective", gamma, 0, units)
    inputs = torch.from_numpy(np.random.default_rng(0).random((1000, 1)))
    with torch.no_grad():
        before = torch.cat((inputs.new_zeros(1, units), network.states(inputs, inputs.new_zeros(units))[:-1]))
        slope = 1 - torch.tanh(network.recurrent(before) + network.input(inputs)) ** 2
        moved = torch.linalg.inv(network.residual.matrix()) @ (slope[333:, :, None] * network.recurrent.weight)
        traces = [float(torch.linalg.matrix_power(moved, k).diagonal(0, 1, 2).sum(1).mean()) for k in (2, 3)]
    second, third = -(gamma**2) * traces[0] / 2 / units, gamma**3 * traces[1] / 3 / units
    assert second < 0 < third
    assert abs(second + third) < 0.1 * third

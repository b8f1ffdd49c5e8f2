import numpy as np
import pytest
from analysis_results import gradient_propagation, hessian_spectrum, variational_term

from figures.claims import exponent_range, hessian_change, heterogeneity_effect, slopes
from training_results import result, training

R = [0.95, 1.0025]
GRID = {"seed": [0], "r": R, "checkpoint": [0, 100, 938]}
WIDTHS = [0.0, 0.04, 0.12]


def strengths(checkpoints=GRID["checkpoint"]):
    grid = {**GRID, "checkpoint": checkpoints}
    children = {
        "variational_term": variational_term(grid, exponents=4),
        "gradient_propagation": gradient_propagation(grid),
        "hessian_spectrum": hessian_spectrum(grid, ranks=3),
    }
    return result("residual_strength", children)


def test_the_hessian_changes_by_the_ratio_of_its_largest_magnitudes():
    tree = strengths()
    tree["hessian_spectrum"].eigenvalue.loc[{"r": 0.95}] = [[[-0.5, 0.25, 0.1], [9, 9, 9], [-0.1, 1.5, -1.0]]]
    change = hessian_change(tree, 0.95)
    assert (change.r, change.iterations, change.before, change.after) == (0.95, 938, 0.5, 1.5)
    assert change.ratio == 3.0
    assert change.median_ratio == 4.0
    other = tree["hessian_spectrum"].eigenvalue.sel(seed=0, r=1.0025)
    assert hessian_change(tree, 1.0025).ratio == abs(other[2]).values.max() / abs(other[0]).values.max()


def test_a_strength_without_analysis_is_refused():
    with pytest.raises(ValueError, match=r"r must be one of the analysed \[0.95, 1.0025\], got 0.97"):
        hessian_change(strengths(), 0.97)


@pytest.mark.parametrize("claim", [exponent_range, lambda tree: hessian_change(tree, 0.95)])
def test_changes_need_trained_networks(claim):
    with pytest.raises(ValueError, match="no checkpoint but that of iteration 0; analyse trained networks"):
        claim(strengths([0]))


def test_slopes_are_means_over_sequences_of_the_untrained_network():
    tree = strengths()
    gradients = tree["gradient_propagation"]
    gradients.growth_rate.loc[{"r": 0.95, "norm": "inf", "checkpoint": 0}] = [[-0.04, -0.05, -0.06]]
    gradients.growth_rate_error.loc[{"r": 0.95, "norm": "inf", "checkpoint": 0}] = [[0.001, 0.002, 0.006]]
    gradients.leading_exponent.loc[{"r": 0.95, "checkpoint": 0}] = [[-0.05, -0.05, -0.02]]
    gradients.leading_exponent_error.loc[{"r": 0.95, "checkpoint": 0}] = [[0.001, 0.001, 0.001]]
    found = slopes(tree)
    assert dict(found.sizes) == {"r": 2}
    assert set(found.coords) == {"r"}
    at = found.sel(r=0.95)
    assert float(at.growth_rate) == pytest.approx(-0.05)
    assert float(at.growth_rate_error) == pytest.approx(0.003)
    assert float(at.leading_exponent) == pytest.approx(-0.04)
    assert float(at.leading_exponent_error) == pytest.approx(0.001)
    np.testing.assert_allclose(found.log_r, [-0.05129329438755058, 0.0024968801985871466], rtol=1e-14)


def test_exponents_lie_around_log_r_before_and_after_training():
    tree = strengths()
    running = tree["variational_term"].running_exponent
    offsets = np.array([[0.004, 0.001, -0.002, -0.003], [0.001, 0.001, 0.001, -0.007]])  # (trajectory, exponent)
    for index, r in enumerate(R):
        running[0, index, 0, :, -1] = np.log(r) + offsets
        running[0, index, 2, :, -1] = np.log(r) - 2 * offsets
    found = exponent_range(tree)
    assert found.deviation.dims == ("r", "training")
    assert found.training.values.tolist() == ["before", "after"]
    np.testing.assert_allclose(found.lowest, [[-0.007, -0.008]] * 2, rtol=1e-12)
    np.testing.assert_allclose(found.highest, [[0.004, 0.014]] * 2, rtol=1e-12)
    np.testing.assert_allclose(found.deviation, [[0.007, 0.014]] * 2, rtol=1e-12)
    assert found.attrs == {"iterations": 938, "steps": 30}


def test_exponents_of_another_child():
    term = variational_term({**GRID, "checkpoint": [0, 5]}, exponents=4, rng=7)
    tree = result("adding_strength", {"variational_term_100": term})
    found = exponent_range(tree, "variational_term_100")
    expected = abs(term.running_exponent.isel(seed=0, step=-1, checkpoint=1).values - np.log(R)[:, None, None])
    np.testing.assert_allclose(found.deviation.sel(training="after"), expected.max((1, 2)), rtol=1e-12)


def test_an_annihilated_direction_is_infinitely_far():
    tree = strengths()
    tree["variational_term"].running_exponent[0, 0, 2, 1, -1, 3] = -np.inf
    assert np.isinf(exponent_range(tree).deviation).values.tolist() == [[False, True], [False, False]]


@pytest.fixture
def heterogeneous():
    untrained = {"seed": [0], "r": [0.96], "delta_r": WIDTHS, "checkpoint": [0]}
    children = {
        "training": training({"seed": [0, 1], "r": [0.96], "delta_r": WIDTHS}),
        "variational_term": variational_term(untrained, exponents=4),
        "gradient_propagation": gradient_propagation(untrained),
        "hessian_spectrum": hessian_spectrum(untrained, ranks=3),
    }
    return result("heterogeneity", children)


def test_heterogeneity_is_summed_up_by_its_width(heterogeneous):
    sweep = heterogeneous["training"]
    sweep.best_metric[:, 0] = [[0.2, 0.6, 0.1], [0.4, 0.7, 0.1]]
    sweep.iterations_to_minimal_performance[:, 0] = [[900, 100, 938], [700, 300, 938]]
    sweep.reached_minimal_performance[:, 0] = [[1, 1, 0], [0, 1, 0]]
    sweep.status[:, 0] = [["finished", "finished", "diverged"], ["finished", "finished", "diverged"]]
    found = heterogeneity_effect(heterogeneous)
    for name, values in (
        ("best_accuracy", [0.3, 0.65, 0.1]),
        ("best_accuracy_min", [0.2, 0.6, 0.1]),
        ("best_accuracy_max", [0.4, 0.7, 0.1]),
        ("iterations_to_minimal_performance", [800, 200, 938]),
        ("iterations_to_minimal_performance_min", [700, 100, 938]),
        ("iterations_to_minimal_performance_max", [900, 300, 938]),
        ("reached", [1, 2, 0]),
        ("diverged", [0, 0, 2]),
    ):
        np.testing.assert_allclose(found[name], values, rtol=1e-14, err_msg=name)
    assert found.attrs == {"seeds": 2, "r_0": 0.96}
    assert set(found.coords) == {"delta_r"}


def test_the_untrained_networks_are_summed_up_beside(heterogeneous):
    found = heterogeneity_effect(heterogeneous)
    first = {"seed": 0, "r": 0, "checkpoint": 0}
    last = heterogeneous["variational_term"].running_exponent.isel(first).isel(step=-1)
    np.testing.assert_array_equal(found.largest_exponent, last.values.max((1, 2)))
    rates = heterogeneous["gradient_propagation"].growth_rate.isel(first).sel(norm="inf")
    np.testing.assert_allclose(found.growth_rate, rates.values.mean(-1), rtol=1e-14)
    magnitudes = abs(heterogeneous["hessian_spectrum"].eigenvalue.isel(first).values)
    np.testing.assert_array_equal(found.largest_eigenvalue, magnitudes[:, 0])  # they fall with the rank
    np.testing.assert_array_equal(found.median_eigenvalue, magnitudes[:, 1])

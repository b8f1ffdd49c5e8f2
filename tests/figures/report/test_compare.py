import numpy as np
import pytest
import xarray as xr
from scipy import stats

from figures.report import compare
from figures.report.claim import NOT_TOLD_APART, TOO_FEW, WAITING
from figures.report.compare import AT_EDGE, DIVERGED, LEARNT_NOTHING, NEITHER_REACHED

SEEDS = [0, 1, 2]


def side(best, *, iterations=None, reached=None, status="finished", metric="accuracy", config="{}", edge=False):
    """Trainings over seed."""
    count = len(best)
    values = {
        "best_metric": ("seed", np.array(best, dtype=float)),
        "iterations_to_minimal_performance": ("seed", np.array(iterations or [100] * count, dtype=float)),
        "reached_minimal_performance": ("seed", np.array(reached or [1] * count, dtype=float)),
        "status": ("seed", [status] * count if isinstance(status, str) else status),
        "rate_at_edge": ("seed", [edge] * count),
    }
    return xr.Dataset(values, {"seed": SEEDS[:count]}, {"metric_name": metric, "config_json": config})


def test_accuracies_are_compared_in_points_over_pairs():
    one, other = side([0.9, 0.8, 0.95]), side([0.7, 0.65, 0.72])
    check = compare.performance("a", one, other)
    expected = stats.ttest_rel(one.best_metric, other.best_metric).confidence_interval(0.95)
    assert check.holds
    assert check.interval == f"{100 * expected.low:+.1f} to {100 * expected.high:+.1f} points"
    assert "88.3 % and 69.0 %" in check.measured
    assert compare.performance("a", other, one).holds is False
    assert compare.performance("a", other, one, fair=False).holds is None


def test_networks_whose_rate_is_the_lowest_or_highest_tried_cannot_be_found_worse():
    good, bad = side([0.9, 0.8, 0.95], iterations=[100, 110, 120]), side([0.7, 0.65, 0.72], iterations=[200, 250, 230])
    at_edge = bad.assign(rate_at_edge=bad.rate_at_edge | (bad.seed == 1))
    for compared in (compare.performance, compare.efficiency):
        failing = compared("a", at_edge, good)
        assert (failing.holds, failing.reason, failing.instances) == (None, AT_EDGE, 3)
        assert compared("a", bad, good.assign(rate_at_edge=~good.rate_at_edge)).holds is False
        assert compared("a", good, at_edge).holds is True


def test_errors_are_compared_by_their_logarithms():
    one, other = side([0.01, 0.02, 0.01], metric="mse"), side([0.02, 0.05, 0.021], metric="mse")
    check = compare.performance("a", one, other)
    ratio = np.log(other.best_metric / one.best_metric)
    expected = stats.ttest_1samp(ratio, 0).confidence_interval(0.95)
    assert check.holds
    assert check.interval == f"{np.exp(expected.low):.3g} to {np.exp(expected.high):.3g}"


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (side([0.1, 0.1, 0.1]), LEARNT_NOTHING),
        (side([0.5, 0.19, 0.5]), LEARNT_NOTHING),
        (side([0.5, 0.5, 0.5], status=["finished", "diverged", "finished"]), DIVERGED),
        (side([0.5, 0.5, np.nan]), TOO_FEW),
        (side([np.nan] * 3, status="waiting"), WAITING),
        (side([0.2001, 0.95, 0.5]), NOT_TOLD_APART),
    ],
)
def test_performance_is_open_for_a_reason(other, reason):
    for pair in ((side([0.9, 0.8, 0.9]), other), (other, side([0.9, 0.8, 0.9]))):
        check = compare.performance("a", *pair)
        assert (check.holds, check.reason) == (None, reason)


@pytest.mark.parametrize(("metric", "limit"), [("rms", 0.95 / 6**0.5), ("mse", 0.95**2 / 6)])
def test_an_error_has_been_learnt_below_that_of_the_mean(metric, limit):
    assert compare.learnt(side([0.999 * limit, 1.001 * limit, np.nan], metric=metric)).values.tolist() == [
        True,
        False,
        False,
    ]


def test_iterations_are_compared_over_pairs_and_widened():
    one, other = side([0.9] * 3, iterations=[100, 200, 100]), side([0.9] * 3, iterations=[900, 1100, 1000])
    assert compare.efficiency("a", one, other).interval == _ends([800, 900, 900], 0)
    one.attrs["config_json"] = '{"evaluate_every": 50, "probe_every": 100}'
    check = compare.efficiency("a", one, other)
    assert check.holds
    assert check.interval == _ends([800, 900, 900], 50)
    assert compare.efficiency("a", other, one).holds is False


def _ends(saved, wider):
    expected = stats.ttest_1samp(saved, 0).confidence_interval(0.95)
    return f"{expected.low - wider:+.0f} to {expected.high + wider:+.0f} iterations"


def test_a_network_that_did_not_get_there_counts_beside_one_that_did():
    fast, slow = side([0.9] * 3, iterations=[100, 110, 90]), side([0.4] * 3, iterations=[900] * 3, reached=[0] * 3)
    assert compare.efficiency("a", fast, slow).holds
    assert compare.efficiency("a", slow, slow).reason == NEITHER_REACHED
    assert (
        compare.efficiency("a", fast, side([0.1] * 3, iterations=[900] * 3, reached=[0] * 3)).reason == LEARNT_NOTHING
    )
    assert compare.written_iterations(slow) == "not within 900"
    assert compare.written_iterations(fast) == "100"
    assert (
        compare.written_iterations(side([0.5] * 2, iterations=[50, 90], reached=[1, 0]))
        == "at least 70 (reached by 1 of 2)"
    )


def grid(values, **fields):
    """Trainings over seed and r."""
    return xr.concat([side(list(column), **fields) for column in np.array(values).T], xr.Variable("r", [0.9, 1.0]))


def test_the_best_point_is_chosen_by_the_other_seeds():
    # seed 0 alone prefers the second point, the others prefer the first
    found = compare.held_out_best(grid([[0.5, 0.9], [0.8, 0.41], [0.7, 0.6]]), "r")
    assert found.chosen.values.tolist() == [0, 1, 1]
    assert found.best_metric.values.tolist() == [0.5, 0.41, 0.6]
    errors = compare.held_out_best(grid([[0.1, 0.2], [0.1, 0.2], [0.1, 0.3]], metric="mse"), "r")
    assert errors.best_metric.values.tolist() == [0.1, 0.1, 0.1]


def test_nothing_is_chosen_while_a_training_is_missing():
    found = compare.held_out_best(grid([[0.5, np.nan], [0.8, 0.4], [0.7, 0.6]]), "r")
    assert found.best_metric.isnull().all()
    assert set(found.status.values) == {"waiting"}
    assert compare.performance("a", found, found).reason == WAITING


def test_a_point_that_diverged_is_never_the_best():
    trainings = grid([[0.5, 0.9], [0.5, 0.9], [0.5, 0.9]])
    trainings["status"] = trainings.status.where(trainings.r < 1, "diverged")
    assert compare.held_out_best(trainings, "r").best_metric.values.tolist() == [0.5] * 3


def course(name, values, status="finished", metric="accuracy"):
    trainings = side([0.5] * len(values), metric=metric, status=status)
    trainings[name] = (("seed", "iteration"), np.array(values, dtype=float))
    return trainings


def test_the_blow_up_is_the_largest_loss_over_the_first():
    losses = [[2.0, 8.0, 1.0], [2.0, 1.0, 1.0], [2.0, np.nan, np.nan]]
    found = compare.blow_up(course("train_loss", losses, ["finished", "finished", "diverged"]))
    np.testing.assert_allclose(np.exp(found), [4.0, 1.0, 1e6])


def test_the_setback_is_how_far_the_metric_falls_behind_its_best():
    found = compare.setback(course("test_metric", [[0.1, 0.6, 0.2, 0.7], [0.1, 0.2, 0.3, np.nan]]))
    np.testing.assert_allclose(found, [0.4, 0.0])
    errors = compare.setback(course("test_metric", [[0.4, 0.1, 0.3], [0.4, 0.2, 0.1]], metric="mse"))
    np.testing.assert_allclose(np.exp(errors), [3.0, 1.0])
    assert compare.setback(course("test_metric", [[0.1, 0.2]], ["diverged"])).isnull().all()


def test_the_rank_correlation_is_that_of_scipy_where_three_got_there():
    parts = [
        side([0.5] * 3, iterations=[900, 900, 900], reached=[0, 0, 0]),
        side([0.5] * 3, iterations=[500, 200, 500], reached=[1, 1, 1]),
        side([0.5] * 3, iterations=[300, 300, 300], reached=[1, 1, 0]),
        side([0.5] * 3, iterations=[100, 100, 100], reached=[1, 1, 1]),
    ]
    trainings = xr.concat(parts, xr.Variable("r", [0.9, 0.95, 0.98, 0.99]))
    found = compare.rank_correlation(trainings, "r", [0.1, 0.05, 0.02, 0.01])
    np.testing.assert_allclose(found.values[:2], [1.0, stats.spearmanr([4, 3, 2, 1], [900, 200, 300, 100]).statistic])
    assert np.isnan(found.values[2])

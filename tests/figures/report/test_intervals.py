import math

import numpy as np
import pytest
from scipy import stats

from figures.report.intervals import FACTOR, ITERATIONS, NUMBER, POINTS, estimate, instances_needed


@pytest.mark.parametrize("values", [[1.0, 2.0, 4.0], [0.5, np.nan, 0.7, 0.1], list(range(10))])
def test_intervals_are_those_of_scipy(values):
    found = estimate(values)
    each = np.array(values)[~np.isnan(values)]
    expected = stats.ttest_1samp(each, 0).confidence_interval(0.95)
    assert found.mean == pytest.approx(each.mean())
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.deviation == pytest.approx(each.std(ddof=1))
    assert found.instances == each.size


def test_one_instance_has_no_interval():
    found = estimate([3.0])
    assert (found.mean, found.low, found.high, found.instances) == (3.0, -math.inf, math.inf, 1)
    assert found.written(NUMBER) == "3 (1 instance)"
    assert found.ends(NUMBER) == ""
    assert estimate([np.nan]).written(NUMBER) == "no instance"


def test_what_is_not_finite_has_no_interval():
    assert estimate([1.0, 2.0, np.inf]).low == -math.inf


def test_numbers_are_written_with_their_unit():
    found = estimate([0.01, 0.02, 0.03])
    assert found.written(POINTS) == "+2.0 points (-0.5 to +4.5 points; 3 instances)"
    assert estimate(np.log([2.0, 2.0, 2.0])).written(FACTOR) == "2 (2 to 2; 3 instances)"
    assert estimate([100.0, 100.0]).widened(50).ends(ITERATIONS) == "+50 to +150 iterations"
    assert estimate([1000.0]).written(FACTOR) == "inf (1 instance)"


def test_the_instances_needed_put_the_threshold_outside():
    found = estimate([1.0, 2.0, 4.0])
    needed = instances_needed(found, 0.0)
    assert needed == 5

    def half(count):
        return stats.t.ppf(0.975, count - 1) * found.deviation / math.sqrt(count)

    assert half(needed) < found.mean <= half(needed - 1)
    assert instances_needed(found, found.mean) is None
    assert instances_needed(estimate([1.0]), 0.0) is None

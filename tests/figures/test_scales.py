"""Axes: views that do not hang on the last bit of a number, plain numbers, and what stands for the strength."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from figures.scales import abscissa, logarithmic, over_strength, plain_ticks, show_a_decade, strength_axis
from training_results import training

UP, DOWN = np.nextafter(2.0, 3), np.nextafter(2.0, 1)


@pytest.fixture
def ax():
    figure, axes = plt.subplots()
    axes.set_yscale("log")
    yield axes
    plt.close(figure)


@pytest.mark.parametrize(
    ("values", "centre", "span"),
    [
        ([2.0, 2.0], 2.0, 10),
        ([2.0, UP, DOWN], 2.0, 10),
        ([2.0], 2.0, 10),
        ([0.0, 2.0, -5.0, np.nan, np.inf], 2.0, 10),
        ([1.0, 1.0], 1.0, 10),
        ([1.0, np.nextafter(1.0, 0)], 1.0, 10),
        ([10.0, np.nextafter(10.0, 11)], 10.0, 10),
        ([1.0, 4.0], 2.0, 10),
        ([1.0, 10.0], 10**0.5, 10**1.1),
        ([1.0, 10000.0], 100.0, 10**4.4),
        ([1e-200, 1e200], 1.0, 10**440),
    ],
)
def test_the_view_is_centred_on_the_data_and_holds_a_decade(ax, values, centre, span):
    ax.plot(range(len(values)), values)
    show_a_decade(ax, values)
    low, high = ax.get_ylim()
    if span > 1e300:
        assert (low, high) == (pytest.approx(1e-220), pytest.approx(1e220))
        return
    assert np.sqrt(low * high) == pytest.approx(centre, rel=1e-12)
    assert high / low == pytest.approx(span, rel=1e-9)


def test_views_of_values_that_differ_in_the_last_bit_are_equal_to_the_eye(ax):
    limits = []
    for value in (2.0, UP, DOWN):
        show_a_decade(ax, [2.0, value], [value])
        limits.append(ax.get_ylim())
    np.testing.assert_allclose(limits, [limits[0]] * 3, rtol=1e-15)


@pytest.mark.parametrize("values", [[2.0, 2.0], [2.0, UP], [10.0, np.nextafter(10.0, 11)], [5e-5], [1e7, 1e7]])
def test_equal_data_have_a_decade_around_them_without_being_asked(values):
    figure, ax = plt.subplots()
    ax.margins(y=0)
    ax.plot(range(len(values)), values)
    logarithmic(ax)
    figure.canvas.draw()
    low, high = ax.get_ylim()
    assert np.sqrt(low * high) == pytest.approx(values[0], rel=1e-8)
    assert high / low == pytest.approx(10, rel=1e-8)
    plt.close(figure)


@pytest.mark.parametrize("values", [[], [0.0], [np.nan, -1.0]])
def test_without_positive_numbers_the_view_stays(ax, values):
    ax.set_ylim(3, 7)
    show_a_decade(ax, values)
    assert ax.get_ylim() == (3, 7)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.632, 6.32, [1, 2, 5]),
        (150.0, 950.0, [150, 200, 300, 400, 500, 700]),
        (940.0, 9400.0, [1000, 2000, 5000]),
        (1.0, 10.0, None),  # both ends are powers of ten, also where the last bit says otherwise
        (np.nextafter(1.0, 2), np.nextafter(10.0, 9), None),
        (0.04, 0.82, [0.05, 0.1, 0.2, 0.5]),
        (0.5, 20.0, None),
        (4.1, 4.4, [4.1, 4.2, 4.3, 4.4]),
        (3e-7, 8e-7, [3e-7, 4e-7, 5e-7, 7e-7]),
    ],
)
def test_ticks_are_plain_where_fewer_than_two_powers_of_ten_are_in_view(low, high, ticks):
    assert plain_ticks(low, high) == (None if ticks is None else pytest.approx(ticks))


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0.63, 6.3, ["1", "2", "5"]),
        (300.0, 40000.0, ["$\\mathdefault{10^{3}}$", "$\\mathdefault{10^{4}}$"]),
        (0.021, 0.24, ["0.05", "0.1", "0.2"]),
        (5e-5, 2.5e-4, ["0.00005", "0.0001", "0.0002"]),
        (1e5, 7e5, ["100000", "200000", "500000"]),
    ],
)
def test_labels_are_plain_numbers_below_a_decade(low, high, labels):
    figure, ax = plt.subplots()
    logarithmic(ax)
    ax.set_ylim(low, high)
    figure.canvas.draw()
    shown = [text.get_text() for text in ax.get_yticklabels() if low <= text.get_position()[1] <= high]
    assert shown == labels
    assert {text.get_text() for text in ax.get_yticklabels(minor=True)} <= {""}
    plt.close(figure)


def test_what_stands_for_the_strength():
    assert abscissa(0.95, "r") == 0.95
    assert abscissa(0.95, "log-r") == pytest.approx(-0.05129329438755058, rel=1e-12)
    assert abscissa(1.01, "distance") == pytest.approx(0.01, rel=1e-12)
    sweep = training({"seed": [0], "r": [0.95, 1.01]})
    assert over_strength(sweep, "distance").r.values.tolist() == [0.95 - 1, 1.01 - 1]
    assert over_strength(sweep, "r").identical(sweep)


@pytest.mark.parametrize(
    ("strengths", "scale", "added"),
    [
        ([0.95, 0.995, 1.01], "symlog", "\n(linear up to $\\pm$0.005, logarithmic beyond)"),
        ([1.0], "linear", ""),
    ],
)
def test_distances_are_linear_up_to_the_nearest_network_and_logarithmic_beyond(strengths, scale, added):
    figure, ax = plt.subplots()
    strength_axis(ax, strengths, "distance")
    assert ax.get_xscale() == scale
    assert ax.get_xlabel() == f"distance to the edge of chaos, $r - 1${added}"
    assert [line.get_xdata()[0] for line in ax.lines] == [0.0]
    plt.close(figure)

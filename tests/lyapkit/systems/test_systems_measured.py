"""Every reference system measured by the code that writes the table of the documentation."""

import importlib.util
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chi2

from lyapkit import systems

DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture(scope="module")
def table():
    spec = importlib.util.spec_from_file_location("reference_values", DOCS / "reference_values.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["reference_values"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def measurements(table):
    return [table.measure(system, seed=1) for system in systems.catalogue()]  # another seed than the page's


@pytest.mark.slow
def test_every_exponent_is_within_its_uncertainty(table, measurements) -> None:
    for found, bound in zip(measurements, table.largest_z(measurements), strict=True):
        if found.system.tolerance is None:
            # quantiles of t at 1e-3 / (2 * 45): 4.3 of a normal variable, 6.3 and 6.0 with the 14 and 16 degrees of
            # freedom of a single run
            assert 4.2 < bound < (5.2 if found.degrees_of_freedom > 16 else 6.4)
            assert (np.abs(found.z) < bound).all(), (found.system.name, found.z)
        else:
            assert (np.abs(found.deviation) <= found.system.tolerance).all(), (found.system.name, found.deviation)


@pytest.mark.slow
def test_sums_are_exact(measurements) -> None:
    known = [found for found in measurements if found.system.exponent_sum is not None]
    assert len(known) >= 14
    for found in known:
        deviation = abs(found.exponent_sum - found.system.exponent_sum)
        assert deviation <= found.system.sum_tolerance, (found.system.name, deviation)


@pytest.mark.slow
def test_errors_are_small_enough_to_mean_something(measurements) -> None:
    for found in measurements:
        if found.system.tolerance is None:
            scale = max(1.0, max(abs(value) for value in found.system.exponents))
            assert (found.standard_error < 0.01 * scale).all(), found.system.name


@pytest.mark.slow
def test_trajectories_scatter_no_more_than_their_errors_say(measurements) -> None:
    """And where growth is not anticorrelated, as much: the reported errors against a second, independent estimate."""
    checked = 0
    for found in measurements:
        trajectories = found.system.trajectories if found.system.inputs is None else found.system.inputs.shape[1]
        if found.system.tolerance is not None or np.isnan(found.spread).any():
            continue
        ratio = found.spread / found.standard_error
        low, high = (chi2.isf(tail, trajectories - 1) / (trajectories - 1) for tail in (1 - 1e-4, 1e-4))
        assert (ratio**2 < 1.1 * high).all(), (found.system.name, ratio)
        if found.system.name.startswith(("skew", "Gauss", "Hénon", "standard")):
            assert (ratio**2 > 0.9 * low).all(), (found.system.name, ratio)
            checked += 1
    assert checked == 6


@pytest.mark.slow
def test_values_agree_within_the_scatter_of_trajectories(measurements) -> None:
    """The sharper test for flows and other anticorrelated growth, whose errors rest on little."""
    for found in measurements:
        if found.system.tolerance is None and not np.isnan(found.spread).any():
            z = found.deviation / np.hypot(found.spread, found.system.uncertainty)
            assert (np.abs(z) < 5).all(), (found.system.name, z)


def test_a_wrong_value_would_be_noticed(table) -> None:
    """A reference that is off by 2 % fails the same comparison."""
    right = systems.skew_tent()
    wrong = replace(right, exponents=(1.02 * right.exponents[0],))
    good, bad = table.measure(right), table.measure(wrong)
    bound = table.largest_z([good])[0]
    assert abs(good.z[0]) < bound < abs(bad.z[0])


def test_table_has_a_row_per_exponent_and_sum(table) -> None:
    found = table.measure(systems.lstm_without_recurrence())
    rows = table.table([found]).splitlines()
    assert len(rows) == 2 + 8
    assert all(row.count("|") == 9 for row in rows)
    assert rows[2].startswith("| LSTM without recurrent weights, N = 4 | 1 | -0.")
    assert rows[-1] == "|  | 8 | -inf | -inf |  |  | 0 |  |"
    assert math.isnan(found.spread[0])


def test_pipes_in_a_source_do_not_break_the_table(table) -> None:
    found = table.measure(replace(systems.cat_map(), source="exact: E log |x|"))
    assert r"E log \|x\|" in table.table([found])


def test_write_keeps_the_rest_of_the_page(table, tmp_path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n", encoding="utf-8")
    table.write("| new |", page)
    assert page.read_text(encoding="utf-8") == f"before\n{table.BEGIN}\n\n| new |\n\n{table.END}\nafter\n"
    page.write_text("no marks", encoding="utf-8")
    with pytest.raises(ValueError, match=r"must have each of the lines .* once"):
        table.write("| new |", page)

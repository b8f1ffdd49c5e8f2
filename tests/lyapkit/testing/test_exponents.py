"""`assert_exponents` passes what is right and refuses what is wrong, with the numbers; failures shrink."""

import math
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings

from lyapkit import as_map, systems
from lyapkit.testing import KnownMatrix, assert_exponents, matrices


def linear(matrix, dtype=torch.float64):
    matrix = matrix.to(dtype)
    return as_map(lambda x: matrix @ x, state=torch.zeros(len(matrix), dtype=dtype))


@given(matrices(pairs=False, max_condition=1))
def test_normal_matrices_with_real_eigenvalues_are_exact(known: KnownMatrix) -> None:
    run = assert_exponents(linear(known.matrix), None, known.log_magnitudes, steps=600, transient=560, within=0.2)
    assert float(run.lyapunov_exponent.sum()) == pytest.approx(known.log_magnitudes.sum(), abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rounding_of_the_type_is_allowed_for(dtype: torch.dtype) -> None:
    matrix = torch.diag(torch.tensor([0.9, -0.7, 0.1], dtype=torch.float64))
    expected = np.log([0.1, 0.9, 0.7])  # in any order
    run = assert_exponents(linear(matrix, dtype), None, expected, steps=300)
    assert run.attrs["dtype"] == str(dtype).removeprefix("torch.")
    with pytest.raises(AssertionError, match="1 of 3 exponents"):
        assert_exponents(linear(matrix, dtype), None, expected + np.array([0, 0, 1e-3]), steps=300)


def test_errors_of_the_run_are_allowed_for() -> None:
    """For products of Gaussian matrices, whose exponents are known: passes with them, and refuses 6 errors off."""
    product = systems.gaussian_product(size=4)
    run = assert_exponents(product.map, product.inputs, product.exponents)
    assert run.error_reliable.all()
    wrong = np.array(product.exponents) + 12 * run.standard_error.values.max()
    with pytest.raises(AssertionError, match="differ from those expected"):
        assert_exponents(product.map, product.inputs, wrong)
    within = 12.0 * float(run.standard_error.max())
    assert_exponents(product.map, product.inputs, wrong, within=within)


def test_an_unknown_error_allows_for_nothing() -> None:
    """Two complex eigenvalues after ten steps: far from settled, and the run is too short to say how far."""
    matrix = KnownMatrix(pairs=[(0.9, 0.4)], condition=20.0, seed=0).matrix
    with pytest.raises(AssertionError, match=r"unknown(?s:.*)An unknown error counts as 0.*transient="):
        assert_exponents(linear(matrix), None, [math.log(0.9)] * 2, steps=10)
    assert_exponents(linear(matrix), None, [math.log(0.9)] * 2, steps=10, within=1.0)


def test_annihilated_directions_equal_minus_infinity_only() -> None:
    matrix = torch.diag(torch.tensor([0.9, 0.0], dtype=torch.float64))
    assert_exponents(linear(matrix), None, [math.log(0.9), -math.inf], steps=50)
    for wrong in ([math.log(0.9), -700.0], [-math.inf, -math.inf]):
        with pytest.raises(AssertionError, match="1 of 2 exponents"):
            assert_exponents(linear(matrix), None, wrong, steps=50, within=100.0)


def test_leading_exponents_alone_and_one_row_for_each_trajectory() -> None:
    network = torch.nn.RNN(1, 4).double()
    with torch.no_grad():
        network.weight_hh_l0.copy_(torch.diag(torch.tensor([0.9, 0.8, 0.7, 0.6])))
        network.weight_ih_l0.zero_()
        network.bias_ih_l0.zero_()
        network.bias_hh_l0.zero_()
    inputs = torch.zeros(60, 2, 1).double()
    run = assert_exponents(network, inputs, math.log(0.9), rng=0, transient=30, within=0.01)
    assert run.sizes["exponent"] == 1
    assert_exponents(network, inputs, np.log([[0.9, 0.8], [0.9, 0.8]]), rng=0, transient=30, within=0.02)
    with pytest.raises(AssertionError, match="1 of 4 exponents") as caught:
        assert_exponents(network, inputs, np.log([[0.9, 0.8], [0.9, 0.5]]), rng=0, transient=30, within=0.02)
    row = str(caught.value).splitlines()[2].split()
    assert row[:2] == ["1", "2"]
    assert row[-1] == "differs"


def test_the_message_is_a_table_with_the_farthest_first() -> None:
    matrix = torch.diag(torch.tensor([0.9, 0.5, 0.2], dtype=torch.float64))
    with pytest.raises(AssertionError) as caught:
        assert_exponents(linear(matrix), None, np.log([0.9, 0.6, 0.1]), steps=50)
    lines = str(caught.value).splitlines()
    assert lines[0] == (
        "2 of 3 exponents of CallableMap of <lambda>: autonomous, state of 3, float64 differ from those expected, "
        "in nats per step over 50 steps:"
    )
    assert lines[1].split() == [
        "trajectory", "exponent", "found", "error", "expected", "difference", "allowed",
    ]  # fmt: skip
    assert [line.split()[1] for line in lines[2:]] == ["3", "2", "1"]
    assert lines[2].split()[2] == f"{math.log(0.2):.7g}"
    assert lines[2].split()[4:6] == [f"{math.log(0.1):.7g}", f"{math.log(2):+.3g}"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"expected": [math.nan]}, ValueError, "none of them NaN"),
        ({"expected": []}, ValueError, r"expected must hold numbers of shape \(k,\) or \(B, k\)"),
        ({"expected": [0.0], "within": -1.0}, ValueError, "within must be finite and at least 0, got -1.0"),
        ({"expected": [0.0], "within": math.inf}, ValueError, "within must be finite"),
        ({"expected": [0.0], "false_alarms": 0.0}, ValueError, "false_alarms must be between 0 and 1, got 0.0"),
        ({"expected": [0.0], "k": 1}, TypeError, "as many exponents are compared as are expected"),
        ({"expected": [[0.0], [0.0]]}, ValueError, "one row for each of 1 trajectories, got 2"),
        ({"expected": [0.0, 0.0, 0.0]}, ValueError, "k must be between 1 and the state size 2, got 3"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        assert_exponents(linear(torch.eye(2).double()), None, arguments.pop("expected"), steps=9, **arguments)


@pytest.mark.slow
def test_a_wrong_property_shrinks_to_a_small_network_and_prints_its_numbers() -> None:
    """ "All exponents are equal" fails for two different eigenvalues, and for nothing smaller."""
    drawn = []

    @settings(database=None, derandomize=True, max_examples=50, phases=(Phase.generate, Phase.shrink))
    @given(matrices(pairs=False, min_size=1, max_size=6))
    def test_all_exponents_are_equal(known: KnownMatrix) -> None:
        drawn.append(known)
        mean = known.log_magnitudes.mean()
        assert_exponents(linear(known.matrix), None, np.full(known.size, mean), steps=40, transient=20, within=0.1)

    with pytest.raises(AssertionError) as caught:
        test_all_exponents_are_equal()
    assert drawn[-1].size == 2
    assert re.search(r"\d of 2 exponents of CallableMap of .* differ", str(caught.value))
    assert any("known=KnownMatrix(" in note for note in caught.value.__notes__)


@pytest.mark.slow
def test_without_hypothesis_one_error_names_the_extra() -> None:
    code = (
        "import sys; sys.modules['hypothesis'] = None\n"
        "try:\n    import {}\nexcept ImportError as error:\n    print(error)"
    )
    for name in ("lyapkit.testing", "wcrnn_models.testing"):
        done = subprocess.run([sys.executable, "-c", code.format(name)], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == (
            'lyapkit.testing needs Hypothesis, which is not installed; run: pip install "lyapkit[testing]".'
        )

"""Automatic QR intervals: as accurate as decomposing at every step, and far fewer decompositions."""

import json
import math

import numpy as np
import pytest
import torch

from lyapkit import as_map, lyapunov_spectrum, systems
from lyapkit.lyapunov.interval import CONDITION_LIMITS, WINDOWS, IntervalRule, frame_condition
from references import matrix_with_spectrum, random_orthogonal


def chaotic_network(size: int = 40):
    """x' = 0.9 x + 0.1 J tanh x with g = 4: contracting and expanding directions together."""
    random = np.random.RandomState(0)
    weight = torch.tensor(4 * random.randn(size, size) / math.sqrt(size))
    start = torch.tensor(random.randn(size))
    return as_map(lambda x: 0.9 * x + 0.1 * (weight @ torch.tanh(x)), state=start)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_automatic_equals_every_step(dtype: torch.dtype, tolerance: float) -> None:
    map = chaotic_network()
    every = lyapunov_spectrum(map, steps=3000, transient=100, qr_interval=1)
    auto = lyapunov_spectrum(map, steps=3000, transient=100, frame_dtype=dtype)
    assert WINDOWS <= auto.sizes["step"] < every.sizes["step"] / 5
    np.testing.assert_allclose(auto.lyapunov_exponent, every.lyapunov_exponent, atol=tolerance)
    assert 10 < auto.frame_condition.item() < 30 * CONDITION_LIMITS[dtype]
    np.testing.assert_allclose(auto.standard_error[0, :5], every.standard_error[0, :5], rtol=0.5)
    assert json.loads(auto.attrs["config_json"])["qr_interval"] == "auto"


def test_automatic_matches_in_batches_and_for_few_directions() -> None:
    matrices = [matrix_with_spectrum([1.2, 0.8, 0.3], [(0.9, 0.5)], seed=seed, skew=3.0) for seed in range(7)]
    inputs = torch.stack(matrices * 100).reshape(700, 1, 25).repeat(1, 2, 1)
    every = lyapunov_spectrum(systems.MatrixProduct(5), inputs, qr_interval=1)
    auto = lyapunov_spectrum(systems.MatrixProduct(5), inputs)
    np.testing.assert_allclose(auto.lyapunov_exponent, every.lyapunov_exponent, atol=1e-10)
    # the same frame either way: one column only, started from the same seed
    few = [lyapunov_spectrum(systems.MatrixProduct(5), inputs, k=1, rng=3, qr_interval=q) for q in (1, "auto")]
    np.testing.assert_allclose(few[0].lyapunov_exponent, few[1].lyapunov_exponent, atol=1e-12)


def test_a_strongly_contracting_map_is_decomposed_at_every_step() -> None:
    matrix = matrix_with_spectrum([1.0, 1e-4, 1e-8], [], seed=1)
    map = as_map(lambda x: matrix @ x, state=torch.zeros(3, dtype=torch.float64))
    ds = lyapunov_spectrum(map, steps=680, transient=40)
    assert ds.sizes["step"] == 640
    np.testing.assert_allclose(ds.lyapunov_exponent[0], np.log([1.0, 1e-4, 1e-8]), atol=1e-6)


def test_an_annihilated_direction_is_decomposed_at_every_step() -> None:
    map = as_map(lambda x: torch.stack((0.5 * x[0], 0 * x[1])), state=torch.ones(2, dtype=torch.float64))
    ds = lyapunov_spectrum(map, steps=300)
    assert ds.sizes["step"] == 300
    assert ds.frame_condition.item() == math.inf
    np.testing.assert_allclose(ds.lyapunov_exponent[0], [math.log(0.5), -math.inf])


def test_short_runs_keep_every_step() -> None:
    map = as_map(lambda x: 0.5 * x, state=torch.ones(2, dtype=torch.float64))
    assert lyapunov_spectrum(map, steps=2 * WINDOWS - 1).sizes["step"] == 2 * WINDOWS - 1
    assert lyapunov_spectrum(map, steps=20 * WINDOWS).sizes["step"] < 2 * WINDOWS


def test_the_rule_follows_the_condition_number() -> None:
    rule = IntervalRule.automatic(6400, torch.float64)
    assert (rule.interval, rule.longest) == (1, 100)
    rule.update(1, 1.0)
    assert rule.interval == 2  # doubles at most
    rule.update(50, 1.0)
    assert rule.interval == 100  # up to the longest
    rule.update(20, 1e3)
    assert rule.interval == 40  # log 1e3 in 20 steps: log 1e6 in 40
    rule.update(10, 1e12)
    assert rule.interval == 5
    rule.update(5, math.inf)
    assert rule.interval == 1
    fixed = IntervalRule(7)
    fixed.update(7, 1e12)
    assert fixed.interval == 7


def test_condition_numbers_are_those_of_the_frames() -> None:
    frames = torch.stack(
        [
            random_orthogonal(4, 1) @ torch.diag(torch.tensor([1.0, 0.1, 1e-2, 1e-3], dtype=torch.float64)),
            random_orthogonal(4, 2),
            torch.zeros(4, 4, dtype=torch.float64),
        ]
    )
    r = torch.linalg.qr(frames).R
    diagonal = r.diagonal(dim1=-2, dim2=-1).abs()
    found = frame_condition(r, torch.where(diagonal < 1e-14, 0.0, diagonal))
    expected = torch.tensor([1e3, 1.0, math.inf], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=0)

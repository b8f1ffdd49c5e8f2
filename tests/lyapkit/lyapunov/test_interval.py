"""Automatic QR intervals: as accurate as decomposing at every step, and far fewer decompositions."""

import json
import math

import numpy as np
import pytest
import torch

from lyapkit import as_map, lyapunov_spectrum, systems, variational_term
from lyapkit.lyapunov.decomposition import decompose, decompose_sound
from lyapkit.lyapunov.interval import CONDITION_LIMITS, LONGEST, WINDOWS, IntervalRule, replayable_steps
from lyapkit.lyapunov.orthonormal import (
    FEW_ROWS,
    MANY_FRAMES,
    WELL_CONDITIONED,
    cholesky_qr,
    gram_schmidt,
    orthonormalise,
)
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
    assert 10 < auto.frame_condition.item() < 40**2 * CONDITION_LIMITS[dtype]  # 1-norm against max |R_ii| / min |R_ii|
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


def test_a_strongly_contracting_map_is_decomposed_often() -> None:
    matrix = matrix_with_spectrum([1.0, 1e-4, 1e-8], [], seed=1)
    map = as_map(lambda x: matrix @ x, state=torch.zeros(3, dtype=torch.float64))
    ds = lyapunov_spectrum(map, steps=2600, transient=40)
    assert ds.sizes["step"] > 1000  # of 2,560; weak contraction leaves about 64
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
    rule = IntervalRule.of(None, torch.float64, 100).within(6400, 1000)
    assert (rule.interval, rule.longest) == (1, 100)
    rule = rule.after(1, 1.0)
    assert rule.interval == 2  # doubles at most
    rule = rule.after(50, 1.0)
    assert rule.interval == 100  # up to the longest
    rule = rule.after(20, 1e2)
    assert rule.interval == 40  # log 1e2 in 20 steps: log 1e4 in 40
    rule = rule.after(10, 1e8)
    assert rule.interval == 5
    rule = rule.after(5, math.inf)
    assert rule.interval == 1
    assert IntervalRule.of(7, torch.float64, 100).within(6400, 1000).after(7, 1e12).interval == 7


@pytest.mark.parametrize(
    ("dtype", "k", "limit"), [(torch.float64, 3, 1e6), (torch.float64, 4, 1e4), (torch.float32, 3, 1e3)]
)
def test_few_directions_may_go_further(dtype: torch.dtype, k: int, limit: float) -> None:
    assert IntervalRule.of(None, dtype, k).limit == limit


def test_many_small_frames_keep_their_digits() -> None:
    map = systems.henon().map
    starts = torch.tensor(0.1 * np.random.RandomState(0).rand(50, 2))
    every = lyapunov_spectrum(map, steps=3000, initial_state=starts, qr_interval=1)
    auto = lyapunov_spectrum(map, steps=3000, initial_state=starts)
    assert WINDOWS <= auto.sizes["step"] < every.sizes["step"] / 4
    np.testing.assert_allclose(auto.lyapunov_exponent, every.lyapunov_exponent, atol=1e-12, rtol=0)
    assert 1e4 < auto.frame_condition.max() < 1e7


def test_long_windows_are_kept_for_replay_only_as_memory_allows() -> None:
    assert replayable_steps(100 * 100 * 4) == LONGEST
    assert replayable_steps(4 * 1000 * 1000 * 8) == 8
    assert IntervalRule.of(None, torch.float64, 100).within(10**6, 8).longest == 8


def test_conditions_are_those_of_the_frames_with_columns_of_size_one() -> None:
    tilted = torch.tensor([[1.0, 1.0], [0.0, 1e-3]], dtype=torch.float64)  # columns nearly parallel
    frames = torch.stack((tilted, random_orthogonal(2, 2) @ torch.diag(torch.tensor([1.0, 1e-9]).double())))
    found = decompose(frames)
    assert found.condition[0].item() == pytest.approx(2e3, rel=2e-3)  # |R|_1 |R^-1|_1
    assert found.condition[1].item() == pytest.approx(1.0, rel=1)  # columns of unlike lengths do no harm
    torch.testing.assert_close(found.log_growth[0], torch.tensor([0.0, math.log(1e-3)]).double())
    torch.testing.assert_close(found.log_growth[1], torch.tensor([0.0, math.log(1e-9)]).double(), rtol=1e-6, atol=1e-6)
    assert not found.lost.any()


def test_what_is_lost_is_said() -> None:
    huge, tiny, parallel, bad = (torch.eye(2, dtype=torch.float64) for _ in range(4))
    huge = 1e300 * huge
    tiny = 1e-305 * tiny
    parallel[:, 1] = parallel[:, 0]
    bad[0, 0] = math.nan
    found = decompose(torch.stack((huge, tiny, parallel, bad, torch.eye(2, dtype=torch.float64))))
    assert found.lost.tolist() == [True, True, True, True, False]
    assert found.finite.tolist() == [True, True, True, False, True]
    torch.testing.assert_close(found.log_growth[0], torch.full((2,), math.log(1e300), dtype=torch.float64))
    assert found.log_growth[2].tolist() == [0.0, -math.inf]
    assert found.condition[2] == math.inf
    assert found.volume_error[:3].abs().max() < 1e-12


@pytest.mark.parametrize("rows", [4, FEW_ROWS + 1])
@pytest.mark.parametrize("columns", [1, 2, 3])
@pytest.mark.parametrize("spread", [1.0, 1e-6])
def test_gram_schmidt_is_as_good_as_householder(columns: int, spread: float, rows: int) -> None:
    generator = torch.Generator().manual_seed(columns)
    frames = torch.randn(MANY_FRAMES, rows, columns, generator=generator, dtype=torch.float64)
    frames[..., 1:] = frames[..., :1] + spread * frames[..., 1:]  # nearly parallel columns
    kept = frames.clone()
    q, r = gram_schmidt(frames)
    assert torch.equal(frames, kept)
    torch.testing.assert_close(q.mT @ q, torch.eye(columns).double().expand(MANY_FRAMES, -1, -1), rtol=0, atol=4e-15)
    torch.testing.assert_close(q @ r, frames, rtol=1e-14, atol=1e-14)
    assert torch.equal(r.tril(-1), torch.zeros_like(r))
    exact = torch.linalg.qr(frames).R.diagonal(dim1=-2, dim2=-1).abs()
    torch.testing.assert_close(r.diagonal(dim1=-2, dim2=-1), exact, rtol=1e-8, atol=0)


def frames_of_bound(bound: float, seed: int = 0) -> torch.Tensor:
    """Frames (4, 30, 20), orthonormal but for the last column, of which 1/bound is orthogonal to the others."""
    frames = torch.stack([random_orthogonal(30, seed + number)[:, :20] for number in range(4)])
    mixture = torch.randn(4, 19, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    inside = frames[..., :19] @ (mixture / mixture.norm(dim=-1, keepdim=True)).unsqueeze(-1)  # (4, 30, 1)
    last = math.sqrt(1 - bound**-2) * inside + frames[..., 19:] / bound
    return torch.cat((frames[..., :19], last), dim=-1)


@pytest.mark.parametrize(("passes", "bound"), [(1, 1.0), (1, 5.0), (2, 5.0), (2, 1e3), (2, 1e5)])
def test_cholesky_qr_is_as_good_as_householder(passes: int, bound: float) -> None:
    frames = frames_of_bound(bound)
    found = cholesky_qr(frames, passes)
    assert found is not None
    q, r = found
    exact = torch.linalg.qr(frames).R.diagonal(dim1=-2, dim2=-1).abs()
    loss = 1e-12 if passes == 1 else 1e-14
    torch.testing.assert_close(q.mT @ q, torch.eye(20).double().expand(4, -1, -1), rtol=0, atol=loss)
    torch.testing.assert_close(q @ r, frames, rtol=0, atol=1e-14)
    torch.testing.assert_close(r.diagonal(dim1=-2, dim2=-1), exact, rtol=max(loss, 1e-15 * bound), atol=0)


def test_cholesky_qr_knows_its_limits() -> None:
    assert cholesky_qr(frames_of_bound(3 * WELL_CONDITIONED), 1) is None
    assert cholesky_qr(frames_of_bound(1e8), 2) is None
    assert cholesky_qr(torch.zeros(2, 4, 3, dtype=torch.float64), 2) is None
    assert cholesky_qr(torch.full((2, 4, 3), math.nan, dtype=torch.float64), 2) is None


@pytest.mark.parametrize("bound", [1.0, 1e3])
@pytest.mark.parametrize("expected", [1.0, math.inf])
def test_any_expectation_gives_a_decomposition(bound: float, expected: float) -> None:
    frames = frames_of_bound(bound)
    q, r = orthonormalise(frames, expected)
    torch.testing.assert_close(q @ r, frames, rtol=0, atol=1e-14)
    torch.testing.assert_close(q.mT @ q, torch.eye(20).double().expand(4, -1, -1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(2, 5, 3), (MANY_FRAMES, 3, 2)])
def test_sound_frames_are_decomposed_alike(shape: tuple[int, int, int]) -> None:
    frames = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found, careful = decompose_sound(frames, certify=True), decompose(frames)
    assert found is not None
    for name in ("log_growth", "bound", "condition", "volume_error"):
        torch.testing.assert_close(getattr(found, name), getattr(careful, name), rtol=1e-9, atol=1e-12)
    assert (
        found.bound <= shape[-1] * found.condition
    ).all()  # the 1-norm condition number is at least 1/k of the 2-norm's
    brief = decompose_sound(frames, certify=False)
    assert brief is not None
    assert brief.condition is brief.volume_error is None
    for spoiled in (math.nan, 1e200, 1e-200):
        frames[1] = spoiled * frames[1]
        assert decompose_sound(frames, certify=False) is None
        frames[1] = 1.0


CONTRACTING = as_map(lambda x: 0.5 * x, state=torch.ones(2, dtype=torch.float64))
SINGLE = as_map(lambda x: 0.5 * x, state=torch.ones(2))
CAT = systems.cat_map()


@pytest.mark.parametrize(
    ("map", "steps", "interval", "dtype", "expected"),
    [
        (CAT.map, 2000, 50, torch.float32, CAT.exponents),  # the second direction drowns in rounding
        (CAT.map, 1500, 250, torch.float64, CAT.exponents),
        (SINGLE, 800, 160, torch.float32, [math.log(0.5)] * 2),  # the frame underflows
        (CONTRACTING, 2400, 256, torch.float64, [math.log(0.5)] * 2),
    ],
)
def test_a_window_that_fails_is_done_again(map, steps: int, interval: int, dtype, expected) -> None:
    ds = lyapunov_spectrum(map, steps=steps, qr_interval=interval, frame_dtype=dtype)
    np.testing.assert_allclose(ds.lyapunov_exponent[0], expected, atol=2e-3)
    assert ds.step.values[-1] == steps


def test_a_window_too_long_to_be_kept_is_refused() -> None:
    with pytest.raises(FloatingPointError, match=r"in the 1200 steps before step 1200; choose a smaller qr_interval"):
        lyapunov_spectrum(CONTRACTING, steps=2000, qr_interval=1200)


@pytest.mark.parametrize("factor", [1e160, 1e-170])
def test_extreme_derivatives_do_not_overflow_norms(factor: float) -> None:
    map = as_map(lambda x: factor * x, state=torch.zeros(2, dtype=torch.float64))
    np.testing.assert_allclose(lyapunov_spectrum(map, steps=200).lyapunov_exponent, math.log(factor), rtol=1e-14)
    term = variational_term(map, steps=4)
    np.testing.assert_allclose(term.log_singular_value[0, -1], 4 * math.log(factor), rtol=1e-14)


def test_a_derivative_beyond_the_frames_type_is_refused() -> None:
    map = as_map(lambda x: 1e60 * x, state=torch.zeros(2, dtype=torch.float64))
    with pytest.raises(FloatingPointError, match=r"not finite after step 1: .* too large for the frame's type"):
        lyapunov_spectrum(map, steps=4, frame_dtype=torch.float32)


def test_a_long_transient_leaves_as_many_windows() -> None:
    map = as_map(lambda x: 0.9 * x, state=torch.ones(2, dtype=torch.float64))
    for transient in (0, 9000):
        ds = lyapunov_spectrum(map, steps=transient + 640, transient=transient)
        assert WINDOWS <= ds.sizes["step"] < 2 * WINDOWS
        assert int(np.diff(ds.step, prepend=transient).max()) == 640 // WINDOWS

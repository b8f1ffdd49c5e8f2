"""The alignment of two sets of states, and the intervals, against closed forms and SciPy."""

import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.linalg import orthogonal_procrustes
from scipy.signal import lfilter
from scipy.stats import t

from lyapkit.comparison.intervals import groups, jackknife, over_time, over_trajectories
from lyapkit.comparison.procrustes import align, shape_distance
from references import random_orthogonal

EPS = torch.finfo(torch.float64).eps


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def distance_by_numpy(x: np.ndarray, y: np.ndarray) -> float:
    """The formula of Williams et al. (2021), as it stands."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    nuclear = np.linalg.svd(x.T @ y, compute_uv=False).sum()
    return math.acos(nuclear / np.linalg.norm(x) / np.linalg.norm(y))


@pytest.mark.parametrize(("n", "m"), [(4, 4), (6, 3), (3, 6), (1, 5)])
def test_distance_and_rotation_agree_with_numpy_and_scipy(n: int, m: int) -> None:
    x = gaussian(50, n) + 3.0
    y = x[:, [i % n for i in range(m)]] @ gaussian(m, m, seed=2) + 0.5 * gaussian(50, m, seed=3)
    found = align(x, y, EPS)
    assert_allclose(found.distance, distance_by_numpy(x.numpy(), y.numpy()), rtol=1e-10)
    assert_allclose(shape_distance(y, x, EPS), found.distance, rtol=1e-12)
    wide = max(n, m)
    first, second = (np.pad(z - z.mean(axis=0), ((0, 0), (0, wide - z.shape[1]))) for z in (x.numpy(), y.numpy()))
    assert_allclose(distance_by_numpy(first, second), found.distance, rtol=1e-10)  # padded with zeros
    if n == m:
        rotation, scale = orthogonal_procrustes(second, first)
        assert_allclose(found.rotation, rotation.T, atol=1e-10)
        assert_allclose(found.scale, scale / np.linalg.norm(second) ** 2, rtol=1e-10)
    identity = found.rotation.T @ found.rotation if n >= m else found.rotation @ found.rotation.T
    assert_allclose(identity, np.eye(min(n, m)), atol=1e-12)
    assert found.dimensions == min(n, m)


def test_shifts_scales_rotations_and_units_at_rest_do_not_count() -> None:
    x, turn = gaussian(40, 5), random_orthogonal(5, 1)
    y = -0.01 * x @ turn.T + 7.0
    found = align(x, y, EPS)
    assert found.distance < 1e-12
    assert_allclose(found.rotation, -turn.T, atol=1e-10)
    assert_allclose(found.scale, 100.0, rtol=1e-12)
    wider = torch.cat((x, torch.ones(40, 2).double()), dim=1)
    assert align(x, wider, EPS).distance < 1e-12
    for factor in (1e-200, 1e200):
        assert align(x, factor * y, EPS).distance < 1e-12


def test_small_distances_keep_their_digits() -> None:
    """An arccos of a nuclear norm could not tell them from 0."""
    x, change = gaussian(60, 3), gaussian(60, 3, seed=1)
    shape = x - x.mean(dim=0)
    change -= change.mean(dim=0)
    # orthogonal to the shape, to its scalings and its turnings: solve for what is left
    tangent = torch.stack([shape.flatten(), *(
        (shape @ (torch.eye(3, dtype=torch.float64)[:, [i]] @ torch.eye(3, dtype=torch.float64)[[j]]
         - torch.eye(3, dtype=torch.float64)[:, [j]] @ torch.eye(3, dtype=torch.float64)[[i]])).flatten()
        for i, j in ((0, 1), (0, 2), (1, 2))
    )], dim=1)  # fmt: skip
    basis = torch.linalg.qr(tangent).Q
    across = change.flatten() - basis @ (basis.T @ change.flatten())
    across = (across / across.norm()).reshape(60, 3)
    for size in (1e-3, 1e-6, 1e-9):
        found = align(x, shape / shape.norm() + size * across, EPS).distance
        assert_allclose(found, math.atan(size), rtol=1e-4 if size == 1e-3 else 1e-6)


def test_the_distance_keeps_the_triangle_inequality_and_its_bounds() -> None:
    shapes = [gaussian(30, n, seed=seed) for seed, n in enumerate((2, 3, 4, 4, 5))]
    d = np.array([[float(shape_distance(x, y, EPS)) for y in shapes] for x in shapes])
    assert ((d >= 0) & (d <= math.pi / 2)).all()
    assert (d[:, :, None] <= d[:, None, :] + d.T[None, :, :] + 1e-12).all()
    apart = torch.eye(8, dtype=torch.float64)[:, :1] - torch.eye(8, dtype=torch.float64)[:, 1:2]
    other = torch.eye(8, dtype=torch.float64)[:, 2:3] - torch.eye(8, dtype=torch.float64)[:, 3:4]
    assert_allclose(shape_distance(apart, other, EPS), math.pi / 2, rtol=1e-12)


def test_directions_without_variance_leave_the_alignment_open() -> None:
    flat = gaussian(50, 4)
    flat[:, 3] = flat[:, 0]
    found = align(flat, flat @ random_orthogonal(4, 2).T, EPS)
    assert found.dimensions == 3
    direction = torch.tensor([1.0, 0.0, 0.0, -1.0]).double() / math.sqrt(2)
    assert_allclose(abs(found.open[0].T @ direction), [1.0], rtol=1e-10)
    assert_allclose(abs(found.open[1].T @ random_orthogonal(4, 2) @ direction), [1.0], rtol=1e-10)
    assert align(gaussian(50, 4), gaussian(50, 3, seed=1), EPS).open[0].shape == (4, 0)
    still = torch.full((50, 3), 0.3).double()
    assert align(flat, still, EPS) is None
    assert align(torch.zeros(50, 3).double(), flat, EPS) is None
    assert_allclose(shape_distance(flat, still, EPS), math.pi / 2)


def test_means_over_trajectories_have_the_interval_of_students_t() -> None:
    values = gaussian(7, 2, 3)
    found = over_trajectories(values)
    error = values.numpy().std(axis=0, ddof=1) / math.sqrt(7)
    assert_allclose(found.value, values.mean(dim=0))
    assert_allclose(found.error, error, rtol=1e-12)
    assert_allclose(found.high - found.value, t.ppf(0.975, 6) * error, rtol=1e-12)
    bounded = found.within(-0.1, 0.1)
    assert bounded.low.min() == -0.1
    assert bounded.high.max() == 0.1
    values[0, 0, 0] = -math.inf
    assert over_trajectories(values).error.isnan().sum() == 1


def test_a_series_too_short_has_no_error() -> None:
    found = over_time(torch.tensor([1.0, 2.0]).double(), torch.ones(2).double())
    assert (float(found.value), float(found.error), float(found.low)) == (1.5, math.inf, -math.inf)


def test_the_jackknife_of_a_mean_is_its_standard_error_and_unbiased() -> None:
    x, group = gaussian(60), torch.arange(60) * 12 // 60
    found, bias = jackknife(lambda kept: x[kept].mean(), group, True)
    means = x.reshape(12, 5).mean(dim=1).numpy()
    assert_allclose(found.value, x.mean())
    assert_allclose(found.error, means.std(ddof=1) / math.sqrt(12), rtol=1e-10)
    assert abs(float(bias)) < 1e-14
    _, bias = jackknife(lambda kept: x[kept].var(unbiased=False), torch.arange(60), True)
    assert_allclose(bias, x.var(unbiased=False) - x.var(), rtol=1e-10)  # -s^2/n, which the jackknife knows exactly
    alone, bias = jackknife(lambda kept: x[kept].mean(), torch.zeros(60, dtype=torch.long), False)
    assert (float(alone.error), float(alone.low)) == (math.inf, -math.inf)
    assert math.isnan(float(bias))


def test_groups_are_trajectories_or_blocks_of_one() -> None:
    active = torch.ones(5, 3, dtype=torch.bool)
    active[3:, 1] = False
    group, independent = groups(active)
    assert independent
    assert torch.bincount(group).tolist() == [5, 3, 5]
    many, _ = groups(torch.ones(2, 100, dtype=torch.bool))
    assert len(torch.bincount(many)) == 32
    blocks, independent = groups(torch.ones(130, 1, dtype=torch.bool))
    assert not independent
    assert blocks.diff().min() == 0
    assert len(torch.bincount(blocks)) == 64
    assert torch.bincount(blocks).min() >= 2


def population(noise: float) -> tuple[torch.Tensor, float]:
    """Mixing of y = L x + noise, x standard normal, and the distance of the populations."""
    mixing = torch.diag(torch.tensor([1.0, 0.8, 0.5]).double()) @ random_orthogonal(3, 5)
    nuclear = float(torch.linalg.svdvals(mixing).sum())
    sizes = math.sqrt(3 * (float(mixing.square().sum()) + 3 * noise**2))
    return mixing, math.acos(nuclear / sizes)


@pytest.mark.parametrize("trajectories", [8, 40])
def test_intervals_from_trajectories_cover_the_distance_of_gaussian_populations(trajectories: int) -> None:
    mixing, exact = population(0.4)
    inside, off, runs = 0, [], 200
    for seed in range(runs):
        x = gaussian(10, trajectories, 3, seed=seed) + 0.5 * gaussian(1, trajectories, 3, seed=1000 + seed)
        x = x / math.sqrt(1.25)  # steps of a trajectory belong together
        y = x @ mixing.T + 0.4 * gaussian(10, trajectories, 3, seed=2000 + seed)
        active = torch.ones(10, trajectories, dtype=torch.bool)
        group, independent = groups(active)
        first, second = x[active], y[active]
        found, bias = jackknife(
            lambda kept, first=first, second=second: shape_distance(first[kept], second[kept], EPS), group, independent
        )
        inside += bool((found.low <= exact) & (exact <= found.high))
        off.append(float(found.value - bias) - exact)
    assert 0.92 <= inside / runs <= 0.985
    assert abs(np.mean(off)) < 4 * np.std(off) / math.sqrt(runs)


def test_a_distance_of_few_states_is_too_small_and_the_jackknife_corrects_most_of_it() -> None:
    """Two independent Gaussian populations are pi/2 apart; the more states, the nearer a sample comes to it."""
    plain, corrected = [], []
    for seed in range(60):
        x, y = gaussian(60, 4, seed=seed), gaussian(60, 4, seed=seed + 500)
        found, bias = jackknife(lambda kept, x=x, y=y: shape_distance(x[kept], y[kept], EPS), torch.arange(60), True)
        plain.append(float(found.value))
        corrected.append(float(found.value - bias))
    short, rest = math.pi / 2 - np.mean(plain), math.pi / 2 - np.mean(corrected)
    assert short > 0.15
    assert 0 < rest < 0.6 * short


def test_intervals_from_a_single_trajectory_cover_although_its_steps_are_correlated() -> None:
    mixing, exact = population(0.4)
    inside, runs = 0, 120
    for seed in range(runs):
        x = torch.from_numpy(lfilter([0.6], [1.0, -0.8], gaussian(1700, 3, seed=seed), axis=0)[200:])
        y = x @ mixing.T + 0.4 * gaussian(1500, 3, seed=9000 + seed)
        group, independent = groups(torch.ones(1500, 1, dtype=torch.bool))
        found, _ = jackknife(lambda kept, x=x, y=y: shape_distance(x[kept], y[kept], EPS), group, independent)
        inside += bool((found.low <= exact) & (exact <= found.high))
    assert 0.9 <= inside / runs < 1

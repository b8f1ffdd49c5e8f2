"""The block Lanczos eigensolver against matrices whose spectra are known."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lyapkit.curvature.krylov.bounds import error_bounds
from lyapkit.curvature.krylov.eigenpairs import Eigenpairs, default_basis_size, leading_eigenpairs
from lyapkit.curvature.krylov.lanczos import BlockLanczos
from lyapkit.curvature.krylov.selection import Interval, interval, order

CPU = torch.device("cpu")


def symmetric(values, seed: int = 0) -> Tensor:
    """A dense matrix with these eigenvalues and random eigenvectors."""
    values = torch.as_tensor(values, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(len(values), len(values), generator=generator, dtype=torch.float64)).Q
    matrix = basis @ torch.diag(values) @ basis.T
    return (matrix + matrix.T) / 2


def solve(matrix: Tensor, k: int, *, seed: int = 0, **options) -> Eigenpairs:
    block_size = options.setdefault("block_size", 4)
    options.setdefault("basis_size", 2 * k + 8 * block_size)
    options = {"which": "LM", "tolerance": 1e-8, "resolution": 1e-12, "max_products": 20_000, **options}
    return leading_eigenpairs(
        lambda block: matrix @ block,
        len(matrix),
        k,
        generator=torch.Generator().manual_seed(seed),
        device=CPU,
        **options,
    )


def check(found: Eigenpairs, matrix: Tensor, which: str = "LM") -> None:
    """Values, vectors, residuals and bounds of a finished search, against the dense spectrum."""
    k, scale = len(found.values), max(float(torch.linalg.matrix_norm(matrix, 2)), 1e-300)
    exact = torch.linalg.eigvalsh(matrix)
    expected = exact[order(exact, which)[:k]]
    assert found.complete
    if which == "LM":  # of two with opposite signs and equal magnitudes either may come first, or be the last
        torch.testing.assert_close(found.values.abs(), expected.abs(), rtol=1e-10, atol=1e-12 * scale)
    else:
        torch.testing.assert_close(found.values, expected, rtol=1e-10, atol=1e-12 * scale)
    torch.testing.assert_close(found.vectors.T @ found.vectors, torch.eye(k).double(), rtol=0, atol=1e-12)
    residuals = (matrix @ found.vectors - found.vectors * found.values).norm(dim=0)
    torch.testing.assert_close(residuals, found.residuals, rtol=1e-3, atol=1e-14 * scale)
    distance = (found.values[:, None] - exact).abs().amin(dim=1)
    assert bool((distance <= found.error_bounds + 1e-13 * scale).all())
    assert bool((found.error_bounds <= found.residuals.norm() + 1e-12 * scale).all())


CLUSTER = [5.0, 5.0, 5.0, 4.0, -5.0, 1e-3] + [0.0] * 34


@pytest.mark.parametrize("block_size", [1, 2, 3, 4, 8])
def test_a_cluster_and_a_null_space(block_size: int) -> None:
    found = solve(symmetric(CLUSTER), 10, block_size=block_size)
    check(found, symmetric(CLUSTER))
    assert found.values.sum().item() == pytest.approx(14.001, abs=1e-9)


@pytest.mark.parametrize("block_size", [1, 2, 4])
@pytest.mark.parametrize("multiplicity", [2, 5, 9])
def test_multiplicities_beyond_the_block(block_size: int, multiplicity: int) -> None:
    """Every copy is found, within a spectrum that does not end after few steps."""
    tail = np.linspace(-0.9, 0.9, 200)
    matrix = symmetric([*[3.0] * multiplicity, *[-2.0] * multiplicity, 1.5, *tail])
    k = 2 * multiplicity + 1
    for seed in range(3):
        found = solve(matrix, k, block_size=block_size, seed=seed)
        check(found, matrix)
        assert sorted(found.values.round(decimals=6).tolist()) == sorted(
            [3.0] * multiplicity + [-2.0] * multiplicity + [1.5]
        )


def test_a_copy_that_a_random_vector_hardly_contains_is_found() -> None:
    """In many dimensions a first look from a random start sees nothing of it: one look must not suffice."""
    diagonal = torch.full((3000,), 1e-3, dtype=torch.float64) * torch.linspace(0.5, 1, 3000, dtype=torch.float64)
    diagonal[[10, 1000]] = 1.0
    for seed in range(10):
        found = leading_eigenpairs(
            lambda block: diagonal[:, None] * block, 3000, 2, which="LA", tolerance=1e-6, resolution=1e-10,
            max_products=500, block_size=1, basis_size=40, generator=torch.Generator().manual_seed(seed), device=CPU,
        )  # fmt: skip
        assert found.complete
        torch.testing.assert_close(found.values, torch.ones(2).double(), rtol=1e-9, atol=0)


@pytest.mark.parametrize("block_size", [1, 4])
@pytest.mark.parametrize("k", [1, 3, 7])
def test_zero_operator(k: int, block_size: int) -> None:
    found = solve(torch.zeros(7, 7).double(), k, block_size=block_size)
    assert found.complete
    assert found.values.tolist() == [0.0] * k
    assert found.residuals.tolist() == [0.0] * k
    assert found.error_bounds.tolist() == [0.0] * k
    assert found.products <= 2 * max(k, block_size) + k


@pytest.mark.parametrize("which", ["LM", "LA", "SA", "BE"])
@pytest.mark.parametrize("k", [1, 2, 30])
def test_rank_one(k: int, which: str) -> None:
    vector = torch.linspace(-1, 2, 30).double()
    matrix = torch.outer(vector, vector)
    check(solve(matrix, k, which=which), matrix, which)


@pytest.mark.parametrize("which", ["LM", "LA", "SA", "BE"])
def test_pairs_of_opposite_sign(which: str) -> None:
    half = torch.linspace(0.1, 4, 40).double() ** 2
    matrix = symmetric(torch.cat((half, -half)))
    check(solve(matrix, 12, which=which), matrix, which)


@pytest.mark.parametrize("block_size", [1, 3, 4, 50])
@pytest.mark.parametrize("size", [1, 2, 5, 33])
def test_the_whole_spectrum(size: int, block_size: int) -> None:
    matrix = symmetric(np.random.default_rng(size).standard_normal(size).round(1))
    check(solve(matrix, size, block_size=block_size), matrix)


SPECTRA = st.lists(st.sampled_from([-3.0, -1.0, -0.5, 0.0, 0.1, 0.5, 0.7, 1.0, 2.0, 3.0]), min_size=1, max_size=40)


@given(
    values=SPECTRA,
    which=st.sampled_from(["LM", "LA", "SA", "BE"]),
    block_size=st.integers(1, 6),
    fraction=st.floats(0, 1),
    extra=st.integers(0, 30),
    seed=st.integers(0, 100),
)
def test_any_spectrum_of_any_multiplicities(values, which, block_size, fraction, extra, seed) -> None:
    matrix = symmetric(values, seed)
    k = max(1, math.ceil(fraction * len(values)))
    found = solve(matrix, k, which=which, block_size=block_size, basis_size=k + 2 * block_size + extra, seed=seed)
    check(found, matrix, which)


@given(
    pool=st.lists(st.sampled_from([-3.0, -1.0, 0.0, 1e-6, 0.1, 0.5, 2.0]), min_size=1, max_size=3, unique=True),
    picks=st.lists(st.integers(0, 2), min_size=2, max_size=12),
    which=st.sampled_from(["LM", "LA", "SA", "BE"]),
    k=st.integers(1, 5),
    block_size=st.integers(1, 8),
    seed=st.integers(0, 10_000),
)
@settings(max_examples=200)
def test_few_eigenvalues_of_high_multiplicity_in_a_tiny_space(pool, picks, which, k, block_size, seed) -> None:
    """The first blocks meet eigenspaces by the count of dimensions alone; all copies are found all the same."""
    values = [pool[pick % len(pool)] for pick in picks]
    k = min(k, (len(values) - 1) // 2) or 1  # fewer than half, so that there is a search
    matrix = symmetric(values, seed)
    found = solve(matrix, k, which=which, block_size=block_size, basis_size=20, seed=seed)
    assert found.method == ("lanczos" if len(values) > 2 * k else "dense")
    check(found, matrix, which)


@pytest.mark.parametrize(
    ("values", "k", "block_size"),
    [
        ([-3.0, -3.0, 0.5, 0.5, 0.5], 2, 3),
        ([-3.0, -3.0, 0.5, 0.5, 0.5], 2, 4),
        ([-1.0, 2.0, -1.0], 1, 2),
        ([-5.0] + [0.1] * 199, 1, 4),
        ([-5.0, 4.0] + [0.1] * 40, 1, 5),
    ],
)
def test_vectors_that_are_exact_by_the_count_of_dimensions_are_not_the_end(values, k: int, block_size: int) -> None:
    """Three vectors in five dimensions hold one of each plane's; four hold three of a space that is all but one."""
    matrix = symmetric(values, seed=2)
    for seed in range(20):
        check(solve(matrix, k, block_size=block_size, basis_size=20, seed=seed), matrix)


def test_copies_of_a_small_eigenvalue_beside_a_large_one_that_is_not_wanted() -> None:
    """Copies agree to the rounding of the largest eigenvalue, also where that is not among the wanted ones."""
    matrix = symmetric([1e-6] * 13 + [0.0] * 10 + [-0.5] * 10, seed=7)
    for seed in range(20):
        check(solve(matrix, 7, which="LA", block_size=2, basis_size=17, seed=seed), matrix, "LA")


@pytest.mark.parametrize("which", ["LM", "LA", "SA", "BE"])
@pytest.mark.parametrize("k", [10, 13, 20])
def test_half_of_the_spectrum_takes_as_many_products_as_there_are_dimensions(k: int, which: str) -> None:
    matrix, multiplied = symmetric([2.0] * 5 + [-1.0] * 5 + [0.0] * 5 + [1e-6, 1e-3, -0.5, 0.7, 3.0]), []

    def product(block: Tensor) -> Tensor:
        multiplied.append(block.shape[1])
        return matrix @ block

    found = leading_eigenpairs(
        product, 20, k, which=which, tolerance=1e-8, resolution=1e-12, max_products=2 * k, block_size=4,
        basis_size=k + 8, generator=torch.Generator().manual_seed(0), device=CPU,
    )  # fmt: skip
    check(found, matrix, which)
    assert found.method == "dense"
    assert sum(multiplied) == found.products == 20
    assert float(found.error_bounds.max()) < 1e-13


def test_a_small_basis_gives_the_same_with_more_products() -> None:
    matrix = symmetric(np.random.default_rng(0).standard_normal(300))
    wide, narrow = (solve(matrix, 10, basis_size=size) for size in (300, 18))
    for found in (wide, narrow):
        check(found, matrix)
    assert wide.products < narrow.products


def test_the_default_basis_is_bounded_and_saves_products() -> None:
    assert default_basis_size(10_000_000, 50, 4) == 132
    assert default_basis_size(100_000, 10, 2) == 2**27 // 800_000
    assert default_basis_size(750, 20, 1) == 750
    matrix = symmetric(np.linspace(0, 1, 400) ** 2)  # no gap after the ten largest
    least, default = (solve(matrix, 10, basis_size=size) for size in (10 + 8, default_basis_size(400, 10, 4)))
    medium = solve(matrix, 10, basis_size=2 * 10 + 8 * 4)
    for found in (least, medium, default):
        check(found, matrix)
    assert default.products < 0.9 * medium.products
    assert medium.products < least.products


def test_the_basis_stays_orthonormal_within_its_capacity_and_knows_its_residuals() -> None:
    """Also long after eigenvalues have converged, when a basis without reorthogonalisation has copies of them."""
    values = torch.cat((torch.tensor([1e3, 50.0, 10.0]), torch.linspace(0, 1, 197))).double()
    matrix = symmetric(values)
    known = torch.linalg.eigh(matrix).eigenvectors[:, -1:].T  # that of 1e3
    start = torch.randn(3, 200, generator=torch.Generator().manual_seed(0)).double()
    run = BlockLanczos(lambda block: matrix @ block, start, known, 24)
    for _ in range(40):
        run.expand(3)
        pairs = run.ritz()
        rows = run.vectors(torch.eye(run.count).double())
        assert run.count <= 24
        everything = torch.cat((known, rows))
        torch.testing.assert_close(everything @ everything.T, torch.eye(len(everything)).double(), rtol=0, atol=1e-13)
        vectors = run.vectors(pairs.weights)
        images = vectors @ matrix
        images = images - (images @ known.T) @ known
        residuals = (images - pairs.values[:, None] * vectors).norm(dim=1)
        torch.testing.assert_close(residuals, pairs.residuals, rtol=1e-9, atol=1e-10)
        if run.count + run.pending > run.capacity:
            run.restart(pairs.weights[:, -10:], pairs.values[-10:])
    torch.testing.assert_close(pairs.values[-2:].flip(0), torch.tensor([50.0, 10.0]).double(), rtol=1e-12, atol=0)
    assert int((pairs.values > 1.001).sum()) == 2  # no copies


def test_products_that_are_rounded_to_single_precision() -> None:
    values = torch.cat((torch.tensor([100.0, 30.0, 30.0, -8.0]), torch.linspace(0.1, 2, 96))).double()
    matrix = symmetric(values)
    rough = matrix.float()
    found = leading_eigenpairs(
        lambda block: (rough @ block.float()).double(), 100, 30, which="LM", tolerance=1e-3, resolution=1e-5,
        max_products=2000, block_size=4, basis_size=90, generator=torch.Generator().manual_seed(0), device=CPU,
    )  # fmt: skip
    expected = torch.linalg.eigvalsh(rough.double()).flip(0)
    expected = expected[expected.abs().argsort(descending=True)][:30]
    assert found.complete
    torch.testing.assert_close(found.values, expected, rtol=1e-5, atol=1e-5)
    assert bool(((found.values - expected).abs() <= found.error_bounds).all())


def test_done_with_the_last_product_is_done() -> None:
    """The search of a rank-one operator ends after two products, whether more are allowed or not."""
    vector = torch.linspace(-1, 2, 30).double()
    matrix = torch.outer(vector, vector)
    for allowed in (3, 4, 50):
        found = solve(matrix, 1, block_size=1, max_products=allowed)
        assert found.complete
        assert found.products == 3


def test_the_smallest_of_a_positive_spectrum_converge_on_the_scale_of_the_largest() -> None:
    values = np.concatenate((np.zeros(5), np.linspace(1e-3, 50, 60)))
    found = solve(symmetric(values), 4, which="SA", resolution=1e-10)
    check(found, symmetric(values), "SA")
    assert 45 < found.largest <= 50 + 1e-9


@pytest.mark.parametrize("allowed", [8, 9, 10, 15, 29])
@pytest.mark.parametrize("block_size", [1, 3, 4])
def test_no_more_products_than_allowed(allowed: int, block_size: int) -> None:
    matrix, multiplied = symmetric(np.linspace(-1, 1, 60)), []

    def product(block: Tensor) -> Tensor:
        multiplied.append(block.shape[1])
        return matrix @ block

    found = leading_eigenpairs(
        product, 60, 4, which="LM", tolerance=1e-8, resolution=1e-12, max_products=allowed, block_size=block_size,
        basis_size=4 + 2 * block_size, generator=torch.Generator().manual_seed(0), device=CPU,
    )  # fmt: skip
    assert sum(multiplied) == found.products == allowed
    assert found.values.shape == (4,)
    assert not found.complete
    residuals = (matrix @ found.vectors - found.vectors * found.values).norm(dim=0)
    torch.testing.assert_close(residuals, found.residuals)
    assert residuals.max() > 1e-3


def test_a_product_that_is_not_finite_is_refused() -> None:
    for k in (2, 5):
        with pytest.raises(FloatingPointError, match="a curvature product is not finite"):
            solve(torch.full((5, 5), math.nan, dtype=torch.float64), k)


# --- warm starts


def test_a_warm_start_saves_products() -> None:
    values = np.concatenate((2.0 ** -np.arange(12), 1e-4 * np.random.default_rng(0).standard_normal(500)))
    matrix = symmetric(values)
    nearby = matrix + 1e-4 * symmetric(np.random.default_rng(1).standard_normal(512), seed=1)
    before = solve(matrix, 10)
    cold = [solve(nearby, 10, seed=seed) for seed in range(5)]
    warm = [solve(nearby, 10, seed=seed, start=before.vectors) for seed in range(5)]
    for found in cold + warm:
        check(found, nearby)
    assert sum(found.products for found in warm) < 0.93 * sum(found.products for found in cold)


@pytest.mark.parametrize("count", [1, 3, 20])
def test_a_misleading_start_does_not_hide_the_leading_eigenvalue(count: int) -> None:
    """The start vectors are eigenvectors of small eigenvalues, exactly orthogonal to what is wanted."""
    matrix = symmetric(np.concatenate(([9.0, -7.0, 5.0], np.linspace(0, 1, 197))))
    vectors = torch.linalg.eigh(matrix).eigenvectors
    for seed in range(5):
        check(solve(matrix, 3, start=vectors[:, 1 : 1 + count], seed=seed), matrix)


# --- bounds on errors


def test_bounds_in_two_dimensions_by_hand() -> None:
    """[[2, e], [e, 0]] seen from its first axis: theta = 2, r = e, lambda = 1 + sqrt(1 + e^2)."""
    e = 1e-3
    (bound,) = error_bounds(np.array([2.0]), np.array([e]), Interval(-math.inf, 0.0))
    assert bound == e**2 / 2
    assert math.sqrt(1 + e**2) - 1 <= bound
    assert error_bounds(np.array([2.0]), np.array([e]), Interval(-math.inf, 2.0)).tolist() == [e]  # no gap
    assert error_bounds(np.array([2.0]), np.array([e]), None).tolist() == [0.0]  # alone in one dimension


def test_a_group_of_close_values_has_a_quadratic_bound_too() -> None:
    values, residuals = np.array([3.0, 1.0, 3.0]), np.array([1e-4, 1e-4, 1e-4])
    bound = error_bounds(values, residuals, Interval(-0.5, 0.5))
    square = 2e-8
    np.testing.assert_allclose(bound[[0, 2]], square / (2 - 1e-4 - math.sqrt(square)))
    np.testing.assert_allclose(bound[1], 1e-8 / 0.5)


def test_a_large_residual_beside_it_does_not_blur_a_small_one() -> None:
    bound = error_bounds(np.array([1e6, 1.0]), np.array([1.0, 1e-12]), Interval(-0.5, 0.5))
    np.testing.assert_allclose(bound, [1 / (1e6 - 1 - 1e-12), 1e-24 / 0.5])


def test_values_whose_intervals_overlap_share_one_bound() -> None:
    """Two Ritz values may both be near the same eigenvalue: only together do they have two within their residuals."""
    bound = error_bounds(np.array([1.0, 1.1]), np.array([0.3, 0.4]), Interval(0.0, 0.9))
    np.testing.assert_allclose(bound, [0.5, 0.5])


@given(
    values=st.lists(st.floats(-3, 3), min_size=3, max_size=25),
    which=st.sampled_from(["LM", "LA", "SA", "BE"]),
    size=st.floats(-7, -1),
    fraction=st.floats(0, 1),
    seed=st.integers(0, 50),
)
def test_no_error_exceeds_its_bound(values, which, size, fraction, seed) -> None:
    """Ritz pairs of a perturbed invariant subspace: none is missed as long as the rest is where it was."""
    matrix = symmetric(values, seed)
    k = min(max(1, math.ceil(fraction * len(values))), len(values) - 1)
    exact, vectors = torch.linalg.eigh(matrix)
    taken = order(exact, which)[:k]
    noise = torch.randn(len(values), k, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
    frame = torch.linalg.qr(vectors[:, taken] + 10**size * noise).Q
    theta, weights = torch.linalg.eigh(frame.T @ matrix @ frame)
    residuals = (matrix @ frame @ weights - frame @ weights * theta).norm(dim=0)
    others = np.delete(exact.numpy(), taken.numpy())
    # the assumption of the bounds: what was left out lies within this interval
    rest = Interval(others.min(), others.max())
    bounds = error_bounds(theta.numpy(), residuals.numpy(), rest)
    distance = np.abs(theta.numpy()[:, None] - exact.numpy()).min(axis=1)
    assert (distance <= bounds + 1e-13).all()
    gap = np.abs(others[:, None] - exact[taken].numpy()).min()
    if np.linalg.norm(residuals) < gap / 2:  # then it is clear which eigenvalues these are
        assert (np.abs(theta.numpy() - np.sort(exact[taken].numpy())) <= bounds + 1e-13).all()


# --- what is wanted


def test_which_eigenvalues_are_wanted_first() -> None:
    values = torch.tensor([1.0, -3.0, 2.0, 0.0, -1.0])
    expected = {
        "LM": [-3.0, 2.0, 1.0, -1.0, 0.0],
        "LA": [2.0, 1.0, 0.0, -1.0, -3.0],
        "SA": [-3.0, -1.0, 0.0, 1.0, 2.0],
        "BE": [2.0, -3.0, 1.0, -1.0, 0.0],
    }
    for which, ordered in expected.items():
        assert values[order(values, which)].tolist() == ordered


def test_where_the_others_lie() -> None:
    taken = torch.tensor([2.0, -3.0, 1.0])
    assert interval(taken, "LM") == Interval(-1.0, 1.0)
    assert interval(torch.tensor([2.0, 1.0]), "LA") == Interval(-math.inf, 1.0)
    assert interval(torch.tensor([-2.0, -1.0]), "SA") == Interval(-1.0, math.inf)
    assert interval(taken, "BE") == Interval(-3.0, 1.0)
    assert interval(torch.tensor([2.0]), "BE") == Interval(-math.inf, 2.0)

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch.func import jvp, vmap

from wcrnn_models import residuals
from wcrnn_models.models.residuals import ProductResidual, Residual, ResidualSpec, informed_coupling
from wcrnn_models.models.residuals.orthogonal import haar

# importing forward mode warns once about PyTorch's own use of torch.jit
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")

SIZE = 6
ANGLES = torch.tensor([0.3, 2.0, 5.5], dtype=torch.float64)
DIAGONAL = torch.tensor([0.9, -1.1, 0.0, 1.0, 0.5, 0.25], dtype=torch.float64)
MATRIX = torch.linspace(-1, 1, SIZE * SIZE, dtype=torch.float64).reshape(SIZE, SIZE).sin()


def rotation_matrix(angles: list[float], r: float) -> torch.Tensor:
    """Eq. (16), written out block by block."""
    matrix = torch.zeros(2 * len(angles), 2 * len(angles), dtype=torch.float64)
    for block, phi in enumerate(angles):
        matrix[2 * block, 2 * block] = r * math.cos(phi)
        matrix[2 * block, 2 * block + 1] = -r * math.sin(phi)
        matrix[2 * block + 1, 2 * block] = r * math.sin(phi)
        matrix[2 * block + 1, 2 * block + 1] = r * math.cos(phi)
    return matrix


def gauss_orthogonal(size: int, seed: int) -> torch.Tensor:
    """The Haar matrix of a seed by Gram-Schmidt, whose triangular factor has a positive diagonal."""
    columns: list[torch.Tensor] = []
    for column in torch.empty(size, size, dtype=torch.float64).normal_(generator=torch.Generator().manual_seed(seed)).T:
        for _ in range(2):  # again, against rounding
            for other in columns:
                column = column - (other @ column) * other
        columns.append(column / column.norm())
    return torch.stack(columns, dim=1)


CASES: dict[str, tuple[ResidualSpec, torch.Tensor]] = {
    "scalar": (residuals.scalar(0.995), 0.995 * torch.eye(SIZE, dtype=torch.float64)),
    "negative scalar": (residuals.scalar(-2), -2.0 * torch.eye(SIZE, dtype=torch.float64)),
    "homogeneous rotation": (residuals.rotation(0.2244, 0.98), rotation_matrix([0.2244] * 3, 0.98)),
    "rotation": (residuals.rotation(ANGLES), rotation_matrix(ANGLES.tolist(), 1.0)),
    "diagonal": (residuals.diagonal(DIAGONAL), torch.diag(DIAGONAL)),
    "dense": (residuals.dense(MATRIX), MATRIX),
    "orthogonal": (residuals.orthogonal(0.9, rng=3), 0.9 * gauss_orthogonal(SIZE, 3)),
    "product": (
        residuals.product(residuals.rotation(ANGLES), residuals.diagonal(DIAGONAL)),
        rotation_matrix(ANGLES.tolist(), 1.0) @ torch.diag(DIAGONAL),
    ),
    "product of three": (
        residuals.product(residuals.dense(MATRIX), residuals.scalar(0.5), residuals.rotation(0.3)),
        0.5 * MATRIX @ rotation_matrix([0.3] * 3, 1.0),
    ),
}
each_case = pytest.mark.parametrize(("spec", "matrix"), CASES.values(), ids=CASES.keys())


def sorted_complex(values: torch.Tensor) -> torch.Tensor:
    return torch.tensor(sorted(values.tolist(), key=lambda z: (round(z.real, 9), z.imag)))


@each_case
def test_forward_and_matrix_equal_the_explicit_matrix(spec, matrix):
    residual = spec.build(SIZE, dtype=torch.float64)
    states = torch.randn(4, 3, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(residual(states), states @ matrix.T, rtol=1e-14, atol=1e-15)
    torch.testing.assert_close(residual(states[0, 0]), matrix @ states[0, 0], rtol=1e-14, atol=1e-15)
    torch.testing.assert_close(residual.matrix(), matrix, rtol=1e-15, atol=1e-15)


@each_case
def test_eigenvalues_and_log_magnitudes(spec, matrix):
    residual = spec.build(SIZE, dtype=torch.float64)
    expected = torch.linalg.eigvals(matrix)
    assert residual.eigenvalues().dtype == torch.complex128
    torch.testing.assert_close(sorted_complex(residual.eigenvalues()), sorted_complex(expected), rtol=1e-12, atol=1e-12)
    magnitudes = residual.log_magnitudes()
    assert magnitudes.dtype == torch.float64
    assert bool((magnitudes[:-1] >= magnitudes[1:]).all())
    torch.testing.assert_close(magnitudes.exp(), expected.abs().sort(descending=True).values, rtol=1e-12, atol=1e-12)


def test_a_zero_eigenvalue_is_minus_infinity():
    assert residuals.diagonal(DIAGONAL).build(SIZE).log_magnitudes()[-1] == -math.inf
    assert residuals.scalar(0.0).build(2).log_magnitudes().tolist() == [-math.inf, -math.inf]


@each_case
def test_gradients_twice_and_under_torch_func(spec, matrix):
    residual = spec.build(SIZE, dtype=torch.float64)
    state = torch.randn(3, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    state.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: residual(x).sin(), (state,))
    assert torch.autograd.gradgradcheck(lambda x: residual(x).sin(), (state,))
    point, tangents = state.detach()[0], torch.eye(SIZE, dtype=torch.float64)
    columns = vmap(lambda tangent: jvp(residual, (point,), (tangent,))[1])(tangents)
    torch.testing.assert_close(columns.T, matrix, rtol=1e-14, atol=1e-15)


@each_case
def test_buffers_are_cast_saved_and_not_trained(spec, matrix):
    residual = spec.build(SIZE, dtype=torch.float32)
    assert list(residual.parameters()) == []
    assert {buffer.dtype for buffer in residual.buffers()} == {torch.float32}
    assert set(residual.state_dict()) == {name for name, _ in residual.named_buffers()} != set()
    # computed in float64 and rounded once: the float32 entries are the nearest ones, up to rounding of a product
    atol = 5e-7 if isinstance(residual, ProductResidual) else 0
    torch.testing.assert_close(residual.matrix(), matrix.to(torch.float32), rtol=1.2e-7, atol=atol)
    assert residual(torch.ones(SIZE)).dtype == torch.float32
    assert residual.double().matrix().dtype == torch.float64


def test_rotation_entries_are_rounded_from_float64():
    residual = residuals.rotation(ANGLES).build(SIZE, dtype=torch.float32)
    assert torch.equal(residual.matrix(), rotation_matrix(ANGLES.tolist(), 1.0).to(torch.float32))


def test_default_dtype_is_that_of_pytorch():
    assert residuals.scalar(0.5).build(3).matrix().dtype == torch.get_default_dtype()


@given(phi=st.lists(st.floats(0, 2 * math.pi), min_size=1, max_size=5), r=st.floats(0.5, 1.5, allow_nan=False))
@settings(deadline=None, max_examples=30)
def test_rotation_scales_every_norm_by_r(phi, r):
    residual = residuals.rotation(torch.tensor(phi, dtype=torch.float64), r).build(2 * len(phi), dtype=torch.float64)
    state = torch.linspace(-1, 2, 2 * len(phi), dtype=torch.float64)
    torch.testing.assert_close(residual(state).norm(), r * state.norm(), rtol=1e-13, atol=0)
    torch.testing.assert_close(residual.log_magnitudes(), torch.full((2 * len(phi),), math.log(r), dtype=torch.float64))


def test_random_angles_are_reproducible_and_cover_the_circle():
    build = lambda rng: residuals.rotation("random", rng=rng).build(2000, dtype=torch.float64)  # noqa: E731
    first = build(3)
    assert torch.equal(first.matrix(), build(3).matrix())
    assert not torch.equal(first.matrix(), build(4).matrix())
    angles = torch.atan2(first.scaled_sine, first.scaled_cosine) % (2 * math.pi)
    assert 0 <= float(angles.min()) < 0.05 < 6.2 < float(angles.max()) < 2 * math.pi
    # the mean of 1000 uniform angles is pi within 4 standard errors
    assert abs(float(angles.mean()) - math.pi) < 4 * 2 * math.pi / math.sqrt(12 * 1000)


def test_heterogeneous_entries_are_uniform_in_their_interval():
    entries = residuals.heterogeneous(0.96, 0.06, rng=0).build(4000, dtype=torch.float64).r
    assert 0.93 <= float(entries.min()) < 0.9301 < 0.9899 < float(entries.max()) <= 0.99
    assert abs(float(entries.mean()) - 0.96) < 4 * 0.06 / math.sqrt(12 * 4000)
    torch.testing.assert_close(float(entries.std()), 0.06 / math.sqrt(12), rtol=0.05, atol=0)


def test_orthogonal_matrices_are_orthogonal():
    matrix = residuals.orthogonal(1.0, rng=0).build(50, dtype=torch.float64).matrix()
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(50, dtype=torch.float64), rtol=0, atol=1e-13)
    magnitudes = residuals.orthogonal(0.9, rng=0).build(50, dtype=torch.float64).log_magnitudes()
    torch.testing.assert_close(magnitudes, torch.full((50,), math.log(0.9), dtype=torch.float64), rtol=0, atol=1e-13)


@pytest.mark.parametrize("size", [2, 3, 7])
def test_orthogonal_matrices_have_the_haar_distribution(size):
    """Against known distributions, and against samples of `scipy.stats.ortho_group`, at a level of 0.1 %."""
    count, generator = 1500, torch.Generator().manual_seed(1)
    mine = torch.stack([haar(size, generator) for _ in range(count)]).numpy()
    scipys = stats.ortho_group.rvs(size, size=count, random_state=2)
    # a column is uniform on the sphere: x^2 ~ Beta(1/2, (N-1)/2) for every entry
    for row, column in ((0, 0), (size - 1, 0), (0, size - 1)):
        squares = mine[:, row, column] ** 2
        assert stats.kstest(squares, stats.beta(0.5, (size - 1) / 2).cdf).pvalue > 1e-3
    # rotations and reflections alike
    assert abs(np.linalg.det(mine).mean()) < 3.3 / math.sqrt(count)
    # moments of the traces (Diaconis & Shahshahani): E tr Q = 0, E (tr Q)^2 = 1, E tr Q^2 = 1
    trace, second = np.trace(mine, axis1=1, axis2=2), np.trace(mine @ mine, axis1=1, axis2=2)
    for values, expected in ((trace, 0), (trace**2, 1), (second, 1)):
        assert abs(values.mean() - expected) < 3.3 * values.std() / math.sqrt(count)
    # eigenvalue angles, which repel each other, and the largest entry: the same as SciPy's
    for measure in (smallest_angle, lambda matrix: np.abs(matrix).max()):
        one, other = ([measure(matrix) for matrix in matrices] for matrices in (mine, scipys))
        assert stats.ks_2samp(one, other).pvalue > 1e-3


def smallest_angle(matrix: np.ndarray) -> float:
    angles = np.sort(np.abs(np.angle(np.linalg.eigvals(matrix))))
    return float(angles[-1] - angles[0])


def test_a_product_acts_from_right_to_left_and_keeps_its_factors():
    turn, stretch = residuals.rotation(0.5), residuals.diagonal(torch.tensor([2.0, 1.0]))
    residual = residuals.product(turn, stretch).build(2, dtype=torch.float64)
    moved = residual(torch.tensor([1.0, 0.0], dtype=torch.float64))
    torch.testing.assert_close(moved, 2 * torch.tensor([math.cos(0.5), math.sin(0.5)], dtype=torch.float64))
    assert set(residual.state_dict()) == {"factors.0.scaled_cosine", "factors.0.scaled_sine", "factors.1.r"}
    single = residuals.product(residuals.scalar(0.5)).build(3)
    assert torch.equal(single.matrix(), 0.5 * torch.eye(3))


@given(
    phi=st.lists(st.floats(0, math.pi), min_size=1, max_size=4),
    r=st.floats(0.5, 1.5),
    spread=st.floats(0.0, 0.4),
    seed=st.integers(0, 1000),
)
def test_the_volume_of_a_product_is_the_product_of_the_volumes(phi, r, spread, seed):
    """sum_i log |eig_i R| adds up over factors, though the eigenvalues themselves do not multiply."""
    size = 2 * len(phi)
    factors = [residuals.rotation(torch.tensor(phi).double(), r), residuals.heterogeneous(1.0, spread, rng=seed)]
    total = residuals.product(*factors).build(size, dtype=torch.float64).log_magnitudes().sum()
    parts = sum(factor.build(size, dtype=torch.float64).log_magnitudes().sum() for factor in factors)
    torch.testing.assert_close(total, parts, rtol=0, atol=1e-9)


def test_the_informed_residual_is_a_rotation_times_a_diagonal():
    residual = residuals.informed(rng=0).build(4000, dtype=torch.float64)
    turn, stretch = residual.factors
    angles = torch.atan2(turn.scaled_sine, turn.scaled_cosine)
    torch.testing.assert_close(turn.scaled_sine**2 + turn.scaled_cosine**2, torch.ones(2000).double())
    for values, low, high in (
        (angles, 0.0, math.pi / 4),
        (stretch.r, 0.99, 1.0),
        (informed_coupling(4000, rng=1), 0.005, 0.05),
    ):
        assert stats.kstest(values.numpy(), stats.uniform(low, high - low).cdf).pvalue > 1e-3
        assert low <= float(values.min())
        assert float(values.max()) <= high
    small = residuals.informed(rng=0).build(8, dtype=torch.float64)
    # a block T diag(r_1, r_2) with complex eigenvalues has |eigenvalue| = sqrt(r_1 r_2)
    stretch, (cosine, _) = small.factors[1].r.reshape(4, 2), small.factors[0].buffers()
    is_complex = (cosine * stretch.sum(1)) ** 2 < 4 * stretch.prod(1)
    expected = stretch.prod(1).sqrt().log()[is_complex]
    found = small.log_magnitudes()
    for value in expected:
        assert int((found - value).abs().lt(1e-12).sum()) >= 2


def test_angles_and_magnitudes_of_the_informed_residual_are_independent():
    """One seed must not give both factors the same uniform numbers."""
    turn, stretch = residuals.informed(rng=0).build(2000, dtype=torch.float64).factors
    angles = torch.atan2(turn.scaled_sine, turn.scaled_cosine).numpy()
    assert abs(np.corrcoef(angles, stretch.r[:1000].numpy())[0, 1]) < 0.11


def test_a_generator_is_advanced_and_the_global_one_is_not_touched():
    generator = torch.Generator().manual_seed(0)
    state = torch.get_rng_state()
    spec = residuals.heterogeneous(0.9, 0.1, rng=generator)
    assert not torch.equal(spec.build(8).matrix(), spec.build(8).matrix())
    assert torch.equal(state, torch.get_rng_state())


def test_without_rng_the_global_generator_is_used():
    spec = residuals.heterogeneous(0.9, 0.1)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        first = spec.build(8).matrix()
        torch.manual_seed(5)
        assert torch.equal(first, spec.build(8).matrix())


def test_the_spec_keeps_a_copy():
    matrix = torch.eye(2)
    spec = residuals.dense(matrix)
    first = spec.build(2)
    matrix.zero_()
    assert torch.equal(first.matrix(), torch.eye(2))
    first.weight.zero_()
    assert torch.equal(spec.build(2).matrix(), torch.eye(2))


def test_descriptions():
    assert residuals.scalar(0.995).description == "scalar(r=0.995)"
    assert residuals.rotation("random").description == "rotation(phi=random, r=1)"
    assert residuals.rotation(torch.tensor(0.5)).description == "rotation(phi=0.5, r=1)"
    assert residuals.heterogeneous(0.9, 0.1).description == "heterogeneous(r0=0.9, delta_r=0.1)"
    assert residuals.orthogonal(0.9).description == "orthogonal(r=0.9)"
    assert residuals.informed().description == "informed"
    assert residuals.product(residuals.scalar(1), residuals.orthogonal()).description == "scalar(r=1) * orthogonal(r=1)"


NAN = float("nan")


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: residuals.scalar(NAN), ValueError, "r must be finite, got nan"),
        (
            lambda: residuals.scalar(-1e39).build(3, dtype=torch.float32),
            ValueError,
            r"^r must not exceed 3.40282347e\+38, the largest number of torch.float32, got 1e\+39\.$",
        ),
        (
            lambda: residuals.dense(torch.eye(2, dtype=torch.float64) * 1e300).build(2, dtype=torch.float32),
            ValueError,
            r"^weight must not exceed .* got 1e\+300\.$",
        ),
        (lambda: residuals.scalar("1"), TypeError, "r must be a real number, got str"),
        (lambda: residuals.rotation(math.inf), ValueError, "phi must be finite"),
        (lambda: residuals.rotation(0.1, NAN), ValueError, "r must be finite"),
        (lambda: residuals.rotation("randon"), ValueError, "Did you mean 'random'"),
        (
            lambda: residuals.rotation(torch.zeros(2, 2)),
            ValueError,
            r"vector of N/2 angles, got shape \(2, 2\)",
        ),
        (lambda: residuals.rotation(torch.tensor([0.0, NAN])), ValueError, r"got nan at index \(1,\)"),
        (lambda: residuals.rotation(torch.zeros(3)).build(4), ValueError, "4 units needs 2 angles.*got 3"),
        (lambda: residuals.rotation(0.1).build(5), ValueError, "even hidden_size, got 5; use 6"),
        (lambda: residuals.rotation("random").build(1), ValueError, "even hidden_size, got 1; use 2"),
        (lambda: residuals.heterogeneous(0.9, -0.1), ValueError, "delta_r .* must be >= 0, got -0.1"),
        (lambda: residuals.heterogeneous(NAN, 0.1), ValueError, "r0 must be finite"),
        (
            lambda: residuals.diagonal(torch.zeros(2, 2)),
            ValueError,
            r"one entry per unit, got shape \(2, 2\)",
        ),
        (lambda: residuals.diagonal(torch.zeros(3)).build(4), ValueError, "needs 4 entries, got 3"),
        (lambda: residuals.diagonal([1.0]), TypeError, "must be a torch.Tensor, got list"),
        (lambda: residuals.dense(torch.zeros(2, 3)), ValueError, r"must be square.*got shape \(2, 3\)"),
        (lambda: residuals.dense(torch.zeros(2)), ValueError, "use residuals.diagonal"),
        (lambda: residuals.dense(torch.full((2, 2), NAN)), ValueError, r"got nan at index \(0, 0\)"),
        (lambda: residuals.dense(torch.eye(2, dtype=torch.complex64)), TypeError, "must be real"),
        (lambda: residuals.dense(torch.eye(3)).build(2), ValueError, r"must be 2 x 2, got \(3, 3\)"),
        (lambda: residuals.orthogonal(NAN), ValueError, r"^r must be finite, got nan\.$"),
        (lambda: residuals.informed().build(5), ValueError, "needs an even hidden_size, got 5; use 6"),
        (lambda: residuals.product(), ValueError, "a product needs at least one factor; for the identity"),
        (
            lambda: residuals.product(torch.eye(2)),
            TypeError,
            "must be a ResidualSpec .* got Tensor; .*dense",
        ),
        (
            lambda: residuals.product(residuals.dense(torch.eye(3))).build(2),
            ValueError,
            "residual for 2 units must be 2 x 2",
        ),
        (lambda: informed_coupling(3, rng=-1), ValueError, "rng must be a seed >= 0"),
        (lambda: residuals.scalar(1.0).build(0), ValueError, "at least 1, got 0"),
        (lambda: residuals.heterogeneous(0.9, 0.1, rng=-1).build(2), ValueError, "seed >= 0, got -1"),
        (lambda: residuals.heterogeneous(0.9, 0.1, rng=1.5).build(2), TypeError, "an int or None, got float"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refusals(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_the_base_class_cannot_be_made():
    with pytest.raises(TypeError, match="abstract"):
        Residual()

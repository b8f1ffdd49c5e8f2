import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import jvp, vmap

from wcrnn_models import residuals
from wcrnn_models.residuals import Residual, ResidualSpec

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


CASES: dict[str, tuple[ResidualSpec, torch.Tensor]] = {
    "scalar": (residuals.scalar(0.995), 0.995 * torch.eye(SIZE, dtype=torch.float64)),
    "negative scalar": (residuals.scalar(-2), -2.0 * torch.eye(SIZE, dtype=torch.float64)),
    "homogeneous rotation": (residuals.rotation(0.2244, 0.98), rotation_matrix([0.2244] * 3, 0.98)),
    "rotation": (residuals.rotation(ANGLES), rotation_matrix(ANGLES.tolist(), 1.0)),
    "diagonal": (residuals.diagonal(DIAGONAL), torch.diag(DIAGONAL)),
    "dense": (residuals.dense(MATRIX), MATRIX),
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
    torch.testing.assert_close(residual.matrix(), matrix, rtol=1e-15, atol=0)


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
    # computed in float64 and rounded once: the float32 entries are the nearest ones
    torch.testing.assert_close(residual.matrix(), matrix.to(torch.float32), rtol=1.2e-7, atol=0)
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


NAN = float("nan")


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: residuals.scalar(NAN), ValueError, "r must be finite, got nan"),
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

"""Complex states as pairs of real numbers: diagonal recurrences (LRU, S4D), mixed states, maps without analyticity."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lyapkit import (
    as_map,
    covariant_vectors,
    gradient_propagation,
    lyapunov_exponents,
    lyapunov_spectrum,
    variational_term,
)
from lyapkit.testing import check_map

UNITS = 4
RADIUS, ANGLE = torch.tensor([0.95, 0.4, 0.7, 0.85]).double(), torch.tensor([0.1, 2.5, -1.0, 3.0]).double()
EIGENVALUES = torch.polar(RADIUS, ANGLE)
EXPONENTS = RADIUS.log().sort(descending=True).values.repeat_interleave(2).numpy()  # each twice


def gaussian(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def to_pairs(z: Tensor) -> Tensor:
    """(..., n) complex to (..., 2n) real."""
    return torch.view_as_real(z.resolve_conj()).flatten(-2)


def to_complex(x: Tensor) -> Tensor:
    """(..., 2n) real to (..., n) complex."""
    return torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())


def diagonal(driven: bool, dtype: torch.dtype = torch.complex128):
    """x' = Lambda x + B s with three real inputs, as in an LRU."""
    eigenvalues, weight = EIGENVALUES.to(dtype), gaussian(UNITS, 3, dtype=torch.complex128).to(dtype)
    example = torch.zeros(UNITS, dtype=dtype)
    if not driven:
        return as_map(lambda x: eigenvalues * x, state=example)
    step = lambda x, s: eigenvalues * x + weight @ s.to(dtype)  # noqa: E731
    return as_map(step, state=example, input=torch.zeros(3, dtype=dtype.to_real()))


def test_components_are_named_and_start_as_the_example() -> None:
    example = torch.tensor([[1 + 2j, 3.0], [4j, 5 - 6j]])
    map = as_map(lambda z: z.conj(), state=example)
    assert (map.state_size, map.input_size, map.dtype, map.batching) == (8, 0, torch.float32, "vmap")
    assert map.unit_names == [
        f"x[{row},{column}].{part}" for row in (0, 1) for column in (0, 1) for part in ("re", "im")
    ]
    assert map.initial_state(2).tolist() == [[1, 2, 3, 0, 0, 4, 5, -6]] * 2
    assert map.step(map.initial_state(1)).tolist() == [[1, -2, 3, 0, 0, -4, 5, 6]]
    assert as_map(lambda z: {"h": z["h"]}, state={"h": torch.tensor(1j)}).unit_names == ["h.re", "h.im"]


@pytest.mark.parametrize("k", [1, 3, 2 * UNITS])
@pytest.mark.parametrize("driven", [False, True])
def test_every_eigenvalue_gives_its_exponent_twice(driven: bool, k: int) -> None:
    options = {"inputs": gaussian(300, 3)} if driven else {"steps": 300, "initial_state": gaussian(2 * UNITS)}
    ds = lyapunov_spectrum(diagonal(driven), k=k, rng=0, transient=150, **options)
    assert ds.unit.values[:2].tolist() == ["x[0].re", "x[0].im"]
    # a random frame turns into the leading planes as (0.7 / 0.85)^t, the identity is there from the start
    np.testing.assert_allclose(ds.lyapunov_exponent[0], EXPONENTS[:k], atol=1e-12 if k == 2 * UNITS else 1e-9)


def test_many_sequences_and_initial_states() -> None:
    inputs, state = gaussian(80, 5, 3), gaussian(5, 2 * UNITS, seed=1)
    ds = lyapunov_spectrum(diagonal(True), inputs, initial_state=state)
    np.testing.assert_allclose(ds.lyapunov_exponent, np.tile(EXPONENTS, (5, 1)), atol=1e-12)
    z = to_complex(state)
    for s in inputs:
        z = EIGENVALUES * z + s.cdouble() @ gaussian(UNITS, 3, dtype=torch.complex128).T
    np.testing.assert_allclose(ds.final_state, to_pairs(z), atol=1e-12)


def test_single_precision() -> None:
    ds = lyapunov_spectrum(diagonal(True, torch.complex64), gaussian(300, 2, 3).float())
    assert ds.attrs["dtype"] == "float32"
    np.testing.assert_allclose(ds.lyapunov_exponent, np.tile(EXPONENTS, (2, 1)), atol=1e-6)


@pytest.mark.parametrize("horizon", [None, 20])
def test_variational_term(horizon: int | None) -> None:
    ds = variational_term(diagonal(True), gaussian(50, 2, 3), horizon=horizon)
    steps = ds.step.values if horizon is None else np.full(ds.sizes["step"], horizon)
    expected = np.broadcast_to(steps[:, None] * EXPONENTS, (2, len(steps), 2 * UNITS))
    np.testing.assert_allclose(ds.log_singular_value, expected, atol=1e-11)


def test_gradients_fade_with_the_modulus() -> None:
    """|dL/dx_t|^2 = sum over units of |lambda|^(2 (T-t)) |dL/dx_T|^2, whatever the phases."""
    weight = gaussian(UNITS, dtype=torch.complex128, seed=3)

    def readout(x: Tensor) -> Tensor:
        return (to_complex(x) * weight).sum(-1, keepdim=True).real

    steps = 40
    ds = gradient_propagation(
        diagonal(True),
        gaussian(steps, 3),
        torch.zeros(1, 1).double(),
        lambda y, target: y.sum(),
        readout=readout,
        norms=2,
    )
    back = torch.arange(steps - 1, -1, -1).double()[:, None]
    expected = (RADIUS**back * weight.abs()).square().sum(-1).sqrt()  # d Re(w x) / d(re, im) has the length |w|
    np.testing.assert_allclose(ds.gradient_norm[0, 0], expected, rtol=1e-12)


def test_derivatives_of_exponents_reach_the_parameters() -> None:
    """|lambda| = exp(-exp(nu)), as an LRU has it: d lambda / d nu = -exp(nu), and the phase does nothing."""
    nu = torch.tensor([-2.0, -0.5, 0.3], dtype=torch.float64, requires_grad=True)
    theta = torch.tensor([0.3, 1.0, 2.0], dtype=torch.float64, requires_grad=True)
    map = as_map(lambda z: torch.exp(torch.complex(-nu.exp(), theta)) * z, state=torch.ones(3, dtype=torch.complex128))
    exponents = lyapunov_exponents(map, steps=30)
    np.testing.assert_allclose(exponents[0].detach(), (-nu.exp()).detach().repeat_interleave(2), atol=1e-13)
    exponents.sum().backward()
    np.testing.assert_allclose(nu.grad, -2 * nu.detach().exp(), atol=1e-12)
    np.testing.assert_allclose(theta.grad, 0, atol=1e-12)


def test_covariant_vectors_span_the_planes_of_the_eigenvalues() -> None:
    matrix = gaussian(2, 2, dtype=torch.complex128)
    values = torch.linalg.inv(matrix) @ torch.diag(torch.tensor([1.2 * np.exp(1j), 0.5])) @ matrix
    map = as_map(lambda z: values @ z, state=torch.zeros(2, dtype=torch.complex128))
    ds = covariant_vectors(map, steps=200, record_every=200, rng=0)
    np.testing.assert_allclose(ds.covariant_exponent[0], np.log([1.2, 1.2, 0.5, 0.5]), atol=1e-3)
    assert (ds.covariance_residual < 1e-12).all()
    eigenvectors = torch.linalg.inv(matrix)
    for column in range(4):
        vector = to_complex(torch.tensor(ds.covariant_vector.values[0, -1, :, column]))
        eigenvector = eigenvectors[:, column // 2]
        overlap = (eigenvector.conj() @ vector).abs() / eigenvector.norm() / vector.norm()
        assert float(overlap) == pytest.approx(1, abs=1e-12)


MATRIX = 0.6 * gaussian(3, 3, dtype=torch.complex128, seed=5)
ANALYTIC_OR_NOT: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda z: MATRIX @ z,
    "analytic": lambda z: torch.tanh(MATRIX @ z),
    "conjugate": lambda z: 0.5 * z + MATRIX @ z.conj(),
    "modulus": lambda z: MATRIX @ z / (1 + z.abs()),
    "conjugate alone": lambda z: (MATRIX @ z).conj(),
    "modReLU": lambda z: MATRIX @ (torch.relu(z.abs() - 0.3) * torch.sgn(z)),
    "parts": lambda z: torch.complex(torch.tanh(z.real), z.imag * z.real.flip(0)),
    "phase": lambda z: torch.polar(torch.tanh(z.abs()), z.angle() + 0.3 * z.real),
    "product of both": lambda z: z * z.conj() + 0.3 * z.flip(0).conj(),
}


@pytest.mark.parametrize("name", ANALYTIC_OR_NOT)
def test_derivatives_are_those_of_the_real_map(name: str) -> None:
    """Forward and reverse mode against finite differences of the map on pairs, analytic or not."""
    step = ANALYTIC_OR_NOT[name]
    map = as_map(step, state=torch.zeros(3, dtype=torch.complex128))
    check_map(map, lambda state, _: torch.stack([to_pairs(step(to_complex(row))) for row in state]))


def test_mixed_states_and_complex_inputs_conform() -> None:
    def step(state, input):
        z, (h,) = state["z"], state["rest"]
        after = MATRIX @ z + input * h.sum()
        return {"rest": (torch.tanh(h + after.real[:2] + input.imag.sum()),), "z": after}

    example = {"rest": (torch.zeros(2).double(),), "z": torch.zeros(3, dtype=torch.complex128)}
    map = as_map(step, state=example, input=torch.zeros(3, dtype=torch.complex128))
    assert (map.state_size, map.input_size) == (8, 6)
    assert map.unit_names == ["rest.state0[0]", "rest.state0[1]"] + [
        f"z[{n}].{p}" for n in range(3) for p in ("re", "im")
    ]

    def own_step(states: Tensor, inputs: Tensor) -> Tensor:
        rows = []
        for state, input in zip(states, inputs, strict=True):
            after = step({"rest": (state[:2],), "z": to_complex(state[2:])}, to_complex(input))
            rows.append(torch.cat((after["rest"][0], to_pairs(after["z"]))))
        return torch.stack(rows)

    check_map(map, own_step)


def test_an_odd_number_of_real_components_may_come_first() -> None:
    """Pairs then start at odd places, where PyTorch has no complex views."""
    state = (torch.zeros(1), torch.zeros(2, dtype=torch.complex64), torch.zeros(()))
    map = as_map(lambda s: (0.5 * s[0], (0.3 + 0.2j) * s[1].conj(), 0.9 * s[2]), state=state)
    ds = lyapunov_spectrum(map, steps=40, initial_state=gaussian(3, 6).float())
    expected = np.log([0.9, 0.5, *[abs(0.3 + 0.2j)] * 4])
    np.testing.assert_allclose(ds.lyapunov_exponent, np.tile(expected, (3, 1)), atol=1e-6)


def test_a_limit_cycle_that_is_not_analytic() -> None:
    """z' = z (1 + dt (mu + i omega - |z|^2)): on its cycle |factor| = 1, which gives the radius and both exponents."""
    dt, mu, omega = 0.1, 1.0, 2.0
    outward = (math.sqrt(1 - (dt * omega) ** 2) - 1) / dt  # mu - r^2, where |1 + dt (outward + i omega)| = 1
    radius_squared = mu - outward
    radial = 1 - 2 * radius_squared * dt * (1 + dt * outward)  # derivative of r |factor(r)| there
    map = as_map(
        lambda z: z * (1 + dt * (mu + 1j * omega - (z * z.conj()).real)),
        state=torch.tensor([0.5 + 0j], dtype=torch.complex128),
    )
    ds = lyapunov_spectrum(map, steps=3000, transient=1000)
    assert float((ds.final_state**2).sum()) == pytest.approx(radius_squared, abs=1e-12)
    np.testing.assert_allclose(ds.lyapunov_exponent[0], [0.0, math.log(abs(radial))], atol=1e-10)


class DiagonalStack(nn.Module):
    """Two diagonal recurrences with a nonlinearity in between, as stacked LRU blocks, with radii drawn from a ring."""

    def __init__(self, sizes=(5, 4), inputs: int = 2) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        radii = [0.5 + 0.49 * torch.rand(size, generator=generator, dtype=torch.float64) for size in sizes]
        self.nu = nn.ParameterList([(-radius.log()).log() for radius in radii])
        self.theta = nn.ParameterList(
            [6 * torch.rand(size, generator=generator, dtype=torch.float64) for size in sizes]
        )
        first = torch.randn(sizes[0], inputs, dtype=torch.complex128, generator=generator)
        second = torch.randn(sizes[1], sizes[0], dtype=torch.complex128, generator=generator)
        self.weight = nn.ParameterList([first, second])
        self.sizes = sizes

    def forward(self, state, input):
        below, after = input, []
        for layer, z in enumerate(state):
            eigenvalues = torch.exp(torch.complex(-self.nu[layer].exp(), self.theta[layer]))
            gain = torch.sqrt(1 - eigenvalues.abs() ** 2)
            z = eigenvalues * z + gain * (self.weight[layer] @ below.to(z.dtype))
            after.append(z)
            below = nn.functional.gelu(z.real)
        return tuple(after)


def test_stacked_diagonal_layers() -> None:
    """The Jacobian is block triangular, so the exponents are those of all layers together."""
    module = DiagonalStack()
    state = tuple(torch.zeros(size, dtype=torch.complex128) for size in module.sizes)
    map = as_map(module, state=state, input=torch.zeros(2).double())
    exponents = torch.cat([-nu.detach().exp() for nu in module.nu]).sort(descending=True).values.repeat_interleave(2)
    ds = lyapunov_spectrum(map, gaussian(2000, 2), transient=200)
    np.testing.assert_allclose(ds.lyapunov_exponent[0], exponents, atol=5e-3)
    assert float(ds.lyapunov_exponent.sum()) == pytest.approx(float(exponents.sum()), abs=1e-11)
    assert {name for name, _ in map.parameters()} >= {"nu.0", "theta.1", "weight.0"}


def test_s4d_in_units_of_time() -> None:
    """S4D-Lin discretised exactly with steps dt: every exponent is the real part -1/2 of A, per unit time."""
    dt, size = 0.01, 16
    poles = torch.complex(torch.full((size,), -0.5).double(), math.pi * torch.arange(size).double())
    factor = torch.exp(dt * poles)
    map = as_map(
        lambda x, u: factor * x + (factor - 1) / poles * u,
        state=torch.zeros(size, dtype=torch.complex128),
        input=torch.zeros(()).double(),
    )
    ds = lyapunov_spectrum(map, gaussian(300, 1), dt=dt)
    np.testing.assert_allclose(ds.lyapunov_exponent[0], np.full(2 * size, -0.5), atol=1e-10)


REFUSALS = {
    "real result for a complex leaf": (
        lambda: as_map(lambda z: z.abs(), state=torch.ones(2, dtype=torch.complex64)),
        ValueError,
        r"float32 where the example state has \(2,\) and torch.complex64",
    ),
    "complex result for a real leaf": (
        lambda: as_map(lambda x: 1j * x, state=torch.ones(2)),
        ValueError,
        "complex64 where the example state has .* torch.float32",
    ),
    "mixed precision": (
        lambda: as_map(lambda s: s, state=(torch.zeros(1), torch.zeros(1, dtype=torch.complex128))),
        ValueError,
        r"share one dtype \(complex64 goes with float32, complex128 with float64\), got \['torch.float32'",
    ),
    "precision of the input": (
        lambda: as_map(lambda z, s: z, state=torch.zeros(1, dtype=torch.complex128), input=torch.zeros(1)),
        ValueError,
        "example input is torch.float32 on cpu, the state torch.float64",
    ),
    "half precision": (
        lambda: as_map(lambda z: z, state=torch.zeros(1, dtype=torch.complex32)),
        ValueError,
        "float16, whose derivatives",
    ),
    "not finite": (
        lambda: as_map(lambda z: z, state=torch.tensor([1 + 1j * math.inf])),
        ValueError,
        "holds a value that is not finite",
    ),
    "complex numbers as inputs": (
        lambda: lyapunov_spectrum(diagonal(True), gaussian(5, 3, dtype=torch.complex128)),
        TypeError,
        "must be real, got torch.complex128; carry complex numbers as pairs",
    ),
    "complex initial state": (
        lambda: lyapunov_spectrum(diagonal(False), steps=5, initial_state=torch.zeros(4, dtype=torch.complex128)),
        TypeError,
        "must be real, got torch.complex128; carry complex numbers as pairs",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
@pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental")
def test_refusals_say_what_is_wrong(name: str) -> None:
    action, error, message = REFUSALS[name]
    with pytest.raises(error, match=message):
        action()

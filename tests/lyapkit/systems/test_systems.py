"""Reference maps: their orbits do not collapse, and their exponents follow from what is known of them."""

import inspect
import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import torch
from scipy.integrate import quad

from lyapkit import as_map, lyapunov_spectrum, systems
from references import dense_jacobians, sorted_log_magnitudes

FACTORIES = {
    name: value
    for name, value in vars(systems).items()
    if inspect.isfunction(value) and inspect.signature(value).return_annotation == "ReferenceSystem"
}


def orbit(system, steps: int, skip: int = 100) -> np.ndarray:
    state = system.map.initial_state(1)
    states = []
    for step in range(steps + skip):
        state = system.map.step(state)
        if step >= skip:
            states.append(state[0].numpy())
    return np.array(states)


def jacobian(system, state=None, input=None) -> torch.Tensor:
    state = system.map.initial_state(1)[0] if state is None else state
    return dense_jacobians(system.map.step, state.unsqueeze(0), None if input is None else input.unsqueeze(0))[0]


def test_every_system_is_in_the_catalogue_once_and_exported() -> None:
    assert set(FACTORIES) <= set(systems.__all__)
    names = [system.name for system in systems.catalogue()]
    assert len(set(names)) == len(names)
    assert {factory().name for factory in FACTORIES.values()} <= set(names)
    assert len(FACTORIES) == 23


@pytest.mark.parametrize("name", [*FACTORIES])
def test_every_system_tells_value_source_and_run(name: str) -> None:
    system = FACTORIES[name]()
    assert system.map.dtype == torch.float64
    assert system.source.startswith("exact") == (set(system.uncertainty) == {0.0})
    assert len(system.source) > 15
    run = system.run()
    if system.inputs is None:
        assert run["initial_state"].shape == (system.trajectories, system.map.state_size)
        assert run["transient"] < run["steps"]
    else:
        assert run["transient"] < len(run["inputs"])
        assert "steps" not in run


def test_runs_differ_by_seed_only() -> None:
    first, again, other = (systems.henon().run(seed)["initial_state"] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


MOMENTS = {  # mean and variance of the first component under the invariant density
    "logistic": (0.5, 1 / 8),
    "skew_tent": (0.5, 1 / 12),
    "skew_baker": (0.5, 1 / 12),
    "kaplan_yorke_map": (0.5, 1 / 8),
    "gauss_map": (1 / math.log(2) - 1, 1 - 0.5 / math.log(2) - (1 / math.log(2) - 1) ** 2),
    "coupled_ring": (0.5, None),
    "cat_map": (0.5, 1 / 12),
    "standard_map": (math.pi, math.pi**2 / 3),
}


@pytest.mark.parametrize("name", MOMENTS)
def test_orbits_follow_the_invariant_density_and_do_not_collapse(name: str) -> None:
    states = orbit(FACTORIES[name](), 5_000)[:, 0]
    mean, variance = MOMENTS[name]
    assert len(np.unique(states)) > 4_990
    assert states.mean() == pytest.approx(mean, abs=0.05 * mean)
    if variance is not None:
        assert states.var() == pytest.approx(variance, rel=0.1)
    assert states[2_500:].std() == pytest.approx(states[:2_500].std(), rel=0.1)


def test_doubling_collapses_where_tripling_does_not() -> None:
    """Why no reference system doubles its state."""
    x = y = torch.tensor([0.3], dtype=torch.float64)
    for _ in range(60):
        x, y = (2 * x).remainder(1.0), (3 * y).remainder(1.0)
    assert float(x) == 0
    assert 0.01 < float(y) < 0.99


@pytest.mark.parametrize("cut", [0.3, 0.8])
def test_skew_maps_have_the_entropy_of_their_cut(cut: float) -> None:
    below, above = (abs(float(jacobian(systems.skew_tent(cut), torch.tensor([x]).double()))) for x in (0.1, 0.9))
    expected = cut * math.log(below) + (1 - cut) * math.log(above)  # under the uniform density
    assert systems.skew_tent(cut).exponents[0] == pytest.approx(expected, abs=1e-14)
    baker = systems.skew_baker(cut)
    assert baker.exponents == pytest.approx((expected, -expected), abs=1e-14)
    for x in (0.1, 0.9):
        derivative = jacobian(baker, torch.tensor([x, 0.4]).double())
        assert float(torch.det(derivative)) == pytest.approx(1, abs=1e-15)
        assert float(derivative[0, 0]) == pytest.approx(1 / cut if x < cut else 1 / (1 - cut))


def test_baker_maps_the_square_onto_itself() -> None:
    baker = systems.skew_baker(0.3)
    points = torch.rand(2000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    after = baker.map.step(points)
    assert ((after >= 0) & (after <= 1)).all()
    left = points[:, 0] < 0.3
    assert (after[left, 1] <= 0.3).all()
    assert (after[~left, 1] >= 0.3).all()


def test_gauss_exponent_is_the_mean_of_its_growth() -> None:
    density = lambda x: 1 / ((1 + x) * math.log(2))  # noqa: E731
    expected = quad(lambda x: -2 * math.log(x) * density(x), 0, 1, epsabs=1e-12)[0]
    assert systems.gauss_map().exponents[0] == pytest.approx(expected, abs=1e-9)
    assert float(jacobian(systems.gauss_map(), torch.tensor([0.4]).double())) == pytest.approx(-1 / 0.16)


def test_kaplan_yorke_map_is_the_doubling_map_in_other_variables() -> None:
    """Against exact doubling in rational arithmetic."""
    x, y = Fraction(1, 7) + Fraction(1, 1000003), mpmath.mpf(0)
    system = systems.kaplan_yorke_map(0.2)
    with mpmath.workdps(40):
        u = mpmath.sin(mpmath.pi * x.numerator / x.denominator) ** 2
        state = torch.tensor([[float(u), 0.0]], dtype=torch.float64)
        for _ in range(20):
            y = mpmath.mpf(1) / 5 * y + mpmath.cos(4 * mpmath.pi * x.numerator / x.denominator)
            x = 2 * x % 1
            u = mpmath.sin(mpmath.pi * x.numerator / x.denominator) ** 2
            state = system.map.step(state)
            assert float(state[0, 0]) == pytest.approx(float(u), abs=1e-8)  # 2^20 eps
            assert float(state[0, 1]) == pytest.approx(float(y), abs=1e-8)


def test_kaplan_yorke_dimension_is_the_published_one() -> None:
    system = systems.kaplan_yorke_map(0.2)
    ds = lyapunov_spectrum(system.map, steps=2000, transient=100)
    assert ds.kaplan_yorke_dimension.item() == pytest.approx(1 + math.log(2) / math.log(5), abs=5e-3)  # 1.4307


@pytest.mark.parametrize("alpha", [-0.5, 0.9])
def test_kaplan_yorke_map_contracts_by_alpha(alpha: float) -> None:
    system = systems.kaplan_yorke_map(alpha)
    assert system.exponents == pytest.approx((math.log(2), math.log(abs(alpha))))
    assert jacobian(system)[:, 1].tolist() == [0.0, alpha]


def test_standard_map_keeps_areas_and_grows_as_published() -> None:
    """Against a tangent map by hand, in NumPy."""
    system = systems.standard_map()
    assert float(torch.det(jacobian(system))) == pytest.approx(1, abs=1e-13)
    random = np.random.default_rng(0)
    momentum, angle = random.uniform(0, 2 * np.pi, (2, 4000))
    tangent = np.stack((np.ones(4000), np.zeros(4000)))
    total = np.zeros(4000)
    for step in range(550):
        first = tangent[0] + 10 * np.cos(angle) * tangent[1]
        tangent = np.stack((first, tangent[1] + first))
        length = np.hypot(*tangent)
        tangent /= length
        momentum = (momentum + 10 * np.sin(angle)) % (2 * np.pi)
        angle = (angle + momentum) % (2 * np.pi)
        if step >= 50:
            total += np.log(length)
    growth = total / 500
    error = math.hypot(growth.std(ddof=1) / math.sqrt(4000), system.uncertainty[0])
    assert error < 2e-3
    assert growth.mean() == pytest.approx(system.exponents[0], abs=4 * error)


@pytest.mark.parametrize(("size", "coupling"), [(3, 0.1), (6, 0.2), (7, 0.4)])
def test_coupled_ring_has_the_eigenvalues_of_its_jacobian(size: int, coupling: float) -> None:
    system = systems.coupled_ring(size, coupling)
    expected = np.log(np.abs(np.linalg.eigvals(jacobian(system).numpy())))
    np.testing.assert_allclose(system.exponents, np.sort(expected)[::-1], atol=1e-13)
    pairs = np.array(system.exponents[1 : size - (size + 1) % 2])
    np.testing.assert_allclose(pairs[::2], pairs[1::2], atol=1e-15)
    assert len(pairs) == 2 * ((size - 1) // 2)
    ds = lyapunov_spectrum(system.map, **system.run())
    np.testing.assert_allclose(ds.lyapunov_exponent.values[0], system.exponents, atol=1e-9)


def test_constant_matrix_has_its_eigenvalues_exactly() -> None:
    system = systems.constant_matrix()
    matrix = jacobian(system)
    for eigenvalue in (1.5, -0.75, 0.25):
        assert float(torch.det(matrix - eigenvalue * torch.eye(3).double())) == pytest.approx(0, abs=1e-12)
    assert np.linalg.cond(np.linalg.eig(matrix.numpy())[1]) > 30
    assert (matrix @ matrix.T - matrix.T @ matrix).abs().max() > 100  # not normal


def test_orthogonal_matrix_is_orthogonal() -> None:
    matrix = jacobian(systems.orthogonal_matrix())
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(4).double(), atol=1e-15, rtol=0)
    assert (matrix.abs() > 0.05).all()  # and no permutation in disguise


def test_periodic_product_tells_a_transposed_product() -> None:
    system = systems.periodic_product()
    first, second, third = system.inputs[:3].reshape(3, 3, 3).numpy()
    floquet = np.sort(np.log(np.abs(np.linalg.eigvals(third @ second @ first))))[::-1] / 3
    np.testing.assert_allclose(system.exponents, floquet, atol=1e-14)
    transposed = np.sort(np.log(np.abs(np.linalg.eigvals(third.T @ second.T @ first.T))))[::-1] / 3
    assert np.abs(floquet - transposed).max() > 0.03
    assert system.exponent_sum == pytest.approx(np.log(np.abs(np.linalg.det(third @ second @ first))) / 3)
    assert torch.equal(system.inputs[:3], system.inputs[-3:])


def test_triangular_product_is_triangular_in_its_basis() -> None:
    means = (-0.5, 0.25, 0.0)
    system = systems.triangular_product(means, seed=4)
    assert system.exponents == (0.25, 0.0, -0.5)
    turn = systems.linear.rotation(3)
    matrices = turn.T @ system.inputs.reshape(-1, 3, 3) @ turn
    assert matrices.tril(-1).abs().max() < 1e-14
    logs = matrices.diagonal(dim1=-2, dim2=-1).log()
    np.testing.assert_allclose(logs.mean(0), means, atol=4 * 0.3 / math.sqrt(len(logs)))
    np.testing.assert_allclose(logs.std(0), 0.3, rtol=0.05)
    # the exponents of a finite product are the means over its own diagonals, once the frame has settled
    ds = lyapunov_spectrum(system.map, **system.run())
    sample = logs[system.transient :].mean(0).sort(descending=True).values
    np.testing.assert_allclose(ds.lyapunov_exponent.values[0], sample, atol=5e-3)


def test_gaussian_product_follows_newman_in_any_precision() -> None:
    with mpmath.workdps(30):
        exact = [
            float((mpmath.log(mpmath.mpf(2) / 5) + mpmath.digamma(mpmath.mpf(6 - i) / 2)) / 2) for i in range(1, 6)
        ]
    system = systems.gaussian_product(5)
    np.testing.assert_allclose(system.exponents, exact, rtol=1e-14)
    assert system.exponents[0] == pytest.approx(-0.10656704561, abs=1e-11)
    assert system.exponents[4] == pytest.approx(-1.43990037895, abs=1e-11)
    assert float(system.inputs.var()) == pytest.approx(1 / 5, rel=0.01)
    wide = systems.gaussian_product(3, variance=4.0)
    assert float(wide.inputs.var()) == pytest.approx(4, rel=0.02)
    assert wide.exponents == tuple(systems.gaussian_product_exponents(3, 4.0))


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_gated_cells_forget_at_their_gates(kind: str) -> None:
    """The reference values against Jacobians of PyTorch's own cell, which is stepped here without lyapkit."""
    system = systems.gru_without_recurrence() if kind == "gru" else systems.lstm_without_recurrence()
    cell = torch.nn.GRUCell(3, 4).double() if kind == "gru" else torch.nn.LSTMCell(3, 4).double()
    ours = dict(system.map.parameters())
    with torch.no_grad():
        for name, parameter in cell.named_parameters():
            parameter.copy_(next(value for key, value in ours.items() if key.endswith(name)))
    assert not cell.weight_hh.any()

    def step(x: torch.Tensor, input: torch.Tensor) -> torch.Tensor:
        return cell(input, x) if kind == "gru" else torch.cat(cell(input, (x[:4], x[4:])))

    state, growth = system.map.initial_state(1)[0], []
    for input in system.inputs:
        derivative = torch.autograd.functional.jacobian(lambda x, s=input: step(x, s), state)
        state = step(state, input).detach()
        block = derivative if kind == "gru" else derivative[4:, 4:]
        torch.testing.assert_close(block, torch.diag(block.diagonal()), atol=0, rtol=0)
        growth.append(block.diagonal().log())
        if kind == "lstm":
            assert not derivative[:, :4].any()  # nothing remembers h
    expected = torch.stack(growth).mean(0).sort(descending=True).values
    np.testing.assert_allclose(system.exponents[:4], expected, atol=1e-13)


def test_gated_cells_leave_global_randomness_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    systems.gru_without_recurrence()
    systems.lstm_without_recurrence()
    assert torch.equal(torch.get_rng_state(), before)


def test_small_network_sum_is_its_determinant() -> None:
    """sum lambda = log |det J| + sum of mean log slopes, and -2.281554 on average over 6e4 steps."""
    system = systems.small_network()
    random = np.random.RandomState(0)
    weight = 3 * random.randn(64, 64) / 8
    start = random.randn(64)
    np.testing.assert_allclose(system.map.initial_state(1)[0], start, rtol=0)
    np.testing.assert_allclose(system.map.step(system.map.initial_state(1))[0], weight @ np.tanh(start), atol=1e-12)
    steps = 400
    ds = lyapunov_spectrum(system.map, steps=steps)
    state, slopes = start, []
    for _ in range(steps):
        slopes.append(-2 * np.log(np.cosh(state)))
        state = weight @ np.tanh(state)
    expected = np.linalg.slogdet(weight)[1] / 64 + np.mean(slopes)
    # two orbits of a chaotic map part within 150 steps and agree in distribution only: by their spread between blocks
    error = np.mean(slopes, axis=1).reshape(20, -1).mean(axis=1).std(ddof=1) / math.sqrt(20)
    assert float(ds.lyapunov_exponent.mean()) == pytest.approx(expected, abs=6 * error)
    assert expected == pytest.approx(-2.281554, abs=4 * error)
    assert error < 0.05
    short = lyapunov_spectrum(system.map, steps=20)  # before they part: exactly
    expected = np.linalg.slogdet(weight)[1] / 64 + np.mean(slopes[:20])
    assert float(short.lyapunov_exponent.mean()) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("rate", [0.1, 1.0])
def test_resting_network_has_the_eigenvalues_of_its_weights(rate: float) -> None:
    system = systems.resting_network(6, 0.8, rate, seed=3)
    derivative = jacobian(system)
    expected = sorted_log_magnitudes(derivative) / rate
    np.testing.assert_allclose(system.exponents, expected, atol=1e-12)
    assert not system.map.step(system.map.initial_state(1)).any()


def test_random_networks_are_drawn_as_described() -> None:
    system = systems.random_network(4.0, 0.25, size=200, seed=1)
    weight = 4 * np.random.RandomState(1).randn(200, 200) / math.sqrt(200)
    state, input = torch.linspace(-1, 1, 200).double(), torch.linspace(0, 1, 200).double()
    np.testing.assert_allclose(
        system.map.step(state, input), weight @ np.tanh(state.numpy()) + input.numpy(), atol=1e-12
    )
    assert float(system.inputs.var()) == pytest.approx(0.25, rel=0.02)
    assert system.exponents[0] == systems.tanh_mean_field(4.0, 0.25).leading_exponent
    leaky = systems.leaky_random_network(size=50)
    weight = 3 * np.random.RandomState(0).randn(50, 50) / math.sqrt(50)
    state = state[:50]
    expected = (state.numpy() + weight @ np.tanh(state.numpy())) / 2
    np.testing.assert_allclose(leaky.map.step(state), expected, atol=1e-12)


def test_a_driven_tanh_network_takes_an_input() -> None:
    weight = torch.tensor([[0.5, -1.0], [2.0, 0.25]], dtype=torch.float64)
    state, input = torch.tensor([0.3, -0.2]).double(), torch.tensor([1.0, 2.0]).double()
    driven = systems.tanh_network(weight, rate=0.25, driven=True)
    expected = 0.75 * state + 0.25 * (weight @ torch.tanh(state) + input)
    torch.testing.assert_close(driven.step(state, input), expected)
    torch.testing.assert_close(systems.tanh_network(weight, 0.25).step(state), expected - 0.25 * input)


REFUSED = {
    "henon": (dict(a=1.3), r"known for a=1.4, b=0.3, got a=1.3"),
    "kaplan_yorke_map": (dict(contraction=1.0), r"contraction must be of magnitude between 0 and 1.*got 1.0"),
    "skew_tent": (dict(cut=0.5), r"not be 1/2.*got 0.5"),
    "skew_baker": (dict(cut=1.5), r"cut must lie between 0 and 1.*got 1.5"),
    "standard_map": (dict(kick=1.0), r"known for kick=10, got 1.0"),
    "lorenz": (dict(rho=24.0), r"known for .*28.0.*, got \(10.0, 24.0, 2.66"),
    "rossler": (dict(dt=0.1), r"at most 0.02.*got 0.1"),
    "lorenz96": (dict(size=40), r"known for sizes \[6, 8\], got 40"),
    "random_network": (dict(gain=1.2), r"from a gain of 2 only, got 1.2"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_unknown_parameters_are_refused(name: str) -> None:
    arguments, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        FACTORIES[name](**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(size=2), "size must be at least 3.*got 2"),
        (dict(coupling=0.5), "coupling must lie between 0 and 1/2.*got 0.5"),
        (dict(coupling=0.0), "coupling must lie between 0 and 1/2.*got 0.0"),
    ],
)
def test_rings_out_of_range_are_refused(arguments, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        systems.coupled_ring(**arguments)


@pytest.mark.parametrize("factory", [systems.lorenz, systems.lorenz96])
@pytest.mark.parametrize("dt", [0.0, 0.05, math.nan])
def test_steps_out_of_range_are_refused(factory, dt: float) -> None:
    with pytest.raises(ValueError, match=r"dt must be (finite|positive and at most)"):
        factory(dt=dt)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(uncertainty=(0.0,)), "each exponent needs its uncertainty, got 2 exponents and 1"),
        (dict(exponents=(-1.0, 1.0)), r"must be descending, got \(-1.0, 1.0\)"),
        (dict(exponents=(math.nan, 1.0)), "must be numbers"),
        (dict(exponents=(), uncertainty=()), "has 1 to 2 exponents, got 0"),
        (dict(exponents=(1.0,) * 3, uncertainty=(0.0,) * 3), "has 1 to 2 exponents, got 3"),
        (dict(uncertainty=(0.0, -1.0)), r"finite and at least 0, got \(0.0, -1.0\)"),
        (dict(uncertainty=(0.0, math.inf)), "finite and at least 0"),
        (dict(inputs=torch.zeros(5, 1)), r"this one takes 0 inputs, given \(5, 1\)"),
    ],
)
def test_references_that_make_no_sense_are_refused(changes, message: str) -> None:
    map = as_map(lambda x: 0.5 * x, state=torch.zeros(2, dtype=torch.float64))
    arguments = dict(name="half", map=map, exponents=(-0.5, -0.5), uncertainty=(0.0, 0.0), source="exact: a constant")
    assert systems.ReferenceSystem(**arguments).exponents == (-0.5, -0.5)
    with pytest.raises(ValueError, match=message):
        systems.ReferenceSystem(**(arguments | changes))


def test_a_driven_reference_needs_inputs() -> None:
    with pytest.raises(ValueError, match="this one takes 4 inputs, given none"):
        systems.ReferenceSystem("product", systems.MatrixProduct(2), (0.0,), (0.0,), "exact: none")

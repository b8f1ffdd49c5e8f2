"""Flows: the step against an adaptive integrator, the exponents of a step against its own determinants."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from lyapkit import lyapunov_spectrum, systems
from references import dense_jacobians

FIELDS = {
    "lorenz": lambda t, x: [10 * (x[1] - x[0]), x[0] * (28 - x[2]) - x[1], x[0] * x[1] - 8 / 3 * x[2]],
    "rossler": lambda t, x: [-x[1] - x[2], x[0] + 0.2 * x[1], 0.2 + x[2] * (x[0] - 5.7)],
    "lorenz96": lambda t, x: [(x[(i + 1) % 6] - x[i - 2]) * x[i - 1] - x[i] + 8 for i in range(6)],
}


def start(name: str) -> np.ndarray:
    return np.array([2.0, 3.0, 15.0]) if name != "lorenz96" else np.array([3.0, -1.0, 4.0, 1.0, -5.0, 2.0])


@pytest.mark.parametrize("name", FIELDS)
def test_step_is_the_flow_to_fourth_order(name: str) -> None:
    errors = []
    for dt in (0.01, 0.005):
        system = getattr(systems, name)(dt=dt)
        assert system.dt == dt
        exact = solve_ivp(FIELDS[name], (0, dt), start(name), method="DOP853", rtol=1e-13, atol=1e-13).y[:, -1]
        errors.append(np.abs(system.map.step(torch.tensor(start(name))).numpy() - exact).max())
    assert errors[0] < 1e-4
    assert 20 < errors[0] / errors[1] < 45  # 2^5


@pytest.mark.parametrize("name", FIELDS)
def test_sum_is_the_determinant_of_the_step(name: str) -> None:
    """Exact for the map that the step is; the flow's sum holds within the error of the step, of fourth order in dt."""
    deviations = []
    for dt in (0.01, 0.005):
        system = getattr(systems, name)(dt=dt)
        state, states = torch.tensor(start(name)), []
        for _ in range(round(1 / dt)):
            states.append(state)
            state = system.map.step(state)
        jacobians = dense_jacobians(system.map.step, torch.stack(states), None)
        volume = float(torch.stack([torch.linalg.slogdet(jacobian).logabsdet for jacobian in jacobians]).mean()) / dt
        ds = lyapunov_spectrum(system.map, steps=len(states), initial_state=states[0], dt=dt, qr_interval=1)
        assert float(ds.lyapunov_exponent.sum()) == pytest.approx(volume, abs=1e-10)
        if name == "rossler":  # its divergence, a - c + x, is not constant: by the trapezoidal rule along the flow
            x = torch.stack([*states, state])[:, 0].numpy()
            deviations.append(abs(volume - (np.trapezoid(x, dx=dt) + 0.2 - 5.7)))
        else:
            assert system.exponent_sum is not None
            deviations.append(abs(volume - system.exponent_sum))
    assert deviations[0] < {"lorenz": 1e-3, "rossler": 1e-2, "lorenz96": 1e-3}[name]
    assert deviations[0] / deviations[1] == pytest.approx(4 if name == "rossler" else 16, rel=0.4)


def test_lorenz96_conserves_energy_but_for_damping_and_forcing() -> None:
    """sum x_i x_i' = -sum x_i^2 + 8 sum x_i: the quadratic term only moves energy between sites."""
    system = systems.lorenz96(8, dt=1e-4)
    x = torch.linspace(-3, 5, 8, dtype=torch.float64)
    middle = system.map.step(x)
    rate = float((middle @ middle - x @ x) / 2) / 1e-4
    assert rate == pytest.approx(float(-(x @ x) + 8 * x.sum()), abs=0.1)


def test_lorenz_at_its_origin_has_the_eigenvalues_of_the_field() -> None:
    """At a fixed point the step's exponents are log |p(dt mu)| / dt, p being the Runge-Kutta polynomial."""
    system = systems.lorenz()
    ds = lyapunov_spectrum(system.map, steps=1200, initial_state=torch.zeros(3).double(), transient=200, dt=0.01)
    block = math.sqrt(81 + 4 * 280)
    expected = np.array([(-11 + block) / 2, -8 / 3, (-11 - block) / 2])
    np.testing.assert_allclose(ds.lyapunov_exponent.values[0], expected, atol=2e-3)
    polynomial = sum((0.01 * expected) ** power / math.factorial(power) for power in range(5))
    np.testing.assert_allclose(ds.lyapunov_exponent.values[0], np.log(polynomial) / 0.01, atol=1e-12)


def test_sums_of_published_exponents_agree_with_the_divergence() -> None:
    for system in systems.catalogue():
        if system.exponent_sum is not None and len(system.exponents) == system.map.state_size:
            allowed = 3 * math.hypot(*system.uncertainty) + 1e-12
            assert sum(system.exponents) == pytest.approx(system.exponent_sum, abs=allowed), system.name


def test_wolfs_value_is_in_bits() -> None:
    """2.16 bits per unit time, as published in 1985, are 1.50 nats."""
    assert systems.lorenz(16, 45.92, 4).exponents[0] / math.log(2) == pytest.approx(2.16, abs=0.01)

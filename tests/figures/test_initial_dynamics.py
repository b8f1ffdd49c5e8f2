"""Untrained networks measured on small networks: the numbers are those of other computations."""

import numpy as np
import pytest
import torch

from figures.experiments import initial_dynamics
from figures.experiments.initial_dynamics import Effort, curvature, exponents, gradients, measure
from figures.experiments.instances import prepared
from wcrnn_models.training.config import TrainConfig


def small(**fields):
    fixed = {"length": 30, "hidden_size": 6, "test_size": 40, "loss": "mse", "coupling": 0.25, "r": 0.875}
    return TrainConfig(**{**fixed, **fields})


def jacobians(config):
    """Return the Jacobians of the steps along one test sequence, (T, N, N)."""
    network, inputs, _, _ = prepared(config, 1)
    state, found = torch.zeros(6, dtype=torch.float64), []
    for drive in inputs[:, 0]:
        inside = network.recurrent(state) + network.input(drive)
        slope = 1 - torch.tanh(inside) ** 2
        found.append(config.r * torch.eye(6) + 0.25 * slope[:, None] * network.recurrent.weight)
        state = config.r * state + 0.25 * torch.tanh(inside)
    return torch.stack(found).detach()


def test_exponents_are_those_of_a_loop_by_hand_and_within_the_bounds():
    config = small()
    frame, total = torch.eye(6, dtype=torch.float64), torch.zeros(6, dtype=torch.float64)
    for jacobian in jacobians(config):
        frame, upper = torch.linalg.qr(jacobian @ frame)
        total += upper.diagonal().abs().log()
    expected = (total / 30).numpy()
    found = exponents(config)
    assert found["mean"] == pytest.approx(expected.mean(), abs=1e-10)
    assert found.smallest == pytest.approx(expected.min(), abs=1e-10)
    assert found.largest == pytest.approx(expected.max(), abs=1e-10)
    norm = float(torch.linalg.matrix_norm(prepared(config, 1)[0].recurrent.weight.detach(), 2))
    assert found.upper_bound == pytest.approx(np.log(0.875 + 0.25 * norm))
    assert found.lower_bound < found.smallest


def test_the_rate_is_that_of_gradients_by_backpropagation():
    config = small(coupling=0.01)
    network, inputs, targets, loss = prepared(config, 5)
    start = torch.zeros(5, 6, dtype=torch.float64, requires_grad=True)
    states = [start]
    for drive in inputs:
        states.append(0.875 * states[-1] + 0.01 * torch.tanh(network.recurrent(states[-1]) + network.input(drive)))
    # each sample on its own
    outputs = network.readout(states[-1])
    each = sum(loss(outputs[one : one + 1], targets[one : one + 1]) for one in range(5))
    norms = torch.stack([g.abs().amax(dim=-1) for g in torch.autograd.grad(each, states[1:])])
    slopes = np.polyfit(-np.arange(30), norms.log().numpy(), 1)[0]
    found = gradients(config, 5)
    assert found.share == 1
    assert found.rate == pytest.approx(slopes.mean(), abs=1e-3)


def test_samples_without_a_gradient_do_not_count(monkeypatch):
    measured = initial_dynamics.gradient_propagation

    def without_the_first(*arguments, **options):
        found = measured(*arguments, **options)
        found.growth_rate[dict(trajectory=0)] = -np.inf
        return found

    config = small()
    whole = measured(*prepared(config, 4), rng=0).sel(norm="inf")
    monkeypatch.setattr(initial_dynamics, "gradient_propagation", without_the_first)
    found = gradients(config, 4)
    assert found.share == 0.75
    assert found.rate == pytest.approx(float(whole.growth_rate[1:].mean()))
    assert found.leading_exponent == pytest.approx(float(whole.leading_exponent[1:].mean()))


def test_curvature_is_that_of_the_dense_hessian():
    config = small()
    network, inputs, targets, loss = prepared(config, 8)
    weights = [network.recurrent.weight, network.recurrent.bias]
    first = torch.autograd.grad(loss(network(inputs), targets), weights, create_graph=True)
    flat = torch.cat([each.flatten() for each in first])
    rows = [torch.cat([g.flatten() for g in torch.autograd.grad(each, weights, retain_graph=True)]) for each in flat]
    values = torch.linalg.eigvalsh(torch.stack(rows)).abs().sort(descending=True).values[:4].numpy()
    found = curvature(config, 8, 4)
    assert found.largest == pytest.approx(values[0], rel=1e-5)
    assert found["median"] == pytest.approx(np.median(values), rel=1e-5)


def test_the_file_has_every_instance(tmp_path, monkeypatch):
    monkeypatch.setattr(initial_dynamics, "TASKS", ("add100",))
    monkeypatch.setattr(initial_dynamics, "STRENGTHS", (0.95, 1.01))
    monkeypatch.setattr(initial_dynamics, "STRENGTH_CLASSES", (0.95, 1.01))
    monkeypatch.setattr(initial_dynamics, "_config", lambda task, seed, r: small(seed=seed, r=r, length=8))
    tree = measure(tmp_path, progress=False, effort=Effort(instances=2, samples=3, eigenvalues=2))
    assert dict(tree["exponents"].sizes) == {"task": 1, "seed": 2, "r": 2}
    assert float(tree["exponents"]["mean"].sel(task="add100", seed=1, r=1.01)) == pytest.approx(
        float(exponents(small(seed=1, r=1.01, length=8))["mean"])
    )
    assert float(tree["curvature"].largest.sel(seed=1, r=0.95)) == pytest.approx(
        float(curvature(small(seed=1, r=0.95, length=8), 3, 2).largest)
    )
    assert (tree.attrs["experiment"], tree.attrs["seeds"]) == ("initial_dynamics", 2)

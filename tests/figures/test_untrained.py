"""Equations measured on small networks: exact ones are, and the numbers are those of other computations."""

import numpy as np
import pytest
import torch

from figures.experiments import untrained
from figures.experiments.instances import over_grid, prepared
from figures.experiments.untrained import descent, gradients, layers, phases, propagation, samples, weak_coupling
from wcrnn_models.tasks import power_spectrum
from wcrnn_models.training.build import build_task
from wcrnn_models.training.config import TrainConfig


def small(**fields):
    fixed = {"length": 12, "hidden_size": 6, "test_size": 40, "loss": "mse", "coupling": 0.3}
    return TrainConfig(**{**fixed, **fields})


def loss_of(config, count):
    network, inputs, targets, loss = prepared(config, count)
    return network, lambda: loss(network(inputs), targets)


def test_a_step_of_descent_follows_the_hessian():
    config = small()
    found = descent(config, 8)
    network, loss = loss_of(config, 8)
    parameters = list(network.parameters())
    first = torch.cat([each.flatten() for each in torch.autograd.grad(loss(), parameters, create_graph=True)])
    rows = [
        torch.cat([g.flatten() for g in torch.autograd.grad(each, parameters, retain_graph=True)]) for each in first
    ]
    values = torch.linalg.eigvalsh(torch.stack(rows))
    assert found.eigenvalue == pytest.approx(float(values[abs(values).argmax()]), rel=1e-6)
    assert found.error < 1e-6


def test_the_step_notices_another_learning_rate(monkeypatch):
    network_step = torch.optim.SGD
    monkeypatch.setattr("torch.optim.SGD", lambda parameters, lr: network_step(parameters, lr=2 * lr))
    assert descent(small(), 8).error > 1e-2


def test_layers_sum_to_the_second_term_and_the_printed_ones_do_not():
    found = layers(small(), 8)
    assert found.error < 1e-9
    assert abs(found.printed - 1) > 0.1


def test_gradients_are_products_of_jacobians():
    assert propagation(small(), 5).error < 1e-12


def test_the_gradient_is_that_of_the_recurrent_parameters():
    config = small()
    network, loss = loss_of(config, 8)
    loss().backward()
    kept = [each.grad for name, each in network.named_parameters() if name.startswith(("recurrent", "input"))]
    assert len(kept) == 4
    expected = torch.sqrt(sum(each.square().sum() for each in kept))
    assert gradients(config, 8).norm == pytest.approx(float(expected))


def test_eq_14_is_exact_without_coupling():
    assert weak_coupling(small(coupling=1e-7), 6).share == pytest.approx(1, abs=1e-4)


def test_the_coherence_is_that_of_the_contributions_of_the_steps():
    config = small(r=1.0)
    network, inputs, targets, loss = prepared(config, 4)
    contributions = []
    for step in range(len(inputs)):
        weights = [network.input.weight.detach().clone().requires_grad_() for _ in inputs]
        state = torch.zeros(4, 6, dtype=torch.float64)
        for weight, drive in zip(weights, inputs, strict=True):
            inside = network.recurrent(state) + drive @ weight.T + network.input.bias
            state = 1.0 * state + 0.3 * torch.tanh(inside)
        contributions.append(torch.autograd.grad(loss(network.readout(state), targets), weights[step])[0])
    expected = sum(contributions).norm() / sum(each.norm() for each in contributions)
    assert phases(config, 4).coherence == pytest.approx(float(expected), rel=1e-6)


def test_hessians_are_of_disjoint_test_samples():
    config = small()
    found = [float(samples(config, 5, subset).largest) for subset in (0, 1)]
    assert found[0] != found[1]
    inputs = [prepared(config, 5, subset)[1] for subset in (0, 1)]
    assert not any(torch.equal(inputs[0][:, i], inputs[1][:, j]) for i in range(5) for j in range(5))


def test_the_spectrum_is_that_of_the_task(monkeypatch):
    found = untrained.spectrum("adding", 64, 2)
    expected = power_spectrum(build_task(TrainConfig(task="adding", seed=2)), 64).attrs
    assert found.characteristic_frequency == expected["characteristic_frequency"]
    assert found.prominence == expected["prominence"]


def test_grids_are_over_their_axes():
    axes = (("seed", (0, 1)), ("r", (0.5, 1.0)))
    found = over_grid(lambda seed, r: untrained.xr.Dataset({"sum": seed + r}), axes)
    np.testing.assert_array_equal(found.sum("r")["sum"], [1.5, 3.5])

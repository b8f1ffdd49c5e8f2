"""Data and loss are handed over alike to all analyses that take a loss."""

import inspect

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, TensorDataset

import lyapkit
from lyapkit.analyze import ANALYSES

OF_ONE_BATCH = (lyapkit.gradient_propagation, lyapkit.analyze, lyapkit.Tracker)
OF_BATCHES = (
    lyapkit.hessian_spectrum,
    lyapkit.spectral_density,
    lyapkit.curvature_operator,
    lyapkit.curvature_by_step,
)


def network(batch_first: bool = False) -> tuple[nn.GRU, nn.Linear]:
    torch.manual_seed(0)
    return nn.GRU(2, 3, batch_first=batch_first).double(), nn.Linear(3, 1).double()


def data(batch: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(8, batch, 2, generator=generator, dtype=torch.float64)
    return x, torch.randn(batch, 1, generator=generator, dtype=torch.float64)


def by_position(function) -> list[str]:
    kinds = inspect.Parameter
    return [
        name
        for name, each in inspect.signature(function).parameters.items()
        if each.kind is kinds.POSITIONAL_OR_KEYWORD
    ]


def test_the_order_of_arguments_is_the_same() -> None:
    for function in OF_ONE_BATCH:
        assert by_position(function) == ["model", "inputs", "targets", "loss"]
    for function in OF_BATCHES:
        assert by_position(function) == ["model", "batches", "loss"]
    shared = ("readout", "batch_first", "lengths", "check")
    for function in (lyapkit.gradient_propagation, lyapkit.analyze, *OF_BATCHES):
        assert set(shared) <= set(inspect.signature(function).parameters)
    for function in OF_BATCHES:
        assert {"parameters", "reduction", "batch_weight", "operator"} <= set(inspect.signature(function).parameters)


def of_batches(name: str, model: object, batches: object, readout: nn.Module | None, **options) -> np.ndarray:
    """What an analysis of curvature finds, as one array."""
    common = {"readout": readout, **options}
    if name == "hessian_spectrum":
        return lyapkit.hessian_spectrum(model, batches, mse_loss, k=2, rng=0, **common).eigenvalue.values
    if name == "spectral_density":
        return lyapkit.spectral_density(model, batches, mse_loss, probes=2, order=5, rng=0, **common).trace.values
    if name == "curvature_operator":
        operator = lyapkit.curvature_operator(model, batches, mse_loss, **common)
        return operator @ np.linspace(-1, 1, operator.shape[0])
    return lyapkit.curvature_by_step(model, batches, mse_loss, k=2, rng=0, **common).step_curvature.values


def numbers(
    name: str, model: object, inputs: object, targets: object, readout: nn.Module | None, **options
) -> np.ndarray:
    """What an analysis finds for one batch, as one array."""
    common = {"readout": readout, **options}
    if name == "gradient_propagation":
        return lyapkit.gradient_propagation(model, inputs, targets, mse_loss, rng=0, **common).gradient_norm.values
    if name == "analyze":
        tree = lyapkit.analyze(model, inputs, targets, mse_loss, hessian_k=2, rng=0, **common)
    elif name == "Tracker":
        tree = lyapkit.Tracker(model, inputs, targets, mse_loss, analyses=ANALYSES, hessian_k=2, **common).measure(0)
    else:
        return of_batches(name, model, (inputs, targets), readout, **options)
    found = (
        tree["lyapunov_spectrum"].lyapunov_exponent,
        tree["variational_term"].running_exponent,
        tree["gradient_propagation"].gradient_norm,
        tree["hessian_spectrum"].eigenvalue,
    )
    return np.concatenate([each.values.ravel() for each in found])


NAMES = [function.__name__ for function in (*OF_ONE_BATCH, *OF_BATCHES)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("batch_first", [False, True])
def test_one_sequence_is_a_batch_of_one(name: str, batch_first: bool) -> None:
    model, readout = network(batch_first)
    x, y = data(batch=1)
    whole = x.transpose(0, 1) if batch_first else x
    assert_array_equal(numbers(name, model, x[:, 0], y, readout), numbers(name, model, whole, y, readout))


@pytest.mark.parametrize("name", NAMES)
def test_arrays_are_tensors(name: str) -> None:
    model, readout = network()
    x, y = data()
    assert_array_equal(numbers(name, model, x.numpy(), y, readout), numbers(name, model, x, y, readout))


@pytest.mark.parametrize("name", NAMES)
def test_the_layout_is_the_modules_own_or_the_one_given(name: str) -> None:
    x, y = data()
    model, readout = network()
    expected = numbers(name, model, x, y, readout)
    assert_allclose(numbers(name, model, x.transpose(0, 1), y, readout, batch_first=True), expected, rtol=1e-7)
    other, _ = network(batch_first=True)
    other.load_state_dict(model.state_dict())
    assert_allclose(numbers(name, other, x.transpose(0, 1), y, readout), expected, rtol=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_parts_of_a_whole_model_are_named_for_the_map(name: str) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.core, self.head = network()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.core(x)[0][-1])

    model, (x, y) = Model(), data()
    map = lyapkit.as_map(model, core="core", readout="head")
    assert_allclose(numbers(name, map, x, y, None), numbers(name, model.core, x, y, model.head), rtol=1e-7)
    with pytest.raises(TypeError, match=r"no argument 'core'; name the parts .* with as_map\(model, core="):
        numbers(name, model, x, y, None, core="core")


@pytest.mark.parametrize("name", NAMES[len(OF_ONE_BATCH) :])
def test_several_batches_are_one(name: str) -> None:
    model, readout = network(batch_first=True)
    x, y = data()
    sequences = x.transpose(0, 1)
    expected = numbers(name, model, sequences, y, readout)
    halves = [(sequences[:2], y[:2]), (sequences[2:], y[2:])]
    for given in (halves, iter(halves), [(sequences, y)], DataLoader(TensorDataset(sequences, y), 2)):
        assert_allclose(of_batches(name, model, given, readout), expected, rtol=1e-6, atol=1e-9)


def test_the_other_convention_is_refused_with_the_right_one() -> None:
    model, readout = network()
    x, y = data()
    for function in OF_BATCHES:
        with pytest.raises(TypeError, match=rf"one pair: {function.__name__}\(model, \(inputs, targets\), loss\)"):
            function(model, x, y, mse_loss, readout=readout)
        with pytest.raises(TypeError, match="'loss_on'; a loss on every step takes a module"):
            function(model, (x, y), mse_loss, readout=readout, loss_on="every")
    for function in OF_ONE_BATCH[:2]:
        with pytest.raises(TypeError, match="loss is missing; inputs and targets are two arguments"):
            function(model, (x, y), mse_loss, readout=readout)
        with pytest.raises(TypeError, match="'reduction'; losses of several batches are not put together here"):
            function(model, x, y, mse_loss, readout=readout, reduction="sum")
        with pytest.raises(TypeError, match=r"got DataLoader: .*next\(iter\(loader\)\)"):
            function(model, DataLoader(TensorDataset(x, x), 2), y, mse_loss, readout=readout)
    with pytest.raises(TypeError, match="Tracker takes model, inputs, targets and loss by position, got 5 arguments"):
        lyapkit.Tracker(model, x, y, mse_loss, 10)


def test_one_sequence_of_tokens_is_a_batch_of_one() -> None:
    torch.manual_seed(0)
    parts = nn.ModuleDict({"embed": nn.Embedding(5, 2), "rnn": nn.GRU(2, 3), "head": nn.Linear(3, 1)}).double()
    map = lyapkit.as_map(parts, core="rnn", encoder="embed", readout="head")
    tokens, y = torch.arange(8) % 5, torch.zeros(1, 1, dtype=torch.float64)
    assert lyapkit.analyze(map, tokens[:, None], y, mse_loss, hessian_k=1).children
    with pytest.raises(
        TypeError, match=r"encoder must return a batch \(T, B, M\).*got \(8, 2\); give one sequence as a"
    ):
        lyapkit.analyze(map, tokens, y, mse_loss, hessian_k=1)


@pytest.mark.parametrize("loss_on", ["last", "every"])
def test_a_loss_that_broadcasts_targets_of_one_sequence_is_noticed(loss_on) -> None:
    """Outputs of one sequence are those of a batch of one, and so must be the targets."""
    torch.manual_seed(0)
    network, readout = torch.nn.RNN(3, 4, dtype=torch.float64), torch.nn.Linear(4, 2, dtype=torch.float64)
    inputs, every = torch.randn(10, 3, dtype=torch.float64), torch.randn(10, 2, dtype=torch.float64)
    loss = lambda outputs, targets: ((outputs - targets) ** 2).mean()  # noqa: E731
    options = {"readout": readout, "loss_on": loss_on, "rng": 0}
    targets = every if loss_on == "every" else every[-1]
    right = lyapkit.gradient_propagation(network, inputs, targets.unsqueeze(-2), loss, **options)
    batch = lyapkit.gradient_propagation(network, inputs[:, None], targets.unsqueeze(-2), loss, **options)
    np.testing.assert_array_equal(right.gradient_norm, batch.gradient_norm)
    if loss_on == "last":  # (1, O) against (O,) compares the same numbers
        found = lyapkit.gradient_propagation(network, inputs, targets, loss, **options)
        np.testing.assert_array_equal(found.gradient_norm, right.gradient_norm)
        return
    with pytest.warns(UserWarning, match=r"outputs \(10, 1, 2\) and targets \(10, 2\).*It may broadcast them"):
        lyapkit.gradient_propagation(network, inputs, targets, loss, **options)
    with pytest.warns(UserWarning, match="It may broadcast them"):
        lyapkit.analyze(network, inputs, targets, loss, include=("gradient_propagation",), **options)

"""Slips of a new user: what is wrong, and what to do, instead of PyTorch's own words or a silent result."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from lyapkit import (
    analyze,
    as_map,
    curvature_operator,
    gradient_propagation,
    hessian_spectrum,
    lyapunov_exponents,
    lyapunov_spectrum,
    systems,
)
from lyapkit.adapters import register_adapter
from lyapkit.systems.flows import runge_kutta_step

T, B, M, N = 6, 4, 2, 3


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def model() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.GRU(M, N).double()


def readout(features: int = N) -> nn.Linear:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Linear(features, 1).double()


INPUTS, TARGETS = numbers(T, B, M), torch.zeros(B, 1, dtype=torch.float64)
X, Y = numbers(5, 3), torch.zeros(5, 2, dtype=torch.float64)


def gradients(targets=TARGETS, loss=mse_loss, **options):
    return gradient_propagation(model(), INPUTS, targets, loss, **{"readout": readout(), **options})


def everything(targets=TARGETS, loss=mse_loss, **options):
    return analyze(model(), INPUTS, targets, loss, **{"readout": readout(), **options})


def curvature(targets=TARGETS, loss=mse_loss, **options):
    return hessian_spectrum(model(), (INPUTS, targets), loss, **{"readout": readout(), "k": 2, **options})


def plain(inputs=X, **options):
    return hessian_spectrum(nn.Linear(3, 2).double(), (inputs, Y), mse_loss, **{"k": 2, **options})


class Unpacking(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.RNN(M, N)

    def forward(self, inputs):
        return self.layer(inputs)[0][-1]


def feedback(**options):
    return lyapunov_spectrum(nn.RNN(M, N).double(), INPUTS, feedback=nn.Linear(N, M).double(), **options)


WEIGHT = numbers(N, N)
REFUSALS = {
    # callables
    "input first": (
        lambda: as_map(lambda s, x: WEIGHT @ x + s.sum(), state=torch.ones(N).double(), input=torch.ones(M).double()),
        ValueError,
        r"f\(state \(3,\), input \(2,\)\) raised RuntimeError: .*; the state comes first, the input second\.",
    ),
    "a step of another size": (
        lambda: as_map(lambda x: WEIGHT @ x, state=torch.ones(2).double()),
        ValueError,
        r"f\(state \(2,\)\) raised RuntimeError: .*; check the example state\.",
    ),
    "a leaf of another size": (
        lambda: as_map(lambda s: {"h": s["h"][5], "c": s["c"]}, state={"h": torch.ones(2), "c": torch.ones(1)}),
        ValueError,
        r"f\(state \(h \(2,\), c \(1,\)\)\) raised IndexError: ",
    ),
    "a list": (
        lambda: as_map(lambda x: [x], state=torch.zeros(2)),
        ValueError,
        r"must return a tensor like the example state, but returned a list \[tensor\]. Return the next state alone",
    ),
    "state and output": (
        lambda: as_map(lambda s: (s, s["h"]), state={"h": torch.zeros(2)}),
        ValueError,
        r"must return a dict \{'h': tensor\} like the example state, but returned a tuple \(\{'h': tensor\}, tensor\)",
    ),
    "nothing": (
        lambda: as_map(lambda x: None, state=torch.zeros(2)),
        TypeError,
        "the callable must return tensors, got NoneType",
    ),
    # raw errors of PyTorch
    "float32 readout, gradients": (
        lambda: gradients(readout=nn.Linear(N, 1)),
        ValueError,
        r"readout cannot take the network's output of shape \(4, 3\) and torch\.float64: .*same dtype.*Give one that "
        r"takes 3 features, such as torch\.nn\.Linear\(3, \.\.\., dtype=torch\.float64\)",
    ),
    "float32 readout, gradients of every step": (
        lambda: gradients(readout=nn.Linear(N, 1), loss_on="every"),
        ValueError,
        "readout cannot take the network's output .*dtype=torch.float64",
    ),
    "float32 readout, curvature": (lambda: curvature(readout=nn.Linear(N, 1)), ValueError, "dtype=torch.float64"),
    "readout of another size": (
        lambda: gradients(readout=readout(5)),
        ValueError,
        r"readout cannot take the network's output of shape \(4, 3\).*Give one that takes 3 features",
    ),
    "float32 inputs": (
        lambda: plain(X.float()),
        ValueError,
        r"cannot take inputs of torch\.float32 .*its parameters are torch\.float64\. Convert inputs or model",
    ),
    "other number of targets, gradients": (
        lambda: gradients(torch.zeros(B + 1, dtype=torch.int64), nn.functional.cross_entropy),
        ValueError,
        r"the loss cannot be taken of outputs \(4, 1\) and targets \(5,\) \(.*\); give a readout with the outputs that "
        "the loss expects, or other targets",
    ),
    "a loss by name, gradients": (
        lambda: gradients(loss="mse"),
        TypeError,
        r"loss must be callable, loss\(outputs, targets\), such as torch\.nn\.functional\.mse_loss; got 'mse'",
    ),
    "a loss by name, curvature": (lambda: curvature(loss="mse"), TypeError, "loss must be callable.*got 'mse'"),
    "array of targets, gradients": (
        lambda: gradients(TARGETS.numpy()),
        TypeError,
        r"outputs \(4, 1\) and targets ndarray \(.*\); convert the targets with torch\.as_tensor",
    ),
    "array of targets, curvature": (
        lambda: curvature(TARGETS.numpy(), batch_weight=len),
        TypeError,
        "convert the targets with torch.as_tensor",
    ),
    "array of targets, all": (
        lambda: everything(TARGETS.numpy(), include="gradient_propagation"),
        TypeError,
        "convert the targets with torch.as_tensor",
    ),
    "a loss of one argument": (
        lambda: gradients(loss=lambda outputs: outputs.sum()),
        TypeError,
        "the loss cannot be taken of outputs .*takes 1 positional argument",
    ),
    "a complex loss, gradients": (
        lambda: gradients(loss=lambda outputs, _: torch.complex(outputs, outputs).sum()),
        ValueError,
        r"loss must return a real number, got torch\.complex128\. Take its \.real or \.abs\(\)",
    ),
    "a complex loss, curvature": (
        lambda: curvature(loss=lambda outputs, _: torch.complex(outputs, outputs).sum()),
        ValueError,
        "loss must return a real number, got torch.complex128",
    ),
    # remedies that lead on
    "interval beyond the run": (
        lambda: lyapunov_exponents(systems.henon().map, steps=50, qr_interval=100),
        ValueError,
        r"at most the number of steps, 50, got 100; choose a smaller one\.$",
    ),
    "more eigenvalues than parameters": (
        lambda: curvature(k=1200),
        ValueError,
        rf"k must be between 1 and the number of parameters {N * 3 * (M + N + 2) + N + 1}, got 1200",
    ),
    "more eigenvalues than chosen parameters": (
        lambda: curvature(k=1200, parameters=["readout.weight"]),
        ValueError,
        "number of parameters 3, got 1200",
    ),
    "few products": (lambda: curvature(max_products=3), ValueError, "at least 2 k = 4, got 3"),
    "no parameters": (
        lambda: plain(parameters=[]),
        ValueError,
        "parameters must name at least one parameter, got none. Leave it out for all that require gradients",
    ),
    "parameters themselves": (
        lambda: plain(parameters=list(nn.Linear(3, 2).parameters())),
        TypeError,
        r"^parameters must be names, got Parameter among them\. Write \[name for name, _ in "
        r"model\.named_parameters\(\)\] for all of a module\.$",
    ),
    "one parameter itself": (
        lambda: plain(parameters=nn.Linear(3, 2).weight),
        TypeError,
        "predicate .*, got Parameter",
    ),
    "a generator": (lambda: plain(parameters=(name for name in ("weight",))), TypeError, "predicate .*, got generator"),
    "a number of parameters": (lambda: plain(parameters=3), TypeError, "predicate .*, got int"),
    "dictionary of inputs": (
        lambda: hessian_spectrum(Unpacking(), ({"x": torch.ones(T, B, M)}, torch.ones(B, N)), mse_loss, k=2),
        TypeError,
        r"the model cannot take inputs that are a dict .*give a module whose forward takes one argument and unpacks it",
    ),
    "inputs to a free run": (
        feedback,
        TypeError,
        "feedback= without teacher_forcing= .*give teacher_forcing= above 0 to mix inputs in, or steps=",
    ),
    "state of an LSTM": (
        lambda: lyapunov_spectrum(nn.LSTM(M, N).double(), INPUTS, initial_state=(numbers(1, B, N), numbers(1, B, N))),
        TypeError,
        r"one tensor, got a tuple of tensors; flat states are wanted, \(N,\) or \(B, N\); a flat state holds what all "
        r"layers keep, .*torch\.cat\(\(h\[0\], c\[0\]\), -1\) for one of a single layer",
    ),
    # what was taken without a word
    "detach_state": (
        lambda: lyapunov_exponents(systems.henon().map, steps=5, detach_state="no"),
        TypeError,
        "detach_state must be True or False, got 'no'",
    ),
    **{
        name: (lambda name=name: gradients(**{name: "no"}), TypeError, f"{name} must be True or False, got 'no'")
        for name in ("exponent", "per_unit", "parameter_gradients", "check")
    },
    "eigenvectors": (lambda: curvature(eigenvectors="no"), TypeError, "eigenvectors must be True or False, got 'no'"),
    "check of the curvature": (lambda: curvature(check=1), TypeError, "check must be True or False, got 1"),
    "negative learning rate": (
        lambda: curvature(learning_rate=-1),
        ValueError,
        r"learning_rate must be positive and finite, got -1\.0",
    ),
    "learning rate as text": (
        lambda: curvature(learning_rate="0.1"),
        TypeError,
        "learning_rate must be a positive number or None, got '0.1'",
    ),
    "learning rate as a switch": (lambda: curvature(learning_rate=True), TypeError, "got True"),
    "endless tolerance": (
        lambda: curvature(tolerance=float("inf")),
        ValueError,
        "tolerance must be positive and finite",
    ),
    "size 0": (lambda: systems.MatrixProduct(0), ValueError, "size must be at least 1, got 0"),
    "size 2.5": (lambda: systems.MatrixProduct(2.5), TypeError, r"size must be an integer of at least 1, got 2\.5"),
    "a field that is a number": (
        lambda: runge_kutta_step(3, 0.1),
        TypeError,
        "field must be callable, from a state to its time derivative, got 3",
    ),
    "backwards in time": (lambda: runge_kutta_step(torch.sin, -0.1), ValueError, r"dt must be positive .* got -0\.1"),
    "rate above 1": (
        lambda: systems.tanh_network(WEIGHT, rate=2.0),
        ValueError,
        r"rate must be between 0 and 1, got 2",
    ),
    "rate as text": (lambda: systems.tanh_network(WEIGHT, rate="1"), TypeError, "rate must be a number, got '1'"),
    "an adapter that is a number": (
        lambda: register_adapter(nn.Linear, 3),
        TypeError,
        "adapter must be a callable from a module to its RecurrentMap, got 3",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals_say_what_is_wrong(name: str) -> None:
    action, error, message = REFUSALS[name]
    with pytest.raises(error, match=message):
        action()


def test_the_remedy_for_the_state_of_an_lstm_is_its_flat_state() -> None:
    layer, hidden, cells = nn.LSTM(M, N).double(), numbers(1, B, N), numbers(1, B, N) / 2
    map = as_map(layer)
    assert map.unit_names == ["h[0]", "h[1]", "h[2]", "c[0]", "c[1]", "c[2]"]
    _, (after, cells_after) = layer(INPUTS[:1], (hidden, cells))
    stepped = map.step(torch.cat((hidden[0], cells[0]), -1), INPUTS[0])
    torch.testing.assert_close(stepped, torch.cat((after[0], cells_after[0]), -1))


def test_a_complex_vector_is_no_vector_of_parameters() -> None:
    operator = curvature_operator(nn.Linear(3, 2).double(), (X, Y), mse_loss)
    vector = np.arange(8.0)
    for wrong in (vector + 0j, (vector + 0j)[:, None]):
        with pytest.raises(TypeError, match=r"real vectors, got complex ones\. Multiply \.real and \.imag separately"):
            operator @ wrong
    # 2 X'X / (2 n) for each of two outputs, biases last
    features = torch.cat((X, torch.ones(5, 1, dtype=torch.float64)), dim=1)
    block = (features.T @ features / 5).numpy()
    weights = (
        (block[:3, :3] @ vector[:3] + block[:3, 3] * vector[6]),
        (block[:3, :3] @ vector[3:6] + block[:3, 3] * vector[7]),
    )
    np.testing.assert_allclose((operator @ vector)[:6], np.concatenate(weights), rtol=1e-12)

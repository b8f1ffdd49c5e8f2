"""`analyze`: one tree of what the single functions return; mistakes are found before the first long computation."""

import sys

import pytest
import torch
import xarray as xr
from torch import nn
from torch.nn.functional import mse_loss

from lyapkit import analyze, gradient_propagation, hessian_spectrum, lyapunov_spectrum, variational_term
from lyapkit.analyze import ANALYSES


@pytest.fixture
def case():
    torch.manual_seed(0)
    return nn.GRU(2, 3).double(), torch.rand(12, 5, 2).double(), torch.rand(5, 1).double(), nn.Linear(3, 1).double()


def test_each_child_is_what_the_function_of_its_name_returns(case) -> None:
    model, inputs, targets, readout = case
    tree = analyze(
        model, inputs, targets, mse_loss, readout=readout, k=2, hessian_k=3, trajectories=2, record_every=4,
        transient=3, learning_rate=0.1, momentum=0.9, hessian_tolerance=1e-2, rng=4,
    )  # fmt: skip
    expected = {
        "lyapunov_spectrum": lyapunov_spectrum(model, inputs[:, :2], k=2, transient=3, rng=4),
        "variational_term": variational_term(model, inputs[:, :2], k=2, record_every=4),
        "gradient_propagation": gradient_propagation(model, inputs, targets, mse_loss, readout=readout, rng=4),
        "hessian_spectrum": hessian_spectrum(
            model,
            (inputs, targets),
            mse_loss,
            k=3,
            tolerance=1e-2,
            readout=readout,
            learning_rate=0.1,
            momentum=0.9,
            rng=4,
        ),
    }
    assert list(tree.children) == list(ANALYSES)
    for name, dataset in expected.items():
        xr.testing.assert_equal(tree[name].to_dataset(), dataset)


def test_a_choice_of_analyses_and_defaults_that_fit_small_networks(case) -> None:
    model, inputs, targets, _ = case
    one = analyze(model, inputs, targets, mse_loss, include="lyapunov_spectrum")
    assert list(one.children) == ["lyapunov_spectrum"]
    tiny = nn.RNN(2, 1, bias=False).double()  # 3 parameters
    tree = analyze(tiny, inputs, targets, mse_loss, readout=nn.Identity(), include=["hessian_spectrum"])
    assert tree["hessian_spectrum"].sizes["rank"] == 3


def test_inputs_may_be_an_array(case) -> None:
    model, inputs, targets, readout = case
    trees = [analyze(model, given, targets, mse_loss, readout=readout, rng=0) for given in (inputs, inputs.numpy())]
    for name in ANALYSES:
        xr.testing.assert_equal(*(tree[name].to_dataset() for tree in trees))


REFUSALS = {
    "no readout": (dict(readout=None), TypeError, "no readout of its own"),
    "hessian_k": (dict(hessian_k=10_000), ValueError, "hessian_k must be between 1 and the number of parameters 67"),
    "hessian_k of a choice": (
        dict(hessian_k=40, parameters="*_hh_l0", operator="ggn"),
        ValueError,
        "number of parameters 36, got 40",
    ),
    "hessian_tolerance": (dict(hessian_tolerance=0.0), ValueError, "hessian_tolerance must be positive and finite"),
    "operator": (dict(operator="fisher"), ValueError, "hessian, ggn, residual, got 'fisher'"),
    "parameters": (dict(parameters="*nothing*"), ValueError, r"unknown parameters \['\*nothing\*'\]"),
    "momentum": (dict(learning_rate=0.1, momentum=1), ValueError, "momentum must be at least 0 and below 1, got 1"),
    "momentum alone": (dict(momentum=0.9), TypeError, "give learning_rate= too"),
    "k": (dict(k=4), ValueError, "k must be between 1 and the state size 3, got 4"),
    "unknown analysis": (dict(include=("spectrum",)), ValueError, r"include must name some of.*got \['spectrum'\]"),
    "no analysis": (dict(include=()), ValueError, "include must name some of"),
    "trajectories": (dict(trajectories=6), ValueError, "between 1 and the batch size 5, got 6"),
    "half a trajectory": (dict(trajectories=1.5), TypeError, "trajectories must be an integer, got 1.5"),
    "four dims": (
        dict(inputs=torch.zeros(1, 12, 2, 2)),
        TypeError,
        r"\(T, B, M\), time first, or \(T, M\) for one sequence; got \(1, 12, 2, 2\)",
    ),
    "a list": (dict(inputs=[1.0]), TypeError, r"for one sequence; got \(1,\)"),
    "a text": (dict(inputs="inputs"), TypeError, "inputs must be a tensor or an array, got str"),
    "the name of a loss": (dict(loss="mse"), TypeError, "loss must be callable.*got 'mse'"),
    "negative learning rate": (dict(learning_rate=-1), ValueError, "learning_rate must be positive and finite, got -1"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_mistakes_are_found_before_anything_is_computed(case, monkeypatch, name: str) -> None:
    def never(*_, **__):
        raise AssertionError("something was computed")

    for analysis in ANALYSES:
        monkeypatch.setattr(sys.modules["lyapkit.analyze"], analysis, never)  # the name also is the function's
    model, inputs, targets, readout = case
    change, error, message = REFUSALS[name]
    options = {"inputs": inputs, "loss": mse_loss, "readout": readout, **change}
    with pytest.raises(error, match=message):
        analyze(model, options.pop("inputs"), targets, options.pop("loss"), **options)


def test_the_progress_bar_says_what_is_running(case, monkeypatch) -> None:
    said = []

    class Bar:
        def __init__(self, total, description, progress) -> None:
            self.done, self.total = 0, total
            assert progress

        def __enter__(self):
            return self

        def __exit__(self, *_) -> None:
            assert self.done == self.total == 2

        def set_description(self, text: str) -> None:
            said.append(text)

        def update(self) -> None:
            self.done += 1

    monkeypatch.setattr(sys.modules["lyapkit.analyze"], "progress_bar", Bar)
    model, inputs, targets, readout = case
    include = ("gradient_propagation", "lyapunov_spectrum")
    analyze(model, inputs, targets, mse_loss, readout=readout, include=include, progress=True)
    assert said == ["1 of 2: lyapunov spectrum", "2 of 2: gradient propagation"]


def test_no_names_and_no_inputs_are_refused(case) -> None:
    model, _, targets, readout = case
    with pytest.raises(TypeError, match=r"^include must be a sequence of names of analyses, got 3\.$"):
        analyze(model, None, targets, mse_loss, include=3)
    with pytest.raises(TypeError, match=r"^the map needs inputs of shape \(T, B, 2\); none were given\.$"):
        analyze(model, None, targets, mse_loss, readout=readout)


class EveryOutput(nn.Module):
    """A GRU whose output at every step is read."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent, self.readout = nn.GRU(2, 3).double(), nn.Linear(3, 1).double()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.readout(self.recurrent(inputs)[0])


def test_a_loss_on_every_step_reaches_gradients_and_curvature(case) -> None:
    """Gradients through the readout, curvature of a module that is called itself."""
    _, inputs, _, _ = case
    model, targets = EveryOutput(), torch.rand(12, 5, 1).double()
    gradients = analyze(
        model.recurrent, inputs, targets, mse_loss, readout=model.readout, loss_on="every",
        include="gradient_propagation", rng=0,
    )["gradient_propagation"]  # fmt: skip
    alone = gradient_propagation(
        model.recurrent, inputs, targets, mse_loss, readout=model.readout, loss_on="every", rng=0
    )
    assert gradients["gradient_norm"].equals(alone["gradient_norm"])
    last = gradient_propagation(model.recurrent, inputs, targets[-1], mse_loss, readout=model.readout, rng=0)
    assert not gradients["gradient_norm"].equals(last["gradient_norm"])
    for options in ({"readout": model.readout}, {"lengths": [12, 12, 12, 3, 1]}):
        given = {"readout": None, "lengths": None, **options}
        with pytest.raises(TypeError, match="with loss_on='every', hessian_spectrum needs a module that is called"):
            analyze(model.recurrent, inputs, targets, mse_loss, loss_on="every", **given)
    with pytest.raises(ValueError, match="loss_on must be 'last' or 'every', got 'all'"):
        analyze(model.recurrent, inputs, targets, mse_loss, readout=model.readout, loss_on="all")

"""Which parameters the curvature is taken of: names, globs and predicates, in every function that takes them."""

import json

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn
from torch.nn.functional import mse_loss

from lyapkit import analyze, curvature_by_step, curvature_operator, hessian_spectrum, spectral_density
from lyapkit.curvature.parameters import choose_parameters

NAMES = ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0", "readout.weight", "readout.bias"]
CHOICES = {
    "names": (["bias_hh_l0", "weight_hh_l0"], ["bias_hh_l0", "weight_hh_l0"]),
    "one name": ("weight_hh_l0", ["weight_hh_l0"]),
    "one glob": ("*_hh_*", ["weight_hh_l0", "bias_hh_l0"]),
    "a glob with a set": ("[wb]*_hh_l?", ["weight_hh_l0", "bias_hh_l0"]),
    "a glob and a name": (["bias_hh_l0", "*weight_hh*"], ["bias_hh_l0", "weight_hh_l0"]),
    "globs that overlap": (("*_hh_*", "weight_*"), ["weight_hh_l0", "bias_hh_l0", "weight_ih_l0"]),
    "a predicate": (lambda name, tensor: "_hh_" in name and tensor.ndim == 2, ["weight_hh_l0"]),
    "a predicate of NumPy": (lambda _, tensor: np.prod(tensor.shape) > 7, ["weight_hh_l0"]),
    "all": ("*", NAMES),
    "nothing said": (None, NAMES),
}


@pytest.fixture
def case():
    torch.manual_seed(0)
    layer, readout = nn.RNN(2, 3).double(), nn.Linear(3, 1).double()
    return layer, (torch.rand(6, 4, 2).double(), torch.rand(4, 1).double()), readout


def chosen_of(result) -> list[str]:
    listed = json.loads(result.attrs["config_json"])["parameters"]
    assert [shape for _, shape in listed] == [SHAPES[name] for name, _ in listed]
    return [name for name, _ in listed]


SHAPES = dict(zip(NAMES, ([3, 2], [3, 3], [3], [3], [1, 3], [1]), strict=True))


def dense(case) -> np.ndarray:
    """The whole Hessian by automatic differentiation of the plain layer and readout, in the order of `NAMES`."""
    layer, (inputs, targets), readout = case
    parts = [part.detach() for part in (*layer.parameters(), *readout.parameters())]

    def loss(vector: torch.Tensor) -> torch.Tensor:
        pieces = [p.reshape(q.shape) for p, q in zip(vector.split([q.numel() for q in parts]), parts, strict=True)]
        state = inputs.new_zeros(inputs.shape[1], 3)
        for row in inputs:
            state = torch.tanh(row @ pieces[0].T + state @ pieces[1].T + pieces[2] + pieces[3])
        return ((state @ pieces[4].T + pieces[5] - targets) ** 2).mean()

    return torch.autograd.functional.hessian(loss, torch.cat([part.reshape(-1) for part in parts])).numpy()


def block(case, names: list[str]) -> np.ndarray:
    """The rows and columns of the whole Hessian that belong to the named parameters, in their order."""
    starts = dict(zip(NAMES, np.cumsum([0, *map(np.prod, SHAPES.values())])[:-1], strict=True))
    kept = np.concatenate([starts[name] + np.arange(np.prod(SHAPES[name])) for name in names])
    return dense(case)[np.ix_(kept, kept)]


@pytest.mark.parametrize("name", CHOICES)
def test_every_function_takes_the_same_choices(case, name: str) -> None:
    """Against the block of a dense Hessian."""
    layer, data, readout = case
    choice, expected = CHOICES[name]
    exact = block(case, expected)
    values = np.linalg.eigvalsh(exact)
    leading = values[np.argsort(-abs(values))][:2]
    options = dict(readout=readout, parameters=choice)
    spectrum = hessian_spectrum(layer, data, mse_loss, k=2, rng=0, **options)
    assert chosen_of(spectrum) == expected
    np.testing.assert_allclose(spectrum.eigenvalue, leading, rtol=1e-7)
    density = spectral_density(layer, data, mse_loss, probes=2, order=3, rng=0, **options)
    assert chosen_of(density) == expected
    assert density.attrs["parameter_count"] == len(exact)
    operator = curvature_operator(layer, data, mse_loss, **options)
    np.testing.assert_allclose(operator @ np.eye(len(exact)), exact, atol=1e-12)
    by_step = curvature_by_step(layer, data, mse_loss, k=2, rng=0, **options)
    assert chosen_of(by_step) == expected
    np.testing.assert_allclose(by_step.curvature, leading, rtol=1e-7)
    tree = analyze(layer, *data, mse_loss, include="hessian_spectrum", hessian_k=2, rng=0, **options)
    xr.testing.assert_equal(tree["hessian_spectrum"].to_dataset(), spectrum)
    assert chosen_of(tree["hessian_spectrum"]) == expected


def test_a_plain_module_takes_globs_too() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)).double()
    data = torch.rand(5, 2).double(), torch.rand(5, 1).double()
    options = dict(k=3, rng=0)
    by_glob = hessian_spectrum(model, data, mse_loss, parameters="2.*", **options)
    by_name = hessian_spectrum(model, data, mse_loss, parameters=["2.weight", "2.bias"], **options)
    xr.testing.assert_identical(by_glob.drop_attrs(), by_name.drop_attrs())


def test_the_order_of_names_is_the_order_of_entries(case) -> None:
    layer, data, readout = case
    for names in (["readout.bias", "weight_hh_l0"], ["weight_hh_l0", "readout.bias"]):
        operator = curvature_operator(layer, data, mse_loss, readout=readout, parameters=names)
        np.testing.assert_allclose(operator @ np.eye(10), block(case, names), atol=1e-12)


def test_a_name_that_looks_like_a_glob_is_a_name_first() -> None:
    parameters = {"w[0]": nn.Parameter(torch.ones(1)), "w0": nn.Parameter(torch.ones(1))}
    assert list(choose_parameters(parameters, "w[0]")) == ["w[0]"]
    assert list(choose_parameters(parameters, "w[01]")) == ["w0"]
    assert list(choose_parameters(parameters, "w0*")) == ["w0"]
    with pytest.raises(ValueError, match="unknown parameters"):
        choose_parameters(parameters, "W*")  # case counts on every system


def test_globs_and_predicates_leave_frozen_parameters_out(case) -> None:
    layer, data, readout = case
    layer.weight_hh_l0.requires_grad_(False)
    options = dict(k=1, readout=readout, rng=0)
    for choice in ("*_hh_*", ["*_hh_*"], lambda name, _: "_hh_" in name):
        assert chosen_of(hessian_spectrum(layer, data, mse_loss, parameters=choice, **options)) == ["bias_hh_l0"]
    assert "weight_hh_l0" not in chosen_of(hessian_spectrum(layer, data, mse_loss, parameters="*", **options))
    for choice in (["weight_hh_l0"], "weight_hh*", ["bias_hh_l0", "weight_hh*"]):
        with pytest.raises(ValueError, match=r"\['weight_hh_l0'\] do not require gradients; call .requires_grad_\(\)"):
            hessian_spectrum(layer, data, mse_loss, parameters=choice, **options)
    with pytest.raises(ValueError, match="predicate of parameters chooses none of"):
        hessian_spectrum(layer, data, mse_loss, parameters=lambda name, _: name == "weight_hh_l0", **options)


REFUSALS = {
    "a glob for nothing": (
        ["*_hh_*", "*hx*"],
        ValueError,
        r"unknown parameters \['\*hx\*'\].*'bias_hh_l0', 'bias_ih_l0'",
    ),
    "a text for nothing": ("wieght", ValueError, r"unknown parameters \['wieght'\].*The model has \['bias_hh_l0'"),
    "an empty text": ("", ValueError, r"unknown parameters \[''\]"),
    "a predicate of nothing": (lambda name, tensor: False, ValueError, r"chooses none of \['weight_ih_l0', "),
    "a predicate without a verdict": (lambda name, tensor: None, TypeError, "must return True or False, got None for"),
    "no predicate": (nn.Linear(1, 1).named_parameters, TypeError, "must return True or False, got <generator"),
    "a module": (nn.Linear(1, 1), TypeError, "must be names, globs, or a predicate .*, got Linear"),
    "a generator": (iter(["weight_hh_l0"]), TypeError, "must be names, globs, or a predicate .*, got list_iterator"),
    "a number": (3, TypeError, "must be names, globs, or a predicate .*, got int"),
    "no text": ([nn.Parameter(torch.ones(1))], TypeError, "must be names, got Parameter among them"),
    "none": ([], ValueError, "must name at least one parameter, got none"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_chooses_nothing_is_refused_by_every_function(case, name: str) -> None:
    layer, data, readout = case
    choice, error, message = REFUSALS[name]
    calls = [
        lambda **options: hessian_spectrum(layer, data, mse_loss, k=1, **options),
        lambda **options: spectral_density(layer, data, mse_loss, **options),
        lambda **options: curvature_operator(layer, data, mse_loss, **options),
        lambda **options: curvature_by_step(layer, data, mse_loss, k=1, **options),
        lambda **options: analyze(layer, *data, mse_loss, **options),
    ]
    for call in calls:
        again = iter(["weight_hh_l0"]) if name == "a generator" else choice
        with pytest.raises(error, match=message):
            call(readout=readout, parameters=again)


@pytest.mark.parametrize("operator", ["hessian", "ggn", "residual"])
def test_analyze_takes_the_operator(case, operator: str) -> None:
    layer, data, readout = case
    options = dict(operator=operator, parameters="*_hh_*", readout=readout, rng=0)
    tree = analyze(layer, *data, mse_loss, include="hessian_spectrum", hessian_k=3, **options)
    expected = hessian_spectrum(layer, data, mse_loss, k=3, **options)
    xr.testing.assert_equal(tree["hessian_spectrum"].to_dataset(), expected)
    assert json.loads(tree["hessian_spectrum"].attrs["config_json"])["operator"] == operator


class Tied(nn.Module):
    """An encoder and a decoder with the same weights."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(3, 3), nn.Linear(3, 3)
        self.decoder.weight = self.encoder.weight

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.decoder(torch.tanh(self.encoder(inputs)))


@pytest.mark.parametrize("choice", ["decoder.*", ["decoder.weight", "*.bias"], lambda name, _: "decoder" in name, None])
def test_tied_weights_are_chosen_by_each_of_their_names(choice) -> None:
    model = Tied()
    found = choose_parameters(dict(model.named_parameters(remove_duplicate=False)), choice)
    assert found["encoder.weight"] is model.decoder.weight
    assert "decoder.bias" in found
    assert len(found) == len({id(tensor) for tensor in found.values()})
    batch = torch.randn(4, 3), torch.randn(4, 3)
    ds = hessian_spectrum(model, batch, mse_loss, k=1, parameters=choice)
    assert [name for name, _ in json.loads(ds.attrs["config_json"])["parameters"]] == list(found)


def test_a_predicate_of_one_argument_and_the_name_of_a_part_are_told_what_to_write() -> None:
    available = dict(Tied().named_parameters())
    with pytest.raises(TypeError, match=r"must take the arguments \(name, tensor\), which it does not"):
        choose_parameters(available, lambda name: True)
    with pytest.raises(ValueError, match=r"Write \['encoder\.\*'\] for all parameters of a part"):
        choose_parameters(available, "encoder")

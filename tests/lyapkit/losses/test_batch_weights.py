"""Curvature over several batches is that of the loss of all data: dense Hessians, and refusals where there is none."""

import json
from collections import UserDict
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import lyapkit
from batched import CLASS_WEIGHT, DOUBLE, MAKE, configuration, joined_hessian, matrix, relative_error

CONFIGURATIONS = [(name, reduction) for name in MAKE for reduction in ("mean", "sum")] + [("KLDiv", "batchmean")]
pytestmark = pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss")  # KLDivLoss, about itself


@pytest.mark.parametrize(("name", "reduction"), CONFIGURATIONS)
def test_the_operator_is_the_dense_hessian_of_all_data(name: str, reduction: str) -> None:
    model, loss, batches = configuration(name, sizes=(3, 4, 1))
    loss = loss(reduction=reduction)
    expected = joined_hessian(model, batches, loss)
    assert relative_error(matrix(model, batches, loss), expected) < 1e-9


@pytest.mark.parametrize(("name", "reduction"), CONFIGURATIONS)
def test_the_spectrum_is_that_of_the_dense_hessian(name: str, reduction: str) -> None:
    model, loss, batches = configuration(name)
    loss = loss(reduction=reduction)
    values = torch.linalg.eigvalsh(joined_hessian(model, batches, loss))
    expected = values[values.abs().argsort(descending=True)][:3]
    ds = lyapkit.hessian_spectrum(model, batches, loss, k=3, rng=0)
    np.testing.assert_allclose(ds.eigenvalue, expected, rtol=1e-6, atol=1e-9 * float(expected[0].abs()))
    config = json.loads(ds.attrs["config_json"])
    assert config["batch_weights"] == "standard loss"
    assert config["reduction"] == ("sum" if reduction == "sum" else "mean")


def test_mappings_of_two_types_are_two_batches() -> None:
    model, loss, batches = configuration("CE of mappings")
    expected = joined_hessian(model, batches, loss())
    mixed = [(UserDict(batches[0][0]), batches[0][1]), batches[1]]
    assert relative_error(matrix(model, mixed, loss()), expected) < 1e-9


def test_functions_with_options_are_known() -> None:
    for loss in (
        partial(F.cross_entropy, weight=CLASS_WEIGHT),
        partial(F.cross_entropy, ignore_index=1, reduction="sum"),
        partial(partial(F.cross_entropy, label_smoothing=0.1), weight=CLASS_WEIGHT),
    ):
        model, _, batches = configuration("CE")
        assert relative_error(matrix(model, batches, loss), joined_hessian(model, batches, loss)) < 1e-9


def test_float32_is_weighted_too() -> None:
    model, loss, batches = configuration("CE, class weights", sizes=(8, 5))
    expected = joined_hessian(model, batches, loss())
    batches = [(inputs.float(), targets) for inputs, targets in batches]
    found = matrix(model.float(), batches, nn.CrossEntropyLoss(weight=CLASS_WEIGHT.float()))
    assert relative_error(found, expected) < 1e-5


WEIGHTED = nn.CrossEntropyLoss(weight=CLASS_WEIGHT)


class LastStep(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.RNN(2, 3), nn.Linear(3, 3)

    def forward(self, inputs):
        return self.head(self.layer(inputs)[0][-1])


@pytest.fixture
def recurrent():
    torch.manual_seed(0)
    model = LastStep().double()
    inputs, targets = torch.randn(6, 9, 2, dtype=DOUBLE), torch.tensor([0, 0, 0, 1, 0, 2, 2, 1, 2])
    batches = list(zip(inputs.split([5, 3, 1], 1), targets.split([5, 3, 1]), strict=True))
    return model, (inputs, targets), batches


@pytest.mark.parametrize("loss", [WEIGHTED, nn.CrossEntropyLoss(ignore_index=0), nn.CrossEntropyLoss(reduction="sum")])
@pytest.mark.parametrize("operator", ["hessian", "ggn", "residual"])
def test_all_functions_weigh_batches_as_the_loss_does(recurrent, loss, operator: str) -> None:
    """By recursion through time, for which batches are a dim of their own."""
    model, whole, batches = recurrent
    if loss.ignore_index == 0:
        batches = [
            tuple(torch.cat(parts, dim) for parts, dim in zip(zip(*batches[:2], strict=True), (1, 0), strict=True))
        ]
        batches = [(batches[0][0][:, :5], batches[0][1][:5]), (whole[0][:, 5:], whole[1][5:])]
    options = {"readout": model.head, "operator": operator}
    once, split = ((model.layer, data, loss) for data in (whole, batches))
    assert relative_error(matrix(*split, **options), matrix(*once, **options)) < 1e-9
    a, b = (lyapkit.hessian_spectrum(*args, k=3, rng=0, **options) for args in (split, once))
    np.testing.assert_allclose(a.eigenvalue, b.eigenvalue, rtol=1e-7)
    a, b = (lyapkit.spectral_density(*args, probes=2, order=8, rng=0, **options) for args in (split, once))
    np.testing.assert_allclose(a.density, b.density, rtol=1e-6, atol=1e-9 * float(b.density.max()))
    a, b = (lyapkit.curvature_by_step(*args, k=2, bins=3, rng=0, **options) for args in (split, once))
    np.testing.assert_allclose(a.step_to_step_curvature, b.step_to_step_curvature, rtol=1e-5, atol=1e-8)
    assert json.loads(a.attrs["config_json"])["batch_weights"] == "standard loss"


def test_analyze_reads_the_reduction_of_the_loss(recurrent) -> None:
    model, (inputs, targets), _ = recurrent
    tree = lyapkit.analyze(
        model.layer,
        inputs,
        targets,
        nn.CrossEntropyLoss(reduction="sum"),
        readout=model.head,
        include="hessian_spectrum",
        hessian_k=2,
    )
    mean = lyapkit.hessian_spectrum(model, (inputs, targets), F.cross_entropy, k=2)
    np.testing.assert_allclose(tree["hessian_spectrum"].eigenvalue, 9 * mean.eigenvalue, rtol=1e-6)
    assert json.loads(tree["hessian_spectrum"].attrs["config_json"])["reduction"] == "sum"

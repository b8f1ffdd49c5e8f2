"""Batches whose outputs and targets are of other kinds, joined to one for the check of their weights."""

import json
import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree

import lyapkit
from batched import (
    DOUBLE,
    FromMapping,
    configuration,
    joined_hessian,
    masked,
    matrix,
    mean_of_squares,
    relative_error,
    split,
)

pytestmark = pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss")  # KLDivLoss, about itself


class MeanAndVariance(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mean, self.log_variance = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, inputs):
        return {"mean": self.mean(inputs), "log_variance": self.log_variance(inputs)}


def gaussian(outputs, targets):
    return F.gaussian_nll_loss(outputs["mean"], targets, outputs["log_variance"].exp())


@pytest.mark.parametrize("sizes", [(5, 4), (3, 3, 3)])
def test_outputs_may_be_mappings(regression, sizes) -> None:
    _, inputs, targets = regression
    model = MeanAndVariance().double()
    batches = split(inputs, targets, *sizes)
    assert relative_error(matrix(model, batches, gaussian), joined_hessian(model, batches, gaussian)) < 1e-9
    with pytest.raises(ValueError, match="batch_weight="):
        matrix(model, batches, lambda outputs, targets: gaussian(outputs, targets).exp())


def test_targets_may_be_none(regression) -> None:
    """An autoencoder without targets: batches weigh as many inputs as they have."""
    _, inputs, _ = regression
    model = nn.Sequential(nn.Linear(4, 2), nn.Tanh(), nn.Linear(2, 4)).double()
    batches = [(part, None) for part in inputs.split([5, 4])]

    def loss(outputs, targets):
        return (outputs**2).mean() + outputs.sin().mean()

    expected = joined_hessian(model, [(inputs, inputs)], lambda outputs, _: loss(outputs, None))
    assert relative_error(matrix(model, batches, loss), expected) < 1e-9
    mappings = [({"x": part}, None) for part in inputs.split([5, 4])]
    with pytest.raises(TypeError, match=r"targets are None and inputs are dict.*Give targets that batch_weight="):
        matrix(FromMapping(4).double(), mappings, loss)


def test_targets_may_be_mappings(regression) -> None:
    model, inputs, targets = regression

    def loss(outputs, targets):
        return ((outputs - targets["y"]) ** 2)[targets["mask"]].mean()

    mask = torch.arange(9) % 3 > 0
    batches = [(inputs[a:b], {"y": targets[a:b], "mask": mask[a:b]}) for a, b in ((0, 5), (5, 9))]
    with pytest.raises(
        TypeError, match=r"targets are dict, not a tensor, .* Give the weight of a batch as batch_weight="
    ):
        matrix(model, batches, loss)
    found = matrix(model, batches, loss, batch_weight=lambda targets: float(targets["mask"].sum()))
    expected = joined_hessian(model, [(inputs, targets)], lambda o, t: loss(o, {"y": t, "mask": mask}))
    assert relative_error(found, expected) < 1e-9
    assert matrix(model, batches[0], loss).shape == expected.shape  # one batch needs no weight


class EveryStep(nn.Module):
    """A recurrent layer that is read at every step, without a readout that lyapkit could find."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.layer = nn.RNN(4, 2, batch_first=batch_first)

    def forward(self, inputs):
        return self.layer(inputs)[0]


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("sizes", [(5, 4), (3, 3, 3)])
def test_losses_of_all_steps_are_joined_along_the_batch(sizes, batch_first: bool) -> None:
    """A loss that weighs steps is a mean over sequences, and one that compares sequences is not."""
    torch.manual_seed(0)
    model, dim = EveryStep(batch_first).double(), 0 if batch_first else 1
    shape = (9, 6) if batch_first else (6, 9)
    inputs, targets = torch.randn(*shape, 4, dtype=DOUBLE), torch.rand(*shape, 2, dtype=DOUBLE)
    late = torch.arange(6, dtype=DOUBLE).view((1, 6, 1) if batch_first else (6, 1, 1))

    def loss(outputs, targets):
        return (late * (outputs - targets) ** 2).mean()

    batches = list(zip(inputs.split(sizes, dim), targets.split(sizes, dim), strict=True))
    expected = joined_hessian(model, [(inputs, targets)], loss)
    assert relative_error(matrix(model, batches, loss), expected) < 1e-9
    ds = lyapkit.hessian_spectrum(model, batches, loss, k=1)
    assert json.loads(ds.attrs["config_json"])["batch_weights"] == "checked"
    with pytest.raises(ValueError, match="depends on its batch as a whole"):
        matrix(model, batches, lambda outputs, targets: ((outputs - outputs.mean(dim, keepdim=True)) ** 2).mean())


def test_what_cannot_be_joined_is_said() -> None:
    model, _, _ = configuration("MSE")
    batches = [(torch.rand(2, steps, 4, dtype=DOUBLE), torch.rand(2, steps, 3, dtype=DOUBLE)) for steps in (3, 5)]
    batches.append((torch.rand(1, 4, 4, dtype=DOUBLE), torch.rand(1, 4, 3, dtype=DOUBLE)))
    for some, shapes in ((batches, "(2, 3, 3) and (2, 5, 3)"), (batches[::2], "(2, 3, 3) and (1, 4, 3)")):
        with pytest.warns(UserWarning, match="weights of batches could not be checked.*batch_weight="):
            ds = lyapkit.hessian_spectrum(model, some, mean_of_squares, k=1)
        assert json.loads(ds.attrs["config_json"])["batch_weights"] == f"not checked: outputs have the shapes {shapes}"
    ignoring = [(inputs, torch.full(targets.shape[:2], -100)) for inputs, targets in batches]
    with pytest.raises(ValueError, match="negative integer -100"):
        lyapkit.hessian_spectrum(model, ignoring, lambda o, t: (o**2).mean(), k=1)
    ds = lyapkit.hessian_spectrum(model, batches, mean_of_squares, k=1, check=False)
    assert json.loads(ds.attrs["config_json"])["batch_weights"] == "not checked: check=False"


def padded_mean(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the mean over all targets that are not 0, the padding."""
    kept = (targets != 0).to(outputs)
    return ((outputs - targets) ** 2 * kept).sum() / kept.sum()


def test_padded_batches_of_unequal_lengths_do_not_pass_without_a_word() -> None:
    """The dense Hessian of all targets that count needs batch_weight=; without it, a warning says so."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)).double()
    batches = [(torch.randn(3, steps, 2, dtype=DOUBLE), torch.rand(3, steps, 1, dtype=DOUBLE)) for steps in (4, 6, 9)]
    for _, targets in batches:
        targets[1:, 2:] = 0.0
    counts = torch.tensor([float((targets != 0).sum()) for _, targets in batches], dtype=DOUBLE)
    hessians = torch.stack([joined_hessian(model, [batch], padded_mean) for batch in batches])
    expected = torch.einsum("b,bij->ij", counts / counts.sum(), hessians)

    def weight(targets: torch.Tensor) -> float:
        return float((targets != 0).sum())

    assert relative_error(matrix(model, batches, padded_mean, batch_weight=weight), expected) < 1e-9
    for reduction, remedy in (("mean", "Give the weight of a batch"), ("sum", "This is wrong for means")):
        with pytest.warns(UserWarning, match=f"outputs have the shapes.*{remedy}"):
            wrong = matrix(model, batches, padded_mean, reduction=reduction)
        assert relative_error(wrong, expected) > 0.01


def test_eigenvectors_of_other_batches_do_not_pass_by_the_check() -> None:
    torch.manual_seed(0)
    layer, head = nn.RNN(2, 3).double(), nn.Linear(3, 3).double()
    inputs, targets = torch.randn(4, 9, 2, dtype=DOUBLE), torch.rand(9, 3, dtype=DOUBLE)
    batches = list(zip(inputs.split([5, 4], 1), targets.split([5, 4]), strict=True))
    own = lyapkit.hessian_spectrum(layer, (inputs, targets), masked, readout=head, k=1, eigenvectors=True, rng=0)
    with pytest.raises(ValueError, match="batch_weight="):
        lyapkit.curvature_by_step(layer, batches, masked, readout=head, k=1, eigenvectors=own)
    found = lyapkit.curvature_by_step(
        layer,
        batches,
        masked,
        readout=head,
        k=1,
        eigenvectors=own,
        batch_weight=lambda targets: float((targets > 0.3).sum()),
    )
    np.testing.assert_allclose(found.curvature, own.eigenvalue, rtol=1e-6)
    assert json.loads(found.attrs["config_json"])["batch_weights"] == "batch_weight"


def test_layers_that_normalise_over_the_batch_are_refused(regression) -> None:
    _, inputs, targets = regression
    norm = nn.BatchNorm1d(3, track_running_stats=False)
    model = nn.Sequential(nn.Linear(4, 3), norm, nn.Linear(3, 3)).double().eval()
    with pytest.raises(ValueError, match=r"BatchNorm1d \(1\) has no running statistics.*batch_weight="):
        matrix(model, split(inputs, targets, 5, 4), F.mse_loss)
    one = joined_hessian(model, [(inputs, targets)], F.mse_loss)
    assert relative_error(matrix(model, (inputs, targets), F.mse_loss), one) < 1e-9
    tracking = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 3)).double().eval()
    found = matrix(tracking, split(inputs, targets, 5, 4), F.mse_loss)
    assert relative_error(found, joined_hessian(tracking, [(inputs, targets)], F.mse_loss)) < 1e-9


class Wrapped(nn.Module):
    """A linear layer whose outputs go through a function."""

    def __init__(self, wrap) -> None:
        super().__init__()
        self.linear, self.wrap = nn.Linear(2, 1).double(), wrap

    def forward(self, inputs):
        return self.wrap(self.linear(inputs))


UNJOINED = {
    "no batch dim": (lambda o: {"mean": o.mean()}, "outputs are not tensors with a batch dim"),
    "a number": (lambda o: (o, len(o)), "parts are int, not tensors"),
    "an object": (lambda o: (o, object()), "parts are object, not tensors"),
    "another size": (
        lambda o: (o, o.new_ones(len(o) + 1, len(o) + 1)),
        "tensors of shape (3, 3) and (5, 5) have no common batch dim",
    ),
    "another structure": (lambda o: list(o), "a list cannot be joined with a list"),
    "a loss of three samples": (lambda o: o, "the loss cannot be computed for two batches together"),
}


@pytest.mark.parametrize("name", UNJOINED)
def test_the_reason_why_batches_cannot_be_joined_is_said(name: str) -> None:
    wrap, reason = UNJOINED[name]

    def loss(outputs, targets):
        if name == "a loss of three samples" and len(targets) != 3:
            raise ValueError("three at a time")
        first = pytree.tree_leaves(outputs)[0]
        return ((first - targets.mean()) ** 2).mean()

    torch.manual_seed(0)
    first = 3 if name == "a loss of three samples" else 2
    inputs, targets = torch.rand(6, 2).double(), torch.rand(6, 1).double()
    batches = [(inputs[:first], targets[:first]), (inputs[first:], targets[first:])]
    told = rf"the loss of all data \({re.escape(reason)}\)\. Each batch is weighted by its number of targets"
    with pytest.warns(UserWarning, match=told):
        ds = lyapkit.hessian_spectrum(Wrapped(wrap), batches, loss, k=1)
    assert json.loads(ds.attrs["config_json"])["batch_weights"] == f"not checked: {reason}"

"""Batches under losses of the user's own: means are checked and right, sums and others are refused."""

import json

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import lyapkit
from batched import (
    CLASS_WEIGHT,
    DOUBLE,
    configuration,
    joined_hessian,
    masked,
    matrix,
    mean_of_squares,
    relative_error,
    split,
)

pytestmark = pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss")  # KLDivLoss, about itself


def per_sample(outputs, targets):
    return ((outputs - targets) ** 2).sum(1).mean()


def summed(outputs, targets):
    return ((outputs - targets) ** 2).sum()


def own_weights(outputs, targets):
    return F.cross_entropy(outputs, targets, weight=CLASS_WEIGHT.to(outputs))


def root_mean_square(outputs, targets):
    return mean_of_squares(outputs, targets).sqrt()


def spread(outputs, targets):
    return mean_of_squares(outputs, targets) + outputs.std(dim=0).mean()


def normalised(outputs, targets):
    return F.mse_loss(F.batch_norm(outputs, None, None, training=True), targets)


def contrastive(outputs, targets):
    unit = F.normalize(outputs, dim=1)
    return F.cross_entropy(unit @ unit.T / 0.5, torch.arange(len(outputs)))


def centred(outputs, targets):
    return ((outputs - outputs.mean(0)) ** 2).mean() - (outputs * targets).mean()


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
@pytest.mark.parametrize("sizes", [(5, 4), (3, 3, 3), (4, 4, 1), (1,) * 9])
@pytest.mark.parametrize("loss", [mean_of_squares, per_sample, lambda o, t: F.mse_loss(o, t) - 3.0])
def test_means_of_the_users_own_are_checked_and_right(regression, loss, sizes, dtype: torch.dtype) -> None:
    model, inputs, targets = regression
    batches = split(inputs, targets, *sizes)
    expected = joined_hessian(model, batches, loss)
    batches = [(inputs.to(dtype), targets.to(dtype)) for inputs, targets in batches]
    found = matrix(model.to(dtype), batches, loss)
    assert relative_error(found, expected) < (1e-9 if dtype == DOUBLE else 1e-4)
    ds = lyapkit.hessian_spectrum(model, batches, loss, k=1)
    assert json.loads(ds.attrs["config_json"])["batch_weights"] == "checked"


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
@pytest.mark.parametrize("sizes", [(5, 4), (3, 3, 3), (4, 4, 1)])
@pytest.mark.parametrize("loss", [masked, root_mean_square, normalised, contrastive, centred, summed])
def test_losses_that_are_no_mean_over_targets_are_refused(regression, loss, sizes, dtype: torch.dtype) -> None:
    model, inputs, targets = regression
    model, batches = model.to(dtype), split(inputs.to(dtype), targets.to(dtype), *sizes)
    remedy = (
        "so pass reduction=.sum."
        if loss is summed
        else r"batch_weight=, a function of its targets, or give all data as one"
    )
    if loss is normalised and sizes[-1] == 1:
        remedy = "more than 1 value per channel"
    for function in (lyapkit.hessian_spectrum, lyapkit.curvature_operator, lyapkit.spectral_density):
        with pytest.raises(ValueError, match=remedy):
            function(model, batches, loss)
    assert lyapkit.hessian_spectrum(model, (inputs.to(dtype), targets.to(dtype)), loss, k=1).sizes["rank"] == 1


def test_batch_weight_is_taken_as_it_is(regression) -> None:
    model, inputs, targets = regression
    batches = split(inputs, targets, 5, 4)
    expected = joined_hessian(model, [(inputs, targets)], masked)
    found = matrix(model, batches, masked, batch_weight=lambda targets: float((targets > 0.3).sum()))
    assert relative_error(found, expected) < 1e-9
    expected = sum(joined_hessian(model, [batch], spread) for batch in batches) / 2
    assert relative_error(matrix(model, batches, spread, batch_weight=lambda targets: 1.0), expected) < 1e-9
    ds = lyapkit.hessian_spectrum(model, batches, spread, k=1, batch_weight=lambda targets: 1.0)
    assert json.loads(ds.attrs["config_json"])["batch_weights"] == "batch_weight"


def test_class_weights_in_a_loss_of_the_users_own_are_noticed() -> None:
    model, _, batches = configuration("CE", sizes=(5, 4))
    with pytest.raises(ValueError, match=r"loss of batches 1 and 2 together is .*weights, masks, ignored targets"):
        matrix(model, batches, own_weights)
    found = matrix(model, batches, own_weights, batch_weight=lambda targets: float(CLASS_WEIGHT[targets].sum()))
    assert relative_error(found, joined_hessian(model, batches, own_weights)) < 1e-9


def test_a_loss_that_is_the_same_on_all_batches_is_found_out_by_its_slopes() -> None:
    """Before training all outputs may be zero: class weights then do not change the loss, but its derivatives."""
    model, _, batches = configuration("CE", sizes=(5, 4))
    for parameter in model[-1].parameters():
        parameter.data.zero_()
    values = [own_weights(model(inputs), targets).item() for inputs, targets in batches]
    assert values[0] == pytest.approx(values[1], rel=1e-12)
    with pytest.raises(ValueError, match="or their derivatives"):
        matrix(model, batches, own_weights)


def test_the_fourth_batch_is_looked_at(regression) -> None:
    model, inputs, targets = regression
    targets[:6] += 1  # no masks in the first three batches
    with pytest.raises(ValueError, match="the loss of batches 1 and 4 together"):
        matrix(model, split(inputs, targets, 2, 2, 2, 3), masked)


@pytest.mark.parametrize("loss", [summed, lambda o, t: F.mse_loss(o, t, reduction="sum")])
def test_sums_of_the_users_own_are_checked(regression, loss) -> None:
    model, inputs, targets = regression
    batches = split(inputs, targets, 5, 4)
    found = matrix(model, batches, loss, reduction="sum")
    assert relative_error(found, joined_hessian(model, batches, loss)) < 1e-9
    with pytest.raises(ValueError, match=r'The loss is a mean, so pass reduction="mean"'):
        matrix(model, batches, mean_of_squares, reduction="sum")
    with pytest.raises(ValueError, match=r"batch_weight=lambda targets: 1\.0; or give all data as one batch"):
        matrix(model, batches, root_mean_square, reduction="sum")


def test_a_penalty_counts_once_in_a_mean_and_is_refused_in_a_sum(regression) -> None:
    model, inputs, targets = regression
    batches = split(inputs, targets, 5, 4)

    def penalty():
        return 0.1 * sum((parameter**2).sum() for parameter in model.parameters())

    found = matrix(model, batches, lambda o, t: mean_of_squares(o, t) + penalty())
    expected = joined_hessian(model, batches, mean_of_squares)
    expected += 0.2 * torch.eye(len(expected), dtype=DOUBLE)
    assert relative_error(found, expected) < 1e-9
    with pytest.raises(ValueError, match=r"their sum is .*give all data as one batch"):
        matrix(model, batches, lambda o, t: summed(o, t) + penalty(), reduction="sum")


class Focal(nn.Module):
    """A loss of the user's own with the usual attribute."""

    def __init__(self, reduction: str) -> None:
        super().__init__()
        self.reduction = reduction

    def forward(self, outputs, targets):
        each = F.cross_entropy(outputs, targets, reduction="none")
        return getattr((1 - torch.exp(-each)) ** 2 * each, self.reduction)()


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_reduction_of_a_loss_of_the_users_own_is_read(reduction: str) -> None:
    model, _, batches = configuration("CE", sizes=(5, 4))
    found = matrix(model, batches, Focal(reduction))
    assert relative_error(found, joined_hessian(model, batches, Focal(reduction))) < 1e-9


def test_a_reduction_that_contradicts_the_loss_is_refused() -> None:
    model, _, batches = configuration("CE")
    for loss, reduction in ((F.cross_entropy, "sum"), (nn.CrossEntropyLoss(reduction="sum"), "mean")):
        with pytest.raises(ValueError, match=rf'reduction="{reduction}" contradicts the loss: .*Leave reduction out'):
            matrix(model, batches, loss, reduction=reduction)
    with pytest.raises(ValueError, match=r'CrossEntropyLoss has reduction="none"; give it reduction="mean"'):
        matrix(model, batches, nn.CrossEntropyLoss(reduction="none"))
    with pytest.raises(TypeError, match="a sum over batches has no weights"):
        matrix(model, batches, nn.CrossEntropyLoss(reduction="sum"), batch_weight=len)


def test_a_batch_without_targets_that_count_is_named() -> None:
    model, _, batches = configuration("CE")
    with pytest.raises(ValueError, match=r"got 0\.0 for batch 2 of 2; leave out batches in which no target counts"):
        matrix(model, [batches[0], (batches[1][0], torch.full((4,), -100))], F.cross_entropy)

"""Curvature over several batches is that of the loss of all data: dense Hessians, and refusals where there is none."""

import json
import re
from collections import UserDict
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.utils import _pytree as pytree
from torch.utils.data import DataLoader, TensorDataset

import lyapkit

DOUBLE = torch.float64


# -- configurations in the manner of curvlinops' own tests ------------------------------------------------------------


class FromMapping(nn.Module):
    """A network that takes a mapping."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, outputs))

    def forward(self, data):
        return self.net(data["x"])


class ChannelsSecond(nn.Module):
    """A network whose outputs for sequences (B, T, 4) are (B, C, T), as losses of classes want them."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3))

    def forward(self, inputs):
        return self.net(inputs).transpose(1, 2)


def perceptron(outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, outputs))


def image_network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3))


def points(rows: int) -> torch.Tensor:
    return torch.rand(rows, 4, dtype=DOUBLE)


def steps(rows: int) -> torch.Tensor:
    return torch.rand(rows, 5, 4, dtype=DOUBLE)


def images(rows: int) -> torch.Tensor:
    return torch.rand(rows, 1, 6, 6, dtype=DOUBLE)


def plain_mapping(rows: int) -> dict[str, torch.Tensor]:
    return {"x": points(rows)}


def classes(*shape: int):
    return lambda rows: torch.randint(3, (rows, *shape))


def padded(*shape: int):
    def make(rows: int) -> torch.Tensor:
        targets = torch.randint(3, (rows, *shape))
        targets.view(-1)[: rows - 1] = -100 if rows == 3 else targets.view(-1)[: rows - 1]
        return targets

    return make


def binary(*shape: int):
    return lambda rows: torch.randint(2, (rows, *shape)).double()


def numbers(*shape: int):
    return lambda rows: torch.rand(rows, *shape, dtype=DOUBLE)


def probabilities(*shape: int):
    return lambda rows: torch.rand(rows, *shape, dtype=DOUBLE).softmax(1)


CLASS_WEIGHT = torch.tensor([0.1, 1.0, 5.0], dtype=DOUBLE)
MAKE = {
    "CE": (lambda: perceptron(3), nn.CrossEntropyLoss, points, classes()),
    "BCE, 1 output": (lambda: perceptron(1), nn.BCEWithLogitsLoss, points, binary(1)),
    "BCE, 2 outputs": (lambda: perceptron(2), nn.BCEWithLogitsLoss, points, binary(2)),
    "MSE": (lambda: perceptron(3), nn.MSELoss, points, numbers(3)),
    "CE of mappings": (lambda: FromMapping(3), nn.CrossEntropyLoss, plain_mapping, classes()),
    "BCE of mappings": (lambda: FromMapping(1), nn.BCEWithLogitsLoss, plain_mapping, binary(1)),
    "MSE of mappings": (lambda: FromMapping(2), nn.MSELoss, plain_mapping, numbers(2)),
    "CE of sequences": (ChannelsSecond, nn.CrossEntropyLoss, steps, classes(5)),
    "BCE of sequences": (lambda: perceptron(2), nn.BCEWithLogitsLoss, steps, binary(5, 2)),
    "MSE of sequences": (lambda: perceptron(3), nn.MSELoss, steps, numbers(5, 3)),
    "CE of images": (image_network, nn.CrossEntropyLoss, images, classes()),
    "CE, class weights": (lambda: perceptron(3), partial(nn.CrossEntropyLoss, weight=CLASS_WEIGHT), points, classes()),
    "CE, ignored class": (lambda: perceptron(3), partial(nn.CrossEntropyLoss, ignore_index=0), points, classes()),
    "CE, smoothed": (
        lambda: perceptron(3),
        partial(nn.CrossEntropyLoss, label_smoothing=0.2, weight=CLASS_WEIGHT),
        points,
        padded(),
    ),
    "CE of padded sequences": (ChannelsSecond, partial(nn.CrossEntropyLoss, weight=CLASS_WEIGHT), steps, padded(5)),
    "CE of probabilities": (
        lambda: perceptron(3),
        partial(nn.CrossEntropyLoss, weight=CLASS_WEIGHT),
        points,
        probabilities(3),
    ),
    "NLL": (
        lambda: nn.Sequential(perceptron(3), nn.LogSoftmax(1)),
        partial(nn.NLLLoss, weight=CLASS_WEIGHT),
        points,
        padded(),
    ),
    "BCE, positive weight": (
        lambda: perceptron(3),
        partial(nn.BCEWithLogitsLoss, pos_weight=CLASS_WEIGHT),
        points,
        binary(3),
    ),
    "KLDiv": (lambda: nn.Sequential(perceptron(3), nn.LogSoftmax(1)), nn.KLDivLoss, points, probabilities(3)),
    "Poisson": (lambda: perceptron(2), nn.PoissonNLLLoss, points, numbers(2)),
    "Huber": (lambda: perceptron(2), partial(nn.HuberLoss, delta=0.3), points, numbers(2)),
}
CONFIGURATIONS = [(name, reduction) for name in MAKE for reduction in ("mean", "sum")] + [("KLDiv", "batchmean")]

pytestmark = pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss")  # KLDivLoss, about itself


def cat(parts):
    parts = list(parts)
    return torch.cat(parts) if isinstance(parts[0], torch.Tensor) else {"x": torch.cat([part["x"] for part in parts])}


def dense_hessian(model: nn.Module, batches, loss) -> torch.Tensor:
    """The Hessian of the loss of all data as one batch, by `torch.autograd`; nothing of lyapkit's is in it."""
    names, shapes = zip(*[(name, tensor.shape) for name, tensor in model.named_parameters()], strict=True)
    inputs, targets = cat(inputs for inputs, _ in batches), cat(targets for _, targets in batches)

    def value(vector):
        parts = vector.split([shape.numel() for shape in shapes])
        values = {name: part.reshape(shape) for name, part, shape in zip(names, parts, shapes, strict=True)}
        return loss(functional_call(model, values, (inputs,)), targets)

    return torch.autograd.functional.hessian(value, nn.utils.parameters_to_vector(model.parameters()).detach())


def configuration(name: str, sizes=(3, 4)):
    torch.manual_seed(0)
    model, loss, inputs, targets = MAKE[name]
    return model().double(), loss, [(inputs(rows), targets(rows)) for rows in sizes]


def matrix(model, batches, loss, **options) -> torch.Tensor:
    operator = lyapkit.curvature_operator(model, batches, loss, **options)
    return torch.from_numpy(operator @ np.eye(operator.shape[0]))


def relative_error(found, expected) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize(("name", "reduction"), CONFIGURATIONS)
def test_the_operator_is_the_dense_hessian_of_all_data(name: str, reduction: str) -> None:
    model, loss, batches = configuration(name, sizes=(3, 4, 1))
    loss = loss(reduction=reduction)
    expected = dense_hessian(model, batches, loss)
    assert relative_error(matrix(model, batches, loss), expected) < 1e-9


@pytest.mark.parametrize(("name", "reduction"), CONFIGURATIONS)
def test_the_spectrum_is_that_of_the_dense_hessian(name: str, reduction: str) -> None:
    model, loss, batches = configuration(name)
    loss = loss(reduction=reduction)
    values = torch.linalg.eigvalsh(dense_hessian(model, batches, loss))
    expected = values[values.abs().argsort(descending=True)][:3]
    ds = lyapkit.hessian_spectrum(model, batches, loss, k=3, rng=0)
    np.testing.assert_allclose(ds.eigenvalue, expected, rtol=1e-6, atol=1e-9 * float(expected[0].abs()))
    config = json.loads(ds.attrs["config_json"])
    assert config["batch_weights"] == "standard loss"
    assert config["reduction"] == ("sum" if reduction == "sum" else "mean")


def test_mappings_of_two_types_are_two_batches() -> None:
    model, loss, batches = configuration("CE of mappings")
    expected = dense_hessian(model, batches, loss())
    mixed = [(UserDict(batches[0][0]), batches[0][1]), batches[1]]
    assert relative_error(matrix(model, mixed, loss()), expected) < 1e-9


def test_functions_with_options_are_known() -> None:
    for loss in (
        partial(F.cross_entropy, weight=CLASS_WEIGHT),
        partial(F.cross_entropy, ignore_index=1, reduction="sum"),
        partial(partial(F.cross_entropy, label_smoothing=0.1), weight=CLASS_WEIGHT),
    ):
        model, _, batches = configuration("CE")
        assert relative_error(matrix(model, batches, loss), dense_hessian(model, batches, loss)) < 1e-9


def test_float32_is_weighted_too() -> None:
    model, loss, batches = configuration("CE, class weights", sizes=(8, 5))
    expected = dense_hessian(model, batches, loss())
    batches = [(inputs.float(), targets) for inputs, targets in batches]
    found = matrix(model.float(), batches, nn.CrossEntropyLoss(weight=CLASS_WEIGHT.float()))
    assert relative_error(found, expected) < 1e-5


# -- all functions ----------------------------------------------------------------------------------------------------

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


# -- losses of the user's own -----------------------------------------------------------------------------------------


def mean_of_squares(outputs, targets):
    return ((outputs - targets) ** 2).mean()


def per_sample(outputs, targets):
    return ((outputs - targets) ** 2).sum(1).mean()


def summed(outputs, targets):
    return ((outputs - targets) ** 2).sum()


def own_weights(outputs, targets):
    return F.cross_entropy(outputs, targets, weight=CLASS_WEIGHT.to(outputs))


def masked(outputs, targets):
    mask = targets > 0.3
    return ((outputs - targets)[mask] ** 2).mean()


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


@pytest.fixture
def regression():
    torch.manual_seed(0)
    inputs, targets = torch.randn(9, 4, dtype=DOUBLE), torch.rand(9, 3, dtype=DOUBLE)
    return perceptron(3).double(), inputs, targets


def split(inputs, targets, *sizes: int):
    return list(zip(inputs.split(sizes), targets.split(sizes), strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
@pytest.mark.parametrize("sizes", [(5, 4), (3, 3, 3), (4, 4, 1), (1,) * 9])
@pytest.mark.parametrize("loss", [mean_of_squares, per_sample, lambda o, t: F.mse_loss(o, t) - 3.0])
def test_means_of_the_users_own_are_checked_and_right(regression, loss, sizes, dtype: torch.dtype) -> None:
    model, inputs, targets = regression
    batches = split(inputs, targets, *sizes)
    expected = dense_hessian(model, batches, loss)
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
        "so pass reduction=.sum." if loss is summed else r"batch_weight=, from its targets, or give all data as one"
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
    expected = dense_hessian(model, [(inputs, targets)], masked)
    found = matrix(model, batches, masked, batch_weight=lambda targets: float((targets > 0.3).sum()))
    assert relative_error(found, expected) < 1e-9
    expected = sum(dense_hessian(model, [batch], spread) for batch in batches) / 2
    assert relative_error(matrix(model, batches, spread, batch_weight=lambda targets: 1.0), expected) < 1e-9
    ds = lyapkit.hessian_spectrum(model, batches, spread, k=1, batch_weight=lambda targets: 1.0)
    assert json.loads(ds.attrs["config_json"])["batch_weights"] == "batch_weight"


def test_class_weights_in_a_loss_of_the_users_own_are_noticed() -> None:
    model, _, batches = configuration("CE", sizes=(5, 4))
    with pytest.raises(ValueError, match=r"loss of batches 1 and 2 together, .*weights, masks, ignored targets"):
        matrix(model, batches, own_weights)
    found = matrix(model, batches, own_weights, batch_weight=lambda targets: float(CLASS_WEIGHT[targets].sum()))
    assert relative_error(found, dense_hessian(model, batches, own_weights)) < 1e-9


def test_a_loss_that_is_the_same_on_all_batches_is_found_out_by_its_slopes() -> None:
    """Before training all outputs may be zero: class weights then do not change the loss, but its derivatives."""
    model, _, batches = configuration("CE", sizes=(5, 4))
    for parameter in model[-1].parameters():
        parameter.data.zero_()
    values = [own_weights(model(inputs), targets).item() for inputs, targets in batches]
    assert values[0] == pytest.approx(values[1], rel=1e-12)
    with pytest.raises(ValueError, match="in value or in its derivatives"):
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
    assert relative_error(found, dense_hessian(model, batches, loss)) < 1e-9
    with pytest.raises(ValueError, match=r'the loss is a mean, so pass reduction="mean"'):
        matrix(model, batches, mean_of_squares, reduction="sum")
    with pytest.raises(ValueError, match=r"batch_weight=lambda targets: 1\.0, or give all data as one batch"):
        matrix(model, batches, root_mean_square, reduction="sum")


def test_a_penalty_counts_once_in_a_mean_and_is_refused_in_a_sum(regression) -> None:
    model, inputs, targets = regression
    batches = split(inputs, targets, 5, 4)

    def penalty():
        return 0.1 * sum((parameter**2).sum() for parameter in model.parameters())

    found = matrix(model, batches, lambda o, t: mean_of_squares(o, t) + penalty())
    expected = dense_hessian(model, batches, mean_of_squares)
    expected += 0.2 * torch.eye(len(expected), dtype=DOUBLE)
    assert relative_error(found, expected) < 1e-9
    with pytest.raises(ValueError, match=r"is not their sum, .*give all data as one batch"):
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
    assert relative_error(found, dense_hessian(model, batches, Focal(reduction))) < 1e-9


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


# -- outputs and targets of other kinds -------------------------------------------------------------------------------


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
    assert relative_error(matrix(model, batches, gaussian), dense_hessian(model, batches, gaussian)) < 1e-9
    with pytest.raises(ValueError, match="batch_weight="):
        matrix(model, batches, lambda outputs, targets: gaussian(outputs, targets).exp())


def test_targets_may_be_none(regression) -> None:
    """An autoencoder without targets: batches weigh as many inputs as they have."""
    _, inputs, _ = regression
    model = nn.Sequential(nn.Linear(4, 2), nn.Tanh(), nn.Linear(2, 4)).double()
    batches = [(part, None) for part in inputs.split([5, 4])]

    def loss(outputs, targets):
        return (outputs**2).mean() + outputs.sin().mean()

    expected = dense_hessian(model, [(inputs, inputs)], lambda outputs, _: loss(outputs, None))
    assert relative_error(matrix(model, batches, loss), expected) < 1e-9
    mappings = [({"x": part}, None) for part in inputs.split([5, 4])]
    with pytest.raises(TypeError, match=r"targets are None and inputs are dict.*give as targets what batch_weight="):
        matrix(FromMapping(4).double(), mappings, loss)


def test_targets_may_be_mappings(regression) -> None:
    model, inputs, targets = regression

    def loss(outputs, targets):
        return ((outputs - targets["y"]) ** 2)[targets["mask"]].mean()

    mask = torch.arange(9) % 3 > 0
    batches = [(inputs[a:b], {"y": targets[a:b], "mask": mask[a:b]}) for a, b in ((0, 5), (5, 9))]
    with pytest.raises(TypeError, match="targets are dict, not a tensor; say what a batch weighs with batch_weight="):
        matrix(model, batches, loss)
    found = matrix(model, batches, loss, batch_weight=lambda targets: float(targets["mask"].sum()))
    expected = dense_hessian(model, [(inputs, targets)], lambda o, t: loss(o, {"y": t, "mask": mask}))
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
    expected = dense_hessian(model, [(inputs, targets)], loss)
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
        with pytest.warns(UserWarning, match="could not be checked that the batches.*batch_weight="):
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
    hessians = torch.stack([dense_hessian(model, [batch], padded_mean) for batch in batches])
    expected = torch.einsum("b,bij->ij", counts / counts.sum(), hessians)

    def weight(targets: torch.Tensor) -> float:
        return float((targets != 0).sum())

    assert relative_error(matrix(model, batches, padded_mean, batch_weight=weight), expected) < 1e-9
    for reduction, remedy in (("mean", "Say what a batch counts"), ("sum", "which is wrong for means")):
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
    one = dense_hessian(model, [(inputs, targets)], F.mse_loss)
    assert relative_error(matrix(model, (inputs, targets), F.mse_loss), one) < 1e-9
    tracking = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 3)).double().eval()
    found = matrix(tracking, split(inputs, targets, 5, 4), F.mse_loss)
    assert relative_error(found, dense_hessian(tracking, [(inputs, targets)], F.mse_loss)) < 1e-9


# -- loaders ----------------------------------------------------------------------------------------------------------


def test_a_loader_that_shuffles_is_read_once(regression) -> None:
    """Each pass gives other batches, but all products are over those of one pass: the operator is symmetric."""
    model, inputs, targets = regression
    loader = DataLoader(TensorDataset(inputs, targets), batch_size=4, shuffle=True)
    expected = dense_hessian(model, [(inputs, targets)], F.mse_loss)
    assert relative_error(matrix(model, loader, F.mse_loss), expected) < 1e-9
    dropping = DataLoader(TensorDataset(inputs, targets), batch_size=4, shuffle=True, drop_last=True)
    torch.manual_seed(3)
    with pytest.warns(UserWarning, match=r"leaves out 1 of its 9 samples \(drop_last=True\)"):
        found = matrix(model, dropping, F.mse_loss)
    torch.manual_seed(3)
    read = list(dropping)
    assert sum(len(targets) for _, targets in read) == 8
    assert relative_error(found, dense_hessian(model, read, F.mse_loss)) < 1e-9
    whole = DataLoader(TensorDataset(inputs, targets), batch_size=3, shuffle=True, drop_last=True)
    assert relative_error(matrix(model, whole, F.mse_loss), expected) < 1e-9


class TwoHeads(nn.Module):
    """A network that returns two outputs as a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.one, self.two = nn.Linear(2, 3), nn.Linear(3, 1), nn.Linear(3, 2)

    def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        state = torch.tanh(self.body(inputs))
        return self.one(state), self.two(state)


def test_a_network_may_return_a_tuple_that_the_loss_takes() -> None:
    def loss(outputs, targets):
        return F.mse_loss(outputs[0], targets[0]) + F.mse_loss(outputs[1], targets[1])

    torch.manual_seed(0)
    model, inputs = TwoHeads().double(), torch.randn(7, 2, dtype=DOUBLE)
    targets = torch.randn(7, 1, dtype=DOUBLE), torch.randn(7, 2, dtype=DOUBLE)
    expected = dense_hessian(model, [(inputs, inputs)], lambda outputs, _: loss(outputs, targets))
    assert relative_error(matrix(model, [(inputs, targets)], loss), expected) < 1e-9
    batches = [(inputs[part], tuple(each[part] for each in targets)) for part in (slice(0, 5), slice(5, 7))]
    assert relative_error(matrix(model, batches, loss, batch_weight=lambda t: len(t[0])), expected) < 1e-9
    with pytest.raises(TypeError, match="built-in recurrent layers do, which the loss cannot take; give readout="):
        matrix(nn.GRU(2, 3).double(), (torch.randn(4, 5, 2, dtype=DOUBLE), torch.zeros(4, 5, 3)), F.mse_loss)


@pytest.mark.parametrize(
    ("inputs", "targets", "message"),
    [
        (torch.zeros(2, 3, dtype=DOUBLE), torch.tensor([0, 3]), "batch 2 of 3 cannot be taken.*out of bounds"),
        (torch.zeros(2, 2, dtype=DOUBLE), torch.tensor([0, 1]), "batch 2 of 3 cannot be taken.*cannot be multiplied"),
        (torch.zeros(2, 3, dtype=DOUBLE), torch.tensor([0]), "batch 2 of 3 cannot be taken.*batch_size"),
    ],
)
@pytest.mark.parametrize("check", [True, False])
def test_a_later_batch_that_cannot_be_taken_is_named(inputs, targets, message: str, check: bool) -> None:
    model, good = nn.Linear(3, 3).double(), (torch.zeros(2, 3, dtype=DOUBLE), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=message):
        lyapkit.hessian_spectrum(model, [good, (inputs, targets), good], F.cross_entropy, k=1, check=check)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ([1, 2], r"must be a function of the targets of a batch, got \[1, 2\]"),
        (lambda targets: None, "must return one number, got None"),
        (lambda targets: targets, r"must return one number, got a tensor of shape \(2, 3\)"),
    ],
)
def test_batch_weights_that_are_no_numbers_are_refused(weight, message: str) -> None:
    batch = torch.zeros(2, 3, dtype=DOUBLE), torch.zeros(2, 3, dtype=DOUBLE)
    with pytest.raises(TypeError, match=message):
        lyapkit.hessian_spectrum(nn.Linear(3, 3).double(), [batch, batch], F.mse_loss, k=1, batch_weight=weight)


def test_arrays_are_no_targets() -> None:
    model, inputs, targets = nn.Linear(2, 1).double(), torch.rand(6, 2).double(), torch.rand(6, 1).double()
    batches = [(inputs[:3], targets[:3].numpy()), (inputs[3:], targets[3:].numpy())]
    with pytest.raises(TypeError, match=r"^targets are ndarray, not a tensor; convert them with torch.as_tensor\.$"):
        lyapkit.hessian_spectrum(model, batches, lambda outputs, _: outputs.mean(), k=1)


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
    "a loss of three samples": (lambda o: o, "the loss cannot be taken of outputs or targets of two batches together"),
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
    told = rf"have the loss of all data \({re.escape(reason)}\): each counts its number of targets"
    with pytest.warns(UserWarning, match=told):
        ds = lyapkit.hessian_spectrum(Wrapped(wrap), batches, loss, k=1)
    assert json.loads(ds.attrs["config_json"])["batch_weights"] == f"not checked: {reason}"

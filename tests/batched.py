"""Networks, losses and batches in the manner of curvlinops' own tests, and matrices of their curvature."""

from functools import partial

import numpy as np
import torch
from torch import nn
from torch.func import functional_call

import lyapkit
from dense_hessians import as_parameters, flat

DOUBLE = torch.float64


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


def cat(parts):
    parts = list(parts)
    return torch.cat(parts) if isinstance(parts[0], torch.Tensor) else {"x": torch.cat([part["x"] for part in parts])}


def joined_hessian(model: nn.Module, batches, loss) -> torch.Tensor:
    """The Hessian of the loss of all data as one batch, by `torch.autograd`; nothing of lyapkit's is in it."""
    inputs, targets = cat(inputs for inputs, _ in batches), cat(targets for _, targets in batches)

    def value(vector):
        return loss(functional_call(model, as_parameters(model, vector), (inputs,)), targets)

    return torch.autograd.functional.hessian(value, flat(model))


def configuration(name: str, sizes=(3, 4)):
    torch.manual_seed(0)
    model, loss, inputs, targets = MAKE[name]
    return model().double(), loss, [(inputs(rows), targets(rows)) for rows in sizes]


def matrix(model, batches, loss, **options) -> torch.Tensor:
    operator = lyapkit.curvature_operator(model, batches, loss, **options)
    return torch.from_numpy(operator @ np.eye(operator.shape[0]))


def relative_error(found, expected) -> float:
    return float((found - expected).norm() / expected.norm())


def mean_of_squares(outputs, targets):
    return ((outputs - targets) ** 2).mean()


def masked(outputs, targets):
    mask = targets > 0.3
    return ((outputs - targets)[mask] ** 2).mean()


def split(inputs, targets, *sizes: int):
    return list(zip(inputs.split(sizes), targets.split(sizes), strict=True))

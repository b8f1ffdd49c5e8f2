"""Batches after the first, and the batches of loaders."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import lyapkit
from batched import DOUBLE, joined_hessian, matrix, relative_error

pytestmark = pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss")  # KLDivLoss, about itself


def test_a_loader_that_shuffles_is_read_once(regression) -> None:
    """Each pass gives other batches, but all products are over those of one pass: the operator is symmetric."""
    model, inputs, targets = regression
    loader = DataLoader(TensorDataset(inputs, targets), batch_size=4, shuffle=True)
    expected = joined_hessian(model, [(inputs, targets)], F.mse_loss)
    assert relative_error(matrix(model, loader, F.mse_loss), expected) < 1e-9
    dropping = DataLoader(TensorDataset(inputs, targets), batch_size=4, shuffle=True, drop_last=True)
    torch.manual_seed(3)
    with pytest.warns(UserWarning, match=r"leaves out 1 of its 9 samples \(drop_last=True\)"):
        found = matrix(model, dropping, F.mse_loss)
    torch.manual_seed(3)
    read = list(dropping)
    assert sum(len(targets) for _, targets in read) == 8
    assert relative_error(found, joined_hessian(model, read, F.mse_loss)) < 1e-9
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
    expected = joined_hessian(model, [(inputs, inputs)], lambda outputs, _: loss(outputs, targets))
    assert relative_error(matrix(model, [(inputs, targets)], loss), expected) < 1e-9
    batches = [(inputs[part], tuple(each[part] for each in targets)) for part in (slice(0, 5), slice(5, 7))]
    assert relative_error(matrix(model, batches, loss, batch_weight=lambda t: len(t[0])), expected) < 1e-9
    with pytest.raises(TypeError, match=r"built-in recurrent layers do, which the loss cannot take\. Give readout="):
        matrix(nn.GRU(2, 3).double(), (torch.randn(4, 5, 2, dtype=DOUBLE), torch.zeros(4, 5, 3)), F.mse_loss)


@pytest.mark.parametrize(
    ("inputs", "targets", "message"),
    [
        (torch.zeros(2, 3, dtype=DOUBLE), torch.tensor([0, 3]), "batch 2 of 3 cannot be used.*out of bounds"),
        (torch.zeros(2, 2, dtype=DOUBLE), torch.tensor([0, 1]), "batch 2 of 3 cannot be used.*cannot be multiplied"),
        (torch.zeros(2, 3, dtype=DOUBLE), torch.tensor([0]), "batch 2 of 3 cannot be used.*batch_size"),
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

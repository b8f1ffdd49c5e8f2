"""Networks with batches."""

import pytest
import torch

from batched import DOUBLE, perceptron


@pytest.fixture
def regression():
    torch.manual_seed(0)
    inputs, targets = torch.randn(9, 4, dtype=DOUBLE), torch.rand(9, 3, dtype=DOUBLE)
    return perceptron(3).double(), inputs, targets

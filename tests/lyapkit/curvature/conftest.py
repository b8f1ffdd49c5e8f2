"""Data of the tests of Hessians."""

import pytest
import torch


@pytest.fixture
def data():
    torch.manual_seed(0)
    inputs, targets = torch.randn(7, 10, 2).double(), torch.randint(3, (10,))
    return inputs, targets

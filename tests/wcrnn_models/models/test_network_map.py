"""WCRNNs pass lyapkit's conformance suite, and lyapkit's networks equal their own forward."""

import pytest
import torch
from torch.nn.functional import mse_loss

from lyapkit import as_map, hessian_spectrum
from lyapkit.losses.unrolled import UnrolledNetwork
from lyapkit.testing import check_map
from wcrnn_models import WCRNN, residuals

RESIDUALS = {
    "scalar": residuals.scalar(0.995),
    "rotation": residuals.rotation(0.3, r=0.98),
    "random rotation": residuals.rotation("random", rng=0),
    "heterogeneous": residuals.heterogeneous(0.96, 0.05, rng=1),
    "orthogonal": residuals.orthogonal(0.97, rng=2),
    "informed": residuals.informed(rng=3),
    "dense": torch.randn(6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64) / 3,
}


def network(residual, form="linear", coupling=0.1, nonlinearity="tanh") -> WCRNN:
    return WCRNN(
        2, 6, 3, residual=residual, form=form, coupling=coupling, nonlinearity=nonlinearity, rng=0, dtype=torch.float64
    )


@pytest.mark.parametrize("form", ["linear", "A", "B"])
@pytest.mark.parametrize("residual", RESIDUALS)
def test_wcrnns_conform(residual: str, form: str) -> None:
    model = network(RESIDUALS[residual], form)
    map = as_map(model)
    check_map(map, lambda state, input: model.states(input[None], state)[0])
    assert map.unit_names == [f"x[{unit}]" for unit in range(6)]
    assert map.readout is model.readout


def test_per_unit_coupling_and_no_nonlinearity_conform() -> None:
    model = network(residuals.scalar(0.9), coupling=torch.linspace(0.005, 0.05, 6), nonlinearity="identity")
    check_map(as_map(model), lambda state, input: model.states(input[None], state)[0])


def test_the_unrolled_map_is_the_network() -> None:
    model = network(residuals.rotation(0.3))
    inputs, targets = torch.randn(10, 4, 2).double(), torch.randn(4, 3).double()
    unrolled = UnrolledNetwork(as_map(model), model.readout)
    torch.testing.assert_close(unrolled(inputs), model(inputs), rtol=1e-13, atol=1e-14)
    assert dict(unrolled.named_parameters()).keys() == dict(model.named_parameters()).keys()
    own = hessian_spectrum(model, (inputs, targets), mse_loss, k=4)
    mapped = hessian_spectrum(as_map(model), (inputs, targets), mse_loss, k=4)
    torch.testing.assert_close(torch.tensor(own.eigenvalue.values), torch.tensor(mapped.eigenvalue.values))

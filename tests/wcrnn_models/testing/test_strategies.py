"""Drawn residuals have the eigenvalues asked for; drawn networks are WCRNNs of the stated kinds and conform."""

import numpy as np
import pytest
import torch
from hypothesis import find, given, settings

from lyapkit import as_map
from lyapkit.testing import check_map
from wcrnn_models.models.residuals import DenseResidual, ProductResidual, Residual, RotationResidual
from wcrnn_models.testing import residual_maps, wcrnns

QUICK = settings(max_examples=60, database=None, derandomize=True)


@given(residual_maps(kinds=["scalar", "diagonal", "rotation", "orthogonal", "dense"], moduli=(0.5, 0.9)))
def test_residuals_have_magnitudes_in_their_range(residual: Residual) -> None:
    found = residual.log_magnitudes().exp()
    # eigenvalues of a dense matrix with repeated ones are known to about sqrt(eps)
    assert (found >= 0.5 - 1e-6).all()
    assert (found <= 0.9 + 1e-6).all()
    assert residual.matrix().dtype == torch.float64
    assert residual.matrix().shape == (residual.size, residual.size)


@given(residual_maps(kinds=["product", "informed"]))
def test_products_have_the_volume_of_their_diagonal(residual: Residual) -> None:
    volume = np.linalg.slogdet(residual.matrix().numpy()).logabsdet
    diagonal = residual.chain()[1].diagonal()
    assert volume == pytest.approx(float(diagonal.abs().log().sum()), abs=1e-12)


@settings(max_examples=10)
@given(wcrnns(residuals=residual_maps(max_size=3), forms=["linear", "A", "B"], nonlinearities=["tanh", "identity"]))
def test_networks_conform(network) -> None:
    check_map(as_map(network), own_step=lambda x, s: network.states(s[None], x)[0])


@pytest.mark.slow
@pytest.mark.parametrize("kind", [DenseResidual, ProductResidual, RotationResidual])
def test_kinds_are_drawn_and_shrink(kind: type[Residual]) -> None:
    found = find(wcrnns(), lambda network: isinstance(network.residual, kind), settings=QUICK)
    assert found.hidden_size <= 2
    assert (found.input_size, float(found.coupling)) == (1, 0.0)


@pytest.mark.slow
def test_forms_are_drawn() -> None:
    scalars = residual_maps(kinds=["scalar"], max_size=2)
    found = find(wcrnns(residuals=scalars, forms=["linear", "B"]), lambda network: network.form == "B", settings=QUICK)
    assert (found.hidden_size, found.nonlinearity) == (1, "tanh")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: residual_maps(kinds=["none"]), "kinds must be some of scalar, .*, got"),
        (lambda: residual_maps(max_size=1), "max_size must be at least 2, got 1"),
        (lambda: residual_maps(moduli=(0.5, 0.1)), "moduli must fulfil"),
        (lambda: wcrnns(couplings=(-0.1, 0.1)), "couplings must fulfil"),
    ],
)
def test_bad_arguments_are_refused(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()

"""Wrong numbers without a word are refused: training mode, ignored targets, strange eigenvectors, changing maps."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

import lyapkit

DOUBLE = torch.float64


def recurrent(seed: int = 0) -> tuple[nn.Module, nn.Module, tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(seed)
    layer, readout = nn.GRU(3, 4).double(), nn.Linear(4, 2).double()
    generator = torch.Generator().manual_seed(1)
    batch = (
        torch.randn(12, 6, 3, generator=generator, dtype=DOUBLE),
        torch.randn(6, 2, generator=generator, dtype=DOUBLE),
    )
    return layer, readout, batch


# -- readouts in training mode --------------------------------------------------------------------------------------


@pytest.mark.parametrize("analysis", ["hessian_spectrum", "spectral_density", "curvature_by_step", "gradients"])
@pytest.mark.parametrize("part", [nn.BatchNorm1d(4).double(), nn.Dropout(0.5)])
def test_a_readout_in_training_mode_is_refused_and_left_as_it_was(analysis: str, part: nn.Module) -> None:
    layer, linear, batch = recurrent()
    readout = nn.Sequential(part.train(), linear)
    before = {name: value.clone() for name, value in readout.state_dict().items()}
    name = "gradient_propagation" if analysis == "gradients" else analysis
    with pytest.raises(ValueError, match=rf"{type(part).__name__} \(readout.0\) is in training mode.*readout.eval\(\)"):
        getattr(lyapkit, name)(layer, *(batch if analysis == "gradients" else (batch,)), mse_loss, readout=readout)
    for key, value in readout.state_dict().items():
        assert torch.equal(value, before[key])
    readout.eval()
    getattr(lyapkit, name)(layer, *(batch if analysis == "gradients" else (batch,)), mse_loss, readout=readout)


def test_a_readout_in_training_mode_is_seen_in_a_closure() -> None:
    layer, linear, batch = recurrent()
    norm = nn.BatchNorm1d(4).double().train()
    with pytest.raises(ValueError, match="BatchNorm1d is in training mode"):
        lyapkit.hessian_spectrum(layer, batch, mse_loss, readout=lambda hidden: linear(norm(hidden)), k=2)


# -- weights of batches ---------------------------------------------------------------------------------------------


def test_ignored_targets_need_weights_where_the_loss_is_not_pytorchs_own() -> None:
    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return cross_entropy(outputs, targets)

    torch.manual_seed(0)
    model, inputs = nn.Linear(3, 4).double(), torch.randn(30, 3, dtype=DOUBLE)
    targets = torch.randint(4, (30,))
    targets[:6] = -100
    whole = lyapkit.hessian_spectrum(model, (inputs, targets), cross_entropy, k=3, rng=0)
    parts = [(inputs[:15], targets[:15]), (inputs[15:], targets[15:])]
    with pytest.raises(ValueError, match=r"ignored targets\).* batch_weight="):
        lyapkit.hessian_spectrum(model, parts, loss, k=3, rng=0)
    with pytest.raises(ValueError, match=r"negative integer -100, .*ignore_index.*batch_weight=lambda"):
        lyapkit.hessian_spectrum(model, parts, loss, k=3, rng=0, check=False)
    weighted = lyapkit.hessian_spectrum(
        model, parts, loss, k=3, rng=0, batch_weight=lambda each: float((each >= 0).sum())
    )
    np.testing.assert_allclose(weighted.eigenvalue, whole.eigenvalue, rtol=1e-9)


# -- eigenvectors of another network --------------------------------------------------------------------------------


def test_eigenvectors_of_other_weights_are_not_taken_out() -> None:
    layer, readout, batch = recurrent()
    other, other_readout, _ = recurrent(5)
    options = {"k": 3, "rng": 0, "eigenvectors": True}
    own = lyapkit.hessian_spectrum(layer, batch, mse_loss, readout=readout, **options)
    strange = lyapkit.hessian_spectrum(other, batch, mse_loss, readout=other_readout, **options)
    density = lyapkit.spectral_density(layer, batch, mse_loss, readout=readout, deflate=own, probes=2, rng=0)
    np.testing.assert_allclose(density.deflated_eigenvalue, own.eigenvalue)
    with pytest.raises(ValueError, match=r"deflate has eigenvectors of other weights, batches or another loss: \|A v"):
        lyapkit.spectral_density(layer, batch, mse_loss, readout=readout, deflate=strange, probes=2, rng=0)


def test_curvature_along_eigenvectors_of_other_weights_is_said_to_be() -> None:
    layer, readout, batch = recurrent()
    other, other_readout, _ = recurrent(5)
    strange = lyapkit.hessian_spectrum(other, batch, mse_loss, readout=other_readout, k=2, rng=0, eigenvectors=True)
    own = lyapkit.hessian_spectrum(layer, batch, mse_loss, readout=readout, k=2, rng=0, eigenvectors=True)
    for operator in ("hessian", "ggn"):  # along eigenvectors of another operator, those are still of some weights
        lyapkit.curvature_by_step(layer, batch, mse_loss, readout=readout, k=2, operator=operator, eigenvectors=own)
        with pytest.warns(UserWarning, match="eigenvectors= holds eigenvectors of other weights, batches or another"):
            lyapkit.curvature_by_step(
                layer, batch, mse_loss, readout=readout, k=2, operator=operator, eigenvectors=strange
            )


@pytest.mark.parametrize("cells", [True, False], ids=["recursion", "autodiff"])
@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_eigenvectors_of_slightly_other_weights_are_found_out(cells: bool, dtype: torch.dtype) -> None:
    layer, readout, (inputs, targets) = recurrent()
    layer, readout, batch = layer.to(dtype), readout.to(dtype), (inputs.to(dtype), targets.to(dtype))
    model = layer
    if not cells:
        zeros = torch.zeros(7, dtype=dtype)
        model = lyapkit.as_map(Elman().to(dtype), state=zeros[:4], input=zeros[4:])
    options = {"readout": readout, "rng": 0}
    own = lyapkit.hessian_spectrum(model, batch, mse_loss, k=3, eigenvectors=True, **options)
    lyapkit.spectral_density(model, batch, mse_loss, deflate=own, probes=2, **options)
    lyapkit.curvature_by_step(model, batch, mse_loss, k=3, eigenvectors=own, **options)
    with torch.no_grad():
        for parameter in readout.parameters():
            parameter *= 1 + (1e-4 if dtype == DOUBLE else 1e-2)
    with pytest.raises(ValueError, match="deflate has eigenvectors of other weights"):
        lyapkit.spectral_density(model, batch, mse_loss, deflate=own, probes=2, **options)
    with pytest.warns(UserWarning, match="eigenvectors= holds eigenvectors of other weights"):
        lyapkit.curvature_by_step(model, batch, mse_loss, k=3, eigenvectors=own, **options)


class Elman(nn.Module):
    """A step in elementary operations, of which no derivatives are known."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent, self.input = nn.Linear(4, 4), nn.Linear(3, 4)

    def forward(self, state, input):
        return torch.tanh(self.recurrent(state) + self.input(input))


def test_eigenvectors_that_somebody_has_changed_are_refused() -> None:
    layer, readout, batch = recurrent()
    own = lyapkit.hessian_spectrum(layer, batch, mse_loss, readout=readout, k=3, rng=0, eigenvectors=True)

    def density(spectrum):
        return lyapkit.spectral_density(layer, batch, mse_loss, readout=readout, deflate=spectrum, probes=2, rng=0)

    middle = own.copy(deep=True)
    middle["eigenvalue"].values[1] *= 1.01
    with pytest.raises(ValueError, match=r"other weights, batches or another loss: \|A v"):
        density(middle)
    twice = own.copy(deep=True)
    twice["eigenvector"].values[:, 1] = twice["eigenvector"].values[:, 0]
    for wrong in (twice, own.assign(eigenvector=2 * own["eigenvector"])):
        with pytest.raises(ValueError, match="the eigenvectors of deflate are not orthonormal"):
            density(wrong)
    with pytest.raises(ValueError, match=r"must have the dims parameter and rank.*\.isel\(rank=\[0\]\)"):
        density(own.isel(rank=0))
    np.testing.assert_allclose(density(own.isel(rank=[0])).deflated_eigenvalue, own.eigenvalue[:1])
    for key in ("parameters", "operator"):
        settings = json.loads(own.attrs["config_json"])
        del settings[key]
        with pytest.raises(ValueError, match=f"deflate does not say its {key}"):
            density(own.assign_attrs(config_json=json.dumps(settings)))


# -- maps that change -----------------------------------------------------------------------------------------------


class Counting:
    """A logistic map whose parameter changes after some calls."""

    def __init__(self, last: int) -> None:
        self.calls, self.last = 0, last

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return (3.9 if self.calls < self.last else 3.2) * x * (1 - x)


@pytest.mark.parametrize("analysis", ["lyapunov_spectrum", "variational_term", "covariant_vectors"])
def test_a_map_that_changes_during_the_run_is_refused(analysis: str) -> None:
    run = getattr(lyapkit, analysis)
    start = torch.tensor([0.3], dtype=DOUBLE)
    with pytest.raises(ValueError, match="the map has changed during the run: step 1 of trajectory 0 gave another"):
        run(lyapkit.as_map(Counting(50), state=start), steps=100)
    run(lyapkit.as_map(Counting(10**6), state=start), steps=100)


# -- sequences of unequal length ------------------------------------------------------------------------------------


def test_short_sequences_keep_their_windows() -> None:
    layer, _, _ = recurrent()
    inputs = torch.randn(2000, 3, 3, generator=torch.Generator().manual_seed(2), dtype=DOUBLE)
    lengths = [2000, 130, 70]
    together = lyapkit.lyapunov_spectrum(layer, inputs, lengths=lengths)
    for place, length in enumerate(lengths):
        alone = lyapkit.lyapunov_spectrum(layer, inputs[:length, place], qr_interval=1)
        one = together.isel(trajectory=place)
        np.testing.assert_allclose(one.lyapunov_exponent, alone.lyapunov_exponent[0], atol=1e-10)
        assert int(one.error_degrees_of_freedom) >= 7
        np.testing.assert_allclose(one.standard_error, alone.standard_error[0], rtol=1e-6)


def test_a_sequence_without_errors_takes_none_from_the_others() -> None:
    layer, _, _ = recurrent()
    inputs = torch.randn(500, 3, 3, generator=torch.Generator().manual_seed(2), dtype=DOUBLE)
    ds = lyapkit.lyapunov_spectrum(layer, inputs, lengths=[500, 200, 3])
    freedoms = ds.error_degrees_of_freedom.values
    assert freedoms[2] == 0
    assert np.isinf(ds.standard_error[2]).all()
    assert ds.attrs["error_degrees_of_freedom"] == freedoms[:2].min() >= 7


# -- damaged files --------------------------------------------------------------------------------------------------


def test_numbers_that_changed_in_a_file_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "henon.nc"
    saved = lyapkit.lyapunov_spectrum(lyapkit.systems.henon().map, steps=300)
    lyapkit.save(saved, path)
    content = bytearray(path.read_bytes())
    place = content.find(saved.lyapunov_exponent.values.tobytes())
    assert place > 0
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is not a result file"):
        lyapkit.load(path)

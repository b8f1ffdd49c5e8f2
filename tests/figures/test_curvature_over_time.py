"""Curvature over time: sums, weights against closed forms, and what is drawn."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import xarray as xr

from figures import curvature_over_time as figure
from figures.command import DATA
from figures.evidence import read_file
from figures.experiments.curvature_over_time import by_step, measure, weights
from figures.paper import STRENGTH_CLASSES
from training_results import files, footnote
from wcrnn_models import TrainConfig, predict
from wcrnn_models.errors import UserError
from wcrnn_models.training.build import build_model, build_task

CONFIG = TrainConfig(task="adding", length=12, hidden_size=6, r=0.9, coupling=0.05, test_size=20)


def test_curvature_is_that_of_the_explicit_gauss_newton_matrix() -> None:
    found = by_step(CONFIG, 10)
    network, task = build_model(CONFIG).double(), build_task(CONFIG)
    inputs = next(iter(task.test_batches()))[0][:, :10].double()
    parameters = {name: value for name, value in network.named_parameters() if not name.startswith("readout")}

    def outputs(values: dict[str, torch.Tensor]) -> torch.Tensor:
        return torch.func.functional_call(network, values, (inputs,))

    columns = torch.func.jacrev(outputs)({name: value.detach() for name, value in parameters.items()})
    jacobian = torch.cat([columns[name].reshape(10, -1) for name in parameters], dim=1)
    largest = float(torch.linalg.eigvalsh(2 / 10 * jacobian.detach() @ jacobian.detach().T)[-1])
    assert float(found.eigenvalue[0]) == pytest.approx(largest, rel=1e-6)
    assert float(found.step_curvature.sum()) == pytest.approx(largest, rel=1e-6)
    assert float(found.readout_curvature[0]) == 0
    assert float(found.pair_weight.sum()) == pytest.approx(1)
    assert float(found.step_weight.sum()) == pytest.approx(1)


def test_weights_are_powers_of_the_residual() -> None:
    predictions = predict(build_model(CONFIG))
    assert predictions is not None
    step, pair = weights(predictions, np.array([1, 5, 9]), np.array([4, 8, 12]))
    powers = 0.9 ** (12 - np.arange(1, 13))
    np.testing.assert_allclose(step, powers / powers.sum(), rtol=1e-6)  # r is a float32 number
    bins = powers.reshape(3, 4).sum(axis=1) / powers.sum()
    np.testing.assert_allclose(pair, np.outer(bins, bins), rtol=1e-6)
    assert pair[1, 1] / pair[2, 2] == pytest.approx(0.9**8, rel=1e-6)  # 2 (D - t), four steps apart


def test_missing_data_are_named_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setenv("WCRNN_DATA_DIR", str(tmp_path))
    with pytest.raises(UserError, match="wcrnn data fetch mnist"):
        measure(tmp_path, progress=False, samples=8)


def synthetic(seeds: int) -> xr.DataTree:
    one = by_step(CONFIG, 10)
    dataset = one.expand_dims(seed=range(seeds), r=list(STRENGTH_CLASSES)).copy(deep=True)
    dataset["step_curvature"] = dataset.step_curvature * (1 + 0.5 * dataset.seed)
    tree = xr.DataTree.from_dict({"curvature_by_step": dataset.assign_attrs(samples=10)})
    tree.attrs = {"experiment": "curvature_over_time", "seeds": seeds, "commit": "0123456789"}
    return tree


@pytest.mark.parametrize("seeds", [1, 2])
def test_drawn_are_shares_weights_and_matrices(seeds: int) -> None:
    tree = synthetic(seeds)
    drawn = figure.draw(files(curvature_over_time=tree))
    found = tree["curvature_by_step"].to_dataset().isel(seed=0, r=0, rank=0)
    share = (found.step_curvature / found.curvature).values
    weak = found.weak_coupling_curvature
    eq14 = (weak.sum("other_bin") / found.curvature).values[:-1]  # bins of one step; the seeds' are equal
    total = float(weak.sum() / found.curvature)
    assert abs(total - 1) > 0.01
    for ax in (drawn.axes[0], drawn.axes[3]):
        name = f"$r={0.95 if ax is drawn.axes[0] else 1.0025:g}$ ({total:.2f})"
        first = {line.get_label(): line for line in ax.lines}[name]
        np.testing.assert_allclose(first.get_ydata(), share * (1 + 0.25 * (seeds - 1)))
        dashed, crosses = ax.lines[1], ax.lines[2]
        np.testing.assert_allclose(dashed.get_ydata(), found.step_weight)
        np.testing.assert_allclose(crosses.get_ydata(), eq14)
        np.testing.assert_allclose(crosses.get_xdata(), np.arange(1, 13))
        assert len(ax.collections) == (2 if seeds > 1 else 0)
        assert ax.get_yscale() == "log"
        assert ax.get_ylim()[0] == 1e-5
        assert ax.get_ylim()[1] > max(np.max(line.get_ydata()) for line in ax.lines if len(line.get_ydata()))
        assert dashed.get_linewidth() < first.get_linewidth()
        assert first.get_alpha() < 1  # so that the dashed line is seen where it lies on the other
    measured, weight = drawn.axes[1], drawn.axes[2]
    pairs = (found.step_to_step_curvature / found.curvature).values[:-1, :-1]
    np.testing.assert_allclose(measured.collections[0].get_array(), pairs)
    np.testing.assert_allclose(weight.collections[0].get_array(), found.pair_weight.values[:-1, :-1])
    for row in (1, 4):  # one scale for both matrices
        images = [ax.collections[0] for ax in drawn.axes[row : row + 2]]
        largest = max(float(image.get_array().max()) for image in images)
        assert [image.get_clim() for image in images] == [(0.0, pytest.approx(largest))] * 2
        assert {image.get_cmap().name for image in images} == {"magma_r"}
    assert "10 test samples" in footnote(drawn)
    assert f"eq. (14) sums to {total:.2f} at r = 0.95, {total:.2f} at r = 0.995," in footnote(drawn)
    assert ("A, D: mean and range over seeds" in footnote(drawn)) == (seeds > 1)
    assert math.isclose(pairs.sum(), 1, rel_tol=1e-9)
    plt.close(drawn)


def test_what_eq_14_gives_of_the_shipped_curvature_is_not_hidden() -> None:
    """Near the edge of chaos it is a quarter or less: the term of order gamma grows with the number of steps."""
    tree = read_file("curvature_over_time", DATA)
    drawn = figure.draw(files(curvature_over_time=tree))
    labels = [line.get_label() for ax in (drawn.axes[0], drawn.axes[3]) for line in ax.lines]
    expected = ["$r=0.95$ (0.97)", "$r=0.995$ (0.17)", "$r=1.0025$ (0.24)", "$r=1.01$ (0.65)"]
    assert [label for label in labels if label.startswith("$r=")] == expected
    measured = tree["curvature_by_step"].to_dataset().isel(rank=0, seed=0)
    for ax, r in ((drawn.axes[0], 0.995), (drawn.axes[3], 1.01)):
        crosses, one = ax.lines[5], measured.sel(r=r)
        steps = (one.last_step - one.first_step + 1).values[:-1]
        readout = one.weak_coupling_curvature.isel(bin=-1).sum()
        total = one.weak_coupling_curvature.sum() - readout
        assert (crosses.get_ydata() * steps).sum() == pytest.approx(float(total / one.curvature), rel=1e-12)
    plt.close(drawn)


def test_negative_shares_are_drawn_in_colours_of_their_own() -> None:
    tree = synthetic(1)
    tree["curvature_by_step"].step_to_step_curvature[:, 1, :, 0, 1] *= -1  # of the subcritical network that is shown
    drawn = figure.draw(files(curvature_over_time=tree))
    for ax, names in zip((drawn.axes[1], drawn.axes[4]), ("RdBu_r", "magma_r"), strict=True):
        image = ax.collections[0]
        assert image.get_cmap().name == names
        assert image.get_clim()[0] == (-image.get_clim()[1] if names == "RdBu_r" else 0)
    plt.close(drawn)

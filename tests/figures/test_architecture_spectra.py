"""Spectra at comparable performance: which checkpoint, which inputs, end to end, and what is drawn."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import xarray as xr

from figures import architecture_spectra as figure
from figures.experiments import architecture_spectra as experiment
from figures.experiments.architecture_spectra import EFFORT, LEARNING_RATES, Effort, configs, measure
from training_results import files, footnote
from wcrnn_models import TrainConfig, save_checkpoint
from wcrnn_models.training.build import build_model, build_task

CONFIG = TrainConfig(task="adding", length=10, hidden_size=4, test_size=30)


@pytest.mark.parametrize("effort", [EFFORT, Effort(50, 5, 20_000, 100, steps=4000, trajectories=4)])
def test_configs_keep_every_evaluation_and_differ_in_the_seed_only(effort: Effort) -> None:
    for name, rate in LEARNING_RATES.items():
        made = configs(name, effort)
        assert [config.seed for config in made] == list(range(effort.seeds))
        for config in made:
            assert config.learning_rate == rate
            assert config.save_at[-1] == config.iterations_per_epoch == effort.iterations
            assert all(iteration % effort.every == 0 for iteration in config.save_at)
            assert (config.evaluate_every, config.length) == (effort.every, effort.length)


@pytest.mark.parametrize(
    ("metrics", "expected"), [([0.4, 0.21, 0.2, 0.1], 2), ([0.4, 0.3, 0.35], 1), ([0.4, 0.15, 0.1], 1)]
)
def test_chosen_is_the_first_below_the_target_or_the_best(tmp_path: Path, metrics: list[float], expected: int) -> None:
    model = build_model(CONFIG)
    for index, metric in enumerate(metrics):
        path = tmp_path / "checkpoints" / f"iteration-{index:08d}"
        save_checkpoint(path, model, CONFIG, iteration=index, test_metric=metric, metric_name="rms")
    assert experiment.chosen(tmp_path).iteration == expected


def test_drive_is_test_sequences_one_after_the_other() -> None:
    inputs = next(iter(build_task(CONFIG).test_batches()))[0].double()
    drive = experiment.drive(CONFIG, 25, 2)
    assert drive.shape == (25, 2, 2)
    torch.testing.assert_close(drive[:10, 0], inputs[:, 0], rtol=0, atol=0)
    torch.testing.assert_close(drive[10:20, 0], inputs[:, 1], rtol=0, atol=0)
    torch.testing.assert_close(drive[20:, 1], inputs[:5, 5], rtol=0, atol=0)
    with pytest.raises(ValueError, match="2 trajectories of 200 steps take 40 test sequences, but there are 30"):
        experiment.drive(CONFIG, 200, 2)


@pytest.mark.slow
def test_measured_end_to_end(tmp_path: Path) -> None:
    tree = measure(tmp_path, progress=False, effort=Effort(4, 1, 4, 2, steps=40, trajectories=2))
    assert (tree.attrs["experiment"], tree.attrs["seeds"]) == ("architecture_spectra", 1)
    assert list(tree.children) == list(LEARNING_RATES)
    sizes = {name: int(node.state_size[0]) for name, node in tree.children.items()}
    assert sizes == {"wcrnn-best": 100, "lstm": 94, "ur-lstm": 94, "s4d": 2210}
    assert {name: node.sizes["exponent"] for name, node in tree.children.items()}["s4d"] == 100
    assert tree["s4d"].predicted_exponent.shape == (1, 2210)
    assert "predicted_exponent" not in tree["lstm"]
    wcrnn = tree["wcrnn-best"].to_dataset()
    predicted = wcrnn.predicted_exponent.rename(predicted_rank="exponent")
    assert float(abs(wcrnn.lyapunov_exponent - predicted).max()) < 0.06  # coupling below 0.05, |W| about 1.2
    drawn = figure.draw(files(architecture_spectra=tree))
    assert "not reached: WCRNN" in footnote(drawn)
    plt.close(drawn)


def synthetic() -> xr.DataTree:
    def node(size: int, computed: int, error: float, shift: float, predicted: bool) -> xr.Dataset:
        ranks = np.arange(1, computed + 1)
        exponent = -0.01 * ranks - shift + 0.001 * np.arange(2)[:, None, None]
        dataset = xr.Dataset(
            {
                "lyapunov_exponent": (("seed", "trajectory", "exponent"), exponent),
                "standard_error": (("seed", "trajectory", "exponent"), np.full((2, 1, computed), 0.0005)),
                "test_error": ("seed", [error, error + 0.01]),
                "state_size": ("seed", [size, size]),
            },
            {"exponent": ranks},
            {"length": 20, "target": 0.2},
        )
        if predicted:
            dataset["predicted_exponent"] = (("seed", "predicted_rank"), np.full((2, size), -0.3))
            dataset = dataset.assign_coords(predicted_rank=np.arange(1, size + 1))
        return dataset

    tree = xr.DataTree.from_dict(
        {
            "wcrnn-best": node(30, 30, 0.15, 0.0, True),
            "lstm": node(24, 24, 0.16, 0.1, False),
            "ur-lstm": node(24, 24, 0.17, 0.2, False),
            "s4d": node(300, 10, 0.195, 0.3, True),
        }
    )
    tree.attrs = {"experiment": "architecture_spectra", "seeds": 2, "commit": "0123456789"}
    return tree


def test_drawn_are_means_ranges_and_fractions() -> None:
    drawn = figure.draw(files(architecture_spectra=synthetic()))
    whole, leading = drawn.axes
    lines = {line.get_label(): line for line in whole.lines}
    s4d = lines["S4D, 10 of N = 300"]
    np.testing.assert_allclose(s4d.get_xdata(), np.arange(1, 11) / 300)
    np.testing.assert_allclose(s4d.get_ydata(), -0.01 * np.arange(1, 11) - 0.3 + 0.0005)
    lstm = lines["LSTM, N = 24"]
    np.testing.assert_allclose(lstm.get_ydata(), -0.01 * np.arange(1, 25) - 0.1 + 0.0005)
    band = whole.collections[1].get_paths()[0].vertices
    at_first = band[np.isclose(band[:, 0], 1 / 24), 1]
    np.testing.assert_allclose([at_first.min(), at_first.max()], [-0.1105, -0.1085])  # range, widened by the error
    assert any(len(line.get_xdata()) == 300 for line in whole.lines)
    assert max(len(line.get_xdata()) for line in leading.lines) == 20
    assert {line.get_marker() for line in whole.lines} == {"None"}
    assert {line.get_marker() for line in leading.lines} == {"None", "o"}
    assert all("logarithmic beyond $\\pm$0.001" in ax.get_ylabel() for ax in drawn.axes)
    caption = footnote(drawn)
    reached = "WCRNN 0.150\N{EN DASH}0.160, LSTM 0.160\N{EN DASH}0.170, UR-LSTM 0.170\N{EN DASH}0.180, "
    assert f"RMS there: {reached}S4D 0.195\N{EN DASH}0.205 (not reached: S4D; best shown)" in caption
    assert "comparable performance" in figure.SCRIPT.title
    plt.close(drawn)

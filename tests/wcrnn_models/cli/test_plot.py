import numpy as np
import pytest
import xarray as xr
from matplotlib import pyplot as plt

from wcrnn_models import TrainConfig, analyze_sweep, collect, collect_analyses, grid, plots, train
from wcrnn_models.cli import main
from wcrnn_models.sweeps.layout import plan

TINY = TrainConfig(length=6, hidden_size=3, batch_size=4, epochs=1, iterations_per_epoch=3, test_size=8)
CONFIGS = grid(TINY, r=[0.9, 1.0], learning_rate=[0.001, 0.1], seed=[0, 1])


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    directory = tmp_path_factory.mktemp("sweep")
    for name, config in plan(CONFIGS, directory).items():
        train(config, directory / name)
    return directory


@pytest.fixture(scope="module")
def results(swept) -> xr.Dataset:
    return collect(swept, by="run")


def test_every_run_is_drawn(results) -> None:
    """A line for each seed and learning rate, one colour for each rate."""
    ax = plots.sweep_metric(results)
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_xscale()) == (
        "residual strength r",
        "best test metric (rms)",
        "linear",
    )
    assert len(ax.lines) == 4
    drawn = {}
    for line in ax.lines:
        assert line.get_xdata().tolist() == [0.9, 1.0]
        drawn.setdefault(line.get_color(), []).append(line.get_ydata())
    assert len(drawn) == 2
    for rate, lines in zip((0.001, 0.1), drawn.values(), strict=True):
        chosen = results.where(np.abs(results.learning_rate - rate) < 1e-12, drop=True)
        expected = [chosen.where(chosen.seed == seed, drop=True).sortby("r").best_metric.values for seed in (0, 1)]
        assert sorted(map(list, lines)) == sorted(map(list, expected))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["learning rate 0.001", "learning rate 0.1"]
    plt.close(ax.figure)
    ax = plots.sweep_metric(results, "learning_rate", variable="final_metric")
    assert (ax.get_xscale(), ax.get_ylabel()) == ("log", "test metric at the end (rms)")
    plt.close(ax.figure)


def test_figures_are_written(swept, tmp_path, capsys) -> None:
    for name, begin in (("a.pdf", b"%PDF"), ("b.png", b"\x89PNG")):
        assert main(["plot", str(swept), "--output", str(tmp_path / name), "--along", "lr"]) == 0
        assert (tmp_path / name).read_bytes().startswith(begin)
        assert capsys.readouterr().out == f"written to {tmp_path / name}\n"
    assert main(["plot", str(swept), "--metric", "iterations_to_minimal_performance"]) == 0
    assert (swept / "plot.pdf").is_file()
    assert not plt.get_fignums()


def test_exponents_are_drawn_where_all_runs_were_analysed(tmp_path, capsys, monkeypatch) -> None:
    configs = grid(TINY, r=[0.9, 1.0])
    for name, config in plan(configs, tmp_path).items():
        train(config, tmp_path / name)
    analyses = {"checkpoints": "ends", "workers": 1, "include": ["lyapunov_spectrum"], "samples": 2}
    analyze_sweep(tmp_path, configs[:1], **analyses)
    assert main(["plot", str(tmp_path)]) == 0
    assert "wcrnn: exponents are not drawn: the run" in capsys.readouterr().err
    analyze_sweep(tmp_path, **analyses)
    drawn, original = [], plots.sweep_exponents
    monkeypatch.setattr(plots, "sweep_exponents", lambda *args, **options: drawn.append(original(*args, **options)))
    assert main(["plot", str(tmp_path)]) == 0
    assert capsys.readouterr().err == ""
    (ax,) = drawn
    spectra = collect_analyses(tmp_path, "lyapunov_spectrum", by="run").sortby("r").isel(checkpoint=-1)
    found = np.array([line.get_ydata() for line in ax.lines[:-1]])  # one per trajectory and rank, over the runs
    order = np.argsort(ax.lines[0].get_xdata())
    expected = spectra.lyapunov_exponent.transpose("run", ...).values.reshape(2, -1)
    np.testing.assert_array_equal(found[:, order].T, expected)
    assert ax.get_ylabel() == "Lyapunov exponent (nats per step)"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--along", "k"], "'k' was not swept, only r, learning_rate, seed."),
        (["--along", "sed"], "'sed' was not swept, only r, learning_rate, seed. Did you mean 'seed'?"),
        (["--output", "no/such/place.pdf"], "the directory no/such of the figure does not exist"),
        (["--output", "."], ". is a directory; name a file in it"),
        (["--output", "figure.xyz"], "cannot write figure.xyz"),
        (
            ["--metric", "loss"],
            "--metric must be one of best_metric, final_metric, iterations_to_minimal_performance, got",
        ),
    ],
)
def test_mistakes_give_one_line(swept, options, message, capsys) -> None:
    assert main(["plot", str(swept), *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"wcrnn: error: {message}")


def test_what_cannot_be_drawn_is_refused(results, tmp_path, capsys) -> None:
    assert main(["plot", str(tmp_path / "none"), "--output", str(tmp_path / "a.pdf")]) == 2
    assert "there is no directory" in capsys.readouterr().err
    train(TINY, tmp_path / "sweep" / "run")
    assert main(["plot", str(tmp_path / "sweep")]) == 2
    assert "nothing was swept: the runs do not differ; give a sweep of at least two." in capsys.readouterr().err
    with pytest.raises(ValueError, match='one by one; collect them with by="run"'):
        plots.sweep_metric(results.isel(run=0))
    with pytest.raises(ValueError, match="no variable 'test_metric' with one number per run"):
        plots.sweep_metric(results, variable="test_metric")
    with pytest.raises(ValueError, match="has no lyapunov_exponent"):
        plots.sweep_exponents(results)

"""What all figures share: experiments, files, and styles."""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from figures import scripts, style
from figures.compact import BITS, SHOWN_BITS, compact, rounded, thinned
from figures.experiments import EXPERIMENTS
from figures.experiments.base import Experiment
from figures.measure import measure
from figures.protocols import CHARACTERISTIC_FREQUENCY, PROTOCOLS, STRENGTH_CLASSES
from figures.scripts import NAMES, produce, read, script
from training_results import footnote
from wcrnn_models.errors import UserError
from wcrnn_models.training.config import TrainConfig

TINY = TrainConfig(length=6, hidden_size=4, batch_size=2, epochs=1, iterations_per_epoch=3, test_size=9)


def tiny_experiment(**changes):
    def configs(protocol):
        return [replace(TINY, r=r, seed=seed, **changes) for r in (0.9, 1.0) for seed in protocol.seeds]

    return Experiment(
        "tiny",
        "a small one",
        configs,
        ("seed", "r"),
        lambda protocol: [config for config in configs(protocol) if config.seed == 0],
        lambda protocol: {"samples": 9, "trajectories": 1, "include": ("lyapunov_spectrum", "gradient_propagation")},
    )


@pytest.fixture
def quick():
    return PROTOCOLS["quick"]


# -- experiments --------------------------------------------------------------------------------------------------


def test_an_experiment_trains_analyses_and_collects(quick, tmp_path):
    tree = tiny_experiment().measure(quick, tmp_path / "runs", workers=1, progress=False)
    assert set(tree.children) == {"training", "lyapunov_spectrum", "gradient_propagation", "network"}
    assert dict(tree["training"].sizes) == {"seed": 1, "r": 2, "iteration": 2}
    spectrum = tree["lyapunov_spectrum"]
    assert (spectrum.sizes["seed"], spectrum.sizes["r"], spectrum.sizes["checkpoint"]) == (1, 2, 2)
    assert spectrum.checkpoint.values.tolist() == [0, 3]
    assert tree.attrs["experiment"] == "tiny"
    assert (tree.attrs["protocol"], tree.attrs["seeds"]) == ("quick", 1)
    assert tree.attrs["commit"]
    exact = np.log(tree["network"].r)
    assert abs(tree["network"].residual_log_magnitude - exact).max() < 1e-7  # r in float32


def test_checkpoints_that_a_diverged_run_does_not_have_are_missing(quick, tmp_path):
    def configs(protocol):
        rates = (0.01, 1e30)  # the latter diverges at once
        return [replace(TINY, learning_rate=rate, epochs=2, evaluate_every=3) for rate in rates]

    def options(protocol):
        return {"samples": 9, "trajectories": 1, "include": ("variational_term",)}

    experiment = Experiment("tiny", "a", configs, ("seed", "learning_rate"), configs, options, checkpoints="all")
    tree = experiment.measure(quick, tmp_path, workers=1, progress=False)
    assert tree["training"].status.squeeze().values.tolist() == ["finished", "diverged"]
    exponents = tree["variational_term"].running_exponent.squeeze("seed")
    assert exponents.checkpoint.values.tolist() == [0, 6]
    assert np.isfinite(exponents.sel(learning_rate=0.01)).all()
    assert np.isfinite(exponents.sel(learning_rate=1e30, checkpoint=0)).all()
    assert np.isnan(exponents.sel(learning_rate=1e30, checkpoint=6)).all()
    assert exponents.checkpoint.attrs["long_name"] == "training iteration"


def test_an_experiment_does_not_train_again(quick, tmp_path):
    experiment = tiny_experiment()
    first = experiment.measure(quick, tmp_path, workers=1, progress=False)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    second = experiment.measure(quick, tmp_path, workers=1, progress=False)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")} == written
    xr.testing.assert_equal(first["training"].to_dataset(), second["training"].to_dataset())


def test_a_failed_run_is_an_error(quick, tmp_path):
    missing = str(tmp_path / "missing.npy")
    experiment = Experiment("tiny", "a", lambda protocol: [replace(TINY, residual="dense", residual_file=missing)], ())
    with pytest.raises(UserError, match=r"1 of 1 runs failed, such as \w+: .*missing\.npy"):
        experiment.measure(quick, tmp_path / "runs", workers=1, progress=False)


def test_a_failed_analysis_is_an_error(quick, tmp_path):
    experiment = tiny_experiment()
    bad = replace(experiment, options=lambda protocol: {"samples": 10, "include": ("lyapunov_spectrum",)})
    with pytest.raises(UserError, match=r"4 of 4 analyses failed, such as .*: .*the test set has 9 samples"):
        bad.measure(quick, tmp_path, workers=1, progress=False)


def test_measuring_writes_a_file_that_scripts_read(quick, tmp_path, monkeypatch):
    monkeypatch.setattr("figures.measure.EXPERIMENTS", {"tiny": tiny_experiment()})
    path = measure("tiny", quick, tmp_path / "runs", tmp_path / "data", workers=1)
    assert path == tmp_path / "data" / "tiny.nc"
    tree = read(("tiny",), tmp_path / "data")["tiny"]
    assert tree.attrs["protocol"] == "quick"
    assert "final_frame" not in tree["lyapunov_spectrum"]
    assert (tmp_path / "runs" / "quick").is_dir()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiments_are_named_as_they_are_registered(name):
    assert EXPERIMENTS[name].name == name
    assert EXPERIMENTS[name].about


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_residual_strengths_are_a_full_grid(protocol):
    experiment = EXPERIMENTS["residual_strength"]
    configs = experiment.configs(protocol)
    strengths = sorted({*protocol.strengths, *STRENGTH_CLASSES})
    assert sorted((config.seed, config.r) for config in configs) == sorted(
        (seed, r) for seed in protocol.image_seeds for r in strengths
    )
    assert {config.task for config in configs} == {"smnist"}
    assert [config.r for config in experiment.analysed(protocol)] == list(STRENGTH_CLASSES)
    if protocol.name == "paper":  # section 4
        assert {(config.epochs, config.batch_size, config.momentum, config.coupling) for config in configs} == {
            (200, 128, 0.9, 0.01)
        }
        assert len(protocol.seeds) == len(protocol.image_seeds) == 5


def test_the_protocols_are_those_of_the_paper():
    assert np.isclose(CHARACTERISTIC_FREQUENCY, 2 * np.pi / 28, rtol=1e-15)
    paper = PROTOCOLS["paper"]
    assert paper.adds(400).epochs == 150
    assert paper.adds(400).length == 400
    assert paper.images("psmnist").task == "psmnist"
    assert paper.hessian_samples == 1000
    assert (min(paper.strengths), max(paper.strengths)) == (0.91, 1.02)


# -- files --------------------------------------------------------------------------------------------------------


def test_rounding_keeps_six_digits_also_of_tiny_numbers():
    values = np.array([0.0, np.pi, -1e-300, 1.2345678901e-20, np.inf, np.nan])
    near = rounded(values)
    finite = np.isfinite(values) & (values != 0)
    assert (abs(near[finite] / values[finite] - 1) <= 2.0**-BITS).all()
    assert (near[[0, 4]] == values[[0, 4]]).all()
    assert np.isnan(near[5])


def test_compact_files_keep_what_is_drawn():
    gradient = xr.Dataset(
        {
            "gradient_norm": (("trajectory", "step"), np.exp(np.random.default_rng(0).normal(size=(20, 100)))),
            "log_gradient_norm": (("trajectory", "step"), np.zeros((20, 100))),
            "growth_rate": (("trajectory",), np.arange(20.0)),
        }
    )
    spectrum = xr.Dataset(
        {
            "lyapunov_exponent": (("trajectory", "exponent"), [[0.1, -0.2]]),
            "running_exponent": (("trajectory", "step", "exponent"), np.zeros((1, 3, 2))),
            "final_frame": (("trajectory", "unit", "exponent"), np.zeros((1, 2, 2))),
        },
        {"step": [1, 2, 3]},
    )
    tree = xr.DataTree.from_dict({"gradient_propagation": gradient, "lyapunov_spectrum": spectrum})
    tree.attrs = {"experiment": "some"}
    small = compact(tree)
    assert small.attrs == {"experiment": "some"}
    assert set(small["lyapunov_spectrum"].data_vars) == {"lyapunov_exponent", "running_exponent"}
    assert small["lyapunov_spectrum"].lyapunov_exponent.values.tolist() == [[0.1, -0.2]]
    kept = small["gradient_propagation"]
    assert set(kept.data_vars) == {"gradient_norm", "growth_rate"}
    assert kept.growth_rate.values.tolist() == list(range(8))
    np.testing.assert_allclose(kept.gradient_norm, gradient.gradient_norm[:8], rtol=2.0**-BITS)


def test_few_running_exponents_are_kept_as_they_were_at_the_last_decomposition_before():
    steps = [1, 2, 13, 16, 27, 28, 30, 41, 50]
    running = xr.DataArray(
        np.random.default_rng(0).normal(size=(1, len(steps), 39)),
        dims=("trajectory", "step", "exponent"),
        coords={"step": ("step", steps, {"long_name": "time step"}), "exponent": range(1, 40)},
        attrs={"units": "nats per step"},
    )
    running[0, 4, 2] = -np.inf
    spectrum = xr.Dataset({"lyapunov_exponent": running.isel(step=-1, drop=True), "running_exponent": running})
    small = thinned(spectrum)
    assert small.step.values.tolist() == [14, 28, 42, 50]
    assert small.step.attrs == {"long_name": "time step"}
    assert small.shown.values.tolist() == list(range(1, 40, 2))
    assert small.running_exponent.attrs == {"units": "nats per step"}
    assert small.running_exponent.dtype == np.float32
    expected = running.sel(step=[13, 28, 41, 50], exponent=list(range(1, 40, 2))).values
    np.testing.assert_allclose(small.running_exponent, expected, rtol=2.0**-SHOWN_BITS)
    assert small.lyapunov_exponent.equals(spectrum.lyapunov_exponent)
    assert thinned(small.drop_vars("running_exponent")).equals(small.drop_vars("running_exponent"))


def test_running_exponents_of_a_short_run_and_of_one_that_was_first_decomposed_late():
    running = xr.DataArray(np.ones((1, 2, 1)), dims=("trajectory", "step", "exponent"), coords={"step": [3, 6]})
    assert thinned(xr.Dataset({"running_exponent": running})).step.values.tolist() == [6]
    late = xr.Dataset({"running_exponent": running.assign_coords(step=[20, 30])})
    assert thinned(late).step.values.tolist() == [28, 30]


def test_reading_a_missing_file_says_how_to_measure_it(tmp_path):
    with pytest.raises(UserError, match=r"nothing\.nc does not exist; measure it with python -m figures"):
        read(("nothing",), tmp_path)


def test_reading_another_file_is_refused(tmp_path, quick, monkeypatch):
    monkeypatch.setattr("figures.measure.EXPERIMENTS", {"tiny": tiny_experiment()})
    measure("tiny", quick, tmp_path / "runs", tmp_path, workers=1).rename(tmp_path / "other.nc")
    with pytest.raises(UserError, match="holds no results of the experiment other"):
        read(("other",), tmp_path)


# -- style --------------------------------------------------------------------------------------------------------


def tree_of(experiment="residual_strength", protocol="cpu", seeds=2, commit="0123456789"):
    tree = xr.DataTree()
    tree.attrs = {"experiment": experiment, "protocol": protocol, "seeds": seeds, "commit": commit}
    return tree


def test_captions_say_where_the_data_come_from():
    assert style.caption([tree_of()]) == "residual_strength: protocol cpu, 2 seeds, commit 0123456789"
    assert style.caption([tree_of(), tree_of("rotations")], "a note") == (
        "residual_strength, rotations: protocol cpu, 2 seeds, commit 0123456789. a note"
    )
    assert style.caption([tree_of(), tree_of("rotations", "quick", np.int64(1), "abc")]) == (
        "residual_strength: protocol cpu, 2 seeds, commit 0123456789. rotations: protocol quick, 1 seed, commit abc"
    )


def test_the_caption_is_recorded_and_drawn_only_if_asked_for():
    figure, _ = style.panels(1, 1)
    style.set_caption(figure, [tree_of()], "note")
    assert footnote(figure) == "residual_strength: protocol cpu, 2 seeds, commit 0123456789. note"
    assert figure.texts == []
    style.draw_caption(figure)
    assert [text.get_text().replace("\n", " ") for text in figure.texts] == [footnote(figure)]
    plt.close(figure)


def test_titles_are_in_the_middle_and_narrow_axes_share_one_letter():
    figure, (first, second) = style.panels(1, 2)
    style.title(first, "one")
    assert (first.get_title(loc="left"), first.get_title(loc="center")) == ("A", "one")
    narrow = style.side_by_side(second, 3)
    assert figure.axes == [first, *narrow]
    assert [ax.get_title(loc="left") for ax in narrow] == ["B", "", ""]
    narrow[2].set_ylim(3, 7)
    assert narrow[0].get_ylim() == (3, 7)
    figure.canvas.draw()
    places = [ax.get_position() for ax in narrow]
    assert places[0].x1 < places[1].x0 < places[1].x1 < places[2].x0
    assert len({round(place.y0, 9) for place in (first.get_position(), *places)}) == 1
    with pytest.raises(ValueError, match="ax must be of a grid"):
        style.side_by_side(figure.add_axes((0, 0, 1, 1)), 2)
    plt.close(figure)


def test_the_text_beside_a_figure_says_what_it_shows_and_where_its_data_come_from(tmp_path):
    pdf, png, text = produce("figB2", tmp_path)
    with_caption = produce("figB2", tmp_path / "captioned", caption=True)
    assert [path.name for path in with_caption] == ["figB2.pdf", "figB2.png", "figB2.txt"]
    assert with_caption[2].read_bytes() == text.read_bytes()
    assert with_caption[1].read_bytes() != png.read_bytes()
    said, commit = text.read_text(), read(("learning_rates",))["learning_rates"].attrs["commit"]
    assert said.startswith("figB2: learning rate and coupling on the adding problem\n\nA, B: larger learning rate")
    assert f"learning_rates: protocol cpu, 1 seed, commit {commit}. ADD100;" in said
    assert said.endswith("\n")
    assert commit.encode() not in pdf.read_bytes()


def test_strengths_have_the_same_colours_everywhere():
    assert style.strength_color(0.95) == "#2166ac"
    assert style.strength_color(1.01) == "#d55e00"
    assert style.strength_color(0.5) == style.strength_color(0.9) == "#08306b"
    assert len({style.strength_color(r) for r in PROTOCOLS["paper"].strengths}) == len(PROTOCOLS["paper"].strengths)
    assert style.strength_label(0.995) == "weakly subcritical, $r=0.995$"
    assert style.strength_label(0.97) == "$r=0.97$"


def test_bands_are_mean_and_range():
    figure, (ax,) = style.panels(1, 1)
    values = xr.DataArray([[1.0, 2.0, 3.0], [3.0, 4.0, 8.0]], dims=("seed", "r"))
    style.band(ax, [0.9, 1.0, 1.1], values, color="red")
    assert ax.lines[0].get_ydata().tolist() == [2.0, 3.0, 5.5]
    vertices = ax.collections[0].get_paths()[0].vertices
    for x, low, high in zip([0.9, 1.0, 1.1], [1, 2, 3], [3, 4, 8], strict=True):
        at = vertices[np.isclose(vertices[:, 0], x), 1]
        assert (at.min(), at.max()) == (low, high)
    style.band(ax, [0.9, 1.0, 1.1], values[:1])
    assert len(ax.collections) == 1  # one network has no range
    plt.close(figure)


def test_panels_have_letters():
    figure, axes = style.panels(2, 3)
    assert [ax.get_title(loc="left") for ax in axes] == list("ABCDEF")
    assert figure.get_size_inches().tolist() == [190 / 25.4, 4.6]
    plt.close(figure)


@pytest.mark.parametrize(
    ("value", "text"),
    [(2.04e-5, "2.0 · 10⁻⁵"), (24000.0, "2.4 · 10⁴"), (9.96e-4, "1.0 · 10⁻³"), (0.0, "0.0 · 10⁰"), (np.nan, "fail")],
)
def test_numbers_as_in_the_tables(value, text):
    assert style.scientific(value) == text


def test_equal_figures_are_equal_bytes_with_embedded_fonts(tmp_path):
    def written(name):
        with plt.style.context(style.STYLE):
            figure, (ax,) = style.panels(1, 1, width=style.ONE_COLUMN)
            ax.plot([1, 2], [3, 4], label="line $x_t$")
            ax.legend()
            return [path.read_bytes() for path in style.write(figure, tmp_path / name)]

    pdf, png = written("a")
    assert (pdf, png) == tuple(written("b"))
    assert pdf.startswith(b"%PDF")
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf
    assert png.startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pdf", "a.png", "b.pdf", "b.png"]


def test_a_figure_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    figure, _ = style.panels(1, 1)
    monkeypatch.setattr(figure, "savefig", lambda *_, **__: (_ for _ in ()).throw(OSError("no room")))
    with pytest.raises(OSError, match="no room"):
        style.write(figure, tmp_path / "a")
    assert list(tmp_path.iterdir()) == []
    plt.close(figure)


# -- scripts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_scripts_need_experiments_that_exist(name):
    assert set(script(name).needs) <= set(EXPERIMENTS)


def test_tables_are_markdown(tmp_path, monkeypatch):
    monkeypatch.setattr("figures.scripts.script", lambda name: scripts.Script("t", (), lambda data: "| a |\n", "table"))
    (path,) = produce("table1", tmp_path / "new")
    assert path == tmp_path / "new" / "table1.md"
    assert path.read_text() == "| a |\n"

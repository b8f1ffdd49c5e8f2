"""Figures and tables of the paper: they draw what a made-up campaign has recorded, and say what is missing."""

import dataclasses

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from analysis_results import gradient_propagation, hessian_spectrum, variational_term

from artists import drawn
from campaign_records import write_analysis, write_stage
from figures import table1, table2
from figures.campaign.stages import TABLE_2
from figures.evidence import Evidence
from figures.experiments.instances import exponent_bounds
from figures.fig2 import EXPONENTS
from figures.missing import Missing, instance, last_checkpoint, recorded
from figures.paper import CHARACTERISTIC_FREQUENCY, STRENGTH_CLASSES
from figures.scripts import drawn as made
from figures.style import strength_color
from training_results import filled, footnote, named

LEARNT = 0.1 + 0.8 * np.random.default_rng(0).uniform(size=10_000)
ENDS = (0, 40)


def number(config):
    """A number that differs between configurations and stays."""
    fields = repr(sorted((name, str(value)) for name, value in dataclasses.asdict(config).items()))
    return sum((place + 1) * ord(letter) for place, letter in enumerate(fields)) % len(LEARNT)


def accuracies(config):
    """Learns; each network has a course of its own."""
    return {"metrics": (0.1, float(LEARNT[number(config)]), 0.6), "reached": 20, "every": 20}


def errors(config):
    return {
        "metrics": (0.4, float(0.1 * LEARNT[number(config)]), 0.04),
        "metric_name": "mse",
        "reached": 20,
        "every": 20,
    }


def spectrum(config, checkpoints=(0,), running=True):
    """Thirty exponents around log r, and those over time that were kept."""
    generator = np.random.default_rng(number(config))
    values = -np.sort(-generator.normal(np.log(config.r), 0.001, (len(checkpoints), 1, 30)), axis=-1)
    coordinates = {"checkpoint": list(checkpoints), "trajectory": [0], "exponent": range(1, 31)}
    found = xr.Dataset(
        {"lyapunov_exponent": (tuple(coordinates), values)}, coordinates, {"analysis": "lyapunov_spectrum"}
    )
    if running:
        shape = (len(checkpoints), 1, 3, 20)
        kept = (("checkpoint", "trajectory", "step", "shown"), generator.normal(size=shape).astype(np.float32))
        found["running_exponent"] = (*kept, {"long_name": "running exponent", "units": "nats per step"})
        found = found.assign_coords(step=[14, 28, 30], shown=range(1, 40, 2))
    return found


def one(dataset, config, checkpoints=(0,)):
    """A synthetic analysis of its own for a network."""
    return dataset({"checkpoint": list(checkpoints)}, rng=number(config))


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A campaign in which all that figures draw has been measured."""
    folder = tmp_path_factory.mktemp("full")
    records = folder / "campaign"
    for stage in ("smnist_strength", "smnist_common_rate", "psmnist_strength", "rotations", "orthonormal"):
        write_stage(records, stage, accuracies)
    for stage in ("heterogeneity", "form_strength", "form_angle", "informed_images", "table2"):
        write_stage(records, stage, accuracies)
    for stage in ("add100_strength", "add200_strength", "adding_long", "adding_rates", "informed_add200"):
        write_stage(records, stage, errors)

    def of_strength(config):
        if config.r not in STRENGTH_CLASSES:
            return {}
        found = {"lyapunov_spectrum": spectrum(config, ENDS), "hessian_recurrent": one(hessian_spectrum, config, ENDS)}
        return found | {"gradient_propagation": one(gradient_propagation, config, ENDS)}

    write_analysis(records, "smnist_strength", of_strength)
    for stage in ("psmnist_strength", "add100_strength"):
        write_analysis(
            records,
            stage,
            lambda config: {"lyapunov_spectrum": spectrum(config, ENDS)} if config.r in STRENGTH_CLASSES else {},
        )
    write_analysis(
        records,
        "heterogeneity",
        lambda config: {
            "lyapunov_spectrum": spectrum(config),
            "hessian_recurrent": one(hessian_spectrum, config),
            "gradient_propagation": one(gradient_propagation, config),
        },
    )
    write_analysis(
        records,
        "rotations",
        lambda config: {"gradient_propagation": one(gradient_propagation, config)} if config.task == "smnist" else {},
    )
    return Evidence(records, folder)


@pytest.fixture
def draw():
    figures = []

    def figure(name, results, **options):
        figures.append(made(name, results, **options))
        return figures[-1]

    yield figure
    for each in figures:
        plt.close(each)


def courses(training, **point):
    """What a learning curve shows: the mean over instances."""
    return training.test_metric.sel(**point).mean("seed").values


@pytest.mark.parametrize(
    ("name", "over", "values", "stage"),
    [
        ("fig2", "r", STRENGTH_CLASSES, "smnist_strength"),
        ("fig5", "delta_r", (0.0, 0.04, 0.06, 0.08, 0.12), "heterogeneity"),
    ],
)
def test_figs_2_and_5_draw_learning_exponents_curvature_and_gradients(name, over, values, stage, full, draw):
    figure = draw(name, full)
    learning, curvature, gradients, *columns = figure.axes
    training = full.training(stage)
    lines = [line for line in learning.lines if line.get_linestyle() == "-"]
    for place, value in enumerate(values):
        np.testing.assert_array_equal(lines[place].get_ydata(), courses(training, **{over: value}))
        shaded = filled(learning.collections[place])
        metric = training.test_metric.sel(**{over: value})
        assert shaded[20.0] == (metric.min("seed").values[1], metric.max("seed").values[1])
        point = {over: value, "checkpoint": 0, "seed": 0}
        exponents = full.analysis(stage, "lyapunov_spectrum").running_exponent.sel(**point).isel(trajectory=0)
        assert len(exponents.shown) == EXPONENTS == 20
        shown = columns[place].lines[:EXPONENTS]
        np.testing.assert_array_equal([line.get_ydata() for line in shown], exponents.transpose("shown", "step"))
        assert shown[0].get_xdata().tolist() == [14, 28, 30]
        color = lines[place].get_color()
        eigenvalues = full.analysis(stage, "hessian_recurrent").eigenvalue.sel(**point)
        (ranks,) = [line for line in curvature.lines if line.get_color() == color and line.get_linestyle() != "None"]
        np.testing.assert_array_equal(ranks.get_ydata(), abs(eigenvalues))
        norms = full.analysis(stage, "gradient_propagation").gradient_norm.sel(norm="inf", **point)
        np.testing.assert_array_equal([g.get_ydata() for g in gradients.lines if g.get_color() == color], norms)
    expected = {line.get_ydata()[0] for line in columns[0].lines[EXPONENTS:]}
    assert expected == {0.0, np.log(0.95 if name == "fig2" else 0.96)}
    assert "B: running exponents of Algorithm 1" in footnote(figure)
    assert "not measured" not in footnote(figure)


def test_fig_2_draws_the_common_learning_rate_dashed_beside_the_own_ones(full, draw):
    figure = draw("fig2", full)
    dashed = [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]
    common = full.training("smnist_common_rate")
    for line, r in zip(dashed, STRENGTH_CLASSES, strict=True):
        assert line.get_color() == strength_color(r)
        np.testing.assert_array_equal(line.get_ydata(), courses(common, r=r))
    names = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert names == ["own learning rate", r"common, $\eta=0.02$"]
    assert "own learning rates: 0.02 at r = 0.95" in footnote(figure)  # no pilot was recorded


@pytest.mark.parametrize(("against", "place"), [("r", 0.995), ("log-r", np.log(0.995)), ("distance", -0.005)])
def test_fig_3_draws_best_metrics_and_iterations(against, place, full, draw):
    error, error_iterations, accuracy, iterations = draw("fig3", full, against=against).axes
    for ax, name, stage in ((accuracy, "sMNIST", "smnist_strength"), (accuracy, "psMNIST", "psmnist_strength")):
        line, training = named(ax, name), full.training(stage)
        np.testing.assert_allclose(line.get_ydata(), training.best_metric.mean("seed"))
        assert line.get_xdata()[list(training.r.values).index(0.995)] == pytest.approx(place)
    common = named(accuracy, "sMNIST, common rate")
    np.testing.assert_allclose(common.get_ydata(), full.training("smnist_common_rate").best_metric.mean("seed"))
    for name, stage in (("ADD100", "add100_strength"), ("ADD200", "add200_strength")):
        roots = np.sqrt(full.training(stage).best_metric)  # the mean of the errors, not the error of the mean
        np.testing.assert_allclose(named(error, name).get_ydata(), roots.mean("seed"))
        assert set(named(error_iterations, name).get_ydata()) == {20.0}
    assert error.lines[-1].get_ydata()[0] == pytest.approx(0.05**0.5)  # MP, a mean square
    assert set(named(iterations, "sMNIST").get_ydata()) == {20.0}


def test_fig_4_draws_both_tasks_against_the_angle(full, draw):
    accuracy, iterations = draw("fig4", full).axes
    for task, name in (("smnist", "sMNIST"), ("psmnist", "psMNIST")):
        training = full.training("rotations").sel(task=task)
        line = named(accuracy, name)
        np.testing.assert_array_equal(line.get_xdata(), np.arange(9) / 2 * CHARACTERISTIC_FREQUENCY)
        np.testing.assert_allclose(line.get_ydata(), training.best_metric.mean("seed"))
        assert set(named(iterations, name).get_ydata()) == {20.0}


def test_fig_6_compares_the_types_up_to_the_last_common_iteration(full, draw):
    strength, angle = draw("fig6", full).axes
    for ax, linear, forms in (
        (strength, full.training("smnist_strength"), full.training("form_strength")),
        (angle, full.training("rotations").sel(task="smnist"), full.training("form_angle")),
    ):
        for name, training in (("linear", linear), ("type A", forms.sel(form="A")), ("type B", forms.sel(form="B"))):
            np.testing.assert_allclose(named(ax, name).get_ydata(), training.test_metric.max("iteration").mean("seed"))


def test_fig_6_compares_trainings_of_different_lengths_up_to_the_end_of_the_shortest(tmp_path, draw):
    """They are also evaluated at different iterations, of which they share none but the first."""
    write_stage(tmp_path / "campaign", "smnist_strength", lambda config: {"metrics": (0.1, 0.5, 0.4, 0.3), "every": 50})
    write_stage(
        tmp_path / "campaign", "form_strength", lambda config: {"metrics": (0.1, 0.4, 0.6, 0.9, 0.8), "every": 70}
    )
    figure = draw("fig6", Evidence(tmp_path / "campaign", tmp_path))
    strength = figure.axes[0]
    assert set(named(strength, "linear").get_ydata()) == {0.5}
    assert set(named(strength, "type A").get_ydata()) == set(named(strength, "type B").get_ydata()) == {0.6}  # at 140
    assert "first 150 iterations, as the longer trainings have up to 280" in footnote(figure)


def test_fig_b1_draws_exponents_before_and_after_training(full, draw):
    figure = draw("figB1", full)
    for row, stage in enumerate(("add100_strength", "psmnist_strength")):
        running = full.analysis(stage, "lyapunov_spectrum").running_exponent.isel(trajectory=0)
        for ax, checkpoint in zip(figure.axes[2 * row : 2 * row + 2], ENDS, strict=True):
            for r in STRENGTH_CLASSES:
                of_class = [line for line in ax.lines if line.get_color() == strength_color(r)]
                expected = running.sel(r=r, seed=0, checkpoint=checkpoint).transpose("shown", "step")
                np.testing.assert_array_equal([line.get_ydata() for line in of_class[:20]], expected)
                assert of_class[20].get_ydata()[0] == np.log(r)
    assert "not measured" not in footnote(figure)


def test_fig_b2_draws_errors_by_learning_rate_and_coupling(full, draw):
    axes = draw("figB2", full).axes
    training = full.training("adding_rates")
    grid = [(0.1, 0.01), (0.1, 0.001), (0.01, 0.01), (0.01, 0.001)]
    for ax, (rate, coupling) in zip(axes, grid, strict=True):
        assert ax.get_title(loc="center") == rf"$\eta = {rate:g},\ \gamma = {coupling:g}$"
        roots = np.sqrt(training.test_metric.sel(learning_rate=rate, coupling=coupling))
        np.testing.assert_allclose(drawn(ax.lines[0])[1], roots.mean("seed")[1:])


def test_fig_b3_draws_all_strengths_and_curvature_at_every_checkpoint(full, draw):
    accuracy, rms, critical, subcritical = draw("figB3", full).axes
    for ax, values in ((accuracy, full.training("smnist_strength").test_metric), (rms, None)):
        values = np.sqrt(full.training("add100_strength").test_metric[..., 1:]) if values is None else values
        for line, r in zip(ax.lines, values.r.values, strict=True):
            np.testing.assert_allclose(line.get_ydata(), values.sel(r=r).mean("seed"))
    hessian = full.analysis("smnist_strength", "hessian_recurrent").eigenvalue.sel(seed=0)
    for ax, r in ((critical, 1.0025), (subcritical, 0.95)):
        for label, checkpoint in (("0, untrained", 0), ("40", 40)):
            np.testing.assert_array_equal(named(ax, label).get_ydata(), abs(hessian.sel(r=r, checkpoint=checkpoint)))


def test_fig_b4_draws_rotations_gradients_and_random_residuals(full, draw):
    figure = draw("figB4", full)
    learning, gradients, accuracy, random = figure.axes[:4]
    training = full.training("rotations").sel(task="smnist")
    for line, phi in zip(learning.lines, training.phi.values, strict=True):
        np.testing.assert_array_equal(line.get_ydata(), courses(training, phi=phi))
    norms = full.analysis("rotations", "gradient_propagation").gradient_norm
    for line, multiple in zip(gradients.lines, (0, 3, 5, 8), strict=True):
        first = norms.sel(task="smnist", seed=0, checkpoint=0, norm="inf").isel(phi=multiple, trajectory=0)
        np.testing.assert_array_equal(line.get_ydata(), first)
    np.testing.assert_allclose(named(accuracy, "sMNIST").get_ydata(), training.best_metric.mean("seed"))
    networks = full.training("orthonormal")
    assert networks.sizes["seed"] == 10
    for name, residual in (("random orthogonal", "orthogonal"), ("rotations, random angles", "rotation")):
        np.testing.assert_allclose(named(random, name).get_ydata(), courses(networks, residual=residual), rtol=1e-12)


def test_exponents_over_training_are_those_of_every_checkpoint_within_the_bounds(full, draw):
    figure = draw("training_exponents", full)
    found = full.analysis("smnist_strength", "lyapunov_spectrum").lyapunov_exponent.isel(trajectory=0)
    for ax, r in zip(figure.axes, STRENGTH_CLASSES, strict=True):
        one_class = found.sel(r=r, seed=0)
        np.testing.assert_array_equal(named(ax, "largest exponent").get_ydata(), one_class.isel(exponent=0))
        np.testing.assert_allclose(named(ax, "mean exponent").get_ydata(), one_class.mean("exponent"))
        np.testing.assert_array_equal(named(ax, "smallest exponent").get_ydata(), one_class.isel(exponent=-1))
        others = [line for line in ax.lines if line.get_linestyle() == "None"]
        np.testing.assert_array_equal(others[0].get_ydata(), found.sel(r=r, seed=1).isel(exponent=0))
        assert len(others) == 6
        (config,) = [each for each in full.configs("smnist_strength") if (each.seed, each.r) == (0, r)]
        low, high = exponent_bounds(config)
        (bounds,) = [patch for patch in ax.patches if patch.get_label().startswith("Weyl")]
        assert (bounds.get_y(), bounds.get_y() + bounds.get_height()) == pytest.approx((low, high))


def test_the_readme_figure_shows_every_instance(full, draw):
    strength, angle, learning = draw("reproduction", full).axes
    instances = 3
    for ax, training, over in (
        (strength, full.training("smnist_strength"), "r"),
        (angle, full.training("rotations").sel(task="smnist"), "phi"),
    ):
        assert training.sizes["seed"] == instances
        np.testing.assert_allclose(named(ax, "sMNIST").get_ydata(), training.best_metric.mean("seed"))
        points = [line for line in ax.lines if line.get_marker() == "."][:instances]
        np.testing.assert_array_equal(
            [line.get_ydata() for line in points], training.best_metric.transpose("seed", over).values
        )
    informed = full.training("informed_images")
    np.testing.assert_array_equal(
        named(learning, "psMNIST, informed").get_ydata(), courses(informed, task="psmnist", residual="informed")
    )


def test_tables_hold_means_ranges_and_the_papers_numbers(full):
    text = table1.draw(full)
    best = full.training("informed_images").sel(task="smnist", residual="rotation").best_metric.values * 100
    cell = f"{best.mean():.2f} ({best.min():.2f} to {best.max():.2f}) | 96.05"
    assert f"| sMNIST | 40 | {cell} |" in text
    assert "| ADD200 |" in text
    assert "not measured yet" not in text
    roots = np.sqrt(full.training("adding_long").sel(residual="scalar").best_metric.values)
    assert f"{roots.mean() * 10:.1f} · 10⁻¹" in text.split("| ADD100 |")[1].splitlines()[0]
    text = table2.draw(full)
    training = full.training("table2")
    lstm = training.best_metric.values[training.model.values == "lstm"] * 100
    assert f"| LSTM | 9,880 | 0.02 | {lstm.mean():.2f} ({lstm.min():.2f} to {lstm.max():.2f}) | 93.30 |" in text
    assert [line.split(" | ")[1] for line in text.splitlines()[4:9]] == ["11,310"] * 4 + ["9,880"]
    assert len(TABLE_2) == 5


# -- what is missing ----------------------------------------------------------------------------------------------


def partly(folder, stage, measured, analysed=None):
    write_stage(folder / "campaign", stage, measured)
    if analysed is not None:
        write_analysis(folder / "campaign", stage, analysed)
    return Evidence(folder / "campaign", folder)


def test_curves_without_a_record_are_left_out_and_named(tmp_path, draw):
    results = partly(
        tmp_path, "smnist_strength", lambda c: accuracies(c) if c.r in (0.95, 0.995) and c.seed < 2 else None
    )
    figure = draw("fig2", results)
    assert [line.get_color() for line in figure.axes[0].lines] == [strength_color(r) for r in (0.95, 0.995)]
    assert "A, at their own learning rates, r = 1.0025, 1.01" in footnote(figure)
    assert footnote(figure).endswith("B; C; D")
    assert results.origin("smnist_strength") == "smnist_strength: 4 of 24 trainings, 2 instances, commit abc"
    assert results.origin("smnist_common_rate") == "smnist_common_rate: not measured"
    figure = draw("fig3", results)
    assert drawn(named(figure.axes[2], "sMNIST"))[0] == [0.95, 0.995]
    said = footnote(figure)
    assert "not measured yet: A, B; C, D, sMNIST, common rate; C, D, psMNIST" in said


def test_a_single_instance_is_drawn_without_a_range(tmp_path, draw):
    results = partly(tmp_path, "smnist_strength", lambda config: accuracies(config) if config.seed == 1 else None)
    figure = draw("fig2", results)
    expected = results.training("smnist_strength").test_metric.sel(r=0.995, seed=1)
    np.testing.assert_array_equal(figure.axes[0].lines[1].get_ydata(), expected)
    assert not figure.axes[0].collections
    assert "mean and range" not in footnote(figure)


@pytest.mark.parametrize("name", ["fig2", "fig3", "fig6", "figB3", "reproduction"])
def test_networks_that_are_all_at_chance_are_drawn_as_such(name, tmp_path, draw):
    results = partly(tmp_path, "smnist_strength", lambda config: {"metrics": (0.1, 0.11, 0.1)})
    figure = draw(name, results)
    lines = [line for ax in figure.axes for line in ax.lines if line.get_gid() == "at chance"]
    assert lines
    shown = [value for line in lines for value in drawn(line)[1]]
    assert max(shown) == pytest.approx(0.11)
    names = [text.get_text() for legend in figure.findobj(plt.matplotlib.legend.Legend) for text in legend.get_texts()]
    assert any("ended at chance" in each for each in names)


def test_diverged_networks_are_crossed(tmp_path, draw):
    def measured(config):
        return {"metrics": (0.1, 0.3), "status": "diverged" if config.r == 1.01 and config.seed == 2 else "finished"}

    figure = draw("fig2", partly(tmp_path, "smnist_strength", measured))
    (cross,) = [line for line in figure.axes[0].lines if line.get_marker() == "x"]
    assert (drawn(cross), cross.get_color()) == (([10.0], [0.3]), strength_color(1.01))
    assert "crosses: diverged" in footnote(figure)


@pytest.mark.parametrize(
    ("analysed", "said", "values"),
    [
        (
            lambda c: {"lyapunov_spectrum": spectrum(c, running=False)},
            "B: exponents at the end of the sequence only",
            2,
        ),
        (
            lambda c: {
                "lyapunov_spectrum": spectrum(c, running=False),
                "variational_term": variational_term({"checkpoint": [0]}).isel(trajectory=[0]),
            },
            "B: log of the singular values",
            3,
        ),
    ],
)
def test_exponents_over_time_that_were_not_kept_are_replaced_and_that_is_said(analysed, said, values, tmp_path, draw):
    results = partly(
        tmp_path,
        "smnist_strength",
        accuracies,
        lambda config: analysed(config) if config.r in STRENGTH_CLASSES and config.seed == 0 else {},
    )
    figure = draw("fig2", results)
    column = next(ax for ax in figure.axes if ax.get_title(loc="right") == "$r=1.01$")
    assert len(column.lines[0].get_ydata()) == values
    if values == 2:
        final = results.analysis("smnist_strength", "lyapunov_spectrum").lyapunov_exponent.sel(r=1.01, seed=0)
        ends = [line.get_ydata()[0] for line in column.lines[:20]]
        assert (ends[0], ends[19]) == (float(final.max()), float(final.min()))
    assert said in footnote(figure)
    assert footnote(figure).endswith("C; D")


def test_analyses_of_which_some_lack_a_variable_are_joined(tmp_path):
    results = partly(
        tmp_path,
        "psmnist_strength",
        accuracies,
        lambda c: {"lyapunov_spectrum": spectrum(c, running=c.seed == 2)} if c.r in STRENGTH_CLASSES else {},
    )
    found = results.analysis("psmnist_strength", "lyapunov_spectrum")
    assert found.running_exponent.sel(seed=[0, 1]).isnull().all()
    assert found.running_exponent.sel(seed=2).notnull().all()
    assert found.lyapunov_exponent.notnull().all()
    one_of_them = instance(found, "running_exponent", r=0.95, checkpoint=0)
    assert int(one_of_them.seed) == 2
    assert instance(found, "running_exponent", r=0.5) is None
    assert instance(None, "running_exponent") is None
    assert last_checkpoint(found, "lyapunov_exponent", r=0.95) is None  # the first alone


def test_the_last_checkpoint_is_that_of_the_network(full):
    found = full.analysis("smnist_strength", "lyapunov_spectrum")
    assert last_checkpoint(found, "lyapunov_exponent", r=0.95) == 40
    assert last_checkpoint(found, "lyapunov_exponent", r=0.5) is None


def test_recorded_are_instances_and_points_with_a_training():
    status = xr.DataArray([["finished", "waiting"], ["waiting", "waiting"]], dims=("seed", "r"), coords={"r": [1, 2]})
    found = recorded(xr.Dataset({"status": status, "best_metric": status == "finished"}))
    assert dict(found.sizes) == {"seed": 1, "r": 1}
    assert recorded(xr.Dataset({"status": status[1]})).sizes["r"] == 0


def test_missing_panels_keep_their_letter():
    figure, ax = plt.subplots()
    ax.set_title("A", loc="left")
    missing = Missing()
    missing.values("B", "r", [])
    missing.panel("A", ax)
    missing.panel("", ax)
    missing.values("B", "r", [1.0, 0.995])
    assert missing.note() == "not measured yet: A; B, r = 1, 0.995"
    assert ax.get_title(loc="left") == "A"
    assert [text.get_text() for text in ax.texts] == ["not measured yet"] * 2
    assert list(ax.get_xticks()) == []
    plt.close(figure)

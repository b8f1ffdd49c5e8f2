from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest

from artists import drawn
from figures.experiments.adding_strength import ADDING_STRENGTH, of_length
from figures.experiments.adding_strength import trained as trained_adding
from figures.experiments.psmnist_strength import PSMNIST_STRENGTH
from figures.fig3 import LENGTH_COLORS, SCRIPT
from figures.protocols import PROTOCOLS, STRENGTH_CLASSES
from figures.style import TASK_COLORS
from training_results import footnote, named, result, training

R = [0.95, 0.995, 1.01]


def data(lengths=(100, 400)):
    adding = {f"training_{n}": training({"seed": [0], "r": R}, (0, 250, n * 10), rng=n, metric="rms") for n in lengths}
    return {
        "adding_strength": result("adding_strength", adding, seeds=1),
        "residual_strength": result(
            "residual_strength", {"training": training({"seed": [0, 1], "r": R}, (0, 938), rng=1)}
        ),
        "psmnist_strength": result(
            "psmnist_strength", {"training": training({"seed": [0], "r": R}, (0, 938), rng=2)}, seeds=1
        ),
    }


@pytest.fixture
def made():
    trees = data()
    figure = SCRIPT.draw(trees)
    yield trees, figure, figure.axes
    plt.close(figure)


def test_rms_and_iterations_of_every_length_are_drawn(made):
    trees, _, (error, efficiency, *_) = made
    for length in (100, 400):
        sweep = trees["adding_strength"][f"training_{length}"].to_dataset()
        for ax, variable in ((error, "best_metric"), (efficiency, "iterations_to_minimal_performance")):
            line = named(ax, f"ADD{length}")
            assert drawn(line) == (R, pytest.approx(sweep[variable].values[0].tolist()))
            assert line.get_color() == LENGTH_COLORS[length]
        assert (error.get_yscale(), efficiency.get_yscale()) == ("log", "log")


def test_accuracy_and_iterations_of_both_data_sets_are_drawn(made):
    trees, _, (*_, accuracy, efficiency) = made
    for task, experiment, label in (
        ("smnist", "residual_strength", "sMNIST"),
        ("psmnist", "psmnist_strength", "psMNIST"),
    ):
        sweep = trees[experiment]["training"].to_dataset()
        for ax, variable in ((accuracy, "best_metric"), (efficiency, "iterations_to_minimal_performance")):
            line = named(ax, label)
            assert drawn(line) == (R, pytest.approx(sweep[variable].values.mean(0).tolist()))
            assert line.get_color() == TASK_COLORS[task]


def test_minimal_performance_is_marked_at_the_thresholds_of_the_paper(made):
    _, _, (error, _, accuracy, _) = made
    for ax, threshold in ((error, 0.05), (accuracy, 0.5)):
        assert [threshold, threshold] in [list(line.get_ydata()) for line in ax.lines]
        assert [text.get_text() for text in ax.texts] == ["MP"]
    assert error.get_ylim()[0] == pytest.approx(0.8 * 0.05)


def test_what_is_worse_than_twice_the_best_constant_answer_is_an_arrow_with_its_number():
    trees = data()
    trees["adding_strength"]["training_400"].best_metric[0, 2] = 13.4567
    figure = SCRIPT.draw(trees)
    error = figure.axes[0]
    top = error.get_ylim()[1]
    assert top == pytest.approx(2 * (1 / 6) ** 0.5)
    (arrow,) = [line for line in error.lines if line.get_marker() == "^"]
    assert drawn(arrow) == ([1.01], [pytest.approx(top)])
    assert arrow.get_color() == LENGTH_COLORS[400]
    assert [text.get_text() for text in error.texts] == ["MP", "13.5"]
    assert "A, beyond the axis: ADD400 at r = 1.01" in footnote(figure)
    assert drawn(named(error, "ADD400"))[0] == [0.95, 0.995]  # it has learnt nothing
    plt.close(figure)


@pytest.mark.parametrize("equal", [2000.0, np.nextafter(2000.0, 0)])
def test_equal_iterations_are_in_the_middle_of_a_decade_in_plain_numbers(equal):
    trees = data()
    for length in (100, 400):
        sweep = trees["adding_strength"][f"training_{length}"]
        sweep.iterations_to_minimal_performance[:] = [[2000.0, equal, 2000.0]]
        sweep.reached_minimal_performance[:] = 0
    figure = SCRIPT.draw(trees)
    ax = figure.axes[1]
    assert ax.get_ylim() == (pytest.approx(2000 / 10**0.5), pytest.approx(2000 * 10**0.5))
    figure.canvas.draw()
    assert [text.get_text() for text in ax.get_yticklabels()] == ["1000", "2000", "5000"]
    plt.close(figure)


@pytest.mark.parametrize(
    ("against", "x", "edge", "label", "scale"),
    [
        ("r", R, 1.0, "residual connection strength $r$", "linear"),
        ("log-r", np.log(R).tolist(), 0.0, r"$\log r$ (nats per step)", "linear"),
        ("distance", (np.array(R) - 1).tolist(), 0.0, "distance to the edge of chaos, $r - 1$", "symlog"),
    ],
)
def test_the_axis_is_r_or_its_logarithm_or_its_distance_to_the_edge_of_chaos(against, x, edge, label, scale):
    trees = data()
    figure = SCRIPT.draw(trees, against)
    best = trees["residual_strength"]["training"].best_metric.values.mean(0)
    assert drawn(named(figure.axes[2], "sMNIST")) == (pytest.approx(x), pytest.approx(best.tolist()))
    for ax in figure.axes:
        assert ax.get_xlabel().split("\n")[0] == label
        assert ax.get_xscale() == scale
        assert [edge, edge] in [list(line.get_xdata()) for line in ax.lines]
    plt.close(figure)


def test_the_caption_names_iterations_and_lengths_that_were_not_measured(made):
    _, figure, _ = made
    assert "ADD100 1\N{NARROW NO-BREAK SPACE}000 iterations" in footnote(figure)
    assert "psMNIST 938 iterations; not measured: ADD200, ADD800" in footnote(figure)


def test_the_caption_says_nothing_of_missing_lengths_where_all_were_measured():
    figure = SCRIPT.draw(data((100, 200, 400, 800)))
    assert "not measured" not in footnote(figure)
    plt.close(figure)


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize("experiment", ["psmnist", 100, 400])
def test_the_sweeps_are_full_grids(name, experiment):
    protocol = PROTOCOLS[name]
    configs = PSMNIST_STRENGTH.configs(protocol) if experiment == "psmnist" else trained_adding(protocol, experiment)
    seeds = range({"quick": 1, "cpu": 2 if experiment == "psmnist" else 1, "paper": 5}[name])
    strengths = sorted({*protocol.strengths, *STRENGTH_CLASSES})
    assert sorted((each.seed, each.r) for each in configs) == [(seed, r) for seed in seeds for r in strengths]
    assert {each.task for each in configs} == {"psmnist" if experiment == "psmnist" else "adding"}
    assert {each.residual for each in configs} == {"scalar"}


def test_the_sweeps_of_the_paper_are_as_section_4_says():
    paper = PROTOCOLS["paper"]
    assert {each.epochs for each in PSMNIST_STRENGTH.configs(paper)} == {200}
    assert list(ADDING_STRENGTH.parts(paper)) == ["100", "200", "400", "800"]
    for length in (100, 200, 400, 800):
        configs = trained_adding(paper, length)
        assert {(each.length, each.epochs, each.coupling) for each in configs} == {(length, 150, 0.01)}
        assert (min(each.r for each in configs), max(each.r for each in configs)) == (0.91, 1.02)


def test_long_sequences_are_trained_for_less_on_a_cpu():
    cpu = PROTOCOLS["cpu"]
    assert {length: trained_adding(cpu, length)[0].epochs for length in cpu.lengths} == {100: 12, 400: 2}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_four_classes_of_the_first_seed_are_analysed(name):
    protocol = PROTOCOLS[name]
    for experiment in (PSMNIST_STRENGTH, of_length(400)):
        configs = experiment.analysed(protocol)
        assert [(each.seed, each.r) for each in configs] == [(0, r) for r in STRENGTH_CLASSES]
        assert set(configs) <= set(experiment.configs(protocol))
        assert experiment.checkpoints == "ends"
        assert experiment.options(protocol)["include"] == ("variational_term",)
    assert of_length(400).options(protocol)["record_every"] == 8


@pytest.mark.slow
def test_the_adding_problem_is_measured_by_length(tmp_path):
    """Two iterations of tiny networks, of two lengths and all four classes."""
    tiny = {"epochs": 1, "iterations_per_epoch": 2, "test_size": 8, "batch_size": 2, "hidden_size": 4}
    protocol = replace(PROTOCOLS["quick"], adding=tiny, lengths=(100, 200))
    tree = ADDING_STRENGTH.measure(protocol, tmp_path, workers=1, progress=False)
    children = ("training", "variational_term", "network")
    assert list(tree.children) == [f"{child}_{length}" for length in (100, 200) for child in children]
    for length in (100, 200):
        trained, term = tree[f"training_{length}"], tree[f"variational_term_{length}"]
        assert dict(trained.sizes) == {"seed": 1, "r": 4, "iteration": 2}
        assert trained.iteration.values.tolist() == [0, 2]
        assert dict(term.sizes) == {"seed": 1, "r": 4, "checkpoint": 2, "trajectory": 1, "step": 50, "exponent": 4}
        assert term.step.values[-1] == length
    assert (tree.attrs["experiment"], tree.attrs["seeds"]) == ("adding_strength", 1)

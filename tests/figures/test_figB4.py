import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_hex

from artists import drawn
from figures.experiments.orthonormal import ORTHONORMAL
from figures.figB4 import ORTHONORMAL_COLORS, SCRIPT
from figures.protocols import PROTOCOLS
from training_results import filled, footnote, named, result, training

CHARACTERISTIC = 2 * np.pi / 28
PHI = [0.0, CHARACTERISTIC, 3 * CHARACTERISTIC]
STEPS = 200
NETWORKS = list(ORTHONORMAL_COLORS)


def gradients(angles=PHI):
    """As `collect_analyses` gives them, of the first seed."""
    dims = {
        "task": ["smnist"],
        "seed": [0],
        "phi": angles,
        "checkpoint": [0],
        "norm": ["inf", "2"],
        "trajectory": [0, 1],
    }
    shape = (*(len(values) for values in dims.values()), STEPS)
    norms = np.random.default_rng(5).uniform(0.5, 2, shape)
    return xr.Dataset(
        {"gradient_norm": ((*dims, "step"), norms)},
        {**dims, "step": np.arange(1, STEPS + 1)},
        {"analysis": "gradient_propagation"},
    )


def data(long=False):
    rotations = {
        "training": training({"task": ["psmnist", "smnist"], "seed": [0, 1], "phi": PHI}, (0, 50, 469), rng=1),
        "gradient_propagation": gradients(),
    }
    if long:
        rotations["training_long"] = training({"seed": [0, 1], "phi": PHI}, (0, 93800), rng=2)
    random = training({"network": NETWORKS, "seed": [0, 1]}, (0, 50, 469), rng=3)
    return {
        "rotations": result("rotations", rotations),
        "orthonormal": result("orthonormal", {"training_smnist": random}),
    }


@pytest.fixture
def made():
    trees = data()
    figure = SCRIPT.draw(trees)
    yield trees, figure, figure.axes
    plt.close(figure)


def test_learning_of_every_angle_is_drawn(made):
    trees, _, (ax, *_) = made
    metric = trees["rotations"]["training"].sel(task="smnist").test_metric
    for line, shade, phi in zip(ax.lines, ax.collections, PHI, strict=True):
        values = metric.sel(phi=phi).values  # (seed, iteration)
        assert drawn(line) == ([0, 50, 469], pytest.approx(values.mean(0).tolist()))
        assert list(filled(shade).values()) == list(zip(values.min(0), values.max(0), strict=True))


def test_gradient_norms_are_those_of_the_first_digit_before_training(made):
    trees, _, (learning, ax, *_) = made
    norms = trees["rotations"]["gradient_propagation"].gradient_norm
    (inset,) = ax.child_axes
    for line, last, trajectory, phi in zip(ax.lines, inset.lines, learning.lines, PHI, strict=True):
        expected = norms.sel(phi=phi, norm="inf", trajectory=0).values.ravel().tolist()
        assert drawn(line) == (list(range(1, STEPS + 1)), pytest.approx(expected))
        assert drawn(last) == (list(range(STEPS - 111, STEPS + 1)), pytest.approx(expected[-112:]))
        assert line.get_color() == last.get_color() == trajectory.get_color()
    assert (ax.get_yscale(), inset.get_yscale()) == ("log", "linear")


def test_the_inset_is_above_the_gradient_norms(made):
    _, figure, (_, ax, *_) = made
    figure.canvas.draw()
    (inset,) = ax.child_axes
    highest = max(max(line.get_ydata()) for line in ax.lines)
    assert ax.transData.transform((0, highest))[1] < inset.get_tightbbox().y0


def test_the_colour_bar_is_beside_the_panels_it_applies_to(made):
    _, figure, (learning, gradients, _, random, bar) = made
    figure.canvas.draw()
    first, last, own = (ax.get_window_extent() for ax in (learning, gradients, bar))
    assert own.x0 > last.x1
    assert (own.y0, own.y1) == (pytest.approx(first.y0, abs=1), pytest.approx(first.y1, abs=1))
    assert own.y0 > random.get_window_extent().y1
    assert bar.get_ylim() == (-0.5, 2.5)  # a step for each angle
    assert [text.get_text() for text in bar.get_yticklabels()] == ["0", "1", "3"]
    (steps,) = bar.collections[-1:]
    assert [to_hex(color) for color in steps.cmap(steps.norm([0, 1, 2]))] == [
        line.get_color() for line in learning.lines
    ]


def test_gradients_of_four_angles_are_shown_where_there_are_more():
    angles = [multiple * CHARACTERISTIC / 2 for multiple in range(7)]
    trees = data()
    trees["rotations"]["training"] = xr.DataTree(
        training({"task": ["smnist"], "seed": [0], "phi": angles}, (0, 50, 469), rng=1)
    )
    trees["rotations"]["gradient_propagation"] = xr.DataTree(gradients(angles))
    figure = SCRIPT.draw(trees)
    learning, ax = figure.axes[:2]
    assert [line.get_color() for line in ax.lines] == [learning.lines[index].get_color() for index in (0, 2, 4, 6)]
    assert len({line.get_color() for line in learning.lines}) == 7
    assert r"$\phi_0 / \phi_c$ = 0, 1, 2, 3;" in footnote(figure)
    assert "D: mean and range over seeds" in footnote(figure)
    assert "A, C, D" not in footnote(figure)  # of one seed here
    plt.close(figure)


def test_the_best_accuracy_is_that_of_the_short_trainings_where_there_are_no_longer_ones(made):
    trees, figure, (_, _, ax, *_) = made
    best = trees["rotations"]["training"].sel(task="smnist").best_metric.values
    assert drawn(named(ax, "sMNIST")) == (PHI, pytest.approx(best.mean(0).tolist()))
    assert "C: 469 iterations as in A, where the paper has 200 epochs" in footnote(figure)


def test_the_best_accuracy_is_that_of_the_longer_trainings():
    trees = data(long=True)
    figure = SCRIPT.draw(trees)
    best = trees["rotations"]["training_long"].best_metric.values
    assert drawn(named(figure.axes[2], "sMNIST")) == (PHI, pytest.approx(best.mean(0).tolist()))
    assert "; C: 93\N{NARROW NO-BREAK SPACE}800 iterations; A, C, D: mean and range over seeds" in footnote(figure)
    plt.close(figure)


def test_both_random_orthonormal_residuals_are_drawn(made):
    trees, _, (_, _, _, ax, *_) = made
    metric = trees["orthonormal"]["training_smnist"].test_metric
    for network, shade in zip(NETWORKS, ax.collections, strict=True):
        values = metric.sel(network=network).values
        line = named(ax, network)
        assert drawn(line) == ([0, 50, 469], pytest.approx(values.mean(0).tolist()))
        assert line.get_color() == ORTHONORMAL_COLORS[network]
        assert list(filled(shade).values()) == list(zip(values.min(0), values.max(0), strict=True))


@pytest.mark.parametrize(("name", "epochs", "seeds"), [("quick", 1, 1), ("cpu", 1, 3), ("paper", 15, 5)])
def test_both_residuals_are_trained_for_every_seed(name, epochs, seeds):
    protocol = PROTOCOLS[name]
    (task, contestants), *others = ORTHONORMAL.tasks(protocol).items()
    assert (task, others) == ("smnist", [])
    assert set(contestants) == set(ORTHONORMAL_COLORS)
    for configs, residual, phi in zip(contestants.values(), ("orthogonal", "rotation"), (None, "random"), strict=True):
        assert [each.seed for each in configs] == list(range(seeds))
        fields = {(each.task, each.residual, each.phi, each.r, each.epochs) for each in configs}
        assert fields == {("smnist", residual, phi, 1.0, epochs)}


def test_the_paper_has_seven_thousand_iterations():
    config = ORTHONORMAL.tasks(PROTOCOLS["paper"])["smnist"][NETWORKS[0]][0]
    assert 7000 <= config.epochs * np.ceil(60000 / config.batch_size) < 7100

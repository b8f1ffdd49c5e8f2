import dataclasses
import gzip
import hashlib
import struct
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import xarray as xr

from artists import drawn
from figures import fig1
from figures.experiments.digit import CONFIG, FROM_STEP, measure, pass_through
from figures.fig1 import MISSING, SCRIPT
from figures.style import STYLE, write
from training_results import files, footnote, result
from wcrnn_models import WCRNN, residuals, train
from wcrnn_models.errors import UserError
from wcrnn_models.sweeps.layout import run_name
from wcrnn_models.tasks import datasets
from wcrnn_models.training.config import TrainConfig

PIXELS = np.random.default_rng(0).uniform(size=784)


@pytest.fixture
def no_mnist(tmp_path, monkeypatch):
    monkeypatch.delenv("WCRNN_DATA_DIR", raising=False)
    monkeypatch.setenv("WCRNN_CACHE_DIR", str(tmp_path / "empty"))


@pytest.fixture
def small_mnist(tmp_path, monkeypatch, no_mnist):
    """Random digits whose checksums are taken for those of MNIST; returns the pixels of the first test digit."""
    random, checksums = np.random.default_rng(1), {}
    for part, count in (("train", 4), ("t10k", 3)):
        pixels = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        files = {
            f"{part}-images-idx3-ubyte.gz": struct.pack(">IIII", 2051, count, 28, 28) + pixels.tobytes(),
            f"{part}-labels-idx1-ubyte.gz": struct.pack(">II", 2049, count) + bytes([7, 2, 1, 0][:count]),
        }
        for name, content in files.items():
            packed = gzip.compress(content, mtime=0)
            (tmp_path / name).write_bytes(packed)
            checksums[name] = datasets.Checksum(hashlib.sha256(packed).hexdigest(), hashlib.md5(packed).hexdigest())
    monkeypatch.setitem(datasets.DATA_SETS, "mnist", dataclasses.replace(datasets.MNIST, files=checksums))
    monkeypatch.setenv("WCRNN_DATA_DIR", str(tmp_path))
    return pixels[0].ravel() / 255


@pytest.fixture
def data():
    random = np.random.default_rng(2)
    units = [1, 40, 100]
    dataset = xr.Dataset(
        {
            "state": (("step", "unit"), random.normal(size=(785, 3))),
            **{name: ("unit", random.normal(size=3)) for name in ("residual_term", "coupled_term", "next_state")},
            "probability": ("class", random.dirichlet(np.ones(10))),
            "marked_step": ((), 411),
        },
        {"step": np.arange(1, 786), "unit": units, "class": np.arange(10)},
        {"sample": 0, "label": 7, "iteration": 938},
    )
    return files(digit=result("digit", {"digit": dataset}, seeds=1))


def axes(figure):
    a, b, c, d, *rest = figure.axes
    return {"A": a, "B": b, "C": c, "D": d, "E": [ax for ax in rest if ax.get_xlabel() == "unit"], "F": rest[-1]}


def heights(ax):
    return [bar.get_height() for bar in ax.patches]


def test_states_terms_and_probabilities_are_drawn(data, no_mnist):
    figure = SCRIPT.draw(data)
    measured, ax = data.files["digit"]["digit"].to_dataset(), axes(figure)
    for line, unit in zip(ax["D"].lines, measured.unit.values, strict=False):
        assert drawn(line) == (list(range(1, 786)), measured.state.sel(unit=unit).values.tolist())
        assert line.get_label() == str(unit)
    terms = ("residual_term", "coupled_term", "next_state")
    for part, name in zip(ax["E"], terms, strict=True):
        assert heights(part) == measured[name].values.tolist()
    assert heights(ax["F"]) == measured.probability.values.tolist()
    assert "the digit is a 7" in ax["F"].get_xlabel()
    assert ax["D"].lines[-1].get_xdata()[0] == 411
    assert "test digit 1 of MNIST; network after 938 iterations" in footnote(figure)
    plt.close(figure)


def test_without_mnist_two_panels_say_how_to_get_it(data, no_mnist):
    figure = SCRIPT.draw(data)
    ax = axes(figure)
    for letter in "AC":
        assert [text.get_text() for text in ax[letter].texts] == [MISSING]
        assert not ax[letter].images
        assert not ax[letter].lines
    assert "wcrnn data fetch mnist" in MISSING
    plt.close(figure)


def test_the_digit_is_drawn_as_image_and_as_series(data, monkeypatch):
    monkeypatch.setattr(fig1, "digit", lambda sample: PIXELS)
    figure = SCRIPT.draw(data)
    ax = axes(figure)
    (image,) = ax["A"].images
    np.testing.assert_array_equal(image.get_array(), PIXELS.reshape(28, 28))
    assert drawn(ax["C"].lines[0]) == (list(range(1, 785)), PIXELS.tolist())
    assert drawn(ax["C"].lines[-1]) == ([411], [PIXELS[410]])
    plt.close(figure)


def test_the_digit_is_read_from_mnist(small_mnist):
    np.testing.assert_allclose(fig1.digit(0), small_mnist, rtol=1e-15)


def test_damaged_files_are_not_taken_for_missing_ones(small_mnist, tmp_path):
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(b"damaged")
    with pytest.raises(UserError, match="t10k-images"):
        fig1.digit(0)


def test_equal_data_give_equal_files(data, monkeypatch, tmp_path):
    monkeypatch.setattr(fig1, "digit", lambda sample: PIXELS)
    contents = []
    for name in ("one", "two"):
        with plt.style.context(STYLE):
            contents.append([path.read_bytes() for path in write(SCRIPT.draw(data), tmp_path / name)])
    assert contents[0] == contents[1]


def test_the_schematic_shows_every_part_of_the_equation(data, no_mnist):
    figure = SCRIPT.draw(data)
    shown = " ".join(text.get_text() for text in axes(figure)["B"].texts)
    for part in ("$s_t$", "$W_{sx}$", "$W_{xx}$", "$R$", "\\tanh", "$x_{t+1}$", "$W_{xo}$"):
        assert part in shown
    plt.close(figure)


# -- what is measured ---------------------------------------------------------------------------------------------


def test_states_and_terms_are_those_of_the_equation():
    model = WCRNN(1, 8, 3, residual=residuals.scalar(0.9), coupling=0.2, rng=0, dtype=torch.float64)
    inputs = np.random.default_rng(3).uniform(size=(20, 1))
    inputs[13] = 2.0
    found = pass_through(model, torch.tensor(inputs), 10)
    weights = {name: value.detach().numpy() for name, value in model.named_parameters()}
    state, states = np.zeros(8), [np.zeros(8)]
    for row in inputs:
        drive = weights["recurrent.weight"] @ state + weights["recurrent.bias"]
        drive += weights["input.weight"] @ row + weights["input.bias"]
        parts = 0.9 * state, 0.2 * np.tanh(drive)
        state = parts[0] + parts[1]
        states.append(state)
        if row[0] == 2.0:
            terms = (*parts, state)
    units = found.unit.values - 1
    assert units.tolist() == [0, 1, 3, 4, 6, 7]
    np.testing.assert_allclose(found.state, np.array(states)[:, units], rtol=1e-13, atol=1e-15)
    assert int(found.marked_step) == 14
    for name, expected in zip(("residual_term", "coupled_term", "next_state"), terms, strict=True):
        np.testing.assert_allclose(found[name], expected[units], rtol=1e-13, atol=1e-15)
    outputs = weights["readout.weight"] @ state + weights["readout.bias"]
    np.testing.assert_allclose(found.probability, np.exp(outputs) / np.exp(outputs).sum(), rtol=1e-13)
    assert found.step.values.tolist() == list(range(1, 22))


def test_the_trained_network_is_shown_the_first_test_digit(small_mnist, tmp_path):
    config = TrainConfig(
        task="smnist", hidden_size=4, batch_size=2, train_size=4, test_size=3, epochs=1, learning_rate=0.01
    )
    train(config, tmp_path / "runs" / run_name(config))  # here, where the small files count as MNIST
    tree = measure(tmp_path / "runs", progress=False, config=config)
    found = tree["digit"].to_dataset()
    assert (found.attrs["sample"], found.attrs["label"], found.attrs["iteration"]) == (0, 7, 2)
    assert (tree.attrs["experiment"], tree.attrs["seeds"]) == ("digit", 1)
    assert int(found.marked_step) == FROM_STEP + 1 + int(small_mnist[FROM_STEP:].argmax())
    assert found.sizes == {"step": 785, "unit": 4, "class": 10}
    total = found.residual_term + found.coupled_term
    np.testing.assert_allclose(total, found.next_state, rtol=1e-12)
    np.testing.assert_array_equal(found.next_state, found.state.sel(step=int(found.marked_step) + 1))
    assert len(found.attrs["checkpoint_sha256"]) == 64


def test_the_network_is_weakly_subcritical():
    assert (CONFIG.task, CONFIG.residual, CONFIG.r, CONFIG.seed) == ("smnist", "scalar", 0.995, 0)


def test_without_the_file_nothing_is_drawn_and_said():
    figure = SCRIPT.draw(files())
    assert footnote(figure) == "not measured yet: all, for want of digit.nc"
    assert [text.get_text() for text in figure.axes[0].texts] == ["not measured yet"]
    plt.close(figure)


def test_the_terms_have_one_scale_or_say_how_it_differs(data, no_mnist):
    data.files["digit"]["digit"].coupled_term[:] = [-0.01, 0.01, 0.005]
    figure = SCRIPT.draw(data)
    first, second, last = axes(figure)["E"]
    assert first.get_ylim() == last.get_ylim()
    height, small = np.ptp(first.get_ylim()), np.ptp(second.get_ylim())
    assert [text.get_text() for text in second.texts] == [f"axis {height / small:.0f} times finer"]
    assert height / small > 50
    measured = data.files["digit"]["digit"].to_dataset()
    for ax, name in ((first, "residual_term"), (second, "coupled_term"), (last, "next_state")):
        low, high = ax.get_ylim()
        assert low < min(0, float(measured[name].min()))
        assert high > float(measured[name].max())
    assert "\\tanh" in second.get_title(loc="center")
    plt.close(figure)


def test_labels_of_units_do_not_touch(data, no_mnist):
    with plt.style.context(STYLE):
        figure = SCRIPT.draw(data)
        figure.canvas.draw()
    for part in axes(figure)["E"]:
        labels = [label.get_window_extent() for label in part.get_xticklabels()]
        assert all(left.x1 < right.x0 for left, right in pairwise(labels))
    plt.close(figure)

"""The characteristic frequency of a task, on sequences whose spectrum is known and on the real digits."""

import math
import os

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from lyapkit import load, save
from wcrnn_models import UserError, plots
from wcrnn_models.tasks import (
    AddingProblem,
    ArrayTask,
    PermutedSequentialMNIST,
    SequentialMNIST,
    characteristic_frequency,
    power_spectrum,
)

real_data = pytest.mark.skipif("WCRNN_DATA_DIR" not in os.environ, reason="WCRNN_DATA_DIR is not set")
RANDOM = np.random.default_rng(0)


def task(sequences: np.ndarray, **options) -> ArrayTask:
    labels = np.zeros(len(sequences), int)
    return ArrayTask(sequences, labels, sequences, labels, **options)


def test_the_spectrum_is_that_of_a_naive_fourier_transform() -> None:
    sequences = RANDOM.normal(size=(5, 9, 2))
    spectrum = power_spectrum(task(sequences, batch_size=2, dtype=torch.float64))
    phases = np.exp(-2j * np.pi * np.outer(np.arange(5), np.arange(9)) / 9)
    expected = (np.abs(np.einsum("kt,btm->bkm", phases, sequences)) ** 2).sum(-1).mean(0) / 9
    np.testing.assert_allclose(spectrum["power"], expected, rtol=1e-12)
    np.testing.assert_allclose(spectrum["frequency"], 2 * np.pi * np.arange(5) / 9, rtol=1e-15)
    assert spectrum.attrs["samples"] == 5
    peak = 1 + int(np.argmax(expected[1:]))
    assert spectrum.attrs["characteristic_frequency"] == pytest.approx(2 * np.pi * peak / 9)
    assert spectrum.attrs["prominence"] == pytest.approx(expected[peak] / expected[1:].mean())


@given(st.integers(1, 31), st.floats(0, 2 * math.pi), st.floats(-5, 5))
def test_a_wave_peaks_at_its_frequency_whatever_its_phase_and_mean(cycles: int, phase: float, mean: float) -> None:
    wave = mean + np.cos(2 * np.pi * cycles * np.arange(64) / 64 + phase)
    assert characteristic_frequency(task(wave[None])) == pytest.approx(2 * np.pi * cycles / 64)


def test_samples_limit_the_average() -> None:
    sequences = RANDOM.normal(size=(30, 8))
    whole = task(sequences, batch_size=4)
    few = power_spectrum(whole, samples=6)
    assert few.attrs["samples"] == 6
    seen = np.concatenate([whole.train_batch(0)[0][:, :, 0].T, whole.train_batch(1)[0][:, :2, 0].T])
    np.testing.assert_allclose(few["power"], (np.abs(np.fft.rfft(seen)) ** 2).mean(0) / 8, rtol=1e-5)
    assert power_spectrum(whole, samples=1000).attrs["samples"] == 30


def test_uniform_noise_is_flat() -> None:
    """The adding problem: independent numbers of variance 1/12, and two marks of 1 in T steps."""
    spectrum = power_spectrum(AddingProblem(64, iterations_per_epoch=40), samples=5000)
    # the marks add 2/T at every frequency but those where the halves interfere
    np.testing.assert_allclose(spectrum["power"][2:], 1 / 12 + 2 / 64, rtol=0.06)
    assert spectrum.attrs["prominence"] < 1.1


def test_the_plot_shows_spectrum_and_peak() -> None:
    wave = np.cos(2 * np.pi * 4 * np.arange(64) / 64) + 0.1 * RANDOM.normal(size=(3, 64))
    spectrum = power_spectrum(task(wave))
    ax = plots.power_spectrum(spectrum, color="C1")
    curve, mark = ax.lines
    np.testing.assert_array_equal(curve.get_ydata(), spectrum["power"].values[1:])
    np.testing.assert_array_equal(curve.get_xdata(), spectrum["frequency"].values[1:])
    assert mark.get_xdata() == [spectrum.attrs["characteristic_frequency"]] * 2
    assert curve.get_color() == "C1"
    assert ax.get_xlabel() == "angular frequency (radians per step)"
    assert ax.get_yscale() == "log"
    _, given_axes = plt.subplots()
    assert plots.power_spectrum(spectrum, ax=given_axes) is given_axes
    plt.close("all")


def test_it_survives_a_file(tmp_path) -> None:
    spectrum = power_spectrum(task(RANDOM.normal(size=(3, 12))))
    again = load(save(spectrum, tmp_path / "spectrum.nc"))
    xr.testing.assert_identical(again["power"], spectrum["power"])
    assert again.attrs["characteristic_frequency"] == spectrum.attrs["characteristic_frequency"]


def test_the_plot_refuses_other_results() -> None:
    with pytest.raises(ValueError, match="draws the result of power_spectrum, got another"):
        plots.power_spectrum(power_spectrum(task(RANDOM.normal(size=(2, 8)))).drop_attrs())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: power_spectrum(task(RANDOM.normal(size=(2, 8))), samples=0), "samples must be at least 1, got 0"),
        (lambda: power_spectrum(task(RANDOM.normal(size=(2, 1)))), "at least 2 steps, got 1"),
        (lambda: power_spectrum(task(np.full((2, 8), 0.0))), "constant in time"),
    ],
    ids=["samples", "steps", "constant"],
)
def test_refusals(make, message) -> None:
    with pytest.raises(UserError, match=message):
        make()


@real_data
@pytest.mark.slow
def test_the_characteristic_frequency_of_the_digits_is_that_of_their_rows() -> None:
    """Section 4.2: phi_c = 2 pi / 28 for sMNIST; no prominent one for psMNIST."""
    plain, permuted = power_spectrum(SequentialMNIST()), power_spectrum(PermutedSequentialMNIST())
    assert plain.attrs["characteristic_frequency"] == pytest.approx(2 * math.pi / 28, rel=1e-12)
    assert plain.attrs["prominence"] > 30
    assert permuted.attrs["prominence"] < 4


def test_spectra_of_several_tasks_are_drawn_under_their_names() -> None:
    both = {
        "one": power_spectrum(task(RANDOM.normal(size=(4, 16)))),
        "two": power_spectrum(task(RANDOM.normal(size=(4, 12)))),
    }
    ax = plots.power_spectrum(both)
    lines = {line.get_label(): line for line in ax.lines}
    peaks = [rf"$\phi_c = {found.attrs['characteristic_frequency']:.4g}$" for found in both.values()]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["one", peaks[0], "two", peaks[1]]
    for (name, found), peak in zip(both.items(), peaks, strict=True):
        np.testing.assert_array_equal(lines[name].get_ydata(), found.power.values[1:])
        assert lines[peak].get_color() == lines[name].get_color()
    assert lines["one"].get_color() != lines["two"].get_color()
    plt.close("all")
    with pytest.raises(TypeError, match=r"got list; give them names, {name: result}\."):
        plots.power_spectrum([both["one"]])
    assert plt.get_fignums() == []

"""Sequences of unequal length: each as if it had been run alone, whatever the padding."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lyapkit import as_map, load, lyapunov_spectrum, plots, save
from lyapkit.recurrent_map import RecurrentMap

LENGTHS = [300, 41, 180]


def networks() -> dict[str, RecurrentMap]:
    torch.manual_seed(0)
    weight = torch.randn(5, 5, dtype=torch.float64) / 2
    return {
        "GRU": as_map(nn.GRU(2, 4).double()),
        "callable": as_map(
            lambda x, s: torch.tanh(weight @ x + s.sum()),
            state=torch.zeros(5, dtype=torch.float64),
            input=torch.zeros(2, dtype=torch.float64),
        ),
        "in a loop": as_map(
            lambda x, s: (0.9 if float(s[0]) > 0 else 0.5) * x + s.sum(),
            state=torch.zeros(2, dtype=torch.float64),
            input=torch.zeros(2, dtype=torch.float64),
        ),
    }


def padded(seed: int, filler: float) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(max(LENGTHS), len(LENGTHS), 2, generator=generator, dtype=torch.float64)
    for sequence, length in enumerate(LENGTHS):
        inputs[length:, sequence] = filler
    return inputs


@pytest.mark.parametrize("transient", [0, 7])
@pytest.mark.parametrize("name", ["GRU", "callable", "in a loop"])
@pytest.mark.parametrize("interval", [1, 4, "auto"])
def test_each_sequence_as_if_alone(name: str, interval: int, transient: int) -> None:
    map, inputs = networks()[name], padded(1, 0.3)
    together = lyapunov_spectrum(map, inputs, lengths=LENGTHS, qr_interval=interval, transient=transient)
    for sequence, length in enumerate(LENGTHS):
        alone = lyapunov_spectrum(map, inputs[:length, sequence], qr_interval=interval, transient=transient)
        ours = together.isel(trajectory=sequence)
        np.testing.assert_allclose(ours.lyapunov_exponent, alone.lyapunov_exponent[0], atol=1e-11)
        np.testing.assert_allclose(ours.final_state, alone.final_state[0], atol=1e-14)
        np.testing.assert_allclose(ours.kaplan_yorke_dimension, alone.kaplan_yorke_dimension[0], atol=1e-11)
        assert ours.last_step == length == alone.last_step[0]
        if interval != "auto":  # the same windows
            np.testing.assert_allclose(ours.standard_error, alone.standard_error[0], rtol=1e-6)
            np.testing.assert_allclose(ours.half_difference, alone.half_difference[0], atol=1e-11)
            count = alone.sizes["step"]
            np.testing.assert_allclose(ours.local_growth[:count], alone.local_growth[0], atol=1e-11)
            np.testing.assert_array_equal(ours.local_growth[count:], 0)
            np.testing.assert_allclose(ours.running_exponent[:count], alone.running_exponent[0], atol=1e-11)
        np.testing.assert_allclose(ours.running_exponent[-1], np.sort(ours.lyapunov_exponent)[::-1], atol=1e-11)


@pytest.mark.parametrize("k", [None, 2])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_padding_changes_nothing(k: int | None, dtype: torch.dtype) -> None:
    first, second = (
        lyapunov_spectrum(networks()["GRU"], padded(2, filler), lengths=LENGTHS, k=k, frame_dtype=dtype, rng=0)
        for filler in (0.0, 1e6)
    )
    for name in ("lyapunov_exponent", "standard_error", "final_state", "final_frame"):
        np.testing.assert_array_equal(first[name][1], second[name][1])


def test_equal_lengths_are_no_lengths() -> None:
    inputs = padded(3, 0.0)
    plain = lyapunov_spectrum(networks()["GRU"], inputs)
    same = lyapunov_spectrum(networks()["GRU"], inputs, lengths=torch.full((3,), 300))
    for name in plain:
        np.testing.assert_allclose(same[name], plain[name], atol=1e-12)
    assert plain.attrs["error_degrees_of_freedom"] == same.attrs["error_degrees_of_freedom"]


def test_results_are_saved_and_drawn(tmp_path: object) -> None:
    ds = lyapunov_spectrum(networks()["GRU"], padded(1, 0.0), lengths=LENGTHS, qr_interval=1)
    save(ds, f"{tmp_path}/lengths.nc")
    np.testing.assert_array_equal(load(f"{tmp_path}/lengths.nc").last_step, LENGTHS)
    (line, _) = plots.local_growth(ds, trajectory=1).lines
    rates = ds.local_growth[1, : LENGTHS[1], 0].values
    assert line.get_xdata().min() == pytest.approx(rates.min())  # 0 would lie far above all rates
    assert line.get_xdata().max() == pytest.approx(rates.max())


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"lengths": [1, 2]}, ValueError, r"one entry for each of 3 sequences, got shape \(2,\)"),
        ({"lengths": [300, 0, 5]}, ValueError, "between 1, .* and the 300 steps of the inputs; sequence 1 has 0"),
        ({"lengths": [300, 301, 5]}, ValueError, "sequence 1 has 301"),
        ({"lengths": [300, 20, 5], "transient": 5}, ValueError, "between 6, .*; sequence 2 has 5"),
        ({"lengths": [3.0, 2.0, 1.0]}, TypeError, "lengths must be integers"),
        ({"lengths": [True, True, True]}, TypeError, "lengths must be integers"),
        ({"lengths": "abc"}, TypeError, "lengths must be a tensor or an array"),
        ({"lengths": LENGTHS, "until": 0.1}, TypeError, "neither until= nor resume="),
    ],
)
def test_bad_lengths_are_refused(arguments: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        lyapunov_spectrum(networks()["GRU"], padded(1, 0.0), **arguments)


def test_an_autonomous_map_takes_no_lengths() -> None:
    map = as_map(lambda x: 0.5 * x, state=torch.ones(2, dtype=torch.float64))
    with pytest.raises(TypeError, match="lengths= is for sequences of inputs"):
        lyapunov_spectrum(map, steps=10, lengths=[5])

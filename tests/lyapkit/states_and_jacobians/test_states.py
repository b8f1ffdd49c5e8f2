"""`states` against plain loops, and principal axes against closed forms."""

import json
import warnings

import numpy as np
import pytest
import torch
from torch import nn

import lyapkit
from lyapkit import as_map, states
from lyapkit.states_and_jacobians.principal import principal_axes

INPUTS = torch.randn(12, 3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def lstm(dtype: torch.dtype = torch.float64, **options) -> nn.LSTM:
    torch.manual_seed(0)
    return nn.LSTM(2, 4, num_layers=2, **options).to(dtype)


def by_hand(network: nn.LSTM, inputs: torch.Tensor) -> np.ndarray:
    """States of a two-layer LSTM as PyTorch's own module returns them, step by step, (B, T, N)."""
    found, state = [], None
    with torch.no_grad():
        for step in inputs:
            _, state = network(step.unsqueeze(0), state)
            h, c = state
            found.append(torch.cat((h[0], c[0], h[1], c[1]), dim=-1))
    return torch.stack(found, dim=1).numpy()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_states_are_those_of_the_module_itself(dtype: torch.dtype) -> None:
    network, inputs = lstm(dtype), INPUTS.to(dtype)
    ds = states(network, inputs)
    assert ds.state.dims == ("trajectory", "step", "unit")
    assert ds.state.dtype == by_hand(network, inputs).dtype
    np.testing.assert_allclose(ds.state, by_hand(network, inputs), rtol=1e-5 if dtype == torch.float32 else 1e-13)
    assert ds.unit.values[[0, 4, 8, 12]].tolist() == ["layer0.h[0]", "layer0.c[0]", "layer1.h[0]", "layer1.c[0]"]
    assert ds.step.values.tolist() == list(range(1, 13))
    assert ds.last_step.values.tolist() == [12, 12, 12]
    assert not ds.initial_state.any()


def test_the_last_state_is_the_final_state_of_the_spectrum() -> None:
    ds, spectrum = states(lstm(), INPUTS), lyapkit.lyapunov_spectrum(lstm(), INPUTS)
    np.testing.assert_array_equal(ds.state.isel(step=-1), spectrum.final_state)


def test_either_layout_gives_the_same() -> None:
    expected = states(lstm(), INPUTS).state
    np.testing.assert_array_equal(states(lstm(batch_first=True), INPUTS.transpose(0, 1)).state, expected)
    np.testing.assert_array_equal(states(lstm(), INPUTS.transpose(0, 1), batch_first=True).state, expected)


@pytest.mark.parametrize(("transient", "every", "steps"), [(0, 5, [5, 10, 12]), (4, 3, [7, 10, 12]), (11, 1, [12])])
def test_transient_and_record_every_choose_steps(transient: int, every: int, steps: list[int]) -> None:
    whole, ds = states(lstm(), INPUTS), states(lstm(), INPUTS, transient=transient, record_every=every)
    assert ds.step.values.tolist() == steps
    np.testing.assert_array_equal(ds.state, whole.state.sel(step=steps))


def test_a_run_longer_than_a_stretch_loses_no_step() -> None:
    map = as_map(lambda x: x + 1, state=torch.zeros(2, dtype=torch.float64))
    ds = states(map, steps=1000, initial_state=torch.tensor([[0.0, 5.0], [1.0, 2.0]]).double())
    np.testing.assert_array_equal(ds.state[1, :, 0], np.arange(2, 1002))
    np.testing.assert_array_equal(ds.initial_state, [[0, 5], [1, 2]])
    ds = states(map, steps=1000, record_every=300)
    assert ds.state[0, :, 0].values.tolist() == ds.step.values.tolist() == [300, 600, 900, 1000]


def test_shorter_sequences_stay_where_they_end_and_padding_changes_nothing() -> None:
    lengths = [12, 5, 8]
    padded = INPUTS.clone()
    for index, length in enumerate(lengths):
        padded[length:, index] = torch.nan
    ds, whole = states(lstm(), padded, lengths=lengths), states(lstm(), INPUTS)
    assert ds.last_step.values.tolist() == lengths
    for index, length in enumerate(lengths):
        np.testing.assert_array_equal(ds.state[index, :length], whole.state[index, :length])
        np.testing.assert_array_equal(
            ds.state[index, length:], np.broadcast_to(ds.state[index, length - 1], (12 - length, 16))
        )
    counted = np.concatenate([whole.state[index, :length] for index, length in enumerate(lengths)])
    np.testing.assert_allclose(ds.mean_state, counted.mean(axis=0), rtol=1e-12)


def test_closed_loops_run_on_their_own_outputs() -> None:
    torch.manual_seed(1)
    gru, readout = nn.GRUCell(2, 3).double(), nn.Linear(3, 2).double()
    ds = states(gru, steps=5, feedback=readout)
    state = torch.zeros(1, 3).double()
    for step in range(5):
        state = gru(readout(state), state)
        np.testing.assert_allclose(ds.state[:, step], state.detach(), rtol=1e-13)
    mixed = states(gru, INPUTS[:, :1], feedback=readout, teacher_forcing=1.0)
    np.testing.assert_allclose(mixed.state, states(gru, INPUTS[:, :1]).state, rtol=1e-13)


def test_a_map_without_derivatives_has_states() -> None:
    map = as_map(lambda x: torch.round(x).detach() + 1, state=torch.zeros(1))
    assert states(map, steps=3).state.values.ravel().tolist() == [1, 2, 3]


def test_principal_axes_of_an_ellipse_are_its_axes() -> None:
    angle = torch.arange(360, dtype=torch.float64).deg2rad()
    turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]], dtype=torch.float64)
    cloud = torch.stack((3 * angle.cos(), angle.sin()), dim=1) @ turn.T + torch.tensor([5.0, -7.0])
    found = principal_axes(cloud)
    torch.testing.assert_close(found.mean, torch.tensor([5.0, -7.0]).double(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        found.axes, torch.tensor([[0.6, 0.8], [0.8, -0.6]], dtype=torch.float64), rtol=1e-10, atol=1e-10
    )
    expected = torch.tensor([9.0, 1.0]).double() * 180 / 359
    torch.testing.assert_close(found.variance, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(found.part, torch.tensor([0.9, 0.1], dtype=torch.float64), rtol=1e-12, atol=0)


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
@pytest.mark.parametrize("shape", [(40, 6), (5, 30)])
def test_principal_axes_are_those_of_the_singular_value_decomposition(shape: tuple[int, int], scale: float) -> None:
    cloud = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * torch.arange(
        1, shape[1] + 1
    )
    found = principal_axes(cloud * scale)
    _, values, vectors = torch.linalg.svd(cloud - cloud.mean(dim=0), full_matrices=False)
    kept = min(*shape, 10)
    count = min(kept, shape[0] - 1)  # the mean takes one away
    overlap = (found.axes[:count] * vectors[:count]).sum(dim=1).abs()
    torch.testing.assert_close(overlap, torch.ones(count).double(), rtol=1e-9, atol=0)
    expected = values[:kept] ** 2 / values.square().sum()
    torch.testing.assert_close(found.part, expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found.axes @ found.axes.T, torch.eye(kept).double(), rtol=0, atol=1e-10)


def test_states_that_do_not_move_have_axes_without_variance() -> None:
    ds = states(as_map(lambda x: x, state=torch.ones(3)), steps=4)
    assert ds.explained_variance.values.tolist() == [0, 0, 0]
    np.testing.assert_allclose(ds.principal_axis @ ds.principal_axis.rename(component="other"), np.eye(3), atol=1e-12)


def test_a_result_is_saved_and_says_where_it_comes_from(tmp_path) -> None:
    ds = states(lstm(), INPUTS, transient=2)
    assert (lyapkit.load(lyapkit.save(ds, tmp_path / "states.nc")) == ds).all()
    config = json.loads(ds.attrs["config_json"])
    assert (config["steps"], config["transient"], config["driven"], config["checked"]) == (12, 2, True, True)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (dict(steps=3), TypeError, "the number of inputs says"),
        (dict(record_every=0), ValueError, "record_every must be at least 1, got 0"),
        (dict(record_every=1.5), TypeError, "record_every must be an integer"),
        (dict(transient=12), ValueError, "no steps left"),
        (dict(check="no"), TypeError, "check must be True or False"),
        (dict(progress=1), TypeError, "progress must be True or False"),
        (dict(burn_in=3), TypeError, "write transient="),
        (dict(lengths=[1, 2]), ValueError, "lengths"),
    ],
)
def test_bad_arguments_are_refused(options: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        states(lstm(), INPUTS, **options)


def test_hidden_state_and_overflow_are_refused() -> None:
    calls = [0]

    def counting(x: torch.Tensor) -> torch.Tensor:
        calls[0] += 1
        return x + calls[0]

    with pytest.raises(ValueError, match="hidden"):
        states(as_map(counting, state=torch.zeros(1)), steps=5)
    growing = as_map(lambda x: x * x, state=torch.full((1,), 10.0))
    with pytest.raises(FloatingPointError, match=r"trajectory 0 is not finite after step 6"):
        states(growing, steps=10)


def test_nothing_is_drawn_and_nothing_warned_of() -> None:
    map = lstm()
    before = torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = states(map, INPUTS)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.isfinite(found.state).all()

"""A result is continued with the map that it came from, and with no other."""

import copy
import json

import pytest
import torch
from torch import Tensor, nn

from lyapkit import as_map, load, lyapunov_spectrum, save
from lyapkit.checks.fingerprint import difference, fingerprint, tolerance
from lyapkit.recurrent_map import RecurrentMap

GAIN = 3.9  # a constant that a step reads from its module


def layer(kind: type[nn.RNNBase], dtype: torch.dtype = torch.float64) -> nn.RNNBase:
    torch.manual_seed(0)
    return kind(2, 6).to(dtype)


def inputs(steps: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(steps, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)


def changed(module: nn.Module, name: str, by: float) -> nn.Module:
    other = copy.deepcopy(module)
    with torch.no_grad():
        other.get_parameter(name).view(-1)[0] += by
    return other


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
@pytest.mark.parametrize(
    ("dtype", "by", "name"),
    [
        (torch.float64, 1e-6, "weight_hh_l0"),
        (torch.float64, 1e-6, "weight_ih_l0"),
        (torch.float64, 1e-6, "bias_hh_l0"),
        (torch.float32, 1e-2, "weight_hh_l0"),
        (torch.float32, 1e-2, "bias_ih_l0"),
    ],
)
def test_a_result_of_other_weights_is_not_resumed(kind: type[nn.RNNBase], dtype: torch.dtype, by: float, name: str):
    module, more = layer(kind, dtype), inputs(20, dtype)
    ds = lyapunov_spectrum(module, more)
    with pytest.raises(ValueError, match=r"resume is of another map: .* a step of this map gives other results"):
        lyapunov_spectrum(changed(module, name, by), more, resume=ds)
    assert lyapunov_spectrum(module, more, resume=ds).attrs["config_json"].count('"steps": 40')
    unchecked = lyapunov_spectrum(changed(module, name, by), more, resume=ds, check=False)
    assert json.loads(unchecked.attrs["config_json"])["map_images"] is None


def test_the_resumed_run_of_the_same_map_is_the_whole_run(tmp_path) -> None:
    """After saving and loading the result, and the weights, into another module."""
    module = layer(nn.LSTM)
    ds = lyapunov_spectrum(module, inputs(400)[:250], qr_interval=1)
    save(ds, tmp_path / "part.nc")
    torch.save(module.state_dict(), tmp_path / "weights.pt")
    again = nn.LSTM(2, 6).double()
    again.load_state_dict(torch.load(tmp_path / "weights.pt"))
    resumed = lyapunov_spectrum(again, inputs(400)[250:], resume=load(tmp_path / "part.nc"), qr_interval=1)
    whole = lyapunov_spectrum(module, inputs(400), qr_interval=1)
    assert abs(resumed.lyapunov_exponent - whole.lyapunov_exponent).max() < 1e-12


class Parts(nn.Module):
    """A recurrent step with a buffer, and a readout that the step does not use."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.eye(3, dtype=torch.float64))
        self.readout = nn.Linear(3, 1).double()

    def forward(self, state: Tensor) -> Tensor:
        return torch.tanh(1.2 * self.mask @ state + 0.1)


def logistic(gain: float) -> RecurrentMap:
    return as_map(lambda x: gain * x * (1 - x), state=torch.full((1,), 0.3).double())


def by_global() -> RecurrentMap:
    return as_map(lambda x: GAIN * x * (1 - x), state=torch.full((1,), 0.3).double())


def delay(gain: float, domain: float) -> RecurrentMap:
    """A map that is defined only within its domain."""

    def step(x: Tensor) -> Tensor:
        if float(x.abs().max()) > domain:
            raise ArithmeticError("outside")
        return torch.sin(gain * x)

    return as_map(step, state=torch.full((2,), 0.01).double())


def test_a_map_is_compared_where_it_is_defined() -> None:
    images = fingerprint(delay(1.5, 0.05), torch.full((2,), 0.01).double())
    assert [image is None for image in images] == [True, True, True, True, False]


def pair(first: Tensor) -> RecurrentMap:
    return as_map(lambda x: torch.tanh(first @ x), state=torch.full((2,), 0.1).double())


def test_other_constants_buffers_and_closures_are_another_map() -> None:
    spoiled = Parts()
    spoiled.mask[0, 1] = 0.001
    matrix = torch.tensor([[1.0, 0.5], [0.2, 0.7]]).double()
    for one, other in [
        (logistic(3.9), logistic(3.9 + 1e-7)),
        (as_map(Parts(), state=torch.ones(3).double()), as_map(spoiled, state=torch.ones(3).double())),
        (delay(1.5, 0.05), delay(1.5001, 0.05)),
        (pair(matrix), pair(matrix.mT)),
    ]:
        ds = lyapunov_spectrum(one, steps=1)
        with pytest.raises(ValueError, match="another map"):
            lyapunov_spectrum(other, steps=5, resume=ds)
        assert lyapunov_spectrum(one, steps=1, resume=ds).sizes["trajectory"] == 1


def test_a_changed_global_is_another_map(monkeypatch) -> None:
    ds = lyapunov_spectrum(by_global(), steps=5)
    monkeypatch.setitem(globals(), "GAIN", 3.8)
    with pytest.raises(ValueError, match="another map"):
        lyapunov_spectrum(by_global(), steps=5, resume=ds)


def test_another_feedback_or_teacher_forcing_is_another_map() -> None:
    module, readout = layer(nn.GRU), nn.Linear(6, 2).double()
    ds = lyapunov_spectrum(module, inputs(20), feedback=readout, teacher_forcing=0.5)
    for options in ({"teacher_forcing": 0.6}, {"feedback": nn.Linear(6, 2).double()}):
        with pytest.raises(ValueError, match="another map"):
            lyapunov_spectrum(
                module, inputs(20), **({"feedback": readout, "teacher_forcing": 0.5} | options), resume=ds
            )


def test_the_same_map_under_other_names_types_and_readouts_is_resumed() -> None:
    module = layer(nn.GRU)
    ds = lyapunov_spectrum(module, inputs(20))
    single = copy.deepcopy(module).float()
    cell = nn.GRUCell(2, 6).double()
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in module.state_dict().items()})
    assert lyapunov_spectrum(cell, inputs(20), resume=ds).sizes["exponent"] == 6
    assert lyapunov_spectrum(single, inputs(20, torch.float32), resume=ds).sizes["exponent"] == 6
    parts = Parts()
    own = lyapunov_spectrum(as_map(parts, state=torch.ones(3).double()), steps=5)
    with torch.no_grad():
        parts.readout.weight.zero_()
    later = as_map(parts, state=torch.zeros(3).double())  # another example state
    assert lyapunov_spectrum(later, steps=5, resume=own).sizes["exponent"] == 3


@pytest.mark.parametrize(("units", "layers"), [(10, 1), (100, 1), (500, 1), (50, 3)])
@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_rounding_is_not_another_map(kind: type[nn.RNNBase], units: int, layers: int) -> None:
    torch.manual_seed(0)
    single = kind(3, units, num_layers=layers)
    double = as_map(copy.deepcopy(single).double())
    state = torch.randn(double.state_size, dtype=torch.float64)
    found = difference(fingerprint(as_map(single), state), fingerprint(double, state))
    assert found < tolerance(double.state_size, "float32") / 3
    nudged = copy.deepcopy(single).double()
    with torch.no_grad():
        for parameter in nudged.parameters():
            parameter += 1e-15 * torch.randn_like(parameter)
    assert difference(fingerprint(as_map(nudged), state), fingerprint(double, state)) < tolerance(units, "float64") / 3


def test_results_without_images_are_resumed() -> None:
    """As those of an earlier version, and of a run without check."""
    ds = lyapunov_spectrum(logistic(3.9), steps=5)
    config = json.loads(ds.attrs["config_json"])
    del config["map_images"]
    ds.attrs["config_json"] = json.dumps(config)
    assert lyapunov_spectrum(logistic(3.9), steps=5, resume=ds).last_step == 10
    unchecked = lyapunov_spectrum(logistic(3.9), steps=5, check=False)
    assert lyapunov_spectrum(logistic(3.9), steps=5, resume=unchecked).last_step == 10

"""Every adapter passes the same conformance suite; every refusal says why."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lyapkit import RecurrentMap, as_map, lyapunov_spectrum
from lyapkit.adapters import register_adapter
from lyapkit.systems import MatrixProduct
from lyapkit.testing import check_map
from lyapkit.trajectories.closed_loop import ClosedLoop

CELLS = {
    "RNNCell": lambda: nn.RNNCell(3, 5),
    "RNNCell relu": lambda: nn.RNNCell(3, 5, nonlinearity="relu"),
    "RNNCell no bias": lambda: nn.RNNCell(3, 5, bias=False),
    "GRUCell": lambda: nn.GRUCell(3, 5),
    "GRUCell no bias": lambda: nn.GRUCell(3, 5, bias=False),
    "LSTMCell": lambda: nn.LSTMCell(3, 5),
    "LSTMCell no bias": lambda: nn.LSTMCell(3, 5, bias=False),
}
LAYERS = {
    "RNN": lambda: nn.RNN(3, 5),
    "RNN relu": lambda: nn.RNN(3, 5, nonlinearity="relu"),
    "RNN 3 layers": lambda: nn.RNN(3, 4, num_layers=3),
    "GRU": lambda: nn.GRU(3, 5),
    "GRU 2 layers no bias": lambda: nn.GRU(3, 5, num_layers=2, bias=False),
    "LSTM": lambda: nn.LSTM(3, 5),
    "LSTM 2 layers": lambda: nn.LSTM(3, 5, num_layers=2),
    "LSTM proj": lambda: nn.LSTM(3, 5, proj_size=2),
    "LSTM proj 3 layers no bias": lambda: nn.LSTM(3, 5, num_layers=3, proj_size=2, bias=False),
    "LSTM batch_first": lambda: nn.LSTM(3, 5, batch_first=True),
    "LSTM dropout in eval mode": lambda: nn.LSTM(3, 5, num_layers=2, dropout=0.5).eval(),
}


@pytest.fixture(autouse=True)
def _fixed_weights():
    torch.manual_seed(1)


@pytest.mark.parametrize("name", CELLS)
def test_cells_conform(name: str) -> None:
    cell = CELLS[name]().double()
    is_lstm = isinstance(cell, nn.LSTMCell)

    def own_step(state: Tensor, input: Tensor | None) -> Tensor:
        if is_lstm:
            return torch.cat(cell(input, (state[..., :5], state[..., 5:])), dim=-1)
        return cell(input, state)

    map = as_map(cell)
    check_map(map, own_step)
    assert map.state_size == (10 if is_lstm else 5)
    assert map.unit_names[0] == "h[0]"
    assert map.unit_names[-1] == ("c[4]" if is_lstm else "h[4]")


@pytest.mark.parametrize("name", LAYERS)
def test_layers_conform(name: str) -> None:
    layer = LAYERS[name]().double()
    is_lstm = isinstance(layer, nn.LSTM)
    emitted = layer.proj_size or layer.hidden_size
    size = emitted + (layer.hidden_size if is_lstm else 0)

    def own_step(state: Tensor, input: Tensor | None) -> Tensor:
        parts = state.reshape(state.shape[0], layer.num_layers, size).transpose(0, 1).contiguous()  # (layers, B, S)
        hidden, cells = parts[..., :emitted].contiguous(), parts[..., emitted:].contiguous()
        sequence = input.unsqueeze(1 if layer.batch_first else 0)
        _, final = layer(sequence, (hidden, cells) if is_lstm else hidden)
        after = torch.cat(final, dim=-1) if is_lstm else final
        return after.transpose(0, 1).reshape(state.shape)

    map = as_map(layer)
    check_map(map, own_step)
    assert map.state_size == layer.num_layers * size


def test_layer_output_is_the_modules_own() -> None:
    layer = nn.LSTM(3, 5, num_layers=2, proj_size=2).double()
    map = as_map(layer)
    inputs = torch.randn(6, 4, 3, dtype=torch.float64)
    state = map.initial_state(4)
    emitted = []
    for input in inputs:
        state = map.step(state, input)
        emitted.append(map.output(state))
    torch.testing.assert_close(torch.stack(emitted), layer(inputs)[0], rtol=1e-13, atol=1e-13)


def test_inputs_lie_as_the_module_takes_them() -> None:
    torch.manual_seed(1)
    layer = nn.GRU(3, 2, batch_first=True).double()
    inputs = torch.randn(4, 5, 3).double()
    ds = lyapunov_spectrum(layer, inputs)
    assert (ds.sizes["step"], ds.sizes["trajectory"]) == (5, 4)
    layer.batch_first = False
    across = lyapunov_spectrum(layer, inputs.transpose(0, 1))
    np.testing.assert_array_equal(ds.lyapunov_exponent, across.lyapunov_exponent)


def test_unit_names_of_stacked_layers() -> None:
    names = as_map(nn.LSTM(1, 2, num_layers=2)).unit_names
    assert names == [f"layer{layer}.{part}[{unit}]" for layer in (0, 1) for part in "hc" for unit in (0, 1)]


def test_a_map_follows_its_modules_weights() -> None:
    cell = nn.RNNCell(1, 2).double()
    map = as_map(cell)
    with torch.no_grad():
        cell.weight_hh.zero_()
        cell.weight_ih.zero_()
        cell.bias_ih.fill_(0.3)
        cell.bias_hh.fill_(0.2)
    after = map.step(torch.ones(2, dtype=torch.float64), torch.ones(1, dtype=torch.float64))
    torch.testing.assert_close(after, torch.full((2,), 0.5, dtype=torch.float64).tanh())


WEIGHT = torch.tensor([[0.3, -0.2, 0.5], [0.1, 0.4, -0.3], [-0.6, 0.2, 0.1]], dtype=torch.float64)


def test_callable_over_a_nested_state_conforms() -> None:
    def step(state, input):
        fast, slow = state["fast"], state["slow"][0]
        drive = torch.tanh(WEIGHT @ fast + input.reshape(-1)[:3])
        return {
            "fast": 0.9 * fast + 0.1 * drive,
            "slow": (0.99 * slow + 0.01 * fast.sum() * torch.ones(2, 2).double(),),
        }

    example = {"fast": torch.zeros(3).double(), "slow": (torch.zeros(2, 2).double(),)}
    map = as_map(step, state=example, input=torch.zeros(2, 2).double())

    def own_step(state: Tensor, input: Tensor | None) -> Tensor:
        rows = []
        for row, drive in zip(state, input, strict=True):
            after = step({"fast": row[:3], "slow": (row[3:].reshape(2, 2),)}, drive.reshape(2, 2))
            rows.append(torch.cat((after["fast"], after["slow"][0].reshape(-1))))
        return torch.stack(rows)

    check_map(map, own_step)
    assert map.unit_names == [
        "fast[0]", "fast[1]", "fast[2]", "slow.state0[0,0]", "slow.state0[0,1]", "slow.state0[1,0]", "slow.state0[1,1]",
    ]  # fmt: skip
    assert (map.state_size, map.input_size) == (7, 4)


def test_keys_of_a_returned_dict_may_come_in_another_order() -> None:
    map = as_map(lambda s: {"b": s["a"], "a": 2 * s["b"]}, state={"a": torch.ones(1), "b": torch.ones(2)[:1]})
    assert map.step(torch.tensor([3.0, 5.0])).tolist() == [10.0, 3.0]
    with pytest.raises(ValueError, match=r"a dict \{'a': tensor, 'b': tensor\} like the example"):
        as_map(lambda s: {"b": s["a"], "c": s["b"]}, state={"a": torch.ones(1), "b": torch.ones(1)})


def test_autonomous_callable_conforms_and_starts_from_its_example() -> None:
    map = as_map(lambda x: torch.tanh(WEIGHT @ x), state=torch.tensor([1.0, 2.0, 3.0]).double())
    check_map(map, lambda state, _: torch.tanh(state @ WEIGHT.T))
    assert map.initial_state(2).tolist() == [[1.0, 2.0, 3.0]] * 2
    assert map.input_size == 0


def test_callable_that_vmap_cannot_trace_is_looped_over() -> None:
    def step(x: Tensor) -> Tensor:
        return 0.5 * x if float(x.detach().sum()) > 0 else -0.25 * x

    map = as_map(step, state=torch.ones(2).double())
    assert map.batching == "loop"
    states = torch.tensor([[1.0, 2.0], [-1.0, -2.0]]).double()
    assert map.step(states).tolist() == [[0.5, 1.0], [0.25, 0.5]]
    assert map.step(states.reshape(2, 1, 2)).shape == (2, 1, 2)


def test_a_module_can_be_the_callable_and_lists_its_parameters() -> None:
    linear = nn.Linear(2, 2).double()
    map = as_map(linear, state=torch.zeros(2).double())
    assert [name for name, _ in map.parameters()] == ["weight", "bias"]
    assert list(as_map(lambda x: x, state=torch.zeros(2)).parameters()) == []


def test_as_map_returns_maps_unchanged() -> None:
    map = as_map(nn.RNNCell(1, 2))
    assert as_map(map) is map


def test_registered_adapters_serve_subclasses() -> None:
    class Doubling(nn.Module):
        pass

    class Special(Doubling):
        pass

    register_adapter(Doubling, lambda module: as_map(lambda x: 2 * x, state=torch.ones(1)))
    assert isinstance(as_map(Special()), RecurrentMap)
    assert as_map(Special()).step(torch.tensor([3.0])).tolist() == [6.0]


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.LSTM(1, 2)
        self.head = nn.Linear(2, 1)


class Leaky(nn.RNNCell):
    def forward(self, input, hx=None):
        return 0.5 * hx + 0.5 * super().forward(input, hx)


class Scaled(nn.GRU):
    def forward(self, input, hx=None):
        return super().forward(2 * input, hx)


class Renamed(nn.LSTM):
    """A subclass that changes nothing."""


def hooked() -> nn.Module:
    layer = nn.RNN(1, 2)
    layer.register_forward_hook(lambda module, inputs, outputs: outputs)
    return layer


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # vmap has no rule for the fused cell inside
def test_a_cell_with_a_step_of_its_own_is_analysed_as_a_callable() -> None:
    cell = Leaky(3, 2).double()
    map = as_map(lambda h, s: cell(s, h), state=torch.zeros(2).double(), input=torch.zeros(3).double())
    check_map(map, lambda state, input: 0.5 * state + 0.5 * nn.RNNCell.forward(cell, input, state))


def test_a_subclass_that_changes_nothing_is_its_parent() -> None:
    assert as_map(Renamed(1, 2)).state_size == 4


REFUSALS = {
    "bidirectional": (lambda: as_map(nn.LSTM(1, 2, bidirectional=True)), ValueError, "bidirectional"),
    "active dropout": (lambda: as_map(nn.GRU(1, 2, num_layers=2, dropout=0.5)), ValueError, r"\.eval\(\)"),
    "whole model": (lambda: as_map(Classifier()), TypeError, r"model\.get_submodule\('encoder'\)"),
    "unknown module": (lambda: as_map(nn.Linear(2, 2)), TypeError, "example state"),
    "not a model": (lambda: as_map(3), TypeError, "cannot make a recurrent map of int"),
    "callable without state": (lambda: as_map(torch.tanh), TypeError, "needs an example state"),
    "state for a module": (lambda: as_map(nn.LSTM(1, 2), state=torch.zeros(4)), TypeError, "knows its own state"),
    "integer state": (lambda: as_map(torch.tanh, state=torch.zeros(2, dtype=torch.int64)), TypeError, "int64"),
    "list of floats": (lambda: as_map(torch.tanh, state=[0.1, 0.2]), TypeError, "must be a tensor, got float"),
    "empty state": (lambda: as_map(torch.tanh, state=[]), ValueError, "holds no tensors"),
    "mixed dtypes": (
        lambda: as_map(lambda x: x, state=(torch.zeros(1), torch.zeros(1).double())),
        ValueError,
        "share one dtype",
    ),
    "input dtype": (
        lambda: as_map(lambda x, s: x, state=torch.zeros(1), input=torch.zeros(1).double()),
        ValueError,
        "example input is torch.float64",
    ),
    "integer input": (
        lambda: as_map(lambda x, s: x, state=torch.zeros(1), input=torch.zeros(1).long()),
        TypeError,
        "input must be floating point",
    ),
    "returned structure": (
        lambda: as_map(lambda x: (x, x), state=torch.zeros(1)),
        ValueError,
        r"must return a tensor like the example state, but returned a tuple \(tensor, tensor\)\. Return the next state "
        "alone",
    ),
    "returned shape": (lambda: as_map(lambda x: x[:1], state=torch.zeros(2)), ValueError, r"shape \(1,\)"),
    "returned dtype": (lambda: as_map(lambda x: x.double(), state=torch.zeros(2)), ValueError, "float64"),
    "returned numbers": (lambda: as_map(lambda x: 1.0, state=torch.zeros(())), TypeError, "got float"),
    "random map": (lambda: as_map(lambda x: x + torch.randn(2), state=torch.zeros(2)), ValueError, "random numbers"),
    "dropout in a callable module": (
        lambda: as_map(nn.Sequential(nn.Dropout(0.5)), state=torch.zeros(2)),
        ValueError,
        r"Dropout \(0\) is in training mode",
    ),
    "half precision": (lambda: as_map(nn.GRU(1, 2).bfloat16()), ValueError, "bfloat16, whose derivatives"),
    "meta device": (lambda: as_map(nn.GRU(1, 2, device="meta")), ValueError, "meta device"),
    "class": (lambda: as_map(nn.LSTM), TypeError, r"LSTM is a class; pass a module, such as LSTM\(\.\.\.\)"),
    "no components": (lambda: as_map(lambda x: x, state=torch.zeros(0)), ValueError, "no components"),
    "cell with its own forward": (lambda: as_map(Leaky(1, 2)), ValueError, "Leaky has a forward of its own"),
    "layer with its own forward": (lambda: as_map(Scaled(1, 2)), ValueError, "equations of GRU do not describe it"),
    "hooks": (lambda: as_map(hooked()), ValueError, "forward hooks, which a step from its weights would leave out"),
    "register a non-module": (lambda: register_adapter(dict, as_map), TypeError, "subclass of torch.nn.Module"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals_say_what_is_wrong(name: str) -> None:
    action, error, message = REFUSALS[name]
    with pytest.raises(error, match=message):
        action()


def henon(x: Tensor) -> Tensor:
    return torch.stack((1 - 1.4 * x[0] ** 2 + x[1], 0.3 * x[0]))


@pytest.mark.parametrize(
    ("map", "text"),
    [
        (as_map(nn.LSTM(3, 50, 2)), "StackedCells of 2 LSTM layers: 3 inputs, state of 200, float32"),
        (as_map(nn.GRU(1, 5).double()), "StackedCells of 1 GRU layer: 1 input, state of 5, float64"),
        (as_map(nn.RNNCell(2, 4, nonlinearity="relu")), "StackedCells of 1 RNN layer: 2 inputs, state of 4, float32"),
        (as_map(henon, state=torch.zeros(2).double()), "CallableMap of henon: autonomous, state of 2, float64"),
        (as_map(nn.Tanh(), state=torch.zeros(2)), "CallableMap of Tanh: autonomous, state of 2, float32"),
        (MatrixProduct(2), "MatrixProduct: 4 inputs, state of 2, float64"),
        (
            ClosedLoop(as_map(nn.GRU(2, 5)), nn.Linear(5, 2)),
            "ClosedLoop of StackedCells of 1 GRU layer: autonomous, state of 5, float32",
        ),
    ],
)
def test_maps_say_what_they_are(map: RecurrentMap, text: str) -> None:
    assert repr(map) == text


def test_errors_of_a_callable_that_are_no_mistake_of_the_call_pass() -> None:
    """A full device when it is probed; any error of a branch that only the run takes."""

    def full(x):
        raise torch.OutOfMemoryError("the device is full")

    with pytest.raises(torch.OutOfMemoryError, match=r"^the device is full$"):
        as_map(full, state=torch.zeros(2).double())

    def failing(x):
        if float(x[0]) < 1e-3:
            raise RuntimeError("too small for me")
        return 0.5 * x

    with pytest.raises(RuntimeError, match=r"^too small for me$"):
        lyapunov_spectrum(as_map(failing, state=torch.ones(2).double()), steps=100)


def test_random_numbers_are_refused_where_a_callable_draws_them() -> None:
    with pytest.raises(ValueError, match="the map draws random numbers, so its exponents are not defined"):
        as_map(lambda x: x + torch.rand(2).double(), state=torch.zeros(2).double())

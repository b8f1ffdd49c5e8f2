"""`check_map` passes what keeps its promises, and says which one is broken, with the numbers."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from lyapkit import RecurrentMap, as_map, systems
from lyapkit.testing import check_map
from steps import BackwardOnly, Steps, WrongBackward, WrongForward

WEIGHT = torch.tensor([[0.3, -0.2], [0.5, 0.4]], dtype=torch.float64)


class Cell(RecurrentMap):
    """tanh(W x + s) of a module: an adapter as a third party writes it."""

    input_size = state_size = 2
    dtype, device = torch.float64, torch.device("cpu")
    unit_names = ("a", "b")

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.module = nn.RNNCell(2, 2).double()

    def step(self, state: Tensor, input: Tensor | None = None) -> Tensor:
        m = self.module
        return torch.tanh(state @ m.weight_hh.T + m.bias_hh + input @ m.weight_ih.T + m.bias_ih)

    def parameters(self):
        return self.module.named_parameters()


def test_an_adapter_that_keeps_its_promises_passes() -> None:
    map = Cell()
    before = [parameter.clone() for parameter in map.module.parameters()]
    check_map(map, own_step=lambda state, input: map.module(input, state))
    assert all(torch.equal(*pair) for pair in zip(before, map.module.parameters(), strict=True))


@pytest.mark.parametrize(
    "map",
    [
        as_map(nn.GRU(3, 4, num_layers=2)),  # float32
        as_map(nn.LSTMCell(2, 3)),
        systems.henon().map,
        systems.MatrixProduct(3),
        Steps(lambda x: BackwardOnly.apply(x)),  # no derivative forwards
        Steps(lambda x: 0 * x),
        Steps(lambda x: 1e6 * torch.tanh(x)),
    ],
    ids=["float32", "float32 cell", "henon", "product", "backward only", "zero", "large"],
)
def test_maps_of_all_kinds_pass(map: RecurrentMap) -> None:
    check_map(map)


def test_a_map_without_gradients_of_its_weights_passes() -> None:
    module = nn.GRU(1, 3).double().requires_grad_(False)
    check_map(as_map(module))


class Names(Cell):
    unit_names = ("a", "a")


class Start(Cell):
    def initial_state(self, batch):
        return torch.zeros(batch, 3, dtype=torch.float64)


class Single(Cell):
    def initial_state(self, batch):
        return torch.zeros(batch, 2)


class Rate(Cell):
    predicted_gradient_rate = 1


class Layout(Cell):
    batch_first = None


class Output(Cell):
    def output(self, state):
        return state.sum(0)


class InPlace(Cell):
    def step(self, state, input=None):
        after = super().step(state, input)
        state += 1
        return after


class InputInPlace(Cell):
    def step(self, state, input=None):
        after = super().step(state, input)
        input += 1
        return after


class Random(Cell):
    def step(self, state, input=None):
        return super().step(state, input) + torch.rand(())


class Batch(Cell):
    """Sees the other trajectories."""

    def step(self, state, input=None):
        return super().step(state, input) + state.mean()


class Shape(Cell):
    def step(self, state, input=None):
        after = super().step(state, input)
        return after.reshape(-1, 2) if after.ndim > 2 else after


class Detached(Cell):
    def step(self, state, input=None):
        return super().step(state.detach(), input)


class Cached(Cell):
    """Keeps a copy of a weight from the time when it was made."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = self.module.weight_hh.detach().clone()

    def step(self, state, input=None):
        m = self.module
        frozen = m.weight_hh - m.weight_hh.detach() + self.weight
        return torch.tanh(state @ frozen.T + m.bias_hh + input @ m.weight_ih.T + m.bias_ih)


class Unrelated(Cell):
    def parameters(self):
        return nn.Linear(2, 2).double().named_parameters()


class Doubled(Cell):
    def parameters(self):
        return [*self.module.named_parameters()] * 2


class Tensors(Cell):
    def parameters(self):
        return [("weight", torch.zeros(2))]


class Half(Cell):
    dtype = torch.float16


BROKEN = {
    Names: "unit_names must be 2 different texts",
    Start: r"initial_state\(4\) must have shape \(4, 2\), got \(4, 3\)",
    Single: r"initial_state must be torch\.float64 on cpu like the map, got torch\.float32",
    Rate: "predicted_gradient_rate must be a float or None, got 1",
    Layout: "batch_first must be True or False, got None",
    Output: "output must keep the leading dimensions",
    InPlace: "step must not change the state in place",
    InputInPlace: "step must not change the input in place",
    Random: "step must give the same result for the same arguments",
    Batch: r"step of states \(A, B, N\) differs from step of \(B, N\)",
    Shape: r"step of states of shape \(2, 3, 2\) must keep their shape, got \(6, 2\)",
    Detached: "the derivative of step backwards .* differs from differences of step",
    Cached: "the gradient of step towards its parameters differs from differences: step must read them at every call",
    Unrelated: "step does not depend on the parameters that `parameters` yields",
    Doubled: "parameters must have different names",
    Tensors: r"parameters must yield pairs of a name and a torch\.nn\.Parameter",
    Half: r"dtype must be torch\.float32 or float64, got torch\.float16",
}


@pytest.mark.parametrize("kind", BROKEN, ids=lambda kind: kind.__name__)
def test_a_broken_promise_is_named(kind: type[Cell]) -> None:
    with pytest.raises(AssertionError, match=BROKEN[kind]):
        check_map(kind())


def test_another_step_than_the_modules_own_is_refused_with_the_numbers() -> None:
    map = Cell()
    with pytest.raises(AssertionError, match=r"step differs from the module's own\.(?s:.*)Greatest absolute"):
        check_map(map, own_step=lambda state, input: map.module(input, state) + 1e-9)


def test_wrong_derivatives_are_refused() -> None:
    with pytest.raises(AssertionError, match=r"the derivative of step backwards .* differs from differences"):
        check_map(Steps(lambda x: WrongBackward.apply(x)))
    with pytest.raises(AssertionError, match=r"the derivative of step forwards .* differs from that backwards"):
        check_map(Steps(lambda x: WrongForward.apply(x)))


class Registered(RecurrentMap):
    """A built-in layer whose cells are changed by a function."""

    def __init__(self, change) -> None:
        torch.manual_seed(0)
        self.map, self.change = as_map(nn.GRU(2, 3).double()), change

    def cell_derivatives(self):
        (cell,) = self.map.cell_derivatives()
        return [self.change(cell)]


for _name in ("state_size", "input_size", "dtype", "device", "unit_names"):
    setattr(Registered, _name, property(lambda self, name=_name: getattr(self.map, name)))
Registered.step = lambda self, state, input=None: self.map.step(state, input)
Registered.__abstractmethods__ = frozenset()


def wrong_pointwise(part: str):
    def change(cell):
        class Wrong(type(cell.pointwise)):
            def __init__(self) -> None:
                self.__dict__ |= cell.pointwise.__dict__

            def advance(self, preactivation, state):
                return super().advance(preactivation, state) + (1e-6 if part == "step" else 0)

            def linearise(self, preactivation, state):
                first, second = super().linearise(preactivation, state)
                if part == "first":
                    first = {place: 1.001 * slope for place, slope in first.items()}
                factor = 1.001 if part == "second" else 1
                return first, lambda adjoint: {place: factor * bend for place, bend in second(adjoint).items()}

        return replace(cell, pointwise=Wrong())

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (wrong_pointwise("step"), "the step that cell_derivatives describes differs from step"),
        (wrong_pointwise("first"), "the first derivatives of cell_derivatives differ from automatic ones"),
        (wrong_pointwise("second"), "the second derivatives of cell_derivatives differ from automatic ones"),
        (lambda cell: replace(cell, places=cell.places[1:]), "the places of a cell do not hold its parameters"),
        (lambda cell: replace(cell, recurrent_rows=slice(0, 3)), "outside of a cell's recurrent_rows"),
    ],
    ids=["step", "first", "second", "places", "rows"],
)
def test_wrong_cells_are_refused(change, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_map(Registered(change))


def test_right_cells_pass() -> None:
    check_map(Registered(lambda cell: cell))


class Reservoir(Cell):
    """Fixed recurrent weights; only the readout is trained, and is among the parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.module.requires_grad_(False)
        self.head = nn.Linear(2, 1).double()

    readout = property(lambda self: self.head)

    def parameters(self):
        return self.head.named_parameters()


def test_a_reservoir_with_a_trained_readout_passes() -> None:
    check_map(Reservoir())


def test_what_is_no_map_is_refused() -> None:
    with pytest.raises(TypeError, match=r"check_map takes a RecurrentMap, got GRU; make one with lyapkit\.as_map"):
        check_map(nn.GRU(1, 1))

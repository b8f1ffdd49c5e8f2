"""State or input first: names that contradict the order are refused, and the remedy works."""

import functools

import pytest
import torch
from torch import Tensor, nn

from lyapkit import as_map, lyapunov_spectrum

N = 4
STATE, INPUT = torch.zeros(N).double(), torch.zeros(N).double()
WEIGHT = torch.randn(N, N, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
FEED = torch.randn(N, N, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def right(state: Tensor, input: Tensor) -> Tensor:
    return torch.tanh(WEIGHT @ state + FEED @ input)


class Module(nn.Module):
    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return right(h, x)


class PositionalOnly(nn.Module):
    def forward(self, inputs: Tensor, hx: Tensor, /) -> Tensor:
        return right(hx, inputs)


class Cell(nn.RNNCellBase):
    """A cell of the user's, in PyTorch's order."""

    def __init__(self) -> None:
        super().__init__(N, N, bias=False, num_chunks=1, dtype=torch.float64)

    def forward(self, input: Tensor, hx: Tensor) -> Tensor:
        return right(hx, input)


class Own(nn.RNNCell):
    """A built-in cell with a forward of its own, whose bound method is passed."""

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        assert hx is not None
        return right(hx, input)


class Object:
    def __call__(self, u: Tensor, hidden: Tensor) -> Tensor:
        return right(hidden, u)

    def step(self, stimulus: Tensor, rnn_state: Tensor) -> Tensor:
        return right(rnn_state, stimulus)


def keyword_only(x_t: Tensor, h_prev: Tensor, *, gain: float = 1.0) -> Tensor:
    return right(h_prev, gain * x_t)


def with_weights(weight: Tensor, input: Tensor, x: Tensor) -> Tensor:
    return torch.tanh(weight @ x + FEED @ input)


class Scripted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight, self.feed = WEIGHT, FEED

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return torch.tanh(self.weight @ h + self.feed @ x)


INPUT_FIRST = {
    "module": lambda: Module(),
    "its call": lambda: Module().__call__,
    "its forward": lambda: Module().forward,
    "positional only": lambda: PositionalOnly(),
    "cell": lambda: Cell().double(),
    "built-in cell's own forward": lambda: Own(N, N).forward,
    "object": lambda: Object(),
    "method": lambda: Object().step,
    "keyword-only options": lambda: keyword_only,
    "partial with a keyword": lambda: functools.partial(keyword_only, gain=1.0),
    "partial with a position": lambda: functools.partial(with_weights, WEIGHT),
    "partial of a module": lambda: functools.partial(Module()),
    "lambda": lambda: lambda inp, state: right(state, inp),
    "closed over by a default": lambda: lambda x, h, weight=WEIGHT: torch.tanh(weight @ h + FEED @ x),
    "wrapped": lambda: functools.wraps(keyword_only)(lambda *both: keyword_only(*both)),
    "camel case": lambda: lambda inputT, hiddenState: right(hiddenState, inputT),
    "scripted module": lambda: torch.jit.script(Scripted()),
    "compiled module": lambda: torch.compile(Module(), backend="eager"),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("name", INPUT_FIRST)
def test_names_that_contradict_the_order_are_refused_and_the_remedy_works(name: str) -> None:
    function = INPUT_FIRST[name]()
    with pytest.raises(ValueError, match=r'the input first.*order="input_first"'):
        as_map(function, state=STATE, input=INPUT)
    map = as_map(function, state=STATE, input=INPUT, order="input_first")
    states, inputs = torch.randn(2, 3, N, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    expected = torch.stack([right(state, input) for state, input in zip(states, inputs, strict=True)])
    torch.testing.assert_close(map.step(states, inputs), expected, rtol=1e-14, atol=1e-14)
    swapped = as_map(function, state=STATE, input=INPUT, order="state_first")
    expected = torch.stack([right(state, input) for input, state in zip(states, inputs, strict=True)])
    torch.testing.assert_close(swapped.step(states, inputs), expected, rtol=1e-14, atol=1e-14)


def test_the_exponents_are_those_of_the_state() -> None:
    inputs = torch.randn(300, N, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    expected = lyapunov_spectrum(as_map(lambda x, s: right(x, s), state=STATE, input=INPUT), inputs)
    found = lyapunov_spectrum(as_map(Module(), state=STATE, input=INPUT, order="input_first"), inputs)
    assert abs(found.lyapunov_exponent - expected.lyapunov_exponent).max() < 1e-12


def test_a_state_of_several_parts_is_taken_second() -> None:
    cell = nn.LSTMCell(3, 2).double()

    def step(x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        h, c = cell(x, state)
        return h, c

    example = torch.zeros(2).double(), torch.zeros(2).double()
    with pytest.raises(ValueError, match=r"\(x, state\).*input_first"):
        as_map(step, state=example, input=torch.zeros(3).double())
    map = as_map(step, state=example, input=torch.zeros(3).double(), order="input_first")
    state, input = torch.rand(5, 4).double(), torch.rand(5, 3).double()
    torch.testing.assert_close(map.step(state, input), as_map(cell).step(state, input))


STATE_FIRST = [
    "x,s",
    "h,u",
    "v,s",
    "state,input",
    "x,u",
    "s,x",
    "x,y",
    "u,x",
    "x,t",
    "h,x",
    "u,v",
    "s,h",
    "x,noise",
    "theta,h",
    "hidden,x",
    "x,external_h",
    "x,z",
    "hx,input",
    "input,noise",
    "x,input_state",
    "state_input,h",
    "a,b",
    "_x,_",
    "t,n",
    "input,u",
]


@pytest.mark.parametrize("names", STATE_FIRST)
def test_other_names_are_taken_state_first(names: str) -> None:
    function = eval(f"lambda {names}: right({names})", {"right": right})
    state, input = torch.rand(2, N).double()
    torch.testing.assert_close(as_map(function, state=STATE, input=INPUT).step(state, input), right(state, input))


@pytest.mark.parametrize(
    "function", [lambda *both: right(*both), torch.add, lambda x, h=None: x], ids=["any", "built in", "optional"]
)
def test_names_that_do_not_tell_or_that_are_not_called_are_no_contradiction(function) -> None:
    autonomous = function.__code__.co_argcount == 2 if hasattr(function, "__code__") else False
    assert as_map(function, state=STATE, input=None if autonomous else INPUT).state_size == N


def test_unequal_sizes_tell_where_names_mislead() -> None:
    """With names in PyTorch's order, a callable that can only take the state first is called so."""
    narrow = torch.zeros(2).double()
    misnamed = as_map(lambda x, h: torch.tanh(WEIGHT @ x + FEED[:, :2] @ h), state=STATE, input=narrow)
    state, input = torch.rand(N).double(), torch.rand(2).double()
    torch.testing.assert_close(misnamed.step(state, input), torch.tanh(WEIGHT @ state + FEED[:, :2] @ input))

    def cell(x: Tensor, h: Tensor) -> Tensor:
        return torch.tanh(WEIGHT @ h + FEED[:, :2] @ x)

    with pytest.raises(ValueError, match='order="input_first"'):
        as_map(cell, state=STATE, input=narrow)
    map = as_map(cell, state=STATE, input=narrow, order="input_first")
    torch.testing.assert_close(map.step(state, input), cell(input, state))
    with pytest.raises(ValueError, match=r"f\(input \(2,\), state \(4,\)\).*the input comes first, the state second"):
        as_map(lambda s, z: FEED[:, :2] @ z + s, state=STATE, input=narrow, order="input_first")


@pytest.mark.parametrize(
    ("obj", "options", "error", "message"),
    [
        (right, {"state": STATE, "input": INPUT, "order": "first"}, ValueError, "order must be .*got 'first'"),
        (right, {"state": STATE, "order": "input_first"}, TypeError, "Give an example input="),
        (nn.RNNCell(2, 3), {"order": "input_first"}, TypeError, "RNNCell knows its own state and input"),
    ],
)
def test_bad_orders_are_refused(obj: object, options: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        as_map(obj, **options)

"""What messages advise is tried: one step of a whole sequence, embedded tokens, states of layers, compiled modules."""

import re
import types

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor, nn
from torch.nn.functional import mse_loss

import lyapkit
from lyapkit import as_map, lyapunov_spectrum

T, B, M, N = 40, 2, 2, 3


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Recurrent(nn.Module):
    """A gated layer as its authors write it: (B, T, M) and a hidden state (B, N) to outputs and the last state."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.cell = Cell()

    def forward(self, x, h=None):
        h = x.new_zeros(x.shape[0], N) if h is None else h
        outputs = []
        for t in range(x.shape[1]):
            h = self.cell(h, x[:, t])
            outputs.append(h)
        return torch.stack(outputs, 1), h


class Cell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mixed = nn.Linear(M + N, 2 * N).double()

    def forward(self, h, s):
        gate, new = self.mixed(torch.cat((s, h), -1)).chunk(2, -1)
        return (1 - gate.sigmoid()) * h + gate.sigmoid() * new.tanh()


class Sequence(nn.Module):
    """Over time without a hidden state to pass: (T, B, M) to outputs."""

    def forward(self, x):
        return x.cumsum(0).tanh()


class Language(nn.Module):
    def __init__(self, recurrent: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(10, M)
        self.recurrent = recurrent
        self.head = nn.Linear(N, 10)

    def forward(self, tokens):
        return self.head(self.recurrent(self.words(tokens))[0])


STATE, INPUT = torch.zeros(N).double(), torch.zeros(M).double()
RECIPE = re.compile(r"as one step: (lambda h, s: .*?\.view\((?:N|\d)\))\. If it takes no hidden state, write its")

WHOLE = {
    "a layer": lambda: lyapunov_spectrum(Recurrent(), numbers(T, B, M)),
    "a layer as a callable": lambda: as_map(Recurrent(), state=STATE, input=INPUT),
    "a layer in PyTorch's order": lambda: as_map(lambda h, s: Recurrent()(s, h)[1], state=STATE, input=INPUT),
    "all that a layer returns": lambda: as_map(
        lambda h, s: Recurrent()(s.view(1, 1, M), h.view(1, N)), state=STATE, input=INPUT
    ),
    "a state with a batch": lambda: as_map(
        lambda h, s: Recurrent()(s.view(1, 1, M), h.view(1, N))[1], state=STATE, input=INPUT
    ),
    "without a state": lambda: lyapunov_spectrum(Sequence(), numbers(T, B, M)),
    "without a state, as a callable": lambda: as_map(Sequence(), state=STATE, input=INPUT),
    "a transformer": lambda: lyapunov_spectrum(nn.TransformerEncoderLayer(M, 1).double().eval(), numbers(T, B, M)),
    "a transformer as a callable": lambda: as_map(
        nn.TransformerEncoderLayer(M, 1).double().eval(), state=torch.zeros(M).double(), input=INPUT
    ),
    "attention": lambda: as_map(nn.MultiheadAttention(M, 1).double(), state=torch.zeros(M).double(), input=INPUT),
    "a convolution": lambda: lyapunov_spectrum(nn.Conv1d(M, N, 3), numbers(T, B, M)),
    "a language model": lambda: lyapunov_spectrum(Language(Recurrent()), torch.zeros(T, B).long()),
}


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
def test_whole_sequences_are_refused_with_the_recipe_for_one_step(name: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        WHOLE[name]()
    assert RECIPE.search(str(caught.value))


@pytest.mark.parametrize("name", ["a layer", "a layer as a callable"])
def test_the_recipe_for_one_step_works(name: str) -> None:
    net, inputs = Recurrent(), numbers(T, B, M)
    with pytest.raises((TypeError, ValueError)) as caught:
        WHOLE[name]()
    step = eval(RECIPE.search(str(caught.value))[1], {"net": net, "M": M, "N": N})
    map = as_map(step, state=STATE, input=INPUT)
    state = map.initial_state(B)
    for input in inputs:
        state = map.step(state, input)
    torch.testing.assert_close(state, net(inputs.transpose(0, 1))[1])
    found = lyapunov_spectrum(map, inputs)
    expected = lyapunov_spectrum(as_map(net.cell, state=STATE, input=INPUT), inputs)
    np.testing.assert_allclose(found.lyapunov_exponent, expected.lyapunov_exponent, rtol=1e-12)


def test_maps_that_work_hear_nothing_of_sequences() -> None:
    with pytest.raises(ValueError, match=r"raised IndexError: .* check the example state\.$"):
        as_map(lambda x: x[5], state=STATE)
    assert as_map(Cell(), state=STATE, input=INPUT).state_size == N


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (lambda x: x["a"], "TypeError"),
        (lambda x: x.foo, "AttributeError"),
        (lambda x: x * (1 / 0), "ZeroDivisionError"),
        (lambda x: {}[0], "KeyError"),
        (lambda x: torch.tanh(x, 3), "TypeError"),
        (lambda x: x @ torch.ones(7).double(), "RuntimeError"),
    ],
    ids=range(6),
)
def test_what_a_callable_raises_is_said_with_its_arguments(function, error: str) -> None:
    with pytest.raises(
        ValueError, match=rf"^f\(state \(3,\)\) raised {error}: .*; check the example state\.$"
    ) as caught:
        as_map(function, state=STATE)
    assert type(caught.value.__cause__).__name__ == error


TOKENS = {
    "a matrix": torch.zeros(T, B).long(),
    "vectors": torch.ones(T, B, M).long(),
    "small integers": torch.ones(T, B, M, dtype=torch.uint8),
    "an array": np.ones((T, B, M), int),
    "lists": [[1, 2], [3, 4]],
}


@pytest.mark.parametrize("name", TOKENS)
def test_tokens_are_to_be_embedded(name: str) -> None:
    gru, loss = nn.GRU(M, N).double(), (torch.zeros(B, 1).double(), mse_loss)
    readout = nn.Linear(N, 1).double()
    tokens = TOKENS[name]
    calls = [
        lambda: lyapunov_spectrum(gru, tokens),
        lambda: lyapkit.lyapunov_exponents(gru, tokens),
        lambda: lyapkit.variational_term(gru, tokens),
        lambda: lyapkit.covariant_vectors(gru, tokens),
        lambda: lyapkit.gradient_propagation(gru, tokens, *loss, readout=readout),
    ]
    if isinstance(tokens, Tensor):
        pair = (tokens, loss[0])
        calls += [
            lambda: lyapkit.hessian_spectrum(gru, pair, mse_loss, readout=readout),
            lambda: lyapkit.curvature_by_step(gru, pair, mse_loss, readout=readout),
        ]
    for call in calls:
        with pytest.raises(
            TypeError, match=r"inputs must be floating point, got torch.u?int.*; embed tokens first"
        ) as caught:
            call()
        assert ".to(" not in str(caught.value)


def test_tokens_as_an_example_are_to_be_embedded() -> None:
    with pytest.raises(
        TypeError, match=r"got torch.int64; embed tokens first, and give one embedded token as the example"
    ):
        as_map(lambda h, s: h + nn.Embedding(4, N).double()(s), state=STATE, input=torch.tensor(3))


def test_the_recipe_for_tokens_works() -> None:
    model, tokens = Language(nn.GRU(M, N)).double(), torch.arange(T * B).reshape(T, B) % 10
    with pytest.raises(TypeError) as caught:
        lyapunov_spectrum(model, tokens)
    message = str(caught.value)
    part, inputs = re.findall(r"model\.get_submodule\('\w+'\)(?:\(tokens\))?", message)
    names = {"model": model, "tokens": tokens}
    found = lyapunov_spectrum(eval(part, names), eval(inputs, names))
    expected = lyapunov_spectrum(model.recurrent, model.words(tokens).detach())
    xr.testing.assert_equal(found, expected)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (torch.ones(T, B, M).bool(), r"floating point, got torch.bool; convert with \.to\(torch.float64\)\.$"),
        (numbers(T, B, M).cdouble(), r"must be real, got torch.complex128; carry complex numbers as pairs"),
        ("some words", "got str; make tokens of a text and embed them"),
        (["some", "words"], "got list: make tokens of texts and embed them"),
        (np.array(["some", "words"]), "got ndarray: numbers are wanted, not <U5"),
        (np.array([None, 1.0]), "got ndarray: numbers are wanted, not object"),
        (np.array(["2026-01-01"], dtype="M8[D]"), "got ndarray: numbers are wanted, not datetime64"),
        ((row for row in numbers(T, M)), "got generator: take one sequence or batch out of it"),
        (torch.utils.data.DataLoader([1]), "got DataLoader: take one sequence or batch out of it"),
    ],
    ids=["bool", "complex", "text", "texts", "array of texts", "objects", "dates", "generator", "loader"],
)
def test_other_inputs_get_one_sentence(inputs, message: str) -> None:
    with pytest.raises(TypeError, match=message) as caught:
        lyapunov_spectrum(nn.GRU(M, N).double(), inputs)
    assert len(str(caught.value)) < 200


def flat(message: str, kind: str) -> str:
    recipes = {
        "h": r"(h\.movedim\(0, 1\)\.flatten\(1\)) for an RNN or a GRU",
        "hc": r"(torch\.stack\(\(h, c\), 1\)\S* \S* \S* \S*) for an LSTM",
        "single": r"(torch\.cat\(\(h\[0\], c\[0\]\), -1\)) for one of a single layer",
    }
    return re.search(recipes[kind], message)[1]


@pytest.mark.parametrize(
    ("layer", "kind"),
    [
        (nn.RNN(M, N), "h"),
        (nn.GRU(M, N), "h"),
        (nn.GRU(M, N, num_layers=2), "h"),
        (nn.LSTM(M, N), "hc"),
        (nn.LSTM(M, N), "single"),
        (nn.LSTM(M, N, num_layers=3), "hc"),
        (nn.LSTM(M, 5, proj_size=N), "single"),
    ],
    ids=["RNN", "GRU", "GRU of two layers", "LSTM", "LSTM as one", "LSTM of three layers", "LSTM with projection"],
)
def test_the_recipes_for_states_of_layers_work(layer: nn.Module, kind: str) -> None:
    layer = layer.double()
    h = numbers(layer.num_layers, B, N)
    c = numbers(layer.num_layers, B, layer.hidden_size) + 1
    inputs = numbers(5, B, M)
    with pytest.raises((TypeError, ValueError), match=r"initial_state must .* a flat state holds") as caught:
        lyapunov_spectrum(layer, inputs, initial_state=h if kind == "h" else (h, c))
    start = eval(flat(str(caught.value), kind), {"h": h, "c": c, "torch": torch})
    map = as_map(layer)
    state = start
    for input in inputs:
        state = map.step(state, input)
    outputs, _ = layer(inputs, h if kind == "h" else (h, c))
    torch.testing.assert_close(map.output(state), outputs[-1])
    assert lyapunov_spectrum(layer, inputs, initial_state=start, k=1, rng=0).sizes["trajectory"] == B


@pytest.mark.parametrize("state", [numbers(1, B, N), numbers(B, N)], ids=["with layers", "of one part"])
def test_states_of_layers_as_tensors_get_the_recipe_too(state: Tensor) -> None:
    with pytest.raises(ValueError, match=r"N = 6, got .*; a flat state holds what all layers keep"):
        lyapunov_spectrum(nn.LSTM(M, N).double(), numbers(5, B, M), initial_state=state)


def compiled(part):
    return torch.compile(part, backend="aot_eager")


@pytest.mark.slow
def test_compiled_modules_are_analysed_as_they_were_written() -> None:
    torch.manual_seed(0)
    gru, cell, readout = nn.GRU(M, N).double(), Cell(), nn.Linear(N, 1).double()
    inputs, targets = numbers(300, B, M), torch.zeros(B, 1).double()

    def results(make) -> list[xr.Dataset]:
        stepped = as_map(make(cell), state=STATE, input=INPUT)
        return [
            lyapunov_spectrum(make(gru), inputs),
            lyapunov_spectrum(stepped, inputs),
            lyapkit.gradient_propagation(make(gru), inputs[:20], targets, make(mse_loss), readout=make(readout), rng=0),
            lyapkit.hessian_spectrum(
                make(gru), (inputs[:9], targets), make(mse_loss), readout=make(readout), k=2, rng=0
            ),
            lyapkit.hessian_spectrum(make(readout), (numbers(4, N), numbers(4, 1)), mse_loss, k=2, rng=0),
        ]

    for found, expected in zip(results(compiled), results(lambda part: part), strict=True):
        xr.testing.assert_equal(found, expected)


@pytest.mark.slow
@pytest.mark.parametrize("check", [True, False])
def test_compiled_parts_of_a_model_are_named(check: bool) -> None:
    torch.manual_seed(0)
    first, last = nn.Linear(N, 4).double(), nn.Linear(4, 1).double()
    model, whole = nn.Sequential(compiled(first), nn.Tanh(), last), nn.Sequential(first, nn.Tanh(), last)
    batch = numbers(6, N), numbers(6, 1)

    def spectrum(model: nn.Module) -> xr.Dataset:
        return lyapkit.hessian_spectrum(model, batch, mse_loss, k=2, rng=0, check=check)

    with pytest.raises(ValueError, match=r"is compiled by torch.compile and has no second derivatives; call the anal"):
        spectrum(model)
    with torch.compiler.set_stance("force_eager"):
        found = spectrum(model)
    xr.testing.assert_equal(found, spectrum(whole))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.GRU(M, N).state_dict(), "weights alone are no network"),
        ("model.pt", "weights alone are no network"),
        (np.eye(2), r"For a linear map with the matrix A, write as_map\(lambda x: A @ x"),
        (torch.eye(2), "For a linear map with the matrix A"),
        (types.SimpleNamespace(model=nn.GRU(M, N)), r"SimpleNamespace is not a network, but has one. Pass its \.model"),
        (xr.Dataset(), "Dataset, which holds results. Pass the network itself"),
        (xr.DataTree(), "DataTree, which holds results. Pass the network itself"),
        (lyapkit.systems.henon(), r"ReferenceSystem is not a map, but has one. Pass its \.map"),
    ],
    ids=["weights", "a file", "an array", "a tensor", "a checkpoint", "a result", "a tree", "a system"],
)
def test_what_is_no_map_is_met_with_the_way_to_one(model, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        lyapunov_spectrum(model, steps=10)

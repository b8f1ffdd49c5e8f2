"""Whole models by the names of their parts: the same numbers as the parts taken by hand."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from lyapkit import analyze, as_map, gradient_propagation, hessian_spectrum, lyapunov_spectrum
from lyapkit.testing import check_map


class Language(nn.Module):
    """Tokens (B, T) to the logits of the next one, read at the last step."""

    def __init__(self, kind=nn.GRU, batch_first: bool = True, tied: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 4)
        self.rnn = kind(4, 4, num_layers=2, batch_first=batch_first)
        self.head = nn.Linear(4, 11)
        if tied:
            self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        emitted, _ = self.rnn(self.embedding(tokens))
        return self.head(emitted[:, -1] if self.rnn.batch_first else emitted[-1])


def language(**options):
    torch.manual_seed(0)
    model = Language(**options).double()
    tokens = torch.randint(11, (3, 12))
    return model, tokens if model.rnn.batch_first else tokens.T.contiguous(), torch.tensor([1, 4, 9])


def whole(model: nn.Module):
    return as_map(model, core="rnn", encoder="embedding", readout="head")


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM, nn.RNN])
@pytest.mark.parametrize("batch_first", [True, False])
def test_numbers_are_those_of_the_parts(kind, batch_first: bool) -> None:
    model, tokens, classes = language(kind=kind, batch_first=batch_first)
    map = whole(model)
    check_map(map)
    embedded = model.embedding(tokens).detach()
    assert torch.equal(map.encode(tokens), embedded)
    assert map.batch_first == batch_first
    found, expected = lyapunov_spectrum(map, map.encode(tokens)), lyapunov_spectrum(model.rnn, embedded)
    np.testing.assert_array_equal(found.lyapunov_exponent, expected.lyapunov_exponent)
    assert list(found.unit.values) == list(expected.unit.values)
    found = gradient_propagation(map, map.encode(tokens), classes, cross_entropy)
    expected = gradient_propagation(model.rnn, embedded, classes, cross_entropy, readout=model.head)
    np.testing.assert_array_equal(found.log_gradient_norm, expected.log_gradient_norm)


@pytest.mark.parametrize("batch_first", [True, False])
def test_curvature_is_that_of_the_model_itself(batch_first: bool) -> None:
    """With respect to the parameters of core and readout, under the same names."""
    model, tokens, classes = language(batch_first=batch_first)
    map = whole(model)
    found = hessian_spectrum(map, (map.encode(tokens), classes), cross_entropy, k=3, rng=0)
    own = hessian_spectrum(model, (tokens, classes), cross_entropy, k=3, parameters=["rnn.*", "head.*"], rng=0)
    np.testing.assert_allclose(found.eigenvalue, own.eigenvalue, rtol=1e-6)
    names = {name for name, _ in map.parameters()}
    assert names == {name for name, _ in model.named_parameters() if not name.startswith("embedding")}
    part = hessian_spectrum(map, (map.encode(tokens), classes), cross_entropy, k=1, parameters="head.*", rng=0)
    own = hessian_spectrum(model, (tokens, classes), cross_entropy, k=1, parameters="head.*", rng=0)
    np.testing.assert_allclose(part.eigenvalue, own.eigenvalue, rtol=1e-6)


def test_everything_at_once() -> None:
    model, tokens, classes = language()
    map = whole(model)
    tree = analyze(map, map.encode(tokens), classes, cross_entropy, hessian_k=2, rng=0)
    assert set(tree.children) == {"lyapunov_spectrum", "variational_term", "gradient_propagation", "hessian_spectrum"}
    alone = hessian_spectrum(model, (tokens, classes), cross_entropy, k=2, parameters=["rnn.*", "head.*"], rng=0)
    np.testing.assert_allclose(tree["hessian_spectrum"].eigenvalue, alone.eigenvalue, rtol=1e-6)


def test_tied_weights_are_left_out_of_the_parameters() -> None:
    """The embedding's share in a tied tensor is not in a step, so its curvature would be wrong; exponents are right."""
    model, tokens, classes = language(tied=True)
    map = whole(model)
    assert "head.weight" not in {name for name, _ in map.parameters()}
    by_function = as_map(model, core="rnn", encoder=lambda given: model.embedding(given), readout="head")
    by_function.encode(tokens)
    assert [name for name, _ in by_function.parameters()] == [name for name, _ in map.parameters()]
    with pytest.warns(UserWarning, match="left out"):
        found = hessian_spectrum(map, (map.encode(tokens), classes), cross_entropy, k=2, rng=0)
    own = hessian_spectrum(model, (tokens, classes), cross_entropy, k=2, parameters=["rnn.*", "head.bias"], rng=0)
    np.testing.assert_allclose(found.eigenvalue, own.eigenvalue, rtol=1e-6)
    gradient_propagation(map, map.encode(tokens), classes, cross_entropy)


def test_functions_before_and_after_an_lstm_of_any_model() -> None:
    torch.manual_seed(0)
    model = nn.ModuleDict({"before": nn.Linear(2, 3), "body": nn.ModuleDict({"lstm": nn.LSTM(3, 4)})}).double()
    model["head"] = nn.Linear(4, 1).double()
    inputs, targets = torch.randn(9, 2, 2).double(), torch.randn(2, 1).double()
    map = as_map(
        model, core="body.lstm", encoder=lambda s: torch.tanh(model["before"](s)), readout=lambda h: model["head"](h)
    )
    encoded = torch.tanh(model["before"](inputs)).detach()
    assert torch.equal(map.encode(inputs), encoded)
    assert not map.encode(inputs).requires_grad
    found = gradient_propagation(map, map.encode(inputs), targets, mse_loss)
    expected = gradient_propagation(model["body"]["lstm"], encoded, targets, mse_loss, readout=model["head"])
    np.testing.assert_array_equal(found.log_gradient_norm, expected.log_gradient_norm)
    assert {name.rpartition(".")[0] for name, _ in map.parameters()} == {"body.lstm"}
    assert as_map(model, core="body.lstm").readout is None
    assert torch.equal(as_map(model, core="body.lstm").encode(encoded), encoded)


def test_a_core_that_is_a_cell_of_the_users_own_takes_examples() -> None:
    class Cell(nn.Module):
        def forward(self, input, hidden):
            return torch.tanh(input + hidden / 2)

    model, zeros = nn.ModuleDict({"cell": Cell()}), torch.zeros(3).double()
    map = as_map(model, core="cell", state=zeros, input=zeros, order="input_first")
    assert map.state_size == 3
    check_map(map, lambda state, input: torch.tanh(input + state / 2))


def test_dropout_of_the_encoder_is_refused() -> None:
    model, tokens, _ = language()
    model.noisy = nn.Sequential(model.embedding, nn.Dropout(0.5))
    map = as_map(model, core="rnn", encoder="noisy")
    with pytest.raises(ValueError, match=r"Dropout \(1\) is in training mode.*call \.eval\(\) first"):
        map.encode(tokens)
    model.eval()
    assert torch.equal(map.encode(tokens), model.embedding(tokens))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"core": "gru"}, ValueError, "core='gru' is no part of Language; it has embedding, rnn, head"),
        ({"core": "rnn", "encoder": "embed"}, ValueError, "encoder='embed' is no part of Language"),
        ({"core": "rnn", "readout": 3}, TypeError, "readout must be the name of a part of the model, or a callable"),
        ({"core": 3}, TypeError, "core= is the name of a part of a model, got core=3"),
        ({"encoder": "embedding"}, TypeError, "encoder= and readout= belong to a whole model"),
        ({"core": "head"}, TypeError, "a callable Linear needs an example state"),
    ],
)
def test_bad_parts_are_refused(arguments: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        as_map(language()[0], **arguments)


def test_inputs_that_do_not_fit_the_core_are_refused() -> None:
    model, tokens, _ = language()
    with pytest.raises(TypeError, match=r"without encoder=, inputs must be a tensor of floating.*got torch\.int64"):
        as_map(model, core="rnn").encode(tokens)
    with pytest.raises(TypeError, match="the encoder must return a tensor of floating-point numbers, got list"):
        as_map(model, core="rnn", encoder=lambda tokens: [1]).encode(tokens)
    with pytest.raises(ValueError, match=r"rnn reads inputs of shape \(\.\.\., 4\).*the encoder made \(3, 12, 11\)"):
        as_map(model, core="rnn", encoder=lambda tokens: nn.functional.one_hot(tokens, 11).double()).encode(tokens)
    with pytest.raises(TypeError, match=r"Its recurrent part is rnn: name it, as_map\(model, core='rnn'\)"):
        as_map(model)

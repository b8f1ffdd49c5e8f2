"""Whole models by the names of their parts: the same numbers as the parts taken by hand."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

import lyapkit
from lyapkit import analyze, as_map, gradient_propagation, hessian_spectrum, lyapunov_spectrum
from lyapkit.adapters import register_adapter
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
    found, expected = lyapunov_spectrum(map, tokens), lyapunov_spectrum(model.rnn, embedded)
    np.testing.assert_array_equal(found.lyapunov_exponent, expected.lyapunov_exponent)
    assert list(found.unit.values) == list(expected.unit.values)
    found = gradient_propagation(map, tokens, classes, cross_entropy)
    expected = gradient_propagation(model.rnn, embedded, classes, cross_entropy, readout=model.head)
    np.testing.assert_array_equal(found.log_gradient_norm, expected.log_gradient_norm)


@pytest.mark.parametrize("batch_first", [True, False])
def test_curvature_is_that_of_the_model_itself(batch_first: bool) -> None:
    """With respect to the parameters of core and readout, under the same names."""
    model, tokens, classes = language(batch_first=batch_first)
    map = whole(model)
    found = hessian_spectrum(map, (tokens, classes), cross_entropy, k=3, rng=0)
    own = hessian_spectrum(model, (tokens, classes), cross_entropy, k=3, parameters=["rnn.*", "head.*"], rng=0)
    np.testing.assert_allclose(found.eigenvalue, own.eigenvalue, rtol=1e-6)
    names = {name for name, _ in map.parameters()}
    assert names == {name for name, _ in model.named_parameters() if not name.startswith("embedding")}
    part = hessian_spectrum(map, (tokens, classes), cross_entropy, k=1, parameters="head.*", rng=0)
    own = hessian_spectrum(model, (tokens, classes), cross_entropy, k=1, parameters="head.*", rng=0)
    np.testing.assert_allclose(part.eigenvalue, own.eigenvalue, rtol=1e-6)


def test_everything_at_once() -> None:
    model, tokens, classes = language()
    map = whole(model)
    tree = analyze(map, tokens, classes, cross_entropy, hessian_k=2, rng=0)
    assert set(tree.children) == {"lyapunov_spectrum", "variational_term", "gradient_propagation", "hessian_spectrum"}
    alone = hessian_spectrum(model, (tokens, classes), cross_entropy, k=2, parameters=["rnn.*", "head.*"], rng=0)
    np.testing.assert_allclose(tree["hessian_spectrum"].eigenvalue, alone.eigenvalue, rtol=1e-6)


def test_tied_weights_are_left_out_of_the_parameters() -> None:
    """The embedding's share in a tied tensor is not in a step, so its curvature would be wrong; exponents are right."""
    model, tokens, classes = language(tied=True)
    map = whole(model)
    assert "head.weight" not in {name for name, _ in map.parameters()}
    with pytest.warns(UserWarning, match="leaves them out"):
        found = hessian_spectrum(map, (tokens, classes), cross_entropy, k=2, rng=0)
    own = hessian_spectrum(model, (tokens, classes), cross_entropy, k=2, parameters=["rnn.*", "head.bias"], rng=0)
    np.testing.assert_allclose(found.eigenvalue, own.eigenvalue, rtol=1e-6)
    gradient_propagation(map, tokens, classes, cross_entropy)


@pytest.mark.parametrize("analysis", ["hessian_spectrum", "curvature_by_step"])
def test_what_a_function_shares_is_known_in_the_first_call(analysis: str) -> None:
    """A function as encoder shows which modules it calls only when it is called."""
    model, tokens, classes = language(tied=True)

    def by_function() -> lyapkit.RecurrentMap:
        return as_map(model, core="rnn", encoder=lambda given: model.embedding(given), readout="head")

    own = hessian_spectrum(model, (tokens, classes), cross_entropy, k=2, parameters=["rnn.*", "head.bias"], rng=0)
    with pytest.warns(UserWarning, match="leaves them out"):
        found = getattr(lyapkit, analysis)(by_function(), (tokens, classes), cross_entropy, k=2, rng=0)
    np.testing.assert_allclose(found.eigenvalue, own.eigenvalue, rtol=1e-6)
    parts = gradient_propagation(by_function(), tokens, classes, cross_entropy, parameter_gradients=True)
    assert {name.rpartition(".")[2] for name in parts.parameter_tensor.values if "head" in name} == {"bias"}


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
    found = gradient_propagation(map, inputs, targets, mse_loss)
    expected = gradient_propagation(model["body"]["lstm"], encoded, targets, mse_loss, readout=model["head"])
    np.testing.assert_array_equal(found.log_gradient_norm, expected.log_gradient_norm)
    assert {name.rpartition(".")[0] for name, _ in map.parameters()} == {"body.lstm"}
    assert as_map(model, core="body.lstm").readout is None
    assert as_map(model, core="body.lstm").encode(encoded) is encoded


def rows(ds) -> dict[str, np.ndarray]:
    return {name: value.values for name, value in ds.data_vars.items()}


EVERY_ANALYSIS = {
    "lyapunov_spectrum": lambda map, x, **more: rows(lyapunov_spectrum(map, x, rng=0, **more)),
    "variational_term": lambda map, x, **more: rows(lyapkit.variational_term(map, x, **more)),
    "covariant_vectors": lambda map, x, **more: rows(lyapkit.covariant_vectors(map, x, rng=0, **more)),
    "states": lambda map, x, **more: rows(lyapkit.states(map, x, **more)),
    "jacobians": lambda map, x, **more: rows(lyapkit.jacobians(map, x, towards_input=True, **more)),
    "lyapunov_exponents": lambda map, x, **more: {"exponents": lyapkit.lyapunov_exponents(map, x, **more).detach()},
    "gradient_propagation": lambda map, x, **more: rows(
        gradient_propagation(map, x, torch.tensor([1, 4, 9]), cross_entropy, rng=0, **more)
    ),
    "curvature_by_step": lambda map, x, **more: rows(
        lyapkit.curvature_by_step(map, (x, torch.tensor([1, 4, 9])), cross_entropy, k=2, rng=0, **more)
    ),
    "spectral_density": lambda map, x, **more: rows(
        lyapkit.spectral_density(map, (x, torch.tensor([1, 4, 9])), cross_entropy, probes=2, order=6, rng=0, **more)
    ),
}


WITH_A_LOSS = ("gradient_propagation", "curvature_by_step", "spectral_density")


CURVATURE = ("curvature_by_step", "spectral_density")
WAYS = [
    (analysis, form)
    for analysis in EVERY_ANALYSIS
    for form in ("tokens", "array", "lengths", "packed", "turned", "encoded")
    if analysis not in CURVATURE or form in ("tokens", "packed")  # which take long, and tensors only
]


@pytest.mark.parametrize(("analysis", "form"), WAYS)
def test_every_analysis_takes_the_inputs_of_the_model(analysis: str, form: str) -> None:
    """The numbers are those of the core under inputs that were encoded by hand."""
    model, tokens, _ = language(kind=nn.LSTM)
    map, run = whole(model), EVERY_ANALYSIS[analysis]
    by_hand, more, given = model.embedding(tokens).detach(), {}, tokens
    if form == "array":
        given = tokens.numpy()
    elif form in ("lengths", "packed"):
        more = {"lengths": [12, 5, 9]}
        if form == "packed":
            given = nn.utils.rnn.pack_padded_sequence(tokens, [12, 5, 9], batch_first=True, enforce_sorted=False)
    elif form == "turned":
        given, by_hand, more = tokens.T, by_hand.transpose(0, 1), {"batch_first": False}
    elif form == "encoded":
        given = map.encode(tokens)[:, :]
    found = run(map, given, **({} if form == "packed" else more))
    expected = run(model.rnn, by_hand, **more, **({"readout": model.head} if analysis in WITH_A_LOSS else {}))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        rtol = 1e-5 if analysis == "curvature_by_step" else 1e-9  # its eigenvectors have converged to a tolerance
        np.testing.assert_allclose(found[name], value, rtol=rtol, atol=rtol / 1000, err_msg=name)


class Twice(nn.Module):
    """An encoder that makes inputs of the same size: to encode twice would go unnoticed."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.rnn, self.head = nn.Linear(3, 3), nn.RNN(3, 4), nn.Linear(4, 1)


def test_nothing_is_encoded_twice_and_nothing_is_left_unencoded() -> None:
    torch.manual_seed(0)
    model, x, y = Twice().double(), torch.randn(9, 2, 3).double(), torch.zeros(2, 1).double()
    map = as_map(model, core="rnn", encoder="before", readout="head")
    expected = lyapkit.states(model.rnn, model.before(x).detach()).state
    for given in (x, x.numpy(), map.encode(x), map.encode(map.encode(x)), map.encode(x)[:, [0, 1]]):
        np.testing.assert_array_equal(lyapkit.states(map, given).state, expected)
    parts = torch.cat([map.encode(x[:, :1]), map.encode(x[:, 1:])], dim=1)
    np.testing.assert_array_equal(lyapkit.states(map, parts).state, expected)
    tree = analyze(map, x, y, mse_loss, hessian_k=2, rng=0)
    parts_tree = analyze(model.rnn, model.before(x).detach(), y, mse_loss, readout=model.head, hessian_k=2, rng=0)
    for name in tree.children:
        for variable in ("lyapunov_exponent", "running_exponent", "gradient_norm", "eigenvalue"):
            if variable in tree[name]:
                np.testing.assert_allclose(tree[name][variable], parts_tree[name][variable], rtol=1e-9)
    assert type(map.encode(x)[0]) is type(map.encode(x))


def test_a_tree_follows_some_of_the_tokens_in_either_layout() -> None:
    for batch_first in (True, False):
        model, tokens, classes = language(batch_first=batch_first)
        tree = analyze(whole(model), tokens, classes, cross_entropy, trajectories=2, hessian_k=1, rng=0)
        few = tokens[:2] if batch_first else tokens[:, :2]
        expected = lyapunov_spectrum(model.rnn, model.embedding(few).detach())
        np.testing.assert_array_equal(tree["lyapunov_spectrum"].lyapunov_exponent, expected.lyapunov_exponent)
        assert tree["gradient_propagation"].sizes["trajectory"] == 3


def test_given_tokens_are_encoded_where_they_are_mixed_into_a_closed_loop() -> None:
    model, tokens, _ = language()
    loop = {"feedback": lambda emitted: torch.tanh(emitted), "teacher_forcing": 0.3}
    found = lyapunov_spectrum(whole(model), tokens, **loop)
    expected = lyapunov_spectrum(model.rnn, model.embedding(tokens).detach(), **loop)
    np.testing.assert_array_equal(found.lyapunov_exponent, expected.lyapunov_exponent)


def test_points_are_found_at_a_token() -> None:
    model, _, _ = language(kind=nn.RNN)
    expected = lyapkit.fixed_points(model.rnn, model.embedding.weight[7].detach(), rng=0, n_starts=32)
    map = whole(model)
    one = map.encode(torch.tensor([[7]]))
    for given in (torch.tensor(7), 7, torch.tensor([7]), one, one[0], one[0, 0]):
        found = lyapkit.fixed_points(map, given, rng=0, n_starts=32)
        np.testing.assert_array_equal(found.state, expected.state)
    with pytest.raises(ValueError, match=r"input must be one input of shape \(4,\), got \(1, 2, 4\)"):
        lyapkit.fixed_points(map, torch.tensor([7, 8]), rng=0)


def test_a_tracker_encodes_with_what_the_encoder_has_learnt() -> None:
    model, tokens, _ = language()
    tracker = lyapkit.Tracker(whole(model), tokens)
    tracker(0)
    with torch.no_grad():
        model.embedding.weight.mul_(3)
    tracker(1)
    expected = lyapunov_spectrum(model.rnn, model.embedding(tokens).detach()).lyapunov_exponent
    np.testing.assert_array_equal(tracker.result["lyapunov_spectrum"].lyapunov_exponent[1], expected)


class Registered(Language):
    """A model with an adapter of its own whose map encodes."""


def test_a_third_partys_map_that_encodes_is_asked_once() -> None:
    register_adapter(Registered, whole)
    torch.manual_seed(0)
    model = Registered().double()
    _, tokens, classes = language()
    tree = analyze(model, tokens, classes, cross_entropy, hessian_k=2, parameters=["rnn.*", "head.*"], rng=0)
    expected = lyapunov_spectrum(model.rnn, model.embedding(tokens).detach())
    np.testing.assert_array_equal(tree["lyapunov_spectrum"].lyapunov_exponent, expected.lyapunov_exponent)
    own = hessian_spectrum(model, (tokens, classes), cross_entropy, k=2, parameters=["rnn.*", "head.*"], rng=0)
    np.testing.assert_allclose(tree["hessian_spectrum"].eigenvalue, own.eigenvalue, rtol=1e-6)


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
    with pytest.raises(
        ValueError, match=r"rnn reads inputs of shape \(\.\.\., 4\).*the encoder returned \(3, 12, 11\)"
    ):
        as_map(model, core="rnn", encoder=lambda tokens: nn.functional.one_hot(tokens, 11).double()).encode(tokens)
    with pytest.raises(TypeError, match=r"Its recurrent part is rnn: name it, as_map\(model, core='rnn'\)"):
        as_map(model)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.uint8])
def test_tokens_of_another_type_are_refused_with_the_remedy(dtype: torch.dtype) -> None:
    model, tokens, _ = language()
    with pytest.raises(TypeError, match=rf"the encoder reads tokens, which are integers, got {dtype}; .* \.long\(\)\."):
        lyapunov_spectrum(whole(model), tokens.to(dtype))


def test_other_errors_of_an_encoder_come_through() -> None:
    def failing(tokens: Tensor) -> Tensor:
        raise RuntimeError("an error of its own")

    model, tokens, _ = language()
    with pytest.raises(RuntimeError, match=r"^an error of its own$"):
        lyapunov_spectrum(as_map(model, core="rnn", encoder=failing, readout="head"), tokens)


def test_a_hessian_of_named_parts_leaves_the_encoder_out() -> None:
    """Its parameters count if the model itself is given."""
    model, tokens, targets = language()
    options = dict(k=3, rng=0)
    named = hessian_spectrum(whole(model), (tokens, targets), cross_entropy, **options).eigenvalue
    chosen = hessian_spectrum(
        model, (tokens, targets), cross_entropy, parameters=["rnn.*", "head.*"], **options
    ).eigenvalue
    everything = hessian_spectrum(model, (tokens, targets), cross_entropy, **options).eigenvalue
    assert np.allclose(named, chosen, rtol=1e-6)
    assert everything[0] > 1.001 * named[0]

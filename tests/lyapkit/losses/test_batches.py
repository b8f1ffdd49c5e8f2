"""What counts as a batch: one definition for all functions of curvature."""

import itertools
from collections import UserDict, namedtuple

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_sequence, pad_packed_sequence
from torch.utils.data import ConcatDataset, DataLoader, IterableDataset, Subset, TensorDataset

import lyapkit
from lyapkit.losses.batches import batch_pairs

X, Y, CLASSES = torch.randn(5, 2).double(), torch.randn(5, 3).double(), torch.arange(5) % 3
LENGTHS = torch.tensor([1, 2, 3, 2, 1])
Named = namedtuple("Named", "inputs targets")
PACKED = pack_sequence([torch.ones(3, 2).double(), torch.ones(2, 2).double()])

ONE = {
    "tuple": (X, Y),
    "list, as a loader yields it": [X, Y],
    "named tuple": Named(X, Y),
    "named tuple of tuples": Named((X, LENGTHS), (X, LENGTHS)),
    "wrapped": [(X, Y)],
    "wrapped in a tuple": ((X, Y),),
    "wrapped list": [[X, Y]],
    "wrapped tuple inputs": [((X, LENGTHS), (Y, LENGTHS))],
    "tuple inputs": ((X, LENGTHS), Y),
    "list inputs": ([X, X], Y),
    "list of list inputs": [[X, X], Y],
    "three inputs": ((X, X, LENGTHS), Y),
    "three inputs, three targets": ((X, X, LENGTHS), (Y, Y, Y)),
    "three inputs, two targets": ((X, X, LENGTHS), (Y, Y)),
    "two inputs, two targets of other dims": ((X, X), (CLASSES, CLASSES)),
    "two inputs, two targets of another dtype": ((X, X), (Y.float(), Y.float())),
    "named inputs": (Named(X, LENGTHS), Y),
    "named inputs, tuple targets": (Named(X, LENGTHS), (X, LENGTHS)),
    "mapping inputs": ({"x": X}, Y),
    "mapping inputs and targets": ({"x": X}, {"y": Y}),
    "UserDict inputs": (UserDict(x=X), Y),
    "packed inputs": (PACKED, Y),
    "packed inputs and targets": (PACKED, PACKED),
    "tuple targets": (X, (Y, LENGTHS)),
    "no targets": (X, None),
    "tuple inputs, no targets": ((X, LENGTHS), None),
    "generator of one": ((X, Y) for _ in range(1)),
    "loader of one": DataLoader(TensorDataset(X, CLASSES), batch_size=8),
}
MANY = {
    "list": ([(X, Y), (X[:2], Y[:2])], 2),
    "list of lists": ([[X, Y], [X[:2], Y[:2]]], 2),
    "list of a tuple and a list": ([(X, Y), [X[:2], Y[:2]]], 2),
    "list of named tuples": ([Named(X, Y), Named(X[:2], Y[:2])], 2),
    "tuple of three": (((X, Y), (X, Y), (X, Y)), 3),
    "list with tuple inputs": ([((X, LENGTHS), Y), ((X[:2], LENGTHS[:2]), Y[:2])], 2),
    "list with mapping inputs": ([({"x": X}, Y), (UserDict(x=X[:2]), Y[:2])], 2),
    "list with packed inputs": ([(PACKED, Y), (PACKED, Y)], 2),
    "list without targets": ([(X, None), (X[:2], None)], 2),
    "generator": (((X, Y) for _ in range(2)), 2),
    "zip": (zip(X.split(2), Y.split(2), strict=True), 3),
    "map": (map(tuple, [(X, Y)] * 4), 4),
    "loader": (DataLoader(TensorDataset(X, Y), batch_size=2), 3),
    "loader of tuple inputs": (DataLoader([((x, 1), y) for x, y in zip(X, Y, strict=True)], batch_size=3), 2),
    "loader of batches": (DataLoader([(X, Y), (X, Y)], batch_size=None), 2),
}


@pytest.mark.parametrize("name", ONE)
def test_one_batch_is_read_as_one(name: str) -> None:
    (pair,) = batch_pairs(ONE[name])
    assert type(pair) is tuple
    assert len(pair) == 2
    given = ONE[name]
    if isinstance(given, tuple | list):
        given = given[0] if len(given) == 1 else given
        assert pair[0] is given[0]
        assert pair[1] is given[1]


@pytest.mark.parametrize("name", MANY)
def test_several_batches_are_read_as_several(name: str) -> None:
    batches, count = MANY[name]
    pairs = batch_pairs(batches)
    assert len(pairs) == count
    assert all(type(pair) is tuple and len(pair) == 2 for pair in pairs)


class Stream(IterableDataset):
    def __iter__(self):
        return iter([(X, Y), (X, Y)])


def test_an_iterable_dataset_of_batches_is_read() -> None:
    assert len(batch_pairs(Stream())) == 2
    assert len(batch_pairs(DataLoader(Stream(), batch_size=None))) == 2
    assert len(batch_pairs(DataLoader(Stream(), batch_size=1, drop_last=True))) == 2


WRAP = (
    r"could be one batch, whose inputs and targets have two parts, or two batches\. For one batch, write \[\(inputs, "
)
REFUSED = {
    "tuple of two pairs": (((X, Y), (X, Y)), ValueError, "a tuple of two pairs " + WRAP),
    "two views and two targets": (((X, X), (X, X)), ValueError, WRAP),
    "two views and two targets as lists": (([X, X], [X, X]), ValueError, WRAP),
    "sequences with lengths, both": (((X, LENGTHS), (Y, LENGTHS)), ValueError, WRAP),
    "a list of two inputs and two targets": (
        [[X, X], [CLASSES, CLASSES]],
        ValueError,
        "a list of two pairs " + WRAP,
    ),
    "a list of named and plain": ([Named(X, Y), (X, Y)], ValueError, WRAP),
    "mappings": ([{"x": X, "y": Y}, {"x": X, "y": Y}], ValueError, r"two mappings with the same keys \['x', 'y'\]"),
    "mapping": ({"x": X, "y": Y}, TypeError, r'got dict; name the parts, as in \[\(batch\["inputs"\], batch'),
    "list of mappings": ([{"x": X, "y": Y}] * 3, TypeError, r"got dict in it; name the parts"),
    "triples": (
        [(X, Y, LENGTHS)] * 2,
        TypeError,
        r"got tuple of 3 in it; join what the model takes, .*for first, second",
    ),
    "loader of triples": (
        DataLoader(TensorDataset(X, Y, LENGTHS), batch_size=2),
        TypeError,
        "got list of 3 in it; join",
    ),
    "loader of inputs alone": (DataLoader(TensorDataset(X), batch_size=2), TypeError, r"got list of 1 in it; .*None\)"),
    "three tensors": ((X, Y, LENGTHS), TypeError, r"got Tensor in it; for one batch, write \(inputs, targets\)"),
    "tensor": (torch.ones(2, 2), TypeError, "an iterable of pairs, got Tensor; for one batch"),
    "array": (np.ones((2, 2)), TypeError, "got ndarray"),
    "text": ("ab", TypeError, "got str"),
    "number": (3, TypeError, "iterable of pairs, got int"),
    "nothing": (None, TypeError, "iterable of pairs, got NoneType"),
    "dataset": (TensorDataset(X, Y), TypeError, r"the dataset TensorDataset, whose items are samples; .*DataLoader"),
    "subset": (Subset(TensorDataset(X, Y), [0]), TypeError, "the dataset Subset"),
    "datasets": (ConcatDataset([TensorDataset(X, Y)]), TypeError, "the dataset ConcatDataset"),
    "without end": (itertools.cycle([(X, Y)]), TypeError, "that ends, got itertools.cycle; pass what it repeats"),
    "no batches": ([], ValueError, "there are no batches; a loader can be read once only"),
    "empty tuple": ((), ValueError, "there are no batches"),
    "empty batch": (
        (X[:0], Y[:0]),
        ValueError,
        r"batch 1 of 1 is empty, with a tensor of shape \(0, 3\); leave it out",
    ),
    "empty last batch": ([(X, Y)] * 2 + [(X[:0], Y[:0])], ValueError, "batch 3 of 3 is empty"),
    "empty inputs, no targets": ([(X, None), (X[:0], None)], ValueError, "batch 2 of 2 is empty"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_batch_or_could_be_one_or_two_is_refused(name: str) -> None:
    batches, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        batch_pairs(batches)


def test_a_generator_is_used_up() -> None:
    batches = ((X, Y) for _ in range(2))
    assert len(batch_pairs(batches)) == 2
    with pytest.raises(ValueError, match="a loader can be read once only, so pass a list"):
        batch_pairs(batches)


# -- in the functions -------------------------------------------------------------------------------------------------


class Views(nn.Module):
    """The mean over several views of the same samples, given as one tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, views):
        return torch.stack([self.layer(view) for view in views]).mean(0)


class Masked(nn.Module):
    """The output of the last step that counts, from sequences (T, B, 2) and their lengths, given as one tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.RNN(2, 3), nn.Linear(3, 1)

    def forward(self, pair):
        inputs, lengths = pair
        emitted, _ = self.layer(inputs)
        return self.head(emitted[lengths - 1, torch.arange(len(lengths))])


class Packed(nn.Module):
    """A layer that takes a packed sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.RNN(2, 3)

    def forward(self, packed):
        emitted, lengths = pad_packed_sequence(packed)
        return self.layer(emitted)[0][lengths - 1, torch.arange(len(lengths))]


def two_targets(outputs, targets):
    return F.mse_loss(outputs, targets[0]) + F.mse_loss(outputs, targets[1])


def dense(model: nn.Module, value) -> torch.Tensor:
    """The Hessian of a value by `torch.autograd`."""
    parameters = list(model.parameters())
    slopes = torch.cat([part.reshape(-1) for part in torch.autograd.grad(value, parameters, create_graph=True)])
    rows = [torch.autograd.grad(slope, parameters, retain_graph=True, materialize_grads=True) for slope in slopes]
    return torch.stack([torch.cat([part.reshape(-1) for part in row]) for row in rows])


def matrix(model: nn.Module, batches, loss, **options) -> torch.Tensor:
    operator = lyapkit.curvature_operator(model, batches, loss, **options)
    return torch.from_numpy(operator @ np.eye(operator.shape[0]))


def test_tuple_inputs_and_tuple_targets_are_one_batch_when_wrapped() -> None:
    torch.manual_seed(0)
    model = Views().double()
    views, targets = torch.randn(2, 4, 2).double().unbind(), torch.randn(2, 4, 2).double().unbind()
    with pytest.raises(ValueError, match="For one batch, write"):
        lyapkit.hessian_spectrum(model, (views, targets), two_targets, k=3)
    expected = dense(model, two_targets(model(views), targets))
    values = torch.linalg.eigvalsh(expected).flip(0)
    ds = lyapkit.hessian_spectrum(model, [(views, targets)], two_targets, k=3)
    np.testing.assert_allclose(ds.eigenvalue, values[:3], rtol=1e-9)
    torch.testing.assert_close(matrix(model, [(views, targets)], two_targets), expected)


@pytest.mark.parametrize("wrap", [tuple, list, lambda pair: [pair]])
def test_inputs_with_lengths_are_read_by_models_that_take_a_tuple(wrap) -> None:
    torch.manual_seed(0)
    model = Masked().double()
    inputs, targets = torch.randn(3, 5, 2).double(), torch.randn(5, 1).double()
    expected = dense(model, F.mse_loss(model((inputs, LENGTHS)), targets))
    torch.testing.assert_close(matrix(model, wrap(((inputs, LENGTHS), targets)), F.mse_loss), expected)


def test_packed_inputs_are_one_batch() -> None:
    torch.manual_seed(0)
    model, targets = Packed().double(), torch.randn(2, 3).double()
    expected = dense(model, F.mse_loss(model(PACKED), targets))
    torch.testing.assert_close(matrix(model, (PACKED, targets), F.mse_loss), expected)
    torch.testing.assert_close(matrix(model, [(PACKED, targets)] * 2, F.mse_loss), expected)


@pytest.mark.parametrize(
    "analysis", ["hessian_spectrum", "spectral_density", "curvature_operator", "curvature_by_step"]
)
def test_all_functions_share_the_definition(analysis: str) -> None:
    layer, head = nn.GRU(1, 2).double(), nn.Linear(2, 1).double()
    pair = torch.randn(4, 3, 1).double(), torch.randn(3, 1).double()
    function, options = getattr(lyapkit, analysis), {"readout": head}
    with pytest.raises(ValueError, match="For one batch, write"):
        function(layer, (pair, pair), F.mse_loss, **options)
    with pytest.raises(TypeError, match="the dataset TensorDataset"):
        function(layer, TensorDataset(torch.ones(3, 4, 1), torch.ones(3, 1)), F.mse_loss, **options)
    options |= {} if analysis == "curvature_operator" else {"rng": 0}
    options |= {"k": 2} if analysis in ("hessian_spectrum", "curvature_by_step") else {}
    found = [
        function(layer, batches, F.mse_loss, **options) for batches in (pair, list(pair), [pair, pair], iter([pair]))
    ]
    if analysis == "curvature_operator":
        found = [operator @ np.eye(operator.shape[0]) for operator in found]
        for other in found[1:]:
            np.testing.assert_allclose(other, found[0], rtol=1e-9, atol=1e-12)
        return
    name = {"spectral_density": "density"}.get(analysis, "eigenvalue")
    for other in found[1:]:
        np.testing.assert_allclose(other[name], found[0][name], rtol=1e-6)


def test_batches_of_a_generator_may_differ_in_kind() -> None:
    """Two pairs that are told from one batch by the generator they come from are not doubted later."""
    layer, head = nn.RNN(1, 2).double(), nn.Linear(2, 1).double()
    inputs, targets = torch.randn(4, 3, 1).double(), torch.zeros(3, 1).double()
    batches = [(inputs, targets), (inputs, targets.long())]
    found = [
        lyapkit.curvature_by_step(layer, each, lambda o, t: ((o - t) ** 2).mean(), readout=head, k=1, rng=0)
        for each in (iter(batches), (inputs, targets))
    ]
    np.testing.assert_allclose(found[0].curvature, found[1].curvature, rtol=1e-9)


def test_a_model_that_takes_its_inputs_one_by_one_is_told_so() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 1)

        def forward(self, inputs, lengths):
            return self.layer(inputs) / lengths[:, None]

    expected = r"cannot take inputs that are a tuple \(.*lengths.*\)\. They are passed as one argument"
    with pytest.raises(TypeError, match=expected):
        lyapkit.hessian_spectrum(Two().double(), ((X, LENGTHS), Y[:, :1]), F.mse_loss, k=1)

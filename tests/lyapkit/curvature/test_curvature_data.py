"""What a curvature may leave out or mix up without a word: hidden parameters, tied ones, batches, layouts, messages."""

import warnings

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import mse_loss

import lyapkit

DOUBLE = torch.float64
STEPS = torch.randn(5, 6, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
POINTS = torch.randn(12, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(1))
VALUES = torch.randn(12, 2, dtype=DOUBLE, generator=torch.Generator().manual_seed(2))
TWO_BATCHES = [(POINTS[:5], VALUES[:5]), (POINTS[5:], VALUES[5:])]


@pytest.fixture(autouse=True)
def _same_weights() -> None:
    torch.manual_seed(0)


def dense(value: torch.Tensor, parameters) -> torch.Tensor:
    """The Hessian of a value with respect to parameters, row by row, by `torch.autograd` alone."""
    parameters = list(parameters)
    slope = torch.cat([part.reshape(-1) for part in torch.autograd.grad(value, parameters, create_graph=True)])
    rows = [torch.autograd.grad(entry, parameters, retain_graph=True, materialize_grads=True) for entry in slope]
    return torch.stack([torch.cat([part.reshape(-1) for part in row]) for row in rows])


def largest(matrix: torch.Tensor, k: int) -> np.ndarray:
    values = torch.linalg.eigvalsh((matrix + matrix.T) / 2).numpy()
    return values[np.argsort(-abs(values))][:k]


# -- parameters that a function hides ---------------------------------------------------------------------------------


def test_parameters_that_a_readout_hides_are_not_left_out_without_a_word() -> None:
    layer, readout = nn.GRU(3, 4).double(), nn.Linear(4, 2).double()
    batch = STEPS, VALUES[:6]
    hidden = (
        r"depends on 2 more tensors that require gradients.*the largest of shape \(2, 4\).*give readout= as a module"
    )
    for name in ("hessian_spectrum", "curvature_by_step"):
        with pytest.warns(UserWarning, match=hidden):
            getattr(lyapkit, name)(layer, batch, mse_loss, k=2, readout=lambda h: readout(h), rng=0)
        lyapkit.hessian_spectrum(layer, batch, mse_loss, k=2, readout=readout, rng=0)
        lyapkit.hessian_spectrum(layer, batch, mse_loss, k=2, readout=lambda h: readout(h), parameters="*", rng=0)
    given = lyapkit.hessian_spectrum(layer, batch, mse_loss, k=2, parameters="*", readout=lambda h: readout(h), rng=0,
                                     eigenvectors=True)  # fmt: skip
    with pytest.warns(UserWarning, match=hidden):
        lyapkit.curvature_by_step(layer, batch, mse_loss, k=2, readout=lambda h: readout(h), eigenvectors=given)
    readout.requires_grad_(False)
    lyapkit.hessian_spectrum(layer, batch, mse_loss, k=2, readout=lambda h: readout(h), rng=0)


def test_weights_in_a_loss_are_not_left_out_without_a_word() -> None:
    model, head = nn.Linear(3, 2).double(), nn.Linear(2, 2).double()
    with pytest.warns(UserWarning, match="depends on 2 more tensors"):
        lyapkit.hessian_spectrum(model, (POINTS, VALUES), lambda out, y: mse_loss(head(out), y), k=2, rng=0)
    embedding = nn.Embedding(5, 3).double()
    inputs = embedding(torch.arange(12) % 5)
    with pytest.warns(UserWarning, match=r"depends on 1 more tensors.*shape \(5, 3\)"):
        lyapkit.hessian_spectrum(model, (inputs, VALUES), mse_loss, k=2, rng=0)
    inputs = POINTS.clone().requires_grad_()  # what is differentiated with respect to inputs elsewhere is no weight
    lyapkit.hessian_spectrum(model, (inputs, VALUES), mse_loss, k=2, rng=0)
    decay = sum(parameter.square().sum() for parameter in model.parameters())

    def decayed(out, y):
        return mse_loss(out, y) + 0.1 * sum(parameter.square().sum() for parameter in model.parameters())

    assert decay > 0
    found = lyapkit.hessian_spectrum(model, (POINTS, VALUES), decayed, k=8, rng=0)
    np.testing.assert_allclose(found.eigenvalue, largest(dense(decayed(model(POINTS), VALUES), model.parameters()), 8))


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_a_regulariser_of_recurrent_weights_is_part_of_the_residual(kind: type[nn.RNNBase]) -> None:
    layer, readout = kind(3, 4).double(), nn.Linear(4, 2).double()
    parameters = [*layer.parameters(), *readout.parameters()]

    def outputs() -> torch.Tensor:
        return readout(layer(STEPS)[0][-1])

    def penalty() -> torch.Tensor:
        return 0.05 * sum((parameter**2).sum() for parameter in layer.parameters()) + 0.05 * (readout.weight**4).sum()

    parts = [
        lyapkit.curvature_operator(layer, (STEPS, VALUES[:6]), lambda out, y: mse_loss(out, y) + penalty(),
                                   readout=readout, operator=operator) @ np.eye(sum(p.numel() for p in parameters))
        for operator in ("hessian", "ggn", "residual")
    ]  # fmt: skip
    whole = dense(mse_loss(outputs(), VALUES[:6]) + penalty(), parameters).numpy()
    np.testing.assert_allclose(parts[0], whole, atol=1e-10)
    np.testing.assert_allclose(parts[1] + parts[2], whole, atol=1e-10)
    jacobian = torch.stack([
        torch.cat([part.reshape(-1) for part in torch.autograd.grad(entry, parameters, retain_graph=True)])
        for entry in outputs().reshape(-1)
    ]).numpy()  # fmt: skip
    np.testing.assert_allclose(parts[1], 2 / 12 * jacobian.T @ jacobian, atol=1e-10)  # nothing of the penalty


# -- parameters with several names ------------------------------------------------------------------------------------


def tied(kind: type[nn.RNNBase]) -> tuple[nn.RNNBase, nn.Linear]:
    layer = kind(3, 4).double()
    readout = nn.Linear(4, layer.weight_hh_l0.shape[0], bias=False).double()
    readout.weight = layer.weight_hh_l0
    return layer, readout


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
@pytest.mark.parametrize("analysis", ["hessian_spectrum", "curvature_by_step"])
def test_weights_tied_between_map_and_readout_count_once(kind: type[nn.RNNBase], analysis: str) -> None:
    layer, readout = tied(kind)
    targets = torch.randn(6, readout.out_features, dtype=DOUBLE)
    value = mse_loss(readout(layer(STEPS)[0][-1]), targets)
    variable = "eigenvalue" if analysis == "hessian_spectrum" else "curvature"
    for parameters, chosen in (
        (None, list(layer.parameters())),
        ("weight_hh_l0", [layer.weight_hh_l0]),
        ("readout.weight", [layer.weight_hh_l0]),
        (["readout.*", "weight_hh*"], [layer.weight_hh_l0]),
        (lambda name, tensor: name.startswith("readout"), [layer.weight_hh_l0]),
    ):
        found = getattr(lyapkit, analysis)(
            layer, (STEPS, targets), mse_loss, readout=readout, parameters=parameters, k=3, rng=0
        )
        np.testing.assert_allclose(found[variable], largest(dense(value, chosen), 3), rtol=1e-8)


def test_weights_tied_within_a_map_have_both_names() -> None:
    layer, readout = nn.GRU(4, 4, num_layers=2).double(), nn.Linear(4, 2).double()
    layer.weight_hh_l1 = layer.weight_hh_l0
    inputs = torch.randn(5, 6, 4, dtype=DOUBLE)
    value = mse_loss(readout(layer(inputs)[0][-1]), VALUES[:6])
    for parameters, chosen in (
        ("weight_hh_l1", [layer.weight_hh_l0]),
        ("*l1", [layer.weight_hh_l0, layer.weight_ih_l1, layer.bias_ih_l1, layer.bias_hh_l1]),
        (None, [*layer.parameters(), *readout.parameters()]),
    ):
        found = lyapkit.hessian_spectrum(
            layer, (inputs, VALUES[:6]), mse_loss, readout=readout, parameters=parameters, k=3, rng=0
        )
        np.testing.assert_allclose(found.eigenvalue, largest(dense(value, chosen), 3), rtol=1e-8)


def test_gradients_by_parameter_name_a_tied_tensor_once() -> None:
    layer, readout = tied(nn.RNN)
    found = lyapkit.gradient_propagation(
        layer, STEPS, torch.randn(6, 4, dtype=DOUBLE), mse_loss, readout=readout, parameter_gradients=True
    )
    assert found["parameter_tensor"].values.tolist() == [name for name, _ in layer.named_parameters()]


# -- models that couple the samples of a batch ------------------------------------------------------------------------


class Centred(nn.Module):
    """Inputs without their mean over the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, inputs):
        return torch.tanh(self.linear(inputs - inputs.mean(0)))


class OfPairs(Centred):
    """The same of a mapping, to several outputs."""

    def forward(self, inputs):
        outputs = super().forward(inputs["x"])
        return outputs[:, 0], outputs[:, 1]


@pytest.mark.parametrize("loss", [mse_loss, lambda out, y: ((out - y) ** 2).mean()], ids=["standard", "own"])
def test_batches_of_a_model_that_couples_samples_are_said_to_be_no_whole(loss) -> None:
    model = Centred().double()
    whole = largest(dense(mse_loss(model(POINTS), VALUES), model.parameters()), 3)
    one = lyapkit.hessian_spectrum(model, (POINTS, VALUES), loss, k=3, rng=0)
    np.testing.assert_allclose(one.eigenvalue, whole, rtol=1e-8)
    with pytest.warns(UserWarning, match="depend on the other samples of its batch.*Give all data as one batch"):
        lyapkit.hessian_spectrum(model, TWO_BATCHES, loss, k=3, rng=0)
    lyapkit.hessian_spectrum(model, TWO_BATCHES, loss, k=3, rng=0, batch_weight=len)
    lyapkit.hessian_spectrum(model, TWO_BATCHES, loss, k=3, rng=0, check=False)


def test_mappings_are_looked_at_too() -> None:
    batches = [({"x": inputs}, targets) for inputs, targets in TWO_BATCHES]
    with pytest.warns(UserWarning, match="depend on the other samples of its batch"):
        lyapkit.hessian_spectrum(
            OfPairs().double(), batches, lambda out, y: ((torch.stack(out, 1) - y) ** 2).mean(), k=2, rng=0
        )


class Attention(nn.Module):
    """Steps of a sequence that look at one another."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=batch_first)

    def forward(self, inputs):
        return self.attention(inputs, inputs, inputs, need_weights=False)[0]


class EachStep(nn.Module):
    """A recurrent layer with outputs at each step; one sequence (T, M) counts as a batch."""

    def __init__(self, bidirectional: bool) -> None:
        super().__init__()
        self.layer = nn.GRU(3, 4, bidirectional=bidirectional)
        self.linear = nn.Linear(8 if bidirectional else 4, 2)

    def forward(self, inputs):
        return self.linear(self.layer(inputs)[0])


@pytest.mark.parametrize("flag", [True, False])
def test_steps_that_depend_on_one_another_are_no_samples(flag: bool) -> None:
    inputs = torch.randn(6, 6, 4, dtype=DOUBLE)
    pieces = inputs.split(3, 0 if flag else 1)
    with sdpa_kernel(SDPBackend.MATH):
        lyapkit.hessian_spectrum(Attention(flag).double(), [(x, x) for x in pieces], mse_loss, k=2, rng=0)
    model = EachStep(flag).double()
    found = lyapkit.hessian_spectrum(model, TWO_BATCHES, mse_loss, k=3, rng=0)
    value = sum(len(y) / 12 * mse_loss(model(x), y) for x, y in TWO_BATCHES)
    np.testing.assert_allclose(found.eigenvalue, largest(dense(value, model.parameters()), 3), rtol=1e-8)


def test_chaotic_networks_are_not_held_to_couple_samples() -> None:
    layer, readout = nn.RNN(3, 40).double(), nn.Linear(40, 2).double()
    nn.init.normal_(layer.weight_hh_l0, std=0.8)
    inputs = torch.randn(60, 12, 3, dtype=DOUBLE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message="curvature products could not be checked")
        lyapkit.hessian_spectrum(layer, [(inputs[:, :5], VALUES[:5]), (inputs[:, 5:], VALUES[5:])], mse_loss,
                                 readout=readout, parameters="readout.*", k=2, rng=0)  # fmt: skip


# -- targets of other samples -----------------------------------------------------------------------------------------


def test_targets_along_the_wrong_dim_of_square_outputs_are_noticed() -> None:
    model = nn.Linear(3, 2).double()
    square = POINTS[:2], VALUES[:2, 0]

    def squared(out, y):
        return ((out - y) ** 2).mean()

    with pytest.warns(UserWarning, match=r"broadcasts targets \(2,\) along the last dims of outputs \(2, 2\)"):
        lyapkit.hessian_spectrum(model, square, squared, k=2, rng=0)
    for inputs, targets, loss in (
        (POINTS[:2], VALUES[:2, :1].expand(2, 2), squared),
        (POINTS[:2], VALUES[0].expand(2, 2), squared),
        (POINTS, VALUES[0], squared),  # one target for all samples
        (POINTS[:2], torch.tensor([0, 1]), lambda out, y: F.cross_entropy(out, y)),
        (POINTS[:2], torch.tensor([1, 1]), lambda out, y: -out.log_softmax(-1).gather(1, y[:, None]).mean()),
        (POINTS[:2], torch.zeros(2), lambda out, y: out.square().mean()),  # targets that only count
    ):
        lyapkit.hessian_spectrum(model, (inputs, targets), loss, k=2, rng=0)


def one_hot(out: Tensor, y: Tensor) -> Tensor:
    return -(out.log_softmax(-1) * F.one_hot(y.long(), 3)).sum(-1).mean()


def weighted_one_hot(out: Tensor, y: Tensor) -> Tensor:
    chosen = F.one_hot(y.long(), 3) * torch.tensor([0.1, 1.0, 5.0])
    return -(out.log_softmax(-1) * chosen).sum() / chosen.sum()


def indexed(out: Tensor, y: Tensor) -> Tensor:
    return -out.log_softmax(-1)[torch.arange(len(out)), y.long()].mean()


def margin(out: Tensor, y: Tensor) -> Tensor:
    right = out.gather(-1, y.long().unsqueeze(-1))
    return (1 + out - right).square().mean()


@pytest.mark.parametrize("dtype", [torch.int64, torch.float64])
@pytest.mark.parametrize("loss", [one_hot, weighted_one_hot, indexed, margin])
def test_as_many_classes_as_samples_are_not_taken_for_targets_of_other_samples(loss, dtype: torch.dtype) -> None:
    """Against the Hessian of the same loss of each sample, and with warnings as errors."""
    model, classes = nn.Linear(3, 3).double(), torch.tensor([2, 0, 1]).to(dtype)
    found = lyapkit.hessian_spectrum(model, (POINTS[:3], classes), loss, k=3, rng=0)
    np.testing.assert_allclose(
        found.eigenvalue, largest(dense(loss(model(POINTS[:3]), classes), model.parameters()), 3), rtol=1e-8
    )


# -- layouts and messages ---------------------------------------------------------------------------------------------


def test_one_sequence_by_itself_has_no_layout() -> None:
    layer = nn.GRU(3, 4, batch_first=True).double()

    def last(outputs, targets):
        return mse_loss(outputs[0][-1, :2], targets)

    inputs = STEPS[:3, 0]  # as many steps as inputs
    found = [
        lyapkit.hessian_spectrum(layer, (inputs, VALUES[0]), last, k=3, rng=0, batch_first=batch_first).eigenvalue
        for batch_first in (None, True, False)
    ]
    wanted = largest(dense(last(layer(inputs), VALUES[0]), layer.parameters()), 3)
    for values in found:
        np.testing.assert_allclose(values, wanted, rtol=1e-8)
    with pytest.raises(TypeError, match="batch_first= needs inputs that are one tensor, got tuple"):
        lyapkit.hessian_spectrum(layer, ((STEPS, None), VALUES[:6]), last, k=3, batch_first=False)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ("mean", r"must be a function of the targets of a batch, got 'mean'\. Write.*targets\.numel\(\)"),
        ([5, 7], r"must be a function of the targets of a batch, got \[5, 7\]"),
        (lambda: 1.0, r"must take one argument, the targets of a batch, which it does not \(too many positional"),
        (
            lambda inputs, targets: 1.0,
            r"must take .*, which it does not \(missing a required argument: 'targets'\)",
        ),
        (lambda targets: None, r"must return one number, got None\. Sum over the batch"),
        (lambda targets: "x", r"must return one number, got 'x'\. Sum over the batch"),
        (lambda targets: True, r"must return one number, got True\. Sum over the batch"),
        (lambda targets: targets, r"must return one number, got a tensor of shape \(5, 2\)\. Sum over the batch"),
    ],
)
def test_weights_of_batches_that_are_none_are_refused(weight, message: str) -> None:
    with pytest.raises(TypeError, match=f"batch_weight {message}"):
        lyapkit.hessian_spectrum(nn.Linear(3, 2).double(), TWO_BATCHES, mse_loss, k=2, batch_weight=weight)


def test_inputs_and_targets_of_the_wrong_kind_come_with_a_remedy() -> None:
    model, layer = nn.Linear(3, 2).double(), nn.GRU(3, 4).double()
    with pytest.raises(
        TypeError, match=r"inputs that are a ndarray .*Convert inputs and targets with torch\.as_tensor"
    ):
        lyapkit.hessian_spectrum(model, (POINTS.numpy(), VALUES), mse_loss, k=2)
    with pytest.raises(ValueError, match=r"convert the targets with \.long\(\)"):
        lyapkit.hessian_spectrum(model, (POINTS, torch.zeros(12, dtype=torch.int32)), F.cross_entropy, k=2)
    broken = VALUES[5:] * torch.nan
    with pytest.raises(FloatingPointError, match="Check inputs and targets of all batches"):
        lyapkit.hessian_spectrum(model, [TWO_BATCHES[0], (POINTS[5:], broken)], mse_loss, k=2)
    options = {"k": 2, "readout": nn.Linear(4, 2).double()}
    with pytest.raises(TypeError, match=r"torch\.stack\(sequences, dim=1\)"):
        lyapkit.hessian_spectrum(layer, (list(STEPS.unbind(1)), VALUES[:6]), mse_loss, **options)
    with pytest.raises(TypeError, match=r"pad_sequence\(sequences\), and say how long"):
        lyapkit.hessian_spectrum(layer, ([STEPS[:3, 0], STEPS[:, 1]], VALUES[:2]), mse_loss, **options)
    halves = [(STEPS[:, :2], VALUES[:2]), (STEPS[:, 2:4], VALUES[2:4])]
    with pytest.raises(TypeError, match=r"Write \[lengths of batch 1, lengths of batch 2"):
        lyapkit.hessian_spectrum(layer, halves, mse_loss, lengths=[5, 4], **options)

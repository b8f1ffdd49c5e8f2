"""Block products of curvature, what they are checked for, and their export to SciPy."""

import json
import warnings
from contextlib import nullcontext
from functools import partial

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor, nn
from torch.func import functional_call, hessian
from torch.nn.functional import cross_entropy, mse_loss
from torch.utils.data import DataLoader, TensorDataset

from lyapkit import curvature_operator, hessian_spectrum, spectral_density
from lyapkit.adapters.unfused import unfused
from lyapkit.curvature.products.cotangents import grad_columns
from lyapkit.curvature.products.operators import WeightedLoss


class LastStep(nn.Module):
    """A recurrent layer with an affine readout of its last output."""

    def __init__(self, layer: nn.Module, size: int, outputs: int) -> None:
        super().__init__()
        self.layer = layer
        self.head = nn.Linear(size, outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.layer(inputs)[0][-1])


def network(kind=nn.GRU) -> LastStep:
    torch.manual_seed(0)
    return LastStep(kind(2, 3), 3, 3).double()


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(6, 10, 2, generator=generator).double(), torch.randint(3, (10,), generator=generator)


def dense(model: nn.Module, data, loss=cross_entropy) -> Tensor:
    names = [name for name, _ in model.named_parameters()]
    shapes = [parameter.shape for parameter in model.parameters()]

    def value(vector: Tensor) -> Tensor:
        parts = torch.split(vector, [shape.numel() for shape in shapes])
        parameters = {name: part.reshape(shape) for name, part, shape in zip(names, parts, shapes, strict=True)}
        return loss(functional_call(model, parameters, (data[0],)), data[1])

    return hessian(value)(torch.cat([parameter.detach().reshape(-1) for parameter in model.parameters()]))


# --- block products


@pytest.mark.parametrize("columns", [1, 3, 8])
@pytest.mark.parametrize("operator", ["hessian", "ggn", "residual"])
@pytest.mark.parametrize("split", [[10], [6, 3, 1]])
def test_a_block_is_multiplied_column_by_column(operator: str, columns: int, split: list[int], data) -> None:
    model = network()
    batches = list(zip(data[0].split(split, dim=1), data[1].split(split), strict=True))
    weights = [count / 10 for count in split]
    objective = WeightedLoss(model, dict(model.named_parameters()), batches, weights, cross_entropy, columns)
    block = torch.randn(objective.size, 7, generator=torch.Generator().manual_seed(2)).double()
    with unfused(model):
        product = objective.product(operator)
        together = product(block)
        alone = torch.cat([product(column[:, None]) for column in block.unbind(1)], dim=1)
    assert together.shape == block.shape
    assert together.dtype == torch.float64
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-14)
    if operator == "hessian":
        torch.testing.assert_close(together, dense(model, data) @ block, rtol=0, atol=1e-13)


class Cubed(torch.autograd.Function):
    """x^3 with a backward that cannot be batched: it looks at values."""

    @staticmethod
    def forward(context, x):
        context.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(context, gradient):
        (x,) = context.saved_tensors
        assert float(gradient.detach().sum()) == float(gradient.detach().sum())
        return 3 * x**2 * gradient


def test_graphs_that_cannot_be_batched_are_swept_once_per_column() -> None:
    x = torch.tensor([1.0, 2.0, -1.0]).double().requires_grad_()
    output = Cubed.apply(x)
    cotangents = torch.randn(4, 3).double()
    with pytest.raises(RuntimeError):
        torch.autograd.grad(output, x, cotangents, retain_graph=True, is_grads_batched=True)
    (found,) = grad_columns([output], [x], [cotangents], at_once=4)
    torch.testing.assert_close(found, 3 * x.detach() ** 2 * cotangents)


def test_constants_and_unused_inputs_have_zero_columns() -> None:
    x, unused = torch.ones(2).double().requires_grad_(), torch.ones(3).double().requires_grad_()
    constant, linear = torch.ones(4).double(), 2 * x
    stacks = [torch.ones(5, 4).double(), torch.ones(5, 2).double()]
    found = grad_columns([constant, linear], [x, unused], stacks, at_once=2)
    torch.testing.assert_close(found, [torch.full((5, 2), 2.0).double(), torch.zeros(5, 3).double()])
    found = grad_columns([constant], [x], stacks[:1], at_once=2)
    torch.testing.assert_close(found, [torch.zeros(5, 2).double()])
    assert [part.shape for part in grad_columns([linear], [x], [torch.ones(0, 2).double()], at_once=2)] == [(0, 2)]


def test_operations_without_a_batching_rule_do_not_warn() -> None:
    """PyTorch loops over columns there, and would say so."""
    model = nn.Sequential(nn.Conv1d(1, 2, 3), nn.ELU(), nn.Flatten(), nn.Linear(8, 1), nn.RReLU()).double().eval()
    operator = curvature_operator(model, (torch.randn(4, 1, 6).double(), torch.zeros(4, 1).double()), mse_loss)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images = operator @ np.eye(operator.shape[0])
    np.testing.assert_allclose(images, images.T, atol=1e-13)


# --- the SciPy operator


@pytest.mark.parametrize("operator", ["hessian", "ggn", "residual"])
def test_the_operator_is_a_linear_operator_that_scipy_takes(operator: str, data) -> None:
    model = network()
    exported = curvature_operator(model, data, cross_entropy, operator=operator)
    assert isinstance(exported, LinearOperator)
    assert exported.dtype == np.float64
    assert exported.shape == (75, 75)
    matrix = exported @ np.eye(75)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-14)
    vector = np.random.default_rng(0).standard_normal(75)
    for image in (
        exported @ vector,
        exported.matvec(vector[:, None])[:, 0],
        exported.rmatvec(vector),
        exported.H @ vector,
    ):
        np.testing.assert_allclose(image, matrix @ vector, atol=1e-13)
    np.testing.assert_allclose(exported.rmatmat(np.eye(75)), matrix, atol=1e-14)
    leading = hessian_spectrum(model, data, cross_entropy, operator=operator, k=4).eigenvalue.values
    np.testing.assert_allclose(np.sort(eigsh(exported, k=4)[0]), np.sort(leading), rtol=1e-8)
    if operator == "hessian":
        np.testing.assert_allclose(matrix, dense(model, data), atol=1e-13)
    else:
        parts = {"ggn": "residual", "residual": "ggn"}[operator]
        other = curvature_operator(model, data, cross_entropy, operator=parts) @ np.eye(75)
        np.testing.assert_allclose(matrix + other, dense(model, data), atol=1e-13)


def test_vectors_of_other_types_and_layouts(data) -> None:
    exported = curvature_operator(network(), data, cross_entropy)
    matrix = exported @ np.eye(75)
    whole = np.arange(75)
    np.testing.assert_allclose(exported @ whole, matrix @ whole, rtol=1e-12)
    np.testing.assert_allclose(exported @ whole.astype(np.float32), matrix @ whole, rtol=1e-6)
    strided = np.random.default_rng(0).standard_normal((20, 150)).T[::2]
    np.testing.assert_allclose(exported @ strided, matrix @ strided, atol=1e-12)


def test_a_float32_model_has_a_float64_operator(data) -> None:
    model = network().float()
    exported = curvature_operator(model, (data[0].float(), data[1]), cross_entropy)
    assert (exported @ np.ones(75)).dtype == np.float64
    np.testing.assert_allclose(exported @ np.ones(75), dense(model.double(), data).sum(dim=1), atol=1e-5)


def test_the_model_is_as_it_was(data) -> None:
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    exported = curvature_operator(model, data, cross_entropy, operator="residual")
    exported @ np.ones(75)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert all(parameter.grad is None for parameter in model.parameters())
    assert "forward" not in model.layer.__dict__


def test_a_map_with_its_readout_and_several_batches(data) -> None:
    """By recursion through time, and by double backward through the module's own forward."""
    model = network(nn.LSTM)
    batches = list(zip(data[0].split([6, 4], dim=1), data[1].split([6, 4]), strict=True))
    mapped = curvature_operator(model.layer, batches, cross_entropy, readout=model.head)
    plain = curvature_operator(model, batches, cross_entropy)
    np.testing.assert_allclose(mapped @ np.eye(mapped.shape[0]), plain @ np.eye(plain.shape[0]), atol=1e-12)
    np.testing.assert_allclose(plain @ np.eye(plain.shape[0]), dense(model, data), atol=1e-12)


# --- what is refused


def test_a_loader_that_shuffles_is_read_once(data) -> None:
    """Every product sees the same batches, in whatever order they came."""
    model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    inputs = data[0][0]
    torch.manual_seed(0)
    loader = DataLoader(TensorDataset(inputs, data[1]), batch_size=4, shuffle=True)
    exported = curvature_operator(model, loader, cross_entropy)
    np.testing.assert_allclose(exported @ np.eye(27), dense(model, (inputs, data[1])), atol=1e-13)
    np.testing.assert_array_equal(exported @ np.ones(27), exported @ np.ones(27))


class Scanned(nn.Module):
    """A recurrent layer by torch's scan operator."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.5 * torch.randn(3, 3).double())

    def forward(self, inputs: Tensor) -> Tensor:
        from torch._higher_order_ops.scan import scan

        def step(state: Tensor, input: Tensor):
            state = torch.tanh(state @ self.weight + input)
            return state, state.clone()

        return scan(step, torch.zeros(inputs.shape[1], 3).double(), inputs)[0]


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Linear(3, 3).double()

    def forward(self, inputs: Tensor) -> Tensor:
        x = self.weight(inputs).transpose(0, 1)[:, None]
        return nn.functional.scaled_dot_product_attention(x, x, x)[:, 0, -1]


SEQUENCES = torch.randn(5, 4, 3, generator=torch.Generator().manual_seed(0)).double(), torch.zeros(4, 3).double()


@pytest.mark.parametrize("analysis", [curvature_operator, partial(hessian_spectrum, k=2), spectral_density])
def test_scan_is_refused(analysis) -> None:
    with pytest.raises(ValueError, match="through torch's scan operator, whose second derivatives are wrong; write"):
        analysis(Scanned(), SEQUENCES, mse_loss)


def test_scan_would_be_caught_without_its_name(monkeypatch) -> None:
    """By the comparison with finite differences, as anything else that is wrong."""
    monkeypatch.setattr("lyapkit.curvature.loss_check.TRAPS", {})
    torch.manual_seed(0)
    with pytest.raises(ValueError, match="differ from finite differences of the gradient"):
        curvature_operator(Scanned(), SEQUENCES, mse_loss)


def test_fused_attention_is_refused_and_the_work_around_works() -> None:
    torch.manual_seed(0)
    model = Attention()
    with pytest.raises(ValueError, match=r"fused attention kernel.*SDPBackend\.MATH"):
        curvature_operator(model, SEQUENCES, mse_loss)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        matrix = curvature_operator(model, SEQUENCES, mse_loss) @ np.eye(12)
        np.testing.assert_allclose(matrix, dense(model, SEQUENCES, mse_loss), atol=1e-13)


def test_what_has_no_second_derivative_is_named(monkeypatch) -> None:
    monkeypatch.setattr("lyapkit.curvature.loss_check.TRAPS", {})
    with pytest.raises(
        RuntimeError, match=r"cannot be differentiated twice \(derivative for aten::_scaled_dot_product"
    ):
        curvature_operator(Attention(), SEQUENCES, mse_loss)


class Halved(torch.autograd.Function):
    """sin, whose gradient is right and whose second derivative is half of what it should be."""

    @staticmethod
    def forward(context, x):
        context.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(context, gradient):
        (x,) = context.saved_tensors
        return gradient * 0.5 * (x.cos() + x.detach().cos())


class Through(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2).double()
        self.function = function

    def forward(self, inputs: Tensor) -> Tensor:
        return self.function(self.linear(inputs))


POINTS = torch.randn(7, 3, generator=torch.Generator().manual_seed(0)).double(), torch.ones(7, 2).double()


@pytest.mark.parametrize("operator", ["hessian", "residual"])
def test_wrong_second_derivatives_are_refused(operator: str) -> None:
    torch.manual_seed(0)
    model = Through(Halved.apply)
    with pytest.raises(ValueError, match=r"by a relative 0\.\d+\. Model or loss has wrong second derivativ"):
        curvature_operator(model, POINTS, mse_loss, operator=operator)
    curvature_operator(model, POINTS, mse_loss, operator="ggn")  # of first derivatives of the outputs only
    curvature_operator(model, POINTS, mse_loss, operator=operator, check=False)  # taken at its word


def test_a_wrong_curvature_of_the_loss_is_refused_in_the_ggn() -> None:
    torch.manual_seed(0)

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return Halved.apply(outputs - targets).sum()

    with pytest.raises(ValueError, match="differ from finite differences"):
        curvature_operator(nn.Linear(3, 2).double(), POINTS, loss, operator="ggn")


@pytest.mark.parametrize("operator", ["hessian", "ggn", "residual"])
def test_right_ones_pass_and_the_deviation_is_recorded(operator: str) -> None:
    torch.manual_seed(0)
    for model in (Through(torch.tanh), Through(torch.sin), Through(torch.tanh).float()):
        dtype = model.linear.weight.dtype
        batch = POINTS[0].to(dtype), POINTS[1].to(dtype)
        ds = hessian_spectrum(model, batch, mse_loss, operator=operator, k=2)
        error = json.loads(ds.attrs["config_json"])["derivative_error"]
        assert 0 <= error < (1e-6 if dtype == torch.float64 else 1e-2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rectifiers_pass(dtype: torch.dtype) -> None:
    """A difference straddles some kinks; the curvature is that between them.

    In single precision steps cannot be small enough to avoid them: then that is said, and nothing refused.
    """
    torch.manual_seed(0)
    layer, head = nn.RNN(2, 30, nonlinearity="relu").to(dtype), nn.Linear(30, 3).to(dtype)
    inputs, targets = torch.randn(25, 64, 2).to(dtype), torch.randint(3, (64,))
    told = pytest.warns(UserWarning, match="could not be checked") if dtype == torch.float32 else nullcontext()
    with told:
        curvature_operator(layer, (inputs, targets), cross_entropy, readout=head)


def test_what_cannot_be_compared_is_said() -> None:
    """A chaotic network over many steps: neither the gradient nor its differences have a digit right."""
    torch.manual_seed(0)
    layer, head = nn.RNN(1, 20).double(), nn.Linear(20, 2).double()
    with torch.no_grad():
        layer.weight_hh_l0.normal_(0, 3 / 20**0.5)
    batch = torch.randn(300, 2, 1).double(), torch.zeros(2, 2).double()
    with pytest.warns(UserWarning, match="could not be checked: they differ by a relative .* kinks"):
        curvature_operator(layer, batch, mse_loss, readout=head)


def test_batch_norm_in_training_mode_is_refused_and_its_statistics_stay() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).double()
    before = model[1].running_mean.clone()
    with pytest.raises(ValueError, match=r"BatchNorm1d \(1\) is in training mode.*\.eval\(\)"):
        curvature_operator(model, POINTS, mse_loss)
    assert torch.equal(model[1].running_mean, before)
    model.eval()
    np.testing.assert_allclose(
        curvature_operator(model, POINTS, mse_loss) @ np.eye(34), dense(model, POINTS, mse_loss), atol=1e-13
    )


class Named(nn.Linear):
    """Returns its outputs by name."""

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        return {"logits": super().forward(inputs)}


@pytest.mark.parametrize("pieces", [1, 2])
def test_outputs_by_name_have_a_hessian_but_no_gauss_newton_matrix(pieces: int) -> None:
    def loss(outputs: dict[str, Tensor], targets: Tensor) -> Tensor:
        return mse_loss(outputs["logits"], targets)

    torch.manual_seed(0)
    model, batches = Named(3, 2).double(), [POINTS] * pieces
    np.testing.assert_allclose(
        curvature_operator(model, batches, loss) @ np.eye(8), dense(model, POINTS, loss), atol=1e-13
    )
    for operator in ("ggn", "residual"):
        with pytest.raises(TypeError, match="a model that returns one tensor, got dict"):
            curvature_operator(model, batches, loss, operator=operator)


def test_random_numbers_in_the_loss_are_refused() -> None:
    def noisy(outputs: Tensor, targets: Tensor) -> Tensor:
        return mse_loss(outputs + 1e-9 * torch.randn_like(outputs), targets)

    with pytest.raises(ValueError, match="not deterministic: its gradient differs between two calls, or it draws"):
        curvature_operator(nn.Linear(3, 2).double(), POINTS, noisy)


def test_a_loss_that_counts_its_calls_is_refused() -> None:
    calls = []

    def counting(outputs: Tensor, targets: Tensor) -> Tensor:
        calls.append(None)
        return len(calls) * mse_loss(outputs, targets)

    with pytest.raises(ValueError, match="not deterministic"):
        curvature_operator(nn.Linear(3, 2).double(), POINTS, counting)


class OwnLSTM(nn.LSTM):
    """A subclass, whose own forward is used."""


def test_subclasses_of_built_in_layers_use_their_own_forward(data) -> None:
    torch.manual_seed(0)
    model = LastStep(OwnLSTM(2, 3), 3, 3).double()
    matrix = curvature_operator(model, data, cross_entropy) @ np.eye(96)
    np.testing.assert_allclose(matrix, dense(model, data), atol=1e-12)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_subclasses_of_built_in_layers_have_the_same_curvature_on_a_gpu(data) -> None:
    torch.manual_seed(0)
    model = LastStep(OwnLSTM(2, 3), 3, 3).double()
    expected = dense(model, data)
    matrix = curvature_operator(model.cuda(), tuple(part.cuda() for part in data), cross_entropy) @ np.eye(96)
    np.testing.assert_allclose(matrix, expected, atol=1e-12)

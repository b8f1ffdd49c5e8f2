"""`hessian_spectrum` against dense Hessians and closed forms."""

import json
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, hessian
from torch.nn.functional import cross_entropy, mse_loss

from lyapkit import as_map, hessian_spectrum
from lyapkit.adapters.unfused import unfused
from lyapkit.curvature.recurrent import products as recurrent_products


class LastStep(nn.Module):
    """A recurrent layer with an affine readout of its last output."""

    def __init__(self, layer: nn.RNNBase, outputs: int) -> None:
        super().__init__()
        self.layer = layer
        self.head = nn.Linear((layer.proj_size or layer.hidden_size) * (1 + layer.bidirectional), outputs)

    def forward(self, inputs):
        emitted, _ = self.layer(inputs)
        return self.head(emitted[:, -1] if self.layer.batch_first else emitted[-1])


LAYERS = {
    "RNN": lambda: nn.RNN(2, 4),
    "GRU": lambda: nn.GRU(2, 3),
    "LSTM": lambda: nn.LSTM(2, 3),
    "LSTM 2 layers proj": lambda: nn.LSTM(2, 3, num_layers=2, proj_size=2),
    "GRU bidirectional batch_first": lambda: nn.GRU(2, 2, bidirectional=True, batch_first=True),
}


def flat(model: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().reshape(-1) for parameter in model.parameters()])


def as_parameters(model: nn.Module, vector: torch.Tensor) -> dict[str, torch.Tensor]:
    parameters, start = {}, 0
    for name, parameter in model.named_parameters():
        parameters[name] = vector[start : start + parameter.numel()].reshape(parameter.shape)
        start += parameter.numel()
    return parameters


def dense_hessian(model: nn.Module, loss, batches) -> torch.Tensor:
    """torch.func.hessian of the loss over all samples of all batches together, through the model's own layers."""

    def value(vector):
        outputs = [functional_call(model, as_parameters(model, vector), (inputs,)) for inputs, _ in batches]
        return loss(torch.cat(outputs), torch.cat([targets for _, targets in batches]))

    return hessian(value)(flat(model))


def leading(values: torch.Tensor, k: int) -> np.ndarray:
    return values[values.abs().argsort(descending=True)][:k].numpy()


@pytest.fixture
def data():
    torch.manual_seed(0)
    inputs, targets = torch.randn(7, 10, 2).double(), torch.randint(3, (10,))
    return inputs, targets


@pytest.mark.parametrize("name", LAYERS)
def test_unequal_batches_give_the_hessian_of_the_whole_data(name: str, data) -> None:
    model = LastStep(LAYERS[name](), 3).double()
    inputs, targets = data
    if model.layer.batch_first:
        inputs = inputs.transpose(0, 1)
    dim = 0 if model.layer.batch_first else 1
    batches = list(zip(inputs.split([6, 3, 1], dim=dim), targets.split([6, 3, 1]), strict=True))
    expected = leading(torch.linalg.eigvalsh(dense_hessian(model, cross_entropy, batches)), 20)
    ds = hessian_spectrum(model, batches, cross_entropy, k=20)
    np.testing.assert_allclose(ds.eigenvalue, expected, rtol=1e-9, atol=1e-9 * abs(expected[0]))
    assert float(ds.residual.max()) <= 2e-6 * abs(expected[0])
    assert ds.attrs["converged"] == 1
    unweighted = sum(dense_hessian(model, cross_entropy, [batch]) for batch in batches) / 3
    assert (
        abs(float(torch.linalg.eigvalsh(unweighted)[-1]) - expected.max()) > 1e-3
    )  # the usual mistake is visible here


@pytest.mark.parametrize("which", ["LA", "SA"])
def test_either_end(which: str, data) -> None:
    model = LastStep(nn.RNN(2, 4), 3).double()
    values = torch.linalg.eigvalsh(dense_hessian(model, cross_entropy, [data]))
    expected = values.flip(0)[:6] if which == "LA" else values[:6]
    ds = hessian_spectrum(model, data, cross_entropy, k=6, which=which)
    by_magnitude = expected[expected.abs().argsort(descending=True)]
    np.testing.assert_allclose(ds.eigenvalue, by_magnitude, rtol=1e-7, atol=1e-8)


def test_the_full_spectrum(data) -> None:
    model = LastStep(nn.RNN(2, 3), 3).double()
    dense = dense_hessian(model, cross_entropy, [data])
    ds = hessian_spectrum(model, data, cross_entropy, k=len(dense), eigenvectors=True)
    expected = torch.linalg.eigvalsh(dense)
    np.testing.assert_allclose(np.sort(ds.eigenvalue), expected, atol=1e-9)
    vectors = torch.tensor(ds.eigenvector.values)
    torch.testing.assert_close(vectors.T @ vectors, torch.eye(len(dense)).double(), rtol=0, atol=1e-10)
    torch.testing.assert_close(dense @ vectors, vectors * torch.tensor(ds.eigenvalue.values), rtol=0, atol=1e-8)


def test_ggn_and_residual_against_first_order_code(data) -> None:
    """G = mean_n sum_c p_c g_c g_c' with g_c the gradient for label c; the residual part is H - G."""
    model = LastStep(nn.GRU(2, 3), 3).double()
    inputs, _ = data
    ggn = torch.zeros(len(flat(model)), len(flat(model)), dtype=torch.float64)
    for sample in range(10):
        outputs = model(inputs[:, sample : sample + 1])
        for label in range(3):
            value = cross_entropy(outputs, torch.tensor([label]))
            parts = torch.autograd.grad(value, list(model.parameters()), retain_graph=True)
            gradient = torch.cat([part.reshape(-1) for part in parts])
            ggn += outputs.softmax(-1)[0, label].detach() * torch.outer(gradient, gradient) / 10
    dense = dense_hessian(model, cross_entropy, [data])
    for operator, matrix in (("ggn", ggn), ("residual", dense - ggn)):
        ds = hessian_spectrum(model, data, cross_entropy, k=8, operator=operator)
        expected = leading(torch.linalg.eigvalsh(matrix), 8)
        np.testing.assert_allclose(ds.eigenvalue, expected, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("classes", [2, 4])
def test_softmax_regression_at_zero_has_its_multiplicities(classes: int) -> None:
    """Eigenvalues of X'X/(N C), each C-1 times, and d zeros: a single Krylov sequence can only find each once."""
    torch.manual_seed(0)
    features = torch.randn(20, 3).double() * torch.tensor([3.0, 2.0, 1.0]).double()
    model = nn.Linear(3, classes, bias=False).double()
    with torch.no_grad():
        model.weight.zero_()
    single = torch.linalg.eigvalsh(features.T @ features / (20 * classes)).flip(0)
    expected = np.concatenate((np.repeat(single.numpy(), classes - 1), np.zeros(3)))
    ds = hessian_spectrum(model, (features, torch.zeros(20, dtype=torch.int64)), cross_entropy, k=3 * classes)
    np.testing.assert_allclose(ds.eigenvalue, expected, atol=1e-9)
    k = classes  # cuts through the second multiplet
    ds = hessian_spectrum(model, (features, torch.zeros(20, dtype=torch.int64)), cross_entropy, k=k)
    np.testing.assert_allclose(ds.eigenvalue, expected[:k], atol=1e-9)


@pytest.mark.parametrize("steps", [2, 10, 40])
def test_scalar_linear_rnn(steps: int) -> None:
    """f = c b a^(T-1), r = f - y: H = grad f grad f' + r Hess f, all in closed form."""
    a, b, c, y = 0.95, 0.5, 1.3, 0.1

    class Scalar(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = (nn.Parameter(torch.tensor(v, dtype=torch.float64)) for v in (a, b, c))

        def forward(self, inputs):
            state = torch.zeros((), dtype=torch.float64)
            for input in inputs:
                state = self.a * state + self.b * input
            return self.c * state

    n = steps - 1
    f = c * b * a**n
    slope = np.array([c * b * n * a ** (n - 1), c * a**n, b * a**n])
    second = np.array(
        [
            [c * b * n * (n - 1) * a ** (n - 2), c * n * a ** (n - 1), b * n * a ** (n - 1)],
            [c * n * a ** (n - 1), 0, a**n],
            [b * n * a ** (n - 1), a**n, 0],
        ]
    )
    impulse = torch.zeros(steps, dtype=torch.float64)
    impulse[0] = 1
    data = (impulse, torch.tensor(y, dtype=torch.float64))
    expected = {
        "hessian": np.outer(slope, slope) + (f - y) * second,
        "ggn": np.outer(slope, slope),
        "residual": (f - y) * second,
    }
    for operator, matrix in expected.items():
        ds = hessian_spectrum(Scalar(), data, lambda o, t: 0.5 * (o - t) ** 2, k=3, operator=operator)
        values = np.linalg.eigvalsh(matrix)
        np.testing.assert_allclose(ds.eigenvalue, values[np.argsort(-abs(values))], atol=1e-9 * abs(values).max())


def test_float32_rank_plot_has_no_ghosts(data) -> None:
    """50 eigenvalues of a float32 network with a dominant one: each matches its own dense float64 eigenvalue."""
    torch.manual_seed(1)
    model = LastStep(nn.RNN(2, 12), 3)
    inputs, targets = data
    with torch.no_grad():
        model.head.weight *= 20
    ds = hessian_spectrum(model, (inputs.float(), targets), cross_entropy, k=50, rng=0)
    expected = leading(torch.linalg.eigvalsh(dense_hessian(model.double(), cross_entropy, [data])), 50)
    np.testing.assert_allclose(ds.eigenvalue, expected, atol=2e-4 * abs(expected[0]))


def test_built_in_layers_by_their_map_and_readout(data) -> None:
    model = LastStep(nn.LSTM(2, 3), 3).double()
    whole = hessian_spectrum(model, data, cross_entropy, k=5)
    parts = hessian_spectrum(model.layer, data, cross_entropy, k=5, readout=model.head)
    np.testing.assert_allclose(parts.eigenvalue, whole.eigenvalue, rtol=1e-9)
    as_a_map = hessian_spectrum(as_map(model.layer), data, cross_entropy, k=5, readout=model.head)
    np.testing.assert_allclose(as_a_map.eigenvalue, whole.eigenvalue, rtol=1e-9)


def test_a_subset_of_the_parameters(data) -> None:
    model = LastStep(nn.RNN(2, 3), 3).double()
    names = ["layer.weight_hh_l0", "head.bias"]
    ds = hessian_spectrum(model, data, cross_entropy, k=12, parameters=names)
    index = torch.arange(len(flat(model)))
    kept = torch.cat([as_parameters(model, index)[name].reshape(-1) for name in names])
    block = dense_hessian(model, cross_entropy, [data])[kept][:, kept]
    np.testing.assert_allclose(np.sort(ds.eigenvalue), torch.linalg.eigvalsh(block), atol=1e-9)


def test_a_linear_loss_has_no_curvature() -> None:
    model = nn.Linear(2, 1).double()
    data = (torch.ones(3, 2).double(), torch.ones(3, 1).double())
    for operator in ("hessian", "ggn", "residual"):
        ds = hessian_spectrum(model, data, lambda o, t: (o * t).mean(), k=3, operator=operator)
        assert ds.eigenvalue.values.tolist() == [0, 0, 0]


# --- the solver on networks


def trained(make: Callable[[], nn.RNNBase]) -> tuple[nn.Module, tuple[torch.Tensor, torch.Tensor]]:
    """A network of up to 1,000 parameters after some training: few large eigenvalues, many small ones."""
    torch.manual_seed(0)
    model = LastStep(make(), 3).double()
    inputs = torch.randn(6, 40, 2).double()
    targets = (inputs.sum(0)[:, 0] > 0).long() + (inputs.sum(0)[:, 1] > 0).long()
    optimiser = torch.optim.Adam(model.parameters(), 2e-2)
    for _ in range(60):
        optimiser.zero_grad()
        cross_entropy(model(inputs), targets).backward()
        optimiser.step()
    return model, (inputs, targets)


NETWORKS = {"RNN": lambda: nn.RNN(2, 26), "GRU": lambda: nn.GRU(2, 15), "LSTM": lambda: nn.LSTM(2, 13)}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_fifty_eigenvalues_of_trained_networks(name: str) -> None:
    """Against dense spectra: in double precision to all digits, and in single precision with no ghost."""
    model, data = trained(NETWORKS[name])
    assert 800 < len(flat(model)) < 1000
    dense = torch.linalg.eigvalsh(dense_hessian(model, cross_entropy, [data]))
    expected = leading(dense, 50)
    for seed in range(3):
        ds = hessian_spectrum(model, data, cross_entropy, k=50, rng=seed)
        error = np.abs(ds.eigenvalue.values - expected)
        assert (error <= ds.error_bound.values + 1e-13 * expected[0]).all()
        np.testing.assert_allclose(ds.eigenvalue, expected, rtol=1e-9)
        assert (ds.residual.values <= 1e-6 * np.abs(expected)).all()
        assert ds.converged.values.all()
        assert ds.attrs["converged"] == 1
        assert ds.attrs["products"] < 230
    inputs, targets = data
    ds = hessian_spectrum(model.float(), (inputs.float(), targets), cross_entropy, k=50, rng=0)
    np.testing.assert_allclose(ds.eigenvalue, expected, rtol=2e-3, atol=1e-6 * expected[0])
    assert ds.attrs["converged"] == 1
    assert ds.error_bound.values.max() < 1e-4 * expected[0]


@pytest.mark.slow
def test_the_whole_spectrum_of_a_trained_network() -> None:
    model, data = trained(lambda: nn.GRU(2, 6))
    dense = dense_hessian(model, cross_entropy, [data])
    expected = leading(torch.linalg.eigvalsh(dense), len(dense))
    ds = hessian_spectrum(model, data, cross_entropy, k=len(dense), rng=0, check=False)
    np.testing.assert_allclose(np.sort(ds.eigenvalue), np.sort(expected), atol=1e-12 * expected[0])


def test_both_ends(data) -> None:
    model = LastStep(nn.RNN(2, 4), 3).double()
    values = torch.linalg.eigvalsh(dense_hessian(model, cross_entropy, [data])).numpy()
    ds = hessian_spectrum(model, data, cross_entropy, k=5, which="BE")
    np.testing.assert_allclose(np.sort(ds.eigenvalue), [*values[:2], *values[-3:]], rtol=1e-8)


def test_tracking_over_training_starts_from_the_last_spectrum() -> None:
    model, data = trained(lambda: nn.RNN(2, 10))
    options = dict(k=8, eigenvectors=True, check=False)
    before = hessian_spectrum(model, data, cross_entropy, rng=0, **options)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 1e-3 * parameter.grad
    cold = [hessian_spectrum(model, data, cross_entropy, rng=seed, **options) for seed in range(4)]
    expected = leading(torch.linalg.eigvalsh(dense_hessian(model, cross_entropy, [data])), 8)
    for start in (before, torch.tensor(before.eigenvector.values), before.transpose("rank", ...)):
        warm = [hessian_spectrum(model, data, cross_entropy, rng=seed, start=start, **options) for seed in range(4)]
        for ds in warm:
            np.testing.assert_allclose(ds.eigenvalue, expected, rtol=1e-9)
        assert sum(ds.attrs["products"] for ds in warm) < sum(ds.attrs["products"] for ds in cold)


def test_block_and_basis_sizes_do_not_change_the_result(data) -> None:
    model = LastStep(nn.GRU(2, 3), 3).double()
    expected = leading(torch.linalg.eigvalsh(dense_hessian(model, cross_entropy, [data])), 6)
    for block_size, basis_size in ((1, 8), (1, None), (2, 60), (7, 20), (100, None)):
        ds = hessian_spectrum(model, data, cross_entropy, k=6, block_size=block_size, basis_size=basis_size, rng=0)
        np.testing.assert_allclose(ds.eigenvalue, expected, rtol=1e-9)


def test_copies_that_could_not_be_ruled_out_are_said() -> None:
    """All three copies of the largest eigenvalue are asked for one by one, and the products end before the third."""
    model = nn.Linear(2, 4, bias=False).double()
    with torch.no_grad():
        model.weight.zero_()
    features = torch.randn(20, 2, generator=torch.Generator().manual_seed(0)).double() * torch.tensor([3.0, 0.5])
    batch = (features, torch.zeros(20, dtype=torch.int64))
    with pytest.warns(UserWarning, match="did not suffice to rule out further copies"):
        ds = hessian_spectrum(model, batch, cross_entropy, k=2, block_size=1, max_products=5, rng=0)
    assert ds.attrs["converged"] == 0
    assert ds.converged.values.all()


def test_attributes_say_what_it_cost(data) -> None:
    model = LastStep(nn.RNN(2, 4), 3).double()
    ds = hessian_spectrum(model, data, cross_entropy, k=3, rng=0)
    assert 6 <= ds.attrs["products"] < 60
    assert 0 < ds.attrs["gradient_equivalents"] < 100 * ds.attrs["products"]
    assert 0 <= json.loads(ds.attrs["config_json"])["derivative_error"] < 1e-3
    unchecked = hessian_spectrum(model, data, cross_entropy, k=3, rng=0, check=False)
    assert json.loads(unchecked.attrs["config_json"])["derivative_error"] == -1


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("initial", [False, True])
def test_unfused_layers_equal_their_own_forward(name: str, initial: bool) -> None:
    torch.manual_seed(0)
    layer = LAYERS[name]().double()
    rows = layer.num_layers * (1 + layer.bidirectional)
    for inputs, batch in ((torch.randn(5, 3, 2).double(), 3), (torch.randn(5, 2).double(), None)):
        if layer.batch_first and batch:
            batch = 5
        hx = None
        if initial:
            shape = (rows,) if batch is None else (rows, batch)
            hx = torch.randn(*shape, layer.proj_size or layer.hidden_size).double()
            if isinstance(layer, nn.LSTM):
                hx = (hx, torch.randn(*shape, layer.hidden_size).double())
        own = layer(inputs, hx)
        with unfused(layer):
            written_out = layer(inputs, hx)
        assert "forward" not in layer.__dict__
        torch.testing.assert_close(written_out, own, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("cell", [nn.RNNCell(2, 3), nn.GRUCell(2, 3), nn.LSTMCell(2, 3)])
def test_unfused_cells_equal_their_own_forward(cell) -> None:
    cell = cell.double()
    for inputs in (torch.randn(4, 2).double(), torch.randn(2).double()):
        own = cell(inputs)
        with unfused(cell):
            torch.testing.assert_close(cell(inputs), own, rtol=1e-13, atol=1e-13)
            torch.testing.assert_close(cell(inputs, own), cell(inputs, own))
        again = cell(inputs, own)
        with unfused(cell):
            torch.testing.assert_close(cell(inputs, own), again, rtol=1e-13, atol=1e-13)


def test_unfused_refuses_what_it_cannot_step() -> None:
    layer = nn.GRU(2, 3, num_layers=2, dropout=0.5)
    with unfused(layer), pytest.raises(ValueError, match=r"\.eval\(\)"):
        layer(torch.randn(4, 2))


def test_running_out_of_products_is_flagged(data) -> None:
    model = LastStep(nn.RNN(2, 6), 3).double()
    with pytest.warns(
        UserWarning, match="10 of the 10 eigenvalues did not reach the tolerance 1e-06 within 22 products"
    ):
        ds = hessian_spectrum(model, data, cross_entropy, k=10, max_products=22, rng=0)
    assert ds.attrs["converged"] == 0
    assert ds.sizes["rank"] == 10
    assert ds.converged.values.tolist() == [0] * 10
    assert ds.attrs["products"] == 22
    assert float(ds.residual.max()) > 1e-8 * float(ds.eigenvalue[0])


LINEAR = nn.Linear(2, 1).double()
PAIR = (torch.ones(3, 2).double(), torch.ones(3, 1).double())
REFUSALS = {
    "k too large": (dict(k=4), ValueError, "between 1 and the number of parameters 3, got 4"),
    "k zero": (dict(k=0), ValueError, "got 0"),
    "operator": (dict(operator="fisher"), ValueError, "hessian, ggn, residual, got 'fisher'"),
    "which": (dict(which="SM"), ValueError, "one of LM, LA, SA, BE, got 'SM'"),
    "block_size": (dict(block_size=0), ValueError, "block_size must be at least 1, got 0"),
    "block_size of text": (dict(block_size="4"), TypeError, "block_size must be an integer, got '4'"),
    "basis_size": (dict(block_size=1, basis_size=2), ValueError, r"at least k \+ 2 block_size = 4, got 2"),
    "memory_budget": (dict(memory_budget=-1), ValueError, "number of bytes of at least 0, got -1"),
    "start of another shape": (dict(start=torch.ones(2, 1)), ValueError, r"shape \(3, any\), got \(2, 1\)"),
    "start of nothing": (dict(start=torch.zeros(3, 2)), ValueError, "start holds no direction"),
    "start not finite": (dict(start=torch.full((3, 1), math.nan)), ValueError, "start is not finite"),
    "start of a kind": (dict(start=[1.0, 0.0, 0.0]), TypeError, "result of hessian_spectrum or a tensor, got list"),
    "unknown parameter": (dict(parameters=["wieght"]), ValueError, r"unknown parameters \['wieght'\]"),
    "no batches": (dict(batches=[]), ValueError, "there are no batches"),
    "not pairs": (dict(batches=[torch.ones(2)]), TypeError, "iterable of pairs, got Tensor"),
    "not iterable": (dict(batches=3), TypeError, "iterable of pairs, got int"),
    "vector loss": (dict(loss=lambda o, t: o), ValueError, r"scalar tensor, got \(3, 1\)"),
    "infinite loss": (dict(loss=lambda o, t: o.sum() / 0), ValueError, "the loss is (-?inf|nan)"),
    "untensored targets": (
        dict(batches=[(PAIR[0], "labels")] * 2, loss=lambda o, t: o.mean()),
        TypeError,
        "targets are str, not a tensor; say what a batch weighs with batch_weight=",
    ),
    "untensored targets of one batch": (
        dict(batches=(PAIR[0], "labels")),
        TypeError,
        r"loss cannot be taken of outputs \(3, 1\) and targets str",
    ),
    "weight": (dict(batch_weight=lambda t: 0.0), ValueError, "positive and finite, got 0"),
    "tolerance": (dict(tolerance=0.0), ValueError, "tolerance must be positive and finite, got 0.0"),
    "max_products": (dict(max_products=3), ValueError, r"at least 2 k = 4, got 3"),
    "tolerance of text": (dict(tolerance="fine"), TypeError, "tolerance must be a positive number or None, got 'fine'"),
    "products of text": (dict(max_products="4"), TypeError, "max_products must be an integer, got '4'"),
    "learning rate": (
        dict(learning_rate=math.nan),
        ValueError,
        "learning_rate must be positive and finite, got nan",
    ),
    "reduction": (dict(reduction="median"), ValueError, '"mean" or "sum", got \'median\''),
    "weights of a sum": (dict(reduction="sum", batch_weight=len), TypeError, "a sum over batches has no weights"),
    "constant loss": (dict(loss=lambda o, t: torch.tensor(1.0)), ValueError, "does not depend differentiably"),
    "complex": (
        dict(model=nn.Linear(2, 1, dtype=torch.complex64), batches=tuple(part.to(torch.complex64) for part in PAIR)),
        ValueError,
        r"must be real \(float32 or float64\).*got 'weight' of torch.complex64; keep its real and imaginary part",
    ),
    "readout of another size": (
        dict(
            model=nn.GRU(2, 3).double(),
            readout=nn.Linear(4, 1).double(),
            batches=(torch.ones(5, 3, 2).double(), PAIR[1]),
        ),
        ValueError,
        r"readout cannot take the network's output of shape \(3, 3\) and torch\.float64: .*Give one that takes 3 "
        "features",
    ),
    "readout of too few classes": (
        dict(
            model=nn.GRU(2, 3).double(),
            readout=nn.Linear(3, 2).double(),
            loss=cross_entropy,
            batches=(torch.ones(5, 3, 2).double(), torch.tensor([0, 1, 7])),
        ),
        ValueError,
        r"loss cannot be taken of outputs \(3, 2\) and targets \(3,\) \(Target 7 is out of bounds.*\); give a readout",
    ),
    "targets of another size": (
        dict(loss=cross_entropy, batches=(PAIR[0], torch.ones(2, dtype=torch.int64))),
        ValueError,
        r"loss cannot be taken of outputs \(3, 1\) and targets \(2,\)",
    ),
    "half precision": (
        dict(model=nn.Linear(2, 1).bfloat16(), batches=tuple(part.bfloat16() for part in PAIR)),
        ValueError,
        "bfloat16, too coarse",
    ),
    "autonomous map": (
        dict(model=as_map(torch.tanh, state=torch.zeros(2)), readout=nn.Linear(2, 1)),
        TypeError,
        "auto",
    ),
    "NumPy inputs": (
        dict(model=nn.GRU(2, 1).double(), readout=nn.Identity(), batches=(np.zeros((3, 2, 2)), PAIR[1])),
        TypeError,
        "inputs must be a tensor, got ndarray",
    ),
    "undefined gradient": (
        dict(loss=lambda o, t: ((o - o.detach()) ** 2).mean().sqrt()),
        FloatingPointError,
        "no derivative where it is zero",
    ),
    "tuple output": (dict(model=nn.GRU(2, 1).double()), TypeError, "give readout="),
    "no readout": (dict(model=as_map(nn.GRU(2, 1).double())), TypeError, "no readout of its own"),
    "frozen model": (dict(model=nn.Linear(2, 1).double().requires_grad_(False)), ValueError, "no parameters"),
    "dropout": (
        dict(model=nn.Sequential(nn.Dropout(0.5), nn.Linear(2, 1)).double()),
        ValueError,
        r"Dropout \(0\) is in training mode.*\.eval\(\)",
    ),
    "root of zero": (
        dict(loss=lambda o, t: ((o - o.detach()) ** 2).mean().sqrt()),
        FloatingPointError,
        "not finite",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals_say_what_is_wrong(name: str) -> None:
    change, error, message = REFUSALS[name]
    options = {"model": LINEAR, "batches": PAIR, "loss": mse_loss, "k": 2, "check": name != "root of zero", **change}
    with pytest.raises(error, match=message):
        hessian_spectrum(options.pop("model"), options.pop("batches"), options.pop("loss"), **options)


def test_a_map_is_run_over_time_first_sequences_of_its_own_type() -> None:
    gru, head = nn.GRU(2, 3).double(), nn.Linear(3, 1).double()
    for inputs, message in (
        (torch.zeros(4, 5, 3).double(), r"\(T, B, 2\), time first, got \(4, 5, 3\)"),
        (torch.zeros(4, 2).double(), r"time first, got \(4, 2\)"),
        (torch.zeros(0, 5, 2).double(), r"got \(0, 5, 2\)"),
        (torch.zeros(4, 5, 2), "inputs are torch.float32 on cpu, the map computes in torch.float64"),
    ):
        with pytest.raises(ValueError, match=message):
            hessian_spectrum(gru, (inputs, torch.zeros(5, 1).double()), mse_loss, k=2, readout=head)


def test_inference_mode_is_refused() -> None:
    with torch.inference_mode(), pytest.raises(RuntimeError, match="call the analysis outside of it"):
        hessian_spectrum(LINEAR, PAIR, mse_loss, k=1)


def test_sums_add_up_over_batches(data) -> None:
    def summed(outputs, targets):
        return cross_entropy(outputs, targets, reduction="sum")

    model = LastStep(nn.RNN(2, 3), 3).double()
    inputs, targets = data
    batches = list(zip(inputs.split([6, 4], dim=1), targets.split([6, 4]), strict=True))
    whole = hessian_spectrum(model, data, summed, k=4, reduction="sum")
    parts = hessian_spectrum(model, batches, summed, k=4, reduction="sum")
    mean = hessian_spectrum(model, data, cross_entropy, k=4)
    np.testing.assert_allclose(parts.eigenvalue, whole.eigenvalue, rtol=1e-9)
    np.testing.assert_allclose(whole.eigenvalue, 10 * mean.eigenvalue, rtol=1e-9)


def test_frozen_parameters_cannot_be_asked_for() -> None:
    model = nn.Linear(2, 1).double()
    model.bias.requires_grad_(False)
    assert hessian_spectrum(model, PAIR, mse_loss, k=2).sizes["rank"] == 2
    with pytest.raises(ValueError, match="do not require gradients"):
        hessian_spectrum(model, PAIR, mse_loss, k=1, parameters=["bias"])


def test_batch_weight_replaces_the_default() -> None:
    model = nn.Linear(1, 1, bias=False).double()
    batches = [(torch.full((1, 1), 1.0).double(), torch.zeros(1, 1).double())] * 1
    batches.append((torch.full((1, 1), 3.0).double(), torch.zeros(1, 1).double()))
    weights = iter([3.0, 1.0])
    ds = hessian_spectrum(model, batches, mse_loss, k=1, batch_weight=lambda targets: next(weights))
    assert ds.eigenvalue.item() == pytest.approx(2 * (3 * 1 + 1 * 9) / 4)
    assert math.isclose(hessian_spectrum(model, batches, mse_loss, k=1).eigenvalue.item(), 10)


def test_start_must_be_eigenvectors_of_the_same_parameters(data) -> None:
    model = LastStep(nn.RNN(2, 3), 3).double()
    with pytest.raises(ValueError, match="start must be a result of hessian_spectrum with eigenvectors=True"):
        hessian_spectrum(model, data, cross_entropy, k=2, start=hessian_spectrum(model, data, cross_entropy, k=2))
    part = hessian_spectrum(model, data, cross_entropy, k=2, parameters=["head.weight"], eigenvectors=True)
    with pytest.raises(
        ValueError,
        match=r"result for the parameters layer.weight_ih_l0 \[3, 2\], .*, got one for head.weight \[3, 3\]; c",
    ):
        hessian_spectrum(model, data, cross_entropy, k=2, start=part)


def test_the_order_of_the_parameters_is_recorded_and_kept_to(data) -> None:
    """Both biases have the same shape, so that nothing but their names tells eigenvectors in one order from another."""
    model = LastStep(nn.RNN(2, 3), 3).double()
    names = ["layer.bias_hh_l0", "head.weight", "layer.bias_ih_l0"]
    options = dict(k=2, eigenvectors=True, rng=0)
    ds = hessian_spectrum(model, data, cross_entropy, parameters=names, **options)
    assert json.loads(ds.attrs["config_json"])["parameters"] == [[names[0], [3]], [names[1], [3, 3]], [names[2], [3]]]
    again = hessian_spectrum(model, data, cross_entropy, parameters=names, start=ds, **options)
    np.testing.assert_allclose(again.eigenvalue, ds.eigenvalue, rtol=1e-9)
    dense, index = dense_hessian(model, cross_entropy, [data]), torch.arange(len(flat(model)))
    kept = torch.cat([as_parameters(model, index)[name].reshape(-1) for name in names])
    vectors = torch.tensor(ds.eigenvector.values)
    torch.testing.assert_close(
        dense[kept][:, kept] @ vectors, vectors * torch.tensor(ds.eigenvalue.values), rtol=0, atol=1e-6
    )
    expected = r"bias_ih_l0 \[3\], head.weight \[3, 3\], layer.bias_hh_l0 \[3\], in this order, got one for layer"
    with pytest.raises(ValueError, match=expected):
        hessian_spectrum(model, data, cross_entropy, parameters=names[::-1], start=ds, **options)


def test_how_the_spectrum_was_computed_is_recorded(data) -> None:
    model = LastStep(nn.RNN(2, 4), 3).double()  # 47 parameters
    for k, method in ((23, "lanczos"), (24, "dense")):
        ds = hessian_spectrum(model, data, cross_entropy, k=k, rng=0)
        assert json.loads(ds.attrs["config_json"])["method"] == method
        assert (ds.attrs["products"] == 47) == (method == "dense")


@pytest.mark.parametrize("operator", ["hessian", "ggn"])
@pytest.mark.parametrize("check", [False, True])
def test_what_all_products_share_counts_as_time(operator: str, check: bool, data, monkeypatch) -> None:
    """With a clock that ticks only while the Jacobian of the outputs, or the trajectory, is computed."""
    clock = [0.0]
    monkeypatch.setattr("lyapkit.curvature.problem._now", lambda device: clock[0])
    name = "OutputJacobian" if operator == "ggn" else "Trajectory"
    made = getattr(recurrent_products, name)

    def slow(*arguments, **options):
        clock[0] += 7e-9
        return made(*arguments, **options)

    monkeypatch.setattr(recurrent_products, name, slow)
    cell, head = nn.RNN(2, 4).double(), nn.Linear(4, 3).double()
    ds = hessian_spectrum(cell, data, cross_entropy, k=2, operator=operator, readout=head, check=check, rng=0)
    assert ds.attrs["gradient_equivalents"] == pytest.approx(7.0)  # of gradients that take no time, counted as 1 ns


def quadratic(eigenvalues: list[float], dtype: torch.dtype):
    """A linear model of one output, whose loss has exactly these eigenvalues, and its batch."""
    size = len(eigenvalues)
    basis = torch.linalg.qr(torch.randn(size, size, generator=torch.Generator().manual_seed(0)).double()).Q
    rows = basis * torch.tensor(eigenvalues, dtype=torch.float64).mul(size / 2).sqrt()  # 2/P X X^T = U diag U^T
    model = nn.Linear(size, 1, bias=False, dtype=dtype)
    return model, (rows.T.contiguous().to(dtype), torch.zeros(size, 1, dtype=dtype))


@pytest.mark.parametrize("eigenvalues", [[1.0, 0.1, 1e-3, 1e-6, 1e-7], [1.0, 0.1, 1e-3, 0.0, 0.0]])
def test_float32_does_not_resolve_eigenvalues_that_its_products_round_away(eigenvalues: list[float]) -> None:
    size = 40
    values = [*eigenvalues, *[0.0] * (size - 5)]
    model, batch = quadratic(values, torch.float32)
    with pytest.warns(UserWarning, match=r"2 of the 5 eigenvalues are below 1e-05 of the largest.*\.double\(\)"):
        ds = hessian_spectrum(model, batch, mse_loss, k=5, rng=0)
    assert ds.converged.values.tolist() == [1, 1, 1, 0, 0]
    assert ds.attrs["converged"] == 0
    np.testing.assert_allclose(ds.eigenvalue[:3], eigenvalues[:3], rtol=1e-3)
    model, batch = quadratic(values, torch.float64)
    exact = hessian_spectrum(model, batch, mse_loss, k=5, rng=0)
    assert exact.converged.values.tolist() == [1] * 5
    np.testing.assert_allclose(exact.eigenvalue, eigenvalues, rtol=1e-6, atol=1e-12)
    fewer = hessian_spectrum(
        quadratic(values, torch.float32)[0], quadratic(values, torch.float32)[1], mse_loss, k=3, rng=0
    )
    assert fewer.attrs["converged"] == 1

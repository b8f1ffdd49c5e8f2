"""`hessian_spectrum` against dense Hessians and closed forms."""

import json
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from dense_hessians import LAYERS, LastStep, as_parameters, dense_hessian, flat, leading
from lyapkit import as_map, hessian_spectrum
from lyapkit.curvature.recurrent import products as recurrent_products


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


def test_both_ends(data) -> None:
    model = LastStep(nn.RNN(2, 4), 3).double()
    values = torch.linalg.eigvalsh(dense_hessian(model, cross_entropy, [data])).numpy()
    ds = hessian_spectrum(model, data, cross_entropy, k=5, which="BE")
    np.testing.assert_allclose(np.sort(ds.eigenvalue), [*values[:2], *values[-3:]], rtol=1e-8)


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


def test_batch_weight_replaces_the_default() -> None:
    model = nn.Linear(1, 1, bias=False).double()
    batches = [(torch.full((1, 1), 1.0).double(), torch.zeros(1, 1).double())] * 1
    batches.append((torch.full((1, 1), 3.0).double(), torch.zeros(1, 1).double()))
    weights = iter([3.0, 1.0])
    ds = hessian_spectrum(model, batches, mse_loss, k=1, batch_weight=lambda targets: next(weights))
    assert ds.eigenvalue.item() == pytest.approx(2 * (3 * 1 + 1 * 9) / 4)
    assert math.isclose(hessian_spectrum(model, batches, mse_loss, k=1).eigenvalue.item(), 10)


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

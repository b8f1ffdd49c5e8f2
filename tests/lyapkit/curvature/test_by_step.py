"""`curvature_by_step` against networks whose parameters are copied for every step, and closed forms."""

import json

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn
from torch.func import functional_call, hessian
from torch.nn.functional import cross_entropy, mse_loss

import lyapkit
from lyapkit import RecurrentMap, as_map, curvature_by_step, hessian_spectrum, plots
from lyapkit.cell_derivatives import AffineCell, Place, Pointwise
from lyapkit.curvature.earlier_eigenvectors import operator_of
from lyapkit.results import make_dataset
from lyapkit.results.schema import SCHEMA

STEPS, BATCH = 5, 4
LAYERS = {
    "RNN": lambda: nn.RNNCell(2, 3),
    "GRU": lambda: nn.GRUCell(2, 2),
    "LSTM": lambda: nn.LSTMCell(2, 2),
}


class Plain(RecurrentMap):
    """A map without derivatives of its own: the generic route."""

    def __init__(self, map: RecurrentMap) -> None:
        self.map = map
        self.step, self.output, self.parameters = map.step, map.output, map.parameters

    state_size = property(lambda self: self.map.state_size)
    input_size = property(lambda self: self.map.input_size)
    dtype = property(lambda self: self.map.dtype)
    device = property(lambda self: self.map.device)
    unit_names = property(lambda self: self.map.unit_names)

    def step(self, state, input=None):
        raise AssertionError("replaced")


@pytest.fixture
def data():
    torch.manual_seed(0)
    return torch.randn(STEPS, BATCH, 2).double(), torch.randint(3, (BATCH,))


def network(name: str) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(1)
    cell = LAYERS[name]().double()
    return cell, nn.Linear(cell.hidden_size, 3).double()


def dense_blocks(cell, readout, data, operator: str) -> torch.Tensor:
    """The curvature with respect to one copy of the cell's parameters per step and the readout's, from torch.func."""
    inputs, targets = data
    sizes = [p.numel() for p in cell.parameters()]
    start = torch.cat([p.detach().reshape(-1) for p in cell.parameters()])
    end = torch.cat([p.detach().reshape(-1) for p in readout.parameters()])

    def weights(module, vector):
        parts = vector.split([p.numel() for p in module.parameters()])
        return {n: part.reshape(p.shape) for (n, p), part in zip(module.named_parameters(), parts, strict=True)}

    def outputs(vector):
        copies, last = vector[: STEPS * sum(sizes)].reshape(STEPS, -1), vector[STEPS * sum(sizes) :]
        state = None
        for input, copy in zip(inputs, copies, strict=True):
            state = functional_call(cell, weights(cell, copy), (input, state))
        return functional_call(readout, weights(readout, last), (state[0] if isinstance(state, tuple) else state,))

    point = torch.cat((start.repeat(STEPS), end))
    whole = hessian(lambda vector: cross_entropy(outputs(vector), targets))(point)
    jacobian = torch.func.jacrev(outputs)(point).reshape(BATCH * 3, -1)
    outer = hessian(lambda f: cross_entropy(f, targets))(outputs(point)).reshape(BATCH * 3, BATCH * 3)
    ggn = jacobian.T @ outer @ jacobian
    return {"hessian": whole, "ggn": ggn, "residual": whole - ggn}[operator]


def split(vector: np.ndarray, own: int) -> torch.Tensor:
    """A vector of shared parameters as columns that live on one step each, the readout's last."""
    columns = torch.zeros(STEPS + 1, STEPS * own + len(vector) - own, dtype=torch.float64)
    for step in range(STEPS):
        columns[step, step * own : (step + 1) * own] = torch.tensor(vector[:own])
    columns[-1, STEPS * own :] = torch.tensor(vector[own:])
    return columns


@pytest.mark.parametrize("route", ["recurrent", "generic"])
@pytest.mark.parametrize("operator", ["hessian", "ggn", "residual"])
@pytest.mark.parametrize("name", LAYERS)
def test_blocks_of_the_unrolled_network(name: str, operator: str, route: str, data) -> None:
    cell, readout = network(name)
    model = as_map(cell) if route == "recurrent" else Plain(as_map(cell))
    spectrum = hessian_spectrum(
        cell, data, cross_entropy, k=2, operator=operator, readout=readout, eigenvectors=True, rng=0, tolerance=1e-9
    )
    ds = curvature_by_step(
        model, data, cross_entropy, k=2, operator=operator, readout=readout, eigenvectors=spectrum, bins=STEPS
    )
    assert json.loads(ds.attrs["config_json"])["by_recursion"] == (route == "recurrent")
    dense = dense_blocks(cell, readout, data, operator)
    own = sum(p.numel() for p in cell.parameters())
    for rank in (1, 2):
        columns = split(spectrum.eigenvector.sel(rank=rank).values, own)
        expected = (columns @ dense @ columns.T).numpy()
        at = ds.sel(rank=rank)
        np.testing.assert_allclose(at.step_to_step_curvature, expected, rtol=0, atol=1e-12)
        np.testing.assert_allclose(at.step_to_step_curvature, at.step_to_step_curvature.T, rtol=0, atol=1e-13)
        np.testing.assert_allclose(at.step_curvature, expected[:-1].sum(axis=1), rtol=0, atol=1e-12)
        np.testing.assert_allclose(at.readout_curvature, expected[-1].sum(), rtol=0, atol=1e-12)
    assert_sums(ds)
    np.testing.assert_allclose(ds.curvature, ds.eigenvalue, rtol=1e-10)


def assert_sums(ds: xr.Dataset, atol: float = 1e-12) -> None:
    np.testing.assert_allclose(ds.step_to_step_curvature.sum(["bin", "other_bin"]), ds.curvature, rtol=0, atol=atol)
    np.testing.assert_allclose(ds.step_curvature.sum("step") + ds.readout_curvature, ds.curvature, rtol=0, atol=atol)


STACKS = {
    "LSTM 2 layers": lambda: nn.LSTM(2, 3, num_layers=2),
    "GRU 2 layers": lambda: nn.GRU(2, 2, num_layers=2),
    "LSTM projected": lambda: nn.LSTM(2, 3, proj_size=2),
}


@pytest.mark.parametrize("name", STACKS)
def test_layers_of_the_residual_term(name: str) -> None:
    """They sum to the residual term along v, on both routes alike, whatever the readout, over unequal batches."""
    torch.manual_seed(0)
    layer = STACKS[name]().double()
    readout = nn.Sequential(nn.Linear(layer.proj_size or layer.hidden_size, 3), nn.Tanh()).double()
    batches = [(torch.randn(9, size, 2).double(), torch.randint(3, (size,))) for size in (3, 2)]
    spectrum = hessian_spectrum(layer, batches, cross_entropy, k=2, readout=readout, eigenvectors=True, rng=0)
    arguments = dict(k=2, readout=readout, eigenvectors=spectrum, bins=4)
    fast = curvature_by_step(layer, batches, cross_entropy, **arguments)
    generic = curvature_by_step(Plain(as_map(layer)), batches, cross_entropy, **arguments)
    residual = curvature_by_step(layer, batches, cross_entropy, operator="residual", **arguments)
    assert fast.bin.values.tolist() == ["1-3", "4-5", "6-7", "8-9", "readout"]
    for ds in (fast, residual):
        found = ds.layer_curvature.sum("step") + ds.readout_layer_curvature
        np.testing.assert_allclose(found, residual.curvature, rtol=0, atol=1e-13)
        assert_sums(ds)
    assert abs(fast.readout_layer_curvature).min() > 1e-6
    for variable in fast.data_vars:
        np.testing.assert_allclose(fast[variable], generic[variable], rtol=0, atol=1e-13, err_msg=str(variable))


def test_layers_are_second_differentials_of_steps(data) -> None:
    """lambda_t . D^2 f [(dx, v), (dx, v)] and [(dx, 0), (dx, 0)] of each step, from torch.func."""
    cell, readout = network("GRU")
    inputs, targets = data
    names = [name for name, _ in cell.named_parameters()]
    options = dict(k=1, readout=readout, parameters=names)
    spectrum = hessian_spectrum(cell, data, cross_entropy, eigenvectors=True, rng=0, **options)
    ds = curvature_by_step(cell, data, cross_entropy, eigenvectors=spectrum, **options)
    vector = torch.tensor(spectrum.eigenvector.values[:, 0])
    parts = vector.split([p.numel() for p in cell.parameters()])
    change = {n: part.reshape(p.shape) for (n, p), part in zip(cell.named_parameters(), parts, strict=True)}
    point = {n: p.detach() for n, p in cell.named_parameters()}
    states, tangents = [torch.zeros(BATCH, 2).double()], [torch.zeros(BATCH, 2).double()]
    for input in inputs:

        def step(weights, state, input=input):
            return functional_call(cell, weights, (input, state))

        after, moved = torch.func.jvp(step, (point, states[-1]), (change, tangents[-1]))
        states.append(after)
        tangents.append(moved)
    adjoint = torch.func.grad(lambda x: cross_entropy(readout(x), targets))(states[-1])
    for t in reversed(range(STEPS)):

        def weighted(scale, with_parameters, t=t, adjoint=adjoint):
            weights = {n: point[n] + scale * change[n] if with_parameters else point[n] for n in names}
            return (functional_call(cell, weights, (inputs[t], states[t] + scale * tangents[t])) * adjoint).sum()

        for variable, both in (("layer_curvature", True), ("layer_state_curvature", False)):
            expected = hessian(lambda s, both=both: weighted(s, both))(torch.zeros(()).double())
            np.testing.assert_allclose(ds[variable][0, t], expected.detach(), rtol=1e-10, atol=1e-15)
        _, pull = torch.func.vjp(lambda x, t=t: functional_call(cell, point, (inputs[t], x)), states[t])
        (adjoint,) = pull(adjoint)
    assert "readout" not in spectrum.attrs["config_json"]
    np.testing.assert_allclose(ds.readout_curvature, 0, atol=0)


class Identity(Pointwise):
    linear_residual = True
    preactivations = 2

    def advance(self, preactivation, state):
        return preactivation.sum(dim=-2, keepdim=True)

    def linearise(self, preactivation, state):
        one = torch.ones_like(preactivation[..., 0, :])
        return {(0, 0): one, (0, 1): one}, lambda adjoint: {}


class Linear(RecurrentMap):
    """x_{t+1} = r x_t + a x_t + b s_t with r fixed."""

    state_size = input_size = 1
    dtype, device, unit_names = torch.float64, torch.device("cpu"), ("x",)

    def __init__(self, r: float, a: float, b: float) -> None:
        self.r = torch.tensor([[r]], dtype=torch.float64)
        self.a, self.b = (nn.Parameter(torch.tensor([[value]], dtype=torch.float64)) for value in (a, b))

    def step(self, state, input=None):
        return state * (self.r + self.a) + input * self.b

    def parameters(self):
        return iter((("a", self.a), ("b", self.b)))

    def cell_derivatives(self):
        zero = torch.zeros_like(self.r)
        weight = torch.cat((torch.cat((self.a, self.b, zero), 1), torch.cat((self.r, zero, zero), 1))).detach()
        first = torch.arange(1)
        return [AffineCell(Identity(), 1, weight, [Place(self.a, first, 0), Place(self.b, first, 1)], slice(0, 2))]


def linear_network() -> tuple[Linear, nn.Module, tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(0)
    readout = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(readout.weight, 1.3)
    return (
        Linear(0.9, 0.05, 0.5),
        readout,
        (torch.randn(6, 1, 1).double(), torch.full((1, 1), 0.1, dtype=torch.float64)),
    )


def half_square(outputs, targets):
    return 0.5 * ((outputs - targets) ** 2).sum()


@pytest.mark.parametrize("operator", ["ggn", "residual"])
def test_scalar_linear_network_in_closed_form(operator: str) -> None:
    """f = c sum_t p^(T-t) b s_t with p = r + a. df/da_t = c p^(T-t) x_(t-1), df/db_t = c p^(T-t) s_t, df/dc = x_T."""
    map, readout, (inputs, target) = linear_network()
    r, a, b, c, steps = 0.9, 0.05, 0.5, 1.3, 6
    p, s = r + a, inputs.flatten().numpy()
    x = np.zeros(steps + 1)
    for t in range(steps):
        x[t + 1] = p * x[t] + b * s[t]
    spectrum = hessian_spectrum(
        map, (inputs, target), half_square, k=3, operator=operator, readout=readout, eigenvectors=True, rng=0
    )
    ds = curvature_by_step(
        map, (inputs, target), half_square, k=3, operator=operator, readout=readout, eigenvectors=spectrum, bins=6
    )
    factor = c * x[-1] - 0.1  # dL/df
    for rank in (1, 2, 3):
        va, vb, vc = spectrum.eigenvector.sel(rank=rank).values
        at = ds.sel(rank=rank)

        def pushed(q, va=va, vb=vb, vc=vc):
            return np.append([c * q ** (steps - 1 - t) * (x[t] * va + s[t] * vb) for t in range(steps)], x[-1] * vc)

        if operator == "ggn":
            expected = np.outer(pushed(p), pushed(p))
            np.testing.assert_allclose(at.weak_coupling_curvature, np.outer(pushed(r), pushed(r)), rtol=1e-12)
        else:  # d^2f / da_t dtheta_s for s < t, and with c
            expected = np.zeros((steps + 1, steps + 1))
            for t in range(steps):
                for earlier in range(t):
                    direct = p ** (t - 1 - earlier) * (x[earlier] * va + s[earlier] * vb)
                    expected[t, earlier] = expected[earlier, t] = factor * c * p ** (steps - 1 - t) * va * direct
                expected[-1, t] = expected[t, -1] = factor * vc * pushed(p)[t] / c
            dx = [sum(p ** (t - 1 - e) * (x[e] * va + s[e] * vb) for e in range(t)) for t in range(steps + 1)]
            layers = [2 * factor * c * p ** (steps - 1 - t) * va * dx[t] for t in range(steps)]
            np.testing.assert_allclose(at.layer_curvature, layers, rtol=1e-11, atol=1e-15)
            np.testing.assert_allclose(at.readout_layer_curvature, 2 * factor * vc * dx[-1], rtol=1e-11)
            np.testing.assert_allclose(at.layer_state_curvature, 0, atol=0)
        np.testing.assert_allclose(at.step_to_step_curvature, expected, rtol=1e-11, atol=1e-14)


def test_schema_and_files(tmp_path) -> None:
    map, readout, data = linear_network()
    ds = curvature_by_step(map, data, half_square, k=2, readout=readout, bins=2, rng=0)
    assert set(ds.data_vars) == set(SCHEMA["curvature_by_step"])
    for name, variable in ds.data_vars.items():
        assert variable.dims == SCHEMA["curvature_by_step"][name].dims
    assert ds.first_step.values.tolist() == [1, 4, 7]
    assert ds.last_step.values.tolist() == [3, 6, 7]
    assert ds.step.values.tolist() == [1, 2, 3, 4, 5, 6]
    lyapkit.save(ds, tmp_path / "ds.nc")
    xr.testing.assert_identical(lyapkit.load(tmp_path / "ds.nc"), ds)
    ggn = curvature_by_step(map, data, half_square, k=1, readout=readout, bins=2, rng=0, operator="ggn")
    assert set(SCHEMA["curvature_by_step"]) - set(ggn.data_vars) == {
        "layer_curvature", "layer_state_curvature", "readout_layer_curvature",
    }  # fmt: skip
    assert "weak_coupling_curvature" not in curvature_by_step(*gru_arguments(), k=1, readout=gru()[1], rng=0)


def gru() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    return nn.GRU(2, 2).double(), nn.Linear(2, 1).double()


def gru_arguments(steps: int = 40):
    torch.manual_seed(2)
    return gru()[0], (torch.randn(steps, 3, 2).double(), torch.randn(3, 1).double()), mse_loss


def test_defaults_and_memory() -> None:
    """28 bins, as many as there are steps below that; recomputing everything changes nothing."""
    model, data, loss = gru_arguments()
    readout = gru()[1]
    spectrum = hessian_spectrum(model, data, loss, k=5, readout=readout, eigenvectors=True, rng=0)
    ds = curvature_by_step(model, data, loss, readout=readout, eigenvectors=spectrum)
    assert ds.sizes == {"rank": 5, "step": 40, "bin": 29, "other_bin": 29}
    tight = curvature_by_step(model, data, loss, readout=readout, eigenvectors=spectrum, memory_budget=0)
    for name in ds.data_vars:
        np.testing.assert_allclose(tight[name], ds[name], rtol=0, atol=1e-13)
    short = curvature_by_step(*gru_arguments(4), readout=readout, k=1, rng=0)
    assert short.bin.values.tolist() == ["1", "2", "3", "4", "readout"]


def test_parts_of_an_eigenvalue_of_another_operator() -> None:
    model, data, loss = gru_arguments(8)
    readout = gru()[1]
    spectrum = hessian_spectrum(model, data, loss, k=2, readout=readout, eigenvectors=True, rng=0)
    parts = [
        curvature_by_step(model, data, loss, k=2, readout=readout, eigenvectors=spectrum, operator=operator)
        for operator in ("ggn", "residual")
    ]
    np.testing.assert_allclose(parts[0].curvature + parts[1].curvature, spectrum.eigenvalue, rtol=1e-9)
    np.testing.assert_allclose(parts[0].eigenvalue, spectrum.eigenvalue, rtol=0)
    assert json.loads(parts[0].attrs["config_json"])["eigenvectors_of"] == "hessian"


def test_float32_sums_are_within_its_rounding() -> None:
    torch.manual_seed(0)
    layer, readout = nn.RNN(1, 16), nn.Linear(16, 3)
    data = torch.randn(100, 8, 1), torch.randint(3, (8,))
    ds = curvature_by_step(layer, data, cross_entropy, k=3, readout=readout, rng=0)
    scale = float(abs(ds.eigenvalue).max())
    assert_sums(ds, atol=1e-12 * scale)
    np.testing.assert_allclose(ds.curvature, ds.eigenvalue, rtol=0, atol=1e-4 * scale)
    asymmetry = ds.step_to_step_curvature.values - ds.step_to_step_curvature.values.swapaxes(1, 2)
    assert abs(asymmetry).max() < 1e-5 * scale


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"operator": "fisher"}, ValueError, "operator must be one of hessian, ggn, residual, got 'fisher'"),
        ({"k": 0}, ValueError, "k must be between 1"),
        ({"k": 2.5}, TypeError, "k must be an integer"),
        ({"k": 1000}, ValueError, "k must be between 1"),
        ({"bins": 0}, ValueError, "bins must be between 1 and the number of steps 6, got 0"),
        ({"bins": 7}, ValueError, "bins must be between 1 and the number of steps 6, got 7"),
        ({"bins": 1.5}, TypeError, "bins must be an integer or None"),
        ({"memory_budget": -1}, ValueError, "memory_budget must be a number of bytes"),
        ({"readout": None}, TypeError, "no readout"),
        ({"parameters": ["nothing"]}, ValueError, "unknown parameters"),
        ({"readout": nn.Linear(7, 1).double()}, ValueError, "readout cannot take the network's output of shape"),
        ({"reduction": "max"}, ValueError, "reduction must be"),
        ({"eigenvectors": xr.Dataset()}, ValueError, "eigenvectors must be a result of hessian_spectrum"),
    ],
)
def test_bad_arguments(changes, error, message) -> None:
    arguments = {"readout": gru()[1], "k": 1, "rng": 0} | changes
    with pytest.raises(error, match=message):
        curvature_by_step(*gru_arguments(6), **arguments)


def test_bad_batches_and_eigenvectors() -> None:
    model, data, loss = gru_arguments(6)
    readout = gru()[1]
    with pytest.raises(ValueError, match=r"same number of steps, got \[6, 8\]"):
        curvature_by_step(model, [data, gru_arguments(8)[1]], loss, readout=readout)
    without = hessian_spectrum(model, data, loss, k=1, readout=readout, rng=0)
    with pytest.raises(ValueError, match="with eigenvectors=True"):
        curvature_by_step(model, data, loss, readout=readout, eigenvectors=without)
    spectrum = hessian_spectrum(model, data, loss, k=2, readout=readout, rng=0, eigenvectors=True)
    with pytest.raises(ValueError, match="number of eigenvectors 2, got 3"):
        curvature_by_step(model, data, loss, k=3, readout=readout, eigenvectors=spectrum)
    for names in (["weight_hh_l0"], [name for name, _ in as_map(model).parameters()][::-1]):
        with pytest.raises(ValueError, match=r"eigenvectors must be a result for the .*, in this order, got one for"):
            curvature_by_step(model, data, loss, k=1, readout=readout, eigenvectors=spectrum, parameters=names)
    with pytest.raises(ValueError, match="not deterministic"):
        curvature_by_step(model, data, lambda f, t: mse_loss(f, t) * torch.rand(()), readout=readout)
    with torch.inference_mode(), pytest.raises(RuntimeError, match="inference_mode"):
        curvature_by_step(model, data, loss, readout=readout)


def test_overflow_is_an_error() -> None:
    map = Linear(50.0, 0.0, 0.0)
    inputs, target = torch.ones(4, 1, 1).double(), torch.zeros(1, 1).double()
    readout = nn.Linear(1, 1, bias=False).double()
    spectrum = hessian_spectrum(map, (inputs, target), half_square, k=1, readout=readout, eigenvectors=True, rng=0)
    long = torch.ones(190, 1, 1).double(), target
    with pytest.raises(FloatingPointError, match="curvature of eigenvector 1 is not finite"):
        curvature_by_step(map, long, half_square, k=1, readout=readout, eigenvectors=spectrum, check=False)


def sample() -> xr.Dataset:
    matrix = np.array([[[0.5, 0.25, 0.0], [0.25, -0.75, 0.125], [0.0, 0.125, 1.0]]])
    return make_dataset(
        "curvature_by_step",
        {
            "eigenvalue": np.array([1.5]),
            "curvature": np.array([1.5]),
            "step_curvature": np.array([[0.25, 0.5, -0.5, 0.125]]),
            "readout_curvature": np.array([1.125]),
            "step_to_step_curvature": matrix,
            "weak_coupling_curvature": 2 * matrix,
            "first_step": np.array([1, 3, 5]),
            "last_step": np.array([2, 4, 5]),
        },
        {"rank": [1], "step": [1, 2, 3, 4], "bin": ["1-2", "3-4", "readout"], "other_bin": ["1-2", "3-4", "readout"]},
        {},
    )


def test_plot_of_curvature_by_step(ax) -> None:
    assert plots.curvature_by_step(sample(), ax=ax, color="black") is ax
    line = ax.lines[0]
    np.testing.assert_allclose(line.get_xdata(), [1, 2, 3, 4])
    np.testing.assert_allclose(line.get_ydata(), np.array([0.25, 0.5, -0.5, 0.125]) / 1.5)
    assert line.get_color() == "black"
    assert ax.get_legend().get_texts()[0].get_text() == r"$\lambda_{1}$ = 1.5, readout 0.75"
    ax.clear()
    plots.curvature_by_step(sample(), ax=ax, relative=False)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [0.25, 0.5, -0.5, 0.125])
    assert ax.get_ylabel() == "curvature"
    with pytest.raises(ValueError, match="ranks must be at least 1"):
        plots.curvature_by_step(sample(), ax=ax, ranks=0)
    with pytest.raises(ValueError, match="this plot draws the result of curvature_by_step"):
        plots.curvature_by_step(xr.Dataset(), ax=ax)


def test_plot_of_curvature_between_steps(ax) -> None:
    assert plots.curvature_between_steps(sample(), ax=ax) is ax
    (mesh,) = ax.collections
    np.testing.assert_allclose(mesh.get_array().reshape(2, 2), [[0.5, 0.25], [0.25, -0.75]])
    np.testing.assert_allclose(mesh.get_coordinates()[0, :, 0], [0.5, 2.5, 4.5])
    assert mesh.get_clim() == (-0.75, 0.75)
    ax.clear()
    plots.curvature_between_steps(sample(), ax=ax, weak_coupling=True, vmax=3, cmap="PuOr")
    (mesh,) = ax.collections
    np.testing.assert_allclose(mesh.get_array().reshape(2, 2), [[1.0, 0.5], [0.5, -1.5]])
    assert mesh.get_clim() == (-3, 3)
    assert mesh.get_cmap().name == "PuOr"
    with pytest.raises(ValueError, match=r"rank must be one of \[1\], got 2"):
        plots.curvature_between_steps(sample(), ax=ax, rank=2)
    with pytest.raises(ValueError, match="no weak_coupling_curvature"):
        plots.curvature_between_steps(sample().drop_vars("weak_coupling_curvature"), ax=ax, weak_coupling=True)
    with pytest.raises(ValueError, match="this plot draws the result of curvature_by_step"):
        plots.curvature_between_steps(xr.Dataset(), ax=ax)


def test_eigenvectors_of_an_operator_that_does_not_exist_are_refused() -> None:
    spectrum = xr.Dataset(attrs={"config_json": '{"operator": "fisher"}'})
    with pytest.raises(ValueError, match="'fisher' in its config_json, expected one of hessian, ggn, residual"):
        operator_of(spectrum, "eigenvectors")

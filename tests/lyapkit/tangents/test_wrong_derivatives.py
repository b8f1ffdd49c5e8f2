"""Derivatives that are right at rest only, hooks, stale weights, coarse types: refused, or right, and said so."""

import copy
import json
import math
from contextlib import nullcontext

import numpy as np
import pytest
import torch
import torch.nn.utils.prune as prune
from torch import Tensor, nn

import lyapkit
from lyapkit import as_map

MSE = nn.functional.mse_loss


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def qr_exponents(jacobians: list[np.ndarray]) -> np.ndarray:
    """The textbook loop."""
    frame, growth = np.eye(len(jacobians[0])), np.zeros(len(jacobians[0]))
    for jacobian in jacobians:
        frame, r = np.linalg.qr(jacobian @ frame)
        growth += np.log(np.abs(np.diag(r)))
    return np.sort(growth / len(jacobians))[::-1]


def gated(gate):
    """A network whose gate is 1/2, with derivative 0, at rest."""
    weight, feed = normal(6, 6), 2 * normal(6, 6, seed=1)
    zero = torch.zeros(6, dtype=torch.float64)
    return as_map(lambda h, s: torch.tanh(weight @ h * torch.sigmoid(feed @ gate(h)) + s), state=zero, input=zero[:1])


class Spike(torch.autograd.Function):
    """A threshold with a rectangular surrogate, which is zero at rest, as the derivative is."""

    generate_vmap_rule = True

    @staticmethod
    def forward(u):
        return (u > 0).to(u)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(inputs[0])

    @staticmethod
    def backward(ctx, gradient):
        return gradient * (ctx.saved_tensors[0].abs() < 0.5)


def neuron(dtype: torch.dtype = torch.float64):
    zero = torch.zeros(1, dtype=dtype)
    return as_map(lambda v, s: 0.9 * v * (1 - Spike.apply(v - 1)) + s, state=zero, input=zero)


INPUTS = normal(300, 1, seed=2)
CURRENT = 0.5 * torch.rand(400, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def zeros(size: int) -> Tensor:
    return torch.zeros(1, size, dtype=torch.float64)


ANALYSES = {
    "spectrum": lambda map, s: lyapkit.lyapunov_spectrum(map, s),
    "short spectrum": lambda map, s: lyapkit.lyapunov_spectrum(map, s[:120]),
    "leading": lambda map, s: lyapkit.lyapunov_spectrum(map, s, k=1, rng=0),
    "batch": lambda map, s: lyapkit.lyapunov_spectrum(map, s[:, None].expand(-1, 5, -1)),
    "exponents": lambda map, s: lyapkit.lyapunov_exponents(map, s[:120]),
    "variational": lambda map, s: lyapkit.variational_term(map, s),
    "covariant": lambda map, s: lyapkit.covariant_vectors(map, s, k=1, rng=0),
    "gradients": lambda map, s: lyapkit.gradient_propagation(
        map, s, zeros(map.state_size), MSE, readout=nn.Identity(), exponent=False
    ),
}


@pytest.mark.parametrize("analysis", ANALYSES)
@pytest.mark.parametrize(("map", "inputs"), [(gated(torch.detach), INPUTS), (neuron(), CURRENT)], ids=["gate", "spike"])
def test_a_derivative_that_is_right_at_rest_only_is_refused(analysis: str, map, inputs: Tensor) -> None:
    with pytest.raises(ValueError, match=r"disagrees with a finite difference by .* in x\[\d\] at step \d+ of traj"):
        ANALYSES[analysis](map, inputs)


def test_the_right_gate_passes_with_the_right_exponents() -> None:
    ds = lyapkit.lyapunov_spectrum(gated(lambda h: h), INPUTS)
    config = json.loads(ds.attrs["config_json"])
    assert config["derivatives"] == "checked"
    assert 0 < config["derivative_error"] < 1e-6
    assert 1 <= config["derivative_error_step"] <= 300
    map, state, jacobians = gated(lambda h: h), torch.zeros(6, dtype=torch.float64), []
    for s in INPUTS:
        jacobians.append(torch.autograd.functional.jacobian(lambda h, s=s: map.step(h, s), state).numpy())
        state = map.step(state, s).detach()
    np.testing.assert_allclose(ds.lyapunov_exponent.values[0], qr_exponents(jacobians), atol=1e-10)


def test_surrogates_pass_unchecked_and_the_result_says_so() -> None:
    for analysis in (lyapkit.lyapunov_spectrum, lyapkit.variational_term):
        config = json.loads(analysis(neuron(), CURRENT, check=False).attrs["config_json"])
        assert config["derivatives"] == "surrogate"
        assert config["derivative_error"] > 0.1
        assert config["derivative_error_step"] > 1
    config = json.loads(lyapkit.lyapunov_spectrum(gated(lambda h: h), INPUTS, check=False).attrs["config_json"])
    assert config["derivatives"] == "checked"


@pytest.mark.parametrize("offset", [65, 1e3, 1e5, 1e6])
def test_neurons_far_from_zero_in_single_precision_are_looked_at(offset: float) -> None:
    """At -65 mV, and as far as float32 still has some digits behind the point."""
    weight = 3 * normal(40, 40).float()
    rest = normal(40, seed=1).float() - offset

    def neurons(seen):
        return as_map(lambda v: v + 0.1 * (-offset - v + weight @ torch.sigmoid(seen(v) + offset)), state=rest)

    with pytest.raises(ValueError, match="disagrees with a finite difference"):
        lyapkit.lyapunov_spectrum(neurons(torch.detach), steps=60, k=2, rng=0)
    ds = lyapkit.lyapunov_spectrum(neurons(lambda v: v), steps=60, k=2, rng=0)
    assert json.loads(ds.attrs["config_json"])["derivative_error"] < 1e-3


LEGITIMATE = {
    "tent": (lambda x: 1.9 * torch.minimum(x, 1 - x), [0.3]),
    "Lozi": (lambda x: torch.stack((1 - 1.7 * x[0].abs() + x[1], 0.5 * x[0])), [0.0, 0.0]),
    "Gauss": (lambda x: torch.exp(-6.2 * x**2) - 0.5, [0.1]),
    "hard sigmoid": (lambda x: nn.functional.hardsigmoid(3 * x.roll(1)) - 0.4 * x, [0.3, -0.4, 0.9]),
    "jumps at 1e4": (lambda x: torch.where(x > 1e4, x - 5e3, 1.01 * x + 30), [1e4, 2e2, 7e3]),
    "one-hot inside": (
        lambda x: 0.5 * torch.tanh(x) + 0.1 * nn.functional.one_hot(x.argmax(), 3).to(x),
        [0.3, 0.5, 0.4],
    ),
    "stiff": (lambda x: torch.sigmoid(1e6 * (x - 0.5)) * 0.3 + 0.6 * x, [0.2]),
    "tiny": (lambda x: 0.5 * x, [1.0]),
    "stacked rectifiers at rest": (lambda x: torch.relu(0.9 * torch.relu(x).roll(1)), [0.0, 0.0]),
    "dot product": (lambda x: torch.tanh(x * (1 + x @ x)), [0.3, 0.4]),
    "rounded to whole numbers": (lambda x: 1.3 * x - x.floor(), [0.3, 0.4]),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", LEGITIMATE)
def test_kinks_jumps_and_scales_are_not_refused(name: str, dtype: torch.dtype) -> None:
    step, start = LEGITIMATE[name]
    map = as_map(step, state=torch.tensor(start, dtype=dtype))
    warned = pytest.warns(UserWarning, match="rests on a kink of the map, at 41 of the 41 steps")
    with warned if name == "stacked rectifiers at rest" else nullcontext():  # the only one that stays on its kink
        ds = lyapkit.lyapunov_spectrum(map, steps=300)
    assert json.loads(ds.attrs["config_json"])["derivatives"] == "checked"


def test_derivatives_of_1e200_are_not_refused() -> None:
    one = torch.ones(1, dtype=torch.float64)
    inputs = torch.tensor([460.0, -460.0], dtype=torch.float64).repeat(50)[:, None]
    ds = lyapkit.lyapunov_spectrum(as_map(lambda x, s: torch.exp(s) * x, state=one, input=one), inputs)
    np.testing.assert_allclose(ds.lyapunov_exponent.values, 0, atol=1e-12)


def test_half_precision_inside_a_step_is_named() -> None:
    weight = normal(8, 8).float()
    start = normal(8, seed=1).float()

    def autocast(h: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return torch.tanh(weight @ h).float()

    for step, name in (
        (lambda h: torch.tanh((weight.bfloat16() @ h.bfloat16()).float()), "bfloat16"),
        (lambda h: torch.tanh((weight.half() @ h.half()).float()), "float16"),
        (autocast, "bfloat16"),
    ):
        for state in (start, start.double()):
            with pytest.raises(ValueError, match=f"computes in {name} inside.*convert weights and activations"):
                lyapkit.lyapunov_spectrum(
                    as_map(lambda h, step=step: step(h.float()).to(h), state=state), steps=20, k=2, rng=0
                )


def recurrent(dtype: torch.dtype = torch.float64):
    torch.manual_seed(0)
    return nn.RNN(2, 5).to(dtype), nn.Linear(5, 1).to(dtype), normal(20, 4, 2).to(dtype), torch.ones(4, 1, dtype=dtype)


class Whole(nn.Module):
    def __init__(self, layer: nn.Module, readout: nn.Module) -> None:
        super().__init__()
        self.layer, self.readout = layer, readout

    def forward(self, inputs: Tensor) -> Tensor:
        return self.readout(self.layer(inputs)[0][-1])


def gradients(layer, readout, inputs, targets, **options):
    return lyapkit.gradient_propagation(
        layer, inputs, targets, MSE, readout=readout, parameter_gradients=True, exponent=False, **options
    )


CURVATURES = {
    "spectrum": lambda layer, readout, x, y: lyapkit.hessian_spectrum(layer, (x, y), MSE, readout=readout, k=2, rng=0),
    "module": lambda layer, readout, x, y: lyapkit.hessian_spectrum(Whole(layer, readout), (x, y), MSE, k=2, rng=0),
    "ggn": lambda layer, readout, x, y: lyapkit.hessian_spectrum(
        layer, (x, y), MSE, readout=readout, k=2, operator="ggn", rng=0
    ),
    "density": lambda layer, readout, x, y: lyapkit.spectral_density(layer, (x, y), MSE, readout=readout, rng=0),
    "by step": lambda layer, readout, x, y: lyapkit.curvature_by_step(layer, (x, y), MSE, readout=readout, k=1, rng=0),
    "operator": lambda layer, readout, x, y: lyapkit.curvature_operator(layer, (x, y), MSE, readout=readout),
}


@pytest.mark.parametrize("hook", [lambda g: g.clamp(-0.01, 0.01), lambda g: g * (g > 0)], ids=["clamp", "mask"])
def test_tensor_hooks_are_named_and_the_remedies_work(hook) -> None:
    layer, readout, x, y = recurrent()
    right = gradients(layer, readout, x, y).log_total_gradient_norm.values
    loss = MSE(readout(layer(x)[0][-1]), y)
    norms = [gradient.norm().log().item() for gradient in torch.autograd.grad(loss, [*layer.parameters()])]
    np.testing.assert_allclose(right[:4], norms, atol=1e-10)
    handle = layer.weight_hh_l0.register_hook(hook)
    with pytest.raises(ValueError, match=r"weight_hh_l0 has a tensor hook.*handle\.remove\(\).*copy\.deepcopy"):
        gradients(layer, readout, x, y)
    for curvature in CURVATURES.values():
        with pytest.raises(ValueError, match="weight_hh_l0 has a tensor hook"):
            curvature(layer, readout, x, y)
    np.testing.assert_allclose(
        gradients(copy.deepcopy(layer), readout, x, y).log_total_gradient_norm.values, right, atol=1e-12
    )
    handle.remove()
    np.testing.assert_allclose(gradients(layer, readout, x, y).log_total_gradient_norm.values, right, atol=1e-12)


def test_hooks_after_accumulation_change_nothing() -> None:
    layer, readout, x, y = recurrent()
    right = gradients(layer, readout, x, y).log_total_gradient_norm.values
    layer.weight_hh_l0.register_post_accumulate_grad_hook(lambda parameter: parameter.grad.zero_())
    np.testing.assert_array_equal(gradients(layer, readout, x, y).log_total_gradient_norm.values, right)


def test_backward_hooks_of_modules_are_named() -> None:
    class Step(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(3, 3).double()

        def forward(self, h: Tensor) -> Tensor:
            return torch.tanh(self.inner(h))

    torch.manual_seed(0)
    module = Step()
    map = as_map(module, state=normal(3))

    def analysis():
        return lyapkit.gradient_propagation(map, None, zeros(3), MSE, steps=9, readout=nn.Identity())

    right = analysis().growth_rate.values
    logged = module.inner.register_full_backward_hook(lambda module, before, after: None)
    np.testing.assert_array_equal(analysis().growth_rate.values, right)  # one that only looks is left alone
    logged.remove()
    module.inner.register_full_backward_hook(lambda module, before, after: (0.1 * before[0],))
    with pytest.raises(ValueError, match=r"differs from its derivative forwards.*the backward hooks of Linear"):
        analysis()


def test_surrogates_in_a_network_are_refused_by_hessians_and_said_without_check() -> None:
    class Spiking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.feed, self.read = nn.Linear(1, 4).double(), nn.Linear(4, 1).double()

        def forward(self, inputs: Tensor) -> Tensor:
            v = inputs.new_zeros(inputs.shape[1], 4)
            for s in inputs:
                v = 0.9 * v * (1 - Spike.apply(v - 1)) + self.feed(s)
            return self.read(v)

    torch.manual_seed(0)
    batch = 2 + normal(30, 4, 1), torch.ones(4, 1, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"the gradient of the loss disagrees .* surrogate gradient"):
        lyapkit.hessian_spectrum(Spiking(), batch, MSE, k=1, rng=0)
    ds = lyapkit.hessian_spectrum(Spiking(), batch, MSE, k=1, rng=0, check=False, max_products=30)
    assert json.loads(ds.attrs["config_json"])["derivatives"] == "surrogate"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", CURVATURES)
def test_right_gradients_pass(name: str, dtype: torch.dtype) -> None:
    layer, readout, x, y = recurrent(dtype)
    found = CURVATURES[name](layer, readout, x, y)
    if name != "operator":
        assert json.loads(found.attrs["config_json"])["derivatives"] == "checked"
    for parameter in (*layer.parameters(), *readout.parameters()):
        assert parameter.dtype == dtype


def test_half_precision_inside_a_loss_is_named() -> None:
    layer, readout, x, y = recurrent(torch.float32)

    class Coarse(Whole):
        def forward(self, inputs: Tensor) -> Tensor:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return self.readout(torch.tanh(inputs.sum(0) @ self.layer.weight_ih_l0.T)).float()

    with pytest.raises(ValueError, match="compute in bfloat16 internally"):
        lyapkit.hessian_spectrum(Coarse(layer, readout), (x, y), MSE, k=1, rng=0)


class Dropped(nn.Module):
    """Dropout of recurrent weights, which puts what is left of them into the layer at every call."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.layer = nn.LSTM(2, 4).double()
        weight = self.layer.weight_hh_l0
        del self.layer.weight_hh_l0
        self.layer.register_parameter("weight_hh_l0_raw", nn.Parameter(weight.data))

    def forward(self, inputs: Tensor) -> Tensor:
        weight = nn.functional.dropout(self.layer.weight_hh_l0_raw, 0.5, self.training)
        if self.kind == "parameter":
            self.layer.weight_hh_l0 = nn.Parameter(weight.detach())
        elif self.kind == "plain":
            self.layer.weight_hh_l0 = weight
        else:
            self.layer._parameters["weight_hh_l0"] = weight
        return self.layer(inputs)[0]


@pytest.mark.parametrize("kind", ["plain", "parameter", "among the parameters"])
def test_stale_weights_are_refused_and_the_remedy_works(kind: str) -> None:
    torch.manual_seed(0)
    model, inputs = Dropped(kind), normal(60, 1, 2)
    right = nn.LSTM(2, 4).double()
    right.load_state_dict({name.replace("_raw", ""): value for name, value in model.layer.state_dict().items()})
    model(inputs)
    model.eval()
    with pytest.raises(ValueError, match=r"weight_hh_l0 of LSTM is .*old numbers.*torch\.nn\.Parameter\(w\)"):
        lyapkit.lyapunov_spectrum(model.layer, inputs)
    model(inputs)
    layer = model.layer
    w = layer.weight_hh_l0.detach().clone()
    del layer.weight_hh_l0
    layer.weight_hh_l0 = torch.nn.Parameter(w)
    np.testing.assert_array_equal(
        lyapkit.lyapunov_spectrum(layer, inputs).lyapunov_exponent,
        lyapkit.lyapunov_spectrum(right, inputs).lyapunov_exponent,
    )


UTILS = nn.utils
HOOKED = {
    "prune": (
        lambda module, name: prune.l1_unstructured(module, name, 0.5),
        prune.remove,
        r"torch\.nn\.utils\.prune\.remove\(module, 'weight_hh",
    ),
    "weight norm": (UTILS.weight_norm, UTILS.remove_weight_norm, r"remove_weight_norm\(module, 'weight_hh"),
    "spectral norm": (UTILS.spectral_norm, UTILS.remove_spectral_norm, r"remove_spectral_norm\(module, 'weight_hh"),
}


@pytest.mark.filterwarnings("ignore:.*weight_norm.*deprecated")
@pytest.mark.parametrize("name", HOOKED)
@pytest.mark.parametrize(
    ("kind", "weight"), [(nn.LSTM, "weight_hh_l0"), (nn.GRUCell, "weight_hh")], ids=["layer", "cell"]
)
def test_hooks_that_make_weights_are_named_and_the_remedies_work(name: str, kind, weight: str) -> None:
    apply, remove, message = HOOKED[name]
    torch.manual_seed(0)
    module, inputs = kind(2, 4).double().eval(), normal(50, 2)
    apply(module, weight)
    with pytest.raises(ValueError, match=message):
        lyapkit.lyapunov_spectrum(module, inputs)
    module(inputs[:1])
    before = getattr(module, weight).detach().clone()
    remove(module, weight)
    assert torch.equal(getattr(module, weight), before)
    plain = kind(2, 4).double()
    plain.load_state_dict(module.state_dict())
    expected = lyapkit.lyapunov_spectrum(plain, inputs).lyapunov_exponent.values
    np.testing.assert_array_equal(lyapkit.lyapunov_spectrum(module, inputs).lyapunov_exponent.values, expected)


def test_parametrised_and_buffered_weights_pass() -> None:
    torch.manual_seed(0)
    for parametrised in (UTILS.parametrizations.weight_norm, UTILS.parametrizations.spectral_norm):
        layer = nn.GRU(2, 4).double()
        parametrised(layer, "weight_hh_l0")
        assert math.isfinite(lyapkit.lyapunov_spectrum(layer.eval(), normal(50, 2)).lyapunov_exponent.values.sum())
    layer = nn.GRU(2, 4).double()
    expected = lyapkit.lyapunov_spectrum(layer, normal(50, 2)).lyapunov_exponent.values
    weight = layer.weight_hh_l0.data
    del layer.weight_hh_l0
    layer.register_buffer("weight_hh_l0", weight)
    np.testing.assert_array_equal(lyapkit.lyapunov_spectrum(layer, normal(50, 2)).lyapunov_exponent.values, expected)


EVERY = {
    "lyapunov": lambda layer, readout, x, y: lyapkit.lyapunov_spectrum(layer, x, rng=0),
    "exponents": lambda layer, readout, x, y: lyapkit.lyapunov_exponents(layer, x, rng=0),
    "variational": lambda layer, readout, x, y: lyapkit.variational_term(layer, x),
    "covariant": lambda layer, readout, x, y: lyapkit.covariant_vectors(layer, x, k=1, rng=0),
    "gradients": gradients,
    "analyze": lambda layer, readout, x, y: lyapkit.analyze(layer, x, y, MSE, readout=readout, hessian_k=1, rng=0),
    **CURVATURES,
}


@pytest.mark.parametrize("name", EVERY)
def test_autocast_and_a_meta_device_are_refused_by_name(name: str) -> None:
    given = recurrent(torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16), pytest.raises(RuntimeError, match=r"torch.autocast is on"):
        EVERY[name](*given)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.autocast("cpu", enabled=False):
        EVERY[name](*given)
    with torch.device("meta"), pytest.raises(RuntimeError, match="the default device is meta"):
        EVERY[name](*given)


def values_of(found) -> list[np.ndarray]:
    if isinstance(found, Tensor):
        return [found.detach().numpy()]
    if hasattr(found, "matmat"):
        return [found @ np.ones(found.shape[0])]
    datasets = found.children.values() if hasattr(found, "children") else [found]
    return [ds[name].values for ds in datasets for name in ds.data_vars if ds[name].dtype.kind == "f"]


@pytest.mark.parametrize("name", EVERY)
def test_no_grad_and_default_types_change_nothing(name: str) -> None:
    given = recurrent()
    expected = values_of(EVERY[name](*given))
    with torch.no_grad():
        found = [values_of(EVERY[name](*given))]
    before = torch.get_default_dtype()
    for dtype in (torch.float64, torch.bfloat16):
        try:
            torch.set_default_dtype(dtype)
            found.append(values_of(EVERY[name](*given)))
        finally:
            torch.set_default_dtype(before)
    for values in found:
        for one, other in zip(values, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", EVERY)
def test_weights_of_inference_mode_work_or_are_explained(name: str) -> None:
    with torch.inference_mode():
        layer, readout, x, y = recurrent()
    x, y = x.clone(), y.clone()
    if name in ("lyapunov", "variational", "covariant"):
        EVERY[name](layer, readout, x, y)
    else:
        with pytest.raises(ValueError, match=r"made under torch\.inference_mode\(\).*copy\.deepcopy\(model\)"):
            EVERY[name](layer, readout, x, y)
    found, right = EVERY[name](copy.deepcopy(layer), copy.deepcopy(readout), x, y), EVERY[name](*recurrent())
    for one, other in zip(values_of(found), values_of(right), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)

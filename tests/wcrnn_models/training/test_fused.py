"""The Triton kernels: on a GPU or else in Triton's interpreter, and compiled for GPUs that are not there."""

import copy
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from wcrnn_models import WCRNN, TrainConfig, residuals, train
from wcrnn_models.models.equations import Equation
from wcrnn_models.training.adjoint import EnsembleForward, function
from wcrnn_models.training.adjoint.fused import FusedKernel, fused_kernel_fits, shared_memory
from wcrnn_models.training.adjoint.sequence import SequenceKernel
from wcrnn_models.training.ensemble import train_ensemble

pytest.importorskip("triton", reason="needs Triton, for Linux; install the extra gpu")

HAS_GPU = torch.cuda.is_available()
DEVICE = "cuda" if HAS_GPU else "cpu"
if not HAS_GPU:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")  # is read when kernels are defined
        from wcrnn_models.training.adjoint import triton_kernels as triton_kernels

UNITS = 10
RESIDUALS = {
    "diagonal": lambda seed: residuals.heterogeneous(0.96, 0.1, rng=seed),
    "pairs": lambda seed: residuals.informed(rng=seed),
    "dense": lambda seed: residuals.orthogonal(0.9, rng=seed),
}
EQUATIONS = [("linear", "tanh"), ("A", "tanh"), ("B", "tanh"), ("A", "identity")]


def network(residual, form="linear", nonlinearity="tanh", seed=0, **changes):
    options = {"coupling": 0.3, "dtype": torch.float64, "inputs": 2, "units": UNITS, **changes}
    sizes = options.pop("inputs"), options.pop("units"), 3
    return WCRNN(*sizes, residual=residual, form=form, nonlinearity=nonlinearity, rng=seed, **options).to(DEVICE)


def samples(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(DEVICE, dtype)


@pytest.fixture
def fused(monkeypatch):
    """Have networks computed by these kernels wherever they are."""
    monkeypatch.setattr(function, "fused_kernel_fits", lambda networks: True)


def gradients(outputs, models, targets):
    loss = sum((output - targets).square().mean() for output in outputs)
    return torch.autograd.grad(loss, [parameter for model in models for parameter in model.parameters()])


def check(models, inputs, kind=None):
    """Outputs and gradients against those of the step loop of each network, in float64."""
    forward = EnsembleForward(models)
    assert isinstance(forward.kernel, FusedKernel)
    assert kind in (None, forward.kernel.options["RESIDUAL"])
    targets = samples(inputs[0].shape[1], 3, seed=9)
    found, expected = forward(inputs), [model(each) for model, each in zip(models, inputs, strict=True)]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-13, atol=1e-14)
    for one, other in zip(*(gradients(outputs, models, targets) for outputs in (found, expected)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-13 * max(1, float(other.abs().max())))
    with torch.no_grad():
        for one, other in zip(forward(inputs), expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize(("form", "nonlinearity"), EQUATIONS)
@pytest.mark.parametrize("kind", RESIDUALS)
def test_outputs_and_gradients_are_those_of_the_step_loop(fused, kind, form, nonlinearity):
    """Of two networks; the batch is one more than a block, the units are no power of two, states are kept or not."""
    models = [network(RESIDUALS[kind](seed), form, nonlinearity, seed) for seed in range(2)]
    check(models, [samples(5, 17, 2, seed=seed) for seed in range(2)], kind)


@pytest.mark.parametrize(
    ("count", "steps", "batch", "inputs", "units"),
    [(1, 1, 1, 1, 1), (3, 1, 16, 1, 2), (1, 18, 3, 4, 7), (1, 2, 33, 1, 16), (2, 2, 3, 3, 35)],
)
def test_any_size(fused, count, steps, batch, inputs, units):
    """One step, one unit, an odd number of units, full and partly filled blocks, more steps than one product takes."""
    models = [network(residuals.scalar(0.9), seed=k, units=units, inputs=inputs) for k in range(count)]
    check(models, [samples(steps, batch, inputs, seed=k) for k in range(count)], "diagonal")


@pytest.mark.parametrize(
    ("others", "kind"),
    [
        ([residuals.scalar(1.0), residuals.heterogeneous(0.9, 0.1, rng=0)], "diagonal"),
        ([residuals.scalar(0.9), residuals.rotation("random", rng=1), residuals.informed(rng=2)], "pairs"),
        ([residuals.product(residuals.rotation(0.1), residuals.scalar(0.9), residuals.rotation(0.2))], "pairs"),
        ([residuals.rotation(0.3), residuals.product(residuals.scalar(0.9), residuals.orthogonal(rng=3))], "dense"),
    ],
    ids=["diagonals", "blocks", "product", "with a matrix"],
)
def test_residuals_of_several_kinds(fused, others, kind):
    models = [network(residual, "A", seed=k) for k, residual in enumerate(others)]
    check(models, [samples(3, 4, 2, seed=k) for k in range(len(models))], kind)


@pytest.mark.parametrize(("form", "nonlinearity"), EQUATIONS)
def test_a_coupling_for_every_unit(fused, form, nonlinearity):
    gamma = torch.linspace(0.0, 0.5, UNITS, dtype=torch.float64)
    check([network(residuals.rotation(0.2), form, nonlinearity, coupling=gamma)], [samples(4, 3, 2)])


@pytest.mark.parametrize("form", ["linear", "A", "B"])
def test_single_precision_errs_as_the_step_loop_does(fused, form):
    """Against float64: at most a few times the error of the loop, both of the order of rounding."""
    exact = network(residuals.informed(rng=0), form, coupling=0.1)
    single = copy.deepcopy(exact).float()
    exact = copy.deepcopy(single).double()  # the same numbers
    inputs, targets = samples(60, 16, 2, dtype=torch.float32), samples(16, 3, seed=1, dtype=torch.float32)
    reference = gradients([exact(inputs.double())], [exact], targets.double())
    loop = gradients([single(inputs)], [single], targets)
    ours = gradients(EnsembleForward([single])([inputs]), [single], targets)
    for one, other, truth in zip(ours, loop, reference, strict=True):
        ours_error, loop_error = (float((each - truth).norm() / truth.norm()) for each in (one, other))
        assert ours_error < 2 * loop_error + 1e-6 < 1e-5


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # NumPy's, by which kernels are interpreted
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 4e-15), (torch.float32, 2e-6)])
def test_tanh_is_accurate_in_relative_terms(fused, dtype, tolerance):
    """A step from zero with gamma = 1 and the drive u = s is tanh s; at 0.125 a series takes over."""
    values = torch.cat([torch.logspace(-9, 3, 60), torch.linspace(0.12, 0.13, 40)]).to(DEVICE, dtype)
    values = torch.cat([values, -values, values.new_zeros(1)])
    kernel = FusedKernel([network(residuals.scalar(1.0), units=1, inputs=1, coupling=1.0, dtype=dtype)])
    weight = values.new_tensor([[[0.0, 0.0, 1.0, 0.0]]])  # W, b, W_sx, and nothing
    states, _ = kernel.forward(weight, [values.reshape(1, -1, 1)], keep=False)
    torch.testing.assert_close(states.flatten(), values.tanh(), rtol=tolerance, atol=0)
    odd = values.new_tensor([torch.nan, torch.inf, -torch.inf])
    states, _ = kernel.forward(weight, [odd.reshape(1, -1, 1)], keep=False)
    torch.testing.assert_close(states.flatten(), odd.tanh(), rtol=0, atol=0, equal_nan=True)


def test_changed_residuals_and_couplings_are_seen(fused):
    """In place, as by `load_state_dict`, and replaced; unchanged, they are not read again."""
    model, other = network(residuals.informed(rng=0)), network(residuals.informed(rng=1), seed=1, coupling=0.7)
    forward, inputs = EnsembleForward([model]), samples(3, 4, 2)
    forward([inputs])
    model.load_state_dict(other.state_dict())
    torch.testing.assert_close(forward([inputs])[0], other(inputs), rtol=1e-13, atol=1e-14)
    model.coupling = torch.full_like(model.coupling, 0.2)
    torch.testing.assert_close(forward([inputs])[0], model(inputs), rtol=1e-13, atol=1e-14)
    model.residual = residuals.orthogonal(rng=2).build(UNITS, dtype=torch.float64).to(DEVICE)
    check([model], [inputs], "dense")


def test_backward_may_be_repeated_until_the_next_forward_pass(fused):
    model = network(residuals.scalar(0.9), "B")
    forward, inputs = EnsembleForward([model]), samples(3, 4, 2)
    loss = forward([inputs])[0].square().sum()
    once = torch.autograd.grad(loss, list(model.parameters()), retain_graph=True)
    again = torch.autograd.grad(loss, list(model.parameters()), retain_graph=True)
    assert all(map(torch.equal, once, again))
    with torch.no_grad():
        forward([inputs[:1]])
    with pytest.raises(RuntimeError, match="have been replaced by those of a later one; call backward before the next"):
        loss.backward()


def test_an_ensemble_is_trained_as_its_networks_alone(tmp_path, monkeypatch):
    base = TrainConfig(
        length=4, hidden_size=6, batch_size=8, epochs=2, iterations_per_epoch=3, test_size=20, learning_rate=0.1,
        coupling=0.3, dtype="float64",
    )  # fmt: skip
    configs = [base, TrainConfig(**{**base.__dict__, "seed": 1, "residual": "informed", "coupling": "informed"})]
    expected = [train(config, tmp_path / f"alone {i}", device=DEVICE) for i, config in enumerate(configs)]
    monkeypatch.setattr(function, "fused_kernel_fits", lambda networks: len(networks) > 1)
    for one, other in zip(
        train_ensemble(configs, [tmp_path / "a", tmp_path / "b"], device=DEVICE), expected, strict=True
    ):
        assert one.train_losses == pytest.approx(other.train_losses, rel=1e-11)
        assert one.gradient_norms == pytest.approx(other.gradient_norms, rel=1e-11)
        assert one.test_metrics == pytest.approx(other.test_metrics, rel=1e-11)


H100, A100, L4 = ((9, 0), 232448), ((8, 0), 166912), ((8, 9), 101376)  # with the bytes that a program may have


@pytest.mark.parametrize(
    ("gpu", "units", "residual", "fits"),
    [
        (H100, 100, residuals.informed(rng=0), True),
        (A100, 128, residuals.scalar(0.9), True),
        (A100, 129, residuals.scalar(0.9), False),
        (H100, 64, residuals.orthogonal(rng=0), True),
        (H100, 66, residuals.orthogonal(rng=0), False),
        (L4, 64, residuals.scalar(0.9), True),
        (L4, 66, residuals.scalar(0.9), False),
        (((7, 5), 65536), 16, residuals.scalar(0.9), False),
    ],
)
def test_the_kernels_are_chosen_where_they_fit(monkeypatch, gpu, units, residual, fits):
    (major, minor), memory = gpu
    device = SimpleNamespace(major=major, minor=minor, shared_memory_per_block_optin=memory)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: device)

    class Weight(list):  # what is asked of a weight on a GPU
        is_cuda, dtype, device = True, torch.float32, "cuda"

    weight = Weight([0.0] * units)
    model = SimpleNamespace(
        recurrent=SimpleNamespace(weight=weight), residual=residual.build(units), equation=Equation(drive=True)
    )
    assert fused_kernel_fits([model]) == fits
    model.equation = Equation(drive=True, total=True)
    assert not fused_kernel_fits([model])
    model.equation = Equation(total=True)
    monkeypatch.setattr("wcrnn_models.training.adjoint.fused.find_spec", lambda name: None)
    assert not fused_kernel_fits([model])
    monkeypatch.undo()
    weight.dtype = torch.float64
    assert not fused_kernel_fits([model])


def test_on_the_cpu_networks_are_computed_by_calls_into_pytorch():
    models = [WCRNN(1, 4, 2, residual=residuals.scalar(0.9), rng=0)]
    assert not fused_kernel_fits(models)
    assert isinstance(EnsembleForward(models).kernel, SequenceKernel)


COMPILE = """
import json
import sys
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from wcrnn_models.training.adjoint.triton_kernels import ROWS, backward_kernel, forward_kernel

for capability, options in json.loads(sys.argv[1]):
    for kernel, more in ((forward_kernel, {"KEEP": True}), (backward_kernel, {})):
        fixed = {**{name: options[name] for name in options if name.isupper()}, "ROWS": ROWS, **more}
        types = {name: "*fp32" for name in kernel.arg_names}
        types |= {name: "i32" for name in ("steps", "batch", "units", "width", "channels") if name in types}
        types |= {name: "constexpr" for name in fixed}
        others = {name: options[name] for name in options if not name.isupper()}
        source = ASTSource(kernel, types, constexprs=fixed)
        made = compile(source, target=GPUTarget("cuda", capability, 32), options=others)
        assert "mma" in made.asm["ptx"], "no tensor cores"
        print(made.metadata.shared)
"""


@pytest.mark.slow
def test_the_kernels_compile_into_the_memory_that_they_are_said_to_need(tmp_path):
    """For A100 and H100 without one; in a process of its own, in which kernels are not interpreted."""
    cases = [(128, "pairs", "A"), (64, "dense", "A")]
    options = [FusedKernel([network(RESIDUALS[kind](0), form, units=units)]).options for units, kind, form in cases]
    given = json.dumps([(capability, each) for each in options for capability in (80, 90)])
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path), "TRITON_INTERPRET": "0"}
    done = subprocess.run(
        [sys.executable, "-c", COMPILE, given], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    sizes = [int(line) for line in done.stdout.split()]
    assert len(sizes) == 4 * len(cases)
    for i, (units, kind, _) in enumerate(cases):
        assert 0 < max(sizes[4 * i : 4 * i + 4]) <= shared_memory(units, kind)


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_GPU, reason="no CUDA device")
@pytest.mark.parametrize(("form", "nonlinearity"), EQUATIONS)
@pytest.mark.parametrize("kind", RESIDUALS)
def test_on_a_gpu_single_precision_errs_as_the_step_loop_does(kind, form, nonlinearity):
    """Three networks of the largest size, chosen without being told to; tensor cores give float32 in three parts."""
    units = 64 if kind == "dense" else 100
    models = [
        network(RESIDUALS[kind](seed), form, nonlinearity, seed, units=units, coupling=0.02, dtype=torch.float32)
        for seed in range(3)
    ]
    exact = [copy.deepcopy(model).double() for model in models]
    inputs, targets = samples(100, 33, 2, dtype=torch.float32), samples(33, 3, seed=1, dtype=torch.float32)
    forward = EnsembleForward(models)
    assert isinstance(forward.kernel, FusedKernel)
    reference = gradients([model(inputs.double()) for model in exact], exact, targets.double())
    loop = gradients([model(inputs) for model in models], models, targets)
    ours = gradients(forward([inputs] * 3), models, targets)
    for one, other, truth in zip(ours, loop, reference, strict=True):
        ours_error, loop_error = (float((each - truth).norm() / truth.norm()) for each in (one, other))
        assert ours_error < 3 * loop_error + 2e-6

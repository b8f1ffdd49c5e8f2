"""Machine code of steps: the map's own values, exact tangents, sound decompositions, and a way out everywhere else."""

import json
import math
import multiprocessing
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor, nn
from torch.nn import functional

from lyapkit import as_map, lyapunov_spectrum, systems
from lyapkit.recurrent_map import RecurrentMap
from lyapkit.tangents import ForwardTangents
from lyapkit.tangents.tracing.compiled import WORTH_COMPILING, CompiledTangents
from lyapkit.tangents.tracing.machine import threads
from lyapkit.tangents.tracing.machine.code import compiled
from lyapkit.tangents.tracing.machine.compiled_step import CompiledStep
from lyapkit.tangents.tracing.machine.reading import Reader
from lyapkit.tangents.tracing.recording import Untraceable, record_without_values
from lyapkit.trajectories.prepare_drive import prepare_drive
from machine_code import without_machine_code

GENERATOR = torch.Generator().manual_seed(5)
KERNEL = torch.randn(4, 4, generator=GENERATOR, dtype=torch.float64) / 2
MACHINE_CODE = "forward mode (machine code)"
BYTES = torch.tensor([1, 2, 3, 4], dtype=torch.uint8)
TABLE = torch.tensor([[0, 1], [2, 3], [1, 2], [3, 0]])


def double(module: nn.Module) -> RecurrentMap:
    generator = torch.Generator().manual_seed(1)
    for parameter in module.double().parameters():
        nn.init.normal_(parameter, std=0.4, generator=generator)
    return as_map(module)


def elementary(function: Callable[[Tensor], Tensor], size: int = 4) -> RecurrentMap:
    return as_map(function, state=torch.linspace(0.1, 0.7, size, dtype=torch.float64))


ARITHMETIC = {
    "henon": lambda x: torch.stack([1 - 1.4 * x[..., 0] ** 2 + x[..., 1], 0.3 * x[..., 0]], -1),
    "branch as data": lambda x: torch.where(x > 0, x * 0.5, x**2),
    "clipping": lambda x: x.clamp(-0.5, 0.7) - torch.relu(-x) + functional.leaky_relu(x, 0.1),
    "larger and smaller": lambda x: torch.maximum(x, x.flip(-1)) - torch.minimum(x, 0.1 * x),
    "powers": lambda x: x**3 - x**2 / 7 + 1 / (1 + x * x) + (1 + x * x) ** -2 + torch.sqrt(1 + x * x),
    "remainders": lambda x: torch.remainder(3 * x, 1.0) - torch.fmod(x, 1.0) + torch.remainder(-x, -0.3),
    "rolled": lambda x: x.roll(1, -1) * (x.roll(-1, -1) - x.roll(2, -1)) - x + 8,
    "absolute": lambda x: x.abs() - x.sign() * x * x + x.neg(),
    "masks": lambda x: x.masked_fill((x > 0.2) & ~(x > 0.5), 0.3) + x * (x > 0).double(),
    "own memory": lambda x: x * 0.5 + 1,
    "float32 constants": lambda x: torch.maximum(x * torch.tensor(0.3), torch.tensor([0.1, 0.2, -0.3, 0.4])) + x * 0.7,
}
"""Maps of which every operation is rounded alike wherever it is done."""

OTHERS = {
    "trigonometric": lambda x: torch.sin(x) * torch.cos(2 * x) + torch.tan(x / 4) + torch.atan2(x, 1 + x * x),
    "hyperbolic": lambda x: torch.sinh(x) / torch.cosh(x) + torch.asinh(x) + torch.erf(x) + torch.tanh(x),
    "logarithms": lambda x: torch.log1p(x * x) + torch.log2(2 + x * x) + torch.expm1(x) - torch.log(1 + x * x),
    "units": lambda x: functional.gelu(x) + functional.silu(x) + functional.elu(x) + functional.softplus(x, 2.0),
    "softmax": lambda x: torch.softmax(3 * x @ KERNEL, -1) + functional.log_softmax(x, -1),
    "reductions": lambda x: (
        x - x.mean(-1, keepdim=True) + x.sum(-1, keepdim=True) * torch.logsumexp(x, -1, keepdim=True)
    ),
    "normalised": lambda x: functional.layer_norm(x, (4,)) + x.var(-1, keepdim=True),
    "broadcast": lambda x: (x[..., :, None] * x[..., None, :] * KERNEL).sum(-1) + x[..., :1],
    "products": lambda x: torch.einsum("...i,ij,...j->...i", x, KERNEL, x),
    "product of states": lambda x: (x[..., None, :] @ (x[..., :, None] * KERNEL))[..., 0, :],
    "picked": lambda x: x[..., [2, 0, 1, 3]] * x,
    "rate network": lambda x: 0.9 * x + 0.1 * torch.tanh(x) @ KERNEL,
    "two products": lambda x: torch.tanh(x @ KERNEL) @ KERNEL + torch.sigmoid(x @ KERNEL),
}

MAPS = {name: elementary(function, 2 if name == "henon" else 4) for name, function in (ARITHMETIC | OTHERS).items()} | {
    "RNN": double(nn.RNN(2, 5, num_layers=2)),
    "GRU": double(nn.GRU(2, 4, num_layers=2)),
    "LSTM": double(nn.LSTM(2, 4)),
    "projected LSTM": double(nn.LSTM(2, 4, proj_size=3)),
    "cell without bias": double(nn.GRUCell(2, 4, bias=False)),
    "driven": as_map(
        lambda x, s: torch.sigmoid(x @ KERNEL + s.sum(-1, keepdim=True)) * s[..., :1],
        state=torch.zeros(4, dtype=torch.float64),
        input=torch.zeros(2, dtype=torch.float64),
    ),
}


def example(map: RecurrentMap, steps: int = 3, batch: int = 3) -> tuple[Tensor, Tensor | None]:
    generator = torch.Generator().manual_seed(0)
    state = torch.randn(batch, map.state_size, generator=generator, dtype=torch.float64)
    if not map.input_size:
        return state, None
    return state, torch.randn(steps, batch, map.input_size, generator=generator, dtype=torch.float64)


def compiled_step(map: RecurrentMap, k: int) -> CompiledStep:
    state, inputs = example(map)
    return CompiledStep(map, state[0], None if inputs is None else inputs[0, 0], k)


def config(ds: xr.Dataset) -> dict[str, object]:
    found: dict[str, object] = json.loads(ds.attrs["config_json"])
    return found


@torch.no_grad()
@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("name", MAPS)
def test_states_and_tangents_are_those_of_the_map(name: str, k: int) -> None:
    map = MAPS[name]
    k = min(k, map.state_size)
    step = compiled_step(map, k)
    state, inputs = example(map)
    frame = torch.randn(3, map.state_size, k, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    states, after = step.walk(state, inputs, 3)
    x, expected = state, frame
    for place in range(3):
        given = None if inputs is None else inputs[place]
        torch.testing.assert_close(states[place], x, rtol=1e-13, atol=1e-13)
        expected = ForwardTangents().push(map, states[place], given, expected)
        x = map.step(states[place], given)
        if name in ARITHMETIC:
            assert torch.equal(states[place + 1] if place < 2 else after, x)
    size = expected.abs().max()
    torch.testing.assert_close(step.push(frame, states, inputs) / size, expected / size, rtol=0, atol=1e-13)


@torch.no_grad()
@pytest.mark.parametrize("name", ["henon", "rate network", "RNN", "cell without bias", "softmax", "two products"])
def test_windows_in_one_call_are_those_of_householder(name: str) -> None:
    map = MAPS[name]
    step = compiled_step(map, 2)
    assert step.decomposes
    state, inputs = example(map, 12)
    state = 0.1 * state
    frame = torch.linalg.qr(torch.randn(3, map.state_size, 2, generator=torch.Generator().manual_seed(2)).double()).Q
    nothing = torch.zeros(3, dtype=torch.float64)
    found, sound = step.windows(
        state, frame, inputs, 3, 4, floor=nothing, limits=(0.0, 0.0, math.inf), certified=range(1, 4, 2)
    )
    assert sound == 4
    assert found is not None
    x, q = state, frame
    for window in range(4):
        states, x = step.walk(x, None if inputs is None else inputs[3 * window : 3 * window + 3], 3)
        pushed = step.push(q, states, None if inputs is None else inputs[3 * window : 3 * window + 3])
        q, r = torch.linalg.qr(pushed)
        q = q * r.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)
        diagonal = r.diagonal(dim1=-2, dim2=-1).abs()
        torch.testing.assert_close(found.lengths[window], diagonal, rtol=1e-11, atol=0)
        share = (diagonal / r.square().sum(dim=-2).sqrt()).amin(dim=-1)
        torch.testing.assert_close(found.shares[window], share, rtol=1e-11, atol=0)
        if window in (1, 3):
            size = pushed.abs().max()
            torch.testing.assert_close(found.before[window // 2] / size, pushed / size, rtol=0, atol=1e-12)
    torch.testing.assert_close(found.state, x, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.frame, q, rtol=1e-10, atol=1e-10)


@torch.no_grad()
@pytest.mark.parametrize(
    ("limits", "floor"),
    [((0.9, 0.0, math.inf), 0.0), ((0.0, 1e3, math.inf), 0.0), ((0.0, 0.0, 1e-3), 0.0), ((0.0, 0.0, math.inf), 1e3)],
)
def test_windows_end_before_one_that_is_not_sound(limits: tuple[float, float, float], floor: float) -> None:
    map = MAPS["henon"]
    state, _ = example(map)
    frame = torch.eye(2, dtype=torch.float64).repeat(3, 1, 1)
    floors = torch.full((3,), floor, dtype=torch.float64)
    found, sound = compiled_step(map, 2).windows(
        state, frame, None, 2, 5, floor=floors, limits=limits, certified=range(0, 0, 8)
    )
    assert found is None
    assert sound == 0


@torch.no_grad()
def test_windows_end_before_numbers_that_are_not_finite() -> None:
    map = elementary(lambda x: x * x * 2, 2)
    state = torch.tensor([[1.5, 1.6], [0.1, 0.2]], dtype=torch.float64)
    frame = torch.eye(2, dtype=torch.float64).repeat(2, 1, 1)
    step = CompiledStep(map, state[0], None, 2)
    one, found = torch.zeros(2, dtype=torch.float64), None
    found, sound = step.windows(
        state, frame, None, 1, 30, floor=one, limits=(0.0, 0.0, math.inf), certified=range(0, 0, 8)
    )
    assert found is None
    assert 8 <= sound <= 12  # 1.6 doubles its logarithm at every step


FUNCTIONS = (
    "sin",
    "cos",
    "tan",
    "asin",
    "acos",
    "atan",
    "sinh",
    "cosh",
    "tanh",
    "asinh",
    "exp",
    "expm1",
    "log",
    "log1p",
    "log2",
    "log10",
    "erf",
    "sqrt",
    "sigmoid",
)


@torch.no_grad()
@pytest.mark.parametrize("name", FUNCTIONS)
def test_elementary_functions_are_within_two_units_in_the_last_place(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    size = 5000
    spread = torch.cat(
        (
            torch.randn(size, generator=generator, dtype=torch.float64) * 3,
            10.0 ** (torch.rand(size, generator=generator, dtype=torch.float64) * 616 - 308),
            -(10.0 ** (torch.rand(size, generator=generator, dtype=torch.float64) * 40 - 38)),
            torch.rand(size, generator=generator, dtype=torch.float64) * 2 - 1,
            torch.tensor(
                [0.0, -0.0, 5e-324, 1e-310, 1.0, -1.0, 709.0, -745.0, 710.0, math.inf, -math.inf, math.nan]
            ).double(),
        )
    )
    function = getattr(torch, name)
    map = as_map(lambda x: function(x), state=torch.full((1,), 0.5, dtype=torch.float64))
    after = CompiledStep(map, torch.full((1,), 0.5, dtype=torch.float64), None, 1).walk(spread[:, None], None, 1)[1][
        :, 0
    ]
    expected = function(spread)
    same = (after == expected) | (after.isnan() & expected.isnan())
    unit = torch.from_numpy(np.spacing(expected.abs().nan_to_num(posinf=1.0).numpy()))
    assert bool((same | ((after - expected).abs() <= 2 * unit)).all()), (spread[~same], after[~same], expected[~same])


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (lambda x: x * 0.5 if bool((x.sum() > 0).all()) else x * 0.4, "data-dependent"),
        (lambda x: x * float(x.detach().numpy().sum()), "reads values"),
        (lambda x: x * x.tolist()[0], "reads values"),
        (lambda x: torch.linalg.solve(torch.eye(4, dtype=torch.float64) * 2 + x.sum(), x), "machine code"),
        (lambda x: x.sort(-1).values, "machine code"),
        (lambda x: torch.tensor([0.1, 0.2], dtype=torch.float64)[(x > 0).long()] * x, "int64"),
        (lambda x: (x.float() * 2).double(), "float32"),
        (lambda x: x * BYTES, "a constant of the step is torch.uint8"),
        (lambda x: (x * torch.zeros(0, 4, dtype=torch.float64)).sum(0) + x, "has no elements"),
        (lambda x: torch.stack((x, x)).select(0, 1).add_(x), "changes tensors in place"),
        (lambda x: x[..., TABLE].sum(-1) * x, "a short list of constants"),
    ],
    ids=["branch", "numpy", "tolist", "solve", "sort", "table", "float32", "bytes", "empty", "in place", "indices"],
)
def test_what_has_no_machine_code_is_said(step: Callable[[Tensor], Tensor], reason: str) -> None:
    map = as_map(step, state=torch.ones(4, dtype=torch.float64))
    with pytest.raises(Untraceable, match=reason):
        CompiledStep(map, torch.ones(4, dtype=torch.float64), None, 2)


CHECKED = {
    "henon": (systems.henon(), {}),
    "leading": (systems.henon(), {"k": 1, "rng": 0}),
    "transient": (systems.henon(), {"transient": 333}),
    "fixed interval": (systems.henon(), {"qr_interval": 7}),
    "trajectories": (systems.lorenz(), {"initial_state": torch.eye(3, dtype=torch.float64) + 8}),
    "lorenz": (systems.lorenz(), {}),
    "rossler": (systems.rossler(), {}),
    "resting network": (systems.resting_network(), {}),
    "product": (systems.gaussian_product(), {}),
}


@pytest.mark.parametrize("name", CHECKED)
def test_exponents_are_those_of_the_plain_path(name: str) -> None:
    system, options = CHECKED[name]
    options = dict(options)
    if system.inputs is None:
        options["steps"] = 3000
    else:
        options["inputs"] = system.inputs
    found = lyapunov_spectrum(system.map, **options)
    with without_machine_code():
        plain = lyapunov_spectrum(system.map, **options)
    assert config(found)["tangents"] == MACHINE_CODE
    assert config(plain)["tangents_not_compiled_because"] == "switched off"
    np.testing.assert_allclose(found.lyapunov_exponent, plain.lyapunov_exponent, rtol=0, atol=1e-10)
    np.testing.assert_allclose(found.final_state, plain.final_state, rtol=1e-12, atol=1e-12)
    assert float(found.log_volume_residual.max()) < 1e-11
    assert int(found.below_resolution.sum()) == int(plain.below_resolution.sum())


@pytest.mark.parametrize("module", [nn.RNN(3, 12), nn.GRU(3, 14), nn.LSTM(3, 9)])
@pytest.mark.parametrize("options", [{}, {"k": 3, "rng": 0}, {"lengths": [1100, 700, 1100]}, {"transient": 100}])
def test_driven_networks_have_the_exponents_of_the_plain_path(module: nn.Module, options: dict[str, object]) -> None:
    map = double(module)
    inputs = torch.randn(1100, 3, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    found = lyapunov_spectrum(map, inputs, **options)
    with without_machine_code():
        plain = lyapunov_spectrum(map, inputs, **options)
    assert config(found)["tangents"] == MACHINE_CODE
    np.testing.assert_allclose(found.lyapunov_exponent, plain.lyapunov_exponent, rtol=0, atol=1e-10)
    np.testing.assert_allclose(found.final_state, plain.final_state, rtol=1e-11, atol=1e-12)


def test_runs_that_stop_and_go_on_are_those_of_the_plain_path() -> None:
    map = systems.henon().map
    found = lyapunov_spectrum(map, until=0.02, max_steps=20_000)
    further = lyapunov_spectrum(map, steps=4000, resume=found)
    with without_machine_code():
        plain = lyapunov_spectrum(map, until=0.02, max_steps=20_000)
        plain_further = lyapunov_spectrum(map, steps=4000, resume=plain)
    assert config(found)["tangents"] == config(further)["tangents"] == MACHINE_CODE
    assert config(found)["steps"] == config(plain)["steps"]
    np.testing.assert_allclose(found.lyapunov_exponent, plain.lyapunov_exponent, rtol=0, atol=1e-10)
    np.testing.assert_allclose(further.lyapunov_exponent, plain_further.lyapunov_exponent, rtol=0, atol=1e-10)


def test_directions_that_are_annihilated_are_left_to_the_exact_path() -> None:
    def step(x: Tensor) -> Tensor:  # resets its second component at every 97th step, counted by the third
        count = torch.where(x[..., 2] > 95.5, 0.0, x[..., 2] + 1)
        second = torch.where(x[..., 2] > 95.5, 0.1, 0.7 * x[..., 1] + 0.1 * x[..., 0])
        return torch.stack([0.9 * x[..., 0], second, count], -1)

    map = as_map(step, state=torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64))
    found = lyapunov_spectrum(map, steps=2000)
    with without_machine_code():
        plain = lyapunov_spectrum(map, steps=2000)
    assert config(found)["tangents"] == MACHINE_CODE
    np.testing.assert_allclose(found.lyapunov_exponent, plain.lyapunov_exponent, rtol=0, atol=1e-10)
    assert np.isneginf(found.lyapunov_exponent).sum() == np.isneginf(plain.lyapunov_exponent).sum() >= 1


def test_states_that_overflow_are_named_as_on_the_plain_path() -> None:
    map = elementary(lambda x: x * 1.5 + 0.1 * x.roll(1, -1), 2)
    with pytest.raises(FloatingPointError, match="trajectory 0 is not finite after step 15") as found:
        lyapunov_spectrum(map, steps=2500)
    with without_machine_code(), pytest.raises(FloatingPointError) as plain:
        lyapunov_spectrum(map, steps=2500)
    assert str(found.value) == str(plain.value)


def test_a_map_that_changes_while_it_runs_is_done_again_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    rate = 0.5
    prepare = CompiledTangents.where_it_pays

    def prepare_and_change(*arguments: object) -> CompiledTangents:
        nonlocal rate
        strategy = prepare(*arguments)  # type: ignore[arg-type]
        rate = 0.25
        return strategy

    monkeypatch.setattr(CompiledTangents, "where_it_pays", prepare_and_change)
    map = as_map(lambda x: rate * x + 0.1, state=torch.ones(2, dtype=torch.float64))
    ds = lyapunov_spectrum(map, steps=3000, check=False)
    assert "differ" in str(config(ds)["tangents_not_compiled_because"])
    np.testing.assert_allclose(ds.lyapunov_exponent, math.log(0.25), rtol=1e-6)


def test_states_that_are_not_the_maps_are_done_again_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the states are wrong: tangents there are those of the map."""
    walk = CompiledStep.walk

    def wrong(self: CompiledStep, state: Tensor, inputs: Tensor | None, steps: int) -> tuple[Tensor, Tensor]:
        states, after = walk(self, state, inputs, steps)
        if steps == 1:  # right where it is tried
            return states, after
        return torch.cat((states[:1], 1.001 * states[1:])), 1.001 * after

    map = as_map(lambda x: 0.5 * torch.sin(3 * x), state=torch.tensor([0.3, 0.2], dtype=torch.float64))
    with without_machine_code():
        expected = lyapunov_spectrum(map, steps=600)
    monkeypatch.setattr(CompiledStep, "walk", wrong)
    ds = lyapunov_spectrum(map, steps=600)
    assert "step differs from the map's at step" in str(config(ds)["tangents_not_compiled_because"])
    np.testing.assert_allclose(ds.lyapunov_exponent, expected.lyapunov_exponent, rtol=1e-10)


def test_few_steps_and_other_types_go_the_plain_way() -> None:
    map = systems.henon().map
    assert "too few" in str(config(lyapunov_spectrum(map, steps=WORTH_COMPILING - 1))["tangents_not_compiled_because"])
    single = double(nn.RNN(1, 3))
    ds = lyapunov_spectrum(single, torch.zeros(1500, 1, dtype=torch.float64), frame_dtype=torch.float32)
    assert "float64" in str(config(ds)["tangents_not_compiled_because"])


def test_numbers_keep_all_of_their_digits() -> None:
    traced = record_without_values(MAPS["henon"], torch.zeros(2, dtype=torch.float64), None, 2)
    reader = Reader(traced, 2)
    for number in (0.3, -1.7, 2, True):
        assert reader._array(number).item() == float(number)


def test_other_weights_need_no_new_code() -> None:
    texts = []
    for weight in (0.3, 0.4):
        map = as_map(lambda x, w=weight: w * x + (1.7 - w) * x**2, state=torch.ones(2, dtype=torch.float64))
        step = CompiledStep(map, torch.ones(2, dtype=torch.float64), None, 2)
        assert step.decomposes
        texts.append(step._runner._code)
    assert texts[0] is texts[1]


def test_threads_of_products_are_as_many_as_before() -> None:
    libraries = threads._libraries()
    before = [library.get_num_threads() for library in libraries]
    try:
        for library in libraries:
            library.set_num_threads(2)
        with threads.one_blas_thread(), threads.one_blas_thread():
            assert all(library.get_num_threads() == 1 for library in libraries)
        assert all(library.get_num_threads() == 2 for library in libraries)
        with pytest.raises(KeyError), threads.one_blas_thread():
            raise KeyError
        assert all(library.get_num_threads() == 2 for library in libraries)
    finally:
        for library, count in zip(libraries, before, strict=True):
            library.set_num_threads(count)


def _exponent(rate: float) -> float:
    map = as_map(lambda x: rate * torch.tanh(x) @ KERNEL, state=torch.ones(4, dtype=torch.float64))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(lyapunov_spectrum(map, steps=1500, k=1, rng=0).lyapunov_exponent.item())


def test_several_threads_may_compile_at_once() -> None:
    text = "define double @run(double %x) {\n  %y = fmul double %x, 0x4000000000000000\n  ret double %y\n}"
    with ThreadPoolExecutor(4) as pool:
        codes = list(pool.map(lambda _: compiled(text, "run"), range(8)))
        assert all(code is codes[0] for code in codes)
        names = ["henon", "rate network", "GRU", "LSTM"]
        steps = list(pool.map(lambda name: compiled_step(MAPS[name], 2), names))
        for name, step in zip(names, steps, strict=True):
            state, inputs = example(MAPS[name])
            found = pool.submit(step.walk, state, inputs, 3).result()
            assert torch.equal(found[0], compiled_step(MAPS[name], 2).walk(state, inputs, 3)[0])


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process")
def test_forked_workers_use_and_make_code() -> None:
    expected = [_exponent(0.5), _exponent(0.6)]
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.map(_exponent, [0.5, 0.6]) == expected


class OnAnotherDevice(RecurrentMap):
    """A map of one unit that says it is on a GPU."""

    state_size, input_size, dtype, device = 1, 0, torch.float64, torch.device("cuda")
    unit_names = ("x",)

    def initial_state(self, batch_size: int) -> Tensor:
        return torch.zeros(batch_size, 1, dtype=torch.float64)

    def step(self, state: Tensor, input: Tensor | None) -> Tensor:
        return 0.5 * state


def test_maps_on_other_devices_have_no_machine_code() -> None:
    map = OnAnotherDevice()
    drive = prepare_drive(as_map(lambda x: 0.5 * x, state=torch.zeros(1, dtype=torch.float64)), None, 1000, None)
    with pytest.raises(Untraceable, match="for the CPU"):
        CompiledTangents.where_it_pays(map, drive, 1, torch.float64, ForwardTangents())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frames: torch.ones_like(frames), "a frame that was sound in machine code is not"),
        (lambda frames: 2 * frames, "the decompositions in machine code are others"),
    ],
)
def test_windows_that_the_library_decomposes_otherwise_are_redone_step_by_step(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[Tensor], Tensor], message: str
) -> None:
    windows = CompiledStep.windows

    def changed(*arguments: object, **options: object) -> object:
        found, sound = windows(*arguments, **options)
        return found if found is None else replace(found, before=change(found.before)), sound

    expected = lyapunov_spectrum(systems.henon().map, steps=3000).lyapunov_exponent
    monkeypatch.setattr(CompiledStep, "windows", changed)
    found = lyapunov_spectrum(systems.henon().map, steps=3000)
    assert message in config(found)["tangents_not_compiled_because"]
    np.testing.assert_allclose(found.lyapunov_exponent, expected, atol=1e-10)

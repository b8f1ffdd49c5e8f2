"""A hostile user: every analysis meets every kind of bad input with one clear error, or with a flagged result."""

import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lyapkit import (
    as_map,
    covariant_vectors,
    gradient_propagation,
    lyapunov_exponents,
    lyapunov_spectrum,
    systems,
    variational_term,
)
from lyapkit.checks.arguments import check_fraction, check_precision
from lyapkit.checks.purity import ModuleWatch
from lyapkit.tangents.probe import probe_step
from lyapkit.trajectories.closed_loop import ClosedLoop
from steps import Steps


def gradients(model, inputs=None, **options):
    readout = options.pop("readout", nn.Identity())
    return gradient_propagation(model, inputs, None, lambda outputs, _: outputs.sum(), readout=readout, **options)


PROBING = {
    "lyapunov_spectrum": lyapunov_spectrum,
    "variational_term": variational_term,
    "variational_term with a horizon": lambda *args, **options: variational_term(*args, horizon=2, **options),
    "covariant_vectors": covariant_vectors,
    "gradient_propagation": gradients,
}
ANALYSES = PROBING | {"lyapunov_exponents": lyapunov_exponents}  # runs in training loops and does not probe

T, B, M, N = 8, 3, 2, 3


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def with_value(tensor: Tensor, value: float) -> Tensor:
    tensor = tensor.clone()
    tensor.view(-1)[-1] = value
    return tensor


def driven():
    weight = 0.5 * numbers(N, N)
    return as_map(
        lambda x, s: torch.tanh(weight @ x + s.sum()), state=torch.ones(N).double(), input=torch.ones(M).double()
    )


def autonomous():
    return as_map(lambda x: 0.9 * x, state=torch.ones(N).double())


ARGUMENTS = {  # map, positional arguments, options, error, message
    "inputs are nan": (driven, [with_value(numbers(T, B, M), math.nan)], {}, ValueError, r"inputs .* \(7, 2, 1\)"),
    "inputs are inf": (driven, [with_value(numbers(T, M), -math.inf)], {}, ValueError, "not finite at index"),
    "state is nan": (
        autonomous,
        [],
        {"steps": T, "initial_state": with_value(numbers(B, N), math.nan)},
        ValueError,
        r"initial_state .* not finite at index \(2, 2\)",
    ),
    "inputs are integers": (driven, [torch.ones(T, M).long()], {}, TypeError, "floating point, got torch.int64"),
    "inputs are truth values": (driven, [torch.ones(T, M).bool()], {}, TypeError, "got torch.bool"),
    "inputs are complex": (driven, [numbers(T, M).cdouble()], {}, TypeError, "got torch.complex128"),
    "state is integers": (
        autonomous,
        [],
        {"steps": T, "initial_state": torch.ones(N).long()},
        TypeError,
        "initial_state must be floating point, got torch.int64",
    ),
    "inputs are single": (driven, [numbers(T, M).float()], {}, ValueError, "torch.float32 but the map computes in"),
    "state is single": (
        autonomous,
        [],
        {"steps": T, "initial_state": torch.ones(N)},
        ValueError,
        "initial_state has type torch.float32",
    ),
    "inputs are too wide": (driven, [numbers(T, M + 1)], {}, ValueError, r"M = 2, got \(8, 3\)"),
    "inputs are one vector": (driven, [numbers(M)], {}, ValueError, r"got \(2,\)"),
    "state is too long": (
        autonomous,
        [],
        {"steps": T, "initial_state": numbers(N + 1)},
        ValueError,
        r"N = 3, got \(4,\)",
    ),
    "batches differ": (
        driven,
        [numbers(T, B, M)],
        {"initial_state": numbers(2, N)},
        ValueError,
        "drive 3 trajectories .* has 2",
    ),
    "state is a sampler": (
        autonomous,
        [],
        {"steps": T, "initial_state": lambda batch: numbers(batch, N)},
        TypeError,
        "initial_state must be a tensor or an array, got function",
    ),
    "inputs are text": (driven, ["abc"], {}, TypeError, "inputs must be a tensor or an array, got str"),
    "no inputs in time": (driven, [numbers(0, M)], {}, ValueError, "at least 1"),
    "no sequences": (driven, [numbers(T, 0, M)], {}, ValueError, "no trajectories"),
    "no steps": (autonomous, [], {"steps": 0}, ValueError, "at least 1"),
    "steps are negative": (autonomous, [], {"steps": -1}, ValueError, "at least 1, got -1"),
    "steps are a float": (autonomous, [], {"steps": 5.0}, TypeError, r"steps must be an integer, got 5\.0"),
    "no inputs": (driven, [], {}, TypeError, r"needs inputs of shape \(T, 2\)"),
    "inputs for an autonomous map": (autonomous, [numbers(T, N)], {}, TypeError, "autonomous .* give steps="),
    "inputs and steps": (driven, [numbers(T, M)], {"steps": T}, TypeError, "steps= is for autonomous maps"),
    "not a model": (lambda: "gru", [numbers(T, M)], {}, TypeError, "cannot make a recurrent map of str"),
    "a callable without a state": (lambda: torch.tanh, [], {"steps": T}, TypeError, "needs an example state"),
    "a whole model": (
        lambda: nn.Sequential(nn.GRU(M, N), nn.Linear(N, 1)),
        [numbers(T, M)],
        {},
        TypeError,
        r"recurrent part is 0: name it, as_map\(model, core='0'\)",
    ),
    "active dropout": (
        lambda: nn.LSTM(M, N, num_layers=2, dropout=0.5).double(),
        [numbers(T, M)],
        {},
        ValueError,
        r"dropout=0.5 is active.*\.eval\(\)",
    ),
}


@pytest.mark.parametrize("name", ARGUMENTS)
@pytest.mark.parametrize("analysis", ANALYSES)
def test_every_analysis_refuses_bad_arguments(analysis: str, name: str) -> None:
    make, positional, options, error, message = ARGUMENTS[name]
    with pytest.raises(error, match=message):
        ANALYSES[analysis](make(), *positional, **options)


@pytest.mark.parametrize(
    ("k", "error", "message"),
    [
        (0, ValueError, "k must be between 1 and the state size 3, got 0"),
        (-1, ValueError, "got -1"),
        (4, ValueError, "got 4"),
        (2.0, TypeError, r"k must be an integer or None, got 2\.0"),
        ("2", TypeError, "got '2'"),
        (True, TypeError, "got True"),
    ],
)
@pytest.mark.parametrize("analysis", [name for name in ANALYSES if name != "gradient_propagation"])
def test_k_is_between_1_and_the_state_size(analysis: str, k, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ANALYSES[analysis](autonomous(), steps=T, k=k)


@pytest.mark.parametrize("analysis", ANALYSES)
def test_inference_mode_is_refused(analysis: str) -> None:
    map = autonomous()
    with torch.inference_mode(), pytest.raises(RuntimeError, match=r"inference_mode.* call the analysis outside"):
        ANALYSES[analysis](map, steps=T)


@pytest.mark.parametrize("analysis", ANALYSES)
def test_growth_without_bound_names_step_and_trajectory(analysis: str) -> None:
    map = as_map(lambda x: x * x, state=torch.ones(2).double())
    start = torch.tensor([[0.5, 0.5], [0.5, 2.0]]).double()  # 2^(2^n) leaves float64 at n = 10
    with pytest.raises(FloatingPointError, match="state of trajectory 1 is not finite after step 10"):
        ANALYSES[analysis](map, steps=40, initial_state=start)


@pytest.mark.parametrize("analysis", ANALYSES)
def test_a_derivative_that_is_not_finite_is_no_number_in_the_result(analysis: str) -> None:
    """sqrt has no slope at 0, where the second trajectory arrives in step 5."""
    map = as_map(lambda x, s: (x + s).sqrt(), state=torch.ones(2).double(), input=torch.ones(2).double())
    inputs = torch.zeros(T, 2, 2).double()
    inputs[4, 1, 1] = -1.0  # x stays at 1 until then, and 0 afterwards
    with pytest.raises(FloatingPointError, match=r"trajectory 1 is not finite (after|at) step") as caught:
        ANALYSES[analysis](map, inputs)
    step = int(str(caught.value).partition("step ")[2].partition(":")[0].partition(";")[0])
    assert step == (7 if analysis == "gradient_propagation" else 5)  # it comes from the end


class Keeps(nn.Module):
    """Keeps its hidden state in an attribute, as stateful cells do."""

    def __init__(self) -> None:
        super().__init__()
        self.h = torch.zeros(2).double()

    def forward(self, x):
        self.h = torch.tanh(0.5 * self.h + x)
        return 0.5 * self.h


class Buffered(nn.Module):
    def __init__(self, in_place: bool = True) -> None:
        super().__init__()
        self.register_buffer("h", torch.zeros(2).double())
        self.in_place = in_place

    def forward(self, x):
        if self.in_place:
            self.h.mul_(0.5).add_(x)
        else:
            self.h = 0.5 * self.h + x
        return 0.1 * self.h


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, x):
        self.calls += 1
        return 0.5 * x


class Attributed(nn.Module):
    """Leaves its last state in an attribute for the user to look at, which does no harm."""

    def __init__(self) -> None:
        super().__init__()
        self.last = torch.zeros(2).double()

    def forward(self, x):
        self.last = 0.5 * x
        return 0.5 * x


class Jumping(nn.Module):
    """Python control flow, so that vmap cannot trace it, and a memory that rests at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.h = torch.zeros(2).double()

    def forward(self, x):
        self.h = 0.5 * self.h + (x if float(x.sum()) >= 0 else -x)
        return 0.5 * self.h


def spectral() -> nn.Module:
    return nn.utils.parametrizations.spectral_norm(nn.Linear(2, 2).double())


def closure():
    memory = torch.zeros(2).double()

    def step(x):
        nonlocal memory
        memory = 0.5 * memory + x
        return 0.1 * memory

    return step


def inside(module: nn.Module):
    """A callable that hides the module in a closure."""
    return lambda x: 0.5 * module(torch.stack((x, x + 1)))[0]


ZERO, ONE = torch.zeros(2).double(), torch.ones(2).double()
HIDDEN = r"two calls with the same state and input differ.* make what it keeps, .* part of the state"
TRAINING = r"is in training mode, so a step depends on chance or on the batch; call \.eval\(\) first"

CALLABLES = {  # what makes it, example state, error, message
    "hidden state in an attribute": (Keeps, ONE, ValueError, HIDDEN),
    "hidden state at rest": (Keeps, ZERO, ValueError, HIDDEN),
    "hidden state in a closure": (closure, ZERO, ValueError, HIDDEN),
    "hidden state in a buffer": (Buffered, ONE, ValueError, "changes the buffer 'h' of Buffered.*part of the state"),
    "buffer at rest": (Buffered, ZERO, ValueError, "changes the buffer 'h' of Buffered"),
    "buffer replaced": (lambda: Buffered(in_place=False), ONE, ValueError, "changes the buffer 'h' of Buffered"),
    "counter": (Counting, ONE, ValueError, "changes the buffer 'calls' of Counting"),
    "buffer of a part": (
        lambda: nn.Sequential(nn.Linear(2, 2).double(), Buffered()),
        ONE,
        ValueError,
        r"changes the buffer 'h' of Buffered \(1\)",
    ),
    "spectral norm": (spectral, ONE, ValueError, r"changes the buffer '_u'.*\.eval\(\)"),
    "dropout": (lambda: nn.Dropout(0.5), ONE, ValueError, f"Dropout {TRAINING}"),
    "dropout of a part": (
        lambda: nn.Sequential(nn.Tanh(), nn.Dropout(0.1)),
        ONE,
        ValueError,
        rf"Dropout \(1\) {TRAINING}",
    ),
    "dropout in a closure": (lambda: inside(nn.Dropout(0.5)), ONE, ValueError, f"Dropout {TRAINING}"),
    "batch norm in a closure": (lambda: inside(nn.BatchNorm1d(2).double()), ONE, ValueError, f"BatchNorm1d {TRAINING}"),
    "layers with dropout in a closure": (
        lambda: inside(nn.GRU(2, 1, num_layers=2, dropout=0.5).double()),
        ONE,
        ValueError,
        f"GRU {TRAINING}",
    ),
    "functional dropout": (
        lambda: nn.functional.dropout,
        ONE,
        ValueError,
        r"draws random numbers.*\.eval\(\) on modules",
    ),
    "noise": (lambda: lambda x: x + torch.randn(2), ONE, ValueError, "draws random numbers"),
    "noise of NumPy": (lambda: lambda x: x * np.random.default_rng().random(), ONE, ValueError, "or draws random"),
    "in place": (lambda: lambda x: x.mul_(0.5), ONE, ValueError, "changes its state in place"),
    "too many arguments": (lambda: lambda x, s: x, ONE, TypeError, r"f\(state\): missing .* 's'; give input= when"),
    "a module with too many": (lambda: nn.Bilinear(2, 2, 2).double(), ONE, TypeError, "cannot be called as f.state.:"),
    "a state that is not finite": (lambda: torch.tanh, ONE / 0, ValueError, "example state holds a value that is not"),
    "an array": (
        lambda: torch.tanh,
        np.ones(2),
        TypeError,
        "got ndarray; convert numbers and arrays with torch.as_tensor",
    ),
    "nothing in a pair": (lambda: lambda s: s, (ONE, None), TypeError, r"state\[1\] must be a tensor, got NoneType"),
    "integers": (lambda: lambda x: x, torch.ones(2).long(), TypeError, "floating point or complex, got torch.int64"),
    "half precision": (lambda: torch.tanh, ONE.half(), ValueError, "float16, whose derivatives"),
    "meta device": (lambda: torch.tanh, torch.ones(2, device="meta"), ValueError, "meta device"),
    "another shape": (lambda: lambda x: x[:1], ONE, ValueError, r"shape \(1,\).*\(2,\)"),
    "another dtype": (lambda: lambda x: x.float(), ONE, ValueError, "float32 where the example state has"),
    "nothing": (lambda: lambda x: None, ONE, TypeError, "must return tensors, got NoneType"),
}


@pytest.mark.parametrize("name", CALLABLES)
@pytest.mark.filterwarnings("ignore:.*out-of-place version is recommended")
def test_callables_that_are_no_maps_are_refused_at_once(name: str) -> None:
    make, state, error, message = CALLABLES[name]
    with pytest.raises(error, match=message):
        as_map(make(), state=state)


DRIVEN_CALLABLES = {
    "input in place": (lambda x, s: x + s.mul_(0.5), ONE, ValueError, "changes its input in place"),
    "too few arguments": (lambda x: x, ONE, TypeError, r"f\(state, input\): too many .* leave input= out when"),
    "input is an array": (lambda x, s: x, np.ones(2), TypeError, "input must be a tensor, got ndarray"),
    "input is a pair": (lambda x, s: x, (ONE, ONE), TypeError, "input must be a tensor, got tuple"),
    "input is integers": (lambda x, s: x, torch.ones(2).long(), TypeError, "input must be floating point or complex"),
}


@pytest.mark.parametrize("name", DRIVEN_CALLABLES)
def test_driven_callables_that_are_no_maps_are_refused_at_once(name: str) -> None:
    function, input, error, message = DRIVEN_CALLABLES[name]
    with pytest.raises(error, match=message):
        as_map(function, state=ONE, input=input)


class Pair(NamedTuple):
    fast: Tensor
    slow: Tensor


def test_what_looks_bad_and_is_not() -> None:
    """Layers in training mode that draw nothing, or are not called; attributes for inspection; examples of inputs."""
    assert as_map(nn.Dropout(0.0), state=ONE).batching == "vmap"
    assert as_map(nn.Dropout(0.5).eval(), state=ONE).batching == "vmap"
    assert as_map(inside(nn.BatchNorm1d(2).double().eval()), state=ONE).batching == "vmap"
    unused = nn.Linear(2, 2).double()
    unused.head = nn.Dropout(0.5)
    assert as_map(unused, state=ONE).batching == "vmap"
    assert as_map(Attributed(), state=ONE).batching == "vmap"
    assert as_map(spectral().eval(), state=ONE).batching == "vmap"
    assert as_map(lambda x, s=None: x, state=ONE).input_size == 0
    assert as_map(lambda x, s: x + s, state=ONE, input=ONE / 0).input_size == 2  # only its shape matters
    named = as_map(lambda pair: Pair(pair.slow, 0.5 * pair.fast), state=Pair(ONE, 2 * ONE))
    assert named.unit_names == ["fast[0]", "fast[1]", "slow[0]", "slow[1]"]
    assert named.step(named.initial_state(1)).tolist() == [[2, 2, 0.5, 0.5]]


def test_an_example_state_may_be_overwritten_afterwards() -> None:
    example = torch.tensor([0.5, 2.0]).double()
    map = as_map(lambda x: x, state=example)
    example.zero_()
    assert map.initial_state(1).tolist() == [[0.5, 2.0]]


def test_a_refused_module_keeps_its_buffers() -> None:
    for module in (Buffered(), Buffered(in_place=False)):
        module.h.fill_(3.0)
        buffer = module.h
        with pytest.raises(ValueError, match="changes the buffer"):
            as_map(module, state=ONE)
        assert module.h is buffer
        assert buffer.tolist() == [3.0, 3.0]


def test_sparse_and_inference_buffers_are_watched() -> None:
    module = nn.Linear(2, 2).double()
    module.register_buffer("mask", torch.eye(2).double().to_sparse())
    with torch.inference_mode():
        module.register_buffer("made_there", torch.ones(2).double())
    with ModuleWatch(module) as watch:
        module(ONE)
    watch.refuse_changes()
    with ModuleWatch(module) as watch:
        module(ONE)
        module.mask = 2 * module.mask
    with pytest.raises(ValueError, match="changes the buffer 'mask' of Linear"):
        watch.refuse_changes()
    with ModuleWatch(module) as watch:
        module(ONE)
        del module.made_there
    with pytest.raises(ValueError, match="changes the buffer 'made_there' of Linear"):
        watch.refuse_changes()
    assert module.made_there.tolist() == [1.0, 1.0]


def test_the_watch_ends_with_its_context() -> None:
    with pytest.raises(ValueError, match="training mode"), ModuleWatch(None):
        nn.Dropout(0.5)(ONE)
    nn.Dropout(0.5)(ONE)  # nobody looks any more


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.trace")
@pytest.mark.parametrize("how", ["compiled", "traced"])
def test_compiled_and_traced_modules_are_watched_without_harm(how: str) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(2, 2, bias=False).double()
    module = torch.compile(linear, backend="eager") if how == "compiled" else torch.jit.trace(linear, ONE)
    ds = lyapunov_spectrum(as_map(module, state=ONE), steps=20)
    expected = torch.linalg.slogdet(linear.weight).logabsdet.item()
    assert float(ds.lyapunov_exponent.sum()) == pytest.approx(expected, abs=1e-12)


def coupled(x: Tensor) -> Tensor:
    return 0.5 * x + 0.1 * (x - x.mean(dim=0, keepdim=True)) if x.ndim == 2 else 0.5 * x


def remembering_its_shape():
    memory: list[Tensor] = []

    def step(x: Tensor) -> Tensor:
        memory.append(x)
        return 0.5 * x + 0 * memory[0]

    return step


def at_rest():
    """A hidden state that stays at zero as long as the state does."""
    memory = [torch.zeros(1, 2).double()]

    def step(x: Tensor) -> Tensor:
        if x.shape[0] == 2 or len(memory) > 1:
            memory.append(0.5 * memory[-1] + x[-1:])
        return 0.5 * x + 0.1 * memory[-1]

    return step


MAPS = {  # of a third party, which no adapter has looked at; states
    "trajectories see each other": (
        lambda: coupled,
        numbers(B, 2),
        ValueError,
        "not alone in its batch, as",
    ),
    "one trajectory, of a coupled map": (lambda: coupled, numbers(1, 2), ValueError, "not alone in its batch"),
    "one batch size only": (
        remembering_its_shape,
        numbers(B, 2),
        ValueError,
        "takes 3 states at once, but not one or two: .* keep nothing between calls",
    ),
    "a hidden state at rest": (at_rest, torch.zeros(1, 2).double(), ValueError, "two calls .* keeps a hidden state"),
    "dropout": (lambda: nn.Dropout(0.5), numbers(B, 2), ValueError, f"Dropout {TRAINING}"),
    "batch norm": (lambda: nn.BatchNorm1d(2).double(), numbers(B, 2), ValueError, f"BatchNorm1d {TRAINING}"),
    "a buffer": (lambda: Buffered(in_place=False), numbers(1, 2), ValueError, "changes the buffer 'h' of Buffered"),
}


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("analysis", PROBING)
def test_maps_that_are_none_are_refused_by_every_analysis_that_probes(analysis: str, name: str) -> None:
    make, start, error, message = MAPS[name]
    with pytest.raises(error, match=message):
        PROBING[analysis](Steps(make()), steps=5, initial_state=start)


def test_a_driven_map_in_which_trajectories_see_each_other() -> None:
    map = Steps(lambda x, s: 0.5 * x + s - (x.mean(dim=0) if x.ndim > 1 else x), input_size=2)
    with pytest.raises(ValueError, match="not alone in its batch"):
        probe_step(map, numbers(2, 2), numbers(2, 2))
    probe_step(Steps(lambda x, s: 0.5 * x + s, input_size=2), numbers(2, 2), numbers(2, 2))


@pytest.mark.parametrize("start", [[[0.5, 0.0]], [[0.25, 0.25], [0.5, 0.5]]])
def test_a_jump_at_the_state_is_no_coupling(start) -> None:
    """Sums of exact halves land on the jump, where a batched product may round to the other side."""
    matrix = torch.tensor([[2.0, 1.0], [1.0, 1.0]]).double()
    ds = lyapunov_spectrum(
        as_map(lambda x: (matrix @ x).remainder(1.0), state=ZERO), steps=60, initial_state=torch.tensor(start).double()
    )
    golden = math.log((3 + math.sqrt(5)) / 2)
    np.testing.assert_allclose(
        ds.running_exponent[0, -1] - ds.running_exponent[0, -1].mean(), [golden, -golden], atol=0.02
    )


def test_a_hidden_state_at_rest_in_a_looped_callable() -> None:
    """`as_map` cannot see it, since it calls in the example state alone; the probe goes elsewhere."""
    map = as_map(Jumping(), state=ZERO)
    assert map.batching == "loop"
    with pytest.raises(ValueError, match="keeps a hidden state"):
        lyapunov_spectrum(map, steps=5)


NOT_DIFFERENTIABLE = {
    "detached": (lambda x: 0.5 * x.detach(), "disagrees with a finite difference"),
    "partly detached": (lambda x: 0.5 * x + 0.2 * x.detach(), "disagrees with a finite difference"),
    "out of the graph": (lambda x: torch.tensor([0.5 * float(x[0]), 0.3 * float(x[1])]).double(), "disagrees with a"),
    "straight through": (lambda x: x + (x.round() - x).detach(), "disagrees with a finite difference"),
    "through NumPy": (lambda x: torch.from_numpy(np.tanh(x.detach().numpy())), "does not depend differentiably"),
}


@pytest.mark.parametrize("name", NOT_DIFFERENTIABLE)
@pytest.mark.parametrize("analysis", PROBING)
def test_steps_without_a_right_derivative_are_refused(analysis: str, name: str) -> None:
    step, message = NOT_DIFFERENTIABLE[name]
    with pytest.raises(ValueError, match=message):
        PROBING[analysis](as_map(step, state=torch.tensor([0.3, 0.4]).double()), steps=5)


def test_a_step_under_no_grad_has_a_derivative_forwards_alone() -> None:
    map = as_map(torch.no_grad()(lambda x: 0.5 * x), state=ONE)
    np.testing.assert_allclose(lyapunov_spectrum(map, steps=5).lyapunov_exponent, math.log(0.5), atol=1e-14)
    with pytest.raises(ValueError, match="backwards, which gradients use, differs from its derivative forwards"):
        gradients(map, steps=5)


PIECEWISE = {
    "rounding": (lambda x: x.round() * 0.5 + 0.1, [-math.inf, -math.inf]),
    "sign": (lambda x: x.sign() + 0.1, [-math.inf, -math.inf]),
    "the largest alone": (lambda x: nn.functional.one_hot(x.argmax(), 2).double(), [-math.inf, -math.inf]),
    "plus a smooth part": (lambda x: 0.5 * x + nn.functional.one_hot(x.argmax(), 2), [math.log(0.5)] * 2),
    "a choice": (lambda x: torch.where(x > 0.35, 0.25 * x, 2 * x), None),
}


@pytest.mark.parametrize("name", PIECEWISE)
def test_piecewise_maps_have_the_derivative_of_their_pieces(name: str) -> None:
    """Steps and jumps are what the mathematics says: slope zero (-inf, flagged) or that of the piece."""
    step, expected = PIECEWISE[name]
    start = torch.tensor([0.3, 0.4]).double()
    if expected is None:
        x, total = start, torch.zeros(2).double()
        for _ in range(50):
            total += torch.where(x > 0.35, 0.25, 2.0).log()
            x = step(x)
        expected = (total / 50).sort(descending=True).values.tolist()
    ds = lyapunov_spectrum(as_map(step, state=start), steps=50)
    np.testing.assert_allclose(ds.lyapunov_exponent[0], expected, atol=1e-13)
    assert np.isneginf(ds.lyapunov_exponent).all() == (ds.frame_condition.item() == math.inf)


def test_sampled_initial_states_are_one_trajectory_each() -> None:
    """x' = 4 x (1 - x) from sampled states: every finite-time exponent is the mean of log |4 - 8 x| along its own."""
    map = systems.logistic().map
    start = torch.rand(6, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ds = lyapunov_spectrum(map, steps=40, initial_state=start)
    x, total = start, torch.zeros(6, 1).double()
    for _ in range(40):
        total += (4 - 8 * x).abs().log()
        x = 4 * x * (1 - x)
    np.testing.assert_allclose(ds.lyapunov_exponent, total / 40, rtol=1e-8)
    assert len(set(ds.lyapunov_exponent.values.ravel())) == 6


GRU = nn.GRU(2, 3).double()


class Normalised(nn.Module):
    """A readout with batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.linear = nn.BatchNorm1d(3).double(), nn.Linear(3, 2).double()

    def forward(self, h):
        return self.linear(self.norm(h))


FEEDBACKS = {  # feedback, teacher forcing, error, message
    "wrong shape": (
        nn.Linear(3, 4).double(),
        0.0,
        ValueError,
        r"shape \(..., 2\) .* returned \(2, 4\)",
    ),
    "reads another size": (
        nn.Linear(4, 2).double(),
        0.0,
        ValueError,
        r"cannot read the map's outputs, \(2, 3\) of torch.float64 for two states: mat1 and mat2",
    ),
    "reads another precision": (nn.Linear(3, 2), 0.0, ValueError, "cannot read the map's outputs.*torch.float64"),
    "returns another precision": (lambda h: h[..., :2].float(), 0.0, ValueError, r"returned \(2, 2\) of torch.float32"),
    "returns a pair": (lambda h: (h, h), 0.0, ValueError, "returned tuple"),
    "not callable": ("linear", 0.0, TypeError, "callable, got str"),
    "forcing above one": (nn.Linear(3, 2).double(), 1.01, ValueError, r"between 0 and 1, got 1\.01"),
    "forcing below zero": (nn.Linear(3, 2).double(), -0.1, ValueError, r"between 0 and 1, got -0\.1"),
    "forcing is nan": (nn.Linear(3, 2).double(), math.nan, ValueError, "between 0 and 1, got nan"),
    "forcing is text": (nn.Linear(3, 2).double(), "0.5", TypeError, "must be a number, got '0.5'"),
    "forcing is a truth value": (nn.Linear(3, 2).double(), True, TypeError, "must be a number, got True"),
}


@pytest.mark.parametrize("name", FEEDBACKS)
@pytest.mark.parametrize("analysis", [lyapunov_spectrum, variational_term])
def test_feedbacks_that_do_not_fit_are_refused(analysis, name: str) -> None:
    feedback, forcing, error, message = FEEDBACKS[name]
    with pytest.raises(error, match=message):
        analysis(GRU, steps=5, feedback=feedback, teacher_forcing=forcing)


@pytest.mark.parametrize("analysis", [lyapunov_spectrum, variational_term])
def test_feedbacks_in_training_mode_are_refused(analysis) -> None:
    dropped = nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 2).double())
    for feedback, message in ((Normalised(), "BatchNorm1d"), (dropped, "Dropout")):
        for start in (numbers(3), numbers(B, 3)):
            with pytest.raises(ValueError, match=f"{message} {TRAINING}"):
                analysis(GRU, steps=5, feedback=feedback, initial_state=start)
        analysis(GRU, steps=5, feedback=feedback.eval(), initial_state=numbers(B, 3))
    assert ClosedLoop(as_map(GRU), dropped, np.float32(0.5)).teacher_forcing == 0.5


def test_checks_of_single_arguments() -> None:
    assert check_fraction("part", 1) == 1.0
    with pytest.raises(TypeError, match="part must be a number, got None"):
        check_fraction("part", None)
    with pytest.raises(ValueError, match="part must be between 0 and 1, got 2"):
        check_fraction("part", 2)
    check_precision(torch.float32, torch.device("cpu"))
    with pytest.raises(ValueError, match="bfloat16, whose derivatives carry two or three digits"):
        check_precision(torch.bfloat16, torch.device("cpu"))
    with pytest.raises(ValueError, match="meta device, which holds no numbers"):
        check_precision(torch.float64, torch.device("meta"))

"""Callables that are no maps are refused at once, and what looks like them is not."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lyapkit import (
    as_map,
    lyapunov_spectrum,
)
from lyapkit.checks.purity import ModuleWatch
from probing import ONE, TRAINING, ZERO, Buffered


class Keeps(nn.Module):
    """Keeps its hidden state in an attribute, as stateful cells do."""

    def __init__(self) -> None:
        super().__init__()
        self.h = torch.zeros(2).double()

    def forward(self, x):
        self.h = torch.tanh(0.5 * self.h + x)
        return 0.5 * self.h


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


HIDDEN = r"two calls with the same state and input differ.* make what it keeps, .* part of the state"
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
    "too many arguments": (lambda: lambda x, s: x, ONE, TypeError, r"f\(state\): missing .* 's'; give input= if"),
    "a module with too many": (lambda: nn.Bilinear(2, 2, 2).double(), ONE, TypeError, "cannot be called as f.state.:"),
    "a state that is not finite": (lambda: torch.tanh, ONE / 0, ValueError, "example state holds a value that is not"),
    "an array": (
        lambda: torch.tanh,
        np.ones(2),
        TypeError,
        "got ndarray. Convert numbers and arrays with torch.as_tensor",
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
    "too few arguments": (lambda x: x, ONE, TypeError, r"f\(state, input\): too many .* leave input= out if"),
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


def test_a_random_draw_in_a_branch_that_the_probe_did_not_take() -> None:
    def step(x: Tensor) -> Tensor:
        if float(x.detach().sum()) > 3:
            return x + torch.randn(2, dtype=x.dtype)
        return 1.5 * x

    map = as_map(step, state=torch.ones(2).double())
    with pytest.raises(ValueError, match="the map draws random numbers, so its exponents are not defined"):
        lyapunov_spectrum(map, steps=20)

"""Tensors that lyapkit makes for itself are on the CPU, or where the map is, whatever the default device."""

import ast
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor, nn

import lyapkit
from lyapkit import systems

PACKAGE = Path(lyapkit.__file__).parent
MAKERS = {
    *("arange", "as_tensor", "asarray", "empty", "empty_strided", "eye", "full", "linspace", "logspace", "normal"),
    *("ones", "rand", "randint", "randn", "randperm", "scalar_tensor", "tensor", "tril_indices", "triu_indices"),
    "zeros",
}
"""Functions of torch whose result is on the default device, unless they are told otherwise."""


def without_device(source: str) -> list[int]:
    """Return the lines of calls of `MAKERS` that do not say on which device."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "torch"
        and node.func.attr in MAKERS
        and not any(keyword.arg in ("device", None) for keyword in node.keywords)
    ]


def test_every_tensor_that_is_made_says_where() -> None:
    assert without_device("torch.ones(2)\ntorch.ones(2, device=x.device)\ntorch.zeros(3)\n") == [1, 3]
    found = {str(path): lines for path in PACKAGE.rglob("*.py") if (lines := without_device(path.read_text("utf-8")))}
    assert not found


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64, device="cpu")


def weighted(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs * targets).sum()


def cell() -> nn.Module:
    module = nn.GRUCell(2, 4, dtype=torch.float64, device="cpu")
    for index, parameter in enumerate(module.parameters()):
        parameter.data = 0.5 * normal(*parameter.shape, seed=index)
    return module


def register() -> lyapkit.RecurrentMap:
    """A delay line in rotated coordinates beside a map, whose directions need a second look."""
    basis = torch.linalg.qr(normal(6, 6, seed=1)).Q
    matrix = normal(6, 6, seed=2).tril(-1)
    matrix[:2, :2] = 0.9 * torch.eye(2, dtype=torch.float64, device="cpu")
    matrix = basis @ matrix @ basis.T
    return lyapkit.as_map(lambda x: matrix @ x, state=torch.zeros(6, dtype=torch.float64, device="cpu"))


def linear() -> tuple[nn.Module, tuple[Tensor, Tensor], Callable[..., Tensor]]:
    module = nn.Linear(3, 2, dtype=torch.float64, device="cpu")
    for index, parameter in enumerate(module.parameters()):
        parameter.data = normal(*parameter.shape, seed=index)
    return module, (normal(8, 3, seed=5), normal(8, 2, seed=6)), nn.functional.mse_loss


INPUTS, BATCH, LENGTHS = normal(60, 3, 2, seed=3), normal(3, 4, seed=4), [60, 50, 41]
RUNS: dict[str, Callable[[], xr.Dataset | np.ndarray]] = {
    "spectrum": lambda: lyapkit.lyapunov_spectrum(cell(), INPUTS, lengths=LENGTHS, k=2, rng=0),
    "spectrum, resumed": lambda: lyapkit.lyapunov_spectrum(
        cell(), INPUTS[30:], resume=lyapkit.lyapunov_spectrum(cell(), INPUTS[:30])
    ),
    "spectrum, until": lambda: lyapkit.lyapunov_spectrum(systems.logistic().map, until=0.01),
    "spectrum, singular": lambda: lyapkit.lyapunov_spectrum(register(), steps=40),
    "spectrum, list of inputs": lambda: lyapkit.lyapunov_spectrum(cell().float(), INPUTS[:, 0].tolist()),
    "exponents": lambda: lyapkit.lyapunov_exponents(cell(), INPUTS, lengths=LENGTHS).detach().numpy(),
    "variational term": lambda: lyapkit.variational_term(cell(), INPUTS, lengths=LENGTHS),
    "covariant vectors": lambda: lyapkit.covariant_vectors(cell(), INPUTS, k=2, rng=0),
    "gradients": lambda: lyapkit.gradient_propagation(
        cell(), INPUTS, BATCH, weighted, readout=nn.Identity(), lengths=LENGTHS, parameter_gradients=True, rng=0
    ),
    "Hessian": lambda: lyapkit.hessian_spectrum(*linear(), k=3, rng=0),
    "density": lambda: lyapkit.spectral_density(*linear(), rng=0),
    "operator": lambda: lyapkit.curvature_operator(*linear()) @ np.eye(8),
    "states": lambda: lyapkit.states(cell(), INPUTS, lengths=LENGTHS),
    "Jacobians": lambda: lyapkit.jacobians(cell(), INPUTS, lengths=LENGTHS, record_every=20),
    "fixed points": lambda: lyapkit.fixed_points(systems.henon().map, n_starts=50, period=2, rng=0),
    "comparison": lambda: lyapkit.compare(cell(), cell(), INPUTS, lengths=LENGTHS, rng=0),
    "by step": lambda: lyapkit.curvature_by_step(cell(), (INPUTS, BATCH), weighted, readout=nn.Identity(), rng=0),
}


@pytest.mark.parametrize("name", RUNS)
def test_results_do_not_depend_on_the_default_device(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Under meta, a tensor that was made on the default device has no numbers, and meets others on the CPU."""
    expected = RUNS[name]()
    monkeypatch.setattr(torch, "get_default_device", lambda: torch.device("cpu"))  # meta itself is refused
    with torch.device("meta"):
        assert torch.ones(1).device.type == "meta"
        found = RUNS[name]()
    if isinstance(expected, np.ndarray):
        np.testing.assert_array_equal(found, expected)
    else:
        xr.testing.assert_equal(found, expected)


def test_reference_systems_do_not_depend_on_the_default_device() -> None:
    expected = systems.catalogue()
    with torch.device("meta"):
        found = systems.catalogue()
    for one, other in zip(found, expected, strict=True):
        assert one.exponents == other.exponents
        for name in ("inputs", "initial_state"):
            here, there = one.run(0).get(name), other.run(0).get(name)
            assert (here is None and there is None) or torch.equal(here, there)

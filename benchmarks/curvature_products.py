"""Curvature products by recursion through time: cost in gradients of the loss, against double backward and a peer.

    python benchmarks/curvature_products.py
    python benchmarks/curvature_products.py --model gru --steps 392
    pip install curvlinops-for-pytorch && python benchmarks/curvature_products.py --peers

Everything is timed in turn, several times over, and the smallest time counts: other work on the machine only ever adds.
"""

import argparse
import platform
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from lyapkit import as_map
from lyapkit.curvature.products.operators import WeightedLoss
from lyapkit.curvature.recurrent import jacobian as recurrent_jacobian
from lyapkit.curvature.recurrent.products import recurrent_products
from lyapkit.losses.unrolled import UnrolledNetwork
from wcrnn_models import WCRNN, residuals

CLASSES = 10


class Layer(nn.Module):
    """A built-in layer with an affine readout of its last output."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.layer, self.readout = layer, nn.Linear(layer.hidden_size, CLASSES)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Compute outputs (B, O)."""
        return self.readout(self.layer(inputs)[0][-1])


def make(kind: str, units: int) -> tuple[nn.Module, UnrolledNetwork]:
    """Return the model as a user has it, and the network that is stepped by elementary operations."""
    if kind in ("scalar", "rotation"):
        residual = residuals.scalar(0.995) if kind == "scalar" else residuals.rotation(0.2244)
        model = WCRNN(1, units, CLASSES, residual=residual, rng=0)
        return model, UnrolledNetwork(as_map(model), model.readout)
    torch.manual_seed(0)
    model = Layer({"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[kind](1, units))
    return model, UnrolledNetwork(as_map(model.layer), model.readout)


def smallest(calls: dict[str, Callable[[], object]], repeats: int, now: Callable[[], float]) -> dict[str, float]:
    """Measure the seconds of every call, the smallest of several rounds after one that is not counted."""
    for call in calls.values():
        call()
    found = dict.fromkeys(calls, float("inf"))
    for _ in range(repeats):
        for name, call in calls.items():
            start = now()
            call()
            found[name] = min(found[name], now() - start)
    return found


def products(
    kind: str, steps: int, batch: int, units: int, repeats: int, now: Callable[[], float], peers: bool
) -> None:
    model, network = make(kind, units)
    generator = torch.Generator().manual_seed(0)
    inputs = torch.rand(steps, batch, 1, generator=generator)
    targets = torch.randint(CLASSES, (batch,), generator=generator)
    parameters = dict(network.named_parameters())
    objective = WeightedLoss(network, parameters, [(inputs, targets)], [1.0], cross_entropy)
    fast = recurrent_products(objective)
    assert fast is not None
    print(f"\n{kind}: T={steps}, B={batch}, {units} units, {objective.size} parameters, float32")

    def gradient() -> object:
        return torch.autograd.grad(cross_entropy(model(inputs), targets), list(model.parameters()))

    blocks = {count: torch.randn(objective.size, count, generator=generator).double() for count in (1, 8)}
    calls: dict[str, Callable[[], object]] = {"gradient (the model's own forward)": gradient}
    probes = {"gradient (the model's own forward)": 1}

    def add(name: str, product: Callable[[torch.Tensor], torch.Tensor]) -> None:
        for count, block in blocks.items():
            calls[f"{name}, {count}"] = lambda block=block: product(block)
            probes[f"{name}, {count}"] = count

    add("Hessian, recursion", fast.product("hessian"))
    add("GGN, with the outputs' Jacobian", fast.product("ggn"))
    most, recurrent_jacobian.MOST_OUTPUTS = recurrent_jacobian.MOST_OUTPUTS, 0
    add("GGN, recursion", recurrent_products(objective).product("ggn"))
    recurrent_jacobian.MOST_OUTPUTS = most
    add("Hessian, double backward", objective.product("hessian"))
    add("GGN, double backward", objective.product("ggn"))
    calls["set-up of the Hessian's recursion"] = lambda: recurrent_products(objective, check=False).product("hessian")
    calls["set-up of the GGN's Jacobian"] = lambda: recurrent_products(objective, check=False).product("ggn")
    if peers:
        add_curvlinops(model, (inputs, targets), add)
    times = smallest(calls, repeats, now)
    unit = times["gradient (the model's own forward)"]
    print(f"{'product, probes at once':<46}{'s':>9}{'gradients per probe':>22}")
    for name, seconds in times.items():
        print(f"{name:<46}{seconds:9.4f}{seconds / unit / probes.get(name, 1):22.3f}", flush=True)
    exact, found = objective.product("hessian")(blocks[1]), fast.product("hessian")(blocks[1])
    print(f"relative difference of the two Hessian products: {float((exact - found).norm() / exact.norm()):.1e}")


def add_curvlinops(model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor], add: Callable[..., None]) -> None:
    try:
        from curvlinops import GGNLinearOperator, HessianLinearOperator
    except ImportError:
        print("curvlinops is not installed: pip install curvlinops-for-pytorch")
        return
    weights = list(model.parameters())
    for name, kind in (("Hessian", HessianLinearOperator), ("GGN", GGNLinearOperator)):
        try:
            operator = kind(model, nn.CrossEntropyLoss(), weights, [batch], check_deterministic=False)
            operator @ torch.zeros(sum(weight.numel() for weight in weights), 1)
        except (RuntimeError, NotImplementedError) as error:
            print(f"curvlinops' {name} of this model fails: {str(error).splitlines()[0]}")
            continue
        add(f"{name}, curvlinops", lambda vectors, operator=operator: operator @ vectors.float())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=["scalar", "rotation", "rnn", "gru", "lstm"], default="scalar")
    parser.add_argument("--steps", type=int, default=784)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--units", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cpu-time", action="store_true", help="of one thread, where the machine is not idle")
    parser.add_argument("--peers", action="store_true", help="also time curvlinops")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, {arguments.threads} threads")
    now = time.process_time if arguments.cpu_time else time.perf_counter
    sizes = arguments.steps, arguments.batch, arguments.units
    products(arguments.model, *sizes, arguments.repeats, now, arguments.peers)


if __name__ == "__main__":
    main()

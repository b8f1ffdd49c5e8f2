"""Training iterations per second: plain step loop, torch's own layers, ours alone and as an ensemble, and the floor.

    python benchmarks/training.py

on an otherwise idle machine; on two cores it takes about four minutes, with ``--residual scalar`` half of that.
Contenders take turns, and the best of their turns counts, so that other load on the machine disturbs all alike. Where
several networks are trained at once, in an ensemble or in processes, the number is that of all of them. All ratios are
to the plain step loop of one network after another, with the number of threads that suits it best.
"""

from __future__ import annotations

import argparse
import multiprocessing
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from wcrnn_models import WCRNN, residuals
from wcrnn_models.names import Form
from wcrnn_models.training.adjoint import EnsembleForward, fast_forward

RESIDUALS = {
    "scalar": lambda: residuals.scalar(0.995),
    "rotation": lambda: residuals.rotation(0.2244),
    "informed": lambda: residuals.informed(rng=0),
    "dense": lambda: residuals.orthogonal(rng=0),
}


@dataclass(frozen=True)
class Sizes:
    """Sizes of the training: as in the paper, sMNIST with 100 units."""

    units: int = 100
    batch: int = 128
    steps: int = 784
    inputs: int = 1
    outputs: int = 10
    device: str = "cpu"
    form: Form = "linear"

    def data(self) -> tuple[Tensor, Tensor]:
        """Return a batch of random pixels and labels."""
        generator = torch.Generator().manual_seed(0)
        inputs = torch.rand(self.steps, self.batch, self.inputs, generator=generator)
        labels = torch.randint(0, self.outputs, (self.batch,), generator=generator)
        return inputs.to(self.device), labels.to(self.device)

    def network(self, residual: str, seed: int = 0) -> WCRNN:
        """Return an untrained network."""
        sizes = self.inputs, self.units, self.outputs
        return WCRNN(*sizes, residual=RESIDUALS[residual](), form=self.form, rng=seed).to(self.device)


def iteration(
    models: list[nn.Module], forward: Callable[[list[Tensor]], list[Tensor]], sizes: Sizes
) -> Callable[[], list[float]]:
    """Return one step of SGD of every model."""
    inputs, labels = sizes.data()
    optimizers = [torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9) for model in models]

    def run() -> list[float]:
        for optimizer in optimizers:
            optimizer.zero_grad()
        losses = [functional.cross_entropy(output, labels) for output in forward([inputs] * len(models))]
        torch.autograd.backward(losses)
        for optimizer in optimizers:
            optimizer.step()
        return [float(loss.detach()) for loss in losses]

    return run


def plain(sizes: Sizes, residual: str) -> Callable[[], list[float]]:
    model = sizes.network(residual)
    return iteration([model], lambda inputs: [model(inputs[0])], sizes)


def ours(sizes: Sizes, residual: str) -> Callable[[], list[float]]:
    model = sizes.network(residual)
    forward = fast_forward(model)
    return iteration([model], lambda inputs: [forward(inputs[0])], sizes)


def together(sizes: Sizes, residual: str, count: int) -> Callable[[], list[float]]:
    models = [sizes.network(residual, seed) for seed in range(count)]
    return iteration(list(models), EnsembleForward(models), sizes)


def layer(sizes: Sizes, kind: type[nn.RNN | nn.LSTM], units: int) -> Callable[[], list[float]]:
    recurrent, readout = kind(sizes.inputs, units), nn.Linear(units, sizes.outputs)
    model = nn.ModuleList([recurrent, readout]).to(sizes.device)
    return iteration([model], lambda inputs: [readout(recurrent(inputs[0])[0][-1])], sizes)


def floor(sizes: Sizes) -> Callable[[], None]:
    """Return the matrix products of an iteration and nothing else: a step forward, a step back, and its gradient."""
    weight = torch.randn(sizes.units, sizes.units, device=sizes.device)
    states, product = torch.randn(sizes.batch, sizes.units, device=sizes.device), torch.empty_like(weight)
    carried = torch.empty_like(states)

    def run() -> None:
        for _ in range(sizes.steps):
            torch.mm(states, weight, out=carried)
            torch.mm(states, weight, out=carried)
            torch.mm(states.t(), states, out=product)

    return run


def synchronize(sizes: Sizes) -> None:
    if sizes.device.startswith("cuda"):
        torch.cuda.synchronize()


class Here:
    """A contender in this process with a number of threads."""

    def __init__(self, run: Callable[[], object], sizes: Sizes, threads: int, networks: int = 1) -> None:
        self.run, self.sizes, self.threads, self.networks = run, sizes, threads, networks

    def rate(self, repeats: int) -> float:
        """Measure network iterations per second."""
        torch.set_num_threads(self.threads)
        self.run()
        synchronize(self.sizes)
        start = time.perf_counter()
        for _ in range(repeats):
            self.run()
        synchronize(self.sizes)
        return self.networks * repeats / (time.perf_counter() - start)


class Processes:
    """A contender in as many processes as there are cores, with one thread each."""

    def __init__(
        self, count: int, networks: int, make: Callable[..., Callable[[], object]], *arguments: object
    ) -> None:
        self.count, self.networks = count, networks
        context = multiprocessing.get_context("spawn")
        self.barrier = context.Barrier(count + 1)
        self.repeats = context.Value("i", 0)
        for _ in range(count):
            context.Process(target=serve, args=(self.barrier, self.repeats, make, arguments), daemon=True).start()

    def rate(self, repeats: int) -> float:
        """Measure network iterations per second of all processes."""
        self.repeats.value = repeats
        self.barrier.wait()  # begin
        self.barrier.wait()  # all have warmed up
        start = time.perf_counter()
        self.barrier.wait()  # all have ended
        return self.count * self.networks * repeats / (time.perf_counter() - start)


def serve(barrier: Any, repeats: Any, make: Callable[..., Callable[[], Any]], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    run = make(*arguments)
    while True:
        barrier.wait()
        run()
        barrier.wait()
        for _ in range(repeats.value):
            run()
        barrier.wait()


def difference(sizes: Sizes, residual: str, iterations: int = 5) -> float:
    """Return the largest relative difference of the losses of ours and the plain loop, from the same weights."""
    slow, fast = plain(sizes, residual), ours(sizes, residual)
    pairs = [(slow()[0], fast()[0]) for _ in range(iterations)]
    return max(abs(one - other) / one for one, other in pairs)


def measure(contenders: dict[str, Here | Processes], rounds: int, repeats: int) -> dict[str, float]:
    """Return the best rate of every contender."""
    best = dict.fromkeys(contenders, 0.0)
    for _ in range(rounds):
        for name, contender in contenders.items():
            best[name] = max(best[name], contender.rate(repeats))
    return best


def networks(sizes: Sizes, residual: str, cores: int) -> dict[str, Here | Processes]:
    """Return the plain loop and ours, alone and as ensembles."""
    if sizes.device != "cpu":
        return {
            "plain step loop": Here(plain(sizes, residual), sizes, 1),
            "ours, one network": Here(ours(sizes, residual), sizes, 1),
            **{f"ours, {k} networks together": Here(together(sizes, residual, k), sizes, 1, k) for k in (8, 64)},
        }
    found: dict[str, Here | Processes] = {}
    for threads in sorted({1, cores}):
        found[f"plain step loop, threads: {threads}"] = Here(plain(sizes, residual), sizes, threads)
        found[f"ours, one network, threads: {threads}"] = Here(ours(sizes, residual), sizes, threads)
    found["ours, 4 networks together, threads: 1"] = Here(together(sizes, residual, 4), sizes, 1, 4)
    for label, count, make, more in (
        ("plain step loop", 1, plain, ()),
        ("ours, one network each", 1, ours, ()),
        ("ours, 4 networks together each", 4, together, (4,)),
    ):
        found[f"{label}, processes: {cores}"] = Processes(cores, count, make, sizes, residual, *more)
    return found


def others(sizes: Sizes, cores: int) -> dict[str, Here | Processes]:
    """Measure everything that does not depend on the residual."""
    threads = sorted({1, cores}) if sizes.device == "cpu" else [1]
    found: dict[str, Here | Processes] = {"floor: the matrix products alone, threads: 1": Here(floor(sizes), sizes, 1)}
    if sizes.device == "cpu":
        found[f"floor: the matrix products alone, processes: {cores}"] = Processes(cores, 1, floor, sizes)
    for kind, units in ((nn.RNN, sizes.units), (nn.LSTM, 47), (nn.LSTM, sizes.units)):
        for count in threads:
            name = f"nn.{kind.__name__}, {units} units, threads: {count}"
            found[name] = Here(layer(sizes, kind, units), sizes, count)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cores", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--residual", nargs="+", choices=RESIDUALS, default=["scalar", "rotation", "informed"])
    parser.add_argument("--form", choices=get_args(Form), default="linear")
    for name, default in (("units", 100), ("batch", 128), ("steps", 784)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    sizes = Sizes(given.units, given.batch, given.steps, device=given.device, form=given.form)
    machine = f"{platform.processor() or platform.machine()}, {given.cores} cores"
    if sizes.device != "cpu":
        machine = torch.cuda.get_device_name()
    print(f"{machine}, torch {torch.__version__}, form {sizes.form}, N={sizes.units}, batch {sizes.batch}, ", end="")
    print(f"T={sizes.steps}, float32; network iterations per second, best of {given.rounds} turns of {given.repeats}")
    for position, residual in enumerate(given.residual):
        contenders = networks(sizes, residual, given.cores)
        if position == 0:  # what does not depend on the residual takes its turns with the first
            contenders |= others(sizes, given.cores)
        rates = measure(contenders, given.rounds, given.repeats)
        reference = max((name for name in rates if name.startswith("plain") and "processes" not in name), key=rates.get)
        print(f"\n{residual} residual")
        for name, rate in rates.items():
            print(f"{name:<62}{rate:9.2f} /s{rate / rates[reference]:8.2f}x", flush=True)
        print(f"largest relative difference of five losses, ours and the plain loop: {difference(sizes, residual):.1e}")


if __name__ == "__main__":
    main()

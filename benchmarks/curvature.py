"""Leading eigenvalues of the Hessians of small trained networks: products and time, against SciPy's eigsh.

    python benchmarks/curvature.py

Both solvers get the same products, of one column at a time (eigsh) or of a block. What is counted is the search; the k
products with which residuals are computed once more are counted beside it.
"""

import argparse
import platform
import warnings

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from timing import median_seconds
from torch import nn
from torch.nn.functional import cross_entropy

import lyapkit


class LastStep(nn.Module):
    """A built-in layer with an affine readout of its last output."""

    def __init__(self, layer: nn.RNNBase, outputs: int) -> None:
        super().__init__()
        self.layer, self.readout = layer, nn.Linear(layer.hidden_size, outputs)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Compute outputs (B, O)."""
        return self.readout(self.layer(inputs)[0][-1])


NETWORKS = {"RNN": lambda: nn.RNN(2, 24), "GRU": lambda: nn.GRU(2, 14), "LSTM": lambda: nn.LSTM(2, 12)}


def trained(kind: str) -> tuple[nn.Module, tuple[torch.Tensor, torch.Tensor]]:
    """Return a network after 150 steps on the signs of two sums."""
    torch.manual_seed(0)
    model = LastStep(NETWORKS[kind](), 3).double()
    inputs = torch.randn(20, 64, 2).double()
    targets = (inputs.sum(0) > 0).sum(dim=1)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(150):
        optimiser.zero_grad()
        cross_entropy(model(inputs), targets).backward()
        optimiser.step()
    return model, (inputs, targets)


def solvers(kind: str, k: int, repeats: int) -> None:
    model, batch = trained(kind)
    operator = lyapkit.curvature_operator(model, batch, cross_entropy)
    matrix = operator @ np.eye(operator.shape[0])
    exact = np.linalg.eigvalsh((matrix + matrix.T) / 2)
    exact = exact[np.argsort(-abs(exact))][:k]
    print(
        f"\n{kind}, {operator.shape[0]} parameters, k={k}, |lambda_k / lambda_1| = {abs(exact[-1] / exact[0]):.1e}\n"
        f"{'':<34}{'products':>12}{'seconds':>10}{'residual/|lambda|':>20}{'error/|lambda|':>16}"
    )
    for tolerance in (1e-2, 1e-4, 1e-6, 0):
        row(f"eigsh, tol={tolerance:g}", *by_scipy(operator, exact, k, tolerance, repeats))
    for tolerance in (1e-3, 1e-6):
        for block_size in (1, 2, 4, 8):
            name = f"lyapkit, {tolerance:g}, block_size={block_size}"
            row(name, *by_lyapkit(model, batch, exact, k, repeats, tolerance=tolerance, block_size=block_size))


def by_scipy(
    operator: LinearOperator, exact: np.ndarray, k: int, tolerance: float, repeats: int
) -> tuple[str, float, float, float]:
    count = 0

    def product(vector: np.ndarray) -> np.ndarray:
        nonlocal count
        count += 1
        return operator @ vector.reshape(-1)

    counting = LinearOperator(operator.shape, matvec=product, dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(operator.shape[0])
    values, vectors = eigsh(counting, k=k, which="LM", tol=tolerance, v0=start)
    products = count
    seconds = median_seconds(lambda: eigsh(counting, k=k, which="LM", tol=tolerance, v0=start), repeats)
    residual = np.linalg.norm(operator @ vectors - vectors * values, axis=0) / abs(values)
    error = abs(values[np.argsort(-abs(values))] - exact) / abs(exact)
    return str(products), seconds, residual.max(), error.max()


def by_lyapkit(
    model: nn.Module,
    batch: tuple[torch.Tensor, torch.Tensor],
    exact: np.ndarray,
    k: int,
    repeats: int,
    **options: object,
) -> tuple[str, float, float, float]:
    def solve() -> object:
        return lyapkit.hessian_spectrum(model, batch, cross_entropy, k=k, rng=0, check=False, **options)

    ds = solve()
    residual = (ds.residual / abs(ds.eigenvalue)).values
    error = abs(ds.eigenvalue.values - exact) / abs(exact)
    return f"{ds.attrs['products'] - k} + {k}", median_seconds(solve, repeats), residual.max(), error.max()


def row(name: str, products: str, seconds: float, residual: float, error: float) -> None:
    print(f"{name:<34}{products:>12}{seconds:>10.3f}{residual:>20.1e}{error:>16.1e}", flush=True)


def tracking(k: int) -> None:
    """Count products along a training, from nothing and from the spectrum before."""
    model, batch = trained("RNN")
    optimiser = torch.optim.SGD(model.parameters(), 1e-2)
    print(f"\nRNN along {5} x 10 further steps, k={k}: products of a cold and a warm start")
    before = None
    for _ in range(5):
        options = {"k": k, "rng": 0, "eigenvectors": True, "check": False}
        cold = lyapkit.hessian_spectrum(model, batch, cross_entropy, **options)
        warm = lyapkit.hessian_spectrum(model, batch, cross_entropy, start=before, **options)
        print(f"{cold.attrs['products']:>6}{warm.attrs['products']:>6}", flush=True)
        before = cold
        for _ in range(10):
            optimiser.zero_grad()
            cross_entropy(model(batch[0]), batch[1]).backward()
            optimiser.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--k", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("error")
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, {arguments.threads} threads")
    for kind in NETWORKS:
        solvers(kind, arguments.k, arguments.repeats)
    tracking(10)


if __name__ == "__main__":
    main()

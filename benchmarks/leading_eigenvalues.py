"""Leading Hessian eigenvalues of the paper's network: time, products, memory, and against PyHessian.

    WCRNN_DATA_DIR=... python benchmarks/leading_eigenvalues.py
    pip install pyhessian && python benchmarks/leading_eigenvalues.py --peers

The first finds the 50 largest in magnitude on 1,000 digits read pixel by pixel, given in batches, to a relative
residual of 1e-3; the second the 10 largest on 128 sequences of noise, by both. Seconds are wall time, set-up and checks
included.
"""

import argparse
import platform
import resource
import time
import warnings

import torch
from torch import nn
from torch.nn.functional import cross_entropy

import lyapkit
from wcrnn_models import WCRNN, residuals
from wcrnn_models.tasks import SequentialMNIST

STEPS, CLASSES = 784, 10


def network(r: float) -> WCRNN:
    return WCRNN(1, 100, CLASSES, residual=residuals.scalar(r), rng=0)


def digits(sequences: int, batch: int, r: float, k: int, block_size: int) -> None:
    """Compute eigenvalues of the network before training, on the first training images."""
    inputs, targets = SequentialMNIST(train_size=sequences).train_samples(torch.arange(sequences))
    batches = list(zip(inputs.split(batch, dim=1), targets.split(batch), strict=True))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    found = lyapkit.hessian_spectrum(
        network(r), batches, cross_entropy, k=k, tolerance=1e-3, block_size=block_size, rng=0
    )
    seconds = time.perf_counter() - start
    extra = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20
    values, residuals_found = found.eigenvalue.values, found.residual.values
    print(
        f"{k} largest of r = {r}, {sequences} digits in {len(batches)} batches: {seconds:.1f} s, "
        f"{found.attrs['products']} products, {found.attrs['gradient_equivalents']:.0f} gradients, {extra:.2f} GiB; "
        f"converged {found.attrs['converged']}, largest residual/|lambda| {max(residuals_found / abs(values)):.1e}\n"
        f"eigenvalues {values[:3].round(4).tolist()} ... {values[-1]:.3g}",
        flush=True,
    )


def against_pyhessian(batch: int) -> None:
    """Compute the ten largest by both to a relative 1e-3; PyHessian has its defaults otherwise."""
    try:
        from pyhessian import hessian
    except ImportError:
        print("PyHessian is not installed: pip install pyhessian")
        return
    model = network(0.995)
    generator = torch.Generator().manual_seed(0)
    inputs = torch.rand(STEPS, batch, 1, generator=generator)
    targets = torch.randint(CLASSES, (batch,), generator=generator)
    print(f"10 largest, {batch} sequences of noise")
    start = time.perf_counter()
    ours = lyapkit.hessian_spectrum(model, (inputs, targets), cross_entropy, k=10, tolerance=1e-3, rng=0)
    seconds = time.perf_counter() - start
    print(f"lyapkit    {seconds:9.2f} s, {ours.attrs['products']} products: {ours.eigenvalue.values.round(5).tolist()}")
    torch.manual_seed(0)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        computer = hessian(model, nn.CrossEntropyLoss(), data=(inputs, targets), cuda=False)
        theirs, _ = computer.eigenvalues(maxIter=100, tol=1e-3, top_n=10)
    other = time.perf_counter() - start
    print(f"PyHessian  {other:9.2f} s ({other / seconds:.1f}x): {[round(value, 5) for value in theirs]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", action="store_true", help="the comparison with PyHessian instead")
    parser.add_argument("--sequences", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=250)
    parser.add_argument("--k", type=int, default=50)
    parser.add_argument("--r", type=float, default=0.995)
    parser.add_argument("--block-size", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, {arguments.threads} threads")
    if arguments.peers:
        against_pyhessian(128)
    else:
        digits(arguments.sequences, arguments.batch, arguments.r, arguments.k, arguments.block_size)


if __name__ == "__main__":
    main()

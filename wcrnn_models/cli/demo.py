"""``wcrnn demo``: train, analyse and draw two small networks in about a minute."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from lyapkit_command.guard import SUCCESS


@dataclass(frozen=True)
class Arguments:
    """Train a subcritical and a near-critical network on the adding problem and analyse both.

    Needs no data. Prints the measured Lyapunov exponents beside log r, and writes the checkpoints, one result file
    (analysis.nc) and one figure of four panels (overview.png and overview.pdf).
    """

    output: Path = Path("demo")
    """Directory to write to; made if missing."""

    epochs: int = 10
    """Epochs of 250 iterations each."""

    def run(self) -> int:
        """Run, and print the table; return the exit code."""
        started = time.monotonic()
        import torch

        from wcrnn_models.demo import run_demo
        from wcrnn_models.tables import ERRORS_EXPLAINED

        torch.set_num_threads(1)  # matrices of 64 x 64: a second thread would only wait for the first
        result = run_demo(self.output, epochs=self.epochs, progress=True)
        print(result.table)
        print(f"\n{ERRORS_EXPLAINED}")
        print("written: " + ", ".join(str(path) for path in result.files))
        print(f"{time.monotonic() - started:.0f} s")
        return SUCCESS

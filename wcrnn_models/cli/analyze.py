"""``wcrnn analyze``: exponents, variational term, gradients and Hessian of a trained network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

SUMMARY = "measure exponents, gradients and curvature of checkpoints"

Part = Literal["lyapunov_spectrum", "variational_term", "gradient_propagation", "hessian_spectrum"]


@dataclass(frozen=True)
class Arguments:
    """Analyse checkpoints on the first test samples of their own task, in float64.

    For the directory of a run, the untrained and the last network are analysed; for a checkpoint file, that one.
    Prints the measured Lyapunov exponents beside log |eigenvalues of the residual| and writes all results to one
    netCDF file, which `lyapkit.load` or `xarray.open_datatree` opens.
    """

    path: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PATH")]
    """Directory of a run, or a checkpoint file (.safetensors)."""

    output: Path | None = None
    """Result file; analysis.nc beside the checkpoints if not given."""

    samples: int = 32
    """Test samples for gradients and Hessian."""

    trajectories: int = 2
    """How many of them the Lyapunov spectrum and the variational term follow."""

    include: tuple[Part, ...] = ("lyapunov_spectrum", "variational_term", "gradient_propagation", "hessian_spectrum")
    """Which analyses to do; the table needs lyapunov_spectrum."""

    hessian_k: int = 20
    """Number of Hessian eigenvalues."""

    record_every: int = 1
    """Steps between recorded singular values of the variational term."""

    seed: int = 0
    """Of random start vectors."""


def run(arguments: Sequence[str]) -> int:
    """Parse, analyse, write the file and print the table; returns the exit code."""
    parsed = tyro.cli(Arguments, args=arguments, prog="wcrnn analyze")
    import xarray as xr

    from lyapkit import save
    from wcrnn_models.analysis import analyze_checkpoint, training_curve
    from wcrnn_models.checkpoints import list_checkpoints, load_checkpoint
    from wcrnn_models.cli.main import SUCCESS
    from wcrnn_models.errors import UserError
    from wcrnn_models.tables import exponent_table
    from wcrnn_models.training.result import TrainResult
    from wcrnn_models.training.trainer import HISTORY_FILE

    if parsed.path.is_dir():
        found = list_checkpoints(parsed.path)
        if not found:
            raise UserError(f"{parsed.path} holds no checkpoint; give the directory of a run, made by `wcrnn train`")
        chosen = {"before": found[0], "after": found[-1]} if len(found) > 1 else {"network": found[0]}
        home = parsed.path
    else:
        chosen = {"network": parsed.path}
        home = parsed.path.parent
    output = parsed.output or home / "analysis.nc"
    if not output.parent.is_dir():
        raise UserError(f"the directory {output.parent} of the result file does not exist; create it first")
    for path in chosen.values():
        load_checkpoint(path)  # refuse a damaged file before the first long computation
    trees = {
        name: analyze_checkpoint(
            path,
            samples=parsed.samples,
            trajectories=parsed.trajectories,
            include=parsed.include,
            hessian_k=parsed.hessian_k,
            record_every=parsed.record_every,
            rng=parsed.seed,
            progress=True,
        )
        for name, path in chosen.items()
    }
    nodes = {
        child if len(trees) == 1 else f"{name}/{child}": part.to_dataset()
        for name, tree in trees.items()
        for child, part in tree.children.items()
    }
    history = parsed.path / HISTORY_FILE
    if history.is_file():
        nodes["training"] = training_curve(TrainResult.read(history))
    save(xr.DataTree.from_dict(nodes), output)
    if "lyapunov_spectrum" in parsed.include:
        print(exponent_table(trees))
        print("\nLE: Lyapunov exponent in nats per step, standard error in the last digits.")
    print(f"written to {output}")
    return SUCCESS

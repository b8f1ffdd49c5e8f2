"""``wcrnn analyze``: exponents, variational term, gradients and Hessian of a trained network."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from lyapkit_command.guard import SUCCESS

Operator = Literal["hessian", "ggn", "residual"]
Part = Literal["lyapunov_spectrum", "variational_term", "gradient_propagation", "hessian_spectrum"]


@dataclass(frozen=True)
class Arguments:
    """Analyse checkpoints on a random subset of the test samples of their own task, in float64.

    For the directory of a run, the untrained and the last network are analysed, also while the run continues. For a
    checkpoint file, its network is analysed.
    Prints the measured Lyapunov exponents beside log |eigenvalues of the residual| and writes all results to one
    netCDF file, which `lyapkit.load` or `xarray.open_datatree` opens.
    """

    path: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PATH")]
    """Directory of a run, or a checkpoint file (.safetensors)."""

    output: Path | None = None
    """Result file; if not given, analysis.nc in the directory of the run, or NAME.analysis.nc beside the checkpoint
    file NAME.safetensors. An existing file is replaced."""

    samples: int | None = None
    """Number of test samples for gradients and Hessian; 32, or all of a smaller test set, if not given."""

    sample_seed: int = 0
    """Seed that chooses them. Equal for all networks that are to be compared."""

    trajectories: int = 2
    """Number of them that the Lyapunov spectrum and the variational term follow."""

    k: int | None = None
    """Number of leading exponents; all if not given, which takes long for an S4D, of thousands of state components."""

    include: tuple[Part, ...] = ("lyapunov_spectrum", "variational_term", "gradient_propagation", "hessian_spectrum")
    """Analyses to do; the table needs lyapunov_spectrum."""

    hessian_k: int = 20
    """Number of Hessian eigenvalues."""

    operator: Operator = "hessian"
    """Operator whose eigenvalues are computed: the Hessian, or one of its parts, the generalised Gauss-Newton matrix
    and the residual term."""

    parameters: Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="GLOB [GLOB ...]")] = None
    """Parameters of the Hessian and the gradient norms, by name or glob, such as "recurrent.*" for W_xx with its bias;
    all if not given. Quote a glob, or the shell may expand it."""

    record_every: int = 1
    """Steps between recorded singular values of the variational term."""

    seed: int = 0
    """Seed of random start vectors."""

    def run(self) -> int:
        """Analyse, write the file and print the table; return the exit code."""
        import xarray as xr

        from lyapkit import save
        from wcrnn_models.analysis import analyze_checkpoint, training_curve
        from wcrnn_models.errors import UserError
        from wcrnn_models.files import check_result_file
        from wcrnn_models.run_files import HISTORY_FILE
        from wcrnn_models.tables import ERRORS_EXPLAINED, exponent_table
        from wcrnn_models.training.result import TrainResult, ended_result

        for name in ("samples", "trajectories", "k", "hessian_k", "record_every"):  # before the first long computation
            if (number := getattr(self, name)) is not None and number < 1:
                raise UserError(f"{name} must be at least 1, got {number}.")
        ended_result(
            self.path
        )  # refuses a run that has lost a checkpoint: another would be taken for its first or last
        with tempfile.TemporaryDirectory() as folder:
            chosen = _copies(self.path, Path(folder))
            output = self.output or _default_output(self.path)
            check_result_file(output)
            history = self.path / HISTORY_FILE
            training = training_curve(TrainResult.read(history)) if history.is_file() else None
            trees = {
                name: analyze_checkpoint(
                    path,
                    samples=self.samples,
                    trajectories=self.trajectories,
                    include=self.include,
                    k=self.k,
                    hessian_k=self.hessian_k,
                    operator=self.operator,
                    parameters=self.parameters,
                    sample_seed=self.sample_seed,
                    record_every=self.record_every,
                    rng=self.seed,
                    progress=True,
                )
                for name, path in chosen.items()
            }
        nodes = {
            child if len(trees) == 1 else f"{name}/{child}": part.to_dataset()
            for name, tree in trees.items()
            for child, part in tree.children.items()
        }
        if training is not None:
            nodes["training"] = training
        save(xr.DataTree.from_dict(nodes), output)
        if "lyapunov_spectrum" in self.include:
            print(exponent_table(trees))
            print(f"\n{ERRORS_EXPLAINED}")
        print(f"written to {output}")
        return SUCCESS


def _default_output(path: Path) -> Path:
    return path / "analysis.nc" if path.is_dir() else path.with_suffix(".analysis.nc")


def _copies(path: Path, folder: Path) -> dict[str, Path]:
    """Return the checkpoints to analyse, copied to where a training that continues does not delete them."""
    from wcrnn_models.checkpoints import read_checkpoints
    from wcrnn_models.training.saved import load_checkpoint

    def copy(chosen: dict[str, Path]) -> dict[str, Path]:
        for name, file in chosen.items():
            load_checkpoint(file)  # refuses a damaged file under its own name
            for suffix in (".safetensors", ".json"):
                shutil.copyfile(file.with_suffix(suffix), folder / f"{name}{suffix}")
        return {name: folder / f"{name}.safetensors" for name in chosen}

    if not path.is_dir():
        return copy({"network": path})
    return read_checkpoints(
        path, lambda found: copy({"before": found[0], "after": found[-1]} if len(found) > 1 else {"network": found[0]})
    )

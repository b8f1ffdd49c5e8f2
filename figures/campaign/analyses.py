"""Measure exponents, gradients and curvature of the networks of a training, and keep what figures draw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import xarray as xr

from figures.compact import RECORDED, compact_dataset
from lyapkit import load, save
from wcrnn_models import WCRNN
from wcrnn_models.analysis import analyze_checkpoint
from wcrnn_models.checkpoints import list_checkpoints
from wcrnn_models.run_files import CHECKPOINT_FOLDER
from wcrnn_models.sweeps.assemble import concatenate

SAMPLES = 128
"""Number of test samples of Hessians and gradients, a random choice."""

TOLERANCE = 1e-3
"""Tolerance of the residual |H v - lambda v| over |lambda|; eigenvalues of symmetric matrices err by its square, where
they are apart."""


@dataclass(frozen=True)
class Analysis:
    """One analysis of some checkpoints of a training.

    Attributes:
        name: Name of its results.
        include: The analysis, as `lyapkit.analyze` names it.
        checkpoints: Checkpoints that are analysed: all that are kept, the first and the last, or the untrained network
            alone.
        options: Further arguments of `analyze_checkpoint`.
    """

    name: str
    include: str
    checkpoints: Literal["all", "ends", "first"]
    options: Mapping[str, Any] = field(default_factory=dict)


def exponents(checkpoints: Literal["all", "ends", "first"]) -> Analysis:
    """Return the analysis of all Lyapunov exponents along one test sequence."""
    return Analysis("lyapunov_spectrum", "lyapunov_spectrum", checkpoints, {"samples": 1, "trajectories": 1})


def singular_values(record_every: int = RECORDED) -> Analysis:
    """Return the analysis of the variational term along one test sequence, before and after training."""
    options = {"samples": 1, "trajectories": 1, "record_every": record_every}
    return Analysis("variational_term", "variational_term", "ends", options)


def gradients(checkpoints: Literal["all", "ends", "first"]) -> Analysis:
    """Return the analysis of gradients through time."""
    return Analysis("gradient_propagation", "gradient_propagation", checkpoints, {"samples": SAMPLES})


def curvature(
    name: str,
    checkpoints: Literal["all", "ends", "first"],
    *,
    k: int,
    operator: Literal["hessian", "ggn", "residual"] = "hessian",
    recurrent: bool = True,
) -> Analysis:
    """Return the analysis of curvature, of the recurrent weights with their bias (section 2.2) or of all parameters."""
    options = {
        "samples": SAMPLES,
        "trajectories": 1,
        "hessian_k": k,
        "hessian_tolerance": TOLERANCE,
        "operator": operator,
        "parameters": WCRNN.recurrent_parameters if recurrent else None,
    }
    return Analysis(name, "hessian_spectrum", checkpoints, options)


def results_file(folder: Path, stage: str, run: str) -> Path:
    """Return the file with the analyses of a training.

    Args:
        folder: Folder of the records.
        stage: Name of the stage.
        run: Name of the training.
    """
    return folder / stage / f"{run}.nc"


def analyse(run: Path, analyses: tuple[Analysis, ...], output: Path) -> None:
    """Analyse the checkpoints of a training, and write what figures draw.

    Args:
        run: Directory of the training.
        analyses: Analyses to do.
        output: The file: one child for each analysis, over ``checkpoint``, the training iteration.

    Raises:
        UserError: If a checkpoint or the data of its task are missing or damaged.
    """
    files = list_checkpoints(run / CHECKPOINT_FOLDER)
    chosen = {"all": files, "ends": list(dict.fromkeys((files[0], files[-1]))), "first": files[:1]}
    children = {}
    for analysis in analyses:
        parts, iterations = [], []
        for file in chosen[analysis.checkpoints]:
            tree = analyze_checkpoint(file, include=(analysis.include,), **analysis.options)
            parts.append(compact_dataset(tree[analysis.include].to_dataset()))
            iterations.append(int(tree["network"].attrs["iteration"]))
        label = xr.Variable(("checkpoint",), iterations, {"long_name": "training iteration"})
        children[analysis.name] = concatenate(parts, label)
    output.parent.mkdir(parents=True, exist_ok=True)
    save(xr.DataTree.from_dict(children), output)


def read_analyses(path: Path) -> dict[str, xr.Dataset]:
    """Return the analyses of a training by name.

    Raises:
        ValueError: If the file is damaged.
    """
    tree = load(path)
    assert isinstance(tree, xr.DataTree)
    return {name: child.to_dataset() for name, child in tree.children.items()}

"""Analyse checkpoints with lyapkit: exponents beside what the residual predicts, gradients and curvature."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lyapkit import analyze, as_map
from lyapkit.analyze import ANALYSES
from lyapkit.checks.arguments import check_integer
from lyapkit.curvature.parameters import ParameterChoice
from lyapkit.curvature.products.operators import Operator
from lyapkit.lyapunov.uncertainty import MeanGrowth
from lyapkit.results import provenance
from wcrnn_models.errors import UserError
from wcrnn_models.models.predictions import predict
from wcrnn_models.training.build import build_task
from wcrnn_models.training.result import TrainResult
from wcrnn_models.training.saved import LoadedCheckpoint, load_checkpoint

SAMPLES = 32
"""Number of test samples that are analysed by default, if there are so many."""


def analyze_checkpoint(
    path: str | Path,
    *,
    samples: int | None = None,
    trajectories: int = 2,
    include: Sequence[str] = ANALYSES,
    k: int | None = None,
    hessian_k: int = 20,
    hessian_tolerance: float | None = None,
    operator: Operator = "hessian",
    parameters: ParameterChoice | None = None,
    record_every: int = 1,
    sample_seed: int = 0,
    rng: torch.Generator | int | None = 0,
    progress: bool = False,
) -> xr.DataTree:
    """Compute all analyses of a checkpoint on a random subset of the test samples of its own task, in float64.

    The subset is the same for all checkpoints and networks with as many test samples, and a larger one contains the
    smaller ones. (The test set of the adding problem itself is drawn from the seed of the run.)

    Args:
        path: A checkpoint file, or the directory of a run, whose last checkpoint is taken.
        samples: Number of test samples for gradients and Hessian, drawn without replacement. By default 32, or all of a
            smaller test set.
        trajectories: How many of them the Lyapunov spectrum and the variational term follow, the first ones drawn.
        include: Which of lyapkit's analyses to do.
        k: Number of leading exponents; all by default.
        hessian_k: Number of Hessian eigenvalues.
        hessian_tolerance: The ``tolerance`` of `lyapkit.hessian_spectrum`.
        operator: Whose eigenvalues: ``"hessian"``, or one of its parts, ``"ggn"`` and ``"residual"``.
        parameters: With respect to which parameters: names, globs or a predicate, as `lyapkit.hessian_spectrum` takes
            them, such as `WCRNN.recurrent_parameters`; all by default, whose leading eigenvectors may be those of the
            readout alone.
        record_every: Steps between recorded singular values of the variational term.
        sample_seed: Determines the subset of the test samples.
        rng: Generator or seed of random start vectors.
        progress: Whether to show progress bars.

    Returns:
        The tree of `lyapkit.analyze` with a further child ``network``: the `Predictions` for the network, where the
        theory makes any, ``residual_log_magnitude`` among them, log |eigenvalues of R|, which eq. (13) predicts the
        exponents to be; and attributes ``iteration``, ``metric_name``, ``test_metric`` (where it was measured) and
        ``config_json`` of the checkpoint. Every child records the SHA-256 of the weights, and in ``test_samples_json``
        the ``seed`` of the subset, the number of samples it was drawn ``of``, and their ``indices`` from 0.

    Raises:
        UserError: If the checkpoint or the data of its task are missing or damaged, or a number is out of range.
    """
    checkpoint = load_checkpoint(path)
    task = build_task(checkpoint.config)
    samples = min(SAMPLES, task.test_count) if samples is None else samples
    chosen = _subset(task.test_count, samples, sample_seed)
    inputs, targets = task.test_samples(chosen)
    if not 1 <= trajectories <= samples:
        raise UserError(f"trajectories must be between 1 and the number of samples {samples}, got {trajectories}.")
    network = _network(checkpoint)  # before the conversion, as rounding decides what counts as critical
    model = checkpoint.model.double()
    try:
        tree = analyze(
            model,
            inputs.double(),
            targets.double() if targets.is_floating_point() else targets,
            task.loss,
            include=include,
            k=k,
            hessian_k=hessian_k,
            hessian_tolerance=hessian_tolerance,
            trajectories=trajectories,
            operator=operator,
            parameters=parameters,
            loss_on=task.loss_on,
            record_every=record_every,
            learning_rate=checkpoint.config.learning_rate,
            momentum=checkpoint.config.momentum,
            rng=rng,
            progress=progress,
        )
    except ValueError as error:
        raise UserError(str(error)) from error
    children = {name: child.to_dataset() for name, child in tree.children.items()}
    children["network"] = network
    drawn = json.dumps({"seed": sample_seed, "of": task.test_count, "indices": chosen.tolist()})
    for dataset in children.values():
        dataset.attrs |= {"checkpoint_sha256": checkpoint.sha256, "test_samples_json": drawn}
    return xr.DataTree.from_dict(children)


def training_curve(result: TrainResult) -> xr.Dataset:
    """Return the test metric over training iterations as a Dataset, for the same file as the analyses."""
    return xr.Dataset(
        {
            "test_metric": xr.Variable(
                ("iteration",), result.test_metrics, {"long_name": f"test {result.metric_name}", "units": "1"}
            ),
            "train_loss": xr.Variable(
                ("iteration",), result.train_losses, {"long_name": "mean training loss", "units": "1"}
            ),
        },
        {"iteration": xr.Variable(("iteration",), result.iterations, {"long_name": "training iteration"})},
        {
            "analysis": "training_curve",
            "status": result.status,
            "metric_name": result.metric_name,
        }
        | ({} if result.best_metric is None else {"best_metric": result.best_metric}),
    )


def exponent_rows(tree: xr.DataTree) -> list[tuple[str, float, float]]:
    """Return the leading, the mean and the last exponent of an analysed checkpoint, each with its standard error.

    Exponents are averaged over the trajectories, whose errors are independent. The error of the mean over the
    spectrum is that of the sum of the local growth, since the exponents of one trajectory are correlated.

    Args:
        tree: What `analyze_checkpoint` returns.
    """
    spectrum = tree["lyapunov_spectrum"].to_dataset()
    exponent, error = spectrum["lyapunov_exponent"].values, spectrum["standard_error"].values  # (trajectory, exponent)
    count = exponent.shape[0]
    transient = json.loads(spectrum.attrs["config_json"])["transient"]
    window = torch.tensor(np.diff(spectrum["step"].values, prepend=transient), dtype=torch.float64)
    rate = torch.tensor(spectrum["local_growth"].values.mean(axis=-1).T)  # (window, trajectory), per step
    mean_error = MeanGrowth.of(rate * window[:, None], window).errors().standard.numpy()
    return [
        ("largest", float(exponent[:, 0].mean()), _combined(error[:, 0], count)),
        ("mean", float(exponent.mean()), _combined(mean_error, count)),
        ("smallest", float(exponent[:, -1].mean()), _combined(error[:, -1], count)),
    ]


def _combined(errors: np.ndarray, count: int) -> float:
    return float(np.sqrt((errors**2).sum()) / count)


def _subset(count: int, samples: int, seed: int) -> Tensor:
    """Draw the numbers of random test samples, int64, shape (samples,), in random order.

    They sort raw numbers of the PCG64 generator, whose stream NumPy keeps the same in all versions.
    """
    if check_integer("samples", samples) < 1:
        raise UserError(f"samples must be at least 1, got {samples}.")
    if samples > count:
        raise UserError(f"the test set has {count} samples, fewer than the {samples} asked for; lower samples.")
    if check_integer("sample_seed", seed) < 0:
        raise UserError(f"sample_seed must be at least 0, got {seed}.")
    return torch.from_numpy(np.argsort(np.random.PCG64(seed).random_raw(count))[:samples])


def _network(checkpoint: LoadedCheckpoint) -> xr.Dataset:
    predictions = predict(checkpoint.model)
    dataset = xr.Dataset() if predictions is None else predictions.to_dataset()
    map = as_map(checkpoint.model)
    attributes: dict[str, object] = provenance({}, dtype=map.dtype, device=map.device)
    attributes |= {
        "analysis": "network",
        "config_json": checkpoint.config.to_json(),
        "iteration": checkpoint.iteration,
        "metric_name": checkpoint.metadata["metric_name"] or "",
    }
    if checkpoint.metadata["test_metric"] is not None:
        attributes["test_metric"] = checkpoint.metadata["test_metric"]
    return dataset.assign_attrs(attributes)

"""What the paper claims of Figs. 2, 5, B.1 and B.3, as numbers from result files.

Each function takes the tree of one result file, as `figures.scripts.read` gives it, and says which experiment it is of.
Like the figures, they look at the first seed where networks were analysed, and at all seeds where they were trained.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

NORM = "inf"
"""Of gradients, as in the paper."""


@dataclass(frozen=True)
class HessianChange:
    """How the Hessian of a network changed over training.

    Attributes:
        r: Residual strength.
        iterations: Of the training between the two.
        before: Largest |eigenvalue| of the untrained network.
        after: Of the trained network.
        median_ratio: The median |eigenvalue| of those computed, after to before training.
    """

    r: float
    iterations: int
    before: float
    after: float
    median_ratio: float

    @property
    def ratio(self) -> float:
        """The largest |eigenvalue| after to before training."""
        return self.after / self.before


def hessian_change(tree: xr.DataTree, r: float) -> HessianChange:
    """Section 4.1: Hessian eigenvalues of subcritical networks grow over training, those of others shrink.

    Args:
        tree: ``residual_strength``.
        r: A residual strength that was analysed.

    Returns:
        The numbers for that network, from its first to its last checkpoint.

    Raises:
        ValueError: If that strength was not analysed, or there is no checkpoint but the first.
    """
    curvature = tree["hessian_spectrum"].to_dataset().isel(seed=0)
    if r not in curvature.r.values:
        raise ValueError(f"r must be one of the analysed {curvature.r.values.tolist()}, got {r}.")
    _needs_training(curvature)
    magnitudes = abs(curvature.eigenvalue.sel(r=r).isel(checkpoint=[0, -1]))
    largest, median = magnitudes.max("rank").values, magnitudes.median("rank").values
    iterations = int(curvature.checkpoint[-1] - curvature.checkpoint[0])
    return HessianChange(r, iterations, float(largest[0]), float(largest[1]), float(median[1] / median[0]))


def slopes(tree: xr.DataTree) -> xr.Dataset:
    """Eq. (15): gradients grow or decay by a factor r with every step back in time, up to weak coupling.

    Args:
        tree: ``residual_strength``.

    Returns:
        Over ``r``, for untrained networks and in nats per step: ``growth_rate`` of the gradient's largest component
        back in time, the mean over sequences, with ``growth_rate_error``; ``log_r``; and ``leading_exponent`` of the
        same Jacobians with ``leading_exponent_error``. Errors are the mean of the sequences' own ones: they are not
        divided by the square root of their number, as all sequences pass through the same weights.
    """
    gradients = _untrained(tree, "gradient_propagation").sel(norm=NORM).reset_coords(drop=True)
    names = ("growth_rate", "growth_rate_error", "leading_exponent", "leading_exponent_error")
    found = xr.Dataset({name: gradients[name].mean("trajectory") for name in names})
    return found.assign(log_r=("r", np.log(found.r.values)))


def exponent_range(tree: xr.DataTree, term: str = "variational_term") -> xr.Dataset:
    """Section 4.1 and Fig. B.1: the exponents are log r before training and stay in the same range.

    Args:
        tree: ``residual_strength``, ``psmnist_strength`` or ``adding_strength``.
        term: Name of the child with the exponents; ``variational_term_100`` and the like in ``adding_strength``.

    Returns:
        Over ``r`` and ``training`` ("before", "after"), for finite-time exponents of the whole sequence: ``lowest`` and
        ``highest`` distance from log r over all exponents and sequences, with their sign, in nats per step, and
        ``deviation``, the larger magnitude of both. Attributes: ``iterations`` between the two, and ``steps`` of the
        sequence.

    Raises:
        ValueError: If there is no checkpoint but the first.
    """
    dataset = tree[term].to_dataset().isel(seed=0)
    _needs_training(dataset)
    ends = dataset.isel(checkpoint=[0, -1], step=-1)
    distance = (ends.running_exponent - np.log(ends.r)).rename(checkpoint="training")
    distance = distance.assign_coords(training=["before", "after"]).reset_coords(drop=True)
    lowest, highest = distance.min(("trajectory", "exponent")), distance.max(("trajectory", "exponent"))
    attributes = {
        "iterations": int(dataset.checkpoint[-1] - dataset.checkpoint[0]),
        "steps": int(dataset.step[-1]),
    }
    deviation = abs(distance).max(("trajectory", "exponent"))
    found = xr.Dataset({"lowest": lowest, "highest": highest, "deviation": deviation}, attrs=attributes)
    return found.transpose("r", "training")


def heterogeneity_effect(tree: xr.DataTree) -> xr.Dataset:
    """Section 4.3: moderate heterogeneity improves performance, efficiency and gradients, a strong one is unstable.

    Args:
        tree: ``heterogeneity``.

    Returns:
        Over ``delta_r``. Of all seeds: ``best_accuracy`` and ``iterations_to_minimal_performance``, each also with the
        endings ``_min`` and ``_max`` for the range over seeds (runs that did not reach minimal performance count with
        all their iterations, as in section 4.1); how many of the ``seeds`` (an attribute, as ``r_0``) ``reached`` it,
        and how many ``diverged``. Of the untrained network of the first seed: ``largest_exponent`` of the variational
        term over the whole sequence and ``growth_rate`` of gradients back in time, both in nats per step, and
        ``largest_eigenvalue`` and ``median_eigenvalue``, magnitudes of the Hessian's computed eigenvalues.
    """
    training = tree["training"].to_dataset().isel(r=0)
    found: dict[str, xr.DataArray] = {}
    for name, measured in (
        ("best_accuracy", training.best_metric),
        ("iterations_to_minimal_performance", training.iterations_to_minimal_performance),
    ):
        found |= {name: measured.mean("seed"), f"{name}_min": measured.min("seed"), f"{name}_max": measured.max("seed")}
    found["reached"] = training.reached_minimal_performance.sum("seed").astype(int)
    found["diverged"] = (training.status == "diverged").sum("seed")
    exponents = _untrained(tree, "variational_term").isel(r=0, step=-1).running_exponent
    found["largest_exponent"] = exponents.max(("trajectory", "exponent"))
    gradients = _untrained(tree, "gradient_propagation").isel(r=0).sel(norm=NORM)
    found["growth_rate"] = gradients.growth_rate.mean("trajectory")
    magnitudes = abs(_untrained(tree, "hessian_spectrum").isel(r=0).eigenvalue)
    found |= {"largest_eigenvalue": magnitudes.max("rank"), "median_eigenvalue": magnitudes.median("rank")}
    attributes = {"seeds": training.sizes["seed"], "r_0": float(training.r)}
    bare = {name: values.reset_coords(drop=True) for name, values in found.items()}
    return xr.Dataset(bare, attrs=attributes)


def _untrained(tree: xr.DataTree, analysis: str) -> xr.Dataset:
    """The first checkpoint of the first seed."""
    return tree[analysis].to_dataset().isel(seed=0, checkpoint=0)


def _needs_training(dataset: xr.Dataset) -> None:
    """Refuse results of untrained networks alone."""
    if dataset.sizes["checkpoint"] < 2:
        raise ValueError(
            f"the result has no checkpoint but that of iteration {int(dataset.checkpoint[0])}; analyse trained networks"
            " too (a run that diverged may have left none that is common to all)."
        )

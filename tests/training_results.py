"""Result files of sweeps with random but known numbers, and what tests of figures read off the axes."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace

import numpy as np
import xarray as xr
from matplotlib.collections import LineCollection

LEARNT = {"accuracy": (0.3, 0.9), "rms": (0.1, 0.35)}
"""Ranges of test metrics that are better than chance."""


def training(
    coordinates: Mapping[str, Sequence], iterations: Sequence[int] = (0, 5, 10), rng: int = 0, metric: str = "accuracy"
) -> xr.Dataset:
    """As `wcrnn_models.sweeps.collect` gives it, over ``coordinates`` and ``iteration``; every run has learnt."""
    generator = np.random.default_rng(rng)
    dims = tuple(coordinates)
    shape = tuple(len(values) for values in coordinates.values())
    values = generator.uniform(*LEARNT[metric], (*shape, len(iterations)))
    best = values.max(-1) if metric == "accuracy" else values.min(-1)
    variables = {
        "best_metric": (dims, best),
        "iterations_to_minimal_performance": (dims, generator.integers(1, 1000, shape).astype(float)),
        "reached_minimal_performance": (dims, np.ones(shape)),
        "status": (dims, np.full(shape, "finished")),
        "test_metric": ((*dims, "iteration"), values),
        "train_loss": ((*dims, "iteration"), np.ones((*shape, len(iterations)))),
    }
    attributes = {"analysis": "sweep", "metric_name": metric}
    return xr.Dataset(variables, {**coordinates, "iteration": list(iterations)}, attributes)


def result(experiment: str, children: Mapping[str, xr.Dataset], seeds: int = 2) -> xr.DataTree:
    """A result file with these children."""
    tree = xr.DataTree.from_dict(dict(children))
    tree.attrs = {"experiment": experiment, "seeds": seeds, "commit": "0123456789"}
    return tree


def filled(collection) -> dict[float, tuple[float, float]]:
    """What `fill_between` has shaded: lower and upper end by abscissa."""
    points = collection.get_paths()[0].vertices
    return {
        float(x): (float(points[points[:, 0] == x, 1].min()), float(points[points[:, 0] == x, 1].max()))
        for x in np.unique(points[:, 0])
    }


def ranged(collection) -> dict[float, tuple[float, float]]:
    """Lower and upper end by abscissa, of what `fill_between` has shaded or of bars that `vlines` has drawn."""
    if not isinstance(collection, LineCollection):
        return filled(collection)
    return {float(low[0]): (float(low[1]), float(high[1])) for low, high in collection.get_segments()}


def named(ax, label: str):
    """The line of that label."""
    return next(line for line in ax.lines if line.get_label() == label)


def footnote(figure) -> str:
    """What the text file beside the figure notes."""
    return figure.get_label()


def files(**trees: xr.DataTree) -> SimpleNamespace:
    """Results that hold nothing but result files."""
    return SimpleNamespace(files=trees)

"""Plain-text tables of analysed checkpoints."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import xarray as xr

from wcrnn_models.analysis import exponent_rows
from wcrnn_models.training.config import TrainConfig
from wcrnn_models.training.fields import described_fields


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a table with columns aligned to the right, the first one to the left."""
    cells = [list(header), *map(list, rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = [
        "  ".join(cell.ljust(width) if column == 0 else cell.rjust(width) for column, (cell, width) in enumerate(line))
        for line in (list(zip(row, widths, strict=True)) for row in cells)
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


ERRORS_EXPLAINED = (
    "LE: Lyapunov exponent in nats per step, standard error in the last digits; (?) where the run is too short to "
    "tell it."
)
"""Line below the table of exponents."""


def exponent_table(trees: Mapping[str, xr.DataTree]) -> str:
    """Format measured exponents beside the prediction of eq. (13), one row per checkpoint.

    Args:
        trees: Analysed checkpoints by the name of their row.

    Returns:
        For each the residual strength r, the range of log |eigenvalues of R| where they differ, the largest, mean and
        smallest measured exponent with standard errors (nats per step), and the test metric; "-" for a network or a
        residual that has none of these.
    """
    rows = []
    for name, tree in trees.items():
        network = tree["network"].to_dataset()
        config = json.loads(network.attrs["config_json"])
        metric = network.attrs.get("test_metric")
        rows.append(
            [name, str(network.attrs["iteration"]), _strength(config), _predicted(network)]
            + [with_error(value, error) for _, value, error in exponent_rows(tree)]
            + ["-" if metric is None else f"{metric:.4g}"]
        )
    metric_name = next(iter(trees.values()))["network"].attrs["metric_name"]
    return table(
        ["network", "iteration", "r", "log|eig R|", "largest LE", "mean LE", "smallest LE", f"test {metric_name}"], rows
    )


def _strength(config: Mapping[str, Any]) -> str:
    return "-" if described_fields(TrainConfig)["r"].rule.missed(config) else f"{config['r']:g}"


def _predicted(network: xr.Dataset) -> str:
    if "residual_log_magnitude" not in network:
        return "-"
    magnitudes = network["residual_log_magnitude"].values
    largest = f"{magnitudes[0]:.5f}"
    return f"{magnitudes[-1]:.5f}..{largest}" if magnitudes[0] - magnitudes[-1] > 1e-6 else largest


def with_error(value: float, error: float) -> str:
    """Format a value with its error in units of the last two digits, ``-0.00513(12)``; ``(?)`` where it is unknown."""
    if value in (float("inf"), float("-inf")):
        return str(value)
    if error == float("inf"):
        return f"{value:.5f}(?)"
    digits = 5
    while digits < 12 and round(error * 10**digits) < 10 and error > 0:
        digits += 1
    return f"{value:.{digits}f}({round(error * 10**digits)})"

"""``wcrnn train``: train a network, or go on with an interrupted run."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from wcrnn_models.training.config import TrainConfig

if TYPE_CHECKING:
    from wcrnn_models.training.result import TrainResult

SUMMARY = "train a network, or go on with an interrupted run"


@dataclass(frozen=True)
class Arguments:
    """Train a weakly coupled residual recurrent network.

    The same command on the directory of an interrupted run goes on from its last evaluation; on a completed
    run it prints the result again. Exit code 3 means that training diverged.
    """

    directory: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIRECTORY")]
    """Directory of the run; made if missing."""

    config: Annotated[TrainConfig, tyro.conf.arg(name="")] = field(default_factory=TrainConfig)

    device: str = "cpu"
    """Where to train, such as cpu or cuda."""


def run(arguments: Sequence[str]) -> int:
    """Parse, train, and print a short table; returns the exit code."""
    parsed = tyro.cli(Arguments, args=arguments, prog="wcrnn train")
    from wcrnn_models.cli.main import DIVERGED, SUCCESS
    from wcrnn_models.training.trainer import train

    result = train(parsed.config, parsed.directory, progress=True, device=parsed.device)
    print(report(result, parsed.directory))
    return DIVERGED if result.status == "diverged" else SUCCESS


def report(result: TrainResult, directory: Path) -> str:
    """The outcome of a run as a short table with the next command."""
    best = final = "none"
    if result.best_metric is not None:
        best = f"{result.best_metric:.4g} at iteration {result.best_iteration}"
        final = f"{result.test_metrics[-1]:.4g} at iteration {result.iterations[-1]}"
    warnings = [] if result.warning is None else [result.warning]
    if result.status == "finished" and result.best_iteration == 0:
        warnings.append(
            "training has not improved on the untrained network, whose test metric is the best; try another "
            "--learning-rate or more --epochs"
        )
    reached = result.iterations_to_minimal_performance
    rows = [
        ("status", result.status),
        (f"best test {result.metric_name}", best),
        (f"final test {result.metric_name}", final),
        ("iterations to minimal performance", "not reached" if reached is None else str(reached)),
        ("checkpoints", ", ".join(dict.fromkeys(result.checkpoints.values()))),
        ("next", f"wcrnn analyze {shlex.quote(str(directory))}"),
    ]
    width = max(len(label) for label, _ in rows)
    lines = [f"{label:<{width}}  {value}" for label, value in rows]
    return "\n".join([f"warning: {warning}" for warning in warnings] + lines)

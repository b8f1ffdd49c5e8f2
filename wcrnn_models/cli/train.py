"""``wcrnn train``: train a network, or go on with an interrupted run."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from lyapkit_command.guard import SUCCESS
from wcrnn_models.cli.main import DIVERGED
from wcrnn_models.errors import UserError
from wcrnn_models.training.config import TrainConfig
from wcrnn_models.training.networks import network_fields
from wcrnn_models.training.presets import preset

if TYPE_CHECKING:
    from wcrnn_models.training.result import TrainResult

SUMMARY = "train a network, or go on with an interrupted run"


@dataclass(frozen=True)
class Arguments:
    """Train a weakly coupled residual recurrent network, or one of its baselines.

    The same command on the directory of an interrupted run goes on from its last evaluation; on a completed
    run it prints the result again. Exit code 3 means that training diverged.
    """

    directory: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIRECTORY")]
    """Directory of the run; made if missing."""

    preset: str | None = None
    """The paper's protocol for a task: smnist, psmnist, smnist-rotation, psmnist-rotation, add100, add200, add400 or
    add800. It sets defaults, which other options change. Needs --learning-rate, which the paper does not state."""

    network: str | None = None
    """A network of Table 2: wcrnn-best, wcrnn-no-tanh, elman-wc, elman-res-clip, lstm, ur-lstm or s4d. It sets
    defaults, which other options change."""

    config: Annotated[TrainConfig, tyro.conf.arg(name="")] = field(default_factory=TrainConfig)

    device: str = "cpu"
    """Device on which to train, such as cpu or cuda."""

    threads: int | None = None
    """Threads of PyTorch; by default one for a small network, whose threads would wait for each other beside any other
    busy process, else PyTorch's own number. An idle machine trains 100 units a third faster with two."""

    measure_rate: bool = False
    """Before training, measure the largest stable learning rate of the untrained network, by its Hessian over the first
    mini-batch, and warn of a larger one. Takes about as long as a hundred iterations."""

    tensorboard: Annotated[Path | None, tyro.conf.arg(metavar="LOG-DIRECTORY")] = None
    """Directory for curves of loss, gradient norm and test metric, which `tensorboard --logdir` shows. Needs
    `pip install tensorboard`."""


def run(arguments: Sequence[str]) -> int:
    """Parse, train, and print a short table; returns the exit code."""
    defaults = Arguments(directory=tyro.MISSING, config=starting_config(arguments))
    parsed = tyro.cli(Arguments, args=arguments, prog="wcrnn train", default=defaults)
    from wcrnn_models.training.trainer import train

    if parsed.measure_rate:
        print(_compared_rate(parsed.config), flush=True)
    result = train(
        parsed.config,
        parsed.directory,
        progress=True,
        device=parsed.device,
        tensorboard=parsed.tensorboard,
        threads=parsed.threads,
    )
    print(report(result, parsed.directory))
    return DIVERGED if result.status == "diverged" else SUCCESS


def starting_config(arguments: Sequence[str]) -> TrainConfig:
    """Return the configuration that a preset and a network among the arguments start from."""
    reader = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    reader.add_argument("--preset")
    reader.add_argument("--network")
    reader.add_argument("--learning-rate", "--learning_rate", type=float)
    try:
        found, _ = reader.parse_known_args(arguments)
    except argparse.ArgumentError:  # a value that is missing or no number, which the full parser explains
        return TrainConfig()
    fields = {} if found.network is None else network_fields(found.network)
    if found.preset is None:
        return TrainConfig(**fields)
    if found.learning_rate is None:
        raise UserError("the paper does not state its learning rates, so --preset needs --learning-rate, such as 0.01.")
    return preset(found.preset, learning_rate=found.learning_rate, **fields)


def _compared_rate(config: TrainConfig) -> str:
    """Return the largest stable learning rate beside that of the configuration."""
    from wcrnn_models.training.stability import stable_rate

    stable = stable_rate(config)
    if config.learning_rate <= stable:
        return f"the learning rate {config.learning_rate:g} is within the stable {stable:.2g} of the untrained network"
    return (
        f"warning: the learning rate {config.learning_rate:g} is beyond the stable {stable:.2g} of the untrained "
        "network; the loss may blow up in the first iterations and leave a network that cannot learn; lower "
        "--learning-rate, or bound the steps with --gradient-clip"
    )


def report(result: TrainResult, directory: Path) -> str:
    """Return the outcome of a run as a short table with the next command."""
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

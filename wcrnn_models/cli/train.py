"""``wcrnn train``: train a network, or resume an interrupted run."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from lyapkit_command.guard import SUCCESS
from wcrnn_models.cli.exits import DIVERGED
from wcrnn_models.training.config import TrainConfig

if TYPE_CHECKING:
    from wcrnn_models.training.result import TrainResult


@dataclass(frozen=True)
class Arguments:
    """Train a weakly coupled residual recurrent network, or one of its baselines.

    The same command on the directory of an interrupted run resumes from its last evaluation. On a completed
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

    config: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """The config.json of another run. It sets all options, which others change; None takes one out, as in
    --phi None."""

    training: Annotated[TrainConfig, tyro.conf.arg(name="")] = field(default_factory=TrainConfig)

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

    def run(self) -> int:
        """Train, and print a short table; return the exit code."""
        from wcrnn_models.training.trainer import train

        if self.measure_rate:
            print(_compared_rate(self.training), flush=True)
        result = train(
            self.training,
            self.directory,
            progress=True,
            device=self.device,
            tensorboard=self.tensorboard,
            threads=self.threads,
        )
        print(report(result, self.directory))
        return DIVERGED if result.status == "diverged" else SUCCESS


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

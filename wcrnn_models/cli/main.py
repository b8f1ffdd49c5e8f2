"""The ``wcrnn`` command: its subcommands, and exit codes of its own."""

from __future__ import annotations

from collections.abc import Sequence

from lyapkit_command.guard import Program

DIVERGED = 3
"""Exit code after a training that diverged."""

COMMANDS = {
    "demo": "wcrnn_models.cli.demo",
    "train": "wcrnn_models.cli.train",
    "analyze": "wcrnn_models.cli.analyze",
    "data": "wcrnn_models.cli.data",
    "sweep": "wcrnn_models.cli.sweep",
}

WCRNN = Program(
    "wcrnn",
    "Train and analyse weakly coupled residual recurrent networks.",
    COMMANDS,
    smaller="train with a smaller --hidden-size, --batch-size, --test-size or --length, analyse with fewer --samples "
    "or --trajectories.",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``wcrnn``.

    Args:
        argv: Arguments after the program's name; those of the process by default.

    Returns:
        0 on success, 2 after a user's mistake, or if memory or the range of numbers do not suffice, 3 if training
        diverged, 130 after Ctrl-C, 143 after SIGTERM, 141 if what reads the output has closed it.
    """
    return WCRNN.main(argv)

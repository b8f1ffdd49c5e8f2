"""The ``lyapkit`` command and its subcommands."""

from __future__ import annotations

from collections.abc import Sequence

from lyapkit_command.guard import Program

LYAPKIT = Program(
    "lyapkit",
    "Analyse recurrent networks in PyTorch.",
    {"report": "lyapkit_command.report"},
    smaller="give shorter inputs, or fewer --trajectories, --k or analyses (--include).",
    mistakes=(ValueError, TypeError),  # by which lyapkit refuses arguments
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``lyapkit``.

    Args:
        argv: Arguments after the program's name; those of the process by default.

    Returns:
        0 on success, 2 after a user's mistake, or if memory or the range of numbers do not suffice, 130 after Ctrl-C,
        143 after SIGTERM, 141 if what reads the output has closed it.
    """
    return LYAPKIT.main(argv)

"""Entry point of the ``lyapkit`` command, which heeds Ctrl-C before it imports anything large."""

from __future__ import annotations

from lyapkit_command import stopping


def main() -> int:
    """Run `lyapkit_command.main.main` for the arguments of the process; return its exit code."""
    stopping.heed("lyapkit")
    from lyapkit_command.main import main as run

    code = run()
    stopping.disregard()
    return code

"""Entry point of the ``wcrnn`` command, which heeds Ctrl-C before it imports anything large."""

from __future__ import annotations

from lyapkit_command import stopping


def main() -> int:
    """Run `wcrnn_models.cli.main.main` for the arguments of the process; return its exit code."""
    stopping.heed("wcrnn")
    from wcrnn_models.cli.main import main as run

    code = run()
    stopping.disregard()
    return code

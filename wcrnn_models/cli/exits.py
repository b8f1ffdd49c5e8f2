"""Exit codes of ``wcrnn``, beside those of `lyapkit_command.guard`."""

DIVERGED = 3
"""Exit code after a training that diverged."""

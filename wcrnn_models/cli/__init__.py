"""The ``wcrnn`` command."""

from __future__ import annotations

from wcrnn_models.cli.main import main

__all__ = ["main"]

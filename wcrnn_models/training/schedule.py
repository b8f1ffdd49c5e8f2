"""What happens when during a run: checks of the fields of `TrainConfig` that say so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wcrnn_models.errors import UserError
from wcrnn_models.values import is_finite, is_integer

if TYPE_CHECKING:
    from wcrnn_models.training.config import TrainConfig


def check_schedule(config: TrainConfig) -> None:
    """Refuse values of ``save_at``, ``probe_every`` and ``divergence_loss`` that mean nothing.

    Raises:
        UserError: If one is of the wrong type or out of range.
    """
    if not isinstance(config.save_at, tuple) or not all(map(is_integer, config.save_at)):
        raise UserError(f"save_at must be a tuple of integers, got {config.save_at!r}")
    if any(iteration < 0 for iteration in config.save_at):
        raise UserError(f"save_at must hold iterations >= 0, got {min(config.save_at)}")
    if config.probe_every is not None and (not is_integer(config.probe_every) or config.probe_every < 1):
        raise UserError(f"probe_every must be an integer of at least 1, got {config.probe_every!r}")
    limit = config.divergence_loss
    if limit is not None and not (is_finite(limit) and limit > 0):
        raise UserError(f"divergence_loss must be a finite number greater than 0, got {limit!r}")


def tuples_for_lists(values: Mapping[str, Any]) -> dict[str, Any]:
    """Fields as JSON gives them, with tuples where a configuration has tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}

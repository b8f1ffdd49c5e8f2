"""List the networks of Table 2 of the paper, by name, with the fields that they change in a `TrainConfig`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from wcrnn_models.errors import UserError, suggestion

_BEST = {"hidden_size": 100, "residual": "informed", "coupling": "informed"}

NETWORKS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "wcrnn-best": _BEST,
        "wcrnn-no-tanh": {**_BEST, "nonlinearity": "identity"},
        "elman-wc": {**_BEST, "form": "B"},
        "elman-res-clip": {"model": "elman", "hidden_size": 100, "gradient_clip": 1.0},
        "lstm": {"model": "lstm", "hidden_size": 47},
        "ur-lstm": {"model": "ur-lstm", "hidden_size": 47},
        "s4d": {"model": "s4d", "hidden_size": 34, "layers": 2, "modes": 16},
    }
)
"""The rows of Table 2, each of about 10,000 parameters. Some values are our choice, because the paper does not state
them: the clipping norm 1, the informed residual of Elman_wc, and the sizes of UR-LSTM and S4D, for which Table 2 quotes
results of larger networks."""


def network_fields(name: str) -> dict[str, Any]:
    """Return the fields that a network of Table 2 changes in a configuration.

    Args:
        name: One of `NETWORKS`.

    Raises:
        UserError: If the name is unknown.

    Example:
        >>> from wcrnn_models import preset
        >>> config = preset("add400", learning_rate=0.01, **network_fields("lstm"))
        >>> config.length, config.model, config.hidden_size, config.epochs
        (400, 'lstm', 47, 150)
    """
    if name not in NETWORKS:
        raise UserError(f"the network must be one of {', '.join(NETWORKS)}, got {name!r}." + suggestion(name, NETWORKS))
    return dict(NETWORKS[name])

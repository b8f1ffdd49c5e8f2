"""Measure the largest learning rate with which training can start, on the untrained network."""

from __future__ import annotations

from lyapkit import hessian_spectrum
from wcrnn_models.errors import UserError, clause
from wcrnn_models.training.build import build_model, build_task, completed
from wcrnn_models.training.config import TrainConfig


def stable_rate(config: TrainConfig) -> float:
    """Return the largest stable learning rate of the untrained network of a configuration.

    It is 2(1 + b)/lambda, where b is the momentum of the configuration and lambda is the largest eigenvalue of the
    Hessian of the training loss over the first mini-batch, in float64. With a larger learning rate, the quadratic part
    of the loss grows without bound. Then the rest of the loss decides: it may settle where the curvature is smaller, or
    blow up. Clipping the gradient bounds the steps, so a larger rate may work.

    Args:
        config: Configuration of network and task. Its learning rate does not matter.

    Returns:
        The rate, infinite if no eigenvalue is positive.

    Raises:
        UserError: If data of the task are missing or damaged, or the loss or its derivatives are not finite.

    Example:
        >>> from wcrnn_models import TrainConfig, stable_rate
        >>> rates = [stable_rate(TrainConfig(length=300, hidden_size=8, batch_size=4, r=r)) for r in (0.95, 1.01)]
        >>> rates[0] > 10 * rates[1]
        True
    """
    task = build_task(config)
    inputs, targets = task.train_batch(0)
    try:
        found = hessian_spectrum(
            build_model(completed(config, task)).double(),
            (inputs.double(), targets.double() if targets.is_floating_point() else targets),
            task.loss,
            k=1,
            which="LA",
            learning_rate=config.learning_rate,
            momentum=config.momentum,
            tolerance=1e-3,
            rng=0,
        )
    except (ValueError, FloatingPointError) as error:
        raise UserError(
            f"the stable learning rate of the untrained network cannot be measured: {clause(error)}."
        ) from error
    return float(found["stable_learning_rate"])

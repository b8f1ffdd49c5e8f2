"""Records of trainings that never took place, for tests of the campaign."""

from __future__ import annotations

from figures.campaign.records import Record
from wcrnn_models.training.config import TrainConfig
from wcrnn_models.training.result import TrainResult


def ended(*, metrics=(0.1, 0.5), metric_name="accuracy", seconds=0.1, weights=None, reached=None, **fields):
    """Return the record of a training with the given course of the test metric, evaluated every 10 iterations."""
    metrics = list(metrics)
    best = max(metrics) if metric_name == "accuracy" else min(metrics)
    steps = [10 * number for number in range(len(metrics))]
    result = TrainResult(
        status="finished",
        metric_name=metric_name,
        best_metric=best,
        best_iteration=steps[metrics.index(best)],
        iterations_to_minimal_performance=reached,
        total_iterations=steps[-1],
        iterations=steps,
        train_losses=[1.0] * len(metrics),
        gradient_norms=[1.0] * len(metrics),
        test_metrics=metrics,
        diverged_at=None,
        warning=None,
        checkpoints={},
    )
    config = TrainConfig(**fields)
    return Record(config, result, weights or {}, seconds, "abc", "cpu")

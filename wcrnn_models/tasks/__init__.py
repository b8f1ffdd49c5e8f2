"""The benchmark tasks of section 4: the adding problem, sequential MNIST and permuted sequential MNIST."""

from __future__ import annotations

from wcrnn_models.tasks.adding import AddingProblem
from wcrnn_models.tasks.mnist import PermutedSequentialMNIST, SequentialMNIST
from wcrnn_models.tasks.task import Task

__all__ = ["AddingProblem", "PermutedSequentialMNIST", "SequentialMNIST", "Task"]

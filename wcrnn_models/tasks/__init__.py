"""The benchmark tasks of section 4, tasks from any arrays, and the characteristic frequency of a task."""

from __future__ import annotations

from wcrnn_models.tasks.adding import AddingProblem
from wcrnn_models.tasks.arrays import ArrayTask
from wcrnn_models.tasks.cifar10 import SequentialCIFAR10
from wcrnn_models.tasks.mnist import PermutedSequentialMNIST, SequentialMNIST
from wcrnn_models.tasks.spectrum import characteristic_frequency, power_spectrum
from wcrnn_models.tasks.task import Task

__all__ = [
    "AddingProblem",
    "ArrayTask",
    "PermutedSequentialMNIST",
    "SequentialCIFAR10",
    "SequentialMNIST",
    "Task",
    "characteristic_frequency",
    "power_spectrum",
]

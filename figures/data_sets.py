"""A search for the data sets that trainings need."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from wcrnn_models.tasks.datasets import DATA_SETS
from wcrnn_models.tasks.download import find_file

DATA_SET_OF: Mapping[str, str] = MappingProxyType({"smnist": "mnist", "psmnist": "mnist", "scifar10": "cifar10"})
"""Names of the data sets, by the tasks that need one."""


def find_data_set(name: str) -> None:
    """Check that a data set exists.

    Raises:
        UserError: If a file is missing or damaged; the text says how to get it.
    """
    for file in DATA_SETS[name].files:
        find_file(name, file)

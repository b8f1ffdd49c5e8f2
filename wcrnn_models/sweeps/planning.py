"""Give the runs of a sweep directories with readable names, while no other sweep does so in the same place."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from wcrnn_models.errors import UserError
from wcrnn_models.files import InUseError, exclusive, read_regular
from wcrnn_models.run_files import CONFIG_FILE
from wcrnn_models.sweeps.layout import make_directory, write_configurations
from wcrnn_models.sweeps.names import readable_names
from wcrnn_models.training.config import TrainConfig

_PATIENCE = 60.0  # seconds for another sweep to plan its runs
_PAUSE = 0.1


def plan_readable(configs: Iterable[TrainConfig], directory: Path) -> dict[str, TrainConfig]:
    """Make the directories of some configurations, as `layout.plan`, with the names of `readable_names`.

    A directory that has a configuration keeps its name, whatever it is. One that has lost it is not used again, since
    nothing says whose it was.

    Args:
        configs: What to train; of equal ones, one counts.
        directory: The directory of the sweep.

    Returns:
        The configurations by the names of their directories.

    Raises:
        UserError: If ``directory`` is a file, or cannot be made or written, or another process is planning for long.
    """
    configs = list(configs)
    make_directory(directory, directory)
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            with exclusive(directory):
                planned = named(configs, directory)
                write_configurations(planned, directory)
                return planned
        except InUseError:
            if time.monotonic() > until:
                raise
        time.sleep(_PAUSE)


def named(configs: Iterable[TrainConfig], directory: Path) -> dict[str, TrainConfig]:
    """Return configurations by the names of the directories that they have, or would get."""
    present, taken = {}, []
    for path in sorted(directory.iterdir()):
        file = path / CONFIG_FILE
        try:
            if file.exists():
                present[path.name] = TrainConfig.from_json(read_regular(file))
            elif not path.is_dir() or any(path.iterdir()):
                taken.append(path.name)
        except UserError:  # a damaged one; training there is refused, and collecting names it
            continue
    return readable_names(configs, present, taken)

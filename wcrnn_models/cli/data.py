"""``wcrnn data``: fetch the data sets, say where they are looked for, or what their characteristic frequency is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from lyapkit_command.guard import SUCCESS
from wcrnn_models.errors import UserError


@dataclass(frozen=True)
class Fetch:
    """Download a data set into the cache, verified by its checksums."""

    dataset: tyro.conf.Positional[Literal["mnist", "cifar10"]]
    """The data set."""

    mirror: tuple[str, ...] = ()
    """URLs of directories that hold the files (MNIST) or the archive cifar-10-python.tar.gz, tried in order; file://
    works too. The authors' own and known mirrors if not given."""


@dataclass(frozen=True)
class Where:
    """Print the directories that are searched, in order, and the state of every file."""

    dataset: tyro.conf.Positional[Literal["all", "mnist", "cifar10"]] = "all"
    """The data set."""


@dataclass(frozen=True)
class Spectrum:
    """Print the characteristic frequency of a task: the peak of its average power spectrum (section 4.2).

    A rotation of this angle is the residual that suits the task: --residual rotation --phi ANGLE.
    """

    task: tyro.conf.Positional[Literal["adding", "smnist", "psmnist", "scifar10"]]
    """The task."""

    samples: int = 10_000
    """Training sequences to average over."""

    output: Path | None = None
    """Figure file, such as spectrum.pdf; none is drawn if not given."""


@dataclass(frozen=True)
class Arguments:
    """Fetch the data sets, say where they are looked for, or what their characteristic frequency is."""

    action: Fetch | Where | Spectrum

    def run(self) -> int:
        """Do what is asked for; return the exit code."""
        if isinstance(self.action, Fetch):
            _fetch(self.action)
        elif isinstance(self.action, Where):
            for name in ("mnist", "cifar10") if self.action.dataset == "all" else (self.action.dataset,):
                _where(name)
        else:
            _spectrum(self.action)
        return SUCCESS


def _fetch(action: Fetch) -> None:
    from wcrnn_models.tasks import download

    for path in download.fetch(action.dataset, action.mirror or None, progress=True):
        print(path)


def _where(name: str) -> None:
    from wcrnn_models.tasks import download
    from wcrnn_models.tasks.datasets import DATA_SETS

    for directory in download.search_directories(name):
        print(directory)
    for file in DATA_SETS[name].files:
        try:
            print(f"{file}: {download.find_file(name, file)}")
        except UserError as error:
            print(f"{file}: {error}")


def _spectrum(action: Spectrum) -> None:
    import math

    from wcrnn_models.tasks import power_spectrum
    from wcrnn_models.training.build import build_task
    from wcrnn_models.training.config import TrainConfig

    if action.output is not None:
        from wcrnn_models.plots.files import check_figure_file

        check_figure_file(action.output)
    spectrum = power_spectrum(build_task(TrainConfig(task=action.task)), action.samples)
    angle = spectrum.attrs["characteristic_frequency"]
    print(f"characteristic frequency  {angle:.6g} radians per step = 2 pi / {2 * math.pi / angle:.6g}")
    print(f"peak over mean power      {spectrum.attrs['prominence']:.4g}")
    print(f"sequences                 {spectrum.attrs['samples']} of {spectrum.attrs['steps']} steps")
    if action.output is not None:
        import matplotlib.pyplot as plt

        from wcrnn_models import plots
        from wcrnn_models.plots.files import write_figure

        with plt.style.context("lyapkit.plots.paper"):
            figure = plt.figure(layout="constrained")
            plots.power_spectrum(spectrum, ax=figure.add_subplot())
            try:
                write_figure(figure, action.output)
            finally:
                plt.close(figure)
        print(f"written to {action.output}")

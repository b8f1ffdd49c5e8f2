"""``wcrnn plot``: the results of a sweep as one figure."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from lyapkit_command.guard import SUCCESS
from wcrnn_models.errors import UserError
from wcrnn_models.training.config import SHORT_NAMES

Metric = Literal["best_metric", "final_metric", "iterations_to_minimal_performance"]


@dataclass(frozen=True)
class Arguments:
    """Draw the metric of the runs of a sweep against what was swept, and their exponents where they were analysed.

    Every run is drawn, also while the sweep continues. The exponents are those of the last checkpoint that all runs
    have in common, as `wcrnn sweep --analyze` measures them.
    """

    sweep: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SWEEP")]
    """Directory of a sweep."""

    output: Path | None = None
    """Figure file, such as sweep.pdf or sweep.png; if not given, plot.pdf in the directory of the sweep. An existing
    file is replaced."""

    along: str | None = None
    """Option on the horizontal axis, such as r or learning-rate; the first that was swept if not given."""

    metric: Metric = "best_metric"
    """Measurement to draw."""

    def run(self) -> int:
        """Collect, draw, and write the figure; return the exit code."""
        output = self.sweep / "plot.pdf" if self.output is None else self.output
        from wcrnn_models.plots.files import check_figure_file, write_figure

        check_figure_file(output)
        import matplotlib.pyplot as plt

        from wcrnn_models import collect, plots
        from wcrnn_models.run_files import ANALYSIS_FOLDER
        from wcrnn_models.sweeps import collect_analyses

        results = collect(self.sweep, by="run", unfinished="include")
        spectra = None
        if any(self.sweep.glob(f"*/{ANALYSIS_FOLDER}/*.nc")):
            try:
                spectra = collect_analyses(self.sweep, "lyapunov_spectrum", by="run")
            except UserError as error:
                print(f"wcrnn: exponents are not drawn: {error}", file=sys.stderr)
        along = None if self.along is None else self.along.replace("-", "_")
        along = SHORT_NAMES.get(along, along) if along is not None else None
        with plt.style.context("lyapkit.plots.paper"):
            columns = 1 if spectra is None else 2
            figure = plt.figure(figsize=(3.4 * columns, 2.6), layout="constrained")
            try:
                axes = figure.subplots(1, columns, squeeze=False)[0]
                plots.sweep_metric(results, along, variable=self.metric, ax=axes[0])
                if spectra is not None:
                    plots.sweep_exponents(spectra, along, ax=axes[1])
                write_figure(figure, output)
            except UserError:
                raise
            except ValueError as error:  # of a plot, for what was not swept
                raise UserError(str(error)) from error
            finally:
                plt.close(figure)
        print(f"written to {output}")
        return SUCCESS

"""The demonstration: two small networks on the adding problem, trained, analysed and drawn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from lyapkit import plots, save
from wcrnn_models.analysis import analyze_checkpoint, training_curve
from wcrnn_models.checkpoints import list_checkpoints
from wcrnn_models.files import check_result_file
from wcrnn_models.models.predictions import Predictions
from wcrnn_models.plots.files import write_figure
from wcrnn_models.tables import exponent_table
from wcrnn_models.training.config import TrainConfig
from wcrnn_models.training.trainer import train

STRENGTHS = {"subcritical": 0.8, "near-critical": 0.995}
"""Residual strength r of the two networks: memory fades to 1/e within 4.5 steps, and within 200."""

STYLES: dict[str, dict[str, object]] = {
    "subcritical": {"color": "#0072B2", "marker": "s"},
    "near-critical": {"color": "#D55E00", "marker": "o"},
}
PREDICTION: dict[str, Any] = {"color": "0.15", "linewidth": 1.0, "linestyle": (0, (4, 2)), "zorder": 3}
WIDTH, HEIGHT = 7.48, 5.0
"""Inches; 190 mm is the full width of a journal page."""


@dataclass(frozen=True)
class DemoResult:
    """Results of the demonstration.

    Attributes:
        table: Exponents beside log r, and best test RMS, as text.
        files: The result file and the figures.
    """

    table: str
    files: tuple[Path, ...]


def demo_config(r: float, *, epochs: int = 10) -> TrainConfig:
    """Return the adding problem of 40 steps for 64 units.

    Length, learning rate and clipping were chosen by trial so that the near-critical network clearly learns within
    seconds on one core and the subcritical one, whose memory is ten times shorter than a sequence, cannot.
    """
    return TrainConfig(
        task="adding",
        length=40,
        hidden_size=64,
        residual="scalar",
        r=r,
        coupling=0.01,
        learning_rate=0.3,
        gradient_clip=0.2,
        batch_size=64,
        epochs=epochs,
        iterations_per_epoch=250,
        test_size=1000,
        seed=0,
    )


def run_demo(directory: Path, *, epochs: int = 10, progress: bool = False) -> DemoResult:
    """Train both networks, analyse them before and after, write ``analysis.nc``, ``overview.png`` and ``overview.pdf``.

    After an interruption, it resumes where it stopped. Finished trainings are not repeated.

    Args:
        directory: Where to; made if missing.
        epochs: Of 250 iterations each.
        progress: Whether to show progress bars.

    Raises:
        UserError: If the directory holds other runs under the same names, or something else under that of the file.
    """
    nodes: dict[str, xr.Dataset] = {}
    trees: dict[str, xr.DataTree] = {}
    for name, strength in STRENGTHS.items():
        run = directory / name
        result = train(demo_config(strength, epochs=epochs), run, progress=progress)
        nodes[f"{name}/training"] = training_curve(result)
        checkpoints = list_checkpoints(run)
        for moment, checkpoint in (("before", checkpoints[0]), ("after", checkpoints[-1])):
            tree = analyze_checkpoint(checkpoint, samples=64, trajectories=8, hessian_k=10, progress=progress)
            trees[f"{name}, {moment}"] = tree
            nodes |= {f"{name}/{moment}/{child}": part.to_dataset() for child, part in tree.children.items()}
    tree = xr.DataTree.from_dict(nodes)
    check_result_file(directory / "analysis.nc")
    files = [save(tree, directory / "analysis.nc")]
    with plt.style.context("lyapkit.plots.paper"):
        figure = draw_overview(tree)
        for suffix in (".png", ".pdf"):
            path = directory / f"overview{suffix}"
            write_figure(figure, path, metadata={"CreationDate": None} if suffix == ".pdf" else None)
            files.append(path)
    best = "\n".join(
        f"best test RMS, {name}: {tree[f'{name}/training'].attrs['best_metric']:.4f}" for name in STRENGTHS
    )
    return DemoResult(f"{exponent_table(trees)}\n\n{best}", tuple(files))


def draw_overview(tree: xr.DataTree, moment: str = "before") -> Figure:
    """Draw four panels in the spirit of Fig. 2 of the paper, from the result file alone.

    A learning curves, B finite-time exponents with log |eigenvalues of the residual| as reference lines, C Hessian
    eigenvalues by rank, D gradient norms over time; B to D before training, as in the paper, because the two
    networks then differ in their residual only.

    Args:
        tree: The content of ``analysis.nc``.
        moment: Either ``"before"`` or ``"after"`` training, for panels B to D.
    """
    figure = Figure(figsize=(WIDTH, HEIGHT))
    axes = figure.subplots(2, 2)
    for name, style in STYLES.items():
        r = STRENGTHS[name]
        color = style["color"]
        parts = {child: part.to_dataset() for child, part in tree[f"{name}/{moment}"].children.items()}
        predictions = Predictions.from_dataset(parts["network"])
        learning_curve(tree[name]["training"].to_dataset(), axes[0, 0], label=f"{name}, $r = {r:g}$", **style)
        plots.variational_term(
            parts["variational_term"],
            ax=axes[0, 1],
            color=color,
            lines=10,
            reference=predictions.exponents,
            reference_label=rf"$\log|\lambda(R)| = {predictions.rate:.3f}$",
        )
        plots.hessian_spectrum(parts["hessian_spectrum"], ax=axes[1, 0], **style)
        plots.gradient_propagation(parts["gradient_propagation"], ax=axes[1, 1], color=color, linewidth=0.5, alpha=0.5)
        draw_prediction(parts["gradient_propagation"], predictions, axes[1, 1])
    axes[0, 0].axhline(1 / 6**0.5, color="0.5", linewidth=0.8, linestyle=":", label="always answering 1")
    axes[0, 0].legend()
    axes[0, 1].margins(y=0.12)
    axes[1, 0].legend(
        handles=[Line2D([], [], color="0.3", marker="o", markersize=3.5, linestyle="none", markerfacecolor=face)
                 for face in ("0.3", "white")],
        labels=["positive", "negative"],
    )  # fmt: skip
    axes[1, 1].legend(handles=[Line2D([], [], **PREDICTION)], labels=[r"slope $\log|\lambda(R)|$, eq. (15)"])
    state = {"before": "untrained", "after": "trained"}[moment]
    titles = (
        "learning curves", f"variational term, {state}", f"Hessian spectrum, {state}", f"gradient propagation, {state}",
    )  # fmt: skip
    for letter, title, ax in zip("ABCD", titles, axes.flat, strict=True):
        ax.set_title(rf"$\bf{{{letter}}}$  {title}", loc="left")
    return figure


def draw_prediction(gradients: xr.Dataset, predictions: Predictions, ax: Axes) -> None:
    """Draw the norm that eq. (15) predicts for the first trajectory, from that of the last step.

    Args:
        gradients: Result of `lyapkit.gradient_propagation`.
        predictions: For the network.
        ax: Axes to draw on.
    """
    norm = gradients["gradient_norm"].sel(norm="inf").isel(trajectory=0)
    step = norm["step"].values
    ax.plot(step, predictions.gradient_norm(norm.values[-1], step[-1] - step), **PREDICTION)


def learning_curve(training: xr.Dataset, ax: Axes, **line: Any) -> Axes:
    """Return the test metric over training iterations.

    Args:
        training: What `training_curve` returns.
        ax: Axes to draw on.
        line: Passed on to `matplotlib.axes.Axes.plot`.
    """
    metric = training["test_metric"]
    ax.plot(metric["iteration"].values, metric.values, **{"markersize": 3, **line})
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel(metric["iteration"].attrs["long_name"])
    ax.set_ylabel("test RMS" if training.attrs["metric_name"] == "rms" else metric.attrs["long_name"])
    return ax

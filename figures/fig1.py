"""Fig. 1: the model, and one digit going through a trained network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch
from numpy.typing import NDArray

from figures.evidence import Evidence
from figures.missing import nothing
from figures.scripts import Script
from figures.style import TWO_COLUMNS, title
from wcrnn_models.tasks import SequentialMNIST
from wcrnn_models.tasks.datasets import MNIST
from wcrnn_models.tasks.download import search_directories

RESIDUAL, RECURRENT, EXTERNAL, TOTAL, READOUT = "#2166ac", "#b2182b", "#767676", "#e08214", "#1b7837"
"""Blue, red, grey, orange and green, as in the paper."""

MISSING = "MNIST was not found;\nget it with\nwcrnn data fetch mnist"

ROOM = 1.15
"""Upper limit of the second term's axis, for the text above its bars, in heights of them."""


def draw(results: Evidence) -> Figure:
    """A: the digit. B: one step of the network. C: its input. D: states. E: the terms of one step. F: the readout."""
    tree = results.files.get("digit")
    if tree is None:
        return nothing("digit")
    measured = tree["digit"].to_dataset()
    pixels = digit(int(measured.attrs["sample"]))
    figure = plt.figure(figsize=(TWO_COLUMNS, 6.2), layout="constrained")
    rows = "AAABBBBBBBBB;CCCCCCCCCCCC;DDDDDDDDDDDD;EEE+++===FFF"
    axes = figure.subplot_mosaic(rows, height_ratios=(1.5, 0.7, 1, 1))
    for letter in "ABCDEF":
        axes[letter].set_title(letter, loc="left", fontweight="bold")
    _image(pixels, axes["A"])
    axes["A"].set_anchor("NW")  # so that its letter is as high as that of B
    _schematic(axes["B"])
    _input(pixels, measured, axes["C"])
    _states(measured, axes["D"])
    _terms(measured, [axes[part] for part in "E+="])
    _classes(measured, axes["F"])
    note = f"test digit {measured.attrs['sample'] + 1} of MNIST; network after {measured.attrs['iteration']} iterations"
    figure.set_label(note)
    return figure


def digit(sample: int) -> NDArray[np.float64] | None:
    """Return the pixels of a test digit, between 0 and 1, shape (784,); None without MNIST.

    Args:
        sample: Its number, from 0.
    """
    folders = search_directories("mnist")
    if not all(any((folder / file).exists() for folder in folders) for file in MNIST.files):
        return None
    inputs, _ = SequentialMNIST(dtype=torch.float64).test_samples(torch.tensor([sample]))
    pixels: NDArray[np.float64] = inputs[:, 0, 0].numpy()
    return pixels


def _image(pixels: NDArray[np.float64] | None, ax: Axes) -> None:
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(True)
    ax.set_box_aspect(1)
    if pixels is None:
        _missing(ax)
    else:
        ax.imshow(pixels.reshape(28, 28), cmap="gray_r", vmin=0, vmax=1)
        ax.set_xlabel("read row by row")


def _schematic(ax: Axes) -> None:
    """Draw eq. (11) as boxes and arrows."""
    ax.set(xlim=(0, 10), ylim=(0, 4), xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    _box(ax, 0.1, 3.0, "$s_t$", EXTERNAL)
    _box(ax, 0.1, 1.3, "$x_t$", TOTAL)
    _box(ax, 1.9, 3.0, "$W_{sx}$", EXTERNAL)
    _box(ax, 1.9, 1.9, "$W_{xx}$", RECURRENT)
    _box(ax, 1.9, 0.4, "$R$", RESIDUAL)
    _sum(ax, 3.7, 2.65)
    _box(ax, 4.4, 2.3, "$\\gamma\\,\\tanh$", RECURRENT, width=1.2)
    _sum(ax, 6.4, 1.65)
    _box(ax, 7.0, 1.3, "$x_{t+1}$", TOTAL)
    _box(ax, 8.9, 2.7, "$W_{xo}$", READOUT)
    _arrow(ax, (1.0, 3.35), (1.9, 3.35), EXTERNAL)
    _arrow(ax, (1.0, 1.75), (1.9, 2.2), RECURRENT)
    _arrow(ax, (1.0, 1.55), (1.9, 0.8), RESIDUAL)
    _arrow(ax, (2.8, 3.35), (3.55, 2.77), EXTERNAL, "$S_t$", (0.1, 0.12))
    _arrow(ax, (2.8, 2.25), (3.55, 2.55), RECURRENT, "$W_{xx}x_t$", (-0.05, -0.38))
    _arrow(ax, (3.85, 2.65), (4.4, 2.65), RECURRENT)
    _arrow(ax, (5.6, 2.6), (6.3, 1.8), RECURRENT)
    _arrow(ax, (2.8, 0.75), (6.25, 1.58), RESIDUAL, "$R\\,x_t$", (0, -0.33))
    _arrow(ax, (6.55, 1.65), (7.0, 1.65), TOTAL)
    _arrow(ax, (7.9, 1.75), (8.9, 2.8), READOUT, "$t=784$", (0.05, -0.5))
    _arrow(ax, (9.35, 3.4), (9.35, 3.85), READOUT)
    ax.text(8.75, 3.8, "classes", color=READOUT, ha="right", va="center")
    ax.annotate(
        "",
        xy=(0.55, 1.3),
        xytext=(7.45, 1.3),
        arrowprops={"arrowstyle": "->", "color": TOTAL, "connectionstyle": "bar,fraction=-0.16", "linewidth": 1},
    )
    ax.text(7.6, 0.35, "next step", color=TOTAL, va="center")


def _input(pixels: NDArray[np.float64] | None, measured: xr.Dataset, ax: Axes) -> None:
    ax.set(xlabel="time step $t$", ylabel="input $s_t$", xlim=(1, int(measured.step[-1])))
    if pixels is None:
        _missing(ax)
        return
    ax.plot(np.arange(1, len(pixels) + 1), pixels, color=EXTERNAL, linewidth=0.7)
    marked = int(measured.marked_step)
    ax.axvline(marked, color="0.15", linewidth=0.8, linestyle=(0, (4, 2)))
    ax.annotate(f"$t={marked}$", (marked, 1), xytext=(3, 3), textcoords="offset points", annotation_clip=False)
    ax.plot(marked, pixels[marked - 1], "o", color="0.15", markersize=3)


def _states(measured: xr.Dataset, ax: Axes) -> None:
    for place, unit in enumerate(measured.unit.values):
        shade = plt.get_cmap("YlOrBr")(0.35 + 0.6 * place / max(1, measured.sizes["unit"] - 1))
        ax.plot(measured.step, measured.state.sel(unit=unit), color=shade, linewidth=0.9, label=f"{unit}")
    ax.axvline(int(measured.marked_step), color="0.15", linewidth=0.8, linestyle=(0, (4, 2)))
    ax.set(xlabel="time step $t$", ylabel="state $x_t$", xlim=(1, int(measured.step[-1])))
    ax.legend(title="unit", loc="center left", bbox_to_anchor=(1, 0.5), fontsize=6, title_fontsize=6)


def _terms(measured: xr.Dataset, axes: Sequence[Axes]) -> None:
    """Draw the two terms and their sum; the second, smaller by the coupling, has an axis that states its scale."""
    place = np.arange(measured.sizes["unit"])
    terms = (
        ("residual_term", "$R\\,x_t$", RESIDUAL),
        ("coupled_term", "+  $\\gamma\\,\\tanh(W_{xx}x_t+S_t)$", RECURRENT),
        ("next_state", "=  $x_{t+1}$", TOTAL),
    )
    for ax, (name, label, color) in zip(axes, terms, strict=True):
        ax.bar(place, measured[name], color=color)
        ax.axhline(0, color="0.15", linewidth=0.6)
        ax.set_xticks(place, [str(unit) for unit in measured.unit.values], fontsize=6)
        title(ax, label, color=color, fontsize=7)
        ax.set_xlabel("unit")
    first, second, last = axes
    ends = [end for ax in (first, last) for end in ax.get_ylim()]
    for ax in (first, last):
        ax.set_ylim(min(ends), max(ends))
    low, high = second.get_ylim()
    finer = (max(ends) - min(ends)) / (ROOM * (high - low))
    second.set_ylim(low, low + ROOM * (high - low))
    style: dict[str, Any] = {"ha": "right", "va": "top", "fontsize": 6, "color": "0.15"}
    second.annotate(f"axis {finer:.0f} times finer", (0.98, 0.98), xycoords="axes fraction", **style)
    first.set_ylabel(f"at $t={int(measured.marked_step)}$")


def _classes(measured: xr.Dataset, ax: Axes) -> None:
    ax.bar(measured["class"], measured.probability, color=READOUT)
    ax.set_xticks(measured["class"].values)
    label = int(measured.attrs["label"])
    ax.get_xticklabels()[label].set_fontweight("bold")
    ax.set(xlabel=f"class (the digit is a {label})", ylabel="probability", ylim=(0, 1))


def _missing(ax: Axes) -> None:
    ax.text(0.5, 0.5, MISSING, transform=ax.transAxes, ha="center", va="center", fontsize=6, color="0.15")


def _box(ax: Axes, left: float, bottom: float, text: str, color: str, *, width: float = 0.9) -> None:
    shape = FancyBboxPatch((left, bottom), width, 0.7, boxstyle="round,pad=0,rounding_size=0.12", fc="white", ec=color)
    ax.add_patch(shape)
    ax.text(left + width / 2, bottom + 0.35, text, color=color, ha="center", va="center")


def _sum(ax: Axes, x: float, y: float) -> None:
    ax.add_patch(Circle((x, y), 0.14, fc="white", ec="0.15"))
    ax.text(x, y, "+", ha="center", va="center_baseline", fontsize=8)


def _arrow(
    ax: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    color: str,
    text: str = "",
    shift: tuple[float, float] = (0, 0),
) -> None:
    ax.annotate("", xy=end, xytext=start, arrowprops={"arrowstyle": "->", "color": color, "linewidth": 1})
    middle = ((start[0] + end[0]) / 2 + shift[0], (start[1] + end[1]) / 2 + shift[1])
    ax.text(*middle, text, color=color, ha="left", va="center", fontsize=7)


SCRIPT = Script("the model, and a digit going through it", ("digit",), draw)

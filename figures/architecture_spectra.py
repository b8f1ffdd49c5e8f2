"""Lyapunov spectra of WCRNN, LSTM, UR-LSTM and S4D at comparable errors of the adding problem."""

from __future__ import annotations

from typing import Any

import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from figures.evidence import Evidence
from figures.missing import nothing
from figures.scripts import Script
from figures.style import panels

NAMES = {"wcrnn-best": "WCRNN", "lstm": "LSTM", "ur-lstm": "UR-LSTM", "s4d": "S4D"}
COLORS = {"wcrnn-best": "#0072B2", "lstm": "#D55E00", "ur-lstm": "#E69F00", "s4d": "#009E73"}
INSTANCES = ("seed", "trajectory")
LEADING = 20  # ranks in B
LINEAR = 1e-3  # nats per step; beyond, the scale of A is logarithmic


def draw(results: Evidence) -> Figure:
    """A: whole spectra, rank over state size. B: leading exponents by rank. Dashed: log |eigenvalues of R|.

    Shaded is the range over seeds and trajectories, widened by the standard error of each. For S4D the dashed line is
    exact, and shows where its exponents are that were not computed.
    """
    tree = results.files.get("architecture_spectra")
    if tree is None:
        return nothing("architecture_spectra")
    figure, (whole, leading) = panels(1, 2, height=3.0)
    for name, label in NAMES.items():
        spectrum = tree[name].to_dataset()
        size = int(spectrum.state_size[0])
        _spectrum(whole, spectrum, size, COLORS[name], f"{label}, {_count(spectrum, size)}")
        _spectrum(leading, spectrum.sel(exponent=slice(None, LEADING)), 1, COLORS[name], None)
    for ax in (whole, leading):
        ax.set_yscale("symlog", linthresh=LINEAR)
        ax.set_ylabel(f"exponent (nats per step),\nlogarithmic beyond $\\pm${LINEAR:g}")
    whole.set(xlabel="rank / state size $i/N$", xlim=(0, 1))
    leading.xaxis.set_major_locator(MaxNLocator(integer=True))
    leading.set(xlabel="rank of the exponent $i$", xlim=(0, LEADING + 1))
    figure.legend(*whole.get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=6)
    first = tree["wcrnn-best"]
    reached = ", ".join(f"{label} {_range(tree[name].test_error)}" for name, label in NAMES.items())
    note = f"adding problem, length {first.attrs['length']}; "
    note += f"first checkpoint with RMS $\\leq$ {first.attrs['target']:g}; RMS there: {reached}"
    missed = [label for name, label in NAMES.items() if bool((tree[name].test_error > first.attrs["target"]).any())]
    if missed:
        note += f" (not reached: {', '.join(missed)}; best shown)"
    figure.set_label(f"{note}; dashed: log |eigenvalues of R|; of S4D: its exact exponents")
    return figure


def _spectrum(ax: Axes, spectrum: xr.Dataset, size: int, color: str, label: str | None) -> None:
    exponent = spectrum.lyapunov_exponent
    x = spectrum.exponent / size
    style: dict[str, Any] = {"linewidth": 0.9, "color": color}
    if size == 1:  # in A they would merge
        style |= {"marker": "o", "markersize": 2}
    ax.plot(x, exponent.mean(INSTANCES), label=label, **style)
    low = (exponent - spectrum.standard_error).min(INSTANCES)
    high = (exponent + spectrum.standard_error).max(INSTANCES)
    ax.fill_between(x, low, high, color=color, alpha=0.25, linewidth=0)
    ax.axhline(0, color="0.6", linewidth=0.6, zorder=0)
    if "predicted_exponent" in spectrum:
        predicted = spectrum.predicted_exponent.mean("seed")
        if size == 1:
            predicted = predicted.sel(predicted_rank=slice(None, LEADING))
        ax.plot(predicted.predicted_rank / size, predicted, color=color, linewidth=0.8, linestyle=(0, (4, 2)))


def _range(errors: xr.DataArray) -> str:
    low, high = (f"{float(error):.3f}" for error in (errors.min(), errors.max()))
    return low if low == high else f"{low}\N{EN DASH}{high}"


def _count(spectrum: xr.Dataset, size: int) -> str:
    computed = spectrum.sizes["exponent"]
    return f"N = {size}" if computed == size else f"{computed} of N = {size}"


SCRIPT = Script("spectra of different networks at comparable performance", ("architecture_spectra",), draw)

"""Sections of a page, one for each result."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import xarray as xr

from lyapkit.checks.clause import clause
from lyapkit.reports.figures import Drawing, draw, plots_of
from lyapkit.reports.findings import findings
from lyapkit.reports.tables import (
    Table,
    case_name,
    cases_table,
    joined_dims,
    origin_table,
    summary_table,
    units_of,
    verdicts,
)
from lyapkit.reports.words import INTERVALS, WORDS, Words
from lyapkit.results.summary import summary


@dataclass
class Section:
    """Content of a page about one result.

    Attributes:
        path: Its place in the tree.
        words: The explanation of its analysis.
        findings: Warnings.
        headline: Its extreme values, as sentences; empty if there are none.
        values: Its table; None if it cannot be made.
        interval: What errors and intervals mean.
        verdicts: Each verdict, how often it comes, and what it means.
        drawings: Its figures.
        further: Numbers besides those of the table.
        origin: Where it comes from.
    """

    path: str
    words: Words
    findings: list[str]
    origin: Table
    headline: str = ""
    values: Table | None = None
    interval: str = ""
    verdicts: list[tuple[str, int, str]] = field(default_factory=list)
    drawings: list[Drawing] = field(default_factory=list)
    further: Table | None = None


def section(path: str, result: xr.Dataset) -> Section:
    """Return the content of a page about one result.

    What cannot be tabulated or drawn, since a part of the result is missing, is named in the warnings.

    Args:
        path: Its place in the tree.
        result: The Dataset of an analysis.
    """
    words = WORDS[result.attrs["analysis"]]
    page = Section(path, words, findings(result), origin_table(result.attrs))
    if joined := joined_dims(result):
        counts = " and ".join(f"{result.sizes[name]} along {name}" for name in joined)
        page.findings.append(
            f"Several results were joined here ({counts}); origin and settings are those that joining them has kept."
        )
    try:
        table = summary(result)
    except Exception as error:  # whatever an incomplete result lacks; the rest is shown
        page.findings.append(f"There is no table: {clause(error) or type(error).__name__}.")
    else:
        page.values = summary_table(table, result)
        page.verdicts = verdicts(table)
        units = units_of(result)
        page.headline = headline(table, words, "" if units == "1" else f" {units}") if words.variable else ""
        if words.error in page.values.header:
            page.interval = INTERVALS[words.error]
    page.further = cases_table(result)
    for caption, plot in plots_of(result).items() if result.sizes.get("fixed_point", 1) else ():
        try:
            page.drawings.append(draw(result, caption, plot))
        except Exception as error:  # the same
            page.findings.append(f"There is no figure {caption!r}: {clause(error) or type(error).__name__}.")
    return page


def headline(table: pd.DataFrame, words: Words, units: str) -> str:
    """Return the largest and the smallest value of a table, as sentences.

    Args:
        table: As `lyapkit.summary` returns it.
        words: The explanation of the analysis.
        units: Units of the values, after a space; empty if they have none.
    """
    values = table["value"].to_numpy(dtype=float)
    places = np.flatnonzero(~np.isnan(values))
    if not places.size:
        return ""
    if places.size == 1:
        return f"{words.value.capitalize()}: {_valued(table, words, units, int(places[0]))}."
    largest, smallest = places[values[places].argmax()], places[values[places].argmin()]
    return (
        f"Largest {words.value}: {_valued(table, words, units, int(largest))}. "
        f"Smallest: {_valued(table, words, units, int(smallest))}."
    )


def _valued(table: pd.DataFrame, words: Words, units: str, place: int) -> str:
    """Return a value with its error, verdict and place."""
    row, index = table.iloc[place], table.index[place]
    names = [str(name) for name in table.index.names if name is not None]
    error = float(row["error"])
    text = f"{float(row['value']):.4g}{units}"
    if np.isfinite(error):
        text += f", {words.error} {error:.2g}"
    text += f", {row['verdict']}"
    return f"{text} ({case_name(names, index if isinstance(index, tuple) else (index,))})" if names else text

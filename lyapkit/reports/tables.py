"""Tables of a page, from `lyapkit.summary` and the single numbers of a result."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from lyapkit.reports.words import COLUMNS, ORIGIN, VERDICTS, WORDS
from lyapkit.results.schema import DIMENSIONS

MOST_ROWS, MOST_CASES = 2000, 50
"""Rows and columns that a table has at most. No source; chosen so that a page of full tables is a few megabytes."""

LONGEST = 2000
"""Characters of a setting that are shown; no source, chosen to be far longer than any that is read."""


@dataclass(frozen=True)
class Cell:
    """Content of a cell.

    Attributes:
        text: What is shown.
        exact: The number with all its digits; empty for texts.
    """

    text: str
    exact: str = ""


@dataclass(frozen=True)
class Table:
    """A table as the page shows it.

    Attributes:
        caption: What it holds.
        header: Names of its columns.
        heads: Number of leading columns that name the rows.
        rows: Its cells.
        left_out: What was left out of it, as a sentence; empty if nothing was.
        has_names: Whether its rows are named by texts, not by numbers.
    """

    caption: str
    header: list[str]
    heads: int
    rows: list[list[Cell]]
    left_out: str = ""
    has_names: bool = False


def cell(value: Any) -> Cell:
    """Return the cell of a value: numbers with six digits, and all of them for programs."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Cell(str(value))
    if isinstance(value, float) and math.isnan(value):
        return Cell("none")
    return Cell(str(value) if isinstance(value, int) else f"{value:.6g}", repr(value))


def summary_table(table: pd.DataFrame, result: xr.Dataset) -> Table:
    """Return the table of a result, without columns in which nothing is known.

    Args:
        table: As `lyapkit.summary` returns it.
        result: The result itself.
    """
    words = WORDS[result.attrs["analysis"]]
    units = units_of(result)
    named = COLUMNS | {"value": words.value if units == "1" else f"{words.value} ({units})", "error": words.error}
    columns = [name for name in table.columns if not (name in ("error", "low", "high") and table[name].isna().all())]
    levels = [str(name) for name in table.index.names if name is not None]
    shown = table.iloc[:MOST_ROWS]
    rows = [
        [*([cell(part) for part in (index if isinstance(index, tuple) else (index,))] if levels else []), *values]
        for index, values in zip(
            shown.index,
            ([cell(value) for value in row] for row in shown[columns].itertuples(index=False, name=None)),
            strict=True,
        )
    ]
    left_out = ""
    if len(table) > MOST_ROWS:
        left_out = f"These are the first {MOST_ROWS} of {len(table)} rows; lyapkit.summary(result) returns all."
    header = [*levels, *(named[name] for name in columns)]
    return Table(f"{words.title}: one row for each value", header, len(levels), rows, left_out)


def units_of(result: xr.Dataset) -> str:
    """Return the units of the values of a result; 1 where they have none, or different ones."""
    variable = WORDS[result.attrs["analysis"]].variable
    return str(result[variable].attrs.get("units", "1")) if variable else "1"


def verdicts(table: pd.DataFrame) -> list[tuple[str, int, str]]:
    """Return the verdicts of a table with how often they come and what they mean, the most frequent first."""
    counts = table["verdict"].value_counts()
    return [(str(name), int(count), VERDICTS.get(str(name), "")) for name, count in counts.items()]


def joined_dims(result: xr.Dataset) -> list[str]:
    """Return the dimensions along which several results were joined, such as seeds or epochs."""
    variable = WORDS[result.attrs["analysis"]].variable
    dims = result[variable].dims if variable in result else result.dims
    return [str(name) for name in dims if name not in DIMENSIONS]


def cases_table(result: xr.Dataset) -> Table | None:
    """Return the numbers that a result holds once, or once for each trajectory; None if there are none.

    Args:
        result: The result.
    """
    across = {"trajectory", "norm", *joined_dims(result)}
    variable = WORDS[result.attrs["analysis"]].variable
    single = [
        str(name)
        for name, values in result.data_vars.items()
        if set(map(str, values.dims)) <= across and name != variable and not str(name).startswith(f"{variable}_")
    ]
    if not single:
        return None
    together = result[single].reset_coords(drop=True)
    if not together.dims:
        header, columns = ["quantity", "value"], [[together[name].item() for name in single]]
        count = 1
    else:
        frame = together.to_dataframe()  # numbers that hold for all cases are repeated
        count, shown = len(frame), frame[single].iloc[:MOST_CASES]
        dims = [str(name) for name in frame.index.names]
        labels = [label if isinstance(label, tuple) else (label,) for label in shown.index]
        header = ["quantity", *(case_name(dims, label) for label in labels)]
        columns = [list(row) for row in shown.itertuples(index=False, name=None)]
    rows = [
        [Cell(_described(result[name])), *(cell(column[place]) for column in columns)]
        for place, name in enumerate(single)
    ]
    left_out = "" if count <= MOST_CASES else f"These are the first {MOST_CASES} of {count} columns."
    return Table("Further numbers", header, 1, rows, left_out, has_names=True)


def case_name(dims: Sequence[str], places: Sequence[Any]) -> str:
    """Return the name of one of several joined results, such as ``seed 3, epoch 20``."""
    return ", ".join(f"{name} {place}" for name, place in zip(dims, places, strict=True))


def _described(variable: xr.DataArray) -> str:
    units = str(variable.attrs.get("units", "1"))
    name = str(variable.attrs.get("long_name", variable.name))
    return name if units == "1" else f"{name} ({units})"


def origin_table(attributes: Mapping[Any, Any]) -> Table:
    """Return where a result comes from and its settings, one row for each.

    Args:
        attributes: The attributes of the result.
    """
    known = {text: attributes.get(name, "not recorded") for name, text in ORIGIN.items()}
    if known[ORIGIN["checkpoint_sha256"]] == "":
        known[ORIGIN["checkpoint_sha256"]] = "none: the network came from memory"
    others = {name: value for name, value in attributes.items() if name not in {*ORIGIN, "config_json"}}
    settings = _settings(attributes.get("config_json"))
    entries = {**known, **{f"setting {name}": value for name, value in settings.items()}, **others}
    rows = [[Cell(str(name)), Cell(_shortened(value))] for name, value in entries.items()]
    return Table("Origin and settings", ["entry", "value"], 1, rows, has_names=True)


def _settings(text: Any) -> dict[str, Any]:
    """Return the entries of the settings, or the text itself where it cannot be read."""
    if text is None:
        return {}
    try:
        settings = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return {"config_json": text}
    return settings if isinstance(settings, dict) else {"config_json": text}


def _shortened(value: Any) -> str:
    if isinstance(value, np.generic | np.ndarray):  # as files return them
        value = value.tolist()
    try:
        text = value if isinstance(value, str) else json.dumps(value, default=str)
    except (TypeError, ValueError, RecursionError):
        text = str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... ({len(text)} characters)"

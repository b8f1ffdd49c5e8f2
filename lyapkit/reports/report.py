"""Write results as one HTML page."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jinja2
import xarray as xr
from markupsafe import Markup

from lyapkit.checks.named_arguments import named_arguments
from lyapkit.reports.findings import findings_together
from lyapkit.reports.sections import section
from lyapkit.reports.words import WORDS
from lyapkit.results.files import no_result
from lyapkit.results.targets import checked_path, target_of
from lyapkit.results.temporary import temporary_file

SUFFIXES = (".html", ".htm")


@named_arguments()
def report(result: xr.Dataset | xr.DataTree, path: str | os.PathLike[str], *, title: str | None = None) -> Path:
    """Write a result to one HTML page, for people to read: warnings first, then figures, tables, meaning and origin.

    The page is one file that loads nothing and runs no scripts, so that it can be sent, printed and kept. Its tables
    are those of `lyapkit.summary`, whose numbers are shown with six digits and stored with all (in the attribute
    ``value`` of each). Results joined along further dimensions, such as seeds or epochs, are drawn together. What an
    incomplete result does not give is left out, and the page says so.

    The file is written under a temporary name in the same directory and then moved, as `lyapkit.save` does.

    Args:
        result: The Dataset of an analysis, or the DataTree of several, also read by `lyapkit.load`.
        path: Name of the file, ending in ``.html``; an existing file is replaced.
        title: Heading of the page; the name of the file by default.

    Returns:
        The path.

    Raises:
        TypeError: If ``result`` is neither, ``path`` is not a name, or ``title`` is not a text.
        FileNotFoundError: If the directory does not exist.
        IsADirectoryError: If ``path`` is a directory.
        ValueError: If ``path`` is a device or a pipe, or does not end in ``.html``, or there is no result of an
            analysis to show.
        OSError: If the file cannot be written; the old file, if any, is as it was.

    Example:
        >>> import lyapkit, tempfile
        >>> ds = lyapkit.lyapunov_spectrum(lyapkit.systems.henon().map, steps=500)
        >>> page = lyapkit.report(ds, tempfile.mkdtemp() + "/henon.html")
        >>> "Lyapunov exponents" in page.read_text()
        True
    """
    if not isinstance(result, xr.Dataset | xr.DataTree):
        raise TypeError(no_result("report", result))
    path = checked_path(path, "result.html")
    if title is not None and not isinstance(title, str):
        raise TypeError(f"title must be a text, got {type(title).__name__}.")
    target = target_of(path)
    if path.suffix.casefold() not in SUFFIXES:
        stem = path.stem.strip() or "result"
        raise ValueError(f'reports are HTML, with names that end in .html, got "{path.name}"; write "{stem}.html".')
    content = _page(result, path.stem if title is None else title).encode()
    with temporary_file(target.parent) as temporary:
        temporary.write_bytes(content)
        temporary.replace(target)
    return path


def _page(result: xr.Dataset | xr.DataTree, title: str) -> str:
    results, others = _results(result)
    sections = [section(name, dataset) for name, dataset in results.items()]
    together = findings_together(results)
    together += [f"{name} is no result of an analysis that this page knows, and is left out." for name in others]
    template = _environment().get_template("page.html.jinja")
    return template.render(
        title=title,
        sections=sections,
        together=together,
        any_finding=bool(together) or any(each.findings for each in sections),
        has_many=len(sections) > 1,
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        version=version("lyapkit"),
    )


def _results(result: xr.Dataset | xr.DataTree) -> tuple[dict[str, xr.Dataset], list[str]]:
    """Return the results of analyses by their places, and the places of other data.

    Raises:
        ValueError: If there is no result of an analysis.
    """
    if isinstance(result, xr.DataTree):
        nodes = {node.path.strip("/"): node.to_dataset() for node in result.subtree}
    else:
        nodes = {"": result}
    found, others = {}, []
    for path, dataset in nodes.items():
        analysis = dataset.attrs.get("analysis")
        if isinstance(analysis, str) and analysis in WORDS:
            found[path or (analysis if len(nodes) == 1 else "/")] = dataset
        elif dataset.data_vars:
            others.append(path or "/")
    if not found:
        analyses = [str(dataset.attrs["analysis"]) for dataset in nodes.values() if "analysis" in dataset.attrs]
        got = ", ".join(analyses) or "data without provenance, whose attributes some operation may have dropped"
        raise ValueError(
            f"there is no result of an analysis to report, got {got}; pass what lyapkit's analyses return: "
            f"{', '.join(WORDS)}."
        )
    return found, others


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=_readable,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _readable(value: Any) -> Any:
    """Return a text in one line, in which characters that are not seen, or turn others around, are escapes."""
    if not isinstance(value, str) or isinstance(value, Markup) or value.isprintable():
        return value
    return "".join(it if it.isprintable() else repr(it)[1:-1] for it in " ".join(value.splitlines()))

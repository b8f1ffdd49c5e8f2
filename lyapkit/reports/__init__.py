"""Pages that show results to people: tables, figures, warnings, origin, and what each number means."""

from lyapkit.reports.report import report as report

__all__ = ["report"]

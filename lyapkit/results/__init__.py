"""Labelled results: schema, provenance, files."""

from lyapkit.results.files import load as load
from lyapkit.results.files import save as save
from lyapkit.results.provenance import provenance as provenance
from lyapkit.results.schema import make_dataset as make_dataset

__all__ = ["load", "make_dataset", "provenance", "save"]

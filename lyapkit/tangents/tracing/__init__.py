"""Trace one step with its tangents into straight-line operations."""

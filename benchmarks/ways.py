"""The ways to walk a run, of which one can be switched off to measure the next."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Literal
from unittest.mock import patch

from lyapkit.tangents.tracing.compiled import CompiledTangents
from lyapkit.tangents.tracing.recording import Untraceable
from lyapkit.tangents.tracing.traced import TracedTangents

Way = Literal["as chosen", "traced", "plain"]


@contextmanager
def walking(way: Way) -> Iterator[None]:
    """Walk runs as lyapkit chooses, without machine code, or without machine code and traced steps."""
    off = {"as chosen": (), "traced": (CompiledTangents,), "plain": (CompiledTangents, TracedTangents)}[way]
    with ExitStack() as stack:
        for strategy in off:
            stack.enter_context(patch.object(strategy, "where_it_pays", side_effect=Untraceable("switched off")))
        yield

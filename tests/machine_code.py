"""Analyses without machine code, to compare with."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lyapkit.tangents.tracing.compiled import CompiledTangents
from lyapkit.tangents.tracing.recording import Untraceable


@contextmanager
def without_machine_code() -> Iterator[None]:
    def refuse(*_: object) -> CompiledTangents:
        raise Untraceable("switched off")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CompiledTangents, "where_it_pays", refuse)
        yield

"""Analyses without machine code, to compare with."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lyapkit.tangents.tracing.compiled import CompiledTangents
from lyapkit.tangents.tracing.recording import Untraceable


def switch_machine_code_off(patch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> CompiledTangents:
        raise Untraceable("switched off")

    patch.setattr(CompiledTangents, "where_it_pays", refuse)


@contextmanager
def without_machine_code() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        switch_machine_code_off(patch)
        yield

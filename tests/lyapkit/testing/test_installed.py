"""The extra that `lyapkit.testing` needs."""

import importlib
import sys

import pytest


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import lyapkit.testing

    monkeypatch.setitem(sys.modules, "hypothesis", None)
    with pytest.raises(ImportError, match=r'pip install "lyapkit\[testing\]"'):
        importlib.reload(lyapkit.testing)

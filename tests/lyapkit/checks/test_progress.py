"""Progress bars are drawn for people: in terminals and notebooks, not in files."""

import io
import sys
import types

import pytest

import lyapkit
from lyapkit.checks.progress import progress_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def drawn(monkeypatch, stream: io.StringIO, progress: bool) -> str:
    monkeypatch.setattr(sys, "stderr", stream)
    with progress_bar(3, "working", progress) as bar:
        bar.update(3)
    return stream.getvalue()


def kernel(monkeypatch, config) -> None:
    """What a running IPython looks like from inside."""
    shell = types.SimpleNamespace(config=config)
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))


def test_terminals_see_bars_and_files_do_not(monkeypatch) -> None:
    assert "working" in drawn(monkeypatch, Terminal(), progress=True)
    assert drawn(monkeypatch, Terminal(), progress=False) == ""
    assert drawn(monkeypatch, io.StringIO(), progress=True) == ""


def test_notebooks_see_bars(monkeypatch) -> None:
    """The output of a kernel is no terminal."""
    kernel(monkeypatch, {"IPKernelApp": {}})
    assert "working" in drawn(monkeypatch, io.StringIO(), progress=True)
    assert drawn(monkeypatch, io.StringIO(), progress=False) == ""
    kernel(monkeypatch, {"TerminalIPythonApp": {}})
    assert drawn(monkeypatch, io.StringIO(), progress=True) == ""


def test_an_analysis_draws_in_a_notebook(monkeypatch, capsys) -> None:
    kernel(monkeypatch, {"IPKernelApp": {}})
    lyapkit.lyapunov_spectrum(lyapkit.systems.henon().map, steps=20, progress=True)
    assert "Lyapunov spectrum" in capsys.readouterr().err
    lyapkit.lyapunov_spectrum(lyapkit.systems.henon().map, steps=20)
    assert capsys.readouterr().err == ""


def test_a_switch_is_true_or_false() -> None:
    with pytest.raises(TypeError, match="progress must be True or False, got 'yes'"):
        lyapkit.lyapunov_spectrum(lyapkit.systems.henon().map, steps=20, progress="yes")

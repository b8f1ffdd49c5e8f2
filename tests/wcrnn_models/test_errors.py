"""Texts of errors as parts of other sentences."""

import pytest

from lyapkit.checks import clause as of_lyapkit
from wcrnn_models.errors import UserError, clause

TEXTS = {
    "r must be finite.": "r must be finite",
    "r must be finite": "r must be finite",
    "it was cut off, as in f(x, ...": "it was cut off, as in f(x, ...",
    "it was cut off ...": "it was cut off ...",
    "'r.nc'.": "'r.nc'",
}


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("of", [clause, of_lyapkit.clause], ids=["wcrnn_models", "lyapkit"])
def test_a_clause_has_no_full_stop(of, text):
    assert of(text) == TEXTS[text]
    assert of(OSError(text)) == TEXTS[text]


def test_an_error_without_a_text_is_named():
    assert clause(EOFError()) == "EOFError"


def test_a_clause_is_one_line():
    assert clause(UserError("two\n  lines.")) == "two lines"

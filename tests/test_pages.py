"""The comparison of printed with shown output is strict about numbers, and about text that is not left out."""

from pathlib import Path

import pytest

import pages


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("[-0.463  0.01 ]", "[-0.463 0.010]"),
        ("-0.463", "-0.464"),
        ("1.2e-13", "1.1e-13"),
        ("ValueError: it ... dropout ...", "ValueError: it has dropout, so call eval()."),
        ("one\ntwo", "one two\n"),
    ],
)
def test_output_that_agrees(shown: str, printed: str) -> None:
    assert pages.agree(shown, printed)


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("-0.463", "-0.467"),
        ("-0.463", "0.463"),
        ("0.463", "nan"),
        ("-0.463", ""),
        ("1.2e-13", "1.2e-12"),
        ("(4, 40)", "(4, 20)"),
        ("ValueError: ... dropout ...", "TypeError: it has dropout, so call eval()."),
        ("one", "one two"),
    ],
)
def test_output_that_does_not(shown: str, printed: str) -> None:
    assert not pages.agree(shown, printed)


def page(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_an_error_is_output_where_it_is_shown(tmp_path) -> None:
    shown = page(tmp_path / "shown.md", "```python\nint('x')\n```\n\n```text\nValueError: invalid literal ...\n```\n")
    pages.run(shown)
    with pytest.raises(ValueError, match="invalid literal"):
        pages.run(page(tmp_path / "not.md", "```python\nint('x')\n```\n"))


def test_an_error_that_is_shown_and_does_not_occur_fails(tmp_path) -> None:
    text = "```python\nint('3')\n```\n\n```text\nValueError: invalid literal ...\n```\n"
    with pytest.raises(AssertionError, match="prints"):
        pages.run(page(tmp_path / "wrong.md", text))


def test_wrong_output_fails_and_names_the_line(tmp_path) -> None:
    text = "A page.\n\n```python\nprint(0.25)\n```\n\n```text\n0.75\n```\n"
    with pytest.raises(AssertionError, match=r"page\.md:3"):
        pages.run(page(tmp_path / "page.md", text))

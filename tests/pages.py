"""Pages in Markdown: their Python blocks, run one after another, and the output that is printed below them."""

import contextlib
import io
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

FENCED = re.compile(r"^```python\n(.*?)^```$(?:\n+```text\n(.*?)^```$)?", flags=re.DOTALL | re.MULTILINE)
NUMBER = r"[+-]?(?:\d+\.\d*|\.\d+)(?:e[+-]?\d+)?"


@dataclass(frozen=True)
class Block:
    """A Python block and the text block that directly follows it, if any: what it prints, or the error it ends with."""

    line: int
    code: str
    output: str | None


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [Block(text[: found.start(1)].count("\n"), found[1], found[2]) for found in FENCED.finditer(text)]


def run(page: Path) -> dict[str, object]:
    """Run the blocks of a page in one namespace, compare what they print, and return the namespace."""
    namespace: dict[str, object] = {}
    for block in blocks(page):
        code = compile("\n" * block.line + block.code, str(page), "exec")  # tracebacks name the line of the page
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            try:
                exec(code, namespace)
            except Exception as error:
                if block.output is None or not re.search(r"^\w+Error: ", block.output, flags=re.MULTILINE):
                    raise
                print(f"{type(error).__name__}: {error}")
        if block.output is not None:
            where = f"{page.name}:{block.line}"
            assert agree(block.output, printed.getvalue()), f"{where} prints\n{printed.getvalue()}"
    return namespace


def agree(shown: str, printed: str) -> bool:
    """Compare but for line breaks, for ``...``, and for two units in the last digit of numbers with a decimal point."""
    parts = re.split(rf"(\.\.\.|{NUMBER})", " ".join(shown.split()))
    numbers = [part for part in parts[1::2] if part != "..."]
    pattern = "".join(
        re.escape(part) if index % 2 == 0 else ".*?" if part == "..." else f"({NUMBER})"
        for index, part in enumerate(parts)
    )
    found = re.fullmatch(pattern.replace(r"\ ", r" *"), " ".join(printed.split()))
    return found is not None and all(
        float(got) == pytest.approx(float(number), rel=0, abs=2.01 * _last_digit(number))
        for number, got in zip(numbers, found.groups(), strict=True)
    )


def _last_digit(number: str) -> float:
    mantissa, _, exponent = number.partition("e")
    return 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))

"""The pages of the documentation: their Python runs from top to bottom, and the table of references is complete."""

import ast
import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from lyapkit import systems

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts)
BLOCK = re.compile(r"^```python\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)
HOW = DOCS / "how_do_we_know.md"


def blocks(page: Path) -> list[tuple[int, str]]:
    """First line and text of each Python block."""
    text = page.read_text(encoding="utf-8")
    return [(text[: found.start(1)].count("\n"), found[1]) for found in BLOCK.finditer(text)]


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.stem)
def test_pages_run_from_top_to_bottom(page: Path, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    for line, block in blocks(page):  # empty lines before it make tracebacks name the line of the page
        exec(compile("\n" * line + block, str(page), "exec"), namespace)
    plt.close("all")


def test_every_block_of_the_checks_asserts_its_numbers() -> None:
    found = blocks(HOW)
    assert len(found) == 22
    for line, block in found:
        statements = ast.parse(block).body
        assert any(isinstance(statement, ast.Assert) for statement in statements), f"{HOW.name}:{line}"


def test_every_section_of_the_checks_has_a_block_and_names_where_it_was_seen() -> None:
    sections = re.split(r"^## ", HOW.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    assert len(sections) == 18
    for section in sections[:-1]:
        title = section.splitlines()[0]
        assert "```python" in section, title
        assert re.search(r"^(Checked in|Documented by|No package)", section, flags=re.MULTILINE), title


def rows() -> dict[str, list[list[str]]]:
    """Rows of the table of references by system."""
    text = HOW.read_text(encoding="utf-8")
    table = text.split("<!-- reference values")[1].split("<!-- end of reference values -->")[0]
    found: dict[str, list[list[str]]] = {}
    name = ""
    for line in table.splitlines():
        if line.startswith("|") and not line.startswith(("| system |", "| ---")):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            name = cells[0] or name
            found.setdefault(name, []).append(cells)
    return found


def test_the_table_lists_every_reference_system_with_value_and_source() -> None:
    listed = rows()
    catalogue = {system.name: system for system in systems.catalogue()}
    assert list(listed) == list(catalogue)
    for name, system in catalogue.items():
        exponents = [cells for cells in listed[name] if cells[1] != "sum"]
        assert [cells[1] for cells in exponents] == [str(rank + 1) for rank in range(len(system.exponents))]
        for cells, value in zip(exponents, system.exponents, strict=True):
            assert float(cells[2].split(" ± ")[0]) == pytest.approx(value, abs=6e-6)
        assert listed[name][0][7].startswith(system.source.replace("|", "\\|"))
        assert ("sum" in [cells[1] for cells in listed[name]]) == (system.exponent_sum is not None)


def test_the_values_of_the_table_agree() -> None:
    scored = 0
    for system in systems.catalogue():
        for cells in rows()[system.name]:
            score = re.fullmatch(r"z = ([+-][\d.]+)", cells[6])
            if score:
                assert abs(float(score[1])) < 5.5, cells
                assert float(cells[4]) > 0
                scored += 1
            elif cells[1] == "sum":
                assert abs(float(cells[6])) <= system.sum_tolerance, cells
            else:
                assert abs(float(cells[6])) <= system.tolerance, cells
    assert scored > 45

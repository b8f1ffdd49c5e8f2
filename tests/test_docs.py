"""The pages of the documentation: their Python runs from top to bottom, and the table of references is complete."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch

import pages
from lyapkit import systems

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts)
HOW = DOCS / "how_do_we_know.md"


@pytest.fixture
def _global_settings_kept() -> Iterator[None]:
    dtype, threads = torch.get_default_dtype(), torch.get_num_threads()
    yield
    torch.set_default_dtype(dtype)
    torch.set_num_threads(threads)
    plt.close("all")


@pytest.mark.slow
@pytest.mark.usefixtures("_global_settings_kept")
@pytest.mark.parametrize("page", [page for page in PAGES if pages.blocks(page)], ids=lambda page: page.stem)
def test_pages_run_from_top_to_bottom(page: Path, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    pages.run(page)


def test_every_answer_shows_what_its_code_prints() -> None:
    shown = [block for block in pages.blocks(DOCS / "faq.md") if block.output is not None]
    assert len(shown) > 20
    for block in pages.blocks(DOCS / "faq.md"):
        assert block.output is not None or "print(" not in block.code, f"faq.md:{block.line}"


def test_every_block_of_the_checks_asserts_its_numbers() -> None:
    found = pages.blocks(HOW)
    assert len(found) == 22
    for block in found:
        statements = ast.parse(block.code).body
        assert any(isinstance(statement, ast.Assert) for statement in statements), f"{HOW.name}:{block.line}"


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

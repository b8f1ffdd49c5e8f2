"""Who imports whom in wcrnn_models: rooms stand on each other, and no file comes back to itself."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import wcrnn_models

ROOT = Path(wcrnn_models.__file__).parent
FLOORS = [
    {"checkpoints", "models", "plots", "tasks"},
    {"testing", "training"},
    {"analysis"},
    {"tables"},
    {"demo", "sweeps"},
    {"cli"},
    {"start"},
]
"""Rooms from the bottom up. All others are the ground, which everything may stand on."""


def name(path: Path) -> str:
    return ".".join(("wcrnn_models", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")


FILES = {name(path): path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py"}


def imported(path: Path) -> set[str]:
    """Files of the package that a file imports, wherever in the file, also for its types alone."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found = {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            names |= {full if full in FILES else str(node.module) for full in found.values()}
    return names & set(FILES)


IMPORTS = {file: imported(path) for file, path in FILES.items()}


def reached(file: str) -> set[str]:
    """What a file imports, directly or by others."""
    found: set[str] = set()
    ahead = [file]
    while ahead:
        new = IMPORTS[ahead.pop()] - found
        found |= new
        ahead += new
    return found


def room(file: str) -> str:
    return file.split(".")[1]


def floor(file: str) -> int:
    """-1 for the ground."""
    return next((height for height, rooms in enumerate(FLOORS) if room(file) in rooms), -1)


def test_the_files_and_their_imports_are_found() -> None:
    assert set.union(*FLOORS) <= set(map(room, FILES))
    assert "wcrnn_models.models.residuals.diagonal" in reached("wcrnn_models.cli.train")


def test_no_file_imports_itself_by_way_of_others() -> None:
    try:
        TopologicalSorter(IMPORTS).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


@pytest.mark.parametrize("file", FILES)
def test_rooms_import_only_what_is_below(file: str) -> None:
    beside = {other for other in reached(file) if floor(other) == floor(file) >= 0 and room(other) != room(file)}
    above = {other for other in reached(file) if floor(other) > floor(file)}
    assert not beside | above

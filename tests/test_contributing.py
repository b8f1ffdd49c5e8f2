"""The map of the house in CONTRIBUTING.md names every folder, and the recipes name files that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()


def test_the_map_names_every_folder_and_no_other() -> None:
    listed = re.findall(r"^\| `([\w/]+)/` \|", TEXT, flags=re.MULTILINE)
    packages = [
        path.parent.relative_to(ROOT).as_posix()
        for package in ("lyapkit", "lyapkit_command", "wcrnn_models", "figures")
        for path in (ROOT / package).rglob("__init__.py")
    ]
    assert sorted(listed) == sorted([*packages, "figures/data", "tests", "benchmarks", "examples", "docs"])


def test_files_that_are_named_exist() -> None:
    named = re.findall(r"`((?:\.?\w+/)+[\w.]*|[\w.-]+\.(?:toml|txt|cff|md))`", TEXT)
    assert len(named) > 30
    for name in named:
        assert (ROOT / name).exists() or name in ("mnist/", "cifar10/"), name

"""The map in CONTRIBUTING.md names every folder, recipes name files that exist, and no file is a drawer."""

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


def test_no_file_is_longer_than_500_lines() -> None:
    """A longer one holds more than one idea: split it by idea, tests as well."""
    files = [
        path for folder in ("lyapkit", "wcrnn_models", "figures", "tests") for path in (ROOT / folder).rglob("*.py")
    ]
    assert len(files) > 400
    lengths = {path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert {name: length for name, length in lengths.items() if length > 500} == {}

"""The wheel holds all packages with their types; the citation file is valid and agrees with the package."""

import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    code = f"from hatchling.build import build_wheel; build_wheel({str(directory)!r})"  # as pip calls it, by PEP 517
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = directory.glob("*.whl")
    return path


def test_the_wheel_holds_all_packages_whole(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for package in ("lyapkit", "lyapkit_command", "wcrnn_models"):
        here = {
            str(path.relative_to(ROOT))
            for path in (ROOT / package).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        assert f"{package}/py.typed" in here
        assert {name for name in names if name.startswith(f"{package}/")} == here
    assert "lyapkit/plots/paper.mplstyle" in names
    assert {name.split("/")[0] for name in names} == {
        "lyapkit",
        "lyapkit_command",
        "wcrnn_models",
        f"lyapkit-{version('lyapkit')}.dist-info",
    }


def test_both_packages_import_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    """With the unpacked wheel first on the path, from a directory that is not the checkout."""
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = (
        "import lyapkit, wcrnn_models, matplotlib.pyplot as plt\n"
        "from wcrnn_models import WCRNN, residuals\n"
        "plt.style.use('lyapkit.plots.paper')\n"
        "print(lyapkit.__file__); print(wcrnn_models.__file__)\n"
        "print(lyapkit.as_map(WCRNN(1, 4, 1, residual=residuals.scalar(0.9))).state_size)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "site"), "PATH": "", "HOME": str(tmp_path), "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    first, second, size = done.stdout.split()
    assert first.startswith(str(tmp_path))
    assert second.startswith(str(tmp_path))
    assert size == "4"


def test_the_citation_file_is_valid_and_agrees() -> None:
    validator = Path(sys.executable).with_name("cffconvert")  # the package has no __main__
    done = subprocess.run([validator, "--validate", "-i", ROOT / "CITATION.cff"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    text = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {version('lyapkit')}\n" in text
    assert "Fading memory as inductive bias in residual recurrent networks" in text


def test_versions_agree() -> None:
    assert PROJECT["version"] == version("lyapkit")


def test_the_changelog_has_the_form_of_keep_a_changelog() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    unreleased, *released = re.findall(r"^## (.*)$", text, flags=re.MULTILINE)
    assert unreleased == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d{2}-\d{2}", heading) for heading in released)
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.*)$", text, flags=re.MULTILINE)) <= kinds


def test_the_lowest_versions_are_those_of_the_project() -> None:
    lines = (ROOT / "constraints-lowest.txt").read_text().splitlines()
    stated = dict(line.split("==") for line in lines if "==" in line)
    requirements = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]]
    bounds = [re.match(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)", requirement).groups() for requirement in requirements]
    assert stated == {name: bound for name, bound in bounds if name != "triton"}  # PyTorch's builds ask for their own


def test_every_requirement_is_in_the_tested_set() -> None:
    pinned = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    extras = PROJECT["optional-dependencies"]
    for requirement in [*PROJECT["dependencies"], *extras["test"], *extras["docs"]]:
        name = requirement.split(">=")[0].split("[")[0]
        assert name in pinned or name == "triton"  # of which PyTorch's CUDA builds ask for their own version


def test_hosted_checks_run_the_ci_on_every_python_that_is_claimed() -> None:
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    claimed = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert re.findall(r'"(3\.\d+)"', workflow.split("steps:")[0]) == claimed
    assert "- run: .ci/run\n" in workflow
    assert '- run: pip install -c constraints-lowest.txt ".[test]"\n' in workflow


def test_extras_exist() -> None:
    assert set(PROJECT["optional-dependencies"]) >= {"test", "docs", "cluster", "gpu"}

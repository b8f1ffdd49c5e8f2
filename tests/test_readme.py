"""What the README promises: its Python prints what it says, its commands are the CI's, its example is short."""

import math
import re
from pathlib import Path

import pytest

import lyapkit
import pages

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
COMMANDS = re.findall(r"^\$ (.*)$", README.read_text(), flags=re.MULTILINE)


def test_python_blocks_run_one_after_another(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace = pages.run(README)
    assert len(pages.blocks(README)) == 4
    assert namespace["spectrum"].lyapunov_exponent.shape == (4, 40)  # 2 H exponents
    assert (tmp_path / "spectrum.png").stat().st_size > 1000
    assert (tmp_path / "analysis.nc").is_file()
    pendulum = lyapkit.lyapunov_spectrum(namespace["pendulum"], steps=2000, dt=0.1)
    # the map x' = x + dt v', v' = a v - dt sin x contracts volumes by a = 0.99 at every step
    assert float(pendulum.lyapunov_exponent.sum()) == pytest.approx(math.log(0.99) / 0.1, abs=1e-5)


def test_the_first_example_takes_under_ten_lines() -> None:
    assert len([line for line in pages.blocks(README)[0].code.splitlines() if line.strip()]) < 10


def test_the_first_example_is_shown_with_its_output_and_its_plot() -> None:
    assert pages.blocks(README)[0].output is not None
    assert "](docs/spectrum.png)" in README.read_text()
    assert (ROOT / "docs" / "spectrum.png").is_file()


def test_ci_runs_the_two_commands_of_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    for command in COMMANDS[:2]:
        install, then = command.split(" && ")
        assert install.replace("pip install", "pip install --quiet") in script
        assert re.search(rf"^{then}\b", script, flags=re.MULTILINE)

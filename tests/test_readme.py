"""What the README promises: its Python runs, its commands are the CI's, its example is short."""

import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = re.findall(r"^\$ (.*)$", README, flags=re.MULTILINE)


def test_python_blocks_run_one_after_another(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    namespace: dict[str, object] = {}
    for block in BLOCKS:
        exec(compile(block, "README.md", "exec"), namespace)
    assert len(BLOCKS) == 4
    assert namespace["spectrum"].lyapunov_exponent.shape == (4, 40)  # 2 H exponents
    assert (tmp_path / "spectrum.pdf").stat().st_size > 1000
    assert (tmp_path / "analysis.nc").is_file()
    lines = capsys.readouterr().out
    assert "nan" not in lines
    pendulum = re.search(r"\[\[(-[\d.]+) (-[\d.]+)\]\]", lines)
    # the map x' = x + dt v', v' = a v - dt sin x contracts volumes by a = 0.99 at every step
    assert float(pendulum[1]) + float(pendulum[2]) == pytest.approx(torch.tensor(0.99).log().item() / 0.1, abs=1e-5)


def test_the_first_example_takes_under_ten_lines() -> None:
    assert len([line for line in BLOCKS[0].splitlines() if line.strip()]) < 10


def test_ci_runs_the_two_commands_of_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    for command in COMMANDS[:2]:
        install, then = command.split(" && ")
        assert install.replace("pip install", "pip install --quiet") in script
        assert re.search(rf"^{then}\b", script, flags=re.MULTILINE)

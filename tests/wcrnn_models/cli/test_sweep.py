import dataclasses
import json
import sys

import pytest

import lyapkit
from wcrnn_models import TrainConfig
from wcrnn_models.cli import main
from wcrnn_models.cli import sweep as command
from wcrnn_models.errors import UserError
from wcrnn_models.sweeps import driver
from wcrnn_models.sweeps.layout import read_runs
from wcrnn_models.sweeps.worker import work

SMALL = [
    *("--length", "6", "--hidden-size", "4", "--batch-size", "4"),
    *("--epochs", "1", "--iterations-per-epoch", "4", "--test-size", "10"),
]


class InProcess:
    def __init__(self):
        self.ended = []

    def room(self):
        return 1 if not self.ended else 0

    def submit(self, job):
        self.ended += work(job)

    def outcomes(self, seconds):
        found, self.ended = self.ended, []
        return found

    def close(self):
        pass


@pytest.fixture
def given(monkeypatch):
    """What the command asks of its pool; runs are done in this process."""
    seen = {}

    def make_pool(task, workers, scheduler):
        seen.update(workers=workers, scheduler=scheduler)
        return InProcess()

    monkeypatch.setattr(driver, "make_pool", make_pool)
    return seen


def test_a_grid_is_trained_and_written(tmp_path, capsys, given):
    options = ["--over", "r=0.9,1.0", "--over", "seed=0..1", "--workers", "3", *SMALL]
    assert main(["sweep", str(tmp_path / "runs"), *options]) == 0
    captured = capsys.readouterr()
    assert given == {"workers": 3, "scheduler": None}
    configs = read_runs(tmp_path / "runs").values()
    assert sorted((config.r, config.seed) for config in configs) == [(0.9, 0), (0.9, 1), (1.0, 0), (1.0, 1)]
    lines = captured.out.splitlines()
    assert lines[0] == "4 runs: 4 finished"
    assert lines[1].split() == ["run", "seed", "r", "state", "iteration", "metric", "best"]
    assert f"written to {tmp_path}/runs/results.nc" in captured.out
    assert captured.err.splitlines()[-1] == "4 runs: 4 finished"
    results = lyapkit.load(tmp_path / "runs" / "results.nc")
    assert dict(results.sizes) == {"seed": 2, "r": 2, "iteration": 2}
    names = ["seed=0,r=0.9", "seed=0,r=1", "seed=1,r=0.9", "seed=1,r=1"]
    assert list(read_runs(tmp_path / "runs")) == names
    assert [line.split()[0] for line in lines[3:7]] == ["seed=0,r=0.9", "seed=1,r=0.9", "seed=0,r=1", "seed=1,r=1"]
    history = json.loads((tmp_path / "runs" / names[0] / "history.json").read_text())
    assert history["best_metric"] in results.best_metric.values


def test_presets_and_names_as_values(tmp_path, capsys, given):
    options = ["--preset", "add100", "--learning-rate", "0.02", "--over", "phi=0.1,random", "--residual", "rotation"]
    small = ["--epochs", "1", "--iterations-per-epoch", "2", "--test-size", "5", "--hidden-size", "4", "--r", "1"]
    assert main(["sweep", str(tmp_path), *options, "--phi", "0.0", *small]) == 0
    configs = list(read_runs(tmp_path).values())
    assert sorted(str(config.phi) for config in configs) == ["0.1", "random"]
    assert {(config.length, config.learning_rate, config.momentum) for config in configs} == {(100, 0.02, 0.9)}
    assert dict(lyapkit.load(tmp_path / "results.nc").sizes) == {"phi": 2, "iteration": 2}


def test_a_configuration_of_a_run_is_the_base_of_a_sweep(tmp_path, capsys, given):
    assert main(["train", str(tmp_path / "run"), *SMALL, "--coupling", "0.2"]) == 0
    options = ["--config", str(tmp_path / "run" / "config.json"), "--momentum", "0.5", "--over", "lr=0.1,0.2"]
    assert main(["sweep", str(tmp_path / "sweep"), *options]) == 0
    found = sorted(read_runs(tmp_path / "sweep").values(), key=lambda config: config.learning_rate)
    base = TrainConfig.from_json((tmp_path / "run" / "config.json").read_text())
    assert found == [dataclasses.replace(base, momentum=0.5, learning_rate=rate) for rate in (0.1, 0.2)]


def test_without_a_grid_it_is_one_run(tmp_path, capsys, given):
    assert main(["sweep", str(tmp_path), *SMALL]) == 0
    assert capsys.readouterr().out.startswith("1 runs: 1 finished\n")


def test_divergence_has_its_exit_code(tmp_path, capsys, given):
    assert main(["sweep", str(tmp_path), *SMALL, "--over", "r=0.9,1e30"]) == 3
    assert "1 finished, 1 diverged" in capsys.readouterr().out
    status = lyapkit.load(tmp_path / "results.nc").status
    assert status.sel(r=1e30) == "diverged"


def test_a_failed_run_has_its_exit_code_and_line(tmp_path, capsys, given):
    assert main(["sweep", str(tmp_path), *SMALL, "--over", "seed=0..1"]) == 0
    (bad, config), *_ = read_runs(tmp_path).items()
    (tmp_path / bad / "history.json").unlink()
    (tmp_path / bad / "resume.pt").write_bytes(b"half")
    capsys.readouterr()
    assert main(["sweep", str(tmp_path), *SMALL, "--over", "seed=0..1"]) == 2
    captured = capsys.readouterr()
    assert "1 finished, 1 failed" in captured.out
    (line,) = [line for line in captured.err.splitlines() if line.startswith("wcrnn: error: ")]
    assert line.startswith(f"wcrnn: error: {bad}: ")
    assert "resume.pt is damaged" in line
    assert lyapkit.load(tmp_path / "results.nc").status.sel(seed=config.seed) == "waiting"


def test_results_that_do_not_go_together_are_explained(tmp_path, capsys, given):
    """The runs are trained, and were evaluated at different iterations."""
    assert main(["sweep", str(tmp_path), *SMALL, "--over", "evaluate-every=1,2,4"]) == 0
    captured = capsys.readouterr()
    assert "3 runs: 3 finished" in captured.out
    assert "wcrnn: results.nc is not written: the runs were not evaluated at the same iterations" in captured.err


@pytest.mark.slow
def test_checkpoints_are_analysed(tmp_path, capsys):
    """With real processes; one bad checkpoint is named, the rest is analysed."""
    arguments = ["sweep", str(tmp_path), *SMALL, "--test-size", "32", "--over", "seed=0..1", "--workers", "2"]
    assert main(arguments) == 0
    good, bad = read_runs(tmp_path)
    (tmp_path / bad / "checkpoints" / "iteration-00000000.safetensors").write_bytes(b"half")
    capsys.readouterr()
    assert main([*arguments, "--analyze"]) == 2
    captured = capsys.readouterr()
    (line,) = [line for line in captured.err.splitlines() if line.startswith("wcrnn: error: ")]
    assert line.startswith(f"wcrnn: error: {bad}/iteration-00000000: ")
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/analyses/*.nc")}
    assert {f"{good}/analyses/iteration-00000000.nc", f"{bad}/analyses/iteration-00000004.nc"} <= files
    assert f"{bad}/analyses/iteration-00000000.nc" not in files
    assert f"{len(files)} of {len(files) + 1} checkpoints analysed" in captured.out


def test_axes():
    assert command._axes(
        ["r=0.9, 1", "seed=3..5,9", "phi=random,0.1", "--iterations-per-epoch=2", "save-at=[1],[2,3]"]
    ) == {
        "r": [0.9, 1],
        "seed": [3, 4, 5, 9],
        "phi": ["random", 0.1],
        "iterations_per_epoch": [2],
        "save_at": [(1,), (2, 3)],
    }
    assert command._axes(["lr=0.1,0.01"]) == command._axes(["learning-rate=0.1,0.01"]) == {"learning_rate": [0.1, 0.01]}
    with pytest.raises(UserError, match="--over names learning_rate twice"):
        command._axes(["lr=1", "learning_rate=2"])
    assert command._axes(["seed=-1..1"]) == {"seed": [-1, 0, 1]}
    assert command._axes([]) == {}
    for text in ("r", "=1", "r=", ""):
        with pytest.raises(UserError, match=r"--over needs an option and its values, such as r=0\.95"):
            command._axes([text])
    with pytest.raises(UserError, match="--over names r twice"):
        command._axes(["r=1", "r=2"])
    with pytest.raises(UserError, match=r"the range 5\.\.3 is empty"):
        command._axes(["seed=5..3"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--over", "R=1"], "the configuration has no field 'R'"),
        (
            ["--over", "seed=0..100000000000"],
            "the range 0..100000000000 has 100000000001 values, more than the 100000 runs of a grid; give fewer",
        ),
        (["--over", "seed=1..1000", "--over", "r=1..101"], "the grid has 101000 runs, more than 100000; give fewer"),
        (["--over", "seed"], "--over needs an option and its values"),
        (["--over", "coupling=-1"], "coupling must be at least 0"),
        (["--workers", "0"], "workers must be at least 1, got 0"),
        (["--together", "0"], "together must be at least 1, got 0"),
        (["--workers", "1", "--scheduler", "tcp://x:1"], "workers does not go with scheduler"),
        (["--preset", "add100"], "--preset needs --learning-rate"),
        (["--over", "save_at=1.5"], "save_at must be a tuple of integers"),
    ],
    ids=["field", "range", "grid", "values", "value", "workers", "together", "both", "rate", "tuple"],
)
def test_mistakes_give_one_line(tmp_path, capsys, options, message):
    assert main(["sweep", str(tmp_path / "runs"), *SMALL, *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("wcrnn: error: ")
    assert message in line


def test_what_cannot_be_a_result_file_is_explained(tmp_path, capsys, given):
    (tmp_path / "results.nc").mkdir()
    assert main(["sweep", str(tmp_path), *SMALL]) == 0
    captured = capsys.readouterr()
    assert f"results.nc is not written: the result file {tmp_path / 'results.nc'} is a directory" in captured.err
    assert captured.out.startswith("1 runs: 1 finished\n")


def test_help_explains_everything(capsys):
    assert main(["sweep", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for option in ("over", "workers", "scheduler", "together", "analyze", "preset", "save-at", "probe-every"):
        assert f"--{option} " in text or f"--{option}," in text
    assert main(["--help"]) == 0
    assert "Train every combination of some options" in capsys.readouterr().out
    assert set(TrainConfig.__dataclass_fields__) & {"save_at", "probe_every", "divergence_loss"}


def test_importing_the_command_is_light():
    """PyTorch is loaded when a sweep begins, not for --help."""
    import subprocess

    code = "import sys, wcrnn_models.cli.sweep; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

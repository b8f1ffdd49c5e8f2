import json
import subprocess
import sys

import pytest

import wcrnn_models
from wcrnn_models import TrainConfig
from wcrnn_models.cli import main
from wcrnn_models.tasks import AddingProblem

SMALL = [
    *("--length", "6", "--hidden-size", "8", "--batch-size", "8"),
    *("--epochs", "2", "--iterations-per-epoch", "5", "--test-size", "20"),
]


def test_train_prints_the_outcome_and_the_next_command(tmp_path, capsys):
    directory = tmp_path / "run"
    assert main(["train", str(directory), *SMALL, "--residual", "rotation", "--phi", "random"]) == 0
    history = json.loads((directory / "history.json").read_text())
    output = capsys.readouterr().out
    assert f"best test rms                      {history['best_metric']:.4g} at iteration" in output
    assert "iterations to minimal performance  not reached" in output
    assert "checkpoints/iteration-00000010.safetensors" in output
    assert f"wcrnn analyze {directory}" in output
    config = TrainConfig.from_json((directory / "config.json").read_text())
    assert (config.length, config.phi, config.epochs, config.residual) == (6, "random", 2, "rotation")


def test_every_field_is_an_explained_option(capsys):
    assert main(["train", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for name in TrainConfig.__dataclass_fields__:
        assert f"--{name.replace('_', '-')} " in text
    assert "Chosen by trial" in text
    assert "DIRECTORY" in text


def test_divergence_has_its_own_exit_code(tmp_path, capsys):
    assert main(["train", str(tmp_path), *SMALL, "--r", "1e30"]) == 3
    assert "warning: training diverged" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "unknown command 'trian'. Did you mean 'train'? Known commands: demo, train, analyze, data"),
        (["train", "DIR", "--coupling", "-1"], "coupling must be at least 0, got -1.0"),
        (["train", "DIR", "--residual", "rotation"], "a rotation needs phi"),
        (["train", "DIR", "--task", "smnist"], "run `wcrnn data fetch mnist`"),
        (["train", "DIR", "--device", "nonsense"], "device 'nonsense' cannot be used"),
        (["data", "fetch", "mnist", "--mirror", "file:///nowhere"], "no mirror gave train-images"),
    ],
    ids=["command", "value", "combination", "data", "device", "mirror"],
)
def test_mistakes_give_one_line(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("WCRNN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("WCRNN_DATA_DIR", raising=False)
    assert main([str(tmp_path / "run") if argument == "DIR" else argument for argument in arguments]) == 2
    captured = capsys.readouterr()
    (line,) = [line for line in captured.err.splitlines() if not line.startswith("Downloading")]
    assert line.startswith("wcrnn: error: ")
    assert message in line
    assert captured.out == ""


def test_operating_system_errors_give_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["train", str(tmp_path / "file" / "below")]) == 2
    assert capsys.readouterr().err.startswith("wcrnn: error: [Errno 20]")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["train", "x", "--lerning-rate", "1"], "--learning-rate"),
        (["train", "x", "--residual", "rotaton"], "rotation"),
        (["train"], "DIRECTORY"),
        (["data"], "fetch"),
        (["data", "fetsh"], "fetch"),
    ],
    ids=["option", "choice", "positional", "subcommand", "typo"],
)
def test_typing_errors_are_explained(arguments, expected, capsys):
    assert main(arguments) == 2
    assert expected in capsys.readouterr().err


def test_overview(capsys):
    assert main(["--help"]) == 0
    output = capsys.readouterr().out
    assert "train     train a network" in output
    assert "data      fetch the data sets" in output
    assert main([]) == 2
    assert "usage: wcrnn COMMAND" in capsys.readouterr().err


def test_interruption(tmp_path, capsys, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(AddingProblem, "train_batch", interrupt)
    assert main(["train", str(tmp_path), *SMALL]) == 130
    assert "wcrnn: interrupted" in capsys.readouterr().err


def test_data_fetch_and_where(small_mnist, capsys):
    assert main(["data", "where"]) == 0
    assert "train-images-idx3-ubyte.gz: the MNIST file" in capsys.readouterr().out
    assert main(["data", "fetch", "mnist", "--mirror", small_mnist.as_uri()]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
    assert main(["data", "where"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert lines[1] == f"train-images-idx3-ubyte.gz: {lines[0]}/train-images-idx3-ubyte.gz"


def test_arguments_of_the_process(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["wcrnn", "--help"])
    assert main() == 0
    assert "usage: wcrnn" in capsys.readouterr().out


def test_as_a_process():
    code = "import sys; from wcrnn_models.cli import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code, "dat"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == (
        "wcrnn: error: unknown command 'dat'. Did you mean 'data'? Known commands: demo, train, analyze, data\n"
    )
    assert done.stderr.count("\n") == 1


def test_public_names():
    assert sorted(wcrnn_models.__all__) == sorted(set(wcrnn_models.__all__))
    for name in wcrnn_models.__all__:
        assert getattr(wcrnn_models, name).__doc__
        assert name in dir(wcrnn_models)
    with pytest.raises(AttributeError, match="no attribute 'WCRN'"):
        wcrnn_models.WCRN  # noqa: B018

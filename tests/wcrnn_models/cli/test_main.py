import errno
import json
import os
import re
import shlex
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

import wcrnn_models
from lyapkit_command.parse import explanation
from wcrnn_models import TrainConfig
from wcrnn_models.cli import main
from wcrnn_models.cli.main import COMMANDS
from wcrnn_models.tasks import AddingProblem, SequentialMNIST, characteristic_frequency
from wcrnn_models.training import trainer
from wcrnn_models.training.config import SHORT_NAMES

SMALL = [
    *("--length", "6", "--hidden-size", "8", "--batch-size", "8"),
    *("--epochs", "2", "--iterations-per-epoch", "5", "--test-size", "20"),
]


LONG = "/a/long/path/" + "abcdefgh" * 20 + "/end"


def test_train_prints_the_outcome_and_the_next_command(tmp_path, capsys):
    directory = tmp_path / "run"
    assert main(["train", str(directory), *SMALL, "--residual", "rotation", "--phi", "random"]) == 0
    history = json.loads((directory / "history.json").read_text())
    output = capsys.readouterr().out
    assert "warning" not in output
    assert f"final test rms                     {history['test_metrics'][-1]:.4g} at iteration 10" in output
    assert f"best test rms                      {history['best_metric']:.4g} at iteration" in output
    assert "iterations to minimal performance  not reached" in output
    assert "checkpoints/iteration-00000010.safetensors" in output
    assert f"wcrnn analyze {directory}" in output
    config = TrainConfig.from_json((directory / "config.json").read_text())
    assert (config.length, config.phi, config.epochs, config.residual) == (6, "random", 2, "rotation")


def test_curves_for_tensorboard_are_no_part_of_the_configuration(tmp_path, monkeypatch, capsys):
    """Without TensorBoard nothing is trained; a run may be continued with curves, and into another place."""
    curves = ["--tensorboard", str(tmp_path / "curves")]
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "torch.utils.tensorboard", None)
        assert main(["train", str(tmp_path / "run"), *SMALL, *curves]) == 2
        assert (
            "TensorBoard is not installed; run `pip install tensorboard`, or train without it"
            in capsys.readouterr().err
        )
        assert list(tmp_path.iterdir()) == []
        assert main(["train", str(tmp_path / "run"), *SMALL]) == 0
    written = []
    writer = SimpleNamespace(add_scalar=lambda name, value, at: written.append((name, at)), flush=lambda: None)

    def make(folder, purge_step):
        assert (folder, purge_step) == (str(tmp_path / "curves"), 0)
        return writer

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=make))
    assert main(["train", str(tmp_path / "run"), *SMALL, *curves]) == 0  # complete already
    assert written == []
    assert main(["train", str(tmp_path / "other"), *SMALL, *curves]) == 0
    assert written == [(name, at) for at in (0, 5, 10) for name in ("train loss", "gradient norm", "test rms")]
    assert (tmp_path / "other/config.json").read_text() == (tmp_path / "run/config.json").read_text()


def test_every_field_is_an_explained_option(capsys):
    assert main(["train", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for name in TrainConfig.__dataclass_fields__:
        assert f"--{name.replace('_', '-')} " in text
    assert "chosen by trial" in text
    assert "DIRECTORY" in text


def test_divergence_has_its_own_exit_code(tmp_path, capsys):
    assert main(["train", str(tmp_path), *SMALL, "--r", "1e30"]) == 3
    assert "warning: training diverged" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], f"unknown command 'trian'. Did you mean 'train'? Known commands: {', '.join(COMMANDS)}."),
        (["train", "DIR", "--coupling", "-1"], "coupling must be at least 0, got -1.0"),
        (["train", "DIR", "--residual", "rotation"], "residual 'rotation' needs phi"),
        (["train", "DIR", "--task", "smnist"], "run `wcrnn data fetch mnist`"),
        (["train", "DIR", "--device", "nonsense"], "device 'nonsense' cannot be used"),
        (["train", "DIR", "--device", "meta"], "device 'meta' cannot be used"),
        (
            ["train", ""],
            "an argument is empty (an unset shell variable?); give a value, or . for the current directory",
        ),
        (["train", "DIR", "--task="], "the value of --task is empty"),
        (["analyze", ""], "an argument is empty"),
        (["train", "DIR", "--hidden-size", "2000000000"], "not enough memory (Storage size calculation overflowed"),
        (
            ["train", "DIR", "--batch-size", "2000000000", "--length", "2000000000"],
            "not enough memory (array is too big",
        ),
        (["data", "fetch", "mnist", "--mirror", "file:///nowhere"], "no mirror gave train-images"),
        (["data", "fetch", "cifar10", "--mirror", "file:///nowhere"], "no mirror gave cifar-10-python.tar.gz"),
        (["train", "DIR", "--task", "scifar10"], "run `wcrnn data fetch cifar10`"),
        (
            ["train", "DIR", "--task", "arrays", "--data", "no.npz"],
            "there is no file no.npz; name a NumPy archive",
        ),
        (
            ["train", "DIR", "--residual", "dense", "--residual-file", "no.npy"],
            "no file no.npy for the residual",
        ),
        (["train", "DIR", "--residual", "informed", "--hidden-size", "7"], "needs an even hidden_size, got 7; use 8"),
        (
            ["train", "DIR", "--r", "1e300"],
            "r must not exceed 3.40282347e+38, the largest number of float32, got 1e+300",
        ),
        (["train", "DIR", "--coupling", "nan"], "coupling must be finite, got nan"),
        (["train", "DIR", "--learning-rate", "nan"], "learning_rate must be finite, got nan"),
        (["train", "DIR", "--network", "lsmt"], "the network must be one of"),
        (["train", "DIR", "--preset", "add100"], "--preset needs --learning-rate"),
        (["train", "DIR", "--preset", "add10", "--learning-rate", "1"], "there is no preset 'add10'"),
        (["data", "spectrum", "smnist"], "run `wcrnn data fetch mnist`"),
        (["data", "spectrum", "adding", "--samples", "0"], "samples must be at least 1, got 0"),
        (["data", "spectrum", "adding", "--output", "no/such/place.pdf"], "no/such of the figure does not exist"),
        (["data", "spectrum", "adding", "--samples", "10", "--output", "figure.xyz"], "cannot write figure.xyz"),
    ],
    ids=[
        *("command", "value", "combination", "data", "device", "meta", "directory", "option", "path"),
        *(
            "weights",
            "batch",
            "mirror",
            "archive mirror",
            "pictures",
            "arrays",
            "matrix",
            "odd",
            "large",
            "nan coupling",
            "nan rate",
        ),
        *("network", "rate", "preset", "spectrum", "samples", "place", "file type"),
    ],
)
def test_mistakes_give_one_line(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("WCRNN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("WCRNN_DATA_DIR", raising=False)
    assert main([str(tmp_path / "run") if argument == "DIR" else argument for argument in arguments]) == 2
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith("wcrnn: error: ")
    assert message in line
    if "--output" not in arguments:
        assert captured.out == ""
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            RuntimeError(
                "[enforce fail at x.cpp:1] err == 0. DefaultCPUAllocator: can't allocate memory: 4 bytes\nat f"
            ),
            "can't allocate memory: 4 bytes",
        ),
        (
            RuntimeError("[enforce fail] data. DefaultCPUAllocator: not enough memory: you tried to allocate 4 bytes"),
            "not enough memory: you tried to allocate 4 bytes",
        ),
        (torch.OutOfMemoryError("CUDA out of memory. Tried 4 GiB."), "CUDA out of memory. Tried 4 GiB."),
        (MemoryError("Unable to allocate 44.7 GiB"), "Unable to allocate 44.7 GiB"),
        (ValueError("Maximum allowed dimension exceeded"), "Maximum allowed dimension exceeded"),
        (MemoryError(), None),
    ],
    ids=["Linux", "Windows", "CUDA", "NumPy", "size", "Python"],
)
def test_lack_of_memory_gives_one_line_and_leaves_no_directory(error, reason, tmp_path, capsys, monkeypatch):
    def fail(*_):
        raise error

    monkeypatch.setattr(AddingProblem, "train_batch", fail)
    assert main(["train", str(tmp_path / "run"), *SMALL]) == 2
    assert capsys.readouterr().err == (
        f"wcrnn: error: not enough memory{f' ({reason})' if reason else ''}; train with a smaller --hidden-size, "
        "--batch-size, --test-size or --length, analyse with fewer --samples or --trajectories.\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_faults_of_the_program_keep_their_traceback(tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(AddingProblem, "train_batch", fail)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        main(["train", str(tmp_path), *SMALL])


def test_overflow_in_an_analysis_gives_one_line(tmp_path, capsys):
    """x grows by r = 1e30 a step, beyond float64 after 11 of the 20 steps."""
    run = str(tmp_path / "run")
    assert main(["train", run, *SMALL, "--length", "20", "--test-size", "40", "--r", "1e30"]) == 3
    capsys.readouterr()
    assert main(["analyze", run, "--include", "lyapunov_spectrum"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("wcrnn: error: the state of trajectory 0 is not finite after step ")


def test_the_next_command_can_be_pasted(tmp_path, capsys):
    directory = tmp_path / "my run; $HOME"
    assert main(["train", str(directory), *SMALL]) == 0
    command = capsys.readouterr().out.splitlines()[-1].split(maxsplit=1)[1]
    assert shlex.split(command) == ["wcrnn", "analyze", str(directory)]


def test_best_and_final_metric_and_a_warning_without_improvement(tmp_path, capsys):
    assert main(["train", str(tmp_path), *SMALL, "--learning-rate", "1e-30"]) == 0
    metrics = json.loads((tmp_path / "history.json").read_text())["test_metrics"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        "warning: training has not improved on the untrained network, whose test metric is the best; try another "
        "--learning-rate or more --epochs"
    )
    assert lines[2].split() == ["best", "test", "rms", f"{metrics[0]:.4g}", "at", "iteration", "0"]
    assert lines[3].split() == ["final", "test", "rms", f"{metrics[-1]:.4g}", "at", "iteration", "10"]


def test_operating_system_errors_give_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["train", str(tmp_path / "file" / "below")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        f"wcrnn: error: the directory {tmp_path / 'file' / 'below'} cannot be made or written (Not a directory); name "
        "another for the run."
    )


def test_other_operating_system_errors_give_one_line(tmp_path, capsys, monkeypatch):
    def fail(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(trainer, "train", fail)
    assert main(["train", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        "wcrnn: error: [Errno 28] No space left on device; free some room, or write elsewhere: what was written before "
        "is whole, and the same command resumes.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["train", "x", "--lerning-rate", "1"],
            "unrecognized options: --lerning-rate, 1. Did you mean --learning-rate?",
        ),
        (["train", "x", "--over", "r=1"], "unrecognized options: --over, r=1. Did you mean --over of `wcrnn sweep`?"),
        (["sweep", "x", "--analyse"], "unrecognized options: --analyse. Did you mean --analyze?"),
        (["demo", "x"], "unrecognized options: x."),
        (["train", "x", LONG], f"unrecognized options: {LONG}."),
        (
            ["train", "x", "--residual", "rotaton"],
            "--residual must be one of scalar, rotation, heterogeneous, orthogonal, informed, dense, got 'rotaton'. "
            "Did you mean 'rotation'?",
        ),
        (["data", "fetch", "mnsit"], "DATASET must be one of mnist, cifar10, got 'mnsit'. Did you mean 'mnist'?"),
        (["train"], "wcrnn train needs DIRECTORY (Directory of the run; made if missing)."),
        (["data"], "a command is missing; give one of fetch, where, spectrum."),
        ([], f"a command is missing; give one of {', '.join(COMMANDS)}."),
        (["data", "fetsh"], "unknown command 'fetsh'. Did you mean 'fetch'? Known commands: fetch, where, spectrum."),
        (["train", "x", "--preset"], "--preset needs a value."),
        (["train", "--preset", "smnist"], "the paper does not state its learning rates"),
        (["train", "x", "--epochs", "2.5"], "--epochs must be an integer, got '2.5'."),
        (["train", "x", "--r", "abc"], "--r must be a number, got 'abc'."),
        (["train", "x", "--lr", "0,1"], "--lr must be a number, got '0,1'."),
        (["train", "x", "--phi", "it's"], "--phi must be a number or random, got"),
        (["train", "x", "--length", "long"], "--length must be an integer, got 'long'."),
        (["train", "x", "--save-at", "1", "b"], "--save-at must be integers, got '1', 'b'."),
    ],
    ids=lambda value: "" if isinstance(value, str) else " ".join(value)[:40],
)
def test_typing_errors_are_one_line(arguments, expected, capsys):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith(f"wcrnn: error: {expected}")
    where = "wcrnn" if not arguments else f"wcrnn {arguments[0]}"
    assert line.endswith(f" See `{where} --help`.") or "learning rates" in line
    assert captured.out == ""


def test_explanations_are_read_from_boxes_of_any_look():
    """With colours, or in ASCII; what is in no box is kept as it is."""
    drawn = (
        "╭─ \x1b[31mValue error\x1b[0m ─╮\n│ \x1b[1mError parsing --k:\x1b[0m bad: 'x' │\n│ ───── │\n"
        "│ Argument helptext: │\n│     --k {None}|INT     │\n╰────╯"
    )
    plain = " Value error   \n ------- \n  Error parsing --k: bad: 'x'\n  -----\n"
    plain += "  Argument helptext:\n      --k {None}|INT\n"
    for box in (drawn, plain):
        assert explanation(box, ["--k", "x"], "wcrnn") == "--k must be an integer, got 'x'."
    assert explanation("Something else.", [], "wcrnn") == "Something else."


def test_overview(capsys):
    assert main(["--help"]) == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "• train Train a weakly coupled residual recurrent network, or one of its baselines. • analyze" in text
    assert "• data Fetch the data sets, say where they are looked for" in text
    assert main(["train", "--help"]) == 0
    assert "The same command on the directory of an interrupted run resumes" in capsys.readouterr().out


def test_the_learning_rate_has_a_short_name(tmp_path, capsys):
    assert main(["train", str(tmp_path / "a"), *SMALL, "--preset", "add100", "--lr", "0.03", "--length", "6"]) == 0
    assert json.loads((tmp_path / "a/config.json").read_text())["learning_rate"] == 0.03
    capsys.readouterr()
    assert main(["train", "--help"]) == 0
    help_text = capsys.readouterr().out
    for short, field in SHORT_NAMES.items():
        assert re.search(rf"--{field.replace('_', '-')} FLOAT, --{short} FLOAT|--{short}[ ,].*--{field[:5]}", help_text)


def test_interruption(tmp_path, capsys, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(AddingProblem, "train_batch", interrupt)
    assert main(["train", str(tmp_path), *SMALL]) == 130
    assert "wcrnn: interrupted" in capsys.readouterr().err


@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"]], ids=["overview", "parser"])
def test_a_closed_pipe_ends_the_command_quietly(arguments, buffered):
    code = "import sys; from wcrnn_models.cli import main; sys.exit(main())"
    environment = {**os.environ, "PYTHONUNBUFFERED": "" if buffered else "1"}
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        command = [sys.executable, "-c", code, *arguments]
        done = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, text=True, env=environment)
    assert (done.returncode, done.stderr) == (141, "")


def test_data_fetch_and_where(small_mnist, capsys):
    assert main(["data", "where"]) == 0
    assert "train-images-idx3-ubyte.gz: the MNIST file" in capsys.readouterr().out
    assert main(["data", "fetch", "mnist", "--mirror", small_mnist.as_uri()]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
    assert main(["data", "where", "mnist"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert lines[1] == f"train-images-idx3-ubyte.gz: {lines[0]}/train-images-idx3-ubyte.gz"


def test_pictures_are_fetched_as_an_archive(small_cifar10, capsys):
    assert main(["data", "fetch", "cifar10", "--mirror", small_cifar10.as_uri()]) == 0
    paths = capsys.readouterr().out.splitlines()
    assert [path.rsplit("/", 1)[1] for path in paths] == [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]
    assert main(["data", "where"]) == 0
    output = capsys.readouterr().out
    assert f"test_batch: {paths[-1]}" in output
    assert "train-images-idx3-ubyte.gz: the MNIST file train-images-idx3-ubyte.gz is not in" in output


def test_a_wrong_data_root_gives_one_line(no_data, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WCRNN_DATA_DIR", str(tmp_path / "nowhere"))
    for arguments in (["train", str(tmp_path / "run"), "--task", "smnist"], ["data", "where"]):
        assert main(arguments) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"wcrnn: error: WCRNN_DATA_DIR is {tmp_path / 'nowhere'}, which is not a directory")
    assert not (tmp_path / "run").exists()


def test_the_characteristic_frequency_is_printed_and_drawn(small_mnist, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("WCRNN_DATA_DIR", str(small_mnist))
    assert main(["data", "spectrum", "smnist", "--output", str(tmp_path / "spectrum.pdf")]) == 0
    lines = capsys.readouterr().out.splitlines()
    expected = characteristic_frequency(SequentialMNIST())
    assert lines[0].startswith(f"characteristic frequency  {expected:.6g} radians per step = 2 pi / ")
    assert lines[2] == "sequences                 30 of 784 steps"
    assert lines[3] == f"written to {tmp_path / 'spectrum.pdf'}"
    assert (tmp_path / "spectrum.pdf").read_bytes().startswith(b"%PDF")


def test_presets_and_networks_set_defaults_that_options_change(tmp_path, capsys):
    directory = tmp_path / "run"
    options = [
        *("--preset", "add100", "--network", "lstm", "--learning-rate", "0.02"),
        *("--hidden-size", "3", "--length", "6", "--batch-size", "8"),
        *("--epochs", "1", "--iterations-per-epoch", "2", "--test-size", "5"),
    ]
    assert main(["train", str(directory), *options]) == 0
    config = TrainConfig.from_json((directory / "config.json").read_text())
    assert (config.task, config.model, config.learning_rate) == ("adding", "lstm", 0.02)
    assert (config.hidden_size, config.length, config.epochs) == (3, 6, 1)
    directory = tmp_path / "other"
    assert main(["train", str(directory), "--network=elman-res-clip", *SMALL]) == 0
    config = TrainConfig.from_json((directory / "config.json").read_text())
    assert (config.model, config.gradient_clip, config.hidden_size) == ("elman", 1.0, 8)
    capsys.readouterr()


@pytest.mark.parametrize("model", ["elman", "lstm", "ur-lstm", "s4d"])
def test_every_baseline_is_trained_and_analysed(model, tmp_path, capsys):
    run = str(tmp_path / "run")
    assert main(["train", run, *SMALL, "--model", model, *(["--modes", "2"] if model == "s4d" else [])]) == 0
    options = ["--samples", "3", "--trajectories", "1", "--hessian-k", "2"]
    assert main(["analyze", run, *options]) == 0
    assert "written to" in capsys.readouterr().out


def test_arguments_of_the_process(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["wcrnn", "--help"])
    assert main() == 0
    assert "usage: wcrnn" in capsys.readouterr().out


def test_as_a_process():
    code = "import sys; from wcrnn_models.cli import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code, "dat"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == (
        f"wcrnn: error: unknown command 'dat'. Did you mean 'data'? Known commands: {', '.join(COMMANDS)}. "
        "See `wcrnn --help`.\n"
    )
    assert done.stderr.count("\n") == 1


def test_public_names():
    assert sorted(wcrnn_models.__all__) == sorted(set(wcrnn_models.__all__))
    for name in wcrnn_models.__all__:
        assert getattr(wcrnn_models, name).__doc__
        assert name in dir(wcrnn_models)
    with pytest.raises(AttributeError, match="no attribute 'WCRN'"):
        wcrnn_models.WCRN  # noqa: B018

"""``lyapkit report``: the numbers are those of the library, and mistakes are one line."""

import hashlib
import importlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import xarray as xr
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

import lyapkit
from lyapkit_command.main import main

COMMAND = [sys.executable, "-c", "import sys; from lyapkit_command.start import main; sys.exit(main())"]

NETWORK = """
import torch
from torch import nn
import lyapkit

class Model(nn.Module):
    def __init__(self, batch_first=True):
        super().__init__()
        self.embedding = nn.Embedding(7, 2)
        self.rnn, self.head = nn.GRU(2, 3, batch_first=batch_first), nn.Linear(3, 4)
        self.dropout = nn.Dropout(0.5)

def make():
    return Model()

def gru():
    torch.manual_seed(1)
    return nn.GRU(2, 3)

head = nn.Linear(3, 4)

def first(outputs, targets):
    return (outputs - targets).square().mean()

def henon():
    return lyapkit.systems.henon().map

def slow():
    import time
    time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_network.py").write_text(NETWORK)
    rng = np.random.default_rng(0)
    np.savez(
        "data.npz",
        inputs=rng.normal(size=(2, 30, 2)),
        targets=rng.normal(size=(2, 4)),
        classes=np.array([1, 3], dtype=np.int32),
        tokens=rng.integers(7, size=(2, 30)),
        lengths=np.array([30, 20]),
    )
    np.save("time_first.npy", np.load("data.npz")["inputs"].transpose(1, 0, 2))
    path = list(sys.path)
    yield tmp_path
    sys.path[:] = path
    for name in [name for name in sys.modules if name.startswith(("lyapkit_command_network", "own_network"))]:
        del sys.modules[name]


def model_of() -> nn.Module:
    namespace: dict = {}
    exec(NETWORK, namespace)
    torch.manual_seed(3)
    return namespace["make"]().double().eval()


def results_of(*arguments) -> xr.DataTree:
    assert main(["report", *arguments, "--output", "page.html", "--result", "page.nc"]) == 0
    return lyapkit.load("page.nc")


def data(name: str) -> torch.Tensor:
    return torch.from_numpy(np.load("data.npz")[name])


def same(tree: xr.DataTree, expected: xr.DataTree) -> None:
    assert set(tree.children) == set(expected.children)
    for name, node in expected.children.items():
        xr.testing.assert_equal(tree[name].to_dataset(), node.to_dataset())


WHOLE = ["own_network.py:make", "--core", "rnn", "--readout", "head", "--checkpoint", "w.safetensors"]


@pytest.fixture
def weights(folder):
    model = model_of()
    save_file(model.state_dict(), folder / "w.safetensors")
    return model


def test_a_whole_model_with_targets(weights, folder, capsys) -> None:
    tree = results_of(*WHOLE, "--dtype", "float64", *("--inputs", "data.npz", "--targets", "data.npz"),
                      *("--loss", "mse_loss", "--hessian-k", "2", "--seed", "5", "--title", "Mine"))  # fmt: skip
    map = lyapkit.as_map(weights, core="rnn", readout="head")
    expected = lyapkit.analyze(map, data("inputs"), data("targets"), mse_loss, hessian_k=2, rng=5)
    same(tree, expected)
    digest = hashlib.sha256((folder / "w.safetensors").read_bytes()).hexdigest()
    assert all(node.attrs["checkpoint_sha256"] == digest for node in tree.children.values())
    page = (folder / "page.html").read_text()
    assert "<h1>Mine</h1>" in page
    assert digest in page
    assert capsys.readouterr().out == "written to page.nc and page.html\n"


def test_tokens_an_encoder_classes_and_lengths(weights, folder) -> None:
    tree = results_of(*WHOLE, "--dtype", "float64", "--encoder", "embedding", "--inputs", "data.npz:tokens",
                      *("--targets", "data.npz:classes", "--loss", "cross_entropy", "--lengths", "data.npz"),
                      *("--include", "lyapunov_spectrum", "gradient_propagation", "--k", "2"))  # fmt: skip
    map = lyapkit.as_map(weights, core="rnn", encoder="embedding", readout="head")
    expected = lyapkit.analyze(
        map, map.encode(data("tokens")), data("classes").long(), cross_entropy, lengths=[30, 20], k=2, rng=0,
        include=["lyapunov_spectrum", "gradient_propagation"],
    )  # fmt: skip
    same(tree, expected)


def test_a_layer_with_functions_of_ones_own(folder) -> None:
    tree = results_of("own_network:gru", "--readout", "own_network:head", "--loss", "own_network:first",
                      *("--inputs", "data.npz", "--batch-first", "True", "--targets", "data.npz"),
                      *("--trajectories", "1", "--transient", "4", "--hessian-k", "1"))  # fmt: skip
    own = importlib.import_module("own_network")
    expected = lyapkit.analyze(
        own.gru(), data("inputs").float(), data("targets").float(), own.first, readout=own.head, batch_first=True,
        trajectories=1, transient=4, hessian_k=1, rng=0,
    )  # fmt: skip
    same(tree, expected)
    assert tree["lyapunov_spectrum"].attrs["dtype"] == "float32"


def test_without_targets_and_without_inputs(folder) -> None:
    tree = results_of("own_network:henon", "--steps", "200")
    expected = lyapkit.analyze(lyapkit.systems.henon().map, None, None, None, steps=200, rng=0,
                               include=["lyapunov_spectrum", "variational_term"])  # fmt: skip
    same(tree, expected)
    layout = results_of("own_network.py:gru", "--inputs", "time_first.npy", "--include", "variational_term")
    assert set(layout.children) == {"variational_term"}
    assert layout["variational_term"].sizes["step"] == 30


GOOD = ["report", "own_network.py:gru", "--inputs", "time_first.npy", "--output", "page.html"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["report"], "lyapkit report needs MODULE:FACTORY (Function without arguments that returns the network, such"),
        (
            GOOD[:-2],
            "lyapkit report needs --output PATH (Page to write, ending in .html. An existing file is repl",
        ),
        (
            [*GOOD, "--transeint", "3"],
            "unrecognized options: --transeint, 3. Did you mean --transient? See `",
        ),
        ([*GOOD, "--k", "many"], "--k must be an integer, got 'many'. See `lyapkit report --help`."),
        ([*GOOD, "--dtype", "half"], ", got 'half'. See `lyapkit report --help`."),
        (["reprot"], "unknown command 'reprot'. Did you mean 'report'? Known commands: report."),
        ([*GOOD[:-1], "page.nc"], "the name given by --output must end in .html, got page.nc."),
        ([*GOOD[:-1], "no/page.html"], "the directory no of --output does not exist; create it first."),
        ([*GOOD[:-1], "folder.html"], "folder.html, given by --output, is not a regular file; name another."),
        ([*GOOD, "--result", "page.html"], "the name given by --result must end in .nc, got page.html."),
        ([*GOOD, "--steps", "3"], "give --inputs FILE, or --steps NUMBER for a network without inputs."),
        (["report", "own_network.py:gru", "--output", "page.html"], "give --inputs FILE, or --steps NUMBER"),
        ([*GOOD, "--targets", "data.npz"], "--targets needs --loss: mse_loss, "),
        ([*GOOD, "--include", "hessian_spectrum"], "hessian_spectrum needs --targets and --loss."),
        ([*GOOD, "--encoder", "embedding"], "name that with --core."),
        ([*GOOD, "--targets", "data.npz", "--loss", "mse_los"], "there is no loss 'mse_los'. Did you mean 'mse_loss'?"),
        ([*GOOD, "--targets", "data.npz", "--loss", "mse"], "there is no loss 'mse'. Did you mean 'mse_loss'? Known"),
        (["report", "w.safetensors", *GOOD[2:]], "'w.safetensors' is a file of weights; give it by --checkpoint, and"),
        (["report", "w.pt", *GOOD[2:]], "'w.pt' is a file of weights; give it by --checkpoint, and as the network the"),
        ([*GOOD, "--targets", "data.npz", "--loss", "own_network:head_"], "own_network has no 'head_'. Did you mean"),
        ([*GOOD, "--readout", "own_network:COMMAND"], "own_network has no 'COMMAND'."),
        ([*GOOD, "--readout", "own_network:lyapkit.__name__"], "the readout own_network:lyapkit.__name__ is str; name"),
        ([*GOOD, "--checkpoint", "w.pt"], "there is no file w.pt for --checkpoint."),
        ([*GOOD, "--core", "rn"], "core='rn' is no part of GRU"),
        (["report", "own_network:make", *GOOD[2:]], "Model has no adapter. Its recurrent part is rnn"),
        (["report", "own_network:make", *GOOD[2:]], "On the command line, --core names it."),
        (["report", "own_network:henon", "--steps", "9", "--dtype", "float32", *GOOD[4:]], "--dtype needs a torch.nn"),
        (["report", "own_network:henon", "--steps", "9", "--checkpoint", "w", *GOOD[4:]], "--checkpoint needs a torch"),
        ([*GOOD, "--k", "99"], "k must"),
        ([*GOOD, "--title="], "the value of --title is empty"),
        ([*GOOD, "--trajectories", "9"], "trajectories must be between 1 and the batch size 2, got 9."),
    ],
)
def test_mistakes_give_one_line(arguments, message, folder, capsys) -> None:
    (folder / "folder.html").mkdir()
    assert main(arguments) == 2
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith("lyapkit: error: ")
    assert message in line
    assert captured.out == ""
    assert not (folder / "page.html").exists()


def test_typos_in_options_get_a_suggestion(folder, capsys) -> None:
    assert main([*GOOD, "--transeint", "3"]) == 2
    assert "--transient" in capsys.readouterr().err
    assert main(["report", "--help"]) == 0
    text = capsys.readouterr().out
    assert "MODULE:FACTORY" in text
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("lyapkit ")
    assert main(["--help"]) == 0
    assert "report    analyse a network and write one page about it" in capsys.readouterr().out


@pytest.mark.filterwarnings("default:old weights")
def test_warnings_are_one_line(folder, capsys) -> None:
    (folder / "own_network.py").write_text(
        NETWORK + "\ndef warning():\n    import warnings\n    warnings.warn('old weights\\nhere')\n    return gru()\n"
    )
    assert main(["report", "own_network.py:warning", *GOOD[2:]]) == 0
    assert "lyapkit: warning: old weights here\n" in capsys.readouterr().err


def test_as_a_process(folder) -> None:
    done = subprocess.run([*COMMAND, "report", "no.py:make", *GOOD[2:]], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "lyapkit: error: there is no file no.py for the network.\n"
    code = (
        "import sys; from lyapkit_command.main import main; main(['report', '--help']); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize(
    ("number", "exit_code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_signals_end_it_in_one_line(number, exit_code, word, folder) -> None:
    (folder / "own_network.py").write_text(
        "import time, pathlib\ndef make():\n    pathlib.Path('there').touch()\n    time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [*COMMAND, "report", "own_network.py:make", *GOOD[2:]], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    deadline = time.monotonic() + 100
    while not (folder / "there").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (exit_code, f"lyapkit: {word}\n")

"""The commands ``python -m figures`` and ``python -m figures renew``: what they write where, and their errors."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import xarray as xr

from figures import renew, scripts
from figures.__main__ import main
from figures.command import DATA, make_directory
from figures.data_sets import DATA_SET_OF
from figures.experiments import EXPERIMENTS, base
from figures.experiments.base import describe, train_all
from figures.scripts import NAMES, script
from lyapkit import load, save
from lyapkit.results import provenance
from wcrnn_models.errors import UserError
from wcrnn_models.tasks import SequentialMNIST
from wcrnn_models.tasks.datasets import DATA_SETS
from wcrnn_models.training.config import TrainConfig

CLONE = Path(__file__).parents[2]


@pytest.fixture
def no_mnist(tmp_path, monkeypatch):
    monkeypatch.setenv("WCRNN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("WCRNN_DATA_DIR", raising=False)


@pytest.fixture
def tiny(monkeypatch):
    """One experiment, which trains a small network; returns the calls."""
    calls = []

    def measure(runs, *, progress):
        calls.append((runs, progress))
        config = TrainConfig(length=6, hidden_size=4, batch_size=2, epochs=1, iterations_per_epoch=3, test_size=9)
        train_all([config], runs, progress=False)
        origin = provenance({}, dtype=torch.float64, device=torch.device("cpu"))
        tree = xr.DataTree.from_dict({"a": xr.Dataset({"b": 1.0}, attrs=origin)})
        tree.attrs = describe("coupling_law", 1)
        return tree

    monkeypatch.setattr("figures.experiments.EXPERIMENTS", {**EXPERIMENTS, "coupling_law": measure})
    return calls


def in_one_line(capsys, program="figures"):
    """The only line that was printed, without the name of the program."""
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"{program}: ")
    assert printed.err.count("\n") == 1
    return printed.err.strip().removeprefix(f"{program}: ")


# -- what is written where ----------------------------------------------------------------------------------------


def test_the_list_has_every_script(capsys):
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(NAMES)
    assert all(script(name).title in line for name, line in zip(NAMES, lines, strict=True))


def test_renewed_results_are_written_where_they_are_read(tiny, tmp_path, capsys):
    folders = ["--data", str(tmp_path / "data"), "--runs", str(tmp_path / "runs")]
    assert main(["renew", "coupling_law", "coupling_law", *folders]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "data" / "coupling_law.nc")
    assert tiny == [(tmp_path / "runs", True)]
    tree = load(tmp_path / "data" / "coupling_law.nc")
    assert (tree.attrs["experiment"], tree.attrs["seeds"]) == ("coupling_law", 1)
    assert float(tree["a"].b) == 1.0
    assert len(list((tmp_path / "runs").glob("*/history.json"))) == 1


def test_trainings_that_fail_are_named(tmp_path):
    missing = TrainConfig(residual="dense", residual_file=str(tmp_path / "missing.npy"))
    with pytest.raises(UserError, match=r"1 of 1 runs failed, such as \w+: .*missing\.npy"):
        train_all([missing], tmp_path / "runs", progress=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a result file: untrained, initial_dynamics, coupling_law,"),
        (["couplings_law"], "there is no result file 'couplings_law'. Did you mean 'coupling_law'?"),
        (["coupling_law", "digit"], "run `wcrnn data fetch mnist`"),
        (["coupling_law", "--data", __file__], "(it is a file); name another with --data"),
        (["coupling_law", "--runs", f"{__file__}/a"], "(Not a directory); name another with --runs"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_measured(
    arguments, message, no_mnist, tiny, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert main(["renew", *arguments]) == 2
    assert message in in_one_line(capsys, "figures renew")
    assert tiny == []


def test_images_are_looked_for_where_they_are_needed():
    assert set(EXPERIMENTS) - {"coupling_law", "architecture_spectra"} == renew.NEED_MNIST


def test_drawing_reads_the_shipped_results(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["fig4"]) == 0
    written = [f"figures/output/fig4.{suffix}" for suffix in ("pdf", "png", "txt")]
    assert capsys.readouterr().out.split() == written


def test_captions_are_drawn_and_axes_changed_on_request_only(tmp_path, capsys):
    made = {}
    for options in ((), ("--caption",), ("--against", "r"), ("--against", "log-r"), ("--against", "distance")):
        folder = tmp_path / "-".join(("out", *options))
        assert main(["fig6", "table1", *options, "--output", str(folder)]) == 0
        made[options[-1:]] = [path.read_bytes() for path in sorted(folder.iterdir())]
    capsys.readouterr()
    usual, captioned, with_r, logarithms, distances = made.values()
    assert with_r == usual
    assert captioned[2:] == logarithms[2:] == distances[2:] == usual[2:]  # text beside the figure, and table
    assert len({tuple(each[:2]) for each in made.values()}) == 4


def test_what_commands_write_in_the_clone_is_ignored_by_git():
    if not (CLONE / ".git").exists():
        pytest.skip("this is no clone")
    written = ["figures/output/fig1.pdf", "runs/figures/campaign/a"]
    done = subprocess.run(["git", "-C", str(CLONE), "check-ignore", *written], capture_output=True, text=True)
    assert done.stdout.split() == written


def test_measured_results_do_not_make_a_clone_dirty(tmp_path, monkeypatch):
    def git(*arguments):
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        done = subprocess.run(
            ["git", "-C", str(tmp_path), *who, *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    monkeypatch.setattr(base, "CLONE", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert base.commit() == "unknown"
    git("init", "-q")
    files = [tmp_path / name for name in ("figures/data/a.nc", "docs/reproduction.md", "docs/other.md", "figures/a.py")]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("old")
    git("add", ".")
    git("commit", "-q", "-m", "all")
    clean = git("rev-parse", "HEAD")[:10]
    (tmp_path / "untracked").write_text("")
    for file, expected in zip(files, (clean, clean, f"{clean}-dirty", f"{clean}-dirty"), strict=True):
        assert base.commit() == clean
        file.write_text("new")
        assert base.commit() == expected
        file.write_text("old")


# -- mistakes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a figure or table, or all"),
        (["fig22"], "there is no figure 'fig22'. Did you mean 'fig2'?"),
        (["figb4"], "there is no figure 'figb4'. Did you mean 'figB4'?"),
        (["FIG1"], "there is no figure 'FIG1'. Did you mean 'fig1'?"),
        (["fig2", "--data", "nowhere"], "there is no folder nowhere; name that of the results with --data"),
        (["fig2", "table1", "--against", "log-r"], "changes nothing of fig2, table1; it is for fig3, fig6, figB3"),
        (["fig2", "--output", __file__], f"directory {__file__} (it is a file); name another with --output"),
        (["fig2", "--output", ""], "an argument is empty"),
        (["fig2", "--output="], "the value of --output is empty"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_drawn(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert message in in_one_line(capsys)


def test_the_parser_explains(capsys):
    assert main(["--against", "x"]) == 2
    assert "distance" in capsys.readouterr().err
    for program in ([], ["renew"], ["report"], ["measure"]):
        assert main([*program, "--help"]) == 0
        assert "Run it in the root of the clone" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": -5}, "FILE does not say how many instances it has and which commit made it"),
        ({"seeds": "two"}, "FILE does not say how many instances"),
        ({"seeds": None}, "FILE does not say how many instances"),
        ({"commit": None}, "FILE does not say how many instances"),
        ({"commit": 3}, "FILE does not say how many instances"),
        ({"experiment": "untrained"}, "FILE holds no results of the experiment digit"),
        (None, "FILE is not a result file"),
    ],
)
def test_results_that_are_not_those_of_their_name_are_one_line(change, message, tmp_path, capsys):
    path = tmp_path / "digit.nc"
    if change is None:
        path.write_bytes((DATA / path.name).read_bytes()[:5000])
    else:
        tree = load(DATA / path.name)
        tree.attrs = {name: value for name, value in (tree.attrs | change).items() if value is not None}
        save(tree, path)
    assert main(["fig1", "--output", str(tmp_path / "out"), "--data", str(tmp_path)]) == 2
    line = in_one_line(capsys)
    assert line.startswith(f"error: {message.replace('FILE', str(path))}")
    assert line.endswith(f'; measure it again by "python -m figures renew digit --data {tmp_path}".')


def test_faults_of_the_program_keep_their_traceback(tmp_path, monkeypatch):
    def draw(results):
        raise TypeError("a fault")

    monkeypatch.setattr("figures.scripts.script", lambda name: scripts.Script("t", (), draw))
    with pytest.raises(TypeError, match="a fault"):
        main(["table1", "--output", str(tmp_path)])


def test_a_directory_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    make_directory(tmp_path / "a/b", "--output")
    assert (tmp_path / "a/b").is_dir()
    assert list((tmp_path / "a/b").iterdir()) == []

    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(UserError, match=r"to the directory .*a \(Permission denied\); name another with --runs"):
        make_directory(tmp_path / "a", "--runs")


# -- data sets ----------------------------------------------------------------------------------------------------


def test_every_data_set_belongs_to_a_task():
    assert set(DATA_SET_OF.values()) == set(DATA_SETS)


def test_fig1_says_when_it_has_no_digit(no_mnist, tmp_path, capsys):
    assert main(["fig1", "table2", "--output", str(tmp_path)]) == 0
    (note,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("figures: ")]
    assert note.startswith("figures: note: fig1 is drawn without its digit: the MNIST file train-images-idx3-ubyte.gz")
    assert "wcrnn data fetch mnist" in note
    assert main(["table2", "--output", str(tmp_path)]) == 0
    assert capsys.readouterr().err == ""


def test_fig1_says_nothing_where_mnist_is_found(tmp_path, capsys):
    try:
        SequentialMNIST()
    except UserError as error:
        pytest.skip(str(error))
    assert main(["fig1", "--output", str(tmp_path)]) == 0
    assert "note" not in capsys.readouterr().err


# -- interruptions ------------------------------------------------------------------------------------------------


def interrupt(*_, **__):
    raise KeyboardInterrupt


def test_interrupted_drawing_promises_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("figures.scripts.produce", interrupt)
    assert main(["fig2", "--output", str(tmp_path)]) == 130
    assert in_one_line(capsys) == "interrupted"


@pytest.mark.parametrize("arguments", [["figures", "--list"], ["figures", "report", "--help"]], ids=["list", "help"])
def test_a_closed_pipe_ends_the_command_quietly(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        command = [sys.executable, "-m", *arguments]
        done = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, text=True, cwd=CLONE)
    assert (done.returncode, done.stderr) == (141, "")

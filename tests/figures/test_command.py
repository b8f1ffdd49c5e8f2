"""The command ``python -m figures``: what it writes where, and its errors."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import xarray as xr

import figures.measure
from figures import scripts, style
from figures.__main__ import main
from figures.command import make_directory, results_directory
from figures.experiments import EXPERIMENTS, base
from figures.experiments.base import Experiment, Training
from figures.measure import DATA_SET_OF, find_data_sets
from figures.protocols import PROTOCOLS
from figures.scripts import DATA, NAMES, produce, script
from lyapkit import load, save
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
    """One figure, fig2, of one small experiment."""

    def draw(data):
        figure, (ax,) = style.panels(1, 1)
        ax.plot(data["tiny"]["training"].best_metric.mean("seed"))
        return figure

    config = TrainConfig(length=6, hidden_size=4, batch_size=2, epochs=1, iterations_per_epoch=3, test_size=9)
    experiment = Experiment("tiny", "a small one", lambda protocol: [config], ("seed", "r"))
    monkeypatch.setattr("figures.measure.EXPERIMENTS", {"tiny": experiment})
    monkeypatch.setattr("figures.scripts.script", lambda name: scripts.Script("tiny", ("tiny",), draw))


@pytest.fixture
def unmeasured(monkeypatch):
    """Nothing may be measured."""

    def measure(name, *_):
        raise AssertionError(f"{name} was measured")

    monkeypatch.setattr("figures.measure.measure", measure)


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


def test_only_results_that_are_named_are_replaced():
    assert results_directory(None, None) == DATA
    assert results_directory(None, "quick") == Path("runs/figures/data/quick")
    assert results_directory(None, "cpu", Path("elsewhere")) == Path("elsewhere/data/cpu")
    assert results_directory(Path("mine"), None) == results_directory(Path("mine"), "paper") == Path("mine")


@pytest.mark.parametrize("given", [None, "mine"])
def test_a_protocol_measures_first(given, tiny, tmp_path, capsys):
    folders = ["--runs", tmp_path / "runs", "--output", tmp_path / "out", "--workers", "1"]
    folders += [] if given is None else ["--data", tmp_path / given]
    data = tmp_path / "runs/data/quick" if given is None else tmp_path / given
    assert main(["fig2", "--protocol", "quick", *map(str, folders)]) == 0
    printed = capsys.readouterr().out.splitlines()
    drawn = [tmp_path / f"out/fig2.{suffix}" for suffix in ("pdf", "png", "txt")]
    assert printed == [str(path) for path in (data / "tiny.nc", *drawn)]
    assert json.loads(load(data / "tiny.nc")["training"].attrs["config_json"])["length"] == 6
    assert main(["fig2", "--data", str(data), "--output", str(tmp_path / "out")]) == 0  # and without measuring


def test_drawing_reads_the_shipped_results(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["figB2"]) == 0
    written = [f"figures/output/figB2.{suffix}" for suffix in ("pdf", "png", "txt")]
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
    written = ["figures/output/fig1.pdf", "runs/figures/data/quick/digit.nc"]
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


def copied(folder, *names, **attributes):
    """Shipped results with other attributes."""
    folder.mkdir(exist_ok=True)
    for name in names:
        tree = load(DATA / f"{name}.nc")
        tree.attrs |= attributes
        save(tree, folder / f"{name}.nc")
    return folder


# -- mistakes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a figure or table, or all"),
        (["fig22"], "there is no figure 'fig22'. Did you mean 'fig2'?"),
        (["figb4"], "there is no figure 'figb4'. Did you mean 'figB4'?"),
        (["FIG1"], "there is no figure 'FIG1'. Did you mean 'fig1'?"),
        (["fig2", "--workers", "0"], "workers must be at least 1, got 0"),
        (
            ["fig2", "--data", "nowhere"],
            "measure it with python -m figures fig2 --data nowhere --protocol quick",
        ),
        (["fig2", "table1", "--against", "log-r"], "changes nothing of fig2, table1; it is for fig3, fig6, figB3"),
        (["fig2", "--output", __file__], f"directory {__file__} (it is a file); name another with --output"),
        (["fig2", "--output", ""], "an argument is empty"),
        (["fig2", "--output="], "the value of --output is empty"),
        (["fig2", "--protocol", "quick", "--data", __file__], "(it is a file); name another with --data"),
        (["fig2", "--protocol", "quick", "--runs", f"{__file__}/a"], "(Not a directory); name another with --runs"),
        (["fig2", "--protocol", "quick"], "run `wcrnn data fetch mnist`"),
        (["coupling_law", "curvature_over_time", "--protocol", "quick"], "run `wcrnn data fetch mnist`"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_measured(
    arguments, message, no_mnist, unmeasured, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert message in in_one_line(capsys)


def test_the_parser_explains(capsys):
    assert main(["--protocol", "fast"]) == 2
    assert "quick" in capsys.readouterr().err
    assert main(["--help"]) == 0
    assert "runs/figures/data" in capsys.readouterr().out


def without_group(tree):
    other = xr.DataTree.from_dict({"other": tree["training"].to_dataset()})
    other.attrs = tree.attrs
    return other


def without_variables(tree):
    names = ["best_metric", "test_metric", "iterations_to_minimal_performance"]
    tree["training"] = xr.DataTree(tree["training"].to_dataset().drop_vars(names))
    return tree


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"protocol": "bogus"}, "the attribute protocol of FILE must be one of quick, cpu, paper, got 'bogus'"),
        ({"protocol": None}, "the attribute protocol of FILE must be one of quick, cpu, paper, got None"),
        ({"seeds": -5}, "the attribute seeds of FILE must be a positive integer, got "),
        ({"seeds": "two"}, "the attribute seeds of FILE must be a positive integer, got 'two'"),
        ({"seeds": None}, "the attribute seeds of FILE must be a positive integer, got None"),
        ({"commit": None}, "the attribute commit of FILE must be a text, got None"),
        ({"commit": 3}, "the attribute commit of FILE must be a text, got "),
        ({"experiment": "digit"}, "FILE holds no results of the experiment learning_rates"),
        (without_group, "FILE does not hold what WHAT draws (KeyError: "),
        (without_variables, "FILE does not hold what WHAT draws ("),
        (None, "FILE is not a result file"),
    ],
)
def test_results_that_are_not_those_of_their_name_are_one_line(change, message, tmp_path, capsys):
    """Those of Fig. B.2, damaged."""
    path = tmp_path / "learning_rates.nc"
    if change is None:
        path.write_bytes((DATA / path.name).read_bytes()[:5000])
    else:
        tree = load(DATA / path.name)
        if callable(change):
            tree = change(tree)
        else:
            tree.attrs = {name: value for name, value in (tree.attrs | change).items() if value is not None}
        save(tree, path)
    assert main(["figB2", "--output", str(tmp_path / "out"), "--data", str(tmp_path)]) == 2
    line = in_one_line(capsys)
    assert line.startswith(f"error: {message.replace('FILE', str(path)).replace('WHAT', 'figB2')}")
    assert line.endswith(f"; measure it with python -m figures figB2 --data {tmp_path} --protocol quick, cpu or paper")


def test_incomplete_results_keep_the_reason(tmp_path):
    save(without_group(load(DATA / "learning_rates.nc")), tmp_path / "learning_rates.nc")
    with pytest.raises(UserError, match="does not hold what figB2 draws") as caught:
        produce("figB2", tmp_path, tmp_path)
    assert isinstance(caught.value.__cause__, KeyError)


def test_the_remedy_for_shipped_results_does_not_replace_them():
    assert scripts._remedy("untrained", DATA) == f"measure it with python -m figures report --measure --data {DATA}"
    assert scripts._remedy("digit", DATA) == "measure it with python -m figures fig1 --protocol quick, cpu or paper"


def test_faults_of_the_program_keep_their_traceback(tmp_path, monkeypatch):
    def draw(_):
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


@pytest.mark.parametrize("name", EXPERIMENTS)
@pytest.mark.parametrize("protocol", ["quick", "cpu"])
def test_data_sets_that_are_needed_are_looked_for(name, protocol, monkeypatch):
    """Those of every training; and of what measures without trainings as it says itself."""
    found = set()
    monkeypatch.setattr(figures.measure, "find_data_set", found.add)
    find_data_sets([name], PROTOCOLS[protocol])
    others = {
        "curvature_over_time": {"mnist"},
        "coupling_law": set(),
        "architecture_spectra": set(),
        "untrained": {"mnist"},
    }
    if isinstance(experiment := EXPERIMENTS[name], Training):
        tasks = {config.task for config in experiment.trainings(PROTOCOLS[protocol])}
        assert found == {"mnist" for task in tasks if "mnist" in task} | {
            "cifar10" for task in tasks if "cifar" in task
        }
    else:
        assert found == others[name]


def test_every_data_set_belongs_to_a_task():
    assert set(DATA_SET_OF.values()) == set(DATA_SETS)


def test_fig1_says_when_it_has_no_digit(no_mnist, tmp_path, capsys):
    assert main(["fig1", "figB2", "--output", str(tmp_path)]) == 0
    (note,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("figures: ")]
    assert note.startswith("figures: note: fig1 is drawn without its digit: the MNIST file train-images-idx3-ubyte.gz")
    assert "wcrnn data fetch mnist" in note
    assert main(["figB2", "--output", str(tmp_path)]) == 0
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


def test_an_interrupted_measurement_goes_on(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("figures.measure.measure", interrupt)
    folders = ["--runs", str(tmp_path / "runs"), "--output", str(tmp_path / "out")]
    assert main(["fig2", "--protocol", "quick", *folders]) == 130
    assert in_one_line(capsys) == "interrupted; the same command goes on from what was trained"


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

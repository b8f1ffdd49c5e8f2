"""The demonstration and `wcrnn analyze`, as a newcomer runs them."""

import math
import os
import re
import shutil

import numpy as np
import pytest
import xarray as xr

from lyapkit import load
from wcrnn_models import analysis, checkpoints, load_checkpoint, save_checkpoint
from wcrnn_models.analysis import analyze_checkpoint
from wcrnn_models.cli import main
from wcrnn_models.demo import STRENGTHS, draw_overview
from wcrnn_models.training import saved


@pytest.fixture(scope="module", autouse=True)
def quick_analyses():
    """Fewer sequences and eigenvalues than the demonstration takes, of the same analyses."""
    with pytest.MonkeyPatch.context() as patch:
        quick = {"samples": 12, "hessian_k": 3}
        patch.setattr(
            "wcrnn_models.demo.analyze_checkpoint", lambda path, **given: analyze_checkpoint(path, **given | quick)
        )
        yield


@pytest.fixture(scope="module")
def demo(tmp_path_factory, request, quick_analyses):
    """One short demonstration through the command line, with what it printed."""
    directory = tmp_path_factory.mktemp("demo") / "new"
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        import contextlib
        import io

        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            code = main(["demo", "--output", str(directory), "--epochs", "1"])
    assert code == 0
    return directory, printed.getvalue()


def test_prints_exponents_beside_log_r(demo) -> None:
    _, printed = demo
    rows = [line.split() for line in printed.splitlines() if re.match(r"(subcritical|near-critical), ", line)]
    assert [row[1] for row in rows] == ["before", "after"] * 2
    for row in rows:
        r = STRENGTHS[row[0].rstrip(",")]
        assert float(row[3]) == r
        assert float(row[4]) == pytest.approx(math.log(r), abs=6e-6)
        for cell in row[5:8]:
            value, error = re.fullmatch(r"(-?[\d.]+)\((\d+|\?)\)", cell).groups()
            assert abs(float(value) - math.log(r)) < 0.02  # gamma |W|
            assert error == "?" or int(error) > 0
    assert "(?) where the run is too short to tell it" in printed
    assert re.search(r"best test RMS, near-critical: 0\.\d{4}", printed)


def test_the_result_file_opens_and_holds_everything(demo) -> None:
    directory, _ = demo
    with xr.open_datatree(directory / "analysis.nc") as tree:
        assert set(tree.children) == set(STRENGTHS)
        for name in STRENGTHS:
            assert set(tree[name].children) == {"training", "before", "after"}
            for moment in ("before", "after"):
                assert set(tree[name][moment].children) == {
                    "lyapunov_spectrum", "variational_term", "gradient_propagation", "hessian_spectrum", "network",
                }  # fmt: skip
                spectrum = tree[f"{name}/{moment}/lyapunov_spectrum"]
                assert spectrum["lyapunov_exponent"].shape == (8, 64)
                assert len(spectrum.attrs["checkpoint_sha256"]) == 64
            assert tree[f"{name}/training"]["iteration"].values.tolist() == [0, 250]
    before, after = (load(directory / "analysis.nc")[f"subcritical/{m}/network"].attrs for m in ("before", "after"))
    assert (before["iteration"], after["iteration"]) == (0, 250)


def test_gradients_decay_at_log_r(demo) -> None:
    """Eq. (15): the slope of the gradient norm is log r to O(gamma)."""
    tree = load(demo[0] / "analysis.nc")
    for name, r in STRENGTHS.items():
        rates = tree[f"{name}/before/gradient_propagation"]["growth_rate"].sel(norm="2").values
        np.testing.assert_allclose(rates, math.log(r), atol=0.01)


def test_figures_are_publishable(demo) -> None:
    directory, _ = demo
    pdf = (directory / "overview.pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    assert b"/Type3" not in pdf  # fonts are embedded as TrueType
    assert b"/FontFile2" in pdf
    assert (directory / "overview.png").read_bytes().startswith(b"\x89PNG")
    assert (directory / "overview.png").stat().st_size > 50_000


def test_figure_draws_the_measured_numbers(demo) -> None:
    tree = load(demo[0] / "analysis.nc")
    for moment in ("before", "after"):
        figure = draw_overview(tree, moment)
        learning, exponents, hessian, gradients = figure.axes
        state = {"before": "untrained", "after": "trained"}[moment]
        titles = [ax.get_title(loc="left").split("  ")[1] for ax in figure.axes]
        panels = ("variational term", "Hessian spectrum", "gradient propagation")
        assert titles == ["learning curves"] + [f"{panel}, {state}" for panel in panels]
        drawn = [line.get_ydata() for line in learning.lines]
        for name in STRENGTHS:
            expected = tree[f"{name}/training"]["test_metric"].values
            assert any(np.array_equal(expected, line) for line in drawn)
            values = abs(tree[f"{name}/{moment}/hessian_spectrum"]["eigenvalue"].values)
            assert any(np.array_equal(values, line.get_ydata()) for line in hessian.lines)
            norms = tree[f"{name}/{moment}/gradient_propagation"]["gradient_norm"].values[0, 0]
            assert any(np.array_equal(norms, line.get_ydata()) for line in gradients.lines)
            predicted = norms[-1] * STRENGTHS[name] ** np.arange(norms.size - 1, -1, -1)  # eq. (15)
            assert any(np.allclose(predicted, line.get_ydata(), rtol=1e-5) for line in gradients.lines)
        references = [line.get_ydata()[0] for line in exponents.lines if len(line.get_ydata()) == 2]
        np.testing.assert_allclose(references, np.log(list(STRENGTHS.values())), atol=1e-7)
        assert exponents.get_ylabel() == "finite-time exponent (nats per step)"


def test_running_it_again_trains_nothing_and_gives_the_same_file(demo, capsys) -> None:
    directory, printed = demo
    before = (directory / "subcritical" / "history.json").stat().st_mtime_ns
    old = load(directory / "analysis.nc")
    assert main(["demo", "--output", str(directory), "--epochs", "1"]) == 0
    assert (directory / "subcritical" / "history.json").stat().st_mtime_ns == before
    assert capsys.readouterr().out.splitlines()[:6] == printed.splitlines()[:6]
    new = load(directory / "analysis.nc")
    for node in new.subtree:
        if node.has_data:
            xr.testing.assert_equal(node.to_dataset(), old[node.path].to_dataset())


def test_another_configuration_is_refused_in_one_line(demo, capsys) -> None:
    assert main(["demo", "--output", str(demo[0]), "--epochs", "2"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("wcrnn: error: ")
    assert "epochs is 1 there and 2 here" in error
    assert error.count("\n") == 1


def test_analyze_a_run_and_a_file(demo, tmp_path, capsys) -> None:
    run = demo[0] / "subcritical"
    options = ["--samples", "4", "--trajectories", "2", "--hessian-k", "2"]
    assert main(["analyze", str(run), "--output", str(tmp_path / "run.nc"), *options]) == 0
    printed = capsys.readouterr().out
    assert [line.split()[0] for line in printed.splitlines()[2:4]] == ["before", "after"]
    assert set(load(tmp_path / "run.nc").children) == {"before", "after", "training"}
    weights = run / "checkpoints" / "iteration-00000250.safetensors"
    assert main(["analyze", str(weights), "--output", str(tmp_path / "one.nc"), *options]) == 0
    assert set(load(tmp_path / "one.nc").children) == {
        "lyapunov_spectrum", "variational_term", "gradient_propagation", "hessian_spectrum", "network",
    }  # fmt: skip
    xr.testing.assert_equal(
        load(tmp_path / "one.nc")["lyapunov_spectrum"].to_dataset(),
        load(tmp_path / "run.nc")["after/lyapunov_spectrum"].to_dataset(),
    )


QUICK = ["--samples", "2", "--trajectories", "1", "--include", "gradient_propagation"]


def test_analyze_writes_where_the_help_says(demo, capsys) -> None:
    """A run has one file; every checkpoint has its own, and an old one is replaced."""
    run = demo[0] / "near-critical"
    stems = [run / "checkpoints" / f"iteration-{iteration:08d}" for iteration in (0, 250)]
    assert main(["analyze", str(run), *QUICK]) == 0
    assert "LE" not in capsys.readouterr().out
    for stem, suffix in ((stems[0], ".safetensors"), (stems[1], ".json"), (stems[1], ".safetensors")):
        assert main(["analyze", f"{stem}{suffix}", *QUICK]) == 0
        assert capsys.readouterr().out == f"written to {stem}.analysis.nc\n"
    assert set(load(run / "analysis.nc")["after"].children) == {"gradient_propagation", "network"}
    assert [load(f"{stem}.analysis.nc")["network"].attrs["iteration"] for stem in stems] == [0, 250]
    assert not (run / "checkpoints" / "analysis.nc").exists()
    assert main(["analyze", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert (
        "if not given, analysis.nc in the directory of the run, or NAME.analysis.nc beside the checkpoint file "
        "NAME.safetensors. An existing file is replaced."
    ) in text


def supersede(monkeypatch, run, function: str) -> None:
    """Just before the named function runs for the first time, the last one is superseded by 300."""
    module = saved if function == "load_checkpoint" else checkpoints
    folder, original, calls = run / "checkpoints", getattr(module, function), []

    def race(path):
        if not calls:
            calls.append(path)
            old = load_checkpoint(folder / "iteration-00000250.json")
            save_checkpoint(folder / "iteration-00000300", old.model, old.config, iteration=300)
            for suffix in (".json", ".safetensors"):
                (folder / f"iteration-00000250{suffix}").unlink()
        return original(path)

    monkeypatch.setattr(module, function, race)


def test_analyze_the_leading_exponents_alone(demo, capsys) -> None:
    weights = demo[0] / "near-critical" / "checkpoints" / "iteration-00000000.safetensors"
    options = ["--samples", "2", "--trajectories", "1", "--include", "lyapunov_spectrum", "--k", "3"]
    assert main(["analyze", str(weights), *options]) == 0
    found = load(weights.with_suffix(".analysis.nc"))
    assert found["lyapunov_spectrum"].sizes["exponent"] == 3
    capsys.readouterr()


def test_analyze_the_curvature_of_chosen_parameters_on_other_samples(demo, capsys) -> None:
    """As `analyze_checkpoint` does it with the same choices."""
    weights = demo[0] / "near-critical" / "checkpoints" / "iteration-00000000.safetensors"
    options = ["--samples", "3", "--trajectories", "1", "--include", "hessian_spectrum", "--hessian-k", "2"]
    chosen = ["--parameters", "recurrent.*", "input.bias", "--operator", "ggn", "--sample-seed", "4"]
    assert main(["analyze", str(weights), *options, *chosen]) == 0
    found = load(weights.with_suffix(".analysis.nc"))["hessian_spectrum"]
    expected = analyze_checkpoint(
        weights, samples=3, trajectories=1, include=("hessian_spectrum",), hessian_k=2,
        parameters=["recurrent.*", "input.bias"], operator="ggn", sample_seed=4,
    )["hessian_spectrum"]  # fmt: skip
    xr.testing.assert_equal(found.to_dataset(), expected.to_dataset())
    for name in ("config_json", "test_samples_json"):
        assert found.attrs[name] == expected.attrs[name]
    assert main(["analyze", str(weights), *options, "--parameters", "*hh*"]) == 2
    assert "unknown parameters ['*hh*']" in capsys.readouterr().err


@pytest.mark.parametrize("function", ["_read_metadata", "load_checkpoint"])
def test_analyze_while_training_deletes_a_superseded_checkpoint(demo, tmp_path, monkeypatch, function: str) -> None:
    run = tmp_path / "run"
    shutil.copytree(demo[0] / "subcritical", run)
    supersede(monkeypatch, run, function)
    assert main(["analyze", str(run), *QUICK]) == 0
    tree = load(run / "analysis.nc")
    assert [tree[f"{moment}/network"].attrs["iteration"] for moment in ("before", "after")] == [0, 300]
    assert not (run / "checkpoints" / "iteration-00000250.json").exists()


def test_analyze_while_training_deletes_a_checkpoint_that_waits_its_turn(demo, tmp_path, monkeypatch) -> None:
    """The second network is analysed long after it was chosen."""
    run = tmp_path / "run"
    shutil.copytree(demo[0] / "subcritical", run)
    original = analysis.analyze_checkpoint

    def race(path, **options):
        shutil.rmtree(run / "checkpoints", ignore_errors=True)
        return original(path, **options)

    monkeypatch.setattr(analysis, "analyze_checkpoint", race)
    assert main(["analyze", str(run), *QUICK]) == 0
    tree = load(run / "analysis.nc")
    assert [tree[f"{moment}/network"].attrs["iteration"] for moment in ("before", "after")] == [0, 250]


def test_a_lost_checkpoint_is_refused_before_the_analyses(demo, tmp_path, monkeypatch, capsys) -> None:
    """Without the untrained network, another would be shown as that before training."""
    run = tmp_path / "run"
    shutil.copytree(demo[0] / "subcritical", run)
    (run / "checkpoints" / "iteration-00000000.safetensors").unlink()
    monkeypatch.setattr(analysis, "analyze_checkpoint", lambda *_, **__: pytest.fail("analysed"))
    assert main(["analyze", str(run), *QUICK]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "checkpoints/iteration-00000000.safetensors is missing; restore the file, or delete the directory" in line


def test_a_device_is_no_result_file(demo, monkeypatch, capsys) -> None:
    monkeypatch.setattr(analysis, "analyze_checkpoint", lambda *_, **__: pytest.fail("analysed"))
    assert main(["analyze", str(demo[0] / "subcritical"), *QUICK, "--output", os.devnull]) == 2
    expected = f"wcrnn: error: the result file {os.devnull} is a device or a pipe; name a regular file.\n"
    assert capsys.readouterr().err == expected


def test_a_damaged_history_is_refused_before_the_analyses(demo, tmp_path, monkeypatch, capsys) -> None:
    run = tmp_path / "run"
    shutil.copytree(demo[0] / "subcritical", run)
    (run / "history.json").write_text("{}")
    monkeypatch.setattr(analysis, "analyze_checkpoint", lambda *_, **__: pytest.fail("analysed"))
    assert main(["analyze", str(run), *QUICK]) == 2
    assert "history.json is not the history of a training run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["analyze", "nowhere"], "there is no nowhere; give the directory of a run"),
        (["analyze", "EMPTY"], "holds no checkpoint"),
        (["analyze", "RUN", "--output", "no/such/place.nc"], "no/such of the result file does not exist"),
        (["analyze", "RUN", "--output", "EMPTY"], "is a directory; name a file in it"),
        *(
            (["analyze", "RUN", f"--{name.replace('_', '-')}={number}"], f"{name} must be at least 1, got {number}")
            for name in ("samples", "trajectories", "k", "hessian_k", "record_every")
            for number in (0, -1)
        ),
        (["analyze", "RUN", "--seed=-1"], "must be a seed of at least 0"),
        (["analyse", "RUN"], "Did you mean 'analyze'"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(demo, tmp_path, capsys, arguments, message: str) -> None:
    places = {"RUN": str(demo[0] / "subcritical"), "EMPTY": str(tmp_path)}
    assert main([places.get(argument, argument) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("wcrnn: error: ")
    assert message in error
    assert error.count("\n") == 1


def test_a_typo_in_an_option_suggests_the_right_one(capsys) -> None:
    assert main(["analyze", "x", "--trajectorys", "3"]) == 2
    captured = capsys.readouterr()
    assert "--trajectories" in captured.err + captured.out

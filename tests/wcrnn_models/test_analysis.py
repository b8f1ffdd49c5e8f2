"""`analyze_checkpoint` and the tables: the numbers are lyapkit's, beside what the residual predicts."""

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from lyapkit import (
    curvature_operator,
    gradient_propagation,
    hessian_spectrum,
    lyapunov_spectrum,
    systems,
    variational_term,
)
from lyapkit.lyapunov.uncertainty import MeanGrowth
from wcrnn_models import (
    Predictions,
    TrainConfig,
    UserError,
    analyze_checkpoint,
    load_checkpoint,
    predict,
    save_checkpoint,
    train,
)
from wcrnn_models.analysis import exponent_rows, training_curve
from wcrnn_models.tables import exponent_table, table, with_error
from wcrnn_models.training.build import build_model, build_task

CONFIG = TrainConfig(
    task="adding",
    length=12,
    hidden_size=6,
    residual="heterogeneous",
    r=0.95,
    delta_r=0.04,
    learning_rate=0.05,
    batch_size=16,
    epochs=1,
    iterations_per_epoch=5,
    test_size=40,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    directory = tmp_path_factory.mktemp("run")
    return directory, train(CONFIG, directory)


@pytest.fixture(scope="module")
def tree(run) -> xr.DataTree:
    return analyze_checkpoint(run[0], samples=8, trajectories=3, hessian_k=4)


def drawn(tree: xr.DataTree) -> dict[str, Any]:
    """Which samples an analysis is of, by every one of its children."""
    texts = {child.attrs["test_samples_json"] for child in tree.children.values()}
    assert len(texts) == 1
    return json.loads(texts.pop())


def test_every_analysis_is_lyapkits_own(run, tree) -> None:
    checkpoint = load_checkpoint(run[0])
    model, task = checkpoint.model.double(), build_task(CONFIG)
    inputs, targets = next(task.test_batches())
    chosen = drawn(tree)["indices"]
    inputs, targets = inputs[:, chosen].double(), targets[chosen].double()
    expected = {
        "lyapunov_spectrum": lyapunov_spectrum(model, inputs[:, :3]),
        "variational_term": variational_term(model, inputs[:, :3]),
        "gradient_propagation": gradient_propagation(model, inputs, targets, task.loss, rng=0),
        "hessian_spectrum": hessian_spectrum(
            model, (inputs, targets), task.loss, k=4, learning_rate=0.05, momentum=0.9, rng=0
        ),
    }
    assert set(tree.children) == {*expected, "network"}
    for name, dataset in expected.items():
        xr.testing.assert_allclose(tree[name].to_dataset(), dataset, rtol=1e-10, atol=1e-12)
        assert tree[name].attrs["checkpoint_sha256"] == checkpoint.sha256


def test_samples_are_drawn_at_random_from_the_whole_test_set(run, tree) -> None:
    assert drawn(tree) == {"seed": 0, "of": 40, "indices": np.argsort(np.random.PCG64(0).random_raw(40))[:8].tolist()}
    options = dict(trajectories=1, include=("lyapunov_spectrum",))
    found = {
        (samples, seed): drawn(analyze_checkpoint(run[0], samples=samples, sample_seed=seed, **options))["indices"]
        for samples, seed in ((8, 0), (20, 0), (40, 0), (40, 1))
    }
    assert found[20, 0][:8] == found[40, 0][:8] == found[8, 0] == drawn(tree)["indices"]
    assert sorted(found[40, 0]) == sorted(found[40, 1]) == list(range(40))
    assert found[40, 0] != found[40, 1]
    assert max(found[8, 0]) >= 20  # not the first ones


PLAIN = {name: getattr(TrainConfig(), name) for name in ("residual", "r", "delta_r")}


def test_the_samples_depend_neither_on_the_network_nor_on_the_start_vectors(tmp_path, tree) -> None:
    options = dict(samples=8, trajectories=1, include=("lyapunov_spectrum",))
    for changes in (dict(r=0.9), dict(model="lstm", **PLAIN), dict(seed=3)):
        config = dataclasses.replace(CONFIG, **changes)
        path = save_checkpoint(tmp_path / str(len(list(tmp_path.iterdir()))), build_model(config), config, iteration=0)
        for rng in (0, 7):
            assert drawn(analyze_checkpoint(path, rng=rng, **options)) == drawn(tree)


def test_chosen_samples_are_those_of_the_test_set() -> None:
    task = build_task(CONFIG)
    inputs, targets = (
        torch.cat(parts, dim=axis) for parts, axis in zip(zip(*task.test_batches(), strict=True), (1, 0), strict=True)
    )
    chosen = torch.tensor([39, 0, 7])
    assert task.test_count == len(targets) == 40
    found = task.test_samples(chosen)
    torch.testing.assert_close(found[0], inputs[:, chosen], rtol=0, atol=0)
    torch.testing.assert_close(found[1], targets[chosen], rtol=0, atol=0)


@pytest.mark.parametrize("operator", ["hessian", "ggn"])
def test_curvature_of_the_recurrent_parameters_alone(run, operator: str) -> None:
    """Against the rows and columns of the whole operator that belong to them."""
    checkpoint = load_checkpoint(run[0])
    model, task = checkpoint.model.double(), build_task(CONFIG)
    names = [name for name, _ in model.named_parameters()]
    assert names[:2] == list(model.recurrent_parameters) == ["recurrent.weight", "recurrent.bias"]
    options = dict(samples=8, trajectories=1, include=("hessian_spectrum",), hessian_k=3, operator=operator)
    tree = analyze_checkpoint(run[0], parameters=model.recurrent_parameters, **options)
    inputs, targets = (part.double() for part in task.test_samples(torch.tensor(drawn(tree)["indices"])))
    whole = curvature_operator(model, (inputs, targets), task.loss, operator=operator)
    block = (whole @ np.eye(whole.shape[0]))[:42, :42]
    values = np.linalg.eigvalsh(block)
    expected = values[np.argsort(-abs(values))][:3]
    np.testing.assert_allclose(tree["hessian_spectrum"].eigenvalue, expected, rtol=1e-6)
    config = json.loads(tree["hessian_spectrum"].attrs["config_json"])
    assert config["parameters"] == [["recurrent.weight", [6, 6]], ["recurrent.bias", [6]]]
    assert (config["operator"], config["momentum"]) == (operator, 0.9)
    by_glob = analyze_checkpoint(run[0], parameters="recurrent.*", **options)
    xr.testing.assert_equal(by_glob["hessian_spectrum"].to_dataset(), tree["hessian_spectrum"].to_dataset())


RECURRENT = {
    "wcrnn": ["recurrent.weight", "recurrent.bias"],
    "elman": ["recurrent.weight", "recurrent.bias"],
    "lstm": ["recurrent.weight_hh_l0", "recurrent.bias_hh_l0"],
    "ur-lstm": ["recurrent.weight", "bias", "forget_bias"],
    "s4d": [f"layers.{layer}.{name}" for name in ("log_step", "log_decay", "frequency") for layer in (0, 1)],
}


@pytest.mark.parametrize("name", RECURRENT)
def test_every_family_names_its_recurrent_parameters(tmp_path, name: str) -> None:
    config = TrainConfig(length=5, model=name, hidden_size=4, test_size=10, **({"modes": 2} if name == "s4d" else {}))
    model = build_model(config)
    path = save_checkpoint(tmp_path / name, model, config, iteration=0)
    options = dict(samples=4, trajectories=1, include=("hessian_spectrum",), hessian_k=2)
    tree = analyze_checkpoint(path, parameters=model.recurrent_parameters, **options)
    listed = json.loads(tree["hessian_spectrum"].attrs["config_json"])["parameters"]
    assert [parameter for parameter, _ in listed] == RECURRENT[name]


def test_the_network_is_described(run, tree) -> None:
    network = tree["network"].to_dataset()
    magnitudes = np.sort(np.log(load_checkpoint(run[0]).model.residual.matrix().diagonal().abs().numpy()))[::-1]
    np.testing.assert_allclose(network["residual_log_magnitude"], magnitudes, rtol=1e-6)
    assert TrainConfig.from_json(network.attrs["config_json"]) == CONFIG
    assert network.attrs["iteration"] == 5
    assert network.attrs["test_metric"] == run[1].test_metrics[-1]
    assert network.attrs["metric_name"] == "rms"
    assert json.loads(tree["lyapunov_spectrum"].attrs["config_json"])["driven"] is True


def test_the_network_holds_its_predictions(run, tree) -> None:
    """The same object that plots and bounds come from, with the weights of the checkpoint."""
    predictions = predict(load_checkpoint(run[0]).model)
    stored = Predictions.from_dataset(tree["network"].to_dataset())
    for name in ("exponents", "lower_bounds", "upper_bounds"):
        np.testing.assert_allclose(getattr(stored, name), getattr(predictions, name), rtol=1e-6)
    assert stored.regime == predictions.regime == "subcritical"
    exponents = tree["lyapunov_spectrum"]["lyapunov_exponent"].values
    assert (exponents <= stored.upper_bounds + 1e-9).all()
    assert (exponents >= stored.lower_bounds - 1e-9).all()


def test_rounding_to_float32_leaves_a_critical_network_critical(tmp_path) -> None:
    config = TrainConfig(length=6, residual="rotation", phi="random", r=1.0, hidden_size=8, test_size=5)
    path = save_checkpoint(tmp_path / "net", build_model(config), config, iteration=0)
    tree = analyze_checkpoint(path, samples=2, trajectories=1, include=("lyapunov_spectrum",))
    assert tree["network"].attrs["regime"] == "critical"


BASELINES = {"elman": {}, "lstm": {}, "ur-lstm": {}, "s4d": {"layers": 1, "modes": 2}}


@pytest.mark.parametrize("name", BASELINES)
def test_checkpoints_of_baselines_are_analysed(tmp_path, name: str) -> None:
    config = TrainConfig(length=12, model=name, hidden_size=4, test_size=10, **BASELINES[name])
    model = build_model(config)
    path = save_checkpoint(tmp_path / name, model, config, iteration=0, test_metric=0.5, metric_name="rms")
    tree = analyze_checkpoint(path, samples=4, trajectories=2, hessian_k=2)
    assert tree["lyapunov_spectrum"].sizes["exponent"] == model.state_size
    predicted = {"elman": "0.00000", "lstm": "-", "ur-lstm": "-"}.get(name)
    if name == "s4d":
        predicted = f"-inf..{predict(model).rate:.5f}"
    cells = exponent_table({name: tree}).splitlines()[2].split()
    assert cells[:4] == [name, "0", "-", predicted]
    assert cells[-1] == "0.5"


def test_a_checkpoint_without_a_metric_is_analysed_too(tmp_path) -> None:
    path = save_checkpoint(tmp_path / "bare", build_model(CONFIG), CONFIG, iteration=3)
    tree = analyze_checkpoint(path, samples=2, trajectories=1, include=("lyapunov_spectrum",))
    assert "test_metric" not in tree["network"].attrs
    assert exponent_table({"bare": tree}).splitlines()[2].split()[-1] == "-"


def test_training_curve(run) -> None:
    curve = training_curve(run[1])
    assert curve["test_metric"].values.tolist() == run[1].test_metrics
    assert curve["iteration"].values.tolist() == [0, 5]
    assert curve.attrs["best_metric"] == min(run[1].test_metrics)


def test_rows_combine_trajectories() -> None:
    inputs = torch.randn(500, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    spectrum = lyapunov_spectrum(systems.MatrixProduct(2), inputs, transient=100)
    tree = xr.DataTree.from_dict({"lyapunov_spectrum": spectrum})
    rows = {name: (value, error) for name, value, error in exponent_rows(tree)}
    assert all(0 < error < 0.1 for _, error in rows.values())  # long enough for errors that are known
    assert rows["largest"][0] == pytest.approx(spectrum.lyapunov_exponent.values[:, 0].mean())
    assert rows["largest"][1] == pytest.approx(np.sqrt((spectrum.standard_error.values[:, 0] ** 2).sum()) / 3)
    assert rows["mean"][0] == pytest.approx(spectrum.lyapunov_exponent.values.mean())
    averaged = spectrum.local_growth.mean("exponent").transpose("step", "trajectory").values
    window = torch.from_numpy(np.diff(spectrum.step.values, prepend=100)).double()
    errors = MeanGrowth.of(torch.from_numpy(averaged) * window[:, None], window).errors().standard
    assert rows["mean"][1] == pytest.approx(float(errors.square().sum().sqrt()) / 3)
    assert rows["smallest"][0] == pytest.approx(spectrum.lyapunov_exponent.values[:, -1].mean())


def test_the_error_of_the_mean_weighs_windows_by_their_steps() -> None:
    """Against the same run decomposed at every step, on a run long enough for unequal windows."""
    model = build_model(CONFIG).double()
    inputs = torch.rand(900, 1, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = []
    for interval in ("auto", 1):
        spectrum = lyapunov_spectrum(model, inputs, transient=100, qr_interval=interval)
        rows = {name: row for name, *row in exponent_rows(xr.DataTree.from_dict({"lyapunov_spectrum": spectrum}))}
        found.append(rows["mean"])
        assert rows["mean"][0] == pytest.approx(spectrum.lyapunov_exponent.values.mean())
    assert len(set(np.diff(lyapunov_spectrum(model, inputs).step.values))) > 1
    assert found[0][1] == pytest.approx(found[1][1], rel=0.5)


def test_table_shows_prediction_and_measurement(run, tree) -> None:
    lines = exponent_table({"first": tree, "second": tree}).splitlines()
    assert len(lines) == 4
    cells = lines[2].split()
    magnitudes = tree["network"]["residual_log_magnitude"].values
    assert cells[:3] == ["first", "5", "0.95"]
    assert cells[3] == f"{magnitudes[-1]:.5f}..{magnitudes[0]:.5f}"
    assert float(cells[4].split("(")[0]) == pytest.approx(exponent_rows(tree)[0][1], abs=2e-5)
    assert float(cells[-1]) == pytest.approx(run[1].test_metrics[-1], rel=1e-3)


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (-0.0051293, 0.00012, "-0.00513(12)"),
        (-0.2231436, 0.0000034, "-0.2231436(34)"),
        (0.5, 0.01234, "0.50000(1234)"),
        (0.1, 0.0, "0.10000(0)"),
        (0.25, math.inf, "0.25000(?)"),
        (-math.inf, 0.0, "-inf"),
    ],
)
def test_errors_are_in_units_of_the_last_digits(value: float, error: float, text: str) -> None:
    assert with_error(value, error) == text


def test_by_default_32_samples_are_drawn_or_all_of_a_smaller_test_set(run, tmp_path) -> None:
    options = dict(trajectories=1, include=("lyapunov_spectrum",))
    assert len(drawn(analyze_checkpoint(run[0], **options))["indices"]) == 32  # of 40
    train(TrainConfig(length=6, hidden_size=4, epochs=1, iterations_per_epoch=2, test_size=7), tmp_path / "small")
    assert sorted(drawn(analyze_checkpoint(tmp_path / "small", **options))["indices"]) == list(range(7))


def test_columns_are_aligned() -> None:
    assert table(["a", "bb"], [["long", "1"], ["x", "222"]]).splitlines() == [
        "a      bb",
        "----  ---",
        "long    1",
        "x     222",
    ]


REFUSALS = {
    "no samples": (dict(samples=0), "samples must be at least 1, got 0"),
    "sample_seed": (dict(sample_seed=-1), "sample_seed must be at least 0, got -1"),
    "operator": (dict(operator="fisher"), "operator must be one of hessian, ggn, residual, got 'fisher'"),
    "parameters": (dict(parameters="*hh*"), r"unknown parameters \['\*hh\*'\].*'recurrent.weight'"),
    "too many samples": (dict(samples=41), "the test set has 40 samples, fewer than the 41"),
    "trajectories": (dict(samples=4, trajectories=5), "between 1 and the number of samples 4, got 5"),
    "unknown analysis": (dict(include=("spectrum",)), "include must name some of"),
    "k": (dict(k=7), "k must be between 1 and the state size 6, got 7"),
    "hessian_k": (dict(hessian_k=10_000), "between 1 and the number of parameters"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_mistakes_are_user_errors(run, name: str) -> None:
    options, message = REFUSALS[name]
    with pytest.raises(UserError, match=message):
        analyze_checkpoint(run[0], **options)

import dataclasses
import json
import pickle
import re

import numpy as np
import pytest
import safetensors.torch
import torch

from wcrnn_models import (
    WCRNN,
    TrainConfig,
    UserError,
    checkpoints,
    list_checkpoints,
    load_checkpoint,
    residuals,
    save_checkpoint,
)
from wcrnn_models.files import sha256
from wcrnn_models.training import saved as saved_networks
from wcrnn_models.training.build import build_model

CONFIG = TrainConfig(hidden_size=6, residual="rotation", phi="random", seed=4, dtype="float64")


@pytest.fixture
def saved(tmp_path):
    model = build_model(CONFIG)
    with torch.no_grad():
        model.readout.bias.fill_(0.25)
    path = save_checkpoint(tmp_path / "net.v1", model, CONFIG, iteration=12, test_metric=0.5, metric_name="rms")
    return path, model


def rewrite_weights(path, change):
    """Change the weights and make the checksum match."""
    weights = safetensors.torch.load_file(path)
    change(weights)
    content = safetensors.torch.save(weights)
    path.write_bytes(content)
    rewrite_metadata(path, lambda values: values.update(weights_sha256=sha256(content)))


def rewrite_metadata(path, change):
    json_path = path.with_suffix(".json")
    values = json.loads(json_path.read_text())
    change(values)
    json_path.write_text(json.dumps(values))


def test_round_trip_by_either_file(saved):
    path, model = saved
    assert path.name == "net.v1.safetensors"
    for given in (path, str(path), path.with_suffix(".json")):
        loaded = load_checkpoint(given)
        assert loaded.config == CONFIG
        assert loaded.iteration == 12
        assert loaded.metadata["test_metric"] == 0.5
        assert loaded.metadata["metric_name"] == "rms"
        assert loaded.sha256 == sha256(path.read_bytes())
        for name, value in model.state_dict().items():
            assert torch.equal(loaded.model.state_dict()[name], value)
        inputs = torch.ones(3, 2, 2, dtype=torch.float64)
        assert torch.equal(loaded.model(inputs), model(inputs))


def test_the_description_is_readable(saved):
    values = json.loads(saved[0].with_suffix(".json").read_text())
    assert values["config"] == json.loads(CONFIG.to_json())
    assert values["format_version"] == 1


def test_a_directory_gives_its_last_checkpoint(tmp_path):
    model = build_model(CONFIG)
    for name, iteration in (("b", 0), ("c", 100), ("a", 20)):
        save_checkpoint(tmp_path / "checkpoints" / name, model, CONFIG, iteration=iteration)
    assert [path.stem for path in list_checkpoints(tmp_path)] == ["b", "a", "c"]
    assert [path.stem for path in list_checkpoints(tmp_path / "checkpoints")] == ["b", "a", "c"]
    assert load_checkpoint(tmp_path).iteration == 100
    (tmp_path / "checkpoints" / "c.json").unlink()  # as after a crash between the two files
    assert load_checkpoint(tmp_path).iteration == 20


def test_saving_again_replaces(saved):
    path, model = saved
    save_checkpoint(path.with_suffix(""), model, CONFIG, iteration=13)
    assert load_checkpoint(path).iteration == 13
    assert sorted(file.name for file in path.parent.iterdir()) == ["net.v1.json", "net.v1.safetensors"]


def test_weights_of_another_configuration_are_not_saved(tmp_path):
    other = dataclasses.replace(CONFIG, hidden_size=8)
    with pytest.raises(UserError, match=r"recurrent.weight as \(\(8, 8\), torch.float64\), expected"):
        save_checkpoint(tmp_path / "x", build_model(other), CONFIG, iteration=0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.pop("readout.bias"), "lacks readout.bias"),
        (lambda weights: weights.update(extra=torch.ones(1)), "has the unknown extra"),
        (
            lambda weights: weights.update({"input.weight": torch.ones(6, 3)}),
            r"has input.weight as \(\(6, 3\), torch.float32\), expected \(\(6, 2\), torch.float64\)",
        ),
    ],
    ids=["missing", "extra", "shape"],
)
def test_weights_that_do_not_fit_are_named(saved, change, message):
    rewrite_weights(saved[0], change)
    with pytest.raises(UserError, match=message):
        load_checkpoint(saved[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values.update(format_version=2), "has format version 2, this program reads 1"),
        (lambda values: values.pop("format_version"), "no format_version"),
        (lambda values: values.pop("iteration"), "lacks iteration"),
        (lambda values: values.update(iteration="1"), "iteration must be an integer >= 0, got '1'"),
        (lambda values: values.update(iteration=True), "iteration must be an integer >= 0, got True; copy it again"),
        (lambda values: values.update(test_metric="0.5"), "test_metric must be a finite number or null, got '0.5'"),
        (
            lambda values: values.update(test_metric=float("nan")),
            "test_metric must be a finite number or null, got nan",
        ),
        (lambda values: values.update(metric_name=3), "metric_name must be a string or null, got 3; copy it again"),
        (lambda values: values["config"].update(r=float("nan")), "r must be finite"),
        (lambda values: values["config"].pop("seed"), "lacks the field.s. seed"),
        (lambda values: values.update(config=None), "must be a JSON object"),
        (lambda values: values.update(weights_sha256="0"), "expected SHA-256 0, got"),
    ],
    ids=[
        *("version", "no version", "field", "iteration", "boolean", "metric", "nan metric", "metric name"),
        *("value", "config field", "config", "checksum"),
    ],
)
def test_descriptions_that_do_not_fit(saved, change, message):
    rewrite_metadata(saved[0], change)
    with pytest.raises(UserError, match=message) as caught:
        load_checkpoint(saved[0])
    assert saved[0].stem in str(caught.value)


VARIANTS = {
    "scalar": {},
    "fixed rotation": {"residual": "rotation", "phi": 0.2244},
    "random rotation": {"residual": "rotation", "phi": "random"},
    "heterogeneous": {"residual": "heterogeneous", "delta_r": 0.06},
    "orthogonal": {"residual": "orthogonal"},
    "product": {"residual": "rotation", "phi": 0.3, "delta_r": 0.06},
}
EDITS = {
    "r": ("scalar", {"r": 0.99}, "residual.r than its configuration gives, by up to 0.04"),
    "coupling": ("scalar", {"coupling": 0.02}, "coupling than its configuration gives, by up to 0.01"),
    "phi": ("fixed rotation", {"phi": 0.2245}, "residual.scaled_cosine than its configuration gives"),
    "rotation strength": ("random rotation", {"r": 1.0}, "residual.scaled_sine than its configuration gives"),
    "seed": ("random rotation", {"seed": 5}, "residual.scaled_cosine than its configuration gives"),
    "delta_r": ("heterogeneous", {"delta_r": 0.0600001}, "residual.r than its configuration gives"),
    "factor": ("product", {"delta_r": 0.07}, "residual.factors.1.r than its configuration gives"),
    "orthogonal seed": ("orthogonal", {"seed": 5}, "residual.weight than its configuration gives"),
    "centre": ("heterogeneous", {"r": 0.951}, "residual.r than its configuration gives, by up to 0.001"),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_residual_and_coupling_are_rebuilt_from_the_configuration(tmp_path, variant, dtype):
    config = TrainConfig(hidden_size=32, r=0.95, seed=4, dtype=dtype, **VARIANTS[variant])
    path = save_checkpoint(tmp_path / "net", build_model(config), config, iteration=1)
    buffers = dict(load_checkpoint(path).model.named_buffers())
    assert all(torch.equal(buffers[name], value) for name, value in build_model(config).named_buffers())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_residual_or_coupling_is_named(tmp_path, edit, dtype):
    variant, change, message = EDITS[edit]
    config = TrainConfig(hidden_size=32, r=0.95, seed=4, dtype=dtype, **VARIANTS[variant])
    path = save_checkpoint(tmp_path / "net", build_model(config), config, iteration=1)
    rewrite_metadata(path, lambda values: values["config"].update(change))
    with pytest.raises(UserError, match=rf"net.safetensors do not fit their configuration: .*has another {message}"):
        load_checkpoint(path)


def test_a_residual_of_another_configuration_is_not_saved(tmp_path):
    model = build_model(CONFIG)
    model.coupling.mul_(2)
    with pytest.raises(UserError, match=r"has another coupling than its configuration gives, by up to 0.01"):
        save_checkpoint(tmp_path / "x", model, CONFIG, iteration=0)
    assert list(tmp_path.iterdir()) == []


NETWORKS = {
    "informed B": {"residual": "informed", "coupling": "informed", "form": "B"},
    "no tanh": {"nonlinearity": "identity"},
    "elman": {"model": "elman"},
    "lstm": {"model": "lstm"},
    "ur-lstm": {"model": "ur-lstm"},
    "s4d": {"model": "s4d", "layers": 2, "modes": 3},
}


@pytest.fixture(params=NETWORKS)
def trained(request, tmp_path):
    """A checkpoint of every kind of network, with weights that no seed gives."""
    config = TrainConfig(hidden_size=6, dtype="float64", **NETWORKS[request.param])
    model = build_model(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.linspace(-0.1, 0.2, parameter.numel(), dtype=torch.float64).reshape(parameter.shape))
    return save_checkpoint(tmp_path / "net", model, config, iteration=7), model, config


def test_every_network_comes_back(trained):
    path, model, config = trained
    loaded = load_checkpoint(path)
    assert type(loaded.model) is type(model)
    assert loaded.config == config
    inputs = torch.linspace(-1, 1, 40, dtype=torch.float64).reshape(10, 2, 2)
    assert torch.equal(loaded.model(inputs), model(inputs))


def test_extra_missing_and_foreign_weights_of_every_network_are_named(trained):
    path, model, _ = trained
    name = next(name for name, _ in model.named_parameters())
    rewrite_weights(path, lambda weights: weights.update({"more.weight": weights.pop(name)}))
    with pytest.raises(UserError, match=f"lacks {name}; it has the unknown more.weight") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)
    other = "lstm" if type(model).__name__ != "LSTM" else "ur-lstm"
    defaults = json.loads(TrainConfig(model=other, hidden_size=6, dtype="float64").to_json())
    rewrite_metadata(path, lambda values: values.update(config=defaults))
    with pytest.raises(UserError, match=r"the weights of .* do not fit their configuration: it lacks"):
        load_checkpoint(path)


@pytest.fixture
def dense_network(tmp_path):
    np.save(tmp_path / "R.npy", np.triu(np.full((4, 4), 0.1)) + 0.8 * np.eye(4))
    config = TrainConfig(hidden_size=4, residual="dense", residual_file=str(tmp_path / "R.npy"))
    model = build_model(config)
    return save_checkpoint(tmp_path / "net", model, config, iteration=1), model


def test_a_dense_residual_travels_with_its_checkpoint(dense_network):
    path, model = dense_network
    (path.parent / "R.npy").unlink()
    loaded = load_checkpoint(path).model
    assert torch.equal(loaded.residual.matrix(), model.residual.matrix())
    save_checkpoint(path.with_name("again"), loaded, load_checkpoint(path).config, iteration=2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.pop("residual.weight"), "lacks residual.weight"),
        (lambda weights: weights.update({"residual.weight": torch.eye(3)}), r"has residual.weight as \(\(3, 3\)"),
        (
            lambda weights: weights["residual.weight"].fill_(float("nan")),
            "the residual of .* is not finite; copy",
        ),
    ],
    ids=["missing", "size", "nan"],
)
def test_a_damaged_dense_residual_is_named(dense_network, change, message):
    rewrite_weights(dense_network[0], change)
    with pytest.raises(UserError, match=message):
        load_checkpoint(dense_network[0])


def replace_once(monkeypatch, directory, function):
    """Just before the named function reads anything: iteration 20 is superseded by 30."""
    module = saved_networks if function == "read_checkpoint" else checkpoints
    original = getattr(module, function)
    replaced = []

    def race(file):
        if not replaced:
            replaced.append(file)
            save_checkpoint(directory / "checkpoints" / "30", build_model(CONFIG), CONFIG, iteration=30)
            for suffix in (".json", ".safetensors"):
                (directory / "checkpoints" / f"20{suffix}").unlink()
        return original(file)

    monkeypatch.setattr(module, function, race)
    return replaced


@pytest.mark.parametrize("function", ["_read_metadata", "read_checkpoint"])
def test_a_checkpoint_that_is_superseded_meanwhile(tmp_path, monkeypatch, function):
    for iteration in (0, 20):
        save_checkpoint(tmp_path / "checkpoints" / f"{iteration}", build_model(CONFIG), CONFIG, iteration=iteration)
    replaced = replace_once(monkeypatch, tmp_path, function)
    assert load_checkpoint(tmp_path).iteration == 30
    assert replaced
    assert [path.stem for path in list_checkpoints(tmp_path)] == ["0", "30"]


def test_checkpoints_that_never_hold_still(tmp_path, monkeypatch):
    save_checkpoint(tmp_path / "0", build_model(CONFIG), CONFIG, iteration=0)
    pauses = []
    monkeypatch.setattr(checkpoints.time, "sleep", pauses.append)

    def vanish(path):
        raise FileNotFoundError(path)

    monkeypatch.setattr(checkpoints, "_read_metadata", vanish)
    with pytest.raises(UserError, match="replaced faster than they can be read; wait until the training"):
        load_checkpoint(tmp_path)
    assert len(pauses) == 20
    monkeypatch.undo()
    monkeypatch.setattr(checkpoints.time, "sleep", pauses.append)
    monkeypatch.setattr(checkpoints, "list_checkpoints", lambda _: [tmp_path / "gone.safetensors"])
    with pytest.raises(UserError, match="replaced faster than they can be read"):
        load_checkpoint(tmp_path)
    assert len(pauses) == 40


def test_a_damaged_checkpoint_of_a_directory_is_refused_at_once(tmp_path, monkeypatch):
    path = save_checkpoint(tmp_path / "0", build_model(CONFIG), CONFIG, iteration=0)
    path.write_bytes(path.read_bytes()[:-8])
    monkeypatch.setattr(checkpoints.time, "sleep", lambda _: pytest.fail("tried again"))
    with pytest.raises(UserError, match="or is truncated: expected SHA-256"):
        load_checkpoint(tmp_path)


def test_truncated_weights(saved):
    path = saved[0]
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(UserError, match="or is truncated: expected SHA-256"):
        load_checkpoint(path)
    rewrite_metadata(path, lambda values: values.update(weights_sha256=sha256(path.read_bytes())))
    with pytest.raises(UserError, match="not a valid safetensors file"):
        load_checkpoint(path)


def test_truncated_description(saved):
    path = saved[0].with_suffix(".json")
    path.write_text(path.read_text()[:-5])
    with pytest.raises(UserError, match=r"net.v1.json is not valid JSON"):
        load_checkpoint(saved[0])


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_missing_twin(saved, suffix):
    saved[0].with_suffix(suffix).unlink()
    with pytest.raises(UserError, match=rf"checkpoint file .*net.v1{suffix} does not exist; .* needs it, copy both"):
        load_checkpoint(saved[0])


def test_missing_files(tmp_path):
    with pytest.raises(UserError, match=r"the checkpoint file .* does not exist"):
        load_checkpoint(tmp_path / "none.safetensors")
    with pytest.raises(UserError, match="holds no checkpoint; give the directory of a run, made by `wcrnn train`"):
        load_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"the run in .* has no checkpoint yet; wait, or train it again"):
        load_checkpoint(tmp_path)
    (tmp_path / "history.json").write_text("{}")
    with pytest.raises(UserError, match=r"the checkpoints of the run in .* are missing; restore its folder"):
        load_checkpoint(tmp_path)
    with pytest.raises(UserError, match=r"the directory .* does not exist"):
        list_checkpoints(tmp_path / "none")


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


def test_pickles_are_refused_and_not_executed(tmp_path, saved):
    path = tmp_path / "model.pt"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UserError, match="pickle files are not read"):
        load_checkpoint(path)
    saved[0].write_bytes(pickle.dumps(Bomb()))
    rewrite_metadata(saved[0], lambda values: values.update(weights_sha256=sha256(saved[0].read_bytes())))
    with pytest.raises(UserError, match="not a valid safetensors file"):
        load_checkpoint(saved[0])


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".pkl"])
def test_a_state_dict_is_refused_with_a_recipe_that_works(suffix, tmp_path, capsys):
    """As a checkpoint, as the matrix of a residual, and as data."""
    from lyapkit import lyapunov_spectrum
    from wcrnn_models.cli import main

    trained = WCRNN(1, 4, 1, residual=residuals.scalar(0.9), rng=3)
    path = tmp_path / f"colleague{suffix}"
    torch.save(trained.state_dict(), path)
    assert main(["analyze", str(path)]) == 2
    message = capsys.readouterr().err
    network = WCRNN(1, 4, 1, residual=residuals.scalar(0.9), rng=4)
    load, analyse = re.search(r"(network\.load_state_dict\(.*\)), and .* as in (lyapkit\..*\))\.", message).groups()
    names = {"network": network, "torch": torch, "inputs": torch.rand(5, 2, 1)}
    eval(load, names)
    spectrum = eval(analyse.removeprefix("lyapkit."), {**names, "lyapunov_spectrum": lyapunov_spectrum})
    expected = lyapunov_spectrum(trained, names["inputs"])
    assert np.array_equal(spectrum.lyapunov_exponent, expected.lyapunov_exponent)

    entries = tmp_path / f"matrix{suffix}"
    torch.save(torch.eye(4), entries)
    options = ["--residual", "dense", "--residual-file", str(entries), "--hidden-size", "4"]
    for given in (options, ["--task", "arrays", "--data", str(entries)]):
        assert main(["train", str(tmp_path / "run"), *given]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"wcrnn: error: {entries} is a pickle file, which is not read, because loading one can")
    loaded = eval(re.search(r"torch\.load\(.*?\)", line).group(), {"torch": torch})
    np.save(tmp_path / "R.npy", loaded.numpy())
    options[3] = str(tmp_path / "R.npy")
    small = ["--length", "4", "--epochs", "1", "--iterations-per-epoch", "1", "--test-size", "2"]
    assert main(["train", str(tmp_path / "run"), *options, *small]) == 0

import dataclasses
import json
import pickle

import pytest
import safetensors.torch
import torch

from wcrnn_models import TrainConfig, UserError, list_checkpoints, load_checkpoint, save_checkpoint
from wcrnn_models.files import sha256
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
    assert values["config"] == dataclasses.asdict(CONFIG)
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
        (lambda values: values["config"].update(r=float("nan")), "r must be finite"),
        (lambda values: values["config"].pop("seed"), "lacks the field.s. seed"),
        (lambda values: values.update(config=None), "must be a JSON object"),
        (lambda values: values.update(weights_sha256="0"), "expected SHA-256 0, got"),
    ],
    ids=["version", "no version", "field", "iteration", "value", "config field", "config", "checksum"],
)
def test_descriptions_that_do_not_fit(saved, change, message):
    rewrite_metadata(saved[0], change)
    with pytest.raises(UserError, match=message) as caught:
        load_checkpoint(saved[0])
    assert saved[0].stem in str(caught.value)


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
    with pytest.raises(UserError, match=rf"no checkpoint file .*net.v1{suffix}; .* needs it, copy both"):
        load_checkpoint(saved[0])


def test_missing_files(tmp_path):
    with pytest.raises(UserError, match="there is no checkpoint file"):
        load_checkpoint(tmp_path / "none.safetensors")
    with pytest.raises(UserError, match="holds no checkpoint"):
        load_checkpoint(tmp_path)
    with pytest.raises(UserError, match="there is no directory"):
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

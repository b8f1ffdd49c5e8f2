"""Damaged and incomplete runs are refused."""

import dataclasses
import json
import math
import shutil

import pytest
import torch

from short_runs import CONFIG, interrupted_run
from wcrnn_models import UserError, train
from wcrnn_models.tasks import AddingProblem

BIG = json.dumps({**dataclasses.asdict(CONFIG), "r": 10**400})  # an integer that no float64 can hold


def change_state(change):
    """A damage that loads the state, changes it and writes it again."""

    def damage(path):
        state = torch.load(path, weights_only=True)
        change(state)
        torch.save(state, path)

    return damage


def momentum(state):
    return state["optimizer"]["state"][0]


DAMAGES = {
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-200]), "is damaged"),
    "empty": (lambda path: path.write_bytes(b""), "is damaged"),
    "list": (lambda path: torch.save([1], path), "not a state of format version 4"),
    "version": (lambda path: torch.save({"format_version": 1}, path), "not a state of format version 4"),
    "tensor version": (lambda path: torch.save({"format_version": torch.ones(2)}, path), "not a state of format"),
    "content": (lambda path: torch.save({"format_version": 4}, path), "lacks config_sha256, total, iterations"),
    **{
        name: (change_state(change), message)
        for name, change, message in [
            ("no model", lambda state: state.pop("model"), "lacks model"),
            (
                "no evaluation",
                lambda state: state.update(iterations=[], train_losses=[], gradient_norms=[], test_metrics=[]),
                "at least one",
            ),
            ("no iterations", lambda state: state.update(iterations=[]), "as many entries as iterations, 0, got 3"),
            (
                "short metrics",
                lambda state: state["test_metrics"].pop(),
                "test_metrics must have as many entries .* 3, got 2",
            ),
            (
                "text",
                lambda state: state.update(test_metrics=["1"] * 3),
                "test_metrics must be a list of finite numbers",
            ),
            ("nan", lambda state: state.update(train_losses=[math.nan] * 3), "train_losses must be a list of finite"),
            ("dictionary", lambda state: state.update(iterations={}), "iterations must be a list of integers"),
            (
                "tensors",
                lambda state: state.update(iterations=list(torch.arange(3))),
                "iterations must be a list of int",
            ),
            ("norms", lambda state: state.update(gradient_norms=[None] * 3), "gradient_norms must be a list of finite"),
            ("reached", lambda state: state.update(reached=9), "reached must be an iteration of the run or None"),
            ("order", lambda state: state.update(iterations=[0, 8, 8]), "iterations must increase from 0"),
            ("start", lambda state: state.update(iterations=[1, 4, 8]), "iterations must increase from 0"),
            ("beyond", lambda state: state.update(iterations=[0, 4, 31]), "must not exceed the total 30, got 31"),
            ("total", lambda state: state.update(total=20), "belongs to another run: total is 20 there and 30 here"),
            (
                "tensor total",
                lambda state: state.update(total=torch.ones(2)),
                "belongs to another run: total is tensor",
            ),
            (
                "sha",
                lambda state: state.update(config_sha256="0"),
                "another run: config_sha256 is '0' there and '[0-9a-f]{64}' ",
            ),
            ("model", lambda state: state.update(model=None), "does not fit the run's configuration"),
            ("weights", lambda state: state.update(model={}), "the model lacks coupling; it lacks"),
            (
                "numbers",
                lambda state: state["model"].update({"readout.bias": 1}),
                "does not fit the run's configuration",
            ),
            ("coupling", lambda state: state["model"]["coupling"].mul_(2), "the model has another coupling"),
            ("optimizer", lambda state: state.update(optimizer=None), "does not fit the run's configuration"),
            (
                "no groups",
                lambda state: state["optimizer"].update(param_groups=[]),
                "does not fit the run's configuration",
            ),
            (
                "rate",
                lambda state: state["optimizer"]["param_groups"][0].update(lr=1.0),
                "the optimizer has another lr",
            ),
            ("momentum", lambda state: momentum(state).update(momentum_buffer=torch.ones(3)), "shape of its parameter"),
            ("no momenta", lambda state: state["optimizer"].update(state={}), "the optimizer lacks momenta"),
            (
                "no tensor",
                lambda state: momentum(state).update(momentum_buffer=7),
                "does not fit the run's configuration",
            ),
        ]
    },
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_state_is_refused(tmp_path, monkeypatch, name):
    damage, message = DAMAGES[name]
    interrupted_run(tmp_path, monkeypatch)
    damage(tmp_path / "resume.pt")
    with pytest.raises(UserError, match=rf"(?s)resume.pt .*{message}.*; delete .*resume.pt to start the run again"):
        train(CONFIG, tmp_path)


def test_the_state_of_another_run_is_refused(tmp_path, monkeypatch):
    other = dataclasses.replace(CONFIG, seed=1)
    interrupted_run(tmp_path / "a", monkeypatch)
    interrupted_run(tmp_path / "b", monkeypatch, other)
    (tmp_path / "b" / "resume.pt").write_bytes((tmp_path / "a" / "resume.pt").read_bytes())
    message = f"config_sha256 is '{CONFIG.fingerprint()}' there and '{other.fingerprint()}' here"
    with pytest.raises(UserError, match=rf"b/resume.pt belongs to another run: {message}"):
        train(other, tmp_path / "b")


def without_history_and_state(directory):
    (directory / "history.json").unlink()
    (directory / "resume.pt").unlink()


@pytest.mark.parametrize(
    ("remove", "found"),
    [
        (lambda directory: None, "history.json, resume.pt, checkpoints/"),
        (lambda directory: shutil.rmtree(directory / "checkpoints"), "history.json, resume.pt"),
        (without_history_and_state, "checkpoints/"),
    ],
    ids=["all", "files", "checkpoints"],
)
def test_a_run_without_its_configuration_is_refused(uninterrupted, tmp_path, remove, found):
    """With another configuration as with its own, which nothing tells apart."""
    run = tmp_path / "run"
    shutil.copytree(uninterrupted[0], run)
    (run / "config.json").unlink()
    remove(run)
    for config in (CONFIG, dataclasses.replace(CONFIG, r=0.5)):
        with pytest.raises(
            UserError,
            match=rf"run is damaged: it holds {found} of a run, but not its configuration config.json; restore that "
            "file, train into another directory, or delete this one",
        ):
            train(config, run)
    assert not (run / "config.json").exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
def test_a_finished_run_that_has_lost_a_checkpoint_is_refused(uninterrupted, tmp_path, suffix):
    run = tmp_path / "run"
    shutil.copytree(uninterrupted[0], run)
    assert train(CONFIG, run) == uninterrupted[1]
    (run / "checkpoints" / f"iteration-00000030{suffix}").unlink()
    message = (
        rf"run holds a run, but its checkpoint .*run/checkpoints/iteration-00000030{suffix} is missing; restore the "
        "file, or delete the directory to train again"
    )
    with pytest.raises(UserError, match=message):
        train(CONFIG, run)


def test_an_interrupted_run_that_has_lost_a_checkpoint_is_refused(tmp_path, monkeypatch):
    interrupted_run(tmp_path, monkeypatch)
    shutil.rmtree(tmp_path / "checkpoints")
    with pytest.raises(
        UserError, match=r"its checkpoint .*iteration-00000000.safetensors is missing; restore the file"
    ):
        train(CONFIG, tmp_path)


def test_a_chosen_iteration_at_which_a_run_diverged_is_not_listed(tmp_path, monkeypatch):
    """The metric is finite before training and no longer at the next evaluation, where weights were to be kept."""
    values = iter([0.5])
    monkeypatch.setattr(AddingProblem, "metric", lambda *_: next(values, math.nan))
    config = dataclasses.replace(CONFIG, save_at=(2, 4, 6))
    result = train(config, tmp_path)
    assert (result.status, result.diverged_at) == ("diverged", 4)
    names = {"initial": 0, "best": 0, "final": 0, "2": 2}
    assert result.checkpoints == {
        role: f"checkpoints/iteration-{iteration:08d}.safetensors" for role, iteration in names.items()
    }
    assert train(config, tmp_path) == result


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", b"{", "config.json: the configuration is not valid JSON"),
        ("config.json", b'{"r": "\xff"}', "config.json: the configuration is not valid JSON: 'utf-8' codec"),
        ("config.json", BIG.encode(), "config.json: r must be finite, got an integer of 1329 bits; restore the file"),
        ("history.json", b"{", "history.json is not valid JSON"),
        ("history.json", b'"\xff"', "history.json is not valid JSON .*; delete it and train again"),
        ("history.json", b"{}", "history.json is not the history of a training run"),
    ],
    ids=["configuration", "bytes", "integer", "truncated history", "history bytes", "other history"],
)
def test_damaged_files_are_named(tmp_path, monkeypatch, name, content, message):
    interrupted_run(tmp_path, monkeypatch)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        train(CONFIG, tmp_path)


HISTORIES = {
    "status": ({"status": "foo"}, "status must be one of running, finished, diverged"),
    "status list": ({"status": []}, "status must be one of running, finished, diverged"),
    "short iterations": ({"iterations": [0]}, "train_losses must have as many entries as iterations, 1, got 3"),
    "text metrics": ({"test_metrics": "abc"}, "test_metrics must be a list of finite numbers"),
    "infinite loss": ({"train_losses": [1.0, math.inf, 1.0]}, "train_losses must be a list of finite numbers"),
    "best text": ({"best_metric": "0.5"}, "best_iteration and best_metric must be those of an evaluation"),
    "no best": ({"best_metric": None, "best_iteration": None}, "must be those of an evaluation"),
    "other best": ({"best_iteration": 5}, "best_iteration and best_metric must be those of an evaluation"),
    "reached": ({"iterations_to_minimal_performance": "4"}, "must be an iteration of the run or null"),
    "reached late": ({"iterations_to_minimal_performance": 9}, "must be an iteration of the run or null"),
    "total": ({"total_iterations": 7}, "total_iterations must be an integer, not below an iteration"),
    "norms": ({"gradient_norms": [1.0]}, "gradient_norms must have as many entries as iterations, 3, got 1"),
    "diverged": ({"diverged_at": "3"}, "diverged_at must be an integer or null"),
    "warning": ({"warning": 1}, "warning must be a string or null"),
    "metric name": ({"metric_name": None}, "metric_name must be a string"),
    "checkpoints list": ({"checkpoints": []}, "checkpoints must be names by role"),
    "checkpoint number": ({"checkpoints": {"best": 1}}, "checkpoints must be names by role"),
}


@pytest.mark.parametrize("name", HISTORIES)
def test_a_damaged_history_is_refused(tmp_path, monkeypatch, name):
    change, message = HISTORIES[name]
    interrupted_run(tmp_path, monkeypatch)
    history = tmp_path / "history.json"
    history.write_text(json.dumps({**json.loads(history.read_text()), **change}))
    with pytest.raises(UserError, match=rf"history.json is not .*: .*{message}; delete it and train again"):
        train(CONFIG, tmp_path)
    history.unlink()
    assert train(CONFIG, tmp_path).status == "finished"

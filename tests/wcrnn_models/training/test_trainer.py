import dataclasses
import errno
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch

from wcrnn_models import TrainConfig, UserError, list_checkpoints, load_checkpoint, train
from wcrnn_models.files import exclusive
from wcrnn_models.tasks import AddingProblem
from wcrnn_models.training.build import build_model, build_task
from wcrnn_models.training.descent import descend
from wcrnn_models.training.result import TrainResult

CONFIG = TrainConfig(
    length=6,
    hidden_size=8,
    coupling=0.1,
    learning_rate=0.05,
    batch_size=16,
    epochs=3,
    iterations_per_epoch=10,
    test_size=50,
    evaluate_every=4,
    gradient_clip=0.5,
)
BIG = json.dumps({**dataclasses.asdict(CONFIG), "r": 10**400})  # an integer that no float64 can hold


def weights(directory):
    return load_checkpoint(directory).model.state_dict()


def assert_same_run(directory, other):
    assert json.loads((directory / "history.json").read_text()) == json.loads((other / "history.json").read_text())
    expected = weights(other)
    assert all(torch.equal(value, expected[name]) for name, value in weights(directory).items())


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "new" / "run"
    return directory, train(CONFIG, directory)


def test_training_equals_sgd_written_out(uninterrupted):
    """Momentum SGD, clipping and evaluation by hand, from the initial network of the configuration."""
    directory, result = uninterrupted
    model, task = build_model(CONFIG), build_task(CONFIG)
    velocity = [torch.zeros_like(parameter) for parameter in model.parameters()]
    losses, norms, metrics = [], [], [task.test_metric(model)]
    for iteration in range(30):
        inputs, targets = task.train_batch(iteration)
        loss = (model(inputs) - targets).square().mean().sqrt()
        losses.append(loss.item())
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
        norms.append(norm.item())
        with torch.no_grad():
            for parameter, gradient, speed in zip(model.parameters(), gradients, velocity, strict=True):
                speed.mul_(0.9).add_(gradient * min(1.0, 0.5 / norm.item()))
                parameter.sub_(0.05 * speed)
        if (iteration + 1) % 4 == 0 or iteration == 29:
            metrics.append(task.test_metric(model))
    assert result.status == "finished"
    assert result.iterations == [0, 4, 8, 12, 16, 20, 24, 28, 30]
    assert result.test_metrics == pytest.approx(metrics, rel=1e-4)
    for measured, values in ((result.train_losses, losses), (result.gradient_norms, norms)):
        fours = [sum(values[start : start + 4]) / 4 for start in range(0, 28, 4)]
        assert measured == pytest.approx([values[0], *fours, sum(values[28:]) / 2], rel=1e-4)
    for name, value in weights(directory).items():
        torch.testing.assert_close(value, model.state_dict()[name], rtol=1e-3, atol=1e-5)


def test_what_is_kept(uninterrupted):
    directory, result = uninterrupted
    best = min(result.test_metrics)
    assert result.best_metric == best
    assert result.best_iteration == result.iterations[result.test_metrics.index(best)]
    assert result.iterations_to_minimal_performance is None
    assert result.total_iterations == 30
    assert json.loads((directory / "history.json").read_text()) == dataclasses.asdict(result)
    assert TrainConfig.from_json((directory / "config.json").read_text()) == CONFIG
    kept = {str(path.relative_to(directory)) for path in list_checkpoints(directory)}
    assert kept == set(result.checkpoints.values())
    for role, iteration in (("initial", 0), ("best", result.best_iteration), ("final", 30)):
        checkpoint = load_checkpoint(directory / result.checkpoints[role])
        assert checkpoint.iteration == iteration
        assert checkpoint.metadata["test_metric"] == result.test_metrics[result.iterations.index(iteration)]
        measured = build_task(CONFIG).test_metric(checkpoint.model)
        assert measured == pytest.approx(checkpoint.metadata["test_metric"], rel=1e-6)
    initial = load_checkpoint(directory / result.checkpoints["initial"]).model.state_dict()
    assert all(torch.equal(value, build_model(CONFIG).state_dict()[name]) for name, value in initial.items())


def test_a_finished_run_returns_at_once(uninterrupted, monkeypatch):
    directory, result = uninterrupted
    monkeypatch.setattr(AddingProblem, "train_batch", lambda *_: pytest.fail("trained again"))
    assert train(CONFIG, directory) == result


def test_weights_are_kept_at_chosen_iterations(tmp_path, uninterrupted):
    """At evaluations and between them; training itself is not changed."""
    config = dataclasses.replace(CONFIG, save_at=(9, 0, 4, 30))
    result = train(config, tmp_path)
    assert result.test_metrics == uninterrupted[1].test_metrics
    names = {role: f"checkpoints/iteration-{int(role):08d}.safetensors" for role in ("0", "4", "9", "30")}
    assert result.checkpoints.items() >= names.items()
    assert {str(path.relative_to(tmp_path)) for path in list_checkpoints(tmp_path)} == set(result.checkpoints.values())
    between, model = load_checkpoint(tmp_path / names["9"]), build_model(CONFIG)
    assert (between.iteration, between.metadata["test_metric"]) == (9, None)
    shorter = dataclasses.replace(CONFIG, epochs=1, iterations_per_epoch=9, evaluate_every=9)
    train(shorter, tmp_path / "shorter")
    model.load_state_dict(weights(tmp_path / "shorter"))
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in between.model.state_dict().items())


def test_weights_to_keep_beyond_the_end_are_refused(tmp_path):
    with pytest.raises(UserError, match="save_at must not exceed the iterations of the run, 30, got 31"):
        train(dataclasses.replace(CONFIG, save_at=(31,)), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


LEARNABLE = TrainConfig(
    length=2,
    hidden_size=16,
    coupling=0.5,
    r=0.9,
    learning_rate=0.02,
    batch_size=32,
    epochs=3,
    iterations_per_epoch=100,
    test_size=200,
)


def test_minimal_performance_is_found_within_an_epoch(tmp_path):
    """To the probe, against an evaluation at every probe; weights and evaluations stay the same."""
    coarse = train(LEARNABLE, tmp_path / "coarse")
    fine = train(dataclasses.replace(LEARNABLE, evaluate_every=7), tmp_path / "fine")
    probed = train(dataclasses.replace(LEARNABLE, probe_every=7), tmp_path / "probed")
    reached = fine.iterations_to_minimal_performance
    assert coarse.iterations_to_minimal_performance in range(100, 301, 100)
    assert coarse.iterations_to_minimal_performance > reached
    assert probed.iterations_to_minimal_performance == reached
    assert reached % 100
    assert probed.test_metrics == coarse.test_metrics
    assert probed.checkpoints == coarse.checkpoints


@pytest.mark.parametrize("stop", [50, 150, 299])
def test_the_probe_survives_an_interruption(tmp_path, monkeypatch, stop):
    config = dataclasses.replace(LEARNABLE, probe_every=7)
    whole = train(config, tmp_path / "whole")
    interrupted_run(tmp_path / "run", monkeypatch, config, at=stop)
    assert train(config, tmp_path / "run") == whole


def test_a_loss_above_the_limit_ends_a_run(tmp_path):
    """A finite loss is enough; what was measured before stays."""
    config = dataclasses.replace(CONFIG, learning_rate=2.0, gradient_clip=None)
    losses = train(dataclasses.replace(config, evaluate_every=1), tmp_path / "whole").train_losses[1:]
    at = next(i for i in range(29, 0, -1) if losses[i] > max(losses[:i]))  # losses before the steps 0, 1, ...
    limit = max(losses[:at])
    result = train(dataclasses.replace(config, divergence_loss=limit), tmp_path / "run")
    assert (result.status, result.diverged_at) == ("diverged", at)
    assert f"or the loss above {limit:g}, after {at} iterations" in result.warning
    assert result.iterations == [i for i in range(0, 30, 4) if i <= at]
    assert TrainResult.read(tmp_path / "run" / "history.json") == result


def test_a_gradient_that_is_not_finite_ends_a_run(tmp_path, monkeypatch):
    monkeypatch.setattr("wcrnn_models.training.run.gradient_norms", lambda networks: torch.tensor([math.inf]))
    result = train(CONFIG, tmp_path)
    assert (result.status, result.diverged_at) == ("diverged", 0)


class FakeWriter:
    def __init__(self, folder, purge_step):
        self.folder, self.purge_step, self.scalars, self.flushed = folder, purge_step, [], 0
        FakeWriter.last = self

    def add_scalar(self, name, value, iteration):
        self.scalars.append((name, value, iteration))

    def flush(self):
        self.flushed += 1


def test_tensorboard_gets_every_evaluation(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=FakeWriter))
    result = train(CONFIG, tmp_path / "run", tensorboard=tmp_path / "curves")
    writer = FakeWriter.last
    assert (writer.folder, writer.purge_step) == (str(tmp_path / "curves"), 0)
    columns = (
        ("train loss", result.train_losses),
        ("gradient norm", result.gradient_norms),
        ("test rms", result.test_metrics),
    )
    for name, values in columns:
        assert [(value, at) for found, value, at in writer.scalars if found == name] == list(
            zip(values, result.iterations, strict=True)
        )
    assert writer.flushed == len(result.iterations)


def test_tensorboard_goes_on_after_an_interruption(tmp_path, monkeypatch):
    interrupted_run(tmp_path, monkeypatch)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=FakeWriter))
    train(CONFIG, tmp_path, tensorboard=str(tmp_path / "curves"))
    assert FakeWriter.last.purge_step == 12
    assert sorted({iteration for *_, iteration in FakeWriter.last.scalars}) == [12, 16, 20, 24, 28, 30]


def test_missing_tensorboard_is_explained(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match="TensorBoard is not installed; run `pip install tensorboard`"):
        train(CONFIG, tmp_path / "run", tensorboard=tmp_path / "curves")
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_no_directory_for_tensorboard(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=FakeWriter))
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file is a file; name a directory for TensorBoard"):
        train(CONFIG, tmp_path / "run", tensorboard=tmp_path / "file")
    assert not (tmp_path / "run").exists()


def test_tensorboard_is_written_by_the_real_one(tmp_path):
    """Only where it is installed."""
    pytest.importorskip("tensorboard", reason="needs TensorBoard; install the extra tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = train(CONFIG, tmp_path / "run", tensorboard=tmp_path / "curves")
    events = EventAccumulator(str(tmp_path / "curves")).Reload()
    found = [(event.step, event.value) for event in events.Scalars("test rms")]
    assert [step for step, _ in found] == result.iterations
    assert [value for _, value in found] == pytest.approx(result.test_metrics, rel=1e-6)


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("stop", [0, 3, 4, 5, 17, 29])
def test_resuming_after_an_exception_is_exact(uninterrupted, tmp_path, monkeypatch, stop):
    original = AddingProblem.train_batch

    def interrupt(self, iteration):
        if iteration == stop:
            raise Interrupted
        return original(self, iteration)

    with monkeypatch.context() as patch:
        patch.setattr(AddingProblem, "train_batch", interrupt)
        with pytest.raises(Interrupted):
            train(CONFIG, tmp_path)
    if stop > 0:
        assert json.loads((tmp_path / "history.json").read_text())["status"] == "running"
    (tmp_path / ".resume.pt.abc.partial").write_bytes(b"half")  # as left by a process killed while writing
    train(CONFIG, tmp_path)
    assert_same_run(tmp_path, uninterrupted[0])
    assert not (tmp_path / ".resume.pt.abc.partial").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "times"), [(0, 2), (1, 6)])
def test_resuming_after_kills_is_exact(tmp_path, seed, times):
    config = dataclasses.replace(CONFIG, epochs=100, evaluate_every=7)
    code = (
        "import sys, pathlib; from wcrnn_models import TrainConfig, train\n"
        "config = TrainConfig.from_json(sys.argv[2]); train(config, pathlib.Path(sys.argv[1]))"
    )
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    command = [sys.executable, "-c", code, str(killed), config.to_json()]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    delays, kills = random.Random(seed), 0
    for _ in range(times):
        with subprocess.Popen(command, env=environment) as process:
            deadline = time.monotonic() + 60
            before = _evaluations(killed)
            while _evaluations(killed) <= before and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.001)
            time.sleep(delays.uniform(0, 0.15))
            process.send_signal(signal.SIGKILL)
            kills += process.wait() == -signal.SIGKILL
    assert kills > 0
    assert json.loads((killed / "history.json").read_text())["status"] == "running"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train(config, whole)
        train(config, killed)
    finally:
        torch.set_num_threads(threads)
    assert_same_run(killed, whole)


def _evaluations(directory):
    try:
        return len(json.loads((directory / "history.json").read_text())["iterations"])
    except FileNotFoundError:
        return 0


def test_a_task_can_be_learnt(tmp_path):
    config = dataclasses.replace(LEARNABLE, epochs=6)
    result = train(config, tmp_path)
    assert result.best_metric < 0.05 < 0.3 < result.test_metrics[0]
    first = next(i for i, metric in zip(result.iterations, result.test_metrics, strict=True) if metric <= 0.05)
    assert result.iterations_to_minimal_performance == first


def test_divergence_is_recorded(tmp_path):
    config = dataclasses.replace(CONFIG, learning_rate=1e30, gradient_clip=None)
    result = train(config, tmp_path)
    assert result.status == "diverged"
    assert result.iterations == [0]
    assert 0 < result.diverged_at < 4
    assert "diverged" in result.warning
    assert f"after {result.diverged_at} iterations" in result.warning
    assert json.loads((tmp_path / "history.json").read_text())["diverged_at"] == result.diverged_at
    assert load_checkpoint(tmp_path).iteration == 0
    assert train(config, tmp_path) == result


def test_divergence_of_the_untrained_network(tmp_path):
    result = train(dataclasses.replace(CONFIG, r=1e30), tmp_path)
    assert (result.status, result.diverged_at, result.best_metric) == ("diverged", 0, None)
    assert load_checkpoint(tmp_path).iteration == 0


def test_divergence_between_loss_and_evaluation(tmp_path, monkeypatch):
    """The loss stays finite, but the step before an evaluation makes a weight or the metric infinite."""

    def overflow(optimizers):
        descend(optimizers)
        optimizers[0].param_groups[0]["params"][0].data.fill_(float("inf"))

    monkeypatch.setattr("wcrnn_models.training.run.descend", overflow)
    result = train(dataclasses.replace(CONFIG, evaluate_every=1), tmp_path / "weights")
    assert (result.status, result.diverged_at) == ("diverged", 1)
    monkeypatch.setattr("wcrnn_models.training.run.descend", descend)
    monkeypatch.setattr(AddingProblem, "metric", lambda *_: float("nan"))
    result = train(CONFIG, tmp_path / "metric")
    assert (result.status, result.diverged_at) == ("diverged", 0)


def test_another_configuration_is_refused_by_its_fields(uninterrupted):
    other = dataclasses.replace(CONFIG, seed=1, r=0.9)
    with pytest.raises(UserError, match=r"r is 0.995 there and 0.9 here, seed is 0 there and 1 here"):
        train(other, uninterrupted[0])


def test_a_directory_in_use_is_refused(tmp_path):
    with exclusive(tmp_path), pytest.raises(UserError, match="in use by process"):
        train(CONFIG, tmp_path)
    assert not (tmp_path / "config.json").exists()


def interrupted_run(directory, monkeypatch, config=CONFIG, at=9):
    original = AddingProblem.train_batch

    def interrupt(self, iteration):
        if iteration == at:
            raise Interrupted
        return original(self, iteration)

    with monkeypatch.context() as patch:
        patch.setattr(AddingProblem, "train_batch", interrupt)
        with pytest.raises(Interrupted):
            train(config, directory)


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


def test_integers_may_stand_for_floats_when_resuming(tmp_path, monkeypatch, uninterrupted):
    interrupted_run(tmp_path, monkeypatch, dataclasses.replace(CONFIG, r=1))
    assert train(dataclasses.replace(CONFIG, r=1.0), tmp_path).status == "finished"


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


def test_a_file_is_not_a_run_directory(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file; name a directory"):
        train(CONFIG, tmp_path / "file")


@pytest.mark.parametrize("function", ["pathlib.Path.mkdir", "wcrnn_models.training.trainer.open_own"])
def test_a_directory_that_cannot_be_written_is_refused(tmp_path, monkeypatch, function):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(function, refuse)
    message = r"the directory .*new cannot be made or written \(Permission denied\); name another for the run"
    with pytest.raises(UserError, match=message):
        train(CONFIG, tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_an_unusable_device_is_refused(tmp_path):
    with pytest.raises(UserError, match="device 'nonsense' cannot be used here"):
        train(CONFIG, tmp_path, device="nonsense")


def test_a_device_without_numbers_leaves_no_directory(tmp_path):
    with pytest.raises(UserError, match=r"device 'meta' cannot be used here .*; use 'cpu'"):
        train(CONFIG, tmp_path / "new" / "run", device="meta")
    assert list(tmp_path.iterdir()) == []


def interrupt_at_once(monkeypatch):
    def interrupt(*_):
        raise Interrupted

    monkeypatch.setattr(AddingProblem, "train_batch", interrupt)


def test_a_run_that_fails_before_its_first_evaluation_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("WCRNN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("WCRNN_DATA_DIR", raising=False)
    with pytest.raises(UserError, match="run `wcrnn data fetch mnist`"):
        train(TrainConfig(task="smnist"), tmp_path / "new" / "run")
    interrupt_at_once(monkeypatch)
    with pytest.raises(Interrupted):
        train(CONFIG, tmp_path / "new" / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_run_leaves_what_was_there(tmp_path, monkeypatch):
    """Neither other files nor a directory that existed are deleted, and another configuration can follow."""
    kept = tmp_path / "run" / "checkpoints" / "notes.json"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"precious")
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("WCRNN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("WCRNN_DATA_DIR", raising=False)
    for name in ("run", "empty"):
        with pytest.raises(UserError, match="run `wcrnn data fetch mnist`"):
            train(TrainConfig(task="smnist"), tmp_path / name)
    with monkeypatch.context() as patch:  # after the untrained network has been kept
        interrupt_at_once(patch)
        with pytest.raises(Interrupted):
            train(CONFIG, tmp_path / "run")
    assert [path.name for path in kept.parent.iterdir()] == ["notes.json"]
    assert kept.read_bytes() == b"precious"
    assert list((tmp_path / "empty").iterdir()) == []
    assert train(CONFIG, tmp_path / "empty").status == "finished"
    assert train(CONFIG, tmp_path / "run").status == "finished"


def test_a_run_that_diverged_at_once_keeps_its_record_when_what_follows_fails(tmp_path, monkeypatch):
    """It is complete, though it has no evaluation."""
    config = dataclasses.replace(CONFIG, r=1e30)

    def fail(*_, **__):
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr("wcrnn_models.training.trainer.tqdm", fail)
        with pytest.raises(Interrupted):
            train(config, tmp_path)
    assert (tmp_path / "config.json").read_text() == config.to_json()
    assert train(config, tmp_path).status == "diverged"


def test_a_run_that_was_claimed_before_stays_claimed(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text(CONFIG.to_json())  # as after a kill before the first evaluation
    interrupt_at_once(monkeypatch)
    with pytest.raises(Interrupted):
        train(CONFIG, tmp_path)
    assert (tmp_path / "config.json").read_text() == CONFIG.to_json()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_training_on_a_gpu(tmp_path, uninterrupted):
    result = train(CONFIG, tmp_path, device="cuda")
    assert result.test_metrics == pytest.approx(uninterrupted[1].test_metrics, rel=1e-3)


def test_mnist_in_short(small_mnist, tmp_path, monkeypatch):
    monkeypatch.setenv("WCRNN_DATA_DIR", str(small_mnist))
    config = TrainConfig(task="psmnist", hidden_size=4, batch_size=20, epochs=2, residual="rotation", phi=0.2)
    result = train(config, tmp_path)
    assert (result.status, result.metric_name, result.iterations) == ("finished", "accuracy", [0, 2, 4])
    assert result.best_metric == max(result.test_metrics)

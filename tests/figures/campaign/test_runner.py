import dataclasses
import math
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from figures.campaign.records import read_records
from figures.campaign.runner import Campaign
from figures.campaign.stage import Stage
from figures.campaign.status import iterations, status
from wcrnn_models.sweeps.claims import claim
from wcrnn_models.sweeps.layout import plan, run_name
from wcrnn_models.training.config import TrainConfig
from wcrnn_models.training.trainer import train

TINY = TrainConfig(
    length=4, hidden_size=4, batch_size=2, epochs=1, iterations_per_epoch=6, test_size=5, evaluate_every=2, loss="mse"
)


def tiny(**changes):
    return dataclasses.replace(TINY, **changes)


PILOT = Stage(
    "pilot",
    "learning rates",
    lambda rates: [tiny(learning_rate=rate, validation_size=5, test_size=None) for rate in (1e-3, 1e-9)],
    ("learning_rate",),
)
FINAL = Stage(
    "final",
    "seeds at the rate that the pilot found",
    lambda rates: [tiny(seed=seed, learning_rate=rates.of("pilot")) for seed in (0, 1)],
    ("seed",),
    ("pilot",),
)


@pytest.fixture
def campaign(tmp_path):
    lines = []
    made = Campaign((FINAL, PILOT), tmp_path / "records", tmp_path / "runs", say=lines.append)
    made.lines = lines
    return made


def test_stages_wait_for_their_learning_rates_and_take_them(campaign):
    campaign.work()
    pilot, final = (read_records(campaign.records, name) for name in ("pilot", "final"))
    assert [record.config.learning_rate for record in pilot] == [1e-3, 1e-9]
    best = min(pilot, key=lambda record: record.result.test_metrics[-1]).config.learning_rate
    assert [(record.config.seed, record.config.learning_rate) for record in final] == [(0, best), (1, best)]
    assert [line.partition(":")[0] for line in campaign.lines] == ["pilot", "pilot", "final", "final"]
    assert "learning_rate 0.001: finished, best mse" in campaign.lines[0]


def test_records_hold_what_training_alone_gives_and_the_change_of_weights(campaign, tmp_path):
    campaign.work()
    (first, *_) = read_records(campaign.records, "final")
    alone = train(first.config, tmp_path / "alone")
    assert first.result.iterations == alone.iterations == [0, 2, 4, 6]
    assert first.result.test_metrics == pytest.approx(alone.test_metrics, rel=1e-5)
    from wcrnn_models.training.saved import load_checkpoint

    before, after = (
        dict(load_checkpoint(tmp_path / "alone" / alone.checkpoints[role]).model.named_parameters())
        for role in ("initial", "final")
    )
    assert set(first.weights) == set(before)
    for name, (start, end, change) in first.weights.items():
        expected = [before[name].norm(), after[name].norm(), (after[name] - before[name]).norm()]
        assert [start, end, change] == pytest.approx([each.item() for each in expected], rel=2e-5)
    assert first.where.startswith("cpu, 1 thread(s), PyTorch")


def test_what_has_a_record_is_not_trained_again_also_without_its_run(campaign, tmp_path):
    campaign.work()
    before = (campaign.records / "final.json").read_bytes()
    again = Campaign(campaign.stages, campaign.records, tmp_path / "elsewhere", say=campaign.lines.append)
    again.work()
    assert not (tmp_path / "elsewhere").exists()
    assert (campaign.records / "final.json").read_bytes() == before
    assert len(campaign.lines) == 4


def test_data_that_are_missing_are_named_once_and_the_rest_goes_on(campaign, tmp_path, monkeypatch):
    monkeypatch.setenv("WCRNN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("WCRNN_DATA_DIR", raising=False)
    images = Stage("images", "", lambda rates: [TrainConfig(task="smnist"), TrainConfig(task="psmnist")], ("task",))
    campaign.stages = (images, *campaign.stages)
    campaign.work()
    assert [line for line in campaign.lines if line.startswith("images: skipped:")] == campaign.lines[:1]
    assert "wcrnn data fetch mnist" in campaign.lines[0]
    assert len(read_records(campaign.records, "final")) == 2


def test_a_training_that_fails_is_said_once_and_the_rest_goes_on(campaign):
    bad = Stage("bad", "", lambda rates: [tiny(save_at=(700,))], ("seed",))
    campaign.stages = (bad, *campaign.stages)
    campaign.work()
    assert [line for line in campaign.lines if "failed: save_at must not exceed" in line] == campaign.lines[:1]
    assert len(read_records(campaign.records, "final")) == 2
    assert read_records(campaign.records, "bad") == []


def test_a_training_of_another_process_is_left_to_it(campaign, monkeypatch):
    monkeypatch.setattr("figures.campaign.runner.WAIT_SECONDS", 0.05)
    config = tiny(learning_rate=1e-3, validation_size=5, test_size=None)
    plan([config], campaign.runs)

    def release(*_):
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, release)
    signal.setitimer(signal.ITIMER_REAL, 1.5)
    with pytest.raises(KeyboardInterrupt), claim(campaign.runs / run_name(config)):
        campaign.work()
    assert [record.config.learning_rate for record in read_records(campaign.records, "pilot")] == [1e-9]
    campaign.work()
    assert len(read_records(campaign.records, "pilot")) == 2


def test_status_counts_and_estimates(campaign):
    text = status(campaign)
    assert "0 trainings done" in text
    campaign.work()
    assert "4 trainings done, about 0.0 hours left" in status(campaign)


def test_iterations_are_counted_without_data():
    assert iterations(TINY) == 6
    assert iterations(TrainConfig(epochs=2)) == 2000
    assert iterations(TrainConfig(task="smnist", epochs=3)) == 3 * math.ceil(60000 / 128)
    assert iterations(TrainConfig(task="smnist", epochs=1, validation_size=5000)) == math.ceil(55000 / 128)
    assert iterations(TrainConfig(task="scifar10", epochs=1, batch_size=100)) == 500


COMMAND = """
import sys
sys.path.append(CLONE)
import figures.campaign.stages as stages
from wcrnn_models.training.config import TrainConfig
def slow(rates):
    return [TrainConfig(length=30, hidden_size=8, batch_size=8, epochs=2, iterations_per_epoch=150, test_size=20,
                        evaluate_every=3, loss="mse", seed=seed) for seed in range(2)]
stages.STAGES = (stages.Stage("slow", "", slow, ("seed",)),)
from figures.campaign.command import main
if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
"""
CLONE = Path(__file__).parents[3]


def start(folder, *arguments):
    folder.mkdir(exist_ok=True)
    script = folder / "measure.py"  # a file, as the processes of --threads import it
    script.write_text(COMMAND.replace("CLONE", repr(str(CLONE))))
    command = [sys.executable, script, "--records", folder / "records", "--runs", folder / "runs", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_training(process, runs):
    """Return when a training of the process has begun: before, its imports are what a signal meets."""
    for _ in range(600):
        owners = [path.read_text() for path in runs.glob("*/.claim/owner.json")]
        if process.poll() is not None or any(f'"process": {process.pid},' in owner for owner in owners):
            return
        time.sleep(0.1)
    raise AssertionError("no training has begun within a minute")


@pytest.mark.slow
def test_kills_interrupts_and_budgets_change_no_bit(tmp_path):
    calm, rough = tmp_path / "calm", tmp_path / "rough"
    output, errors = start(calm).communicate(timeout=300)
    assert "2 trainings done" in output, errors
    for number in range(6):
        process = start(rough, *(("--budget", "6s") if number == 2 else ()))
        if number != 2:
            wait_for_training(process, rough / "runs")
            time.sleep(number / 3)
            process.send_signal(signal.SIGKILL if number % 2 else signal.SIGINT)
        output, errors = process.communicate(timeout=300)
        if process.returncode == 0 and "2 trainings done" in output:
            break
        if number == 2:
            assert (process.returncode, "the budget is spent" in output) == (0, True), errors
        elif number % 2 == 0:
            assert process.returncode == 130, errors
            assert errors.strip().startswith("figures measure: interrupted")
            assert errors.count("\n") == 1
    output, errors = start(rough).communicate(timeout=300)
    assert "2 trainings done" in output, errors
    for one, other in zip(read_records(calm / "records", "slow"), read_records(rough / "records", "slow"), strict=True):
        assert one.result == other.result
    finals = [
        sorted((folder / "runs").glob("*/checkpoints/iteration-00000300.safetensors")) for folder in (calm, rough)
    ]
    assert [path.read_bytes() for path in finals[0]] == [path.read_bytes() for path in finals[1]]
    assert len(finals[0]) == 2


@pytest.mark.slow
def test_two_processes_share_the_work(tmp_path):
    output, errors = start(tmp_path, "--threads", "2").communicate(timeout=300)
    assert "2 trainings done" in output, errors
    assert len(read_records(tmp_path / "records", "slow")) == 2


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_helpers_end_with_the_main_process(tmp_path, number):
    process = start(tmp_path, "--threads", "2")
    deadline = time.monotonic() + 120
    while len(list((tmp_path / "runs").glob("*/attempts.jsonl"))) < 2:  # both are training
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(number)
    process.communicate(timeout=20)  # until all that hold its output have ended


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_many_networks_are_trained_together_on_a_gpu(tmp_path):
    stage = Stage("together", "", lambda rates: [tiny(seed=seed, epochs=2) for seed in range(5)], ("seed",))
    lines = []
    Campaign((stage,), tmp_path / "gpu", tmp_path / "gpu_runs", "cuda", say=lines.append).work()
    Campaign((stage,), tmp_path / "cpu", tmp_path / "cpu_runs", "cpu", say=lines.append).work()
    for one, other in zip(
        read_records(tmp_path / "gpu", "together"), read_records(tmp_path / "cpu", "together"), strict=True
    ):
        assert one.config == other.config
        assert one.result.test_metrics == pytest.approx(other.result.test_metrics, rel=1e-3)

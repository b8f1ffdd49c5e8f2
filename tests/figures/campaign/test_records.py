import json

import pytest

from figures.campaign.records import Record, add_records, read_records
from wcrnn_models.errors import UserError
from wcrnn_models.training.config import TrainConfig
from wcrnn_models.training.result import TrainResult


def record(seed=0, metrics=(0.5, 0.123456789), **changes):
    result = TrainResult(
        status="finished",
        metric_name="rms",
        best_metric=min(metrics),
        best_iteration=10 * metrics.index(min(metrics)),
        iterations_to_minimal_performance=None,
        total_iterations=10,
        iterations=[0, 10],
        train_losses=[1 / 3, 1e-30 / 3],
        gradient_norms=[2.0, 1.0],
        test_metrics=list(metrics),
        diverged_at=None,
        warning=None,
        checkpoints={"initial": "checkpoints/a.safetensors"},
    )
    given = {"config": TrainConfig(seed=seed, save_at=(3,)), "result": result, "weights": {"a": (1.0, 2.0, 1 / 3)}}
    return Record(**{**given, "seconds_per_iteration": 0.1, "commit": "abc", "where": "cpu", **changes})


def test_records_come_back_with_six_digits_and_without_checkpoints(tmp_path):
    add_records(tmp_path, "stage", [record()])
    (found,) = read_records(tmp_path, "stage")
    assert found.config == TrainConfig(seed=0, save_at=(3,))
    assert found.result.test_metrics == [0.5, 0.123457]
    assert (found.result.best_metric, found.result.best_iteration) == (0.123457, 10)
    assert found.result.train_losses == [0.333333, 3.33333e-31]
    assert found.result.checkpoints == {}
    assert found.weights == {"a": (1.0, 2.0, 0.333333)}
    assert (found.seconds_per_iteration, found.commit, found.where) == (0.1, "abc", "cpu")


def test_a_stage_without_a_file_has_no_records(tmp_path):
    assert read_records(tmp_path / "missing", "stage") == []


def test_records_are_added_and_never_replaced(tmp_path):
    add_records(tmp_path, "stage", [record(0, metrics=(0.5, 0.25))])
    add_records(tmp_path, "stage", [record(0, metrics=(0.5, 0.125)), record(1)])
    found = read_records(tmp_path, "stage")
    assert [each.config.seed for each in found] == [0, 1]
    assert found[0].result.best_metric == 0.25


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"version": 2, "stage": "stage", "trainings": []}', "not a record of version 1 of the stage stage, got 2"),
        ('{"version": 1, "stage": "other", "trainings": []}', "not a record of version 1 of the stage stage"),
        ("[]", "not a record of version 1"),
        ("{", "is not valid JSON"),
        ('{"version": 1, "stage": "stage", "trainings": [{}]}', "is damaged"),
        ('{"version": 1, "stage": "stage"}', "is damaged"),
    ],
)
def test_other_files_are_refused_and_kept(tmp_path, content, message):
    path = tmp_path / "stage.json"
    path.write_text(content)
    for action in (lambda: read_records(tmp_path, "stage"), lambda: add_records(tmp_path, "stage", [record()])):
        with pytest.raises(UserError, match=message) as raised:
            action()
        assert "move it away" in str(raised.value)
    assert path.read_text() == content


def test_a_damaged_result_is_refused(tmp_path):
    add_records(tmp_path, "stage", [record()])
    path = tmp_path / "stage.json"
    content = json.loads(path.read_text())
    content["trainings"][0]["result"]["iterations"] = [5, 10]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="iterations must increase from 0"):
        read_records(tmp_path, "stage")

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wcrnn_models.errors import UserError
from wcrnn_models.tasks import AddingProblem


def whole_test_set(task):
    inputs, targets = zip(*task.test_batches(), strict=True)
    return torch.cat(inputs, dim=1), torch.cat(targets)


@given(length=st.integers(2, 40), seed=st.integers(0, 2**40), iteration=st.integers(0, 10**6))
@settings(deadline=None, max_examples=40)
def test_target_is_the_sum_of_one_marked_number_in_each_half(length, seed, iteration):
    task = AddingProblem(length, batch_size=9, seed=seed, dtype=torch.float64)
    inputs, targets = task.train_batch(iteration)
    assert inputs.shape == (length, 9, 2)
    assert targets.shape == (9, 1)
    for sample in range(9):
        values, cues = inputs[:, sample, 0].tolist(), inputs[:, sample, 1].tolist()
        marked = [step for step, cue in enumerate(cues) if cue == 1.0]
        assert sorted(cues) == [0.0] * (length - 2) + [1.0, 1.0]
        assert marked[0] < length // 2 <= marked[1]
        assert targets[sample, 0].item() == values[marked[0]] + values[marked[1]]
        assert all(0 <= value <= 1 for value in values)


def test_cues_reach_every_step_of_their_half():
    cues = AddingProblem(7, batch_size=2000).train_batch(0)[0][:, :, 1].sum(dim=1)
    assert cues[:3].sum() == cues[3:].sum() == 2000
    assert bool((cues[:3] > 580).all())  # a third each, within 4 standard errors
    assert bool((cues[3:] > 420).all())  # a quarter each


def test_batches_depend_on_seed_and_iteration_alone():
    task, again, other = AddingProblem(5, seed=1), AddingProblem(5, seed=1), AddingProblem(5, seed=2)
    task.train_batch(0)
    for part in (0, 1):
        assert torch.equal(task.train_batch(17)[part], again.train_batch(17)[part])
        assert not torch.equal(task.train_batch(17)[part], task.train_batch(18)[part])
        assert not torch.equal(task.train_batch(17)[part], other.train_batch(17)[part])
        assert torch.equal(whole_test_set(task)[part], whole_test_set(again)[part])
        assert not torch.equal(whole_test_set(task)[part], whole_test_set(other)[part])


def test_test_set_has_the_stated_size_and_is_not_a_training_batch():
    task = AddingProblem(4, batch_size=1234, test_size=1234)
    assert [len(targets) for _, targets in task.test_batches()] == [500, 500, 234]
    assert not torch.equal(whole_test_set(task)[1], task.train_batch(0)[1])


def test_validation_samples_are_neither_those_of_the_test_nor_those_of_the_training():
    task = AddingProblem(4, batch_size=700, test_size=700, validation_size=700)
    judged, tested = whole_test_set(task), whole_test_set(AddingProblem(4, test_size=700))
    assert judged[0].shape == tested[0].shape
    assert not torch.equal(judged[1], tested[1])
    assert not torch.equal(judged[1], task.train_batch(0)[1])
    with pytest.raises(UserError, match="validation_size must be at least 1, got 0"):
        AddingProblem(4, validation_size=0)


def test_mean_squares_are_a_loss_and_a_metric():
    task = AddingProblem(4, loss="mse")
    outputs, targets = torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([[1.0], [0.0], [3.0]])
    assert float(task.loss(outputs, targets)) == pytest.approx((0 + 4 + 1) / 3)
    assert task.metric(outputs, targets) == pytest.approx((0 + 4 + 1) / 3, rel=1e-15)
    assert (task.metric_name, task.reaches(0.05), task.reaches(0.0501)) == ("mse", True, False)


def test_loss_and_metric_are_root_mean_squares():
    task = AddingProblem(4)
    outputs, targets = torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([[1.0], [0.0], [3.0]])
    expected = math.sqrt((0 + 4 + 1) / 3)
    assert task.loss(outputs, targets).item() == pytest.approx(expected, rel=1e-6)
    assert task.metric(outputs, targets) == pytest.approx(expected, rel=1e-15)
    errorless = targets.clone().requires_grad_()
    task.loss(errorless, targets).backward()
    assert torch.equal(errorless.grad, torch.zeros(3, 1))


def test_gradient_of_the_loss():
    outputs = torch.tensor([[0.3], [-0.2], [1.0]], dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([[0.1], [0.4], [0.0]], dtype=torch.float64)
    loss = AddingProblem(4).loss
    assert torch.autograd.gradcheck(lambda values: loss(values, targets), (outputs,))
    assert torch.autograd.gradgradcheck(lambda values: loss(values, targets), (outputs,))


def test_metric_over_unequal_batches_is_that_of_all_samples():
    task = AddingProblem(6, test_size=501)
    inputs, targets = whole_test_set(task)
    first_value = lambda sequences: sequences[0, :, :1]  # noqa: E731
    expected = float((inputs[0, :, 0].double() - targets[:, 0].double()).square().mean().sqrt())
    assert task.test_metric(first_value) == pytest.approx(expected, rel=1e-12)


def test_predicting_the_mean_gives_the_stated_chance_level():
    task = AddingProblem(10, test_size=20_000)
    chance = task.test_metric(lambda sequences: torch.ones(sequences.shape[1], 1))
    assert chance == pytest.approx(math.sqrt(1 / 6), rel=0.02)


def test_order_of_metrics():
    task = AddingProblem(4)
    assert task.is_better(0.1, 0.2)
    assert not task.is_better(0.2, 0.2)
    assert task.reaches(0.05)
    assert task.reaches(0.01)
    assert not task.reaches(0.051)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 1}, "length of at least 2, one step per half, got 1"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"iterations_per_epoch": 0}, "iterations_per_epoch must be at least 1"),
        ({"test_size": -3}, "test_size must be at least 1, got -3"),
        ({"seed": -1}, "seed must be >= 0, got -1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refusals(options, message):
    with pytest.raises(UserError, match=message):
        AddingProblem(**{"length": 4, **options})

"""Trainings of a fraction of a second, some of them interrupted."""

import pytest

from wcrnn_models import TrainConfig, load_checkpoint, train
from wcrnn_models.tasks import AddingProblem

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


def weights(directory):
    return load_checkpoint(directory).model.state_dict()


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


class Interrupted(Exception):
    pass


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

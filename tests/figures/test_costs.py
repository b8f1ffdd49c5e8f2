import time
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from figures.experiments.costs import COSTS, NETWORK_LENGTH, REPEATS, TESTED, Costs
from figures.protocols import PROTOCOLS
from lyapkit import load, save
from wcrnn_models.training.config import TrainConfig
from wcrnn_models.training.networks import NETWORKS, network_fields

TINY = TrainConfig(length=6, hidden_size=4, batch_size=2, epochs=1, iterations_per_epoch=20, test_size=TESTED)


@dataclass(frozen=True)
class Small(Costs):
    def tasks(self, protocol):
        return {"add6": TINY}

    def networks(self):
        return {"scalar": TINY, "wcrnn-best": TINY}


def test_the_fastest_repeat_counts(monkeypatch, tmp_path):
    elapsed = iter([5.0, 3.0, 2.0, 4.0, 20.0, 10.0] * 3)  # seconds of every measured action
    clock = iter([moment for seconds in elapsed for moment in (0.0, seconds)])
    monkeypatch.setattr(time, "process_time", lambda: next(clock))
    threads = torch.get_num_threads()
    tree = Small().measure(PROTOCOLS["quick"], tmp_path, workers=None, progress=False)
    assert REPEATS == 4
    for name, count in (("tasks", 1), ("networks", 2)):
        assert tree[name].seconds_per_iteration.values.tolist() == [2.0] * count
        assert tree[name].seconds_per_test_sample.values.tolist() == [10.0 / TESTED] * count
    assert tree["networks"].network.values.tolist() == ["scalar", "wcrnn-best"]
    assert torch.get_num_threads() == threads
    assert list(tmp_path.iterdir()) == []
    kept = load(save(tree, tmp_path / "costs.nc"))
    assert kept.attrs["experiment"] == "costs"


def test_more_steps_cost_more(tmp_path):
    @dataclass(frozen=True)
    class Lengths(Small):
        def tasks(self, protocol):
            return {
                f"add{length}": TrainConfig(length=length, iterations_per_epoch=20, epochs=1) for length in (20, 200)
            }

    seconds = Lengths().measure(PROTOCOLS["quick"], tmp_path, workers=1, progress=False)["tasks"].seconds_per_iteration
    ratio = float(seconds.sel(task="add200") / seconds.sel(task="add20"))
    assert 2 < ratio < 50  # 10, but for constant costs and noise


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_measured_are_networks_as_the_paper_trains_them(protocol):
    tasks = COSTS.tasks(protocol)
    expected = ["smnist", "add100"]
    if protocol.name != "quick":
        expected = ["smnist", "psmnist", "scifar10", "add100", "add200", "add400", "add800"]
    assert list(tasks) == expected
    for task, config in tasks.items():
        assert (config.hidden_size, config.batch_size, config.residual, config.test_size) == (
            100,
            128,
            "scalar",
            TESTED,
        )
        assert task == (f"add{config.length}" if config.task == "adding" else config.task)
    networks = COSTS.networks()
    assert list(networks) == ["scalar", *NETWORKS]
    for name in NETWORKS:
        assert networks[name].length == NETWORK_LENGTH
        assert all(getattr(networks[name], field) == value for field, value in network_fields(name).items())
    assert np.isclose(networks["scalar"].r, 0.995)

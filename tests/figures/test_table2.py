from dataclasses import replace

import numpy as np
import pytest

from figures import paper
from figures.experiments.architectures import ARCHITECTURES, digits, tasks
from figures.experiments.comparison import Comparison
from figures.protocols import PROTOCOLS
from figures.table2 import SCRIPT, TITLES
from training_results import result, training
from wcrnn_models.sweeps import collect
from wcrnn_models.training.config import TrainConfig
from wcrnn_models.training.networks import NETWORKS, network_fields

NAMES = list(NETWORKS)
TINY = TrainConfig(length=6, hidden_size=4, batch_size=2, epochs=1, iterations_per_epoch=3, test_size=9)


def contest(metrics, parameters, last, rate):
    dataset = training({"network": NAMES, "seed": [0]}, (0, last))
    dataset["best_metric"] = (("network", "seed"), np.array(metrics)[:, None])
    return dataset.assign(parameters=("network", parameters), learning_rate=("network", [rate] * len(NAMES)))


@pytest.fixture
def text():
    images = contest(np.arange(7) / 10 + 0.05, np.arange(7) + 11_310, 469, 0.02)
    adding = contest([0.4, 1e-3, 0.1, 0.2, 2e-6, 0.01, np.nan], np.arange(7) + 9000, 3000, 0.01)
    children = {"training_smnist": images, "training_add400": adding}
    return SCRIPT.draw({"architectures": result("architectures", children, seeds=1)})


def row(text, network, table):
    rows = [line for line in text.splitlines() if line.startswith(f"| {TITLES[network]} |")]
    return [cell.strip() for cell in rows[table].strip("|").split("|")[1:]]


def test_accuracies_and_parameters_stand_beside_the_papers_accuracies(text):
    for place, network in enumerate(NAMES):
        published = paper.TABLE_2[network]
        assert row(text, network, 0) == [
            f"{11_310 + place:,}",
            f"{10 * place + 5:.2f}",
            f"{100 * published['smnist']:.2f}",
            "not run",
            f"{100 * published['psmnist']:.2f}",
            "not run",
            f"{100 * published['scifar10']:.2f}",
        ]


def test_rms_stand_beside_the_papers(text):
    assert row(text, "wcrnn-best", 1)[5:7] == ["fail", "3.1 · 10⁻⁴"]
    assert row(text, "wcrnn-no-tanh", 1)[5:7] == ["1.0 · 10⁻³", "fail"]
    assert row(text, "lstm", 1)[5:7] == ["2.0 · 10⁻⁶", "2.0 · 10⁻⁶"]
    assert row(text, "s4d", 1) == ["9,006", "not run", "–", "not run", "–", "fail", "–", "not run", "–"]


def test_the_table_says_how_long_was_trained(text):
    trained = "Iterations trained: sMNIST 469 at a learning rate of 0.02, ADD400 3000 at a learning rate of 0.01."
    assert trained in text
    assert "architectures: protocol cpu, 1 seed, commit 0123456789." in text


def test_parameters_are_not_known_where_nothing_was_run():
    tree = result("architectures", {"training_smnist": contest(np.full(7, 0.5), [1] * 7, 5, 0.02)})
    assert row(SCRIPT.draw({"architectures": tree}), "lstm", 1)[0] == "not run"


def test_every_network_of_the_paper_is_ours():
    assert set(paper.TABLE_2) == set(TITLES) == set(NETWORKS)
    assert all(set(published) == set(paper.TASKS) for published in paper.TABLE_2.values())


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_every_network_is_trained_on_every_task(protocol):
    trained = tasks(protocol)
    expected = {
        "quick": ["smnist", "add100"],
        "cpu": ["smnist"],
        "paper": ["smnist", "psmnist", "scifar10", "add100", "add200", "add400", "add800"],
    }
    assert list(trained) == expected[protocol.name]
    seeds = protocol.seeds if protocol.name == "paper" else protocol.seeds[:1]
    for task, networks in trained.items():
        assert list(networks) == NAMES
        for name, configs in networks.items():
            assert tuple(config.seed for config in configs) == seeds
            assert all(
                getattr(config, field) == value for config in configs for field, value in network_fields(name).items()
            )
            assert {config.task if config.task != "adding" else f"add{config.length}" for config in configs} == {task}
    assert digits(protocol) == trained["smnist"]
    trainings = ARCHITECTURES.trainings(protocol)
    assert len(trainings) == len(set(trainings)) == 7 * len(seeds) * len(trained)


def test_the_protocols_of_table_2():
    (cpu,) = digits(PROTOCOLS["cpu"])["lstm"]
    assert (cpu.epochs, cpu.test_size, cpu.train_size) == (1, 2000, None)
    full = tasks(PROTOCOLS["paper"])
    assert {config.epochs for configs in full["scifar10"].values() for config in configs} == {200}
    assert {config.epochs for configs in full["add800"].values() for config in configs} == {150}


@pytest.mark.parametrize("seeds", [(0, 1), (3,)])
def test_networks_are_joined_along_a_dimension(seeds, tmp_path):
    networks = {
        "weak": [replace(TINY, r=0.9, seed=seed) for seed in seeds],
        "other": [replace(TINY, form="B", coupling=0.05, learning_rate=0.1, seed=seed) for seed in seeds],
    }
    experiment = Comparison("tiny", "a small one", lambda protocol: {"add6": networks})
    tree = experiment.measure(PROTOCOLS["quick"], tmp_path, workers=1, progress=False)
    assert (tree.attrs["experiment"], tree.attrs["protocol"], tree.attrs["seeds"]) == ("tiny", "quick", len(seeds))
    joined = tree["training_add6"].to_dataset()
    assert joined.attrs["metric_name"] == "rms"
    assert joined.sizes == {"network": 2, "seed": len(seeds), "iteration": 2}
    assert joined.network.values.tolist() == ["weak", "other"]
    assert joined.seed.values.tolist() == list(seeds)
    for name, configs in networks.items():
        for config in configs:
            alone = collect(tmp_path, [config])
            one = joined.sel(network=name, seed=config.seed)
            np.testing.assert_array_equal(one.test_metric.values, alone.test_metric.values)
            assert float(one.best_metric) == float(alone.best_metric)
    assert joined.parameters.values.tolist() == [(4 * 4 + 4) + (2 * 4 + 4) + (4 + 1)] * 2
    assert joined.learning_rate.values.tolist() == [0.01, 0.1]

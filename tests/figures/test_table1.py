import numpy as np
import pytest

from figures import paper
from figures.cells import NOT_RUN, NOTHING_LEARNT, best, iterations, markdown, of_paper, spread
from figures.experiments.informed import HETEROGENEOUS, INFORMED, tasks
from figures.protocols import PROTOCOLS
from figures.table1 import SCRIPT
from training_results import result, training

NETWORKS = ["homogeneous", "heterogeneous"]


def contest(values, networks=NETWORKS, last=10):
    """Networks with these best metrics, one row of instances each."""
    dataset = training({"network": networks, "seed": list(range(len(values[0])))}, (0, 5, last))
    dataset["best_metric"] = (("network", "seed"), np.array(values, dtype=float))
    return dataset.assign(learning_rate=("network", [0.02] * len(networks)))


def cells(text, name):
    """The cells of every row that begins with a name, one list for each table."""
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row[1:]] for row in rows if row[0].strip() == name]


@pytest.fixture
def informed():
    images = contest([[0.91, 0.93], [0.95, 0.95]], last=1407)
    images["iterations_to_minimal_performance"] = (("network", "seed"), [[200.0, 300.0], [150.0, 1407.0]])
    images["reached_minimal_performance"] = (("network", "seed"), [[1.0, 1.0], [1.0, 0.0]])
    adding = contest([[2e-3, 4e-3], [0.39, 5e-2]], last=25000)
    return {"informed": result("informed", {"training_smnist": images, "training_add100": adding})}


def test_ours_stand_beside_the_papers_numbers(informed):
    text = SCRIPT.draw(informed)
    metric, counts = cells(text, "sMNIST")
    assert metric == ["1407", "92.00 (91.00 to 93.00)", "96.05", "95.00 (95.00 to 95.00)", "98.22"]
    assert counts == ["1407", "250 (200 to 300)", "200", "778 (150 to 1407); reached by 1 of 2", "200"]
    metric, _ = cells(text, "ADD100")
    assert metric[1:3] == ["3.0 · 10⁻³ (2.0 · 10⁻³ to 4.0 · 10⁻³)", "2.0 · 10⁻⁵"]
    assert metric[3:] == ["5.0 · 10⁻²; 1 of 2 failed", "4.6 · 10⁻⁵"]
    assert "informed: protocol cpu, 2 seeds, commit 0123456789." in text
    assert "rotation by\n2π/28 per step with r = 1" in text


def test_what_was_not_run_says_so_beside_the_papers_number(informed):
    metric, counts = cells(SCRIPT.draw(informed), "ADD800")
    assert metric == [NOT_RUN, NOT_RUN, "9.1 · 10⁻⁴", NOT_RUN, "1.9 · 10⁻³"]
    assert counts == [NOT_RUN, NOT_RUN, "290000", NOT_RUN, "410000"]


def test_cells_count_failures_and_divergence():
    dataset = contest([[0.5, 0.7]], ["one"])
    dataset["status"] = (("network", "seed"), [["finished", "diverged"]])
    assert best(dataset, "one", "smnist") == "60.00 (50.00 to 70.00); 1 of 2 diverged"
    assert best(contest([[NOTHING_LEARNT * 1.01] * 2], ["one"]), "one", "add100") == "fail"
    assert best(contest([[0.25]], ["one"]), "one", "add100") == "2.5 · 10⁻¹"
    assert best(dataset, "other", "smnist") == best(None, "one", "smnist") == NOT_RUN
    assert iterations(dataset, "other") == iterations(None, "one") == NOT_RUN
    assert spread(np.array([np.nan]), str) == "fail"


def test_the_rms_of_a_failed_network_is_near_that_of_answering_the_mean():
    sums = np.random.default_rng(0).random((1_000_000, 2)).sum(1)
    assert np.isclose(NOTHING_LEARNT, 0.95 * np.sqrt(np.mean((sums - 1) ** 2)), rtol=2e-3)


def test_cells_of_the_paper():
    assert of_paper(None, "smnist") == "–"
    assert of_paper(paper.FAIL, "add100") == "fail"
    assert of_paper(0.9605, "smnist") == "96.05"
    assert of_paper(2.0e-5, "add100") == "2.0 · 10⁻⁵"


def test_tables_are_markdown():
    assert markdown(["a", "b"], [["x", "1"]]) == "| a | b |\n| --- | ---: |\n| x | 1 |"
    assert markdown(["a", "b"], [], numbers=False) == "| a | b |\n| --- | --- |"


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_both_networks_are_trained_alike(protocol):
    trained = tasks(protocol)
    lengths = protocol.lengths if protocol.name == "paper" else (100,)
    assert list(trained) == ["smnist", "psmnist", *(f"add{length}" for length in lengths)]
    for task, networks in trained.items():
        assert list(networks) == NETWORKS
        for configs in networks.values():
            assert tuple(config.seed for config in configs) == protocol.table_seeds
        one, other = networks["homogeneous"][0], networks["heterogeneous"][0]
        assert (other.residual, other.coupling) == ("informed", "informed") == tuple(HETEROGENEOUS.values())
        for field in ("epochs", "learning_rate", "evaluate_every", "probe_every", "test_size", "length", "r"):
            if field != "r" or task.startswith("add"):
                assert getattr(one, field) == getattr(other, field)
        if task.startswith("add"):
            assert (one.residual, one.r, f"add{one.length}") == ("scalar", 0.995, task)
        else:
            assert (one.residual, one.r, one.task) == ("rotation", 1.0, task)
            assert np.isclose(one.phi, 2 * np.pi / 28, rtol=1e-15)
    trainings = INFORMED.trainings(protocol)
    assert len(trainings) == len(set(trainings)) == 2 * len(protocol.table_seeds) * len(trained)


def test_the_protocols_of_table_1():
    cpu, full = tasks(PROTOCOLS["cpu"]), tasks(PROTOCOLS["paper"])
    image, adding = cpu["psmnist"]["homogeneous"][0], cpu["add100"]["homogeneous"][0]
    assert (image.epochs, image.test_size, image.evaluate_every, image.probe_every) == (3, None, 100, 50)
    assert (adding.epochs, adding.evaluate_every) == (25, 500)
    assert {config.epochs for config in full["smnist"]["homogeneous"]} == {200}
    assert {config.epochs for config in full["add800"]["heterogeneous"]} == {150}
    assert len(full["add800"]["heterogeneous"]) == 5


def test_the_papers_table_1_is_complete():
    for table in (paper.TABLE_1_BEST, paper.TABLE_1_ITERATIONS):
        assert list(table) == NETWORKS
        assert all(list(row) == ["smnist", "psmnist", *paper.ADDING_TASKS] for row in table.values())

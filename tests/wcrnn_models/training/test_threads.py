"""Training chooses PyTorch's threads by the network, and leaves their number as it was."""

import dataclasses
import json
from collections.abc import Iterator

import pytest
import torch

from wcrnn_models import TrainConfig, UserError, train
from wcrnn_models.cli.main import main
from wcrnn_models.training.run import Run

CONFIG = TrainConfig(length=6, hidden_size=8, batch_size=4, epochs=1, iterations_per_epoch=2, test_size=8)


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the number of threads at every iteration."""
    numbers: list[int] = []
    step = Run.step

    def noting(run: Run) -> None:
        numbers.append(torch.get_num_threads())
        step(run)

    monkeypatch.setattr(Run, "step", noting)
    return numbers


def test_a_small_network_has_one_thread(tmp_path, seen: list[int]) -> None:
    assert train(CONFIG, tmp_path).status == "finished"
    assert set(seen) == {1}
    assert torch.get_num_threads() == 2


def test_a_large_network_keeps_its_threads(tmp_path, seen: list[int]) -> None:
    large = dataclasses.replace(CONFIG, hidden_size=1600)  # 4 x 1600^2 is 1.02e7
    train(large, tmp_path)
    assert set(seen) == {2}


@pytest.mark.parametrize("before", [1, 2])
def test_their_number_can_be_given(tmp_path, seen: list[int], before: int) -> None:
    torch.set_num_threads(before)
    train(CONFIG, tmp_path, threads=2)
    assert set(seen) == {2}
    assert torch.get_num_threads() == before


def test_the_command_takes_their_number(tmp_path, seen: list[int]) -> None:
    sizes = {"length": 6, "hidden-size": 8, "batch-size": 4, "epochs": 1, "iterations-per-epoch": 2, "test-size": 8}
    options = [word for name, size in sizes.items() for word in (f"--{name}", str(size))]
    assert main(["train", str(tmp_path / "run"), *options, "--threads", "2"]) == 0
    assert set(seen) == {2}


def test_their_number_is_restored_after_an_error(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(run: Run) -> None:
        assert torch.get_num_threads() == 1
        raise RuntimeError("broken")

    monkeypatch.setattr(Run, "step", failing)
    with pytest.raises(RuntimeError, match="broken"):
        train(CONFIG, tmp_path)
    assert torch.get_num_threads() == 2


def test_no_threads_are_refused(tmp_path) -> None:
    with pytest.raises(UserError, match="threads must be at least 1, got 0; leave it out"):
        train(CONFIG, tmp_path / "run", threads=0)
    assert not (tmp_path / "run").exists()


def test_the_number_of_threads_is_no_part_of_the_configuration(tmp_path) -> None:
    train(CONFIG, tmp_path, threads=2)
    assert "threads" not in json.loads((tmp_path / "config.json").read_text())

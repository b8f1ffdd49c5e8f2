"""Grids of configurations, groups of networks that are trained together, and names of runs."""

import dataclasses

import pytest

from tiny_sweep import TINY
from wcrnn_models import TrainConfig, UserError
from wcrnn_models.sweeps import grid, run_name
from wcrnn_models.sweeps.groups import groups
from wcrnn_models.sweeps.layout import varying


def test_grids():
    configs = grid(TINY, r=[0.9, 1.0], seed=range(3), residual=["scalar"])
    assert [(config.r, config.seed) for config in configs] == [(r, s) for r in (0.9, 1.0) for s in range(3)]
    assert grid(TINY) == [TINY]
    with pytest.raises(UserError, match="no field 'R'"):
        grid(TINY, R=[1.0])
    with pytest.raises(UserError, match=r"no field 'coupl'\. Did you mean 'coupling'"):
        grid(TINY, coupl=[1.0])
    with pytest.raises(UserError, match="the axis r has no value"):
        grid(TINY, r=[])
    with pytest.raises(UserError, match="coupling must be at least 0"):
        grid(TINY, coupling=[0.1, -0.1])
    with pytest.raises(UserError, match="the axis seed has more values than the 100000 runs of a grid; give fewer"):
        grid(TINY, seed=range(10**20))
    with pytest.raises(UserError, match="the grid has 100200 runs, more than 100000; give fewer values, or train sev"):
        grid(TINY, seed=range(334), epochs=range(1, 301))


def test_groups_share_sizes_and_batches():
    configs = {
        "a": TINY,
        "b": dataclasses.replace(TINY, hidden_size=10),
        "c": dataclasses.replace(TINY, residual="rotation", phi=0.1, r=1.0, learning_rate=0.1, seed=4),
        "d": dataclasses.replace(TINY, seed=5),
        "e": dataclasses.replace(TINY, batch_size=8),
        "f": TrainConfig(model="lstm"),
        "g": TrainConfig(model="lstm", seed=1),
        "h": dataclasses.replace(TINY, residual="orthogonal", r=1.0),
        "i": dataclasses.replace(TINY, epochs=TINY.epochs + 1),
    }
    assert groups(configs, 2) == [["a", "c"], ["b"], ["d", "i"], ["e"], ["f"], ["g"], ["h"]]
    assert groups(configs, 9) == [["a", "c", "d", "i"], ["b"], ["e"], ["f"], ["g"], ["h"]]


def test_names_of_runs():
    assert run_name(TINY) == run_name(dataclasses.replace(TINY, length=6))
    assert len({run_name(config) for config in grid(TINY, r=[0.9, 1.0], seed=range(5))}) == 10
    assert len(run_name(TINY)) == 16
    assert varying([TINY, dataclasses.replace(TINY, seed=1, r=0.3)]) == ["seed", "r"]
    assert varying([]) == []

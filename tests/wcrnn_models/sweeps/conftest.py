"""Sweeps in this process."""

import pytest

from tiny_sweep import InProcess
from wcrnn_models.sweeps import driver


@pytest.fixture
def in_process(monkeypatch):
    pool = InProcess()
    monkeypatch.setattr(driver, "make_pool", lambda task, workers, scheduler: pool)
    return pool

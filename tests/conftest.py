"""Settings of the whole suite."""

import os

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
import torch
from hypothesis import settings

mpl.use("Agg")
# one thread: on small matrices more threads only wait for each other, and results stay the same on every machine
torch.set_num_threads(1)

# no deadline: the first call into torch is slow
settings.register_profile("dev", max_examples=20, deadline=None)
settings.register_profile("ci", max_examples=40, deadline=None, derandomize=True)
settings.register_profile("nightly", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))


@pytest.fixture(autouse=True)
def _no_figure_of_another_test():
    """Some tests count open figures, whatever ran before them in the same process."""
    plt.close("all")

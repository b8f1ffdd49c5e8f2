"""A run to compare with."""

import pytest

from short_runs import CONFIG
from wcrnn_models import train


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "new" / "run"
    return directory, train(CONFIG, directory)

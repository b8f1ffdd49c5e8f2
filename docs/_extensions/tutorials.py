"""The order of the tutorials, from a first look at a network to many networks on a cluster."""

from __future__ import annotations

ORDER = (
    "analyse_your_lstm.py",
    "is_it_chaotic.py",
    "choose_a_residual.py",
    "exponents_while_training.py",
    "gradient_flossing.py",
    "sweep_on_a_cluster.py",
)


class Position:
    """The key that sphinx-gallery sorts file names by."""

    def __init__(self, directory: str) -> None:
        self.directory = directory

    def __call__(self, name: str) -> int:
        """Where a script stands; one that is not listed fails the build."""
        return ORDER.index(name)

    def __repr__(self) -> str:
        return "tutorials.Position"  # the same in every build, so that pages are not built again without need

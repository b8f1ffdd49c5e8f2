"""Table 2: WCRNNs, Elman networks, LSTMs and state-space models on the benchmark tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import xarray as xr

from figures import paper
from figures.cells import NOT_RUN, best, markdown, of_paper
from figures.scripts import Script
from figures.style import caption

TITLES = {
    "elman-res-clip": "Elman, identity residual, clipping",
    "elman-wc": "Elman, weakly coupled (type B)",
    "wcrnn-best": "WCRNN, informed heterogeneous",
    "wcrnn-no-tanh": "WCRNN, no tanh",
    "lstm": "LSTM",
    "ur-lstm": "UR-LSTM",
    "s4d": "S4D",
}

NOTES = """\
Mean and range over network instances; fail: no better than always answering the mean. The paper's UR-LSTM and S4 have
250,000 to 32 million and 300,000 parameters and are quoted from their authors; ours have about as many as the other
networks, and S4D is the diagonal variant of S4. The paper gives three results of the network without tanh for four
adding problems; they stand below the first three. For UR-LSTM it gives 1 · 10⁻¹⁰ on a problem of length 2000. Neither
clipping norm (here 1) nor learning rates are in the paper."""


def draw(data: Mapping[str, xr.DataTree]) -> str:
    """Parameters and best accuracy or RMS, ours and the paper's."""
    tree = data["architectures"]
    parts = [
        "# Table 2: network architectures",
        "Best test accuracy in %:",
        _table(tree, paper.IMAGE_TASKS),
        "Best test RMS of the adding problem:",
        _table(tree, paper.ADDING_TASKS),
        _trained(tree),
        NOTES,
        caption([tree]) + ".",
    ]
    return "\n\n".join(parts) + "\n"


def _table(tree: xr.DataTree, tasks: Sequence[str]) -> str:
    header = ["network", "parameters"]
    for task in tasks:
        header += [paper.TITLES[task], "paper"]
    rows = []
    for network, row in paper.TABLE_2.items():
        cells = [TITLES[network], _parameters(tree, network, tasks)]
        for task in tasks:
            cells += [best(_training(tree, task), network, task), of_paper(row[task], task)]
        rows.append(cells)
    return markdown(header, rows)


def _training(tree: xr.DataTree, task: str) -> xr.Dataset | None:
    name = f"training_{task}"
    return tree[name].to_dataset() if name in tree.children else None


def _parameters(tree: xr.DataTree, network: str, tasks: Sequence[str]) -> str:
    """Of the first of the tasks that was run; they differ by the input's size only where they differ at all."""
    for task in tasks:
        training = _training(tree, task)
        if training is not None and network in training.network.values:
            return f"{int(training.parameters.sel(network=network)):,}"
    return NOT_RUN


def _trained(tree: xr.DataTree) -> str:
    trainings = {task: _training(tree, task) for task in paper.TASKS}
    each = [
        f"{paper.TITLES[task]} {int(training.iteration[-1])} at a learning rate of {float(training.learning_rate[0]):g}"
        for task, training in trainings.items()
        if training is not None
    ]
    return f"Iterations trained: {', '.join(each)}."


SCRIPT = Script("network architectures", ("architectures",), draw, "table")

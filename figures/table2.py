"""Table 2: WCRNNs, Elman networks and LSTMs of about equal size on sMNIST."""

from __future__ import annotations

import numpy as np

from figures import paper
from figures.campaign.stages import TABLE_2
from figures.cells import best, iterations, markdown, of_paper, trained
from figures.evidence import Evidence
from figures.missing import NOT_MEASURED, recorded
from figures.report.nonlinear import network
from figures.scripts import Script
from wcrnn_models.training.build import build_model
from wcrnn_models.training.config import TrainConfig
from wcrnn_models.training.networks import network_fields

TITLES = {
    "elman-res-clip": "Elman, identity residual, clipping",
    "elman-wc": "Elman, weakly coupled (type B)",
    "wcrnn-best": "WCRNN, informed heterogeneous",
    "wcrnn-no-tanh": "WCRNN, no tanh",
    "lstm": "LSTM",
}

NOTES = """\
Mean and range over network instances, each network at the best of three learning rates, which the paper does not give;
neither does it give the clipping norm (here 1). MP, minimal performance: an accuracy of 50 %. The paper's other tasks,
and its UR-LSTM and S4 of 250,000 to 32 million parameters, are not part of the campaign."""


def draw(results: Evidence) -> str:
    """Parameters, best accuracy and iterations to minimal performance on sMNIST, and the paper's best accuracy."""
    header = ["network", "parameters", "learning rate", "best accuracy in %", "paper", "iterations to MP"]
    longer = results.training("lstm")
    trainings = [(TITLES[name], name, network(results, name)) for name in TABLE_2]
    rows = []
    for title, name, training in [*trainings, (f"LSTM, {trained(longer)} iterations", "lstm", longer)]:
        rate = float(recorded(training).learning_rate.max()) if recorded(training).sizes["seed"] else np.nan
        rows.append(
            [
                title,
                f"{parameters(name):,}",
                f"{rate:g}" if np.isfinite(rate) else NOT_MEASURED,
                best(training, "smnist"),
                of_paper(paper.TABLE_2[name]["smnist"], "smnist"),
                iterations(training),
            ]
        )
    length = trained(*(training for _, _, training in trainings))
    parts = [
        "# Table 2: network architectures on sMNIST",
        markdown(header, rows),
        f"Iterations trained, if not stated: {length}.",
        NOTES,
    ]
    return "\n\n".join(parts) + "\n"


def parameters(name: str) -> int:
    """Return the number of trained parameters of a network on sMNIST."""
    model = build_model(TrainConfig(task="smnist", **network_fields(name)))
    return sum(each.numel() for each in model.parameters() if each.requires_grad)


SCRIPT = Script("network architectures on sMNIST", ("table2", "lstm"), draw, "table")

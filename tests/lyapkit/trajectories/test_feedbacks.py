"""Feedbacks that do not fit are refused."""

import math

import numpy as np
import pytest
from torch import nn

from lyapkit import (
    as_map,
    lyapunov_spectrum,
    variational_term,
)
from lyapkit.trajectories.closed_loop import ClosedLoop
from probing import TRAINING, B, numbers

GRU = nn.GRU(2, 3).double()


class Normalised(nn.Module):
    """A readout with batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.linear = nn.BatchNorm1d(3).double(), nn.Linear(3, 2).double()

    def forward(self, h):
        return self.linear(self.norm(h))


def test_feedbacks_of_tokens_are_told_to_embed_them() -> None:
    parts = {"embed": nn.Embedding(7, 2), "rnn": nn.GRU(2, 3), "head": nn.Linear(3, 7)}
    model = nn.ModuleDict(parts).double()
    whole = as_map(model, core="rnn", encoder="embed", readout="head")
    for map in (GRU, whole):
        with pytest.raises(ValueError, match=r"returned \(2,\) of torch.int64\. .*: tokens have to be embedded, as by"):
            lyapunov_spectrum(map, steps=5, feedback=lambda h: model["head"](h).argmax(-1))
    with pytest.raises(ValueError, match=r"returned \(2, 7\) of torch.float64\. .* to its next input, behind the enc"):
        lyapunov_spectrum(whole, steps=5, feedback=model["head"])
    with pytest.raises(ValueError, match=r"returned \(2, 7\) of torch.float64\.$"):
        lyapunov_spectrum(GRU, steps=5, feedback=model["head"])
    lyapunov_spectrum(whole, steps=5, feedback=lambda h: model["embed"](model["head"](h).argmax(-1)))


FEEDBACKS = {  # feedback, teacher forcing, error, message
    "wrong shape": (
        nn.Linear(3, 4).double(),
        0.0,
        ValueError,
        r"shape \(..., 2\) .* returned \(2, 4\)",
    ),
    "reads another size": (
        nn.Linear(4, 2).double(),
        0.0,
        ValueError,
        r"cannot read the map's outputs, \(2, 3\) of torch.float64 for two states: mat1 and mat2",
    ),
    "reads another precision": (nn.Linear(3, 2), 0.0, ValueError, "cannot read the map's outputs.*torch.float64"),
    "returns another precision": (lambda h: h[..., :2].float(), 0.0, ValueError, r"returned \(2, 2\) of torch.float32"),
    "returns a pair": (lambda h: (h, h), 0.0, ValueError, "returned tuple"),
    "not callable": ("linear", 0.0, TypeError, "callable, got str"),
    "forcing above one": (nn.Linear(3, 2).double(), 1.01, ValueError, r"between 0 and 1, got 1\.01"),
    "forcing below zero": (nn.Linear(3, 2).double(), -0.1, ValueError, r"between 0 and 1, got -0\.1"),
    "forcing is nan": (nn.Linear(3, 2).double(), math.nan, ValueError, "between 0 and 1, got nan"),
    "forcing is text": (nn.Linear(3, 2).double(), "0.5", TypeError, "must be a number, got '0.5'"),
    "forcing is a truth value": (nn.Linear(3, 2).double(), True, TypeError, "must be a number, got True"),
}


@pytest.mark.parametrize("name", FEEDBACKS)
@pytest.mark.parametrize("analysis", [lyapunov_spectrum, variational_term])
def test_feedbacks_that_do_not_fit_are_refused(analysis, name: str) -> None:
    feedback, forcing, error, message = FEEDBACKS[name]
    with pytest.raises(error, match=message):
        analysis(GRU, steps=5, feedback=feedback, teacher_forcing=forcing)


@pytest.mark.parametrize("analysis", [lyapunov_spectrum, variational_term])
def test_feedbacks_in_training_mode_are_refused(analysis) -> None:
    dropped = nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 2).double())
    for feedback, message in ((Normalised(), "BatchNorm1d"), (dropped, "Dropout")):
        for start in (numbers(3), numbers(B, 3)):
            with pytest.raises(ValueError, match=f"{message} {TRAINING}"):
                analysis(GRU, steps=5, feedback=feedback, initial_state=start)
        analysis(GRU, steps=5, feedback=feedback.eval(), initial_state=numbers(B, 3))
    assert ClosedLoop(as_map(GRU), dropped, np.float32(0.5)).teacher_forcing == 0.5

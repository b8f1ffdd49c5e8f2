"""Layouts, lengths and lists that are refused, in every analysis."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import mse_loss

from footing import ALL, ALONG, LENGTHS, TARGETS, B, N, T, gradients, layer, readout, sequences
from lyapkit import (
    analyze,
    as_map,
    covariant_vectors,
    hessian_spectrum,
    variational_term,
)


def lists() -> Iterator[tuple[Any, str]]:
    parts = [sequences()[:length, b] for b, length in enumerate(LENGTHS)]
    yield (
        parts,
        r"got a list of 3 of shape \(40, 2\), \(17, 2\), \(29, 2\)\. Pad .*pad_sequence\(sequences\), .*lengths=",
    )
    yield [part.numpy() for part in parts], "Pad sequences of unequal length"
    yield list(sequences()), r"Use torch.stack\(sequences, dim=1\) for sequences \(T, M\), or dim=0 for steps \(B, M\)"


@pytest.mark.parametrize("name", [name for name in ALONG if "," not in name] + ["analyze"])
@pytest.mark.parametrize("case", range(3))
def test_lists_of_sequences_are_refused_with_the_remedy(name: str, case: int) -> None:
    parts, message = list(lists())[case]
    with pytest.raises(TypeError, match=message):
        ALL[name](layer(), parts)
    if case == 0:
        with pytest.raises(TypeError, match=r"pad_sequence\(sequences, batch_first=True\)"):
            ALL[name](layer(batch_first=True), parts)


@pytest.mark.parametrize("name", [name for name in ALL if "," not in name])
def test_bad_layouts_and_lengths_are_refused(name: str) -> None:
    with pytest.raises(TypeError, match="batch_first must be True or False, got 'yes'"):
        ALL[name](layer(), sequences(), batch_first="yes")
    with pytest.raises(ValueError, match=r"lengths must lie between .* sequence 1 has 41"):
        ALL[name](layer(), sequences(), lengths=[40, 41, 40])
    with pytest.raises(TypeError, match="lengths must be integers"):
        ALL[name](layer(), sequences(), lengths=[40.0, 17.0, 29.0])
    with pytest.raises((TypeError, ValueError), match=r"\(B, T, (M\)|2\)).*got \(3, 40, 5\)"):
        ALL[name](layer(), torch.zeros(B, T, 5).double(), batch_first=True)


@pytest.mark.parametrize("name", [name for name in ALONG if "," not in name])
def test_autonomous_maps_take_no_lengths_and_bad_numbers_are_found_where_they_are(name: str) -> None:
    rows = {"rows": slice(0, 1)} if name == "gradients" else {}
    map = as_map(lambda x: 0.5 * x, state=torch.ones(N, dtype=torch.float64))
    with pytest.raises(TypeError, match="lengths= is for sequences of inputs"):
        ALONG[name](map, None, steps=10, lengths=[5], **rows)
    inputs = sequences().transpose(0, 1).clone()
    inputs[2, 30, 1] = np.inf
    with pytest.raises(ValueError, match=r"not finite at index \(2, 30, 1\)"):
        ALONG[name](layer(batch_first=True), inputs)
    assert ALONG[name](layer(batch_first=True), inputs, lengths=LENGTHS).sizes["trajectory"] == B  # it is padding


def test_curvature_of_several_batches_needs_lengths_for_each() -> None:
    batches = [(sequences(), TARGETS), (sequences(), TARGETS)]
    with pytest.raises(TypeError, match="each of the 2 batches, the lengths of its sequences, got Tensor"):
        hessian_spectrum(layer(), batches, mse_loss, readout=readout(), lengths=torch.tensor(LENGTHS))
    with pytest.raises(TypeError, match="lengths of its sequences, got list of 3"):
        hessian_spectrum(layer(), batches, mse_loss, readout=readout(), lengths=LENGTHS)


def test_analyze_says_that_the_hessian_needs_inputs_and_the_own_state() -> None:
    with pytest.raises(TypeError, match="leave it out: include="):
        analyze(layer(), sequences(), TARGETS, mse_loss, readout=readout(), initial_state=torch.zeros(N).double())


def test_windows_and_horizons_fit_into_the_shortest_sequence() -> None:
    with pytest.raises(ValueError, match="horizon must be at most the number of steps 17, got 18"):
        variational_term(layer(), sequences(), lengths=LENGTHS, horizon=18)
    with pytest.raises(ValueError, match="stop <= 17"):
        gradients(layer(), sequences(), lengths=LENGTHS, fit=(0, 18))
    with pytest.raises(ValueError, match="no steps left to analyse: of 17 steps"):
        covariant_vectors(layer(), sequences(), lengths=LENGTHS, transient=9, settle=8)

"""What `hessian_spectrum` refuses, and how."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from dense_hessians import LastStep
from lyapkit import as_map, hessian_spectrum

LINEAR = nn.Linear(2, 1).double()
PAIR = (torch.ones(3, 2).double(), torch.ones(3, 1).double())
REFUSALS = {
    "k too large": (dict(k=4), ValueError, "between 1 and the number of parameters 3, got 4"),
    "k zero": (dict(k=0), ValueError, "got 0"),
    "operator": (dict(operator="fisher"), ValueError, "hessian, ggn, residual, got 'fisher'"),
    "which": (dict(which="SM"), ValueError, "one of LM, LA, SA, BE, got 'SM'"),
    "block_size": (dict(block_size=0), ValueError, "block_size must be at least 1, got 0"),
    "block_size of text": (dict(block_size="4"), TypeError, "block_size must be an integer, got '4'"),
    "basis_size": (dict(block_size=1, basis_size=2), ValueError, r"at least k \+ 2 block_size = 4, got 2"),
    "memory_budget": (dict(memory_budget=-1), ValueError, "number of bytes of at least 0, got -1"),
    "start of another shape": (dict(start=torch.ones(2, 1)), ValueError, r"shape \(3, any\), got \(2, 1\)"),
    "start of nothing": (dict(start=torch.zeros(3, 2)), ValueError, "start holds no direction"),
    "start not finite": (dict(start=torch.full((3, 1), math.nan)), ValueError, "start is not finite"),
    "start of a kind": (dict(start=[1.0, 0.0, 0.0]), TypeError, "result of hessian_spectrum or a tensor, got list"),
    "unknown parameter": (dict(parameters=["wieght"]), ValueError, r"unknown parameters \['wieght'\]"),
    "no batches": (dict(batches=[]), ValueError, "there are no batches"),
    "not pairs": (dict(batches=[torch.ones(2)]), TypeError, "iterable of pairs, got Tensor"),
    "not iterable": (dict(batches=3), TypeError, "iterable of pairs, got int"),
    "vector loss": (dict(loss=lambda o, t: o), ValueError, r"scalar tensor, got \(3, 1\)"),
    "infinite loss": (dict(loss=lambda o, t: o.sum() / 0), ValueError, "the loss is (-?inf|nan)"),
    "untensored targets": (
        dict(batches=[(PAIR[0], "labels")] * 2, loss=lambda o, t: o.mean()),
        TypeError,
        "targets are str, not a tensor, .* Give the weight of a batch as batch_weight=",
    ),
    "untensored targets of one batch": (
        dict(batches=(PAIR[0], "labels")),
        TypeError,
        r"loss cannot be taken of outputs \(3, 1\) and targets str",
    ),
    "weight": (dict(batch_weight=lambda t: 0.0), ValueError, "positive and finite, got 0"),
    "tolerance": (dict(tolerance=0.0), ValueError, "tolerance must be positive and finite, got 0.0"),
    "max_products": (dict(max_products=3), ValueError, r"at least 2 k = 4, got 3"),
    "tolerance of text": (dict(tolerance="fine"), TypeError, "tolerance must be a positive number or None, got 'fine'"),
    "products of text": (dict(max_products="4"), TypeError, "max_products must be an integer, got '4'"),
    "learning rate": (
        dict(learning_rate=math.nan),
        ValueError,
        "learning_rate must be positive and finite, got nan",
    ),
    "reduction": (dict(reduction="median"), ValueError, '"mean" or "sum", got \'median\''),
    "weights of a sum": (dict(reduction="sum", batch_weight=len), TypeError, "a sum over batches has no weights"),
    "constant loss": (dict(loss=lambda o, t: torch.tensor(1.0)), ValueError, "does not depend differentiably"),
    "complex": (
        dict(model=nn.Linear(2, 1, dtype=torch.complex64), batches=tuple(part.to(torch.complex64) for part in PAIR)),
        ValueError,
        r"must be real \(float32 or float64\).*got 'weight' of torch.complex64. Keep its real and imaginary part",
    ),
    "readout of another size": (
        dict(
            model=nn.GRU(2, 3).double(),
            readout=nn.Linear(4, 1).double(),
            batches=(torch.ones(5, 3, 2).double(), PAIR[1]),
        ),
        ValueError,
        r"readout cannot take the network's output of shape \(3, 3\) and torch\.float64: .*Give one that takes 3 "
        "features",
    ),
    "readout of too few classes": (
        dict(
            model=nn.GRU(2, 3).double(),
            readout=nn.Linear(3, 2).double(),
            loss=cross_entropy,
            batches=(torch.ones(5, 3, 2).double(), torch.tensor([0, 1, 7])),
        ),
        ValueError,
        r"loss cannot be taken of outputs \(3, 2\) and targets \(3,\) \(Target 7 is out of bounds.*\); give a readout",
    ),
    "targets of another size": (
        dict(loss=cross_entropy, batches=(PAIR[0], torch.ones(2, dtype=torch.int64))),
        ValueError,
        r"loss cannot be taken of outputs \(3, 1\) and targets \(2,\)",
    ),
    "half precision": (
        dict(model=nn.Linear(2, 1).bfloat16(), batches=tuple(part.bfloat16() for part in PAIR)),
        ValueError,
        "bfloat16, which is too coarse",
    ),
    "autonomous map": (
        dict(model=as_map(torch.tanh, state=torch.zeros(2)), readout=nn.Linear(2, 1)),
        TypeError,
        "auto",
    ),
    "inputs in words": (
        dict(model=nn.GRU(2, 1).double(), readout=nn.Identity(), batches=(np.array(["a"]), PAIR[1])),
        TypeError,
        "inputs must be a tensor or an array, got ndarray: numbers are wanted",
    ),
    "undefined gradient": (
        dict(loss=lambda o, t: ((o - o.detach()) ** 2).mean().sqrt()),
        FloatingPointError,
        "no derivative where it is zero",
    ),
    "tuple output": (dict(model=nn.GRU(2, 1).double()), TypeError, "Give readout="),
    "no readout": (dict(model=as_map(nn.GRU(2, 1).double())), TypeError, "no readout of its own"),
    "frozen model": (dict(model=nn.Linear(2, 1).double().requires_grad_(False)), ValueError, "no parameters"),
    "dropout": (
        dict(model=nn.Sequential(nn.Dropout(0.5), nn.Linear(2, 1)).double()),
        ValueError,
        r"Dropout \(0\) is in training mode.*\.eval\(\)",
    ),
    "root of zero": (
        dict(loss=lambda o, t: ((o - o.detach()) ** 2).mean().sqrt()),
        FloatingPointError,
        "not finite",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals_say_what_is_wrong(name: str) -> None:
    change, error, message = REFUSALS[name]
    options = {"model": LINEAR, "batches": PAIR, "loss": mse_loss, "k": 2, "check": name != "root of zero", **change}
    with pytest.raises(error, match=message):
        hessian_spectrum(options.pop("model"), options.pop("batches"), options.pop("loss"), **options)


def test_a_map_is_run_over_time_first_sequences_of_its_own_type() -> None:
    gru, head = nn.GRU(2, 3).double(), nn.Linear(3, 1).double()
    for inputs, message in (
        (torch.zeros(4, 5, 3).double(), r"\(T, B, 2\), time first, got \(4, 5, 3\)"),
        (torch.zeros(4, 3).double(), r"time first, got \(4, 3\)"),
        (torch.zeros(4).double(), r"time first, got \(4,\)"),
        (torch.zeros(0, 5, 2).double(), r"got \(0, 5, 2\)"),
        (torch.zeros(4, 5, 2), "inputs are torch.float32 on cpu, the map computes in torch.float64"),
    ):
        with pytest.raises(ValueError, match=message):
            hessian_spectrum(gru, (inputs, torch.zeros(5, 1).double()), mse_loss, k=2, readout=head)


def test_inference_mode_is_refused() -> None:
    with torch.inference_mode(), pytest.raises(RuntimeError, match="call the analysis outside of it"):
        hessian_spectrum(LINEAR, PAIR, mse_loss, k=1)


def test_frozen_parameters_cannot_be_asked_for() -> None:
    model = nn.Linear(2, 1).double()
    model.bias.requires_grad_(False)
    assert hessian_spectrum(model, PAIR, mse_loss, k=2).sizes["rank"] == 2
    with pytest.raises(ValueError, match="do not require gradients"):
        hessian_spectrum(model, PAIR, mse_loss, k=1, parameters=["bias"])


def test_start_must_be_eigenvectors_of_the_same_parameters(data) -> None:
    model = LastStep(nn.RNN(2, 3), 3).double()
    with pytest.raises(ValueError, match="start must be a result of hessian_spectrum with eigenvectors=True"):
        hessian_spectrum(model, data, cross_entropy, k=2, start=hessian_spectrum(model, data, cross_entropy, k=2))
    part = hessian_spectrum(model, data, cross_entropy, k=2, parameters=["head.weight"], eigenvectors=True)
    with pytest.raises(
        ValueError,
        match=r"result for the parameters layer.weight_ih_l0 \[3, 2\], .*, got one for head.weight \[3, 3\]\. C",
    ):
        hessian_spectrum(model, data, cross_entropy, k=2, start=part)

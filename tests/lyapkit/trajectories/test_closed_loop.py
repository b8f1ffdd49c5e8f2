"""Networks that feed their outputs back: open loop, closed loop, and teacher forcing in between."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from lyapkit import as_map, lyapunov_spectrum, systems, variational_term
from lyapkit.testing import check_map
from lyapkit.trajectories.closed_loop import ClosedLoop
from references import sorted_log_magnitudes


def linear_loop(teacher_forcing: float = 0.0):
    """h' = A h + B s fed back through y = C h: the closed loop is h' = (A + (1 - a) B C) h."""
    generator = torch.Generator().manual_seed(0)
    a, b, c = (
        0.4 * torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((4, 4), (4, 2), (2, 4))
    )
    map = as_map(
        lambda h, s: a @ h + b @ s, state=torch.ones(4, dtype=torch.float64), input=torch.zeros(2, dtype=torch.float64)
    )
    return map, lambda h: h @ c.T, a + (1 - teacher_forcing) * b @ c, a


@pytest.mark.parametrize("forcing", [0.0, 0.3, 1.0])
def test_exponents_are_those_of_the_closed_loop(forcing: float) -> None:
    map, feedback, closed, open_loop = linear_loop(forcing)
    data = {"steps": 3000} if forcing == 0 else {"inputs": torch.ones(3000, 2, dtype=torch.float64)}
    ds = lyapunov_spectrum(map, feedback=feedback, teacher_forcing=forcing, transient=500, **data)
    np.testing.assert_allclose(ds.lyapunov_exponent[0], sorted_log_magnitudes(closed), atol=2e-3)
    if forcing < 1:
        assert abs(sorted_log_magnitudes(closed) - sorted_log_magnitudes(open_loop)).max() > 0.05
    power = torch.linalg.matrix_power(closed, 4)  # not more: its own small singular values drown in rounding
    short = {"steps": 4} if forcing == 0 else {"inputs": data["inputs"][:4]}
    term = variational_term(map, feedback=feedback, teacher_forcing=forcing, record_every=4, **short)
    np.testing.assert_allclose(term.log_singular_value[0, -1], torch.linalg.svdvals(power).log(), atol=1e-9)


def test_an_lstm_generator() -> None:
    """A free-running LSTM with a readout, against the same loop written by hand."""
    torch.manual_seed(0)
    lstm, readout = nn.LSTM(2, 5).double(), nn.Linear(5, 2).double()

    def step(state):
        hidden, cell = state["h"], state["c"]
        _, (h, c) = lstm(readout(hidden)[None, None], (hidden[None, None], cell[None, None]))
        return {"h": h[0, 0], "c": c[0, 0]}

    zeros = torch.zeros(5, dtype=torch.float64)
    by_hand = lyapunov_spectrum(as_map(step, state={"c": zeros, "h": zeros}), steps=150)
    ds = lyapunov_spectrum(lstm, steps=150, feedback=readout)
    np.testing.assert_allclose(ds.lyapunov_exponent.sum(), by_hand.lyapunov_exponent.sum(), atol=1e-10)
    np.testing.assert_allclose(ds.lyapunov_exponent[0, 0], by_hand.lyapunov_exponent[0, 0], atol=0.02)


def test_henon_as_a_fed_back_delay_line() -> None:
    """x' = 1 - 1.4 s^2 + 0.3 y with s = x fed back is the Hénon map."""
    map = as_map(
        lambda state, s: torch.stack((1 - 1.4 * s[0] ** 2 + 0.3 * state[1], state[0])),
        state=torch.tensor([0.1, 0.1], dtype=torch.float64),
        input=torch.zeros(1, dtype=torch.float64),
    )
    ds = lyapunov_spectrum(map, steps=3000, transient=100, feedback=lambda x: x[..., :1])
    reference = np.array(systems.henon().exponents)
    assert (np.abs(ds.lyapunov_exponent[0] - reference) < 4 * ds.standard_error[0]).all()
    assert float(ds.lyapunov_exponent.sum()) == pytest.approx(math.log(0.3), abs=1e-9)


@pytest.mark.parametrize("forcing", [0.0, 0.4])
def test_closed_loops_conform(forcing: float) -> None:
    torch.manual_seed(0)
    gru, readout = nn.GRU(2, 3, num_layers=2).double(), nn.Linear(3, 2).double()
    open_loop = as_map(gru)
    loop = ClosedLoop(open_loop, readout, forcing)

    def own_step(state, input):
        fed = readout(state[..., 3:])
        return open_loop.step(state, fed if input is None else forcing * input + (1 - forcing) * fed)

    check_map(loop, own_step)
    assert loop.input_size == (2 if forcing else 0)
    names = [name for name, _ in loop.parameters()]
    assert names[-2:] == ["feedback.weight", "feedback.bias"]
    state = torch.randn(4, 6).double()
    torch.testing.assert_close(loop.output(state), state[:, 3:])
    assert loop.readout is None
    assert not loop.batch_first
    assert loop.batching == "native"


GRU = nn.GRU(2, 3).double()
REFUSALS = {
    "autonomous": (lambda: ClosedLoop(systems.henon().map, nn.Identity()), TypeError, "no input that outputs"),
    "not callable": (lambda: lyapunov_spectrum(GRU, steps=5, feedback=3), TypeError, "callable, got int"),
    "forcing": (
        lambda: lyapunov_spectrum(GRU, steps=5, feedback=nn.Linear(3, 2).double(), teacher_forcing=1.5),
        ValueError,
        "between 0 and 1, got 1.5",
    ),
    "shape": (
        lambda: lyapunov_spectrum(GRU, steps=5, feedback=nn.Identity()),
        ValueError,
        r"\(2, 3\) of torch.float64",
    ),
    "kind": (lambda: lyapunov_spectrum(GRU, steps=5, feedback=lambda h: (h, h)), ValueError, "returned tuple"),
    "forcing alone": (
        lambda: variational_term(GRU, torch.zeros(5, 2).double(), teacher_forcing=0.5),
        TypeError,
        "needs",
    ),
    "inputs to a free run": (
        lambda: lyapunov_spectrum(GRU, torch.zeros(5, 2).double(), feedback=nn.Linear(3, 2).double()),
        TypeError,
        "give teacher_forcing= above 0 to mix inputs in, or steps= instead of inputs",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals_say_what_is_wrong(name: str) -> None:
    action, error, message = REFUSALS[name]
    with pytest.raises(error, match=message):
        action()

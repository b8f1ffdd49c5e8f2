"""Inputs, initial states and step counts: what is accepted, what it means and how it is refused."""

import math

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from lyapkit import as_map, lyapunov_spectrum, variational_term
from lyapkit.trajectories.prepare_drive import prepare_drive
from lyapkit.trajectories.stepping import run

T, B, M, N = 6, 4, 2, 3
DRIVEN = as_map(
    lambda x, s: torch.tanh(0.9 * x + s.sum()), state=torch.zeros(N).double(), input=torch.zeros(M).double()
)
AUTONOMOUS = as_map(lambda x: x**2, state=torch.full((N,), 0.5).double())


def numbers(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def broken(*index: int) -> torch.Tensor:
    inputs = numbers(T, B, M)
    inputs[index] = math.nan
    return inputs


SHAPES = {
    "one sequence, own state": ((T, M), None, 1),
    "one sequence, one state": ((T, M), (N,), 1),
    "one sequence, many states": ((T, M), (B, N), B),
    "many sequences, own state": ((T, B, M), None, B),
    "many sequences, one state": ((T, B, M), (N,), B),
    "many sequences, many states": ((T, B, M), (B, N), B),
}


@pytest.mark.parametrize("name", SHAPES)
def test_inputs_and_states_are_brought_to_one_shape(name: str) -> None:
    input_shape, state_shape, batch = SHAPES[name]
    inputs = numbers(*input_shape)
    state = None if state_shape is None else numbers(*state_shape)
    drive = prepare_drive(DRIVEN, inputs, None, state)
    assert (drive.steps, drive.state.shape, drive.inputs.shape) == (T, (batch, N), (T, batch, M))
    for trajectory in range(batch):
        own = inputs if inputs.ndim == 2 else inputs[:, trajectory]
        start = torch.zeros(N).double() if state is None else state if state.ndim == 1 else state[trajectory]
        assert torch.equal(drive.inputs[:, trajectory], own)
        assert torch.equal(drive.state[trajectory], start)
        assert torch.equal(drive.input_at(2)[trajectory], own[2])


@pytest.mark.parametrize("state_shape", [None, (N,), (B, N)])
def test_an_autonomous_map_runs_for_steps(state_shape) -> None:
    drive = prepare_drive(AUTONOMOUS, None, 5, None if state_shape is None else numbers(*state_shape))
    batch = state_shape[0] if state_shape == (B, N) else 1
    assert (drive.steps, drive.inputs, drive.input_at(0), drive.state.shape) == (5, None, None, (batch, N))


@pytest.mark.parametrize("analysis", [lyapunov_spectrum, variational_term])
@pytest.mark.parametrize("name", ["one sequence, many states", "many sequences, one state"])
def test_a_batch_equals_its_members_run_one_by_one(analysis, name: str) -> None:
    input_shape, state_shape, _ = SHAPES[name]
    inputs, state = numbers(*input_shape), numbers(*state_shape)
    together = analysis(DRIVEN, inputs, initial_state=state)
    for trajectory in range(B):
        alone = analysis(
            DRIVEN,
            inputs if inputs.ndim == 2 else inputs[:, trajectory],
            initial_state=state if state.ndim == 1 else state[trajectory],
        )
        for variable in together.data_vars:
            np.testing.assert_allclose(
                together[variable].sel(trajectory=trajectory), alone[variable].sel(trajectory=0), rtol=1e-9, atol=1e-12
            )


READABLE = {
    "array": lambda a: a,
    "reversed array": lambda a: a[::-1].copy()[::-1],
    "byte-swapped array": lambda a: a.astype(">f8"),
    "Fortran order": np.asfortranarray,
    "broadcast array": lambda a: np.broadcast_to(a[:, None], (T, 1, M)),
    "DataArray": xr.DataArray,
    "tensor with gradient": lambda a: torch.tensor(a, requires_grad=True),
}


@pytest.mark.parametrize("name", READABLE)
def test_arrays_are_read_as_tensors_are(name: str) -> None:
    inputs = numbers(T, M)
    given = READABLE[name](inputs.numpy())
    expected = lyapunov_spectrum(DRIVEN, inputs, initial_state=numbers(N))
    found = lyapunov_spectrum(DRIVEN, given, initial_state=numbers(N).numpy())
    np.testing.assert_array_equal(found.lyapunov_exponent, expected.lyapunov_exponent)


def test_read_only_arrays_are_accepted_and_lists_of_numbers_for_float32() -> None:
    inputs = numbers(T, M).numpy()
    inputs.flags.writeable = False
    assert torch.equal(prepare_drive(DRIVEN, inputs, None, None).inputs[:, 0], numbers(T, M))
    torch.manual_seed(0)
    assert prepare_drive(nn_map(), [[0.5, 0.25]], None, None).inputs.tolist() == [[[0.5, 0.25]]]


def nn_map():
    return as_map(nn.RNNCell(M, N))


@pytest.mark.parametrize(("transient", "interval"), [(0, 1), (5, 1), (5, 2), (4, 3), (19, 1)])
def test_transient_steps_are_not_counted_and_steps_are_labelled_by_number(transient: int, interval: int) -> None:
    """x' = a_t x with a_t known: the exponent is the mean of log a_t over the counted steps alone."""
    factors = torch.linspace(0.5, 1.5, 20).double()
    scaling = as_map(lambda x, s: s * x, state=torch.ones(1).double(), input=torch.ones(1).double())
    ds = lyapunov_spectrum(scaling, factors.reshape(20, 1), transient=transient, qr_interval=interval)
    assert ds.lyapunov_exponent.item() == pytest.approx(float(factors[transient:].log().mean()), abs=1e-14)
    ends = [*range(transient + interval, 20, interval), 20]
    assert ds.step.values.tolist() == ends
    running = [float(factors[transient:end].log().mean()) for end in ends]
    np.testing.assert_allclose(ds.running_exponent.values[0, :, 0], running, atol=1e-14)
    local = [float(factors[a:b].log().mean()) for a, b in zip([transient, *ends[:-1]], ends, strict=True)]
    np.testing.assert_allclose(ds.local_growth.values[0, :, 0], local, atol=1e-14)


def test_variational_term_labels_recorded_steps() -> None:
    ds = variational_term(AUTONOMOUS, steps=7, record_every=3)
    assert ds.step.values.tolist() == [3, 6, 7]


def test_a_run_is_cut_into_stretches_without_changing_it() -> None:
    drive = prepare_drive(DRIVEN, numbers(T, B, M), None, None)
    whole = next(run(DRIVEN, drive, T))
    parts = list(run(DRIVEN, drive, 4))
    assert [part.start for part in parts] == [0, 4]
    assert torch.equal(torch.cat([part.states for part in parts]), whole.states)
    assert torch.equal(torch.cat([part.inputs for part in parts]), whole.inputs)
    assert torch.equal(parts[-1].after, whole.after)
    assert torch.equal(whole.states[1], DRIVEN.step(whole.states[0], whole.inputs[0]))


@pytest.mark.parametrize("length", [1, 4, 100])
def test_overflow_names_step_and_trajectory(length: int) -> None:
    """10^(2^t) leaves float64 at t = 9, since 2^9 > 308; the neighbour 1^(2^t) stays."""
    drive = prepare_drive(AUTONOMOUS, None, 20, torch.tensor([[1.0] * N, [1.0, 10.0, 1.0]]).double())
    with pytest.raises(FloatingPointError, match="trajectory 1 is not finite after step 9:"):
        list(run(AUTONOMOUS, drive, length))


def test_overflow_of_an_analysis_names_step_and_trajectory() -> None:
    start = torch.tensor([[0.5] * N, [10.0] * N]).double()
    for analysis in (lyapunov_spectrum, variational_term):
        with pytest.raises(FloatingPointError, match="trajectory 1 is not finite after step 9:"):
            analysis(AUTONOMOUS, steps=20, initial_state=start)


def test_overflow_of_the_frame_is_repaired_or_names_step_and_remedy() -> None:
    growing = as_map(lambda x: 1e30 * x, state=torch.zeros(1).double())
    for interval in ("auto", 15):  # 1e450 within a window: done again step by step
        ds = lyapunov_spectrum(growing, steps=20, qr_interval=interval)
        assert ds.lyapunov_exponent.item() == pytest.approx(30 * math.log(10))
    with pytest.raises(FloatingPointError, match=r"trajectory 0 overflowed.* before step 300; choose a smaller"):
        lyapunov_spectrum(growing, steps=400, qr_interval=300)


def drive_driven(inputs=None, **options):
    return lambda: prepare_drive(DRIVEN, inputs, options.pop("steps", None), options.pop("state", None), **options)


def drive_alone(steps=None, state=None, transient=0):
    return lambda: prepare_drive(AUTONOMOUS, None, steps, state, transient)


REFUSALS = {
    "inputs for an autonomous map": (
        lambda: prepare_drive(AUTONOMOUS, numbers(T, M), None, None),
        TypeError,
        "autonomous .* give steps=",
    ),
    "no inputs for a driven map": (drive_driven(), TypeError, r"needs inputs of shape \(T, 2\) or \(T, B, 2\)"),
    "inputs and steps": (drive_driven(numbers(T, M), steps=T), TypeError, "steps= is for autonomous maps"),
    "neither inputs nor steps": (drive_alone(), TypeError, "say how many steps to run with steps="),
    "steps is True": (drive_alone(True), TypeError, "steps must be an integer, got True"),
    "steps is a float": (drive_alone(5.0), TypeError, r"steps must be an integer, got 5\.0"),
    "zero steps": (drive_alone(0), ValueError, "steps must be at least 1, got 0"),
    "negative steps": (drive_alone(-3), ValueError, "steps must be at least 1, got -3"),
    "no inputs in time": (drive_driven(numbers(0, M)), ValueError, "inputs must have at least 1 step, got 0"),
    "transient takes all": (drive_alone(5, transient=5), ValueError, "of 5 steps, 5 are transient"),
    "negative transient": (drive_alone(5, transient=-1), ValueError, "transient must be at least 0, got -1"),
    "transient is a float": (drive_alone(5, transient=1.0), TypeError, r"transient must be an integer.*got 1\.0"),
    "transient is True": (drive_alone(5, transient=True), TypeError, "transient must be an integer.*got True"),
    "batch sizes differ": (
        drive_driven(numbers(T, B, M), state=numbers(2, N)),
        ValueError,
        r"inputs drive 4 trajectories \(T, B, M\), initial_state has 2",
    ),
    "empty batch of inputs": (drive_driven(numbers(T, 0, M)), ValueError, "there are no trajectories"),
    "empty batch of states": (drive_alone(5, numbers(0, N)), ValueError, "there are no trajectories"),
    "integer inputs": (
        drive_driven(torch.ones(T, M).long()),
        TypeError,
        r"inputs must be floating point, got torch.int64; embed tokens first, such as inputs = model\.embedding",
    ),
    "integer array": (drive_driven(np.ones((T, M), int)), TypeError, "inputs must be floating point, got torch.int64"),
    "complex inputs": (drive_driven(numbers(T, M).cfloat()), TypeError, "must be real, got torch.complex64"),
    "integer state": (drive_alone(5, torch.ones(N).long()), TypeError, "initial_state must be floating point"),
    "text": (drive_driven("abc"), TypeError, "inputs must be a tensor or an array, got str"),
    "ragged list": (drive_driven([[1.0, 2.0], [1.0]]), TypeError, "inputs must be a tensor or an array, got list"),
    "array of objects": (drive_driven(np.array([None])), TypeError, "a tensor or an array, got ndarray"),
    "input size": (
        drive_driven(numbers(T, 5)),
        ValueError,
        r"inputs must have shape \(T, M\) or \(T, B, M\) with M = 2, got \(6, 5\)",
    ),
    "input rank": (drive_driven(numbers(M)), ValueError, r"got \(2,\)"),
    "state size": (
        drive_alone(5, numbers(B, 2)),
        ValueError,
        r"initial_state must have shape \(N,\) or \(B, N\) with N = 3, got \(4, 2\)",
    ),
    "state rank": (drive_alone(5, numbers(1, B, N)), ValueError, r"got \(1, 4, 3\)"),
    "input dtype": (
        drive_driven(numbers(T, M).float()),
        ValueError,
        r"inputs has type torch.float32 but the map computes in torch.float64; convert with .to\(torch.float64\)",
    ),
    "state dtype": (drive_alone(5, torch.zeros(N)), ValueError, "initial_state has type torch.float32"),
    "device": (drive_driven(numbers(T, M).to("meta")), ValueError, "inputs is on meta but the map on cpu"),
    "nan in inputs": (drive_driven(broken(3, 1, 0)), ValueError, r"inputs .* not finite at index \(3, 1, 0\)"),
    "inf in state": (
        drive_alone(5, torch.tensor([0.0, math.inf, 0.0]).double()),
        ValueError,
        r"initial_state .* not finite at index \(1,\)",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals_say_what_is_wrong(name: str) -> None:
    action, error, message = REFUSALS[name]
    with pytest.raises(error, match=message):
        action()


def test_sparse_inputs_are_refused() -> None:
    inputs = torch.rand(5, 2, 2).to_sparse()
    with pytest.raises(
        TypeError, match=r"^inputs must be a dense tensor, got layout .*; convert with .to_dense\(\)\.$"
    ):
        lyapunov_spectrum(nn.GRU(2, 3), inputs)

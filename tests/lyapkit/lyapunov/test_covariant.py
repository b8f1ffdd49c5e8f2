"""`covariant_vectors` against eigenvectors, over every code path; compared as lines, whatever their sign."""

import json
import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

import lyapkit
from linear_maps import REAL, eigenvectors, linear
from lyapkit import as_map, covariant_vectors, lyapunov_spectrum, systems
from lyapkit.lyapunov.ginelli import _frames, ginelli
from lyapkit.tangents import ForwardTangents, TangentRun
from lyapkit.trajectories.prepare_drive import prepare_drive
from references import dense_jacobians, matrix_with_spectrum
from steps import BackwardOnly, Steps

PAIR = matrix_with_spectrum([1.2, 0.3], [(0.8, 2.0)], seed=7, skew=10.0)  # ranks 2 and 3 are a complex pair
PERIOD = [matrix_with_spectrum([1.5, 0.7, 0.3, 0.1], [], seed=seed, skew=10.0) for seed in (20, 30, 40)]


def sines(vectors: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Sine of the angle between the lines of each pair of unit columns."""
    across = vectors - expected * (expected * vectors).sum(axis=-2, keepdims=True)
    return np.linalg.norm(across, axis=-2)


def projector(columns: np.ndarray) -> np.ndarray:
    q = np.linalg.qr(columns)[0]
    return q @ q.T


def network(driven: bool = True):
    """A random network of 20 units that forget at different rates: exponents about 0.25 apart."""
    generator = torch.Generator().manual_seed(5)
    mixing = torch.randn(20, 20, generator=generator, dtype=torch.float64)
    weight = 0.5 * torch.randn(20, 20, generator=generator, dtype=torch.float64) / 20**0.5
    rates = torch.exp(-0.25 * torch.arange(20).double())
    residual = torch.linalg.solve(mixing, rates[:, None] * mixing)  # not normal
    start = torch.randn(2, 20, generator=generator, dtype=torch.float64)

    def step(x, s=None):
        return x @ residual.T + 0.1 * torch.tanh(x @ weight.T + (0 if s is None else s))

    inputs = torch.randn(360, 2, 20, generator=generator, dtype=torch.float64)
    map = as_map(step, state=start[0], input=inputs[0, 0]) if driven else as_map(step, state=start[0])
    return step, map, start, inputs


def doubling_maps(coupling: float):
    """Six doubling maps with diffusive coupling on a ring: eigenvalues 2 (1 - eps + eps cos(2 pi k/6)), in pairs."""
    ring = torch.roll(torch.eye(6).double(), 1, 0)
    mixing = (1 - coupling) * torch.eye(6).double() + coupling / 2 * (ring + ring.T)
    return as_map(lambda x: (2 * mixing @ x).remainder(1.0), state=torch.linspace(0.11, 0.83, 6).double())


@pytest.mark.parametrize("path", ["plain", "leading k", "one", "nested", "batched", "driven", "user's map"])
def test_constant_matrix_has_its_eigenvectors(path: str) -> None:
    steps, options = 300, {"transient": 100, "settle": 100, "rng": 0}
    k = {"leading k": 3, "one": 1}.get(path, 4)
    if path == "nested":
        state = {"a": torch.zeros(1).double(), "b": torch.zeros(3).double()}

        def step(x):
            after = REAL @ torch.cat((x["a"], x["b"]))
            return {"a": after[:1], "b": after[1:]}

        ds = covariant_vectors(as_map(step, state=state), steps=steps, **options)
        assert ds.unit.values.tolist() == ["a[0]", "b[0]", "b[1]", "b[2]"]
    elif path == "driven":
        inputs = REAL.reshape(1, -1).expand(steps, -1)
        ds = covariant_vectors(systems.MatrixProduct(4), inputs, **options)
    elif path == "batched":
        ds = covariant_vectors(linear(REAL), steps=steps, initial_state=torch.zeros(3, 4).double(), **options)
    elif path == "user's map":
        map = Steps(lambda x: x @ REAL.T)
        map.state_size, map.unit_names = 4, ("a", "b", "c", "d")
        ds = covariant_vectors(map, steps=steps, **options)
    else:
        ds = covariant_vectors(linear(REAL), steps=steps, k=k, **options)
    expected = eigenvectors(REAL)[:, :k]
    assert ds.covariant_vector.shape == (3 if path == "batched" else 1, 100, 4, k)
    assert ds.step.values.tolist() == list(range(101, 201))
    assert sines(ds.covariant_vector.values, expected).max() < 1e-12
    assert_allclose(np.linalg.norm(ds.covariant_vector, axis=2), 1, atol=1e-14)
    growth = np.log([1.3, 0.9, 0.5, 0.2])[:k]
    assert_allclose(ds.covariant_exponent, np.broadcast_to(growth, ds.covariant_exponent.shape), atol=1e-12)
    assert_allclose(ds.local_growth, np.broadcast_to(growth, ds.local_growth.shape), atol=1e-12)
    consecutive = np.arccos(np.abs((expected[:, :-1] * expected[:, 1:]).sum(axis=0)))
    assert_allclose(ds.consecutive_angle, np.broadcast_to(consecutive, ds.consecutive_angle.shape), atol=1e-9)
    assert ds.covariance_residual.max() < 1e-12
    assert ds.forward_difference.max() < 1e-10
    assert ds.backward_difference.max() < 1e-10


def test_a_complex_pair_spans_its_invariant_plane() -> None:
    ds = covariant_vectors(linear(PAIR), steps=400, rng=0)
    values, vectors = (part.numpy() for part in torch.linalg.eig(PAIR))
    order = np.abs(values).argsort()[::-1]
    vectors = vectors[:, order]
    plane = projector(np.stack((vectors[:, 1].real, vectors[:, 1].imag), axis=1))
    for found in ds.covariant_vector.values[0]:
        assert sines(found[:, [0, 3]], vectors[:, [0, 3]].real).max() < 1e-12
        assert_allclose(projector(found[:, 1:3]), plane, atol=1e-12)
    assert_allclose(ds.covariant_exponent[0, [0, 3]], np.log([1.2, 0.3]), atol=1e-12)
    assert_allclose(ds.covariant_exponent[0, 1:3], np.log(0.8), atol=0.03)  # the phase counts once: O(1/steps)
    assert ds.covariance_residual.max() < 1e-13
    assert ds.backward_difference[0, [0, 1, 3]].max() < 1e-12  # rank 2 is fixed by the frame, rank 3 by the future
    assert ds.backward_difference[0, 2] > 1e-3
    assert ds.forward_difference[0, [0, 2, 3]].max() < 1e-12
    assert ds.forward_difference[0, 1] > 1e-3


@pytest.mark.parametrize("k", [4, 2])
@pytest.mark.parametrize("record_every", [1, 4])
def test_periodic_products_have_the_eigenvectors_of_the_rotated_monodromy_matrix(k: int, record_every: int) -> None:
    """Fails for a transposed or reversed product, and for every factor or vector that is one step off."""
    inputs = torch.stack(PERIOD * 160).reshape(480, -1)
    ds = covariant_vectors(systems.MatrixProduct(4), inputs, k=k, record_every=record_every, rng=1)
    assert ds.step.values.tolist() == sorted({*range(120 + record_every, 361, record_every), 360})
    for step, found in zip(ds.step.values, ds.covariant_vector.values[0], strict=True):
        first, second, third = (PERIOD[(step + shift) % 3] for shift in range(3))  # what the state meets next
        assert sines(found, eigenvectors(third @ second @ first)[:, :k]).max() < 1e-12
    if record_every == 1:
        following = ds.covariant_vector.values[0, 1:]
        for index, step in enumerate(ds.step.values[:-1]):
            carried = PERIOD[step % 3].numpy() @ ds.covariant_vector.values[0, index]
            growth = np.exp(ds.local_growth.values[0, index + 1])
            assert_allclose(carried, growth * following[index], atol=1e-13)  # the sign is carried as well
    assert ds.covariance_residual.max() < 1e-13
    multipliers = torch.linalg.eigvals(PERIOD[2] @ PERIOD[1] @ PERIOD[0]).abs().sort(descending=True).values
    assert_allclose(ds.covariant_exponent[0], multipliers.log()[:k] / 3, atol=1e-12)


def test_cat_map_has_the_golden_directions_at_a_right_angle() -> None:
    ds = covariant_vectors(systems.cat_map().map, steps=200, rng=0)
    golden = (1 + math.sqrt(5)) / 2
    expected = np.array([[golden, -1.0], [1.0, golden]]) / math.hypot(golden, 1)
    assert sines(ds.covariant_vector.values, expected).max() < 1e-14
    assert_allclose(ds.angle, math.pi / 2, atol=1e-14)
    assert_allclose(ds.covariant_exponent[0], systems.cat_map().exponents, atol=1e-13)
    assert_allclose(ds.participation_ratio, (golden**2 + 1) ** 2 / (golden**4 + 1), rtol=1e-12)


def test_henon_is_covariant_and_grows_with_its_exponents() -> None:
    steps, settled = 1000, 100
    ds = covariant_vectors(systems.henon().map, steps=steps, transient=settled, settle=settled, rng=0)
    assert ds.covariance_residual.max() < 1e-10
    assert ds.forward_difference.max() < 1e-14
    assert ds.backward_difference.max() < 1e-14
    qr = lyapunov_spectrum(systems.henon().map, steps=steps - settled, transient=settled, qr_interval=1)
    window = steps - 2 * settled
    assert_allclose(ds.covariant_exponent[0, 0], qr.lyapunov_exponent[0, 0], atol=1e-13)
    # log |J v_2| = log R_22 + log sin(angle before) - log sin(angle after): the ends of the window remain
    ends = float(np.abs(np.log(np.sin(ds.angle))).max()) / window
    assert abs(float(ds.covariant_exponent[0, 1] - qr.lyapunov_exponent[0, 1])) < ends < 0.01
    assert ds.angle.min() < 0.01  # homoclinic tangencies: the map is not hyperbolic
    map, state = systems.henon().map, systems.henon().map.initial_state(1)  # and by Jacobians in closed form
    vectors, growth = ds.covariant_vector.values[0], np.exp(ds.local_growth.values[0])
    for index in range(-settled, window - 1):
        state = map.step(state)
        if index >= 0:
            jacobian = np.array([[-2.8 * float(state[0, 0]), 1.0], [0.3, 0.0]])
            assert_allclose(jacobian @ vectors[index], growth[index + 1] * vectors[index + 1], atol=1e-13)


def test_degenerate_exponents_determine_their_subspace() -> None:
    ds = covariant_vectors(doubling_maps(0.4), steps=400, transient=180, settle=180, rng=0)
    assert_allclose(ds.covariant_exponent[0], np.log([2, 1.6, 1.6, 0.8, 0.8, 0.4]), atol=1e-12)
    site = 2 * np.pi * np.arange(6) / 6
    spaces = [
        (slice(0, 1), np.ones((6, 1))),
        (slice(1, 3), np.stack((np.cos(site), np.sin(site)), axis=1)),
        (slice(3, 5), np.stack((np.cos(2 * site), np.sin(2 * site)), axis=1)),
        (slice(5, 6), np.cos(3 * site)[:, None]),
    ]
    for found in ds.covariant_vector.values[0, ::10]:
        for ranks, space in spaces:
            assert_allclose(projector(found[:, ranks]), projector(space), atol=1e-12)
    assert_allclose(ds.angle.sel(split=[1, 3, 5]), math.pi / 2, atol=1e-12)
    assert_allclose(ds.participation_ratio.sel(exponent=[1, 6]), 6)
    settled = ds.backward_difference.values[0]
    assert settled[[0, 1, 3, 5]].max() < 1e-12
    assert settled[[2, 4]].min() > 1e-3


def test_leading_vectors_need_nothing_of_the_others() -> None:
    step, map, start, inputs = network()
    options = {"initial_state": start, "transient": 160, "settle": 160}
    every = covariant_vectors(map, inputs, rng=0, **options)
    for k in (5, 4):  # of which the first is carried by whole Jacobians, the second is not
        leading = covariant_vectors(map, inputs, rng=k, k=k, **options)
        assert sines(leading.covariant_vector.values, every.covariant_vector.values[..., :k]).max() < 1e-6
        assert_allclose(leading.covariant_exponent, every.covariant_exponent[:, :k], atol=1e-8)
        assert leading.covariance_residual.max() < 1e-13
    assert every.covariance_residual.max() < 1e-10
    # every trajectory of the batch by its own Jacobians
    for trajectory in range(2):
        states = [start[trajectory]]
        for s in inputs[:170, trajectory]:
            states.append(step(states[-1], s))
        jacobians = dense_jacobians(step, torch.stack(states[161:170]), inputs[161:170, trajectory])
        for index, jacobian in enumerate(jacobians):
            assert every.step[index] == 161 + index
            carried = jacobian.numpy() @ every.covariant_vector.values[trajectory, index]
            carried /= np.linalg.norm(carried, axis=0)
            assert_allclose(carried, every.covariant_vector.values[trajectory, index + 1], atol=1e-10)


def test_settled_vectors_depend_neither_on_the_seed_nor_on_the_length_of_the_run() -> None:
    _, map, _, inputs = network()
    one = covariant_vectors(map, inputs[:, 0], k=3, transient=160, settle=160, rng=1)
    other = covariant_vectors(map, inputs[:, 0], k=3, transient=150, settle=160, rng=2)
    for ds in (one, other):
        assert max(float(ds[f"{pass_}_difference"].max()) for pass_ in ("forward", "backward")) < 1e-10
    common = other.covariant_vector.sel(step=one.step)
    assert_allclose(one.covariant_vector, common, atol=1e-10)  # with their signs
    last = one.covariant_vector.values[0, -1]
    assert (np.take_along_axis(last, np.abs(last).argmax(axis=0)[None], axis=0) > 0).all()


@pytest.mark.parametrize("driven", [True, False])
@pytest.mark.parametrize("k", [20, 2])
def test_recomputed_frames_are_the_same_to_the_last_bit(driven: bool, k: int) -> None:
    _, map, start, inputs = network(driven=driven)
    drive = prepare_drive(map, inputs[:30] if driven else None, None if driven else 30, start)
    run = TangentRun(map, drive, k, torch.float64, ForwardTangents())
    frame = torch.linalg.qr(torch.randn(2, 20, k, generator=torch.Generator().manual_seed(0)).double()).Q
    runs = [[(q, r) for _, q, r, _ in _frames(run, drive, frame)] for _ in range(2)]
    for (q, r), (q_again, r_again) in zip(*runs, strict=True):
        assert torch.equal(q, q_again)
        assert torch.equal(r, r_again)


@pytest.mark.parametrize("k", [20, 2])
@pytest.mark.parametrize("segment", [1, 7, 39, None])
def test_checkpointed_recomputation_equals_storing_everything(segment: int | None, k: int) -> None:
    _, map, start, inputs = network()
    drive = prepare_drive(map, inputs[:60], None, start, transient=10)
    taken = []

    def run(segment):
        return ginelli(
            TangentRun(map, drive, k, torch.float64, ForwardTangents()),
            settle=10,
            generator=torch.Generator().manual_seed(3),
            record_every=9,
            segment=segment,
            on_step=lambda: taken.append(None),
        )

    stored, recomputed = run(1000), run(segment)
    assert len(taken) == 2 * (60 + 40)  # every step forwards, those of the window backwards too
    assert stored.steps == recomputed.steps == [*range(19, 50, 9), 50]
    for name in ("vectors", "coordinates", "log_growth", "forward_difference", "backward_difference"):
        assert_allclose(getattr(recomputed, name), getattr(stored, name), rtol=1e-10, atol=1e-10)
    assert max(float(stored.residual.max()), float(recomputed.residual.max())) < 1e-11


class WrongOnce(ForwardTangents):
    """Forward mode, but for an error in one of its pushes."""

    def __init__(self, wrong: int) -> None:
        self.wrong, self.pushes = wrong, 0

    def push(self, map, state, input, frame):
        self.pushes += 1
        exact = super().push(map, state, input, frame)
        if self.pushes == self.wrong:
            exact = exact + 1e-3 * exact.norm(dim=-2, keepdim=True)
        return exact


def test_the_residual_sees_a_single_wrong_step_anywhere_in_the_window() -> None:
    _, map, start, inputs = network()
    drive = prepare_drive(map, inputs[:60], None, start, transient=10)
    residuals = []
    for wrong in (
        0,
        60 + 40 + 1,
        60 + 40 + 17,
        60 + 40 + 40,
    ):  # the window is carried again, then back: last step first
        found = ginelli(
            TangentRun(map, drive, 2, torch.float64, WrongOnce(wrong)),
            settle=10,
            generator=torch.Generator().manual_seed(3),
            segment=1000,
        )
        residuals.append(found.residual)
    assert residuals[0].max() < 1e-14
    for residual in residuals[1:]:
        assert residual.min() > 1e-3
        assert residual.max() < 1e-2


def test_recording_less_often_leaves_out_and_averages() -> None:
    _, map, start, inputs = network()
    options = {"initial_state": start, "k": 3, "transient": 30, "settle": 50, "rng": 0}
    every = covariant_vectors(map, inputs[:120], **options)
    some = covariant_vectors(map, inputs[:120], record_every=15, **options)
    assert some.step.values.tolist() == [45, 60, 70]
    for name in ("covariant_vector", "angle", "consecutive_angle", "participation_ratio"):
        assert_allclose(some[name], every[name].sel(step=some.step), rtol=1e-12)
    for name in ("covariant_exponent", "covariance_residual", "forward_difference", "backward_difference"):
        assert_allclose(some[name], every[name], rtol=1e-12)
    for step, length in ((45, 15), (60, 15), (70, 10)):
        mean = every.local_growth.sel(step=slice(step - length + 1, step)).mean("step")
        assert_allclose(some.local_growth.sel(step=step), mean, rtol=1e-10)
    weights = np.array([15, 15, 10])[:, None] / 40
    assert_allclose((some.local_growth * weights).sum("step"), some.covariant_exponent, rtol=1e-10)


def test_a_frame_of_invariant_axes_still_finds_the_fastest_direction() -> None:
    """From the identity, the first axis of an upper triangular matrix would never leave its place."""
    matrix = torch.tensor([[0.5, 1.0], [0.0, 2.0]]).double()
    ds = covariant_vectors(linear(matrix), steps=200, rng=0)
    assert (
        sines(ds.covariant_vector.values, np.array([[2 / math.sqrt(13), 1.0], [3 / math.sqrt(13), 0.0]])).max() < 1e-14
    )
    assert_allclose(ds.covariant_exponent[0], np.log([2, 0.5]), atol=1e-14)


def test_an_unsettled_run_is_covariant_but_says_that_it_has_not_settled() -> None:
    ds = covariant_vectors(linear(REAL), steps=30, transient=0, settle=0, rng=0)
    assert ds.covariance_residual.max() < 1e-13
    assert ds.sizes["step"] == 30
    assert ds.forward_difference[0, :3].min() > 0.05
    assert ds.backward_difference[0, 1:].min() > 0.05
    # one step before or after its reach, the difference shrinks by the ratio of neighbouring eigenvalues
    longer = [covariant_vectors(linear(REAL), steps=80, transient=t, settle=t, rng=0) for t in (20, 30)]
    ratio = np.array([0.9 / 1.3, 0.5 / 0.9, 0.2 / 0.5])
    for name, ranks in (("forward_difference", slice(0, 3)), ("backward_difference", slice(1, 4))):
        short, long = (run[name].values[0, ranks] for run in longer)
        assert_allclose((long / short) ** 0.1, ratio, rtol=0.1)


@pytest.mark.parametrize("layer", [nn.RNN, nn.LSTMCell, nn.GRU])
def test_layers_in_single_precision_have_float64_frames(layer) -> None:
    torch.manual_seed(0)
    module, inputs = layer(3, 4), torch.randn(60, 2, 3)
    for k in (1, 4):
        ds = covariant_vectors(module, inputs, k=k, rng=0)
        assert ds.sizes["step"] == 30
        assert ds.covariant_vector.dtype == np.float64
        assert ds.covariance_residual.max() < 1e-4
        assert_allclose(np.linalg.norm(ds.covariant_vector, axis=2), 1, atol=1e-14)
    double = covariant_vectors(module.double(), inputs.double(), k=4, rng=0)
    assert sines(ds.covariant_vector.values, double.covariant_vector.values).max() < 1e-3


def test_a_step_without_forward_mode_is_taken_in_reverse() -> None:
    def step(x):
        return BackwardOnly.apply(torch.stack((1.5 * x[..., 0] + x[..., 1], 0.5 * x[..., 1] + 0.1 * x[..., 0]), -1))

    ds = covariant_vectors(Steps(step), steps=200, rng=0)
    assert json.loads(ds.attrs["config_json"])["tangents"].startswith("reverse")
    assert ds.covariance_residual.max() < 1e-13


def test_dt_converts_rates_and_their_units_only() -> None:
    steps, timed = (covariant_vectors(linear(REAL), steps=100, rng=0, dt=dt) for dt in (1.0, 0.1))
    for name in ("local_growth", "covariant_exponent"):
        assert_allclose(timed[name], 10 * steps[name], rtol=1e-13)
        assert (steps[name].units, timed[name].units) == ("nats per step", "nats per unit time")
    for name in ("angle", "covariant_vector", "covariance_residual"):
        np.testing.assert_array_equal(timed[name], steps[name])


def test_settings_are_recorded_and_default_to_a_quarter_each() -> None:
    config = json.loads(covariant_vectors(linear(REAL), steps=101, k=2, rng=4).attrs["config_json"])
    assert {name: config[name] for name in ("steps", "transient", "settle", "k", "record_every", "rng_seed")} == {
        "steps": 101,
        "transient": 25,
        "settle": 25,
        "k": 2,
        "record_every": 1,
        "rng_seed": 4,
    }
    shortest = covariant_vectors(linear(REAL), steps=1, rng=0)
    assert shortest.step.values.tolist() == [1]


def test_a_single_vector_has_no_angles_and_can_be_saved(tmp_path) -> None:
    ds = covariant_vectors(linear(REAL), steps=40, k=1, rng=0)
    assert ds.angle.shape == ds.consecutive_angle.shape == (1, 20, 0)
    loaded = lyapkit.load(lyapkit.save(ds, tmp_path / "one.nc"))
    assert loaded.angle.shape == (1, 20, 0)
    np.testing.assert_array_equal(loaded.covariant_vector, ds.covariant_vector)


BAD = {
    "transient below zero": ({"transient": -1}, ValueError, "transient must be at least 0, got -1"),
    "settle below zero": ({"settle": -2}, ValueError, "settle must be at least 0, got -2"),
    "half a step": ({"settle": 1.5}, TypeError, "settle must be an integer or None, got 1.5"),
    "a word": ({"transient": "auto"}, TypeError, "transient must be an integer or None, got 'auto'"),
    "no window": (
        {"transient": 12, "settle": 8},
        ValueError,
        "no steps left to analyse: of 20 steps, 12 are transient and 8 settle the backward pass",
    ),
    "no steps": ({"steps": 0}, ValueError, "at least 1"),
    "k of 0": ({"k": 0}, ValueError, "k must be between 1 and the state size 4, got 0"),
    "k above N": ({"k": 5}, ValueError, "k must be between 1 and the state size 4, got 5"),
    "record_every of 0": ({"record_every": 0}, ValueError, "record_every must be at least 1, got 0"),
    "no duration": ({"dt": 0.0}, ValueError, "dt must be positive"),
    "a bad seed": ({"rng": "x"}, TypeError, "rng must be"),
    "inputs of an autonomous map": ({"inputs": torch.ones(3, 1)}, TypeError, "autonomous"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_are_refused(name: str) -> None:
    options, error, message = BAD[name]
    with pytest.raises(error, match=message):
        covariant_vectors(linear(REAL), **{"steps": 20, **options})


def test_annihilated_directions_are_refused_with_the_k_that_is_possible() -> None:
    ring = doubling_maps(0.5)  # the last eigenvalue is exactly zero
    with pytest.raises(ValueError, match=r"direction 6 of trajectory 0 is annihilated at step 11: .* k to 5 or less"):
        covariant_vectors(ring, steps=40, rng=0)
    ds = covariant_vectors(ring, steps=400, k=5, rng=0)
    assert_allclose(ds.covariant_exponent[0], np.log([2, 1.5, 1.5, 0.5, 0.5]), atol=1e-12)


@pytest.mark.parametrize(("step", "shown"), [(25, "annihilated at step 26"), (5, None), (39, "annihilated at step 40")])
def test_one_annihilating_step_names_step_and_trajectory(step: int, shown: str | None) -> None:
    inputs = REAL.reshape(1, 1, -1).repeat(40, 3, 1)
    inputs[step, 1] = 0.0
    product = systems.MatrixProduct(4)
    if shown is None:  # in the transient, which is never followed backwards
        assert covariant_vectors(product, inputs, rng=0).covariance_residual.max() < 1e-12
    else:
        with pytest.raises(ValueError, match=rf"direction 1 of trajectory 1 is {shown}: .* no covariant vectors"):
            covariant_vectors(product, inputs, rng=0)


def test_overflow_names_step_and_trajectory() -> None:
    start = torch.tensor([[0.1, 0.1], [3.0, 3.0]]).double()
    with pytest.raises(FloatingPointError, match=r"state of trajectory 1 is not finite after step \d+"):
        covariant_vectors(systems.henon().map, steps=60, initial_state=start, rng=0)


@pytest.mark.parametrize("phase", ["transient", "window", "settle"])
def test_a_derivative_that_is_not_finite_names_step_and_trajectory(phase: str) -> None:
    """A square root at 0: a finite state with an infinite derivative."""
    step = {"transient": 3, "window": 15, "settle": 35}[phase]
    inputs = torch.ones(40, 2, 1).double()
    inputs[step, 1] = 0.0

    map = as_map(lambda x, s: torch.sqrt(1 + x - (1 - s) * (1 + x)), state=torch.ones(1).double(), input=inputs[0, 0])
    with pytest.raises(FloatingPointError, match=rf"frame of trajectory 1 is not finite after step {step + 1}"):
        covariant_vectors(map, inputs, rng=0, check=False)


@pytest.mark.parametrize("factor", [1e160, 1e-160])
def test_extreme_derivatives_do_not_overflow_norms(factor: float) -> None:
    scale = factor * torch.tensor([2.0, 0.5], dtype=torch.float64)
    map = as_map(lambda x: scale * x, state=torch.zeros(2, dtype=torch.float64))
    ds = covariant_vectors(map, steps=200, rng=0)
    np.testing.assert_allclose(ds.covariant_exponent[0], [math.log(2 * factor), math.log(0.5 * factor)], rtol=1e-12)
    np.testing.assert_allclose(ds.covariant_vector[0, -1], np.eye(2), atol=1e-12)
    assert float(ds.covariance_residual.max()) < 1e-14

"""Instantaneous exponents and chosen angles of covariant vectors, against closed forms, NumPy and SciPy."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.linalg import subspace_angles

import lyapkit
from lyapkit import as_map, covariant_vectors, systems
from lyapkit.lyapunov.angles import principal_angles
from references import matrix_with_spectrum

SPECTRUM = [1.3, -0.9, 0.5, 0.2]
MATRIX = matrix_with_spectrum(SPECTRUM, [], seed=3, skew=30.0)
PERIOD = [matrix_with_spectrum([1.5, 0.7, 0.3, 0.1], [], seed=seed, skew=10.0) for seed in (20, 30, 40)]
PAIRS = [(1, 3), ((1, 2), (3, 4)), (4, (1, 2)), ([2], range(3, 5)), ((1, 3), (2, 4))]


def linear(matrix: torch.Tensor):
    return as_map(lambda x: matrix @ x, state=torch.zeros(len(matrix), dtype=matrix.dtype))


def eigenvectors(matrix: torch.Tensor) -> np.ndarray:
    values, vectors = torch.linalg.eig(matrix)
    return vectors.real[:, values.abs().argsort(descending=True)].numpy()


def columns(vectors: np.ndarray, ranks: object) -> np.ndarray:
    return vectors[:, [rank - 1 for rank in ([ranks] if isinstance(ranks, int) else ranks)]]


def test_principal_angles_agree_with_scipy_whatever_their_size() -> None:
    generator = torch.Generator().manual_seed(0)
    for p, q in ((1, 1), (2, 3), (3, 2), (4, 1)):
        first, second = (torch.randn(5, 7, n, generator=generator, dtype=torch.float64) for n in (p, q))
        expected = [np.sort(subspace_angles(a, b)) for a, b in zip(first.numpy(), second.numpy(), strict=True)]
        assert_allclose(principal_angles(first, second), np.array(expected), rtol=1e-10)
    for angle in (1e-14, 1e-9, 0.3, np.pi / 2 - 1e-9, np.pi / 2):
        line = torch.tensor([[np.cos(angle)], [np.sin(angle)], [0.0]])
        axes = torch.eye(3, dtype=torch.float64)[:, [0, 2]]
        assert_allclose(principal_angles(line, axes), [angle], rtol=1e-12)
    assert_allclose(principal_angles(axes, axes @ torch.tensor([[2.0, 1.0], [0.0, 3.0]]).double()), [0, 0], atol=1e-15)


@pytest.mark.parametrize("record_every", [1, 7])
def test_a_constant_matrix_grows_by_its_eigenvalues_at_every_step(record_every: int) -> None:
    options = {"steps": 200, "transient": 90, "settle": 90, "rng": 0}
    ds = covariant_vectors(linear(MATRIX), record_every=record_every, instantaneous=True, angles=PAIRS, **options)
    assert ds.instantaneous_exponent.dims == ("trajectory", "window_step", "exponent")
    assert ds.window_step.values.tolist() == list(range(91, 111))
    growth = np.log(np.abs(SPECTRUM))
    assert_allclose(ds.instantaneous_exponent[0], np.broadcast_to(growth, (20, 4)), atol=1e-12)
    assert ds.instantaneous_exponent.units == "nats per step"
    vectors = eigenvectors(MATRIX)
    assert ds.pair.values.tolist() == ["1 | 3", "1,2 | 3,4", "4 | 1,2", "2 | 3,4", "1,3 | 2,4"]
    assert ds.chosen_angle.shape == (1, ds.sizes["step"], 5, 2)
    for index, (first, second) in enumerate(PAIRS):
        expected = np.sort(subspace_angles(columns(vectors, first), columns(vectors, second)))
        found = ds.chosen_angle.isel(pair=index)
        assert_allclose(
            found[0, :, : len(expected)], np.broadcast_to(expected, (ds.sizes["step"], len(expected))), rtol=1e-9
        )
        assert np.isnan(found[..., len(expected) :]).all()
    assert ds.angle_rank.values.tolist() == [1, 2]


def test_a_periodic_orbit_grows_by_the_lengths_of_its_floquet_vectors() -> None:
    inputs = torch.stack(PERIOD * 160).reshape(480, -1)
    ds = covariant_vectors(systems.MatrixProduct(4), inputs, instantaneous=True, angles=[((1, 2), (3, 4))], rng=1)
    multipliers = torch.linalg.eigvals(PERIOD[2] @ PERIOD[1] @ PERIOD[0]).abs().sort(descending=True).values
    assert_allclose(ds.instantaneous_exponent[0].mean("window_step"), multipliers.log() / 3, atol=1e-12)
    for step in (121, 200, 333, 360):
        phase = (step - 1) % 3  # the matrix of this step
        before = eigenvectors(PERIOD[(phase + 2) % 3] @ PERIOD[(phase + 1) % 3] @ PERIOD[phase])
        before /= np.linalg.norm(before, axis=0)
        after = PERIOD[phase].numpy() @ before
        growth = np.log(np.linalg.norm(after, axis=0))
        assert_allclose(ds.instantaneous_exponent.sel(window_step=step)[0], growth, atol=1e-11)
        expected = np.sort(subspace_angles(after[:, :2], after[:, 2:]))
        assert_allclose(ds.chosen_angle.sel(step=step)[0, 0], expected, rtol=1e-9)


def test_the_time_mean_is_the_exponent_however_seldom_vectors_are_recorded() -> None:
    torch.manual_seed(0)
    network, inputs = torch.nn.GRU(2, 6).double(), torch.randn(120, 3, 2).double()
    lengths = [120, 100, 80]
    options = {"k": 4, "transient": 20, "settle": 30, "rng": 0, "dt": 0.5, "lengths": lengths}
    every = covariant_vectors(network, inputs, instantaneous=True, **options)
    seldom = covariant_vectors(network, inputs, instantaneous=True, record_every=13, **options)
    np.testing.assert_allclose(seldom.instantaneous_exponent, every.instantaneous_exponent, rtol=1e-12)
    assert_allclose(every.instantaneous_exponent.values, every.local_growth.values, rtol=1e-11)
    assert every.instantaneous_exponent.units == "nats per unit time"
    for trajectory, length in enumerate(lengths):
        series = seldom.instantaneous_exponent[trajectory]
        window = series.sel(window_step=slice(21, length - 30))
        assert_allclose(window.mean("window_step"), seldom.covariant_exponent[trajectory], rtol=1e-12)
        assert (series.sel(window_step=slice(length - 29, None)) == 0).all()


def test_angles_of_a_driven_network_are_those_of_its_vectors(tmp_path) -> None:
    torch.manual_seed(1)
    network, inputs = torch.nn.LSTM(2, 3), torch.randn(80, 2, 2)
    ds = covariant_vectors(network, inputs, k=4, angles=PAIRS, record_every=5, rng=0)
    for trajectory in range(2):
        for step in range(ds.sizes["step"]):
            vectors = ds.covariant_vector.values[trajectory, step]
            for index, (first, second) in enumerate(PAIRS):
                expected = np.sort(subspace_angles(columns(vectors, first), columns(vectors, second)))
                found = ds.chosen_angle.values[trajectory, step, index, : len(expected)]
                assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
    assert lyapkit.load(lyapkit.save(ds, tmp_path / "angles.nc")).identical(ds)


def test_neither_is_there_unless_it_is_asked_for() -> None:
    ds = covariant_vectors(linear(MATRIX), steps=40, rng=0, angles=[])
    assert not {"instantaneous_exponent", "chosen_angle"} & set(ds.variables)
    assert not {"window_step", "pair", "angle_rank"} & set(ds.dims)


BAD = {
    "no pairs": ({"angles": "1,2"}, TypeError, r"angles must be a sequence of pairs, such as \[\(1, 3\)\]"),
    "a single pair": ({"angles": (1, 2)}, TypeError, "angles must be a sequence of pairs"),
    "three": ({"angles": [(1, 2, 3)]}, TypeError, "angles must be a sequence of pairs"),
    "half a rank": ({"angles": [(1, 2.5)]}, TypeError, "each rank of angles= must be an integer, got 2.5"),
    "rank 0": ({"angles": [(0, 1)]}, ValueError, r"ranks between 1 and k = 3, got '0 \| 1'"),
    "rank above k": ({"angles": [(1, (2, 4))]}, ValueError, r"ranks between 1 and k = 3, got '1 \| 2,4'"),
    "a vector on both sides": ({"angles": [((1, 2), (2, 3))]}, ValueError, r"none in common, got '1,2 \| 2,3'"),
    "an empty set": ({"angles": [((), 1)]}, ValueError, r"none in common, got ' \| 1'"),
    "a pair twice": ({"angles": [(1, 2), (1, 2)]}, ValueError, "angles must name each pair once"),
    "a word": ({"instantaneous": "yes"}, TypeError, "instantaneous must be True or False, got 'yes'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_are_refused(name: str) -> None:
    options, error, message = BAD[name]
    with pytest.raises(error, match=message):
        covariant_vectors(linear(MATRIX), steps=20, k=3, **options)

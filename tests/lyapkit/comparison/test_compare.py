"""`compare` on pairs of networks whose likeness is known."""

import json
import math

import numpy as np
import pytest
import torch
import xarray as xr
from numpy.testing import assert_allclose
from scipy.linalg import block_diag, subspace_angles
from scipy.stats import t
from torch import nn

import lyapkit
from lyapkit import as_map, compare, summary, systems
from references import matrix_with_spectrum, random_orthogonal
from steps import Steps

INTERVALS = ("exponent_difference", "procrustes_distance", "principal_angle")


def inputs(steps: int, batch: int, size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(steps, batch, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def weights(size: int, fan_in: int, seed: int, gain: float = 0.9) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    w = gain * torch.randn(size, size, generator=generator, dtype=torch.float64) / size**0.5
    return w, torch.randn(size, fan_in, generator=generator, dtype=torch.float64)


def tanh_network(w: torch.Tensor, u: torch.Tensor, turn: torch.Tensor | None = None, scale: float = 1.0):
    """x' = tanh(W x + U s), seen in turned and scaled coordinates y = scale * turn x."""
    turn = torch.eye(len(w), dtype=w.dtype) if turn is None else turn

    def step(y, s):
        x = y @ turn / scale
        return scale * torch.tanh(x @ w.T + s @ u.T) @ turn.T

    return as_map(step, state=torch.zeros(len(w), dtype=w.dtype), input=torch.zeros(u.shape[1], dtype=w.dtype))


def largest(ds: xr.Dataset) -> dict[str, float]:
    return {name: float(abs(ds[name]).max()) for name in INTERVALS}


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("other", ["itself", "rotated", "scaled", "rotated and scaled"])
def test_copies_are_equal_to_rounding(other: str, batch: int) -> None:
    w, u = weights(8, 3, seed=1)
    turn = random_orthogonal(8, 2) if "rotated" in other else None
    copy = tanh_network(w, u, turn, 20.0 if "scaled" in other else 1.0)
    ds = compare(tanh_network(w, u), copy, inputs(120, batch, 3), rng=0)
    assert largest(ds)["exponent_difference"] < 1e-9
    assert largest(ds)["procrustes_distance"] < 1e-12
    assert largest(ds)["principal_angle"] < 1e-9
    expected = torch.eye(8) if turn is None else turn.T
    assert_allclose(ds.rotation, expected, atol=1e-9)
    assert_allclose(ds.scale, 1 / 20 if "scaled" in other else 1.0, rtol=1e-10)
    assert int(ds.aligned_dimensions) == 8
    assert (ds.alignment_open == 0).all()
    assert set(summary(ds).verdict[:9]) == {"equal to rounding"}


@pytest.mark.parametrize("layer", [nn.RNN, nn.GRU, nn.LSTM])
def test_layers_in_single_precision_are_equal_to_themselves(layer: type) -> None:
    torch.manual_seed(0)
    network, x = layer(2, 5), inputs(60, 3, 2).float()
    ds = compare(network, network, x, rng=0)
    assert max(largest(ds).values()) < 1e-5
    assert ds.attrs["dtype"] == "float32"
    assert ds.sizes["exponent"] == (10 if layer is nn.LSTM else 5)


def test_other_weights_are_told_apart_and_the_order_changes_signs_only() -> None:
    x = inputs(150, 6, 3)
    first, second = (tanh_network(*weights(8, 3, seed)) for seed in (1, 2))
    ds, back = compare(first, second, x, rng=0), compare(second, first, x, rng=0)
    assert ds.procrustes_distance_low > 0.1
    assert_allclose(back.procrustes_distance, ds.procrustes_distance, rtol=1e-10)
    assert_allclose(back.exponent_difference, -ds.exponent_difference, atol=0.02)
    assert_allclose(back.rotation, ds.rotation.T, atol=1e-9)
    assert_allclose(back.scale * ds.scale, math.cos(ds.procrustes_distance) ** 2, rtol=1e-9)
    table = summary(ds)
    assert table.index.tolist()[8:] == ["Procrustes distance", *(f"angle of subspace {j}" for j in (1, 2, 3))]
    assert table.value.tolist()[8] == float(ds.procrustes_distance)
    assert table.loc["angle of subspace 3"].value == float(ds.principal_angle[2, 2])
    assert table.loc["exponent 1", ["error", "low", "high"]].tolist() == [
        float(ds[f"exponent_difference_{part}"][0]) for part in ("error", "low", "high")
    ]


def test_exponents_are_those_of_lyapunov_spectrum_and_their_differences_are_paired() -> None:
    x = inputs(200, 5, 3)
    networks = [tanh_network(*weights(6, 3, seed)) for seed in (1, 2)]
    ds = compare(*networks, x, transient=60, dt=0.1, rng=0)
    singly = [lyapkit.lyapunov_spectrum(each, x, transient=60, dt=0.1, qr_interval=1) for each in networks]
    # the frames start elsewhere, which fades like 1/T
    for found, expected in zip(ds.lyapunov_exponent.values, singly, strict=True):
        assert_allclose(found, expected.lyapunov_exponent, atol=0.3)
        assert_allclose(found.sum(axis=1), expected.lyapunov_exponent.sum("exponent"), rtol=1e-10)
    paired = ds.lyapunov_exponent.values[0] - ds.lyapunov_exponent.values[1]
    error = paired.std(axis=0, ddof=1) / math.sqrt(5)
    assert_allclose(ds.exponent_difference, paired.mean(axis=0), rtol=1e-9)
    assert_allclose(ds.exponent_difference_error, error, rtol=1e-9)
    assert_allclose(ds.exponent_difference_high - ds.exponent_difference, t.ppf(0.975, 4) * error, rtol=1e-9)
    assert ds.exponent_difference.units == "nats per unit time"


def following(matrix: torch.Tensor, turn: torch.Tensor | None = None):
    """x' = s_{t+1} + A (x - s_t) on inputs (s_t, s_{t+1}): states are s, and Jacobians A, whatever A is."""
    size = len(matrix)
    turn = torch.eye(size, dtype=matrix.dtype) if turn is None else turn

    def step(y, s):
        now = nn.functional.pad(s[..., :4], (0, size - 4))
        after = nn.functional.pad(s[..., 4:], (0, size - 4))
        return (after + (y @ turn - now) @ matrix.T) @ turn.T

    return as_map(step, state=torch.zeros(size).double(), input=torch.zeros(8).double())


def eigenvectors(matrix: torch.Tensor) -> np.ndarray:
    values, vectors = torch.linalg.eig(matrix)
    return vectors.real[:, values.abs().argsort(descending=True)].numpy()


def trajectory(steps: int, batch: int) -> torch.Tensor:
    s = inputs(steps + 1, batch, 4, seed=3)
    s[0] = 0.0
    return torch.cat((s[:-1], s[1:]), dim=-1)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("wider", [0, 2])
@pytest.mark.parametrize("swapped", [False, True])
def test_linear_maps_have_the_exponents_and_angles_of_their_eigenvectors(batch: int, wider: int, swapped: bool) -> None:
    spectra = [0.9, -0.6, 0.4, 0.2], [0.8, 0.5, -0.3, 0.1]
    first, second = (matrix_with_spectrum(each, [], seed=seed, skew=5.0) for seed, each in enumerate(spectra))
    wide = torch.from_numpy(block_diag(second, 0.01 * np.eye(wider)))
    pair = [following(first), following(wide, random_orthogonal(4 + wider, 7))]
    ds = compare(*(pair[::-1] if swapped else pair), trajectory(160, batch), transient=80, rng=0)
    sign = -1 if swapped else 1
    expected = np.log(np.abs(spectra[0])) - np.log(np.abs(spectra[1]))
    assert_allclose(ds.exponent_difference, sign * expected, atol=1e-9)
    assert_allclose(ds.exponent_difference_error, 0, atol=1e-9)
    assert ds.procrustes_distance < 1e-12
    assert int(ds.aligned_dimensions) == 4
    for j in (1, 2, 3):
        angles = np.sort(subspace_angles(eigenvectors(first)[:, :j], eigenvectors(second)[:, :j]))
        assert_allclose(ds.principal_angle[j - 1, :j], angles, rtol=1e-7, atol=2e-8)  # of which SciPy knows so much
        assert np.isnan(ds.principal_angle[j - 1, j:]).all()
    assert_allclose(ds.principal_angle_error.values[np.tril_indices(3)], 0, atol=1e-9)
    assert ds.forward_difference.max() < 1e-6
    assert ds.forward_difference.dims == ("network", "subspace")
    assert ds.alignment_open.max() < 1e-9


def test_the_distance_of_two_filters_is_that_of_their_covariances() -> None:
    """x' = A x + s with white s and A = diag a: covariances 1 / (1 - a_i b_i)."""
    a, b = torch.tensor([[0.9, 0.5, 0.2], [0.3, -0.5, 0.8]], dtype=torch.float64)

    def filter_of(rates):
        return as_map(lambda x, s: rates * x + s, state=torch.zeros(3).double(), input=torch.zeros(3).double())

    ds = compare(filter_of(a), filter_of(b), inputs(1500, 12, 3), transient=100, rng=0)
    nuclear = (1 / (1 - a * b)).sum()
    exact = math.acos(nuclear / ((1 / (1 - a * a)).sum() * (1 / (1 - b * b)).sum()).sqrt())
    assert ds.procrustes_distance_low < exact < ds.procrustes_distance_high
    assert abs(float(ds.procrustes_distance) - exact) < 0.02
    assert_allclose(ds.exponent_difference, np.log([0.9, 0.5, 0.2]) - np.log([0.8, 0.5, 0.3]), atol=1e-10)
    assert_allclose(ds.principal_angle[0, 0], math.pi / 2, atol=0.05)  # the first unit here, the third there


def test_equal_exponents_do_not_determine_a_span_and_this_is_said() -> None:
    matrix = matrix_with_spectrum([0.3, 0.2], [(0.8, 2.0)], seed=7, skew=5.0)  # ranks 1 and 2 are a pair
    other = matrix_with_spectrum([0.7, 0.5, 0.3, 0.1], [], seed=8, skew=5.0)
    ds = compare(following(matrix), following(other), trajectory(200, 3), rng=0)
    assert ds.forward_difference.sel(network="a", subspace=1) > 1e-3
    assert ds.forward_difference.sel(network="a", subspace=2) < 1e-6
    assert ds.forward_difference.sel(network="b").max() < 1e-4
    verdicts = summary(ds).verdict
    assert verdicts["angle of subspace 1"] == "not settled"
    assert verdicts["angle of subspace 2"] == "differs"
    # a rotated copy starts where the alignment says, so that even such a span is the same
    same = compare(following(matrix), following(matrix, random_orthogonal(4, 1)), trajectory(200, 3), rng=0)
    assert same.principal_angle.max() < 1e-8


def test_an_alignment_that_states_do_not_determine_is_marked() -> None:
    matrix = matrix_with_spectrum([0.9, -0.6, 0.4, 0.2], [], seed=0, skew=5.0)
    x = trajectory(120, 3)
    x[..., 3] = x[..., 7] = 0.0  # the states leave the last dimension out
    ds = compare(following(matrix), following(matrix, random_orthogonal(4, 3)), x, rng=0)
    assert int(ds.aligned_dimensions) == 3
    outside = abs(eigenvectors(matrix)[3, 0])
    assert_allclose(ds.alignment_open[0], outside**2, rtol=1e-6)
    assert summary(ds).verdict["angle of subspace 1"] == "alignment open"


def test_annihilated_directions_do_not_differ_and_have_no_angles() -> None:
    rates = torch.tensor([[0.9, 0.5, 0.0, 0.0], [0.8, 0.5, 0.2, 0.0]], dtype=torch.float64)
    ds = compare(*(following(torch.diag(each)) for each in rates), trajectory(80, 2), rng=0)
    assert_allclose(ds.exponent_difference[:2], np.log([0.9 / 0.8, 1.0]), atol=1e-9)
    assert ds.exponent_difference.values[2:].tolist() == [-math.inf, 0.0]
    assert ds.exponent_difference_error.isnull().values.tolist() == [False, False, True, False]
    assert_allclose(ds.principal_angle[1, :2], 0, atol=1e-7)
    assert ds.principal_angle[2].isnull().all()
    table = summary(ds)
    assert table.verdict["exponent 3"] == "annihilated in one"
    assert table.verdict["angle of subspace 3"] == "does not exist"


def test_networks_at_rest_have_no_distance_and_a_warning() -> None:
    networks = [as_map(lambda x, rate=rate: rate * x, state=torch.zeros(3).double()) for rate in (0.5, 0.4)]
    with pytest.warns(UserWarning, match="states of one of the networks do not vary"):
        ds = compare(*networks, steps=40, rng=0)
    assert_allclose(ds.exponent_difference, math.log(0.5 / 0.4), atol=1e-12)
    for name in ("procrustes_distance", "procrustes_distance_error", "scale", "procrustes_bias"):
        assert math.isnan(float(ds[name]))
    assert ds.principal_angle.isnull().all()
    assert ds.rotation.isnull().all()
    assert int(ds.aligned_dimensions) == 0
    assert summary(ds).verdict["Procrustes distance"] == "does not exist"


def test_autonomous_maps_are_compared_from_pairs_of_initial_states() -> None:
    henon = systems.henon().map
    turn = random_orthogonal(2, 0)
    turned = as_map(lambda y: henon.step(y @ turn) @ turn.T, state=turn @ henon.initial_state(1)[0])
    start = 0.1 * inputs(1, 4, 2)[0]
    ds = compare(henon, turned, steps=40, transient=10, initial_states=(start, start @ turn.T), rng=0)
    assert ds.sizes["trajectory"] == 4
    assert ds.procrustes_distance < 1e-4  # rounding grows by 0.42 per step
    assert abs(ds.exponent_difference).max() < 1e-4
    own = compare(henon, turned, steps=30, rng=0)
    assert own.sizes["trajectory"] == 1
    assert own.procrustes_distance < 1e-6


def test_padding_changes_nothing_and_lengths_count() -> None:
    x, lengths = inputs(90, 3, 3), [90, 70, 50]
    networks = [tanh_network(*weights(5, 3, seed)) for seed in (1, 2)]
    ds = compare(*networks, x, lengths=lengths, transient=20, rng=0)
    garbage = x.clone()
    for trajectory_index, length in enumerate(lengths):
        garbage[length:, trajectory_index] = 1e3
    again = compare(*networks, garbage, lengths=lengths, transient=20, rng=0)
    packed = nn.utils.rnn.pack_padded_sequence(x, lengths)
    for other in (again, compare(*networks, packed, transient=20, rng=0)):
        for name in ds.data_vars:
            assert_allclose(other[name], ds[name], rtol=1e-9, atol=1e-12)
    alone = [compare(*networks, x[:length, i], transient=20, rng=0) for i, length in enumerate(lengths)]
    assert_allclose(ds.exponent_difference, np.mean([each.exponent_difference for each in alone], axis=0), atol=0.05)
    for i, each in enumerate(alone):
        difference = ds.lyapunov_exponent[:, i] - each.lyapunov_exponent[:, 0]
        assert abs(difference.sum("exponent")).max() < 1e-10  # volumes depend on no frame


def test_both_loops_are_closed_by_their_own_feedback() -> None:
    w, u = weights(6, 2, seed=1, gain=1.5)
    turn = random_orthogonal(6, 4)
    readout = torch.randn(2, 6, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    feedback = (lambda x: x @ readout.T, lambda y: y @ turn @ readout.T)
    start = inputs(1, 3, 6)[0]
    pair = tanh_network(w, u), tanh_network(w, u, turn)
    ds = compare(*pair, steps=30, feedback=feedback, initial_states=(start, start @ turn.T), rng=0)
    assert ds.procrustes_distance < 1e-6
    assert json.loads(ds.attrs["config_json"])["feedback"] is True
    forced = compare(*pair, inputs(40, 3, 2), feedback=feedback, teacher_forcing=0.5, rng=0)
    assert forced.procrustes_distance < 1e-6


def test_layouts_agree_and_the_result_is_saved(tmp_path) -> None:
    torch.manual_seed(0)
    first, second = nn.GRU(2, 4).double(), nn.GRU(2, 3).double()
    x = inputs(50, 3, 2)
    ds = compare(first, second, x, k=2, subspaces=1, rng=0)
    turned = compare(first, second, x.transpose(0, 1), k=2, subspaces=1, batch_first=True, rng=0)
    assert_allclose(turned.procrustes_distance, ds.procrustes_distance, rtol=1e-12)
    assert ds.sizes == {
        "exponent": 2, "network": 2, "trajectory": 3, "unit": 4, "other_unit": 3, "subspace": 1, "angle_rank": 1
    }  # fmt: skip
    assert lyapkit.load(lyapkit.save(ds, tmp_path / "compare.nc")).identical(ds)
    config = json.loads(ds.attrs["config_json"])
    assert (ds.attrs["analysis"], config["transient"], config["trajectories"]) == ("compare", 12, 3)
    assert config["run_of_b"]["derivatives"]
    seeds = xr.concat([ds, ds], "seed", data_vars="all").assign_coords(seed=[3, 5]).assign_attrs(ds.attrs)
    table = summary(seeds)
    assert table.index.names == ["quantity", "seed"]
    assert table.loc[("Procrustes distance", 5)].value == float(ds.procrustes_distance)


def test_few_states_fit_too_well_and_their_interval_knows() -> None:
    first, second = (tanh_network(*weights(12, 2, seed)) for seed in (1, 2))
    x = inputs(200, 16, 2)
    many, few = compare(first, second, x, k=1, rng=0), compare(first, second, x[:40, :8], k=1, rng=0)
    assert few.procrustes_bias < 5 * many.procrustes_bias < 0
    assert few.procrustes_distance_error > many.procrustes_distance_error
    for ds in (few, many):
        middle = (ds.procrustes_distance_low + ds.procrustes_distance_high) / 2
        assert_allclose(middle, ds.procrustes_distance - ds.procrustes_bias, rtol=1e-12)
    assert few.procrustes_distance_low < many.procrustes_distance < few.procrustes_distance_high


DRIVEN = tanh_network(*weights(4, 2, seed=1))
X = inputs(20, 2, 2)
FREE = systems.henon().map
BAD = {
    "other inputs": (
        (DRIVEN, tanh_network(*weights(4, 3, seed=1)), X), {},
        ValueError, r"a has 2 input components and b has 3; give them the encoder",
    ),
    "one autonomous": ((FREE, DRIVEN, X), {}, TypeError, "network b takes inputs and network a is autonomous"),
    "other one autonomous": ((DRIVEN, FREE, X), {}, TypeError, "network a takes inputs and network b is autonomous"),
    "other layouts": (
        (nn.GRU(2, 3), nn.GRU(2, 3, batch_first=True), X.float()), {},
        ValueError, r"a takes inputs \(T, B, M\), time first, and b takes them \(B, T, M\), batch first; say how",
    ),
    "other types": (
        (nn.GRU(2, 3), nn.GRU(2, 3).double(), X), {},
        ValueError, r"network a computes in torch.float32 and b in torch.float64; convert one with \.to\(\)",
    ),
    "NaN": (
        (DRIVEN, DRIVEN, torch.where(torch.arange(20)[:, None, None] == 7, math.nan, X)), {},
        ValueError, r"network a: inputs holds a value that is not finite at index \(7, 0, 0\)",
    ),
    "NaN in a state": (
        (DRIVEN, DRIVEN, X), {"initial_states": (None, torch.full((4,), math.nan).double())},
        ValueError, "network b: initial_state holds a value that is not finite",
    ),
    "other numbers of trajectories": (
        (FREE, FREE), {"steps": 9, "initial_states": (torch.zeros(2, 2).double(), torch.zeros(3, 2).double())},
        ValueError, "initial_states start 2 trajectories of a and 3 of b; make them equal",
    ),
    "no pair of states": (
        (FREE, FREE), {"steps": 9, "initial_states": torch.zeros(2).double()},
        TypeError, "initial_states must be a pair of states, one for a and one for b, got Tensor",
    ),
    "three states": (
        (FREE, FREE), {"steps": 9, "initial_states": (None, None, None)}, TypeError, "pair of states.* got 3 of them"
    ),
    "one feedback": (
        (DRIVEN, DRIVEN), {"steps": 9, "feedback": nn.Identity()}, TypeError, "feedback must be a pair of functions"
    ),
    "a wrong feedback": (
        (DRIVEN, DRIVEN), {"steps": 9, "feedback": (lambda x: x[..., :2], 3)},
        TypeError, "network b: feedback must be callable, got int",
    ),
    "no network": ((DRIVEN, "gru", X), {}, TypeError, "^network b: "),
    "k too large": (
        (DRIVEN, tanh_network(*weights(3, 2, seed=1)), X), {"k": 4}, ValueError, "k must be .* the state size 3"
    ),
    "no subspace": ((DRIVEN, DRIVEN, X), {"subspaces": 0}, ValueError, "the number of exponents k = 4, got 0"),
    "too many subspaces": ((DRIVEN, DRIVEN, X), {"k": 2, "subspaces": 3}, ValueError, "exponents k = 2, got 3"),
    "half a subspace": ((DRIVEN, DRIVEN, X), {"subspaces": 1.5}, TypeError, "subspaces must be an integer or None"),
    "nothing left": ((DRIVEN, DRIVEN, X), {"transient": 20}, ValueError, "transient must be between 0 and 19.* got 20"),
    "half a step": ((DRIVEN, DRIVEN, X), {"transient": 1.5}, TypeError, "transient must be an integer or None"),
    "no duration": ((DRIVEN, DRIVEN, X), {"dt": 0.0}, ValueError, "dt must be positive"),
    "integers": ((DRIVEN, DRIVEN, X.long()), {}, TypeError, "network a: inputs must be floating point"),
    "random": (
        (DRIVEN, Steps(lambda x, s: x + torch.rand(()) * s.sum(), 2), X), {}, ValueError, "^network b: .*random"
    ),
    "overflow": (
        (FREE, FREE), {"steps": 30, "initial_states": (None, torch.tensor([3.0, 3.0]).double())},
        FloatingPointError, "^network b: the state of trajectory 0 is not finite after step",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_has_one_clear_message(name: str) -> None:
    networks, options, error, message = BAD[name]
    with pytest.raises(error, match=message):
        compare(*networks, **options)


def trained(task: str, seed: int) -> nn.GRU:
    """A GRU that keeps (``memory``) or adds up (``count``) the signs of pulses."""
    torch.manual_seed(seed)
    network, readout = nn.GRU(1, 12), nn.Linear(12, 1)
    parameters = [*network.parameters(), *readout.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=2e-2)
    for _ in range(120):
        x, memory = pulses(20, 32)
        target = memory if task == "memory" else x.cumsum(dim=0) / 3
        loss = (readout(network(x)[0]) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    return network.double()


def pulses(steps: int, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    x = (torch.rand(steps, batch, 1) < 0.25) * torch.randint(0, 2, (steps, batch, 1)).mul(2).sub(1).float()
    memory = torch.zeros_like(x)
    for step in range(steps):
        memory[step] = torch.where(x[step] != 0, x[step], memory[step - 1] if step else 0.0)
    return x, memory


@pytest.mark.slow
def test_seeds_of_one_task_are_closer_than_tasks() -> None:
    networks = [trained("memory", 0), trained("memory", 1), trained("count", 2)]
    torch.manual_seed(5)
    x = pulses(60, 12)[0].double()
    seeds, tasks = (compare(networks[0], other, x, k=3, rng=0) for other in networks[1:])
    assert seeds.procrustes_distance_high < tasks.procrustes_distance_low

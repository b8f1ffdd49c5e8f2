"""Several networks in one call: the numbers of each alone, with labels, and refusals of what is no grid."""

import copy
import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

import lyapkit
from lyapkit.trajectories.networks import InOrder, StackedWeights
from wcrnn_models import WCRNN, residuals


class Own(nn.Module):
    """A user's step, with a buffer and a parameter."""

    def __init__(self, size: int = 4, inputs: int = 2) -> None:
        super().__init__()
        self.inner = nn.Linear(size + inputs, size, dtype=torch.float64)
        self.register_buffer("leak", torch.rand((), dtype=torch.float64))

    def forward(self, state, input):
        """Take a leaky step."""
        return (1 - self.leak) * state + self.leak * torch.tanh(self.inner(torch.cat((state, input))))


class Logistic(nn.Module):
    """The logistic map with its parameter, autonomous."""

    def __init__(self, rate: float, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.tensor([rate], dtype=dtype))

    def forward(self, x):
        """Return the next state."""
        return self.rate * x * (1 - x)


def wcrnn(number: int, dtype: torch.dtype) -> nn.Module:
    coupling = 0.02 * (1 + number)
    return WCRNN(2, 4, 1, residual=residuals.scalar(0.97), coupling=coupling, rng=number, dtype=dtype)


MORE = "the networks differ in more than parameters and buffers"

KINDS = {
    "LSTM": lambda number, dtype: nn.LSTM(2, 3, dtype=dtype),
    "two layers": lambda number, dtype: nn.GRU(2, 3, num_layers=2, dtype=dtype),
    "projection": lambda number, dtype: nn.LSTM(2, 3, proj_size=2, dtype=dtype),
    "RNN": lambda number, dtype: nn.RNN(2, 4, bias=False, dtype=dtype),
    "LSTM cell": lambda number, dtype: nn.LSTMCell(2, 3, dtype=dtype),
    "WCRNN": wcrnn,
    "weight norm": lambda number, dtype: weight_norm(nn.GRU(2, 3, dtype=dtype), "weight_hh_l0"),
    "own": lambda number, dtype: lyapkit.as_map(
        Own().to(dtype), state=torch.zeros(4, dtype=dtype), input=torch.zeros(2, dtype=dtype)
    ),
}


def networks(kind: str, count: int = 3, dtype: torch.dtype = torch.float64) -> list:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return [KINDS[kind](number, dtype) for number in range(count)]


def logistic(*rates: float) -> list:
    return [lyapkit.as_map(Logistic(rate), state=torch.tensor([0.3], dtype=torch.float64)) for rate in rates]


def drawn(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)


def config(ds) -> dict:
    return json.loads(ds.attrs["config_json"])


OF_ROUNDING = {"frame_condition", "log_volume_residual", "below_resolution", "final_frame", "frame_order"}
"""Variables that rounding may change."""


def assert_like_each_alone(analysis, nets, *arguments, rtol: float = 1e-10, **options):
    """Compare the result of all networks with those of each: every variable that the trajectories have."""
    together = analysis(nets, *arguments, **options)
    apart = [analysis(net, *arguments, **options) for net in nets]
    size = together.sizes["trajectory"] // len(nets)
    for number, one in enumerate(apart):
        mine = together.isel(trajectory=slice(number * size, (number + 1) * size))
        for name in one.data_vars:
            if "trajectory" in one[name].dims and name not in OF_ROUNDING:
                np.testing.assert_allclose(mine[name], one[name], rtol=rtol, atol=rtol, err_msg=f"{name} of {number}")
    return together, apart


@pytest.mark.parametrize("steps", [40, 300])
@pytest.mark.parametrize("kind", KINDS)
def test_exponents_are_those_of_each_network_alone(kind: str, steps: int) -> None:
    nets = networks(kind)
    together, apart = assert_like_each_alone(lyapkit.lyapunov_spectrum, nets, drawn(steps, 2), qr_interval=1)
    if kind == "weight norm":
        assert config(together)["networks_not_together_because"] == MORE  # the weight itself is a plain tensor
    else:
        assert config(together)["networks_not_together_because"] == ""
    assert "traced" in config(together)["tangents"] or steps == 40
    exponents = np.concatenate([one.lyapunov_exponent for one in apart])
    assert np.ptp(exponents[:, 0]) > 1e-3  # the networks differ
    assert config(together)["networks"] == 3


@pytest.mark.parametrize("kind", ["LSTM", "WCRNN", "own"])
def test_batches_lengths_states_and_leading_exponents_are_as_for_each_alone(kind: str) -> None:
    nets, inputs = networks(kind), drawn(50, 2, 2)
    size = lyapkit.as_map(nets[0]).state_size
    options = {"k": 2, "rng": 3, "qr_interval": 1, "keep_states": True}
    for given in (
        {"initial_state": drawn(2, size)},
        {"initial_state": drawn(size), "lengths": [50, 31], "transient": 4},
    ):
        together, _ = assert_like_each_alone(lyapkit.lyapunov_spectrum, nets, inputs, **options, **given)
        assert together.trajectory.values.tolist() == ["0, 0", "0, 1", "1, 0", "1, 1", "2, 0", "2, 1"]
    assert together.last_step.values.tolist() == [50, 31] * 3


def test_one_sequence_runs_from_many_states_of_each_network() -> None:
    together, _ = assert_like_each_alone(
        lyapkit.lyapunov_spectrum, networks("LSTM"), drawn(20, 2), initial_state=drawn(4, 6), qr_interval=1
    )
    assert together.sizes["trajectory"] == 12


def test_packed_sequences_and_layout_are_those_of_the_networks() -> None:
    nets = [nn.GRU(2, 3, batch_first=True, dtype=torch.float64) for _ in range(2)]
    packed = nn.utils.rnn.pack_sequence([drawn(20, 2), drawn(12, 2)])
    for inputs in (drawn(3, 20, 2), packed):
        together, _ = assert_like_each_alone(lyapkit.lyapunov_spectrum, nets, inputs, qr_interval=1)
    assert together.last_step.values.tolist() == [20, 12, 20, 12]


@pytest.mark.parametrize("steps", [40, 400])
def test_float32_networks_have_the_exponents_of_each_alone(steps: int) -> None:
    nets = networks("LSTM", dtype=torch.float32)
    inputs = drawn(steps, 2, dtype=torch.float32)
    assert_like_each_alone(lyapkit.lyapunov_spectrum, nets, inputs, rtol=2e-5, qr_interval=1)
    ds = lyapkit.lyapunov_spectrum(nets, inputs, frame_dtype=torch.float32, qr_interval=1)
    reference = lyapkit.lyapunov_spectrum(copy.deepcopy(nets), inputs, qr_interval=1)
    np.testing.assert_allclose(ds.lyapunov_exponent, reference.lyapunov_exponent, atol=1e-3)


def test_autonomous_maps_take_steps_and_have_the_known_exponents() -> None:
    rates = {2.8: math_log(0.8), 3.2: 0.5 * np.log(abs(-(3.2**2) + 2 * 3.2 + 4)), 2.0: -np.inf}  # f' along the cycle
    maps = dict(zip(rates, logistic(*rates), strict=True))
    ds = lyapkit.lyapunov_spectrum({name: maps[name] for name in (2.8, 3.2)}, steps=3000, transient=1000)
    assert ds.trajectory.values.tolist() == ds.network.values.tolist() == [2.8, 3.2]
    np.testing.assert_allclose(ds.lyapunov_exponent.values[:, 0], [rates[2.8], rates[3.2]], atol=1e-10)
    assert config(ds)["driven"] is False
    assert_like_each_alone(lyapkit.lyapunov_spectrum, logistic(2.8, 3.2, 3.83), steps=100, qr_interval=1)


def math_log(value: float) -> float:
    return float(np.log(value))


def test_stop_rule_waits_for_every_network() -> None:
    ds = lyapkit.lyapunov_spectrum(logistic(4.0, 3.9), until=0.02, rng=0)
    assert ds.converged.values.tolist() == [1, 1]
    assert float(ds.standard_error.max()) <= 0.02
    assert float(ds.lyapunov_exponent[0, 0]) == pytest.approx(np.log(2), abs=0.08)


def test_functions_and_maps_that_loop_are_stepped_one_network_after_the_other() -> None:
    def scaled(factor: float):
        return lambda x: factor * x

    def looping(factor: float):
        return lambda x: factor * x if float(x.sum()) > 0 else x * factor

    for make in (scaled, looping):
        nets = {factor: make(factor) for factor in (0.5, 0.25)}
        ds = lyapkit.lyapunov_spectrum(lyapkit.as_map(nets, state=torch.ones(1, dtype=torch.float64)), steps=10)
        np.testing.assert_allclose(ds.lyapunov_exponent.values[:, 0], np.log([0.5, 0.25]), atol=1e-12)
        assert config(ds)["networks_not_together_because"]


def test_methods_of_modules_are_stepped_together() -> None:
    maps = [
        lyapkit.as_map(Own().forward, state=torch.zeros(4, dtype=torch.float64), input=torch.zeros(2).double())
        for _ in range(2)
    ]
    together, _ = assert_like_each_alone(lyapkit.lyapunov_spectrum, maps, drawn(20, 2), qr_interval=1)
    assert config(together)["networks_not_together_because"] == ""


def test_whole_models_run_by_the_names_of_their_cores() -> None:
    models = [nn.ModuleDict({"rnn": nn.GRU(2, 3), "head": nn.Linear(3, 1)}).double() for _ in range(2)]
    ds = lyapkit.lyapunov_spectrum(lyapkit.as_map(models, core="rnn"), drawn(20, 2), qr_interval=1)
    alone = lyapkit.lyapunov_spectrum([model["rnn"] for model in models], drawn(20, 2), qr_interval=1)
    np.testing.assert_allclose(ds.lyapunov_exponent, alone.lyapunov_exponent, atol=1e-12)
    with pytest.raises(ValueError, match="network 0 has an encoder of its own"):
        lyapkit.as_map(models, core="rnn", encoder=nn.Identity())


def test_a_result_is_labelled_by_network_and_sequence() -> None:
    nets = dict(zip("ab", networks("LSTM", 2), strict=True))
    ds = lyapkit.lyapunov_spectrum(nets, drawn(30, 3, 2), trajectory_names=["rest", "go", "stop"])
    assert ds.trajectory.values.tolist()[:4] == ["a, rest", "a, go", "a, stop", "b, rest"]
    table = ds.set_index(trajectory=["network", "sequence"]).unstack("trajectory")
    one = lyapkit.lyapunov_spectrum(nets["b"], drawn(30, 3, 2)[:, 1])
    np.testing.assert_allclose(
        table.lyapunov_exponent.sel(network="b", sequence="go"), one.lyapunov_exponent[0], atol=1e-10
    )
    single = lyapkit.lyapunov_spectrum(nets, drawn(30, 2))
    assert single.trajectory.values.tolist() == single.network.values.tolist() == ["a", "b"]
    assert single.network.attrs["long_name"] == "network, by name or from 0"


def test_results_of_several_networks_are_saved_drawn_and_tabulated(tmp_path) -> None:
    ds = lyapkit.lyapunov_spectrum(networks("LSTM"), drawn(30, 2, 2))
    lyapkit.save(ds, tmp_path / "grid.nc")
    back = lyapkit.load(tmp_path / "grid.nc")
    assert back.identical(ds)
    assert back.network.dims == ("trajectory",)
    assert len(lyapkit.summary(ds)) == 6 * 6
    axes = lyapkit.plots.lyapunov_spectrum(ds)
    assert axes.get_legend().get_texts()[0].get_text() == "0, 0"
    lyapkit.report(ds, tmp_path / "grid.html")
    assert "0, 0" in (tmp_path / "grid.html").read_text(encoding="utf-8")


def test_other_analyses_take_several_networks() -> None:
    nets, inputs = networks("LSTM", 2), drawn(24, 2, 2)
    assert_like_each_alone(lyapkit.variational_term, nets, inputs)
    assert_like_each_alone(lyapkit.states, nets, inputs)
    assert_like_each_alone(lyapkit.jacobians, nets, inputs, towards_input=True, lengths=[24, 7])
    together, apart = (
        lyapkit.covariant_vectors(each, inputs[:, :1], transient=4, settle=4, rng=0) for each in (nets, nets[1])
    )
    np.testing.assert_allclose(together.covariant_exponent[1], apart.covariant_exponent[0], atol=1e-9)
    assert lyapkit.states(logistic(2.8, 3.2), steps=2).state.values[:, :, 0] == pytest.approx(
        np.array([[0.588, 2.8 * 0.588 * 0.412], [0.672, 3.2 * 0.672 * 0.328]])
    )


def test_differentiable_exponents_have_the_gradients_of_each_network_alone() -> None:
    nets, inputs = networks("LSTM", 2), drawn(12, 2)
    exponents = lyapkit.lyapunov_exponents(nets, inputs)
    exponents[:, 0].sum().backward()
    found = [[parameter.grad.clone() for parameter in net.parameters()] for net in nets]
    for net, gradients, row in zip(nets, found, exponents, strict=True):
        net.zero_grad()
        alone = lyapkit.lyapunov_exponents(net, inputs)
        torch.testing.assert_close(alone[0], row, rtol=0, atol=1e-12)
        alone[0, 0].backward()
        for parameter, gradient in zip(net.parameters(), gradients, strict=True):
            torch.testing.assert_close(parameter.grad, gradient, rtol=1e-9, atol=1e-12)


def test_gradients_reach_inputs_and_states_through_every_network() -> None:
    nets = networks("LSTM", 2)
    inputs, state = drawn(10, 2).requires_grad_(), drawn(6).requires_grad_()
    lyapkit.lyapunov_exponents(nets, inputs, initial_state=state, detach_state=False).sum().backward()
    found = inputs.grad.clone(), state.grad.clone()
    inputs.grad = state.grad = None
    for net in nets:
        lyapkit.lyapunov_exponents(net, inputs, initial_state=state, detach_state=False).sum().backward()
    torch.testing.assert_close(inputs.grad, found[0], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(state.grad, found[1], rtol=1e-9, atol=1e-12)


def test_weights_are_those_that_networks_have_at_the_call() -> None:
    nets = networks("LSTM", 2)
    map = lyapkit.as_map(nets)
    before = lyapkit.lyapunov_spectrum(map, drawn(20, 2))
    with torch.no_grad():
        nets[1].weight_hh_l0.mul_(0.5)
    after = lyapkit.lyapunov_spectrum(map, drawn(20, 2))
    assert after.lyapunov_exponent[0].equals(before.lyapunov_exponent[0])
    alone = lyapkit.lyapunov_spectrum(nets[1], drawn(20, 2))
    np.testing.assert_allclose(after.lyapunov_exponent[1], alone.lyapunov_exponent[0], atol=1e-10)


def test_networks_stay_as_they_are() -> None:
    nets = networks("own")
    before = [copy.deepcopy(net._function.state_dict()) for net in nets]
    lyapkit.lyapunov_spectrum(nets, drawn(300, 2))
    for net, old in zip(nets, before, strict=True):
        assert all(torch.equal(value, old[name]) for name, value in net._function.state_dict().items())
        assert all(type(value) is nn.Parameter for value in net._function.parameters())


@pytest.mark.parametrize("options", [{"keep": "summary"}, {"qr_interval": 4}])
def test_chunks_give_the_same_result(options: dict) -> None:
    nets = dict(zip("abcde", networks("LSTM", 5), strict=True))
    whole = lyapkit.lyapunov_spectrum(nets, drawn(40, 2, 2), rng=1, k=3, **options)
    parts = lyapkit.lyapunov_spectrum(nets, drawn(40, 2, 2), rng=1, k=3, chunk=2, **options)
    assert list(parts.data_vars) == list(whole.data_vars)
    assert parts.trajectory.equals(whole.trajectory)
    assert parts.network.equals(whole.network)
    for name in whole.data_vars:
        if name not in OF_ROUNDING:
            np.testing.assert_allclose(parts[name], whole[name], rtol=1e-9, atol=1e-9, err_msg=name)
            assert parts[name].attrs == whole[name].attrs
    assert config(parts)["chunk"] == 2
    for name in ("trajectories", "networks", "steps", "windows", "k", "rng_seed", "derivatives"):
        assert config(parts)[name] == config(whole)[name]
    assert parts.attrs["error_degrees_of_freedom"] == whole.attrs["error_degrees_of_freedom"]


def test_chunks_advance_a_generator_as_one_run_does() -> None:
    first, second = torch.Generator().manual_seed(2), torch.Generator().manual_seed(2)
    lyapkit.lyapunov_spectrum(networks("LSTM"), drawn(10, 2), k=2, rng=first, keep="summary")
    lyapkit.lyapunov_spectrum(networks("LSTM"), drawn(10, 2), k=2, rng=second, keep="summary", chunk=1)
    assert torch.equal(first.get_state(), second.get_state())


def test_chunks_are_for_several_networks_with_common_windows() -> None:
    with pytest.raises(TypeError, match="chunk= is for several networks"):
        lyapkit.lyapunov_spectrum(nn.GRU(2, 3), drawn(10, 2, dtype=torch.float32), chunk=2)
    with pytest.raises(TypeError, match='pass keep="summary", or a number as qr_interval'):
        lyapkit.lyapunov_spectrum(networks("LSTM"), drawn(10, 2), chunk=2)
    with pytest.raises(TypeError, match="no until="):
        lyapkit.lyapunov_spectrum(logistic(3.9, 4.0), until=0.1, qr_interval=1, chunk=1)
    for wrong in (0, 1.5):
        with pytest.raises((TypeError, ValueError), match="chunk"):
            lyapkit.lyapunov_spectrum(networks("LSTM"), drawn(10, 2), chunk=wrong, keep="summary")


def test_a_stop_rule_holds_in_each_chunk() -> None:
    ds = lyapkit.lyapunov_spectrum(logistic(4.0, 2.8, 3.9), until=0.005, chunk=1, keep="summary", rng=0)
    assert ds.converged.values.tolist() == [1, 1, 1]
    assert len(set(ds.last_step.values.tolist())) > 1
    assert config(ds)["steps"] == int(ds.last_step.max())


def double(module: nn.Module) -> nn.Module:
    return module.double()


SHARED = nn.GRU(2, 3)
BAD = {
    "empty list": (lambda: [], ValueError, "there are no networks"),
    "empty dict": (lambda: {}, ValueError, "there are no networks"),
    "twice": (lambda: [SHARED, nn.GRU(2, 3), SHARED], ValueError, "networks 0 and 2 are the same object"),
    "classes": (lambda: [nn.GRU(2, 3), nn.RNN(2, 3)], ValueError, "network 1 has a RNN, network 0 has a GRU"),
    "sizes": (lambda: [nn.GRU(2, 3), nn.GRU(2, 4)], ValueError, "network 1 has a state of 4, network 0 has a state of"),
    "inputs": (lambda: [nn.GRU(2, 3), nn.GRU(1, 3)], ValueError, "network 1 has 1 inputs, network 0 has 2 inputs"),
    "biases": (lambda: [nn.GRU(2, 3), nn.GRU(2, 3, bias=False)], ValueError, "network 1 has 2 weights in a GRU"),
    "dtypes": (lambda: [nn.GRU(2, 3), double(nn.GRU(2, 3))], ValueError, "network 1 has numbers of torch.float64"),
    "layouts": (lambda: [nn.GRU(2, 3), nn.GRU(2, 3, batch_first=True)], ValueError, "network 1 has batch_first=True"),
    "dropout": (
        lambda: [nn.GRU(2, 3, 2), nn.GRU(2, 3, 2, dropout=0.5)],
        ValueError,
        "network 1: dropout=0.5 is active",
    ),
    "no network": (lambda: [nn.GRU(2, 3), 3], TypeError, "network 1: cannot make a recurrent map of int"),
    "weights": (lambda: {"a": nn.GRU(2, 3), "b": {}}, ValueError, "network 'b': there are no networks"),
    "state dicts": (lambda: [nn.GRU(2, 3).state_dict()], TypeError, "network 0: .*weights alone are no network"),
    "nested": (lambda: [nn.GRU(2, 3), [nn.GRU(2, 3)]], TypeError, "network 1 is itself several networks"),
    "mixed names": (lambda: {"a": nn.GRU(2, 3), 1: nn.GRU(2, 3)}, TypeError, "the names of networks must be all"),
    "wrong names": (lambda: {("a", 1): nn.GRU(2, 3)}, TypeError, "the names of networks must be texts or numbers"),
    "meta": (lambda: [nn.GRU(2, 3, device="meta"), nn.GRU(2, 3)], ValueError, "network 0: "),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_grid_of_networks_is_refused_in_a_sentence(name: str) -> None:
    make, kind, message = BAD[name]
    for analysis in (lyapkit.lyapunov_spectrum, lyapkit.states):
        with pytest.raises(kind, match=message) as caught:
            analysis(make(), drawn(5, 2, dtype=torch.float32))
        assert str(caught.value).endswith(".")


def test_networks_of_one_class_with_other_shapes_inside_are_refused() -> None:
    class Wide(nn.Module):
        def __init__(self, inside: int) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(2, inside), nn.Linear(inside, 2)

        def forward(self, x):
            return torch.tanh(self.down(self.up(x)))

    with pytest.raises(ValueError, match=r"network 1 has weight of shape \(5, 2\) in a Linear, network 0 has"):
        lyapkit.as_map([Wide(4), Wide(5)], state=torch.zeros(2))


def test_buffers_that_change_and_random_layers_are_refused() -> None:
    class Counting(Logistic):
        def __init__(self, rate: float) -> None:
            super().__init__(rate)
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x):
            self.calls += 1
            return super().forward(x)

    class Dropping(Logistic):
        def __init__(self, rate: float) -> None:
            super().__init__(rate)
            self.drop = nn.Dropout(0.5)

        def forward(self, x):
            return self.drop(super().forward(x))

    state = torch.tensor([0.3], dtype=torch.float64)
    with pytest.raises(ValueError, match="network 0: a step changes the buffer 'calls'"):
        lyapkit.as_map([Counting(3.0), Counting(3.1)], state=state)
    with pytest.raises(ValueError, match=r"network 0: Dropout .* is in training mode"):
        lyapkit.as_map([Dropping(3.0), Dropping(3.1)], state=state)
    calm = [Dropping(2.8).eval(), Dropping(2.8).eval()]
    ds = lyapkit.lyapunov_spectrum(lyapkit.as_map(calm, state=state), steps=2000, transient=500)
    np.testing.assert_allclose(ds.lyapunov_exponent.values[:, 0], np.log(0.8), atol=1e-10)


def test_analyses_of_one_network_refuse_several_in_a_sentence() -> None:
    nets, inputs = networks("LSTM", 2), drawn(8, 1, 2)
    readout, mse, targets = nn.Linear(3, 1).double(), nn.functional.mse_loss, torch.zeros(1, 1).double()
    batch = inputs, targets
    for name, call in {
        "gradient_propagation": lambda: lyapkit.gradient_propagation(nets, inputs, targets, mse, readout=readout),
        "fixed_points": lambda: lyapkit.fixed_points(nets, input=inputs[0, 0]),
        "compare": lambda: lyapkit.compare(nets, nets, inputs),
        "an analysis of curvature": lambda: lyapkit.hessian_spectrum(nets, batch, mse, readout=readout),
        "curvature_by_step": lambda: lyapkit.curvature_by_step(nets, batch, mse, readout=readout),
        "analyze": lambda: lyapkit.analyze(nets, inputs, targets, mse, readout=readout),
    }.items():
        with pytest.raises(
            TypeError, match=rf"{name} takes one network, not a list or dictionary of them \(got 2\); call it for each"
        ):
            call()


def test_loops_are_closed_and_runs_resumed_for_one_network() -> None:
    nets = networks("LSTM", 2)
    feedback = nn.Linear(3, 2).double()
    with pytest.raises(TypeError, match="feedback= closes the loop of one network"):
        lyapkit.lyapunov_spectrum(nets, steps=10, feedback=feedback)
    ds = lyapkit.lyapunov_spectrum(nets, drawn(10, 2))
    with pytest.raises(TypeError, match="resume= continues the run of one network"):
        lyapkit.lyapunov_spectrum(nets, drawn(10, 2), resume=ds)
    with pytest.raises(ValueError, match="the Dataset to resume is of 2 networks"):
        lyapkit.lyapunov_spectrum(nets[0], drawn(10, 2), resume=ds)


def test_a_network_that_changes_during_the_run_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    maps, original, calls = logistic(3.9, 3.8), InOrder.step, iter(range(1000))

    def changing(self, state, input=None):
        if next(calls) == 50:
            with torch.no_grad():
                next(iter(maps[1].parameters()))[1].add_(0.05)
        return original(self, state, input)

    monkeypatch.setattr(InOrder, "step", changing)
    with pytest.raises(ValueError, match=r"the map has changed during the run: step .* of trajectory 1"):
        lyapkit.lyapunov_spectrum(maps, steps=200)


def test_stacked_weights_that_are_wrong_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    original = StackedWeights.__init__

    def broken(self, maps) -> None:
        original(self, maps)
        self._weights = {name: value.roll(1, 0) for name, value in self._weights.items()}

    monkeypatch.setattr(StackedWeights, "__init__", broken)
    together, _ = assert_like_each_alone(lyapkit.lyapunov_spectrum, networks("LSTM"), drawn(20, 2), qr_interval=1)
    assert config(together)["networks_not_together_because"]


def test_states_of_networks_in_any_order_are_stepped_by_their_own() -> None:
    nets = networks("WCRNN")
    map = lyapkit.as_map(nets)
    numbers = torch.tensor([2, 0, 0, 1, 2]).double()
    states, inputs = drawn(3, 5, 4), torch.cat((drawn(3, 5, 2), numbers.view(1, 5, 1).expand(3, 5, 1)), dim=-1)
    found = map.step(states, inputs)
    for row, number in enumerate(numbers.long().tolist()):
        alone = lyapkit.as_map(nets[number]).step(states[:, row], inputs[:, row, :2])
        torch.testing.assert_close(found[:, row], alone, rtol=0, atol=1e-14)
    assert repr(map).startswith("3 networks, each WCRNNMap of WCRNN: 2 inputs, state of 4")
    assert isinstance(InOrder(map.maps, None), lyapkit.RecurrentMap)

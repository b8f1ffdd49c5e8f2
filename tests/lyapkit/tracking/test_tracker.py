"""`Tracker` measures what the analyses measure, when it is time to, and training is bit-identical with and without."""

import json
import math
import sys

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor, nn
from torch.nn.functional import mse_loss

import lyapkit
from lyapkit import Tracker, lyapunov_spectrum
from lyapkit.analyze import ANALYSES

INPUTS = torch.randn(40, 2, 2, generator=torch.Generator().manual_seed(1))
TARGETS = torch.randn(2, 1, generator=torch.Generator().manual_seed(2))


class Model(nn.Module):
    """Encoder, recurrent core with dropout between its layers, batch norm and a head, all in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(2, 3)
        self.rnn = nn.LSTM(3, 4, num_layers=2, dropout=0.3)
        self.norm = nn.BatchNorm1d(4)
        self.head = nn.Linear(4, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.norm(self.rnn(self.encoder(inputs))[0][-1]))


def train(make_tracker, iterations: int = 6):
    """Train with momentum and random batches, and call the tracker between backward and the step of the optimiser."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    model = Model()
    tracker = make_tracker(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for iteration in range(iterations):
        tracker(2 * iteration)
        optimizer.zero_grad()
        noise = torch.tensor(np.random.normal(size=(12, 8, 2)), dtype=torch.float32)  # noqa: NPY002
        loss = mse_loss(model(torch.randn(12, 8, 2) + noise), torch.rand(8, 1))
        loss.backward()
        tracker(2 * iteration + 1)
        optimizer.step()
        losses.append(loss.item())
    return model, losses, tracker


def test_training_is_bit_identical_with_and_without() -> None:
    encoded = torch.randn(30, 2, 3, generator=torch.Generator().manual_seed(3))

    def tracked(model: Model) -> Tracker:
        own = nn.Linear(4, 1)
        with torch.no_grad():
            own.weight.zero_(), own.bias.zero_()
        torch.manual_seed(0)
        model.load_state_dict(Model().state_dict())
        options = {"targets": TARGETS, "loss": mse_loss, "readout": own, "k": 3, "hessian_k": 2}
        return Tracker(model.rnn, encoded, every=3, analyses=ANALYSES, **options)

    def untracked(model: Model):
        torch.manual_seed(0)
        model.load_state_dict(Model().state_dict())
        return lambda iteration: None

    with_it, losses, tracker = train(tracked)
    without, expected, _ = train(untracked)
    assert losses == expected
    for one, other in zip(with_it.state_dict().values(), without.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    assert tracker.steps == [0, 3, 6, 9]
    assert with_it.training


def grown(iteration: int) -> nn.RNN:
    """A network with the exponents log 0.9 - iteration/100 and log 0.5."""
    network = nn.RNN(2, 2).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.weight_hh_l0.copy_(torch.diag(torch.tensor([0.9 * math.exp(-iteration / 100), 0.5])))
    return network


def test_results_are_those_of_the_analyses_along_the_training(tmp_path) -> None:
    network, inputs = grown(0), torch.zeros(50, 2, 2).double()
    tracker = Tracker(network, inputs, every=5, transient=10)
    returned = []
    for iteration in range(11):
        network.load_state_dict(grown(iteration).state_dict())
        returned.append(tracker(iteration))
    assert [tree is not None for tree in returned] == [iteration % 5 == 0 for iteration in range(11)]
    assert tracker.steps == [0, 5, 10]
    ds = tracker.result["lyapunov_spectrum"].to_dataset()
    expected = np.log([[0.9, 0.5]] * 3) - np.array([[0, 0], [0.05, 0], [0.1, 0]])
    np.testing.assert_allclose(ds.lyapunov_exponent.isel(trajectory=1), expected, atol=1e-6)
    alone = lyapunov_spectrum(grown(5), inputs, transient=10)
    for name in ds.data_vars:
        np.testing.assert_array_equal(ds[name].sel(checkpoint=5), alone[name])
    assert ds.checkpoint.attrs["long_name"] == "training iteration"
    assert ds.lyapunov_exponent.attrs == alone.lyapunov_exponent.attrs
    config = json.loads(ds.attrs["config_json"])
    assert config["transient"] == 10
    assert "map_images" not in config  # differs from one measurement to the next
    assert (ds.attrs["analysis"], ds.attrs["dtype"]) == ("lyapunov_spectrum", "float64")
    assert not {"running_exponent", "final_state"} & set(ds.data_vars)
    axes = lyapkit.plots.exponents_over_checkpoints(tracker.result["lyapunov_spectrum"])
    assert axes.get_xlabel() == "training iteration"
    assert axes.lines[0].get_xdata().tolist() == [0, 5, 10]
    read = lyapkit.load(lyapkit.save(tracker.result, tmp_path / "training.nc"))
    xr.testing.assert_identical(read["lyapunov_spectrum"].to_dataset().compute(), ds)


def test_all_analyses_and_functions_along_epochs() -> None:
    network, head = nn.GRU(2, 3), nn.Linear(3, 1)

    def weight_norm(model: nn.GRU) -> xr.Dataset:
        return xr.Dataset({"norm": model.weight_hh_l0.detach().norm().item()})

    tracker = Tracker(
        network, INPUTS, analyses=[*ANALYSES, weight_norm], along="epoch", targets=TARGETS, loss=mse_loss, readout=head,
        hessian_k=2,
    )  # fmt: skip
    for epoch in (1, 2):
        assert set(tracker(epoch).children) == {*ANALYSES, "weight_norm"}
        with torch.no_grad():
            network.weight_hh_l0.mul_(0.5)
    tree = tracker.result
    assert set(tree.children) == {*ANALYSES, "weight_norm"}
    assert all(tree[name].sizes["epoch"] == 2 for name in tree.children)
    norms = tree["weight_norm"].norm.values
    assert norms[1] == pytest.approx(norms[0] / 2)
    assert tree["hessian_spectrum"].eigenvalue.shape == (2, 2)
    assert tree["gradient_propagation"].gradient_norm.shape == (2, 2, 2, 40)
    tags = tracker.scalars()
    assert tags["weight_norm/norm"] == pytest.approx(norms[1])
    last = tree["lyapunov_spectrum"].lyapunov_exponent.sel(epoch=2)
    assert tags["lyapunov_spectrum/leading exponent"] == pytest.approx(float(last.sel(exponent=1).mean()))
    assert tags["lyapunov_spectrum/mean exponent"] == pytest.approx(float(last.mean()))
    assert tags["hessian_spectrum/leading eigenvalue"] == tree["hessian_spectrum"].eigenvalue.values[1, 0]
    rates = tree["gradient_propagation"].growth_rate.sel(epoch=2)
    assert tags["gradient_propagation/growth rate, norm 2"] == pytest.approx(float(rates.sel(norm="2").mean()))
    term = tree["variational_term"].running_exponent.isel(epoch=1, step=-1, exponent=0)
    assert tags["variational_term/leading exponent of the run"] == pytest.approx(float(term.mean()))


def test_a_whole_model_is_encoded_anew_at_every_measurement() -> None:
    parts = {"embedding": nn.Embedding(7, 2), "noise": nn.Dropout(0.5), "rnn": nn.GRU(2, 3, batch_first=True)}
    model = nn.ModuleDict(parts)
    tokens = torch.randint(7, (2, 30), generator=torch.Generator().manual_seed(0))
    map = lyapkit.as_map(model, core="rnn", encoder=lambda given: model["noise"](model["embedding"](given)))
    tracker = Tracker(map, tokens)
    for step in (0, 1):
        tracker(step)
        assert model.training
        assert model["noise"].training
        alone = lyapunov_spectrum(model["rnn"], model["embedding"](tokens).detach())
        found = tracker.result["lyapunov_spectrum"].lyapunov_exponent.sel(checkpoint=step)
        np.testing.assert_array_equal(found, alone.lyapunov_exponent)
        with torch.no_grad():
            model["embedding"].weight.mul_(3)
    exponents = tracker.result["lyapunov_spectrum"].lyapunov_exponent
    assert float(abs(exponents.diff("checkpoint")).max()) > 1e-3


def test_a_network_that_overflows_is_left_out_with_a_warning() -> None:
    matrix = torch.eye(2).double()
    map = lyapkit.as_map(lambda x: matrix @ x, state=torch.ones(2).double())
    tracker = Tracker(map, None, steps=400)
    tracker(0)
    matrix.mul_(1e10)
    with pytest.warns(UserWarning, match="the measurement at checkpoint 1 was left out: the state of trajectory 0"):
        assert tracker(1) is None
    matrix.mul_(1e-10)
    tracker(2)
    assert tracker.steps == [0, 2]
    assert list(tracker.failures) == [1]
    assert tracker.result["lyapunov_spectrum"].checkpoint.values.tolist() == [0, 2]


def test_weights_that_are_not_finite_are_left_out() -> None:
    network = nn.RNN(2, 3)
    with torch.no_grad():
        network.weight_hh_l0[0, 0] = math.nan
    tracker = Tracker(network, INPUTS)
    with pytest.warns(UserWarning, match="was left out: a weight is not finite"):
        assert tracker(0) is None
    with pytest.raises(ValueError, match="nothing has been measured yet; 1 measurements were left out"):
        tracker.result  # noqa: B018


def test_an_interrupted_analysis_does_no_harm() -> None:
    network = nn.GRU(2, 3)
    stop = [True]

    def interrupted(model: nn.GRU) -> xr.Dataset:
        if stop[0]:
            raise KeyboardInterrupt
        return xr.Dataset({"a": 1.0})

    tracker = Tracker(network, INPUTS, analyses=["lyapunov_spectrum", interrupted])
    with pytest.raises(KeyboardInterrupt):
        tracker(4)
    assert network.training
    assert tracker.steps == []
    stop[0] = False
    tracker(4)
    assert tracker.result["lyapunov_spectrum"].sizes["checkpoint"] == 1


def test_scalars_go_to_a_writer() -> None:
    class Writer:
        def __init__(self) -> None:
            self.written = []

        def add_scalar(self, tag: str, number: float, step: int) -> None:
            self.written.append((tag, number, step))

    writer = Writer()
    tracker = Tracker(nn.GRU(2, 3), INPUTS, every=3, tensorboard=writer)
    tracker(0)
    tracker(3)
    assert [step for *_, step in writer.written] == [0] * 4 + [3] * 4
    assert writer.written[4:] == [(tag, number, 3) for tag, number in tracker.scalars().items()]


def test_scalars_go_to_tensorboard(tmp_path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tracker = Tracker(nn.GRU(2, 3), INPUTS, tensorboard=tmp_path)
    tracker(0)
    tracker._writer.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    (event,) = events.Scalars("lyapunov_spectrum/leading exponent")
    expected = tracker.result["lyapunov_spectrum"].lyapunov_exponent.sel(exponent=1).mean()
    assert event.value == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("package", ["torch.utils.tensorboard", "lightning"])
def test_what_is_not_installed_is_named(package: str, monkeypatch, tmp_path) -> None:
    if package == "lightning":
        for name in ("lightning", "lightning.pytorch", "pytorch_lightning"):
            monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(ImportError, match=r'pip install "lyapkit\[lightning\]"'):
            Tracker(nn.GRU(2, 3), INPUTS).lightning_callback()
    else:
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(ImportError, match=r'pip install "lyapkit\[tensorboard\]"'):
            Tracker(nn.GRU(2, 3), INPUTS, tensorboard=tmp_path)


def nothing(model):
    return 3


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"every": 0}, ValueError, "every must be at least 1, got 0"),
        ({"every": 1.5}, TypeError, "every must be an integer"),
        ({"along": "step"}, ValueError, 'along must be "checkpoint" or "epoch", got \'step\''),
        ({"analyses": "exponents"}, ValueError, "analyses must be some of lyapunov_spectrum.*got 'exponents'"),
        ({"analyses": []}, ValueError, "got none"),
        ({"analyses": 3}, TypeError, "must be a sequence of names and functions, got 3"),
        ({"analyses": [3]}, TypeError, "analyses must be names or functions of the model, got 3"),
        ({"analyses": [lambda model: None]}, TypeError, "has no name for its results; write it with def"),
        ({"analyses": [nothing, nothing]}, ValueError, "the analysis nothing comes twice"),
        ({"analyses": "hessian_spectrum"}, TypeError, "need targets= and loss="),
        ({"tensorboard": 3}, TypeError, "tensorboard must be a directory or a SummaryWriter, got 3"),
        ({"n_exponents": 3}, TypeError, "^Tracker has no argument 'n_exponents'; write k="),
    ],
)
def test_bad_arguments_are_refused_at_once(arguments: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Tracker(nn.GRU(2, 3), INPUTS, **arguments)


def test_a_tracker_says_what_it_measures() -> None:
    tracker = Tracker(nn.GRU(2, 3), INPUTS, every=2, along="epoch", analyses=["lyapunov_spectrum", nothing])
    assert repr(tracker) == "Tracker of lyapunov_spectrum, nothing, every 2 epochs: 0 measurements"
    tracker = Tracker(nn.GRU(2, 3), INPUTS)
    tracker(0)
    assert repr(tracker) == "Tracker of lyapunov_spectrum, every 1 iterations: 1 measurements"
    with pytest.raises(TypeError, match=r"got Tracker; pass the result, \.result\['lyapunov_spectrum'\]\."):
        lyapkit.plots.exponents_over_checkpoints(tracker)


def test_bad_calls_are_refused() -> None:
    tracker = Tracker(nn.GRU(2, 3), INPUTS, every=2)
    with pytest.raises(ValueError, match="nothing has been measured yet; call the tracker"):
        tracker.result  # noqa: B018
    with pytest.raises(TypeError, match="step must be an integer"):
        tracker(0.5)
    with pytest.raises(ValueError, match="step must be at least 0, got -2"):
        tracker(-2)
    tracker(4)
    for step in (2, 4):
        with pytest.raises(ValueError, match=f"steps have to grow: {step} comes after 4"):
            tracker(step)
    with pytest.raises(TypeError, match=r"the analysis nothing must return an xarray\.Dataset, got int"):
        Tracker(nn.GRU(2, 3), INPUTS, analyses=[nothing])(0)
    with pytest.raises(ValueError, match="k must be between 1 and the state size 3, got 9"):
        Tracker(nn.GRU(2, 3), INPUTS, k=9)(0)


def test_results_that_cannot_be_put_together_say_so() -> None:
    sizes = iter((2, 3))

    def growing(model) -> xr.Dataset:
        size = next(sizes)
        return xr.Dataset({"a": ("x", np.zeros(size))}, {"x": np.arange(size)})

    tracker = Tracker(nn.GRU(2, 3), INPUTS, analyses=[growing])
    tracker(0), tracker(1)
    with pytest.raises(ValueError, match="the results of growing differ in their coordinates"):
        tracker.result  # noqa: B018

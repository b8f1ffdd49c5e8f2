"""PyTorch's own losses: what is known of each is held against the loss itself."""

import json
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import lyapkit
from lyapkit.losses.standard_losses import standard_loss

DOUBLE = torch.float64
GENERATOR = torch.Generator().manual_seed(0)


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=GENERATOR, dtype=DOUBLE)


def uniform(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=GENERATOR, dtype=DOUBLE)


def classes(*shape: int, ignored: int | None = None) -> torch.Tensor:
    found = torch.randint(4, shape, generator=GENERATOR)
    if ignored is not None:
        found[:2] = ignored
    return found


def signs(*shape: int) -> torch.Tensor:
    return 2.0 * torch.randint(2, shape, generator=GENERATOR).double() - 1


pytestmark = pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss")  # KLDivLoss, about itself

CLASS_WEIGHT = torch.tensor([0.1, 1.0, 5.0, 0.7], dtype=DOUBLE)
ROWS = 7
LOSSES = {
    "MSELoss": (nn.MSELoss, normal(ROWS, 2), normal(ROWS, 2)),
    "L1Loss": (nn.L1Loss, normal(ROWS, 2), normal(ROWS, 2)),
    "SmoothL1Loss": (partial(nn.SmoothL1Loss, beta=0.5), normal(ROWS, 2), normal(ROWS, 2)),
    "HuberLoss": (partial(nn.HuberLoss, delta=0.5), normal(ROWS, 2), normal(ROWS, 2)),
    "BCELoss": (nn.BCELoss, uniform(ROWS, 2), uniform(ROWS, 2)),
    "BCEWithLogitsLoss": (partial(nn.BCEWithLogitsLoss, pos_weight=CLASS_WEIGHT), normal(ROWS, 4), uniform(ROWS, 4)),
    "PoissonNLLLoss": (nn.PoissonNLLLoss, normal(ROWS, 2), uniform(ROWS, 2)),
    "KLDivLoss": (nn.KLDivLoss, normal(ROWS, 4).log_softmax(1), uniform(ROWS, 4)),
    "SoftMarginLoss": (nn.SoftMarginLoss, normal(ROWS, 2), signs(ROWS, 2)),
    "HingeEmbeddingLoss": (nn.HingeEmbeddingLoss, normal(ROWS, 2), signs(ROWS, 2)),
    "MultiLabelMarginLoss": (nn.MultiLabelMarginLoss, normal(ROWS, 4), torch.tensor([[0, 2, -1, 1]] * ROWS)),
    "MultiLabelSoftMarginLoss": (
        partial(nn.MultiLabelSoftMarginLoss, weight=CLASS_WEIGHT),
        normal(ROWS, 4),
        uniform(ROWS, 4).round(),
    ),
    "MultiMarginLoss": (partial(nn.MultiMarginLoss, weight=CLASS_WEIGHT), normal(ROWS, 4), classes(ROWS)),
    "NLLLoss": (
        partial(nn.NLLLoss, weight=CLASS_WEIGHT, ignore_index=1),
        normal(ROWS, 4).log_softmax(1),
        classes(ROWS, ignored=1),
    ),
    "CrossEntropyLoss": (nn.CrossEntropyLoss, normal(ROWS, 4), classes(ROWS, ignored=-100)),
    "class weights": (partial(nn.CrossEntropyLoss, weight=CLASS_WEIGHT), normal(ROWS, 4), classes(ROWS, ignored=-100)),
    "ignored class": (partial(nn.CrossEntropyLoss, ignore_index=2), normal(ROWS, 4), classes(ROWS, ignored=2)),
    "smoothed labels": (
        partial(nn.CrossEntropyLoss, label_smoothing=0.3, weight=CLASS_WEIGHT, ignore_index=0),
        normal(ROWS, 4),
        classes(ROWS, ignored=0),
    ),
    "sequences of classes": (
        partial(nn.CrossEntropyLoss, weight=CLASS_WEIGHT, label_smoothing=0.1),
        normal(ROWS, 4, 5),
        classes(ROWS, 5, ignored=-100),
    ),
    "images of classes": (nn.CrossEntropyLoss, normal(ROWS, 4, 2, 3), classes(ROWS, 2, 3, ignored=-100)),
    "probabilities": (partial(nn.CrossEntropyLoss, weight=CLASS_WEIGHT), normal(ROWS, 4), uniform(ROWS, 4)),
    "probabilities of sequences": (nn.CrossEntropyLoss, normal(ROWS, 4, 5), normal(ROWS, 4, 5).softmax(1)),
}
FUNCTIONS = {
    "mse_loss": (F.mse_loss, normal(ROWS, 2), normal(ROWS, 2)),
    "gaussian_nll_loss": (partial(F.gaussian_nll_loss, var=0.3), normal(ROWS, 2), normal(ROWS, 2)),
    "cross_entropy": (
        partial(partial(F.cross_entropy, weight=CLASS_WEIGHT), ignore_index=0),
        normal(ROWS, 4),
        classes(ROWS, ignored=0),
    ),
    "nll_loss": (partial(F.nll_loss, ignore_index=3), normal(ROWS, 4).log_softmax(1), classes(ROWS, ignored=3)),
    "kl_div": (partial(F.kl_div, log_target=True), normal(ROWS, 4).log_softmax(1), normal(ROWS, 4).log_softmax(1)),
}


@pytest.mark.parametrize("name", LOSSES | FUNCTIONS)
def test_a_mean_is_the_mean_of_its_batches_weighted_by_their_denominators(name: str) -> None:
    make, outputs, targets = (LOSSES | FUNCTIONS)[name]
    loss = make() if name in LOSSES else make
    known = standard_loss(loss)
    assert known is not None
    assert known.reduction == "mean"
    pieces = list(zip(outputs.split([4, 3]), targets.split([4, 3]), strict=True))
    weights = [known.denominator(part) for _, part in pieces]
    expected = sum(weight * loss(*piece) for weight, piece in zip(weights, pieces, strict=True)) / sum(weights)
    torch.testing.assert_close(known(outputs, targets), expected, rtol=1e-13, atol=0)


@pytest.mark.parametrize("name", LOSSES | FUNCTIONS)
def test_the_reduction_of_a_sum_is_read(name: str) -> None:
    make, outputs, targets = (LOSSES | FUNCTIONS)[name]
    loss = make(reduction="sum") if name in LOSSES else partial(make, reduction="sum")
    known = standard_loss(loss)
    assert known is not None
    assert known.reduction == "sum"
    pieces = zip(outputs.split([4, 3]), targets.split([4, 3]), strict=True)
    torch.testing.assert_close(known(outputs, targets), sum(loss(*piece) for piece in pieces), rtol=1e-13, atol=0)


@pytest.mark.parametrize("loss", [nn.KLDivLoss(reduction="batchmean"), partial(F.kl_div, reduction="batchmean")])
def test_batchmean_divides_by_the_number_of_samples(loss) -> None:
    outputs, targets = normal(ROWS, 4, 3).log_softmax(1), uniform(ROWS, 4, 3)
    known = standard_loss(loss)
    assert [known.denominator(part) for part in targets.split([4, 3])] == [4, 3]
    expected = (4 * loss(outputs[:4], targets[:4]) + 3 * loss(outputs[4:], targets[4:])) / 7
    torch.testing.assert_close(known(outputs, targets), expected, rtol=1e-13, atol=0)


def test_a_class_without_a_weight_is_named() -> None:
    known = standard_loss(nn.CrossEntropyLoss(weight=CLASS_WEIGHT))
    with pytest.raises(
        ValueError, match=r"classes from 1 to 7, but CrossEntropyLoss has weights for the classes 0 to 3"
    ):
        known.denominator(torch.tensor([1, 7, -100]))


class Scaled(nn.MSELoss):
    def forward(self, outputs, targets):
        return 2 * super().forward(outputs, targets)


class Renamed(nn.MSELoss):
    pass


def hooked() -> nn.Module:
    loss = nn.MSELoss()
    loss.register_forward_hook(lambda module, arguments, result: 2 * result)
    return loss


def test_only_what_computes_as_pytorchs_own_is_recognised() -> None:
    assert standard_loss(Renamed()).name == "Renamed"
    assert standard_loss(F.l1_loss).name == "l1_loss"
    assert standard_loss(nn.CrossEntropyLoss(reduction="sum", ignore_index=2).forward).reduction == "sum"
    assert standard_loss(nn.MSELoss(reduction="sum").__call__).reduction == "sum"
    assert standard_loss(partial(nn.CrossEntropyLoss(ignore_index=2))).ignore_index == 2
    strangers = {
        "lambda": lambda o, t: F.mse_loss(o, t),
        "another forward": Scaled(),
        "hook": hooked(),
        "old options": partial(F.mse_loss, size_average=False),
        "swapped": partial(F.mse_loss, torch.zeros(2)),
        "weights of one batch": partial(F.mse_loss, weight=torch.ones(2)),
        "three arguments": nn.TripletMarginLoss(),
        "partial of a module with arguments": partial(nn.MSELoss(), torch.zeros(2)),
        "another method": nn.MSELoss().extra_repr,
        "forward of another class": Scaled().forward,
        "no loss": torch.sin,
    }
    assert [name for name, loss in strangers.items() if standard_loss(loss) is not None] == []


COMPARING = [
    F.mse_loss,
    F.l1_loss,
    F.smooth_l1_loss,
    F.huber_loss,
    F.poisson_nll_loss,
    F.soft_margin_loss,
    F.binary_cross_entropy_with_logits,
    nn.MSELoss(),
    nn.L1Loss(reduction="sum"),
    nn.HingeEmbeddingLoss(),
    nn.KLDivLoss(reduction="batchmean"),
    partial(F.huber_loss, delta=2.0),
]
LAYER, HEAD = nn.GRU(1, 3).double(), nn.Linear(3, 1).double()
SEQUENCES = normal(5, 4, 1)
FUNCTIONS_OF_A_LOSS = {
    "hessian_spectrum": lambda loss, targets: lyapkit.hessian_spectrum(
        LAYER, (SEQUENCES, targets), loss, readout=HEAD, k=2
    ),
    "spectral_density": lambda loss, targets: lyapkit.spectral_density(
        LAYER, [(SEQUENCES, targets)], loss, readout=HEAD, probes=1
    ),
    "curvature_operator": lambda loss, targets: lyapkit.curvature_operator(
        LAYER, (SEQUENCES, targets), loss, readout=HEAD, check=False
    ),
    "curvature_by_step": lambda loss, targets: lyapkit.curvature_by_step(
        LAYER, (SEQUENCES, targets), loss, readout=HEAD, k=1
    ),
    "gradient_propagation": lambda loss, targets: lyapkit.gradient_propagation(
        LAYER, SEQUENCES, targets, loss, readout=HEAD
    ),
    "analyze": lambda loss, targets: lyapkit.analyze(
        LAYER, SEQUENCES, targets, loss, readout=HEAD, include="gradient_propagation"
    ),
}


@pytest.mark.parametrize("loss", COMPARING, ids=lambda loss: getattr(loss, "__name__", type(loss).__name__))
def test_targets_that_would_be_broadcast_are_refused(loss) -> None:
    expected = r"would broadcast outputs \(4, 1\) against targets \(4,\), .*reshape.*targets\.reshape\(outputs\.shape\)"
    with pytest.raises(ValueError, match=expected):
        FUNCTIONS_OF_A_LOSS["gradient_propagation"](loss, torch.ones(4, dtype=DOUBLE))


@pytest.mark.parametrize("name", FUNCTIONS_OF_A_LOSS)
@pytest.mark.parametrize("shape", [(4,), (1, 4), (4, 2), (2, 4, 1), ()])
def test_every_function_refuses_them(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"mse_loss would broadcast outputs \(4, 1\) against targets \("):
        FUNCTIONS_OF_A_LOSS[name](F.mse_loss, torch.ones(shape, dtype=DOUBLE))


def test_the_loss_of_every_step_is_compared_too() -> None:
    with pytest.raises(ValueError, match=r"outputs \(4, 4, 1\) against targets \(4, 4\)"):
        lyapkit.gradient_propagation(
            LAYER, SEQUENCES[:4], torch.ones(4, 4, dtype=DOUBLE), F.mse_loss, readout=HEAD, loss_on="every"
        )


def test_a_later_batch_is_looked_at_too() -> None:
    batches = [(SEQUENCES, torch.ones(4, 1, dtype=DOUBLE))] * 2 + [(SEQUENCES, torch.ones(4, dtype=DOUBLE))]
    with pytest.raises(ValueError, match=r"outputs \(4, 1\) against targets \(4,\)"):
        lyapkit.hessian_spectrum(LAYER, batches, F.mse_loss, readout=HEAD, k=2, check=False)


@pytest.mark.filterwarnings("ignore:Using a target size")
def test_broadcasting_that_changes_nothing_or_is_meant_is_left_alone() -> None:
    """One sequence with targets (1,); and a loss of the user's own, which is taken as it is."""
    one = lyapkit.hessian_spectrum(
        LAYER, (SEQUENCES[:, :1], torch.ones(1, dtype=DOUBLE)), F.mse_loss, readout=HEAD, k=2, rng=0
    )
    same = lyapkit.hessian_spectrum(
        LAYER, (SEQUENCES[:, :1], torch.ones(1, 1, dtype=DOUBLE)), F.mse_loss, readout=HEAD, k=2, rng=0
    )
    torch.testing.assert_close(torch.tensor(one.eigenvalue.values), torch.tensor(same.eigenvalue.values))
    meant = lyapkit.gradient_propagation(
        LAYER, SEQUENCES, torch.zeros(1, dtype=DOUBLE), lambda o, t: ((o - t) ** 2).mean(), readout=HEAD
    )
    right = lyapkit.gradient_propagation(LAYER, SEQUENCES, torch.zeros(4, 1).double(), F.mse_loss, readout=HEAD)
    torch.testing.assert_close(torch.tensor(meant.gradient_norm.values), torch.tensor(right.gradient_norm.values))


def test_class_weights_are_seen_wherever_the_module_keeps_them() -> None:
    """As a buffer, or as a parameter that replaces it."""

    weights = torch.tensor([0.1, 1.0, 5.0], dtype=torch.float64)
    buffer, parameter = nn.CrossEntropyLoss(weight=weights), nn.CrossEntropyLoss(weight=weights)
    del parameter.weight
    parameter.weight = nn.Parameter(weights, requires_grad=False)
    torch.manual_seed(0)
    model, inputs, targets = nn.Linear(3, 3).double(), normal(7, 3), torch.tensor([0, 0, 0, 1, 2, 1, 2])
    expected = lyapkit.hessian_spectrum(model, (inputs, targets), buffer, k=3, rng=0).eigenvalue
    batches = [(inputs[:4], targets[:4]), (inputs[4:], targets[4:])]
    for loss in (buffer, parameter, buffer.__call__, partial(buffer)):
        found = lyapkit.hessian_spectrum(model, batches, loss, k=3, rng=0)
        assert found.eigenvalue.values == pytest.approx(expected.values, rel=1e-6)
        assert json.loads(found.attrs["config_json"])["batch_weights"] == "standard loss"


@pytest.mark.parametrize(
    "loss", [lambda o, t: ((o - t) ** 2).mean(), lambda o, t: F.smooth_l1_loss(o, t)], ids=["squares", "smooth_l1_loss"]
)
@pytest.mark.filterwarnings("ignore:Using a target size")
def test_a_loss_of_the_users_own_that_broadcasts_is_warned_of(loss) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 1)).double()
    inputs, targets = normal(5, 3), normal(5)
    with pytest.warns(UserWarning, match=r"outputs \(5, 1\) and targets \(5,\) is .* with targets.reshape"):
        wrong = lyapkit.hessian_spectrum(model, (inputs, targets), loss, k=1, rng=0)
    right = lyapkit.hessian_spectrum(model, (inputs, targets[:, None]), loss, k=1, rng=0)
    assert abs(float(wrong.eigenvalue[0] / right.eigenvalue[0]) - 1) > 0.01


@pytest.mark.parametrize(
    "loss",
    [
        lambda o, t: ((o[:, 0] - t) ** 2).mean(),
        lambda o, t: ((o[..., 0] - t) ** 2).mean(),
        lambda o, t: ((o.squeeze(-1) - t) ** 2).mean(),
        lambda o, t: ((o - t.reshape(o.shape)) ** 2).mean(),
        lambda o, t: ((o.flatten() - t.flatten()) ** 2).mean(),
    ],
    ids=["column", "last", "squeezed", "reshaped", "flat"],
)
def test_a_loss_that_pairs_outputs_and_targets_itself_is_not(loss) -> None:
    model = nn.Linear(3, 1).double()
    inputs, targets = normal(5, 3), normal(5)
    found = lyapkit.hessian_spectrum(model, (inputs, targets), loss, k=1, rng=0)
    extended = torch.cat((inputs, torch.ones_like(inputs[:, :1])), dim=1)
    expected = torch.linalg.eigvalsh(2 / 5 * extended.T @ extended)[-1]
    assert float(found.eigenvalue[0]) == pytest.approx(float(expected), rel=1e-10)

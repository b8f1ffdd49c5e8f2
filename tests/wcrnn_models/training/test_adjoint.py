import copy
import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wcrnn_models import WCRNN, TrainConfig, residuals
from wcrnn_models.models.baselines import LSTM
from wcrnn_models.training.adjoint import EnsembleForward, can_train_together, fast_forward
from wcrnn_models.training.adjoint.sequence import STEPS_AT_ONCE
from wcrnn_models.training.build import build_model, build_task

UNITS = 8
RESIDUALS = {
    "scalar": residuals.scalar(0.99),
    "heterogeneous": residuals.heterogeneous(0.96, 0.1, rng=0),
    "rotation": residuals.rotation(0.3, 0.97),
    "random rotation": residuals.rotation("random", rng=1),
    "dense": residuals.dense(torch.randn(UNITS, UNITS, generator=torch.Generator().manual_seed(2)) / 4),
    "orthogonal": residuals.orthogonal(0.9, rng=3),
    "informed": residuals.informed(rng=4),
    "product": residuals.product(residuals.orthogonal(rng=5), residuals.rotation(0.2), residuals.scalar(0.9)),
}
COUPLINGS = {"one": 0.3, "per unit": torch.linspace(0.0, 0.5, UNITS, dtype=torch.float64)}
FORMS = list(itertools.product(("linear", "A", "B"), ("tanh", "identity")))


def network(
    residual="scalar", form="linear", nonlinearity="tanh", coupling=0.3, *, inputs=2, dtype=torch.float64, rng=0
):
    return WCRNN(
        inputs,
        UNITS,
        3,
        residual=RESIDUALS[residual],
        coupling=coupling,
        form=form,
        nonlinearity=nonlinearity,
        rng=rng,
        dtype=dtype,
    )


def samples(*shape, dtype=torch.float64, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def gradients(forward, model, inputs, targets):
    return torch.autograd.grad((forward(inputs) - targets).square().mean(), list(model.parameters()))


@pytest.mark.parametrize("coupling", COUPLINGS)
@pytest.mark.parametrize(("form", "nonlinearity"), FORMS)
@pytest.mark.parametrize("residual", RESIDUALS)
def test_outputs_and_gradients_are_those_of_the_step_loop(residual, form, nonlinearity, coupling):
    """In float64, over a length that is no multiple of the steps whose gradient is one product."""
    model = network(residual, form, nonlinearity, COUPLINGS[coupling])
    inputs, targets = samples(2 * STEPS_AT_ONCE + 5, 4, 2), samples(4, 3, seed=1)
    forward = fast_forward(model)
    assert forward is not model
    torch.testing.assert_close(forward(inputs), model(inputs), rtol=1e-13, atol=1e-14)
    found, expected = gradients(forward, model, inputs, targets), gradients(model, model, inputs, targets)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-13 * float(other.abs().max()))
    with torch.no_grad():
        torch.testing.assert_close(forward(inputs), model(inputs), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("residual", ["informed", "orthogonal"])
@pytest.mark.parametrize(("form", "nonlinearity"), FORMS)
def test_single_precision_errs_as_the_step_loop_does(residual, form, nonlinearity):
    """Against float64: at most a few times the error of the loop, both of the order of rounding."""
    exact = network(residual, form, nonlinearity, 0.05)
    single = copy.deepcopy(exact).float()
    exact = copy.deepcopy(single).double()  # the same numbers
    inputs, targets = samples(200, 16, 2, dtype=torch.float32), samples(16, 3, seed=1, dtype=torch.float32)
    reference = gradients(exact, exact, inputs.double(), targets.double())
    loop, ours = (gradients(forward, single, inputs, targets) for forward in (single, fast_forward(single)))
    for one, other, truth in zip(ours, loop, reference, strict=True):
        ours_error, loop_error = (float((each - truth).norm() / truth.norm()) for each in (one, other))
        assert ours_error < 2 * loop_error + 1e-6 < 1e-5


class Fresh(torch.nn.Module):
    """A network run by a kernel of its own at every call, as gradcheck keeps several forward passes."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, inputs):
        return fast_forward(self.model)(inputs)


@pytest.mark.parametrize("residual", ["scalar", "rotation", "informed", "dense"])
@pytest.mark.parametrize(("form", "nonlinearity"), FORMS)
def test_gradients_agree_with_finite_differences(residual, form, nonlinearity):
    fresh, inputs = Fresh(network(residual, form, nonlinearity)), samples(5, 2, 2)
    names = [name for name, _ in fresh.named_parameters()]

    def outputs(*values):
        return torch.func.functional_call(fresh, dict(zip(names, values, strict=True)), (inputs,))

    values = [parameter.detach().clone().requires_grad_() for parameter in fresh.parameters()]
    assert torch.autograd.gradcheck(outputs, values, fast_mode=True)
    if (residual, form) == ("informed", "linear"):
        assert torch.autograd.gradcheck(outputs, values)


@given(
    residual=st.sampled_from(sorted(RESIDUALS)),
    form=st.sampled_from(FORMS),
    steps=st.integers(1, 3 * STEPS_AT_ONCE),
    batch=st.integers(1, 5),
    inputs=st.integers(1, 4),
    seed=st.integers(0, 2**16),
)
def test_any_length_batch_and_input(residual, form, steps, batch, inputs, seed):
    model = network(residual, *form, inputs=inputs, rng=seed)
    data, targets = samples(steps, batch, inputs, seed=seed), samples(batch, 3, seed=seed + 1)
    found, expected = (gradients(each, model, data, targets) for each in (fast_forward(model), model))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12 * float(other.abs().max()))


@pytest.mark.parametrize("units", [1, 7])
def test_odd_numbers_of_units(units):
    model = WCRNN(1, units, 2, residual=residuals.scalar(0.9), coupling=0.5, rng=0, dtype=torch.float64)
    data, targets = samples(9, 3, 1), samples(3, 2, seed=1)
    for one, other in zip(*(gradients(f, model, data, targets) for f in (fast_forward(model), model)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-14)


CONFIG = TrainConfig(
    length=30, hidden_size=10, coupling=0.1, learning_rate=0.05, batch_size=16, epochs=1, iterations_per_epoch=20
)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-5)], ids=["float64", "float32"])
@pytest.mark.parametrize("residual", ["scalar", "rotation", "informed", "orthogonal"])
def test_the_loss_trajectory_is_that_of_the_step_loop(residual, dtype, tolerance):
    """Twenty iterations of SGD with momentum; relative differences of the loss stay at rounding."""
    options = {"rotation": {"phi": 0.3, "r": 1.0}, "informed": {"coupling": "informed"}, "scalar": {}, "orthogonal": {}}
    config = TrainConfig(**{**CONFIG.__dict__, "dtype": dtype, "residual": residual, **options[residual]})
    courses = []
    for accelerate in (fast_forward, lambda model: model):
        model, task = build_model(config), build_task(config)
        forward, losses = accelerate(model), []
        optimizer = torch.optim.SGD(model.parameters(), lr=config.learning_rate, momentum=config.momentum)
        for iteration in range(20):
            inputs, targets = task.train_batch(iteration)
            optimizer.zero_grad()
            loss = task.loss(forward(inputs), targets)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        courses.append(losses)
    assert courses[0] == pytest.approx(courses[1], rel=tolerance)
    assert courses[0][-1] < 0.9 * courses[0][0]  # something was learnt


def test_batches_of_different_sizes_in_turn():
    """The last batch of an epoch is smaller, test batches are larger: memory is shared, results are not."""
    model = network("informed", coupling=0.1)
    forward = fast_forward(model)
    for steps, batch, keep in [
        (20, 4, True),
        (20, 3, True),
        (9, 7, False),
        (20, 4, True),
        (40, 9, True),
        (20, 4, True),
    ]:
        data, targets = samples(steps, batch, 2, seed=batch), samples(batch, 3, seed=1)
        if keep:
            pairs = zip(gradients(forward, model, data, targets), gradients(model, model, data, targets), strict=True)
            for one, other in pairs:
                torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-14)
        else:
            with torch.no_grad():
                torch.testing.assert_close(forward(data), model(data), rtol=1e-13, atol=1e-14)


def allocated(forward, model, data, targets):
    """Bytes that are asked for in one gradient."""
    with torch.profiler.profile(profile_memory=True) as profile:
        gradients(forward, model, data, targets)
    return sum(max(event.self_cpu_memory_usage, 0) for event in profile.events())


def test_no_memory_for_states_is_asked_for_after_the_first_iteration():
    model = network()
    forward, data, targets = fast_forward(model), samples(100, 50, 2), samples(50, 3, seed=1)
    states = 8 * 100 * 50 * UNITS
    assert allocated(forward, model, data, targets) > states
    assert allocated(forward, model, data, targets) < 0.2 * states
    assert allocated(model, model, data, targets) > states


def test_changed_residuals_and_couplings_are_seen():
    """As after `load_state_dict`."""
    model, other = network("informed", rng=0), network("product", rng=1)
    other = WCRNN(2, UNITS, 3, residual=residuals.informed(rng=9), coupling=0.7, rng=1, dtype=torch.float64)
    forward, data = fast_forward(model), samples(10, 4, 2)
    forward(data)
    model.load_state_dict(other.state_dict())
    torch.testing.assert_close(forward(data), other(data), rtol=1e-13, atol=1e-14)


def test_networks_may_be_cast_and_get_other_residuals():
    model = network("scalar")
    forward, data = fast_forward(model), samples(10, 4, 2)
    forward(data)
    model.residual = residuals.rotation(0.4).build(UNITS, dtype=torch.float64)
    torch.testing.assert_close(forward(data), model(data), rtol=1e-13, atol=1e-14)
    model.float()
    torch.testing.assert_close(forward(data.float()), model(data.float()), rtol=1e-5, atol=1e-6)
    model.bfloat16()
    with pytest.raises(ValueError, match="have been changed so that they cannot be computed together any more"):
        forward(data.bfloat16())


def test_many_shapes_do_not_fill_the_memory():
    model = network()
    forward = EnsembleForward([model])
    for steps in range(1, 31):
        data = samples(steps, 2, 2)
        torch.testing.assert_close(forward([data])[0], model(data), rtol=1e-13, atol=1e-14)
        assert len(forward.kernel._programs) <= 8


def test_overflow_is_not_hidden():
    model = WCRNN(1, 4, 2, residual=residuals.scalar(1e30), coupling=1.0, rng=0)
    assert not fast_forward(model)(torch.ones(20, 3, 1)).isfinite().all()


def test_second_derivatives_are_refused():
    model = network()
    forward, data = fast_forward(model), samples(6, 2, 2)
    loss = forward(data).square().sum()
    with pytest.raises(RuntimeError, match="cannot be differentiated again; for second derivatives use the network"):
        torch.autograd.grad(loss, list(model.parameters()), create_graph=True)


def test_forward_mode_and_function_transforms_are_refused():
    model = network()
    forward, data = fast_forward(model), samples(6, 2, 2)
    wrapped = Fresh(model)
    parameters = dict(wrapped.named_parameters())
    with pytest.raises(RuntimeError):
        torch.func.grad(lambda values: torch.func.functional_call(wrapped, values, (data,)).sum())(parameters)
    with pytest.raises(RuntimeError, match="gradients with respect to inputs are not computed here"):
        forward(data.requires_grad_())


def test_backward_after_another_forward_pass_is_refused():
    model = network()
    forward, data = fast_forward(model), samples(6, 2, 2)
    first = forward(data).sum()
    with torch.no_grad():
        forward(data)
    with pytest.raises(RuntimeError, match="have been replaced by those of a later one; call backward before the next"):
        first.backward()


def test_backward_may_be_repeated():
    model = network()
    loss = fast_forward(model)(samples(6, 2, 2)).square().sum()
    once = torch.autograd.grad(loss, list(model.parameters()), retain_graph=True)
    assert all(map(torch.equal, once, torch.autograd.grad(loss, list(model.parameters()))))


def test_frozen_parameters_stay_without_gradient():
    model = network()
    model.recurrent.weight.requires_grad_(False)
    fast_forward(model)(samples(6, 2, 2)).sum().backward()
    assert model.recurrent.weight.grad is None
    assert model.input.weight.grad is not None


def hooked():
    model = network()
    model.recurrent.register_forward_hook(lambda *_: None)
    return model


class Derived(WCRNN):
    pass


@pytest.mark.parametrize(
    "make",
    [
        hooked,
        lambda: network(dtype=torch.bfloat16),
        lambda: LSTM(2, 4, 3, rng=0),
        lambda: Derived(2, UNITS, 3, residual=RESIDUALS["scalar"]),
        lambda: torch.nn.Linear(2, 2),
    ],
    ids=["hook", "bfloat16", "LSTM", "subclass", "no recurrent network"],
)
def test_other_networks_are_used_as_they_are(make):
    model = make()
    assert fast_forward(model) is model
    assert not can_train_together([model])
    with pytest.raises(ValueError, match="must be WCRNNs of equal sizes, form, nonlinearity, type and device"):
        EnsembleForward([model])


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (samples(6, 2, 3), ValueError, "inputs must have 2 components in its last dimension"),
        (samples(6, 2, 2, dtype=torch.float32), TypeError, "inputs must be torch.float64 like the network"),
        (samples(6, 2), ValueError, r"inputs must have shape \(T, B, M\) with T, B >= 1, got \(6, 2\)"),
        (samples(0, 2, 2), ValueError, r"inputs must have shape \(T, B, M\) with T, B >= 1, got \(0, 2, 2\)"),
    ],
    ids=["components", "type", "one sequence", "no step"],
)
def test_inputs_that_do_not_fit_are_refused(data, error, message):
    with pytest.raises(error, match=message):
        fast_forward(network())(data)


@pytest.mark.parametrize(
    "names",
    [
        ["scalar", "heterogeneous"],
        ["rotation", "random rotation"],
        ["informed", "informed"],
        ["dense", "scalar"],
        ["product", "informed"],
        ["orthogonal", "rotation", "scalar"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize(("form", "nonlinearity"), FORMS)
def test_networks_together_are_networks_one_by_one(names, form, nonlinearity):
    """Different residuals, couplings and inputs; each loss has the gradient it has alone."""
    models = [network(name, form, nonlinearity, 0.1 + 0.1 * i, rng=i) for i, name in enumerate(names)]
    data = [samples(21, 4, 2, seed=i) for i in range(len(models))]
    outputs = EnsembleForward(models)(data)
    torch.autograd.backward([output.square().sum() for output in outputs])
    for model, each, output in zip(models, data, outputs, strict=True):
        torch.testing.assert_close(output, model(each), rtol=1e-13, atol=1e-14)
        expected = torch.autograd.grad(model(each).square().sum(), list(model.parameters()))
        for parameter, gradient in zip(model.parameters(), expected, strict=True):
            torch.testing.assert_close(parameter.grad, gradient, rtol=1e-11, atol=1e-12 * float(gradient.abs().max()))


def test_a_network_that_overflows_leaves_the_others_alone():
    models = [network("scalar", rng=0), network("scalar", rng=1)]
    with torch.no_grad():
        models[0].residual.r.fill_(1e200)
    data = samples(21, 4, 2)
    outputs = EnsembleForward(models)([data, data])
    outputs[1].square().sum().backward()
    assert not outputs[0].isfinite().all()
    expected = torch.autograd.grad(models[1](data).square().sum(), list(models[1].parameters()))
    for parameter, gradient in zip(models[1].parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-11, atol=1e-13)


def test_networks_of_different_sizes_and_inputs_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match="equal sizes"):
        EnsembleForward([network(), network(inputs=3)])
    together = EnsembleForward([network(), network()])
    with pytest.raises(
        ValueError, match=r"expected 2 inputs of one shape \(T, B, M\), got \[\(6, 2, 2\), \(7, 2, 2\)\]"
    ):
        together([samples(6, 2, 2), samples(7, 2, 2)])
    with pytest.raises(ValueError, match="expected 2 inputs"):
        together([samples(6, 2, 2)])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("residual", RESIDUALS)
def test_the_same_on_a_gpu(residual):
    model, data, targets = network(residual).cuda(), samples(40, 4, 2).cuda(), samples(4, 3, seed=1).cuda()
    found, expected = (gradients(each, model, data, targets) for each in (fast_forward(model), model))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12 * float(other.abs().max()))

"""Layout, lengths, feedback and packed sequences mean the same in every analysis."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence

from footing import (
    ALL,
    ALONG,
    LENGTHS,
    TARGETS,
    B,
    M,
    N,
    T,
    gradients,
    layer,
    readout,
    sequences,
    summed,
    vectors,
)
from lyapkit import (
    analyze,
    as_map,
    covariant_vectors,
    curvature_by_step,
    curvature_operator,
    gradient_propagation,
    hessian_spectrum,
    lyapunov_exponents,
    variational_term,
)


def assert_equal(found: xr.Dataset, expected: xr.Dataset, tolerance: float = 1e-9) -> None:
    assert set(found) == set(expected)
    for name in expected:
        if found[name].dtype.kind in "fi":
            np.testing.assert_allclose(found[name], expected[name], rtol=tolerance, atol=tolerance, err_msg=str(name))


@pytest.mark.parametrize("name", ALL)
def test_batch_first_is_the_transpose_and_the_modules_own_flag_is_the_default(name: str) -> None:
    """And nobody warns: warnings are errors here."""
    inputs, plain, own = sequences(), layer(), layer(batch_first=True)
    expected = ALL[name](plain, inputs)
    across = inputs.transpose(0, 1)
    assert_equal(ALL[name](own, across), expected)
    assert_equal(ALL[name](plain, across, batch_first=True), expected)
    assert_equal(ALL[name](own, inputs, batch_first=False), expected)


@pytest.mark.parametrize("name", ALONG)
def test_a_single_sequence_lies_as_it_is(name: str) -> None:
    rows = {"rows": slice(0, 1)} if name.startswith("gradients") else {}
    expected = ALONG[name](layer(), sequences()[:, 0], **rows)
    assert_equal(ALONG[name](layer(batch_first=True), sequences()[:, 0], **rows), expected)
    assert_equal(ALONG[name](layer(), sequences()[:, 0], batch_first=True, **rows), expected)


@pytest.mark.parametrize("name", [name for name in ALONG if not name.startswith("vectors")])
def test_each_sequence_of_a_padded_batch_is_as_if_alone(name: str) -> None:
    model = layer(nn.LSTM) if name == "spectrum" else layer()
    together = ALONG[name](model, sequences(filler=0.3), lengths=LENGTHS)
    for sequence, length in enumerate(LENGTHS):
        rows = {"rows": slice(sequence, sequence + 1)} if name.startswith("gradients") else {}
        alone = ALONG[name](model, sequences()[:length, sequence], **rows).isel(trajectory=0)
        ours = together.isel(trajectory=sequence)
        for variable in set(alone.variables) - set(alone.coords) - {"log_volume_residual", "frame_condition"}:
            if variable.startswith(("log_parameter", "log_total")):  # summed over the batch
                continue
            found, expected = ours[variable], alone[variable]
            for dim in ("step", "recorded_step"):
                if dim in expected.dims:
                    found = found.sel({dim: expected[dim]})
            np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-8, err_msg=f"{variable} of {sequence}")


@pytest.mark.parametrize("every", [1, 7])
def test_each_sequence_has_the_covariant_vectors_it_has_alone(every: int) -> None:
    """Two random starts, of which nothing is left where the window begins and ends."""
    weight = torch.diag(torch.tensor([0.9, 0.5, 0.2]).double()) + 0.1 * torch.ones(3, 3).double().triu(1)
    example = {"state": torch.zeros(3).double(), "input": torch.zeros(3).double()}
    map = as_map(lambda x, s: torch.tanh(weight @ x + s), **example)
    inputs = 0.3 * torch.randn(260, 3, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    lengths, options = [200, 260, 171], {"transient": 75, "settle": 75, "record_every": every}
    together = covariant_vectors(map, inputs, lengths=lengths, rng=0, **options)
    for sequence, length in enumerate(lengths):
        alone = covariant_vectors(map, inputs[:length, sequence], rng=1, **options).isel(trajectory=0)
        ours = together.isel(trajectory=sequence)
        for variable in set(alone.data_vars) - ({"local_growth"} if every > 1 else set()):
            found, expected = ours[variable], alone[variable]
            found = found.sel(step=expected.step) if "step" in expected.dims else found
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9, err_msg=f"{variable} of {sequence}")
        if every > 1:  # means since the recorded step before, of which there are more
            growth = [ds.local_growth.values * np.diff(ds.step, prepend=75)[:, None] for ds in (ours, alone)]
            np.testing.assert_allclose(growth[0].sum(axis=0), growth[1].sum(axis=0), atol=1e-10)
        assert abs(alone.covariant_exponent - np.log([0.9, 0.5, 0.2])).max() < 0.4
        assert (alone.covariance_residual < 1e-12).all()


@pytest.mark.parametrize("name", [name for name in ALL if name not in ("by step", "density")])
def test_padding_changes_no_bit(name: str) -> None:
    first, second, third = (ALL[name](layer(), sequences(filler), lengths=LENGTHS) for filler in (0.0, 1e30, np.nan))
    for variable in set(first.variables):
        np.testing.assert_array_equal(first[variable], second[variable], err_msg=str(variable))
        np.testing.assert_array_equal(first[variable], third[variable], err_msg=str(variable))


@pytest.mark.parametrize("name", [name for name in ALL if name != "by step"])
@pytest.mark.parametrize("batch_first", [True, False])
def test_packed_sequences_are_unpacked_in_their_original_order(name: str, batch_first: bool) -> None:
    """Unsorted lengths, whatever the module's own layout."""
    inputs = sequences().transpose(0, 1) if batch_first else sequences()
    packed = pack_padded_sequence(inputs, torch.tensor(LENGTHS), batch_first=batch_first, enforce_sorted=False)
    expected = ALL[name](layer(), sequences(0.0), lengths=LENGTHS)
    assert_equal(ALL[name](layer(batch_first=batch_first), packed), expected)
    with pytest.raises(TypeError, match="PackedSequence has its own lengths"):
        ALL[name](layer(), packed, lengths=LENGTHS)


def ends(values: xr.DataArray, sequence: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    steps = values["step"].values
    own = values.isel(trajectory=sequence).transpose("step", ...).values
    return own[steps > length], own[steps == length]


def test_behind_the_end_values_stay_growth_and_gradients_are_zero() -> None:
    inputs = sequences(0.0)
    term = variational_term(layer(), inputs, lengths=LENGTHS, record_every=5)
    bundle = vectors(layer(), inputs, lengths=LENGTHS)
    gradient = gradients(layer(), inputs, lengths=LENGTHS)
    for sequence, length in enumerate(LENGTHS):
        for values in (term.log_singular_value, term.running_exponent):
            behind, end = ends(values, sequence, length)
            np.testing.assert_array_equal(behind, np.repeat(end, len(behind), axis=0))
        for values in (bundle.covariant_vector, bundle.angle, bundle.participation_ratio):
            behind, end = ends(values, sequence, length - 4)
            np.testing.assert_array_equal(behind, np.repeat(end, len(behind), axis=0))
        behind, end = ends(bundle.local_growth, sequence, length - 4)
        assert (behind == 0).all()
        assert (end != 0).all()
        behind, end = ends(gradient.gradient_norm, sequence, length)
        assert (behind == 0).all()
        assert (end > 0).all()
    assert term.last_step.values.tolist() == gradient.last_step.values.tolist() == LENGTHS
    assert bundle.last_step.values.tolist() == [length - 4 for length in LENGTHS]


def test_gradients_of_parameters_are_those_of_the_loss_at_each_end() -> None:
    """Against PyTorch's own layer, run on each sequence alone."""
    model, head = layer(), readout()
    loss = summed(
        torch.cat([head(model(sequences()[:length, b])[0][-1:]) for b, length in enumerate(LENGTHS)]), TARGETS
    )
    expected = torch.autograd.grad(loss, [*model.parameters(), *head.parameters()])
    found = gradient_propagation(
        model, sequences(1e30), TARGETS, summed, readout=head, lengths=LENGTHS, parameter_gradients=True, exponent=False
    )
    for name, gradient in zip(found.parameter_tensor.values, expected, strict=True):
        norm = found.log_total_gradient_norm.sel(parameter_tensor=name).item()
        assert norm == pytest.approx(float(gradient.norm().log()), abs=1e-10)
    steps = found.log_parameter_gradient_norm.sel(parameter_tensor="readout.bias")
    assert np.isfinite(steps).values.nonzero()[0].tolist() == sorted(length - 1 for length in LENGTHS)


def test_exponents_reach_the_inputs_that_count_and_no_others() -> None:
    inputs = sequences(1e30).requires_grad_()
    found = lyapunov_exponents(layer(), inputs, lengths=LENGTHS, detach_state=False)
    (slope,) = torch.autograd.grad(found.square().sum(), inputs)
    for sequence, length in enumerate(LENGTHS):
        own = sequences()[:length, sequence].requires_grad_()
        alone = lyapunov_exponents(layer(), own, detach_state=False)
        (expected,) = torch.autograd.grad(alone.square().sum(), own)
        torch.testing.assert_close(slope[:length, sequence], expected, rtol=1e-9, atol=1e-12)
        assert (slope[length:, sequence] == 0).all()
    across = sequences().transpose(0, 1).contiguous().requires_grad_()
    found = lyapunov_exponents(layer(batch_first=True), across)
    (slope,) = torch.autograd.grad(found.square().sum(), across)
    plain = sequences().requires_grad_()
    (expected,) = torch.autograd.grad(lyapunov_exponents(layer(), plain).square().sum(), plain)
    torch.testing.assert_close(slope.transpose(0, 1), expected)


def dense_hessian(loss: Callable[..., Tensor], modules: list[nn.Module]) -> np.ndarray:
    names = [(module, name, value) for module in modules for name, value in module.named_parameters()]
    shapes = [value.shape for _, _, value in names]

    def of(flat: Tensor) -> Tensor:
        parts = iter(flat.split([shape.numel() for shape in shapes]))
        values: list[dict[str, Tensor]] = [{} for _ in modules]
        for (module, name, value), part in zip(names, parts, strict=True):
            values[modules.index(module)][name] = part.reshape(value.shape)
        return loss(values)

    flat = torch.cat([value.detach().reshape(-1) for _, _, value in names])
    return torch.autograd.functional.hessian(of, flat).numpy()


@pytest.mark.parametrize("batches", [1, 2])
def test_curvature_reads_each_sequence_at_its_own_end(batches: int) -> None:
    """Against the dense Hessian of the mean over sequences run alone."""
    model, head = layer(nn.RNN), readout()

    def loss(values: list[dict[str, Tensor]]) -> Tensor:
        outputs = []
        for sequence, length in enumerate(LENGTHS):
            emitted, _ = torch.func.functional_call(model, values[0], (sequences()[:length, sequence],))
            outputs.append(torch.func.functional_call(head, values[1], (emitted[-1:],)))
        return mse_loss(torch.cat(outputs), TARGETS)

    expected = dense_hessian(loss, [model, head])
    inputs, lengths = sequences(np.nan), torch.tensor(LENGTHS)
    given = [(inputs, TARGETS)] if batches == 1 else [(inputs[:, :2], TARGETS[:2]), (inputs[:, 2:], TARGETS[2:])]
    parts: Any = lengths if batches == 1 else [lengths[:2], lengths[2:]]
    found = curvature_operator(model, given, mse_loss, readout=head, lengths=parts)
    matrix = found @ np.eye(found.shape[0])
    np.testing.assert_allclose(matrix, expected, atol=1e-9 * abs(expected).max())
    ds = curvature_by_step(model, given, mse_loss, readout=head, lengths=parts, k=2, bins=2, rng=0)
    values = np.linalg.eigvalsh(expected)
    largest = values[np.abs(values).argsort()[::-1][:2]]
    np.testing.assert_allclose(ds.eigenvalue, largest, rtol=1e-5)
    np.testing.assert_allclose(ds.step_to_step_curvature.sum(["bin", "other_bin"]), ds.eigenvalue, rtol=1e-5)
    packed = [
        (pack_sequence([inputs[:n, b] for b, n in zip(range(*rows), LENGTHS[slice(*rows)], strict=True)], False), y)
        for rows, (_, y) in zip([(0, 3)] if batches == 1 else [(0, 2), (2, 3)], given, strict=True)
    ]
    again = curvature_operator(model, packed if batches == 2 else packed[0], mse_loss, readout=head)
    np.testing.assert_allclose(again @ np.eye(found.shape[0]), matrix, atol=1e-12)


def masked(outputs: Tensor, targets: Tensor) -> Tensor:
    steps = torch.arange(outputs.shape[0]).unsqueeze(-1) < torch.tensor(LENGTHS)
    return (((outputs - targets) ** 2)[steps]).sum()


def test_a_loss_on_every_step_may_not_read_padding() -> None:
    model, head = layer(), readout()
    targets = torch.randn(T, B, 1, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    options: dict[str, Any] = {"readout": head, "loss_on": "every", "exponent": False}
    together = gradient_propagation(model, sequences(1e30), targets, masked, lengths=LENGTHS, **options)
    for b, length in enumerate(LENGTHS):
        alone = gradient_propagation(model, sequences()[:length, b], targets[:length, b : b + 1], summed, **options)
        found = together.log_gradient_norm.isel(trajectory=b, step=slice(length))
        np.testing.assert_allclose(found, alone.log_gradient_norm.isel(trajectory=0), atol=1e-10)
        np.testing.assert_allclose(together.growth_rate.isel(trajectory=b), alone.growth_rate[:, 0], atol=1e-10)
    with pytest.raises(ValueError, match=r"reads the output of sequence 1 at step 18, after its end at step 17\. Mask"):
        gradient_propagation(model, sequences(0.0), targets, summed, lengths=LENGTHS, **options)


def test_targets_of_every_step_lie_as_the_inputs_do() -> None:
    targets = torch.randn(T, B, 1, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    options: dict[str, Any] = {"readout": readout(), "loss_on": "every", "exponent": False}
    expected = gradient_propagation(layer(), sequences(), targets, mse_loss, **options)
    across = sequences().transpose(0, 1), targets.transpose(0, 1), mse_loss
    assert_equal(gradient_propagation(layer(batch_first=True), *across, **options), expected)
    assert_equal(gradient_propagation(layer(), *across, batch_first=True, **options), expected)


class Closed(nn.Module):
    """A cell that reads its own output, written out."""

    def __init__(self, cell: nn.RNNCell, feed: nn.Linear, forcing: float) -> None:
        super().__init__()
        self.cell, self.feed, self.forcing = cell, feed, forcing

    def forward(self, state: Tensor, input: Tensor | None = None) -> Tensor:
        fed = self.feed(state)
        if input is not None:
            fed = self.forcing * input + (1 - self.forcing) * fed
        cell = self.cell
        return torch.tanh(cell.weight_ih @ fed + cell.bias_ih + cell.weight_hh @ state + cell.bias_hh)


@pytest.mark.parametrize("forcing", [0.0, 0.4])
@pytest.mark.parametrize("name", [*ALONG, "analyze"])
def test_feedback_closes_the_loop_everywhere(name: str, forcing: float) -> None:
    torch.manual_seed(0)
    cell, feed = nn.RNNCell(M, N).double(), readout(M)
    start = torch.randn(B, N, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    example = {"state": torch.zeros(N).double(), "input": torch.zeros(M).double() if forcing else None}
    closed = as_map(Closed(cell, feed, forcing), **example)
    run: dict[str, Any] = {"initial_state": start} | ({} if forcing else {"steps": T})
    inputs = sequences() if forcing else None
    if name == "analyze":
        run["include"] = ("lyapunov_spectrum", "variational_term", "gradient_propagation")
    expected = ALL[name](closed, inputs, **run)
    found = ALL[name](cell, inputs, feedback=feed, teacher_forcing=forcing, **run)
    drop = [name for name in expected if "parameter_gradient" in str(name) or "total_gradient" in str(name)]
    assert_equal(found.drop_vars(drop, errors="ignore"), expected.drop_vars(drop))


def test_analyze_takes_the_hessian_of_a_forced_loop_and_of_unequal_lengths() -> None:
    cell, feed = nn.RNNCell(M, N).double(), readout(M)
    tree = analyze(
        cell, sequences(1e30), TARGETS, mse_loss, readout=readout(), feedback=feed, teacher_forcing=0.4,
        lengths=LENGTHS, include="hessian_spectrum", hessian_k=2, rng=0,
    )  # fmt: skip
    values: list[float] = []
    closed = Closed(cell, feed, 0.4)
    head = readout()

    def loss(parts: list[dict[str, Tensor]]) -> Tensor:
        outputs = []
        for b, length in enumerate(LENGTHS):
            state = torch.zeros(N).double()
            for input in sequences()[:length, b]:
                state = torch.func.functional_call(closed, parts[0], (state, input))
            outputs.append(torch.func.functional_call(head, parts[1], (state[None],)))
        return mse_loss(torch.cat(outputs), TARGETS)

    values = np.linalg.eigvalsh(dense_hessian(loss, [closed, head]))
    largest = sorted(values, key=abs)[::-1][:2]
    np.testing.assert_allclose(tree["hessian_spectrum"].eigenvalue, largest, rtol=1e-5)


class Whole(nn.Module):
    """A model that is called itself, and takes its inputs batch first."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = layer(batch_first=True), readout()

    def forward(self, inputs: Tensor) -> Tensor:
        _, final = self.layer(inputs)
        return self.head(final[0])


def test_a_model_that_is_called_itself_takes_inputs_as_it_does() -> None:
    model, batch = Whole(), (sequences().transpose(0, 1), TARGETS)
    expected = curvature_operator(model.layer, batch, mse_loss, readout=model.head) @ np.eye(67)
    np.testing.assert_allclose(curvature_operator(model, batch, mse_loss) @ np.eye(67), expected, atol=1e-9)
    with pytest.raises(TypeError, match="batch_first= needs readout= or a model that as_map takes"):
        hessian_spectrum(model, batch, mse_loss, batch_first=True)
    with pytest.raises(TypeError, match="lengths= needs readout="):
        hessian_spectrum(model, batch, mse_loss, lengths=LENGTHS)


class Packed(nn.Module):
    """A model that embeds its inputs, packs them, and reads every valid step out."""

    def __init__(self, kind: type[nn.RNNBase], **options: Any) -> None:
        super().__init__()
        self.embed, self.layer = nn.Linear(M, M).double(), layer(kind, **options)
        self.head = nn.Linear(N * (2 if options.get("bidirectional") else 1), 1).double()

    def forward(self, inputs: Tensor) -> Tensor:
        lengths = torch.tensor(LENGTHS)
        packed, final = self.layer(pack_padded_sequence(self.embed(inputs), lengths, enforce_sorted=False))
        final = final[0] if isinstance(final, tuple) else final
        return torch.cat((self.head(packed.data).flatten(), final.flatten()))

    def by_hand(self, inputs: Tensor) -> Tensor:
        """The same from each sequence alone."""
        alone = [self.layer(self.embed(inputs[:length, b])) for b, length in enumerate(LENGTHS)]
        order = sorted(range(B), key=lambda b: -LENGTHS[b])
        rows = [alone[b][0][step] for step in range(T) for b in order if step < LENGTHS[b]]
        finals = [final[0] if isinstance(final, tuple) else final for _, final in alone]
        return torch.cat((self.head(torch.stack(rows)).flatten(), torch.stack(finals, dim=1).flatten()))


@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}, {"batch_first": True}])
@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_models_that_pack_sequences_have_the_hessian_of_each_alone(kind: type[nn.RNNBase], options: Any) -> None:
    model = Packed(kind, **options)
    with torch.no_grad():
        torch.testing.assert_close(model(sequences()), model.by_hand(sequences()))
    weights = torch.randn(model.by_hand(sequences()).shape, generator=torch.Generator().manual_seed(9)).double()

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return (weights * torch.sin(outputs)).sum()

    class ByHand(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, inputs: Tensor) -> Tensor:
            return self.model.by_hand(inputs)

    found, expected = (curvature_operator(m, (sequences(), TARGETS), loss) for m in (model, ByHand()))
    block = torch.randn(found.shape[0], 3, generator=torch.Generator().manual_seed(8), dtype=torch.float64).numpy()
    np.testing.assert_allclose(found @ block, expected @ block, rtol=1e-8, atol=1e-9)


def test_a_copied_module_keeps_its_layout() -> None:
    assert as_map(copy.deepcopy(layer(batch_first=True))).batch_first
    assert not as_map(nn.GRUCell(2, 3)).batch_first

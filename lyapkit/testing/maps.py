"""Strategies for recurrent networks of random weights, and for their inputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, TypeVar

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from lyapkit.adapters import as_map
from lyapkit.checks.named_arguments import named_arguments
from lyapkit.recurrent_map import RecurrentMap

CellName = Literal["rnn", "gru", "lstm", "relu"]
CallableName = Literal["leaky", "nested", "linear"]

_CELLS: dict[CellName, Any] = {
    "rnn": nn.RNNCell,
    "gru": nn.GRUCell,
    "lstm": nn.LSTMCell,
    "relu": nn.RNNCell,
}
_LAYERS: dict[CellName, Any] = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM, "relu": nn.RNN}
Filled = TypeVar("Filled", bound=nn.Module)
_SEEDS = st.integers(0, 2**31)


def random_cell(kind: CellName, input_size: int, hidden_size: int, gain: float, seed: int) -> nn.RNNCellBase:
    """Return a built-in cell in float64, whose weights are N(0, gain^2 / N) and biases N(0, 1/4).

    Args:
        kind: Kind of cell. ``"relu"`` is an `nn.RNNCell` with rectifiers.
        input_size: Number of input components, M.
        hidden_size: Number of units, N.
        gain: Spread of the weights.
        seed: Seed of the weights.
    """
    options = {"nonlinearity": "relu"} if kind == "relu" else {}
    cell: nn.RNNCellBase = _CELLS[kind](input_size, hidden_size, device="meta", dtype=torch.float64, **options)
    return _filled(cell, gain, seed)


def random_layer(
    kind: CellName, input_size: int, hidden_size: int, num_layers: int, gain: float, seed: int
) -> nn.RNNBase:
    """Return a built-in layer, time first, in float64, whose weights are N(0, gain^2 / N) and biases N(0, 1/4).

    Args:
        kind: Kind of layer. ``"relu"`` is an `nn.RNN` with rectifiers.
        input_size: Number of input components, M.
        hidden_size: Number of units, N.
        num_layers: Number of stacked layers.
        gain: Spread of the weights.
        seed: Seed of the weights.
    """
    options = {"nonlinearity": "relu"} if kind == "relu" else {}
    layer: nn.RNNBase = _LAYERS[kind](
        input_size, hidden_size, num_layers, device="meta", dtype=torch.float64, **options
    )
    return _filled(layer, gain, seed)


def random_callable(kind: CallableName, input_size: int, size: int, gain: float, seed: int) -> RecurrentMap:
    """Return the map of a Python function with random weights, float64.

    Args:
        kind: Kind of function: ``"leaky"`` is 0.7 x + 0.3 tanh(W x + U s), ``"nested"`` is the same on a dictionary of
            two states, and ``"linear"`` is W x + U s.
        input_size: Number of input components, M.
        size: Number of state components, N.
        gain: Spread of W, whose entries are N(0, gain^2 / N).
        seed: Seed of the weights.
    """
    generator = torch.Generator().manual_seed(seed)
    weight = gain / math.sqrt(size) * torch.randn(size, size, generator=generator, dtype=torch.float64, device="cpu")
    feed = torch.randn(size, input_size, generator=generator, dtype=torch.float64, device="cpu")
    zeros = torch.zeros(size, dtype=torch.float64, device="cpu")
    input = torch.zeros(input_size, dtype=torch.float64, device="cpu")

    def step(x: Tensor, s: Tensor) -> Tensor:
        fed = weight @ x + feed @ s
        return fed if kind == "linear" else 0.7 * x + 0.3 * torch.tanh(fed)

    def nested(state: dict[str, Tensor], s: Tensor) -> dict[str, Tensor]:
        after = step(torch.cat((state["a"], state["b"])), s)
        return {"a": after[:1], "b": after[1:]}

    if kind == "nested":
        return as_map(nested, state={"a": zeros[:1], "b": zeros[1:]}, input=input)
    return as_map(step, state=zeros, input=input)


def random_inputs(steps: int, batch: int, size: int, scale: float, seed: int) -> Tensor:
    """Return normally distributed inputs, float64, shape (T, B, M).

    Args:
        steps: Number of steps, T.
        batch: Number of sequences, B.
        size: Number of input components, M.
        scale: Standard deviation of the inputs.
        seed: Seed of the inputs.
    """
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(steps, batch, size, generator=generator, dtype=torch.float64, device="cpu")


@named_arguments()
def cells(
    *,
    kinds: Sequence[CellName] = ("rnn", "gru", "lstm"),
    max_input_size: int = 3,
    max_hidden_size: int = 6,
    max_gain: float = 2.0,
) -> st.SearchStrategy[nn.RNNCellBase]:
    """Return a strategy for `nn.RNNCell`, `nn.GRUCell` and `nn.LSTMCell` with random weights, in float64.

    Examples shrink to an `nn.RNNCell` with one input, one unit, and the seed 0.

    Args:
        kinds: Kinds of cells: ``"rnn"``, ``"gru"``, ``"lstm"``, and ``"relu"`` for an `nn.RNNCell` with rectifiers.
        max_input_size: The largest number of inputs.
        max_hidden_size: The largest number of units.
        max_gain: The largest standard deviation of a weight, times sqrt(units).

    Returns:
        A strategy of modules.

    Raises:
        ValueError: If ``kinds`` is empty or names an unknown cell.

    Example:
        >>> from hypothesis import given
        >>> from lyapkit import as_map
        >>> from lyapkit.testing import cells
        >>> @given(cells(kinds=["lstm"]))
        ... def test_an_lstm_has_twice_as_many_states_as_units(cell):
        ...     assert as_map(cell).state_size == 2 * cell.hidden_size
        >>> test_an_lstm_has_twice_as_many_states_as_units()
    """
    return st.builds(
        random_cell,
        kind=st.sampled_from(_checked("kinds", kinds, _CELLS)),
        input_size=st.integers(1, max_input_size),
        hidden_size=st.integers(1, max_hidden_size),
        gain=st.floats(0, max_gain),
        seed=_SEEDS,
    )


@named_arguments()
def layers(
    *,
    kinds: Sequence[CellName] = ("rnn", "gru", "lstm"),
    max_input_size: int = 3,
    max_hidden_size: int = 6,
    max_layers: int = 2,
    max_gain: float = 2.0,
) -> st.SearchStrategy[nn.RNNBase]:
    """Return a strategy for `nn.RNN`, `nn.GRU` and `nn.LSTM` with random weights, time first, in float64.

    Args:
        kinds: Kinds of layers: ``"rnn"``, ``"gru"``, ``"lstm"``, and ``"relu"`` for an `nn.RNN` with rectifiers.
        max_input_size: The largest number of inputs.
        max_hidden_size: The largest number of units of a layer.
        max_layers: The largest number of stacked layers.
        max_gain: The largest standard deviation of a weight, times sqrt(units).

    Returns:
        A strategy of modules.

    Raises:
        ValueError: If ``kinds`` is empty or names an unknown layer.

    Example:
        >>> from hypothesis import given
        >>> from lyapkit import as_map
        >>> from lyapkit.testing import layers
        >>> @given(layers(kinds=["gru"]))
        ... def test_a_gru_has_a_state_for_every_unit_of_every_layer(layer):
        ...     assert as_map(layer).state_size == layer.num_layers * layer.hidden_size
        >>> test_a_gru_has_a_state_for_every_unit_of_every_layer()
    """
    return st.builds(
        random_layer,
        kind=st.sampled_from(_checked("kinds", kinds, _LAYERS)),
        input_size=st.integers(1, max_input_size),
        hidden_size=st.integers(1, max_hidden_size),
        num_layers=st.integers(1, max_layers),
        gain=st.floats(0, max_gain),
        seed=_SEEDS,
    )


@named_arguments()
def callables(
    *,
    kinds: Sequence[CallableName] = ("leaky", "nested", "linear"),
    max_input_size: int = 3,
    max_size: int = 6,
    max_gain: float = 2.0,
) -> st.SearchStrategy[RecurrentMap]:
    """Return a strategy for maps made of Python functions with random weights, in float64.

    Args:
        kinds: Kinds of functions: ``"leaky"`` is 0.7 x + 0.3 tanh(W x + U s), ``"nested"`` is the same on a dictionary
            of two states, and ``"linear"`` is W x + U s.
        max_input_size: The largest number of inputs.
        max_size: The largest number of state components.
        max_gain: The largest standard deviation of an entry of W, times sqrt(components).

    Returns:
        A strategy of `RecurrentMap`.

    Raises:
        ValueError: If ``kinds`` is empty or names an unknown function.

    Example:
        >>> from hypothesis import given
        >>> from lyapkit.testing import callables, check_map
        >>> @given(callables(max_size=3))
        ... def test_maps_of_functions_keep_all_promises(map):
        ...     check_map(map)
        >>> test_maps_of_functions_keep_all_promises()
    """
    return st.builds(
        random_callable,
        kind=st.sampled_from(_checked("kinds", kinds, ("leaky", "nested", "linear"))),
        input_size=st.integers(1, max_input_size),
        size=st.integers(1, max_size),
        gain=st.floats(0, max_gain),
        seed=_SEEDS,
    )


@named_arguments()
def maps() -> st.SearchStrategy[nn.RNNCellBase | nn.RNNBase | RecurrentMap]:
    """Return a strategy for models that `lyapkit.as_map` takes: those of `callables`, `cells` and `layers`.

    Returns:
        A strategy of models with inputs, in float64.

    Example:
        >>> from hypothesis import given
        >>> from lyapkit import as_map
        >>> from lyapkit.testing import maps
        >>> @given(maps())
        ... def test_all_models_are_driven(model):
        ...     assert as_map(model).input_size > 0
        >>> test_all_models_are_driven()
    """
    return st.one_of(callables(), cells(), layers())


@named_arguments()
def inputs(
    model: Any,
    *,
    min_steps: int = 1,
    max_steps: int = 50,
    max_batch: int = 3,
    max_scale: float = 10.0,
) -> st.SearchStrategy[Tensor]:
    """Return a strategy for inputs of a model: normally distributed numbers of any scale, shape (T, B, M).

    Examples shrink to one sequence of the smallest length, and to zeros.

    Args:
        model: Anything that `lyapkit.as_map` takes, or the number M of input components.
        min_steps: The smallest T.
        max_steps: The largest T.
        max_batch: The largest B.
        max_scale: The largest standard deviation.

    Returns:
        A strategy of tensors in the type of the model (float64 for a number), in its layout: (B, T, M) for a
        ``batch_first`` model.

    Raises:
        TypeError: If the model is autonomous.
        ValueError: If a range is empty.

    Example:
        >>> from hypothesis import given, strategies as st
        >>> from lyapkit.testing import cells, inputs
        >>> @given(st.data())
        ... def test_inputs_fit_the_model(data):
        ...     cell = data.draw(cells())
        ...     assert data.draw(inputs(cell)).shape[-1] == cell.input_size
        >>> test_inputs_fit_the_model()
    """
    if not (1 <= min_steps <= max_steps and max_batch >= 1):
        raise ValueError(
            f"steps must fulfil 1 <= min_steps <= max_steps, and max_batch be at least 1, got {min_steps}, "
            f"{max_steps} and {max_batch}."
        )
    if isinstance(model, int):
        size, dtype, is_batch_first = model, torch.float64, False
    else:
        map = as_map(model)
        size, dtype, is_batch_first = map.input_size, map.dtype, map.batch_first
    if size < 1:
        raise TypeError("the model is autonomous: it takes no inputs. Give steps= to the analysis instead.")
    drawn = st.builds(
        random_inputs,
        steps=st.integers(min_steps, max_steps),
        batch=st.integers(1, max_batch),
        size=st.just(size),
        scale=st.floats(0, max_scale),
        seed=_SEEDS,
    )
    if dtype == torch.float64 and not is_batch_first:
        return drawn  # returned directly, so that examples are printed as calls
    return drawn.map(lambda given: (given.transpose(0, 1) if is_batch_first else given).to(dtype))


def _checked(name: str, chosen: Any, known: Any) -> list[Any]:
    """Check that some names are chosen and that all are known, and return them.

    Raises:
        ValueError: If there is none, or one is unknown.
    """
    unknown = [each for each in chosen if each not in known]
    if unknown or not chosen:
        raise ValueError(f"{name} must be some of {', '.join(known)}, got {list(chosen)}.")
    return list(chosen)


def _filled(module: Filled, gain: float, seed: int) -> Filled:
    """Fill a module that has no weights yet with random ones from a generator of its own, and return it."""
    generator = torch.Generator().manual_seed(seed)
    module = module.to_empty(device="cpu")
    size = module.hidden_size
    assert isinstance(size, int), "of a built-in cell or layer"
    spread = gain / math.sqrt(size)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64, device="cpu"))
            parameter.mul_(0.5 if name.startswith("bias") else spread)
    return module

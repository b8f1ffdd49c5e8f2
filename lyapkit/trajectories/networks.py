"""Several networks of one kind as one map, whose trajectories belong to one network each."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp

from lyapkit.checks.modules import modules_of
from lyapkit.checks.one_at_a_time import ONE_AT_A_TIME, WarningsHere
from lyapkit.recurrent_map import RecurrentMap
from lyapkit.trajectories.plain_values import HiddenPart, alike, plain_values

SAME_STEP = {torch.float64: 1e-11, torch.float32: 1e-4}
"""Largest difference of a step or a tangent with stacked weights from the network's own, relative to 1 + its size."""


OnRows = Callable[[RecurrentMap, Tensor, Tensor | None], Tensor]
"""A function of a network, its states (P, N), and its inputs (P, M) or None."""

_NO_WARNING = WarningsHere("ignore", r"`isinstance\(treespec", base=FutureWarning)
"""PyTorch warns of its own code if the structure of a pytree is copied."""


_SLOW = WarningsHere("error", "There is a performance drop", base=UserWarning)
"""vmap warns if it has no rule for an operation, and loops."""


class NotTogether(Exception):
    """Networks that cannot do a step together; the message says why."""


class Networks(RecurrentMap):
    """Maps of networks that differ in their weights only.

    Every trajectory belongs to one network. A last component of its input, behind those that the networks read, is the
    number of the network from 0. `numbered` appends it. Each step is done by the map of the network, with the weights
    that it has then.

    Args:
        maps: The map of each network, by the name of the network.
    """

    def __init__(self, maps: Mapping[Any, RecurrentMap]) -> None:
        self.maps = dict(maps)
        self._first: RecurrentMap = next(iter(self.maps.values()))
        self.batching = self._first.batching

    def describe(self) -> str:
        """Say how many networks there are, and what the first is."""
        return f"{len(self.maps)} networks, each {self._first.describe()}"

    @property
    def state_size(self) -> int:
        """State size of each network."""
        return self._first.state_size

    @property
    def input_size(self) -> int:
        """Number of inputs that each network reads, without the number of the network."""
        return self._first.input_size

    @property
    def dtype(self) -> torch.dtype:
        """Type of each network."""
        return self._first.dtype

    @property
    def device(self) -> torch.device:
        """Device of each network."""
        return self._first.device

    @property
    def unit_names(self) -> Sequence[str]:
        """Names of the units of each network."""
        return self._first.unit_names

    @property
    def batch_first(self) -> bool:
        """Layout of sequences of each network."""
        return self._first.batch_first

    def initial_state(self, batch: int) -> Tensor:
        """Return the initial states of all networks, one after the other; ``batch`` is their number, all together."""
        return torch.cat([one.initial_state(batch // len(self.maps)) for one in self.maps.values()])

    def step(self, state: Tensor, input: Tensor | None = None) -> Tensor:
        """Return the state after a step of each trajectory's own network."""
        assert input is not None, "it holds the number of the network"
        return each_network(self, state, input, lambda one, state, input: one.step(state, input))

    def numbered(self, inputs: Tensor | None, steps: int, batch: int) -> Tensor:
        """Return the inputs of the trajectories of all networks, with the number of the network behind them.

        Args:
            inputs: Inputs of B sequences, shape (T, B, M), that every network reads; None if the networks read none.
            steps: Number of steps, T.
            batch: Number of trajectories of each network, B.

        Returns:
            Shape (T, G B, M + 1): all sequences of the first network, then those of the second, ...
        """
        numbers = torch.arange(len(self.maps), dtype=self.dtype, device=self.device).repeat_interleave(batch)
        numbers = numbers.view(1, -1, 1).expand(steps, -1, -1)
        return numbers if inputs is None else torch.cat((inputs.repeat(1, len(self.maps), 1), numbers), dim=-1)


def each_network(map: Networks, state: Tensor, input: Tensor, function: OnRows) -> Tensor:
    """Apply a function of single networks to states of several.

    Args:
        map: The networks.
        state: States, shape (..., N).
        input: Inputs with the numbers of the networks, shape (..., M + 1).
        function: Function of a network, its states (P, N) and its inputs (P, M) or None.

    Returns:
        The results in the order of the states, shape (..., *).
    """
    states, inputs = state.reshape(-1, state.shape[-1]), input.reshape(-1, input.shape[-1])
    numbers = inputs[:, -1].detach().long()
    order = numbers.argsort(stable=True)
    counts = torch.bincount(numbers, minlength=len(map.maps)).tolist()
    parts = []
    for one, rows in zip(map.maps.values(), torch.split(order, counts), strict=True):
        if len(rows):
            parts.append(function(one, states[rows], inputs[rows, :-1] if map.input_size else None))
    found = torch.cat(parts)[order.argsort()]
    return found.reshape(*state.shape[:-1], *found.shape[1:])


class InOrder(Networks):
    """The same networks for all of their trajectories at once, in the order of `Networks.numbered`.

    Where a trajectory lies says which network it belongs to, so that all networks can do a step together, by one
    operation on weights that are stacked. Otherwise, one network does it after the other.

    Args:
        maps: The map of each network, by the name of the network.
        stacked: Stacked weights of the networks; None to step one network after the other.
        apart_because: The reason, where weights are not stacked.
    """

    def __init__(
        self, maps: Mapping[Any, RecurrentMap], stacked: StackedWeights | None, apart_because: str = ""
    ) -> None:
        super().__init__(maps)
        self.stacked, self.apart_because = stacked, apart_because

    def step(self, state: Tensor, input: Tensor | None = None) -> Tensor:
        """Return the states after a step, shape (..., G B, N)."""
        assert input is not None, "as for all networks"
        after: Tensor = self.together(lambda one, state, input: one.step(state, input), state, input)
        return after

    def together(self, function: Callable[..., Any], state: Tensor, input: Tensor, *others: Tensor) -> Any:
        """Apply a function of single networks to the trajectories of all.

        Args:
            function: Function of a network, its states (..., B, N), its inputs (..., B, M) or None, and others
                (..., B, N). It returns a tensor (..., B, N), or a tuple of such tensors.
            state: States, shape (..., G B, N).
            input: Inputs with the numbers of the networks, shape (..., G B, M + 1).
            others: Further tensors, shape (..., G B, N).

        Returns:
            The results, of shape (..., G B, N).
        """
        given = [state, *([input[..., :-1]] if self.input_size else []), *others]
        apart = [torch.unflatten(each, -2, (len(self.maps), -1)) for each in given]  # (..., G, B, N)

        def one_network(one: RecurrentMap, *given: Tensor) -> Any:
            state, *rest = given
            return function(one, state, *(rest if self.input_size else (None, *rest)))

        if self.stacked is not None:
            found = self.stacked.apply(one_network, apart)
        else:
            each = [
                one_network(one, *(part.select(-3, number) for part in apart))
                for number, one in enumerate(self.maps.values())
            ]
            found = (
                tuple(torch.stack(parts, dim=-3) for parts in zip(*each, strict=True))
                if isinstance(each[0], tuple)
                else torch.stack(each, dim=-3)
            )
        return tuple(part.flatten(-3, -2) for part in found) if isinstance(found, tuple) else found.flatten(-3, -2)


class StackedWeights:
    """Weights of several networks as stacked tensors, and one copy of a network that they can be put into.

    Args:
        maps: The maps.

    Raises:
        NotTogether: If the weights cannot be found or stacked, or if the networks differ in anything else.
    """

    def __init__(self, maps: Sequence[RecurrentMap]) -> None:
        try:
            with _NO_WARNING.open():
                self._map = copy.deepcopy(maps[0])
        except Exception as error:  # a module may hold anything
            raise NotTogether(f"a network cannot be copied ({type(error).__name__})") from error
        own = {id(module) for module in modules_of(maps[0])}
        copied = modules_of(self._map)
        if not copied or any(id(module) in own for module in copied):
            raise NotTogether("a network is a function, whose weights are hidden")
        self._check_plain_values(maps)
        self._holder = _Holder(copied)
        tensors = [_tensors(_Holder(modules_of(one))) for one in maps]
        if any(list(each) != list(tensors[0]) for each in tensors):
            raise NotTogether("the networks share other weights among their parts")
        self._weights = {name: torch.stack([each[name] for each in tensors]) for name in tensors[0]}

    def _check_plain_values(self, maps: Sequence[RecurrentMap]) -> None:
        try:
            first, *others = (plain_values(one) for one in maps)
            self._plain = plain_values(self._map)
        except HiddenPart as path:
            raise NotTogether(f"a function holds a part of a network ({path})") from path
        if not all(alike(first, other) for other in others):
            raise NotTogether("the networks differ in more than parameters and buffers")

    def check_unchanged(self) -> None:
        """Check that steps have changed nothing that the copy keeps.

        Raises:
            NotTogether: If they have: each network then has to keep its own.
        """
        if not alike(self._plain, plain_values(self._map)):
            raise NotTogether("a step changes what a network keeps")

    def apply(self, function: Callable[..., Any], given: Sequence[Tensor]) -> Any:
        """Apply a function of a map and tensors (..., B, N) to each network and its part of tensors (..., G, B, N)."""

        def with_weights(weights: dict[str, Tensor], *given: Tensor) -> Any:
            return functional_call(self._holder, weights, (function, self._map, *given))

        # contiguous, since matrix products then take all states and tangents of a network at once
        each = [part.movedim(-3, 0).contiguous() for part in given]
        return torch.vmap(with_weights, out_dims=-3)(self._weights, *each)


class _Holder(nn.Module):
    """The modules of a map under one roof, to call a function while they hold other weights."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self.held = nn.ModuleList(modules)

    def forward(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return dict(module.named_parameters()) | dict(module.named_buffers())


def in_order(map: RecurrentMap, state: Tensor, input: Tensor | None) -> RecurrentMap:
    """Return the map for whole batches of a run, in which several networks step together if this gives their own steps.

    Args:
        map: The map.
        state: First states of all trajectories, shape (B, N).
        input: First inputs, shape (B, M), or None.
    """
    if not isinstance(map, Networks):
        return map
    assert input is not None, "it holds the numbers of the networks"
    try:
        if map.batching == "loop":
            raise NotTogether("the step takes one state at a time")
        stacked = StackedWeights(list(map.maps.values()))
        together = InOrder(map.maps, stacked)
        generator = torch.Generator("cpu").manual_seed(3)
        with torch.no_grad(), ONE_AT_A_TIME, _SLOW.open():
            for _ in range(2):
                aside = torch.randn(state.shape, generator=generator, dtype=torch.float64, device="cpu").to(state)
                expected = jvp(lambda x: map.step(x, input), (state,), (aside,))
                for one, other in zip(together.together(_along, state, input, aside), expected, strict=True):
                    room = SAME_STEP[map.dtype] * (1 + other.abs().amax(dim=-1, keepdim=True))
                    if not bool(((one - other).abs() <= room).all()):
                        raise NotTogether("stacked weights are not all that the networks differ in")
                state = state + 0.1 * (1 + state.abs()) * aside
        stacked.check_unchanged()
    except (NotTogether, ValueError, RuntimeError, TypeError, NotImplementedError, UserWarning) as reason:
        return InOrder(map.maps, None, (str(reason).splitlines() or [type(reason).__name__])[0])
    return together


def _along(map: RecurrentMap, state: Tensor, input: Tensor | None, tangent: Tensor) -> Any:
    return jvp(lambda x: map.step(x, input), (state,), (tangent,))

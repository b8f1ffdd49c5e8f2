"""Adapter of a callable ``f(x)`` or ``f(x, s)`` over any pytree of tensors."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from lyapkit.adapters.argument_order import Order, argument_names, names_contradict_state_first
from lyapkit.adapters.leaves import Leaf, check_leaf, find_leaves, structure_in_words, to_real
from lyapkit.adapters.one_step import one_step
from lyapkit.checks.arguments import refuse_contexts
from lyapkit.checks.clause import clause
from lyapkit.checks.purity import HIDDEN_STATE, RANDOM_NUMBERS, ModuleWatch
from lyapkit.recurrent_map import Batching, RecurrentMap


class CallableMap(RecurrentMap):
    """A callable on one (unbatched) state, lifted to flat states with leading batch dimensions.

    The callable is batched with `torch.vmap`. If vmap cannot trace it (data-dependent Python control flow, operations
    without a batching rule), it is called once per batch member. `batching` says which of the two is used.

    A complex number is two real components of the flat state, (re, im). A complex recurrence of n units therefore has
    2 n exponents: those of the real map on pairs, even if it is not holomorphic. If it is holomorphic, they come in
    equal pairs, since a complex factor stretches both directions of its plane alike.

    Args:
        function: The map, ``f(state)`` or ``f(state, input)``, returning a state of the same structure.
        state: Example state, any pytree of floating-point or complex tensors of one precision and device.
        input: Example input, a floating-point or complex tensor of any shape; None for an autonomous map.
        order: Order of the arguments, ``"state_first"`` or ``"input_first"``. By default the state comes first, and
            names of arguments that contradict this are refused.

    Raises:
        TypeError: If a leaf is neither floating point nor complex, the callable cannot be called with these arguments,
            or it does not return a state.
        ValueError: If the arguments' names say that the input comes first, and ``order`` is not given; if leaves are
            not finite or disagree in dtype or device; if the returned state has another structure, shape or dtype; if
            the callable fails on the examples; or if it is not a map, since it draws random numbers or keeps a hidden
            state.
    """

    def __init__(
        self, function: Callable[..., Any], state: Any, input: Tensor | None = None, order: Order | None = None
    ) -> None:
        self._leaves, self._structure = find_leaves(state)
        self._sizes = [leaf.size for leaf in self._leaves]
        self._input: Leaf | None = None
        if input is not None:
            check_leaf("input", input)
            if (input.dtype.to_real(), input.device) != (self.dtype, self.device):
                raise ValueError(
                    f"example input is {input.dtype} on {input.device}, the state {self.dtype} on {self.device}; "
                    "convert one of them with .to()."
                )
            self._input = Leaf("", "s", input.detach())
        self._function = function
        self._input_first = order == "input_first"
        _check_signature(function, self._arguments("state", "input") if input is not None else ["state"])
        if order is None and input is not None and names_contradict_state_first(function):
            self._refuse_order()
        self.batching = self._probe()

    def describe(self) -> str:
        """Name the callable."""
        return f"{type(self).__name__} of {getattr(self._function, '__name__', type(self._function).__name__)}"

    @property
    def state_size(self) -> int:
        """Number of real components of all leaves together."""
        return sum(self._sizes)

    @property
    def input_size(self) -> int:
        """Number of real components of the example input."""
        return 0 if self._input is None else self._input.size

    @property
    def dtype(self) -> torch.dtype:
        """Type of the components of the example state."""
        return self._leaves[0].example.dtype.to_real()

    @property
    def device(self) -> torch.device:
        """Device of the example state."""
        return self._leaves[0].example.device

    @property
    def unit_names(self) -> list[str]:
        """Path of the leaf and position in it: ``x[0]`` for one tensor, ``h[3]`` for ``{"h": ...}``, ``x[0].re``."""
        return [name for leaf in self._leaves for name in leaf.component_names]

    def initial_state(self, batch: int) -> Tensor:
        """Return the example state, repeated."""
        return torch.cat([to_real(leaf.example) for leaf in self._leaves]).repeat(batch, 1)

    def step(self, state: Tensor, input: Tensor | None = None) -> Tensor:
        """Apply the callable to the unflattened state, and flatten the result."""
        leading = state.shape[:-1]
        if not leading:
            return self._single(state, input)
        states = state.reshape(-1, self.state_size)
        inputs = None if input is None else input.reshape(-1, self.input_size)
        if states.shape[0] == 1:  # without vmap, whose overhead costs as much as many small steps
            after = self._single(states[0], None if inputs is None else inputs[0])
        elif self.batching == "vmap":
            after = self._batched(states, inputs)
        else:
            rows = [
                self._single(states[row], None if inputs is None else inputs[row]) for row in range(states.shape[0])
            ]
            after = torch.stack(rows)
        return after.reshape(*leading, self.state_size)

    def parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the parameters of the callable if it is a module."""
        if isinstance(self._function, nn.Module):
            return self._function.named_parameters(remove_duplicate=False)
        return iter(())

    def _batched(self, states: Tensor, inputs: Tensor | None) -> Tensor:
        arguments = (states,) if inputs is None else (states, inputs)
        after: Tensor = torch.vmap(self._single)(*arguments)
        return after

    def _single(self, state: Tensor, input: Tensor | None = None, call: Callable[..., Any] | None = None) -> Tensor:
        parts = torch.split(state, self._sizes)
        leaves = [leaf.from_real(part) for part, leaf in zip(parts, self._leaves, strict=True)]
        given = pytree.tree_unflatten(leaves, self._structure)
        arguments = [given]
        if input is not None:
            assert self._input is not None
            arguments = self._arguments(given, self._input.from_real(input))
        try:
            returned = (call or self._function)(*arguments)
        except RuntimeError as error:  # may come from a branch that the probe did not take
            if "randomness" in str(error):
                raise ValueError(RANDOM_NUMBERS) from error
            raise
        after, structure = pytree.tree_flatten(returned)
        if structure != self._structure:  # perhaps a dict with its keys in another order
            by_path = {pytree.keystr(path): leaf for path, leaf in pytree.tree_flatten_with_path(returned)[0]}
            after = [by_path[leaf.path] for leaf in self._leaves if leaf.path in by_path]
        if len(after) != len(self._leaves) or len(after) != structure.num_leaves:
            raise ValueError(
                f"the callable must return {structure_in_words(given)} like the example state, but returned "
                f"{structure_in_words(returned)}. Return the next state alone (torch.stack joins numbers to a tensor)."
                f"{self._one_step()}"
            )
        for tensor, before in zip(after, leaves, strict=True):
            if not isinstance(tensor, Tensor):
                raise TypeError(f"the callable must return tensors, got {type(tensor).__name__}.")
            if tensor.shape != before.shape or tensor.dtype != before.dtype:
                refuse_contexts(before.dtype.to_real(), before.device)  # since autocast may change the type
                raise ValueError(
                    f"the callable returned a leaf of shape {tuple(tensor.shape)} and {tensor.dtype} where the example "
                    f"state has {tuple(before.shape)} and {before.dtype}. Return a state of the same shape and "
                    f"dtype.{self._one_step()}"
                )
        return torch.cat([to_real(tensor) for tensor in after])

    def _arguments(self, state: Any, input: Any) -> list[Any]:
        """Return state and input in the order in which the callable takes them."""
        return [input, state] if self._input_first else [state, input]

    @torch.no_grad()
    def _refuse_order(self) -> None:
        """Refuse names that contradict the order, unless the callable fails with the input first."""
        assert self._input is not None
        state, input = self.initial_state(1)[0], to_real(self._input.example)
        self._input_first = True
        try:
            self._single(state, input)
        except Exception:  # the names mislead, since the callable fails with the input first
            return
        finally:
            self._input_first = False
        names = argument_names(self._function)
        assert names is not None
        raise ValueError(
            f"the callable names its arguments ({', '.join(names)}), the input first, as PyTorch's own cells have it, "
            'but is called as f(state, input). Say which is right: as_map(..., order="input_first") calls it as '
            'f(input, state), and order="state_first" as f(state, input), for any names.'
        )

    def _first(self, state: Tensor, input: Tensor | None) -> Tensor:
        """Return the state after the examples; on failure, name their shapes and their order."""
        return self._single(state, input, self._explained)

    def _explained(self, *arguments: Any) -> Any:
        try:
            return self._function(*arguments)
        except torch.OutOfMemoryError:
            raise
        except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError) as error:
            if "randomness" in str(error):
                raise
            shapes = [f"{leaf.name} {tuple(leaf.example.shape)}" for leaf in self._leaves]
            given = tuple(self._leaves[0].example.shape) if self._structure.is_leaf() else f"({', '.join(shapes)})"
            if self._input is None:
                called, remedy = f"f(state {given})", "check the example state"
            else:
                shape = tuple(self._input.example.shape)
                called = f"f({', '.join(self._arguments(f'state {given}', f'input {shape}'))})"
                remedy = (
                    "the state comes first, the input second. For a callable that takes the input first, pass "
                    'order="input_first"'
                )
                if self._input_first:
                    remedy = 'with order="input_first" the input comes first, the state second'
            raise ValueError(
                f"{called} raised {type(error).__name__}: {clause(error)}; {remedy}.{self._one_step()}"
            ) from error

    def _one_step(self) -> str:
        """Return the recipe for modules that take a whole sequence; empty for autonomous maps."""
        if self._input is None:
            return ""
        whole = self._structure.is_leaf() and self._leaves[0].example.ndim == 1 and self._input.example.ndim == 1
        return f" {one_step(self.state_size, self.input_size) if whole else one_step()}"

    def _probe(self) -> Batching:
        """Call once directly, twice under vmap, and once more directly; return the batching that works."""
        state = self.initial_state(1)[0]
        input = None if self._input is None else to_real(self._input.example)
        with torch.no_grad():
            given = state.clone(), None if input is None else input.clone()
            with ModuleWatch(self._function) as watch:
                before = self._first(*given)
            watch.refuse_changes()
            for what, now, then in (("state", given[0], state), ("input", given[1], input)):
                if now is not None and then is not None and not torch.allclose(now, then, 0, 0, equal_nan=True):
                    raise ValueError(
                        f"the callable changes its {what} in place. Leave it unchanged and return a new tensor."
                    )
            batching: Batching = "vmap"
            try:
                self._batched(state.expand(2, -1), None if input is None else input.expand(2, -1))
            except RuntimeError:
                batching = "loop"
            try:
                same = torch.allclose(self._single(state, input), before, rtol=0, atol=0, equal_nan=True)
            except RuntimeError as error:  # a tensor from the call under vmap was kept, and fails outside of it
                raise ValueError(HIDDEN_STATE) from error
        if not same:
            raise ValueError(HIDDEN_STATE)
        return batching


def _check_signature(function: Callable[..., Any], arguments: list[str]) -> None:
    called = function.forward if isinstance(function, nn.Module) else function
    try:
        signature = inspect.signature(called)
    except (TypeError, ValueError):  # some functions written in C have none
        return
    try:
        signature.bind(*arguments)
    except TypeError as error:
        driven = len(arguments) == 2
        remedy = "leave input= out if the map is autonomous" if driven else "give input= if the map is driven"
        recipe = f" {one_step()}" if driven else ""
        raise TypeError(
            f"the callable cannot be called as f({', '.join(arguments)}): {clause(error)}; {remedy}.{recipe}"
        ) from error

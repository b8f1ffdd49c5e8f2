"""Adapter of a callable ``f(x)`` or ``f(x, s)`` over any pytree of tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from lyapkit.recurrent_map import RecurrentMap


class CallableMap(RecurrentMap):
    """A callable on one (unbatched) state, lifted to flat states with leading batch dimensions.

    The callable is batched with `torch.vmap`. Where vmap cannot trace it (data-dependent Python control
    flow, operations without a batching rule), it is called once per batch member; `batching` says which.

    Args:
        function: ``f(state)`` or ``f(state, input)``, returning a state of the same structure.
        state: example state, any pytree of floating-point tensors of one dtype and device.
        input: example input, a floating-point tensor of any shape; None for an autonomous map.

    Raises:
        TypeError: a leaf is not a floating-point tensor, or the callable returns something else than a state.
        ValueError: leaves disagree in dtype or device, or the returned state in structure or shape.
    """

    def __init__(self, function: Callable[..., Any], state: Any, input: Tensor | None = None) -> None:
        paths, self._structure = pytree.tree_flatten_with_path(state)
        if not paths:
            raise ValueError("the example state holds no tensors; give one tensor or a pytree of tensors.")
        for path, leaf in paths:
            _check_leaf(f"state{pytree.keystr(path)}", leaf)
        if not any(leaf.numel() for _, leaf in paths):
            raise ValueError("the example state has no components; give at least one.")
        leaves: list[Tensor] = [leaf.detach() for _, leaf in paths]
        for what in ("dtype", "device"):
            found = {str(getattr(leaf, what)) for leaf in leaves}
            if len(found) > 1:
                raise ValueError(
                    f"the leaves of the example state must share one {what}, got {sorted(found)}; "
                    f"convert them with .to()."
                )
        if input is not None:
            _check_leaf("input", input)
            if (input.dtype, input.device) != (leaves[0].dtype, leaves[0].device):
                raise ValueError(
                    f"example input is {input.dtype} on {input.device}, the state {leaves[0].dtype} on "
                    f"{leaves[0].device}; convert one of them with .to()."
                )
        self._function = function
        self._paths = [pytree.keystr(path) for path, _ in paths]
        self._leaves = leaves
        self._names = [name for (path, leaf) in paths for name in _component_names(_leaf_name(path), tuple(leaf.shape))]
        self._input_shape = None if input is None else input.shape
        self._example_input = None if input is None else input.detach().reshape(-1)
        self.batching = self._probe()

    @property
    def state_size(self) -> int:
        """Number of elements of all leaves together."""
        return sum(leaf.numel() for leaf in self._leaves)

    @property
    def input_size(self) -> int:
        """Number of elements of the example input."""
        return 0 if self._input_shape is None else self._input_shape.numel()

    @property
    def dtype(self) -> torch.dtype:
        """Type of the example state."""
        return self._leaves[0].dtype

    @property
    def device(self) -> torch.device:
        """Device of the example state."""
        return self._leaves[0].device

    @property
    def unit_names(self) -> list[str]:
        """Path of the leaf and position in it: ``x[0]`` for one tensor, ``h[3]`` for ``{"h": ...}``."""
        return self._names

    def initial_state(self, batch: int) -> Tensor:
        """The example state, repeated."""
        return torch.cat([leaf.reshape(-1) for leaf in self._leaves]).repeat(batch, 1)

    def step(self, state: Tensor, input: Tensor | None = None) -> Tensor:
        """The callable on the unflattened state, flattened again."""
        leading = state.shape[:-1]
        if not leading:
            return self._single(state, input)
        states = state.reshape(-1, self.state_size)
        inputs = None if input is None else input.reshape(-1, self.input_size)
        if states.shape[0] == 1:  # spared the overhead of vmap, which is that of many small steps
            after = self._single(states[0], None if inputs is None else inputs[0])
        elif self.batching == "vmap":
            if inputs is None:
                after = torch.vmap(self._single)(states)
            else:
                after = torch.vmap(self._single)(states, inputs)
        else:
            rows = [
                self._single(states[row], None if inputs is None else inputs[row]) for row in range(states.shape[0])
            ]
            after = torch.stack(rows)
        return after.reshape(*leading, self.state_size)

    def parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The parameters of the callable when it is a module."""
        if isinstance(self._function, nn.Module):
            return self._function.named_parameters()
        return iter(())

    def _single(self, state: Tensor, input: Tensor | None = None) -> Tensor:
        parts = torch.split(state, [leaf.numel() for leaf in self._leaves])
        leaves = [part.reshape(leaf.shape) for part, leaf in zip(parts, self._leaves, strict=True)]
        arguments = [pytree.tree_unflatten(leaves, self._structure)]
        if input is not None:
            assert self._input_shape is not None
            arguments.append(input.reshape(self._input_shape))
        returned = self._function(*arguments)
        after, structure = pytree.tree_flatten(returned)
        if structure != self._structure:  # perhaps a dict whose keys come in another order
            by_path = {pytree.keystr(path): leaf for path, leaf in pytree.tree_flatten_with_path(returned)[0]}
            after = [by_path[path] for path in self._paths if path in by_path]
        if len(after) != len(self._leaves) or len(after) != structure.num_leaves:
            raise ValueError(
                f"the callable must return a state like the example, {self._structure}, but returned {structure}."
            )
        for leaf, example in zip(after, self._leaves, strict=True):
            if not isinstance(leaf, Tensor):
                raise TypeError(f"the callable must return tensors, got {type(leaf).__name__}.")
            if leaf.shape != example.shape or leaf.dtype != example.dtype:
                raise ValueError(
                    f"the callable returned a leaf of shape {tuple(leaf.shape)} and {leaf.dtype} where the example "
                    f"state has {tuple(example.shape)} and {example.dtype}; a map returns its state unchanged "
                    "in shape and dtype."
                )
        return torch.cat([leaf.reshape(-1) for leaf in after])

    def _probe(self) -> str:
        """Call once as it is, then twice under vmap; returns which batching works."""
        state, input = self.initial_state(1)[0], self._example_input
        with torch.no_grad():
            self._single(state, input)
            pair = state.expand(2, -1)
            try:
                if input is None:
                    torch.vmap(self._single)(pair)
                else:
                    torch.vmap(self._single)(pair, input.expand(2, -1))
            except RuntimeError as error:
                if "randomness" in str(error):
                    raise ValueError(
                        "the map draws random numbers, so its exponents are not defined; draw the noise "
                        "beforehand and give it as inputs."
                    ) from error
                return "loop"
        return "vmap"


def _check_leaf(name: str, leaf: Any) -> None:
    if not isinstance(leaf, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(leaf).__name__}.")
    if leaf.is_complex():
        raise TypeError(
            f"{name} is complex; carry it as pairs of real numbers (torch.view_as_real inside the callable)."
        )
    if not leaf.is_floating_point():
        raise TypeError(f"{name} must be floating point, got {leaf.dtype}; convert it with .double().")


def _leaf_name(path: tuple[Any, ...]) -> str:
    """``h`` for a key or field, ``state0`` for a position, joined by dots; ``x`` for a bare tensor."""
    parts = []
    for key in path:
        label = getattr(key, "key", None)
        if label is None:
            label = getattr(key, "name", None)
        parts.append(f"state{key.idx}" if label is None else str(label))
    return ".".join(parts) or "x"


def _component_names(leaf: str, shape: tuple[int, ...]) -> list[str]:
    if not shape:
        return [leaf]
    positions = torch.cartesian_prod(*(torch.arange(size) for size in shape)).reshape(-1, len(shape))
    return [f"{leaf}[{','.join(str(index) for index in row)}]" for row in positions.tolist()]

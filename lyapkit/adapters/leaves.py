"""The leaves of a pytree as parts of a flat real vector."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from lyapkit.checks.arguments import check_precision


@dataclass(frozen=True)
class Leaf:
    """One tensor of a pytree, as real numbers. Complex numbers become neighbouring pairs (re, im).

    Attributes:
        path: Place in the pytree, as PyTorch writes it.
        name: Place as a label: ``h`` for a key or field, ``state0`` for a position, ``x`` for a bare tensor.
        example: Tensor whose shape and dtype the leaf has.
    """

    path: str
    name: str
    example: Tensor

    @property
    def size(self) -> int:
        """Number of real components."""
        return self.example.numel() * (2 if self.example.is_complex() else 1)

    @property
    def component_names(self) -> list[str]:
        """``h[0,1]`` for a real component, ``h[0,1].re`` and ``h[0,1].im`` for a complex one."""
        if not self.example.shape:
            names = [self.name]
        else:
            positions = itertools.product(*(range(size) for size in self.example.shape))
            names = [f"{self.name}[{','.join(str(index) for index in position)}]" for position in positions]
        if self.example.is_complex():
            names = [f"{name}.{part}" for name in names for part in ("re", "im")]
        return names

    def from_real(self, part: Tensor) -> Tensor:
        """Return the leaf from its components, shape (size,)."""
        if not self.example.is_complex():
            return part.reshape(self.example.shape)
        pairs = part.reshape(*self.example.shape, 2)
        return torch.complex(pairs[..., 0], pairs[..., 1])  # view_as_complex needs even strides and offsets


def to_real(leaf: Tensor) -> Tensor:
    """Return the components of a leaf, one vector: the inverse of `Leaf.from_real`."""
    if leaf.is_conj():  # vmap cannot take the imaginary part of a lazy conjugate
        plain = leaf.conj()
        leaf = torch.stack((plain.real, -plain.imag), dim=-1)
    elif leaf.is_complex():
        leaf = torch.stack((leaf.real, leaf.imag), dim=-1)
    return leaf.reshape(-1)


def find_leaves(example: Any) -> tuple[list[Leaf], pytree.TreeSpec]:
    """Return the leaves of an example state and its structure.

    Raises:
        TypeError: If a leaf is not a floating-point or complex tensor.
        ValueError: If there are no leaves, or they disagree in (real) dtype or device, or hold numbers that are not
            finite or in half precision.
    """
    paths, structure = pytree.tree_flatten_with_path(example)
    if not paths:
        raise ValueError("the example state holds no tensors. Give one tensor or a pytree of tensors.")
    for path, leaf in paths:
        check_leaf(f"state{pytree.keystr(path)}", leaf)
        check_precision(leaf.dtype.to_real(), leaf.device)
        if not bool(torch.isfinite(leaf).all()):
            raise ValueError(
                f"the example state{pytree.keystr(path)} holds a value that is not finite. Give a finite one, since "
                "trajectories start there unless an analysis is given initial_state."
            )
    if not any(leaf.numel() for _, leaf in paths):
        raise ValueError("the example state has no components. Give at least one.")
    _refuse_mixed("dtype", {str(leaf.dtype.to_real()) for _, leaf in paths})
    _refuse_mixed("device", {str(leaf.device) for _, leaf in paths})
    return [Leaf(pytree.keystr(path), _label(path), leaf.detach().clone()) for path, leaf in paths], structure


def structure_in_words(tree: Any) -> str:
    """Describe the structure of a pytree: ``a tensor``, ``a list [tensor, tensor]``, ``a dict {'h': tensor}``."""
    if isinstance(tree, Tensor):
        return "a tensor"
    if tree is None:
        return "None"
    return (
        f"a {type(tree).__name__} {_outline(tree)}" if isinstance(tree, dict | list | tuple) else f"a {_outline(tree)}"
    )


def _outline(tree: Any) -> str:
    if isinstance(tree, dict):
        return "{" + ", ".join(f"{key!r}: {_outline(part)}" for key, part in tree.items()) + "}"
    if isinstance(tree, list | tuple):
        parts = ", ".join(_outline(part) for part in tree)
        return f"[{parts}]" if isinstance(tree, list) else f"({parts})"
    return "tensor" if isinstance(tree, Tensor) else type(tree).__name__


def check_leaf(name: str, leaf: Any) -> None:
    """Check that a leaf is a tensor of floating-point or complex numbers.

    Raises:
        TypeError: If it is not a tensor of real or complex floating-point numbers.
    """
    if not isinstance(leaf, Tensor):
        raise TypeError(
            f"{name} must be a tensor, got {type(leaf).__name__}. Convert numbers and arrays with torch.as_tensor, and "
            "other containers to tuples or dictionaries of tensors."
        )
    if not (leaf.is_floating_point() or leaf.is_complex()):
        remedy = "convert it with .double()"
        if name == "input" and leaf.dtype != torch.bool:
            remedy = "embed tokens first, and give one embedded token as the example, such as torch.zeros(M)"
        raise TypeError(f"{name} must be floating point or complex, got {leaf.dtype}; {remedy}.")


def _refuse_mixed(what: str, found: set[str]) -> None:
    if len(found) > 1:
        raise ValueError(
            f"the leaves of the example state must share one {what} (complex64 goes with float32, complex128 with "
            f"float64), got {sorted(found)}. Convert them with .to()."
        )


def _label(path: Sequence[Any]) -> str:
    parts = []
    for key in path:
        label = getattr(key, "key", None)
        if label is None:
            label = getattr(key, "name", None)
        parts.append(f"state{key.idx}" if label is None else str(label))
    return ".".join(parts) or "x"

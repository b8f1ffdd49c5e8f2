"""Represent a recorded step by a short list of statements on blocks of memory: elementwise, products and sums."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from lyapkit.tangents.tracing.machine.pointwise import Pointwise

Array = NDArray[Any]


@dataclass(frozen=True)
class Block:
    """A piece of memory.

    Attributes:
        kind: One of "point" (state in the first row, tangents in the others), "input", "weight", "number" or "result".
        place: Number among the blocks of its kind.
        array: Memory of this shape. For weights, it holds their values.
        boolean: True if it holds truth values, as 0 and 1.
    """

    kind: str
    place: int
    array: Array
    boolean: bool = False


@dataclass(frozen=True)
class Part:
    """A strided part of a block: the place of its first element, and the distances between elements."""

    block: Block
    offset: int
    strides: tuple[int, ...]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Elementwise:
    """out[...] = function(operands[...]); further arguments are numbers."""

    out: Part
    function: Pointwise
    operands: tuple[Part | float | bool | None, ...]
    options: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class Product:
    """out[i, j] = sum over l of left[i, l] right[l, j]."""

    out: Part
    left: Part
    right: Part


@dataclass(frozen=True)
class Reduction:
    """out[...] = sum, or largest or smallest, of the operand over its last dimension."""

    out: Part
    operand: Part
    kind: str


Statement = Elementwise | Product | Reduction


@dataclass(frozen=True)
class Program:
    """One step of a map with its tangents.

    Attributes:
        size: State size, N.
        directions: Number of directions, k.
        inputs: Input size, M; 0 for an autonomous map.
        statements: Statements in order.
        after: The next state, shape (1, N).
        pushed: Tangents of the next state in rows, shape (k, 1, N).
        moves: False if the next state is not computed.
    """

    size: int
    directions: int
    inputs: int
    statements: list[Statement]
    after: Part
    pushed: Part
    moves: bool = True


def without_tangents(program: Program) -> Program:
    """Return the step of the state alone."""
    return replace(program, directions=0, statements=_needed(program, program.after))


def without_state(program: Program) -> Program:
    """Return the step of the tangents alone, at a state that is known."""
    return replace(program, moves=False, statements=_needed(program, program.pushed))


def _needed(program: Program, result: Part) -> list[Statement]:
    """Return the statements that a result needs."""
    needed, kept = {id(result.block)}, list[Statement]()
    for statement in reversed(program.statements):
        if id(statement.out.block) in needed:
            kept.append(statement)
            needed |= {id(part.block) for part in sources(statement)}
    return kept[::-1]


def sources(statement: Statement) -> Iterator[Part]:
    """Yield the parts that a statement reads."""
    if isinstance(statement, Elementwise):
        yield from (operand for operand in statement.operands if isinstance(operand, Part))
    elif isinstance(statement, Product):
        yield from (statement.left, statement.right)
    else:
        yield statement.operand

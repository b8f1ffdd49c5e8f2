"""Put statements in order: join elementwise ones in few loops, and products that share a matrix in one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from lyapkit.tangents.tracing.machine.pointwise import copy
from lyapkit.tangents.tracing.machine.program import Block, Elementwise, Part, Product, Program, Statement, sources


@dataclass
class Group:
    """Statements that are done in one loop, or a single product or reduction.

    Attributes:
        statements: Statements in order.
        shape: Extents of the loop.
    """

    statements: list[Statement]
    shape: tuple[int, ...]


@dataclass
class Schedule:
    """Groups of the statements of a step.

    Attributes:
        groups: Groups in order.
        stored: Identities of the blocks that must be in memory: those that are read outside the loop that writes them.
    """

    groups: list[Group]
    stored: set[int] = field(default_factory=set)


def scheduled(program: Program) -> Schedule:
    """Return a schedule. Its last statements write the next state and its tangents to a block of kind "next"."""
    size, k = program.size, program.directions
    target = Block("next", 0, np.empty((1 + k, size)))
    statements = list(program.statements)
    if program.moves:
        statements.append(Elementwise(Part(target, 0, (0, 1), (1, size)), copy, (program.after,)))
    if k:
        statements.append(Elementwise(Part(target, size, (size, 0, 1), (k, 1, size)), copy, (program.pushed,)))
    schedule = Schedule(_grouped(_in_order(_with_products_together(statements))))
    for group in schedule.groups:
        written = {id(one.out.block) for one in group.statements if isinstance(one, Elementwise)}
        for statement in group.statements:
            if not isinstance(statement, Elementwise) or statement.out.block.kind == "next":
                schedule.stored.add(id(statement.out.block))
            schedule.stored |= {id(part.block) for part in sources(statement) if id(part.block) not in written}
    return schedule


def _writers(statements: Sequence[Statement]) -> dict[int, list[int]]:
    """Return the places of the statements that write each block, by its identity."""
    writers: dict[int, list[int]] = {}
    for place, statement in enumerate(statements):
        writers.setdefault(id(statement.out.block), []).append(place)
    return writers


def _with_products_together(statements: list[Statement]) -> list[Statement]:
    """Join two products by the same matrix, if neither needs the other, in one product with the rows of both.

    The matrix, which may be larger than the cache, is then read once.
    """
    writers = _writers(statements)
    behind: list[set[int]] = []  # everything that each statement needs, directly or not
    for statement in statements:
        needed: set[int] = set()
        for part in sources(statement):
            for place in writers.get(id(part.block), ()):
                needed |= behind[place] | {place}
        behind.append(needed)
    products = [place for place, statement in enumerate(statements) if isinstance(statement, Product)]
    for number, place in enumerate(products):
        for later in products[number + 1 :]:
            first, second = statements[place], statements[later]
            assert isinstance(first, Product), "of these only"
            assert isinstance(second, Product), "of these only"
            if first.right != second.right or place in behind[later] or not (_whole(first.out) and _whole(second.out)):
                continue
            homes: dict[int, tuple[Block, int]] = {}
            left = _below_each_other(first.left, second.left, homes)
            if left is None:
                continue
            columns = first.out.shape[1]
            out = Block("result", -1, np.empty((left.shape[0], columns)))
            homes[id(first.out.block)] = out, 0
            homes[id(second.out.block)] = out, first.out.shape[0] * columns
            both = Product(Part(out, 0, (columns, 1), (left.shape[0], columns)), left, first.right)
            rest = [one for one in statements if one is not first and one is not second]
            return _with_products_together(_in_order([*(_moved(one, homes) for one in rest), both]))
    return statements


def _whole(part: Part) -> bool:
    return part.block.kind == "result" and part.offset == 0 and part.block.array.size == int(np.prod(part.shape))


def _below_each_other(first: Part, second: Part, homes: dict[int, tuple[Block, int]]) -> Part | None:
    """Return one matrix with the rows of both, if one lies below the other or can be moved there."""
    inner = first.shape[1]
    rows = first.shape[0] + second.shape[0]
    if first.block is second.block:
        step = second.offset - first.offset
        if (
            first.shape[0] == 1
            and first.strides[1] == second.strides[1]
            and second.strides[0] in (0, step)
            and step > 0
        ):
            return replace(first, strides=(step, first.strides[1]), shape=(rows, inner))
        return None
    for part in (first, second):
        plain = part.strides[1] in (0, 1) and (part.shape[0] == 1 or part.strides[0] == inner)
        if not (_whole(part) and plain):
            return None
    block = Block("result", -1, np.empty((rows, inner)))
    homes[id(first.block)] = block, 0
    homes[id(second.block)] = block, first.shape[0] * inner
    return Part(block, 0, (inner, 1), (rows, inner))


def _moved(statement: Statement, homes: dict[int, tuple[Block, int]]) -> Statement:
    """Return a statement with all parts at the places that they were moved to."""

    def home(part: Part) -> Part:
        if id(part.block) not in homes:
            return part
        block, begin = homes[id(part.block)]
        return replace(part, block=block, offset=part.offset + begin)

    if isinstance(statement, Elementwise):
        operands = tuple(home(one) if isinstance(one, Part) else one for one in statement.operands)
        return replace(statement, out=home(statement.out), operands=operands)
    if isinstance(statement, Product):
        return Product(home(statement.out), home(statement.left), home(statement.right))
    return replace(statement, out=home(statement.out), operand=home(statement.operand))


def _in_order(statements: Sequence[Statement]) -> list[Statement]:
    """Sort statements behind those that write their arguments; otherwise keep their order."""
    writers = _writers(statements)
    done: set[int] = set()
    result: list[Statement] = []

    def do(place: int) -> None:
        if place in done:
            return
        done.add(place)
        for part in sources(statements[place]):
            for writer in writers.get(id(part.block), ()):
                do(writer)
        result.append(statements[place])

    for place in range(len(statements)):
        do(place)
    return result


def loop_shape(part: Part) -> tuple[int, ...]:
    """Return the extents of the loops over a part, without loops of one turn."""
    return tuple(length for length in part.shape if length != 1)


def _grouped(statements: Sequence[Statement]) -> list[Group]:
    """Put each elementwise statement into the first loop of the same extents behind the loops that it depends on."""
    groups: list[Group] = []
    written: dict[int, list[tuple[int, Part]]] = {}  # for each block, the groups that write it, and where
    for statement in statements:
        shape, chosen = loop_shape(statement.out), len(groups)
        if isinstance(statement, Elementwise):
            earliest = 0
            for part in sources(statement):
                for place, out in written.get(id(part.block), ()):
                    inside = _is_loop(groups[place], shape) and same_places(part, out)
                    earliest = max(earliest, place if inside else place + 1)
            fitting = (place for place in range(earliest, len(groups)) if _is_loop(groups[place], shape))
            chosen = next(fitting, len(groups))
        if chosen == len(groups):
            groups.append(Group([], shape))
        groups[chosen].statements.append(statement)
        written.setdefault(id(statement.out.block), []).append((chosen, statement.out))
    return groups


def _is_loop(group: Group, shape: tuple[int, ...]) -> bool:
    return isinstance(group.statements[0], Elementwise) and group.shape == shape


def moving_strides(part: Part) -> tuple[int, ...]:
    """Return the strides of a part along the loops over it."""
    return tuple(stride for stride, length in zip(part.strides, part.shape, strict=True) if length != 1)


def same_places(one: Part, other: Part) -> bool:
    """Tell whether the same turn of a loop meets the same element in both."""
    same = one.block is other.block and one.offset == other.offset and loop_shape(one) == loop_shape(other)
    return same and moving_strides(one) == moving_strides(other)

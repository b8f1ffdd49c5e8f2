"""The order in which statements are done: elementwise ones together in few loops, products that share a matrix as one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from lyapkit.tangents.tracing.machine.pointwise import COPY
from lyapkit.tangents.tracing.machine.program import Block, Elementwise, Part, Product, Program, Statement, sources


@dataclass
class Group:
    """Statements that are done in one loop, or a single product or reduction.

    Attributes:
        statements: In order.
        shape: Of the loop.
    """

    statements: list[Statement]
    shape: tuple[int, ...]


@dataclass
class Schedule:
    """What is done in a step, and where its results lie.

    Attributes:
        groups: In order.
        homes: For each result, by the identity of its block: the larger one that it is a part of, and where it begins.
        stored: Identities of the blocks that have to be in memory: those that are read outside the loop that writes
            them.
    """

    groups: list[Group]
    homes: dict[int, tuple[Block, int]] = field(default_factory=dict)
    stored: set[int] = field(default_factory=set)

    def home(self, part: Part) -> Part:
        """Return where a part really lies."""
        if id(part.block) not in self.homes:
            return part
        block, begin = self.homes[id(part.block)]
        return replace(part, block=block, offset=part.offset + begin)


def scheduled(program: Program) -> Schedule:
    """Return a schedule; the last statements write the next state and its tangents to a block of kind "next"."""
    size, k = program.size, program.directions
    target = Block("next", 0, np.empty((1 + k, size)))
    statements = [
        *program.statements,
        Elementwise(Part(target, 0, (0, 1), (1, size)), COPY, (program.after,)),
    ]
    if k:
        statements.append(Elementwise(Part(target, size, (size, 0, 1), (k, 1, size)), COPY, (program.pushed,)))
    schedule = Schedule([])
    statements = _merged(statements, schedule)
    schedule.groups = _grouped(statements)
    for group in schedule.groups:
        written = {id(one.out.block) for one in group.statements if isinstance(one, Elementwise)}
        for statement in group.statements:
            if not isinstance(statement, Elementwise) or statement.out.block.kind == "next":
                schedule.stored.add(id(statement.out.block))
            schedule.stored |= {id(part.block) for part in sources(statement) if id(part.block) not in written}
    return schedule


def _merged(statements: list[Statement], schedule: Schedule) -> list[Statement]:
    """Replace products by the same matrix, none of which needs the other, by one, whose rows are those of both."""
    writers: dict[int, list[int]] = {}
    for place, statement in enumerate(statements):
        writers.setdefault(id(statement.out.block), []).append(place)
    behind: list[set[int]] = []  # all that each statement needs, directly or not
    for statement in statements:
        needed: set[int] = set()
        for part in sources(statement):
            for place in writers.get(id(part.block), ()):
                needed |= behind[place] | {place}
        behind.append(needed)
    result: list[Statement | None] = list(statements)
    for place, first in enumerate(statements):
        if not isinstance(first, Product) or result[place] is None:
            continue
        for later in range(place + 1, len(statements)):
            second = statements[later]
            if not isinstance(second, Product) or second.right != first.right or result[later] is None:
                continue
            if place in behind[later] or not (_whole(first.out) and _whole(second.out)):
                continue
            left = _together(first.left, second.left, schedule)
            if left is None:
                continue
            rows, columns = left.shape[0], first.out.shape[1]
            out = Block("result", -1, np.empty((rows, columns)))
            schedule.homes[id(first.out.block)] = out, 0
            schedule.homes[id(second.out.block)] = out, first.out.shape[0] * columns
            result[place] = None
            result[later] = Product(Part(out, 0, (columns, 1), (rows, columns)), left, first.right)
            break
    return [statement for statement in result if statement is not None]


def _whole(part: Part) -> bool:
    return part.block.kind == "result" and part.offset == 0 and part.block.array.size == int(np.prod(part.shape))


def _together(first: Part, second: Part, schedule: Schedule) -> Part | None:
    """One matrix with the rows of both: where they lie below each other, or can be laid so."""
    inner = first.shape[1]
    rows = first.shape[0] + second.shape[0]
    if first.block is second.block and first.shape[0] == 1 and first.strides[1] == second.strides[1]:
        step = second.offset - first.offset
        if second.shape[0] == 1 or step == second.strides[0]:
            return replace(first, strides=(step, first.strides[1]), shape=(rows, inner))
    for part in (first, second):
        plain = part.strides[1] == 1 and (part.shape[0] == 1 or part.strides[0] == inner)
        if not (_whole(part) and plain) or id(part.block) in schedule.homes:
            return None
    if first.block is second.block:
        return None
    block = Block("result", -1, np.empty((rows, inner)))
    schedule.homes[id(first.block)] = block, 0
    schedule.homes[id(second.block)] = block, first.shape[0] * inner
    return Part(block, 0, (inner, 1), (rows, inner))


def loop_shape(part: Part) -> tuple[int, ...]:
    """Return the extents of the loops over a part, without those of one turn."""
    return tuple(length for length in part.shape if length != 1)


def _grouped(statements: list[Statement]) -> list[Group]:
    """Put each statement as early as what it reads allows, into a loop of the same extents where there is one."""
    groups: list[Group] = []
    home: dict[int, list[tuple[int, Part]]] = {}  # of each block: the groups that write it, and where
    for statement in statements:
        earliest = 0
        for part in sources(statement):
            for place, written in home.get(id(part.block), ()):
                same = isinstance(statement, Elementwise) and _same_places(part, written)
                loop = same and isinstance(groups[place].statements[0], Elementwise)
                earliest = max(earliest, place if loop and groups[place].shape == loop_shape(statement.out) else place + 1)
        chosen = None
        if isinstance(statement, Elementwise):
            shape = loop_shape(statement.out)
            for place in range(earliest, len(groups)):
                if isinstance(groups[place].statements[0], Elementwise) and groups[place].shape == shape:
                    chosen = place
                    break
        if chosen is None:
            chosen = len(groups)
            groups.append(Group([], loop_shape(statement.out)))
        groups[chosen].statements.append(statement)
        home.setdefault(id(statement.out.block), []).append((chosen, statement.out))
    return groups


def _same_places(one: Part, other: Part) -> bool:
    """Whether the same turn of a loop meets the same element in both."""
    if one.offset != other.offset:
        return False
    strides = [
        tuple(stride for stride, length in zip(part.strides, part.shape, strict=True) if length != 1)
        for part in (one, other)
    ]
    return strides[0] == strides[1] and loop_shape(one) == loop_shape(other)

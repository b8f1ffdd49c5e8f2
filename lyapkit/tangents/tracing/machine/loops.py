"""Write code for larger systems: loops over elements, and matrix products by BLAS.

One function carries a trajectory with its tangents over some steps. The caller does the decomposition.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lyapkit.tangents.tracing.machine.emitter import Emitter, Symbol, Value, hexadecimal
from lyapkit.tangents.tracing.machine.numbers import Numbers
from lyapkit.tangents.tracing.machine.program import Array, Block, Elementwise, Part, Product, Program, Reduction
from lyapkit.tangents.tracing.machine.schedule import Group, moving_strides, scheduled
from lyapkit.tangents.tracing.machine.writing import Writer

ADVANCE_ARGUMENTS = (
    "ptr noalias %points, ptr noalias %other, ptr noalias %inputs, i64 %input_step, i64 %input_trajectory, "
    "ptr noalias %weights, ptr noalias %numbers, ptr noalias %work, i64 %trajectories, i64 %steps, "
    "ptr noalias %given, ptr noalias %kept, i64 %state_step, i64 %state_trajectory"
)
"""Points are blocks of 1 + k rows, state and tangents, for each trajectory. ``other`` is memory for one such block,
``work`` for results. States are given for every step, or kept, or neither."""

ALIGNED = 8
"""Results start at multiples of so many numbers, which fill a line of the cache."""


@dataclass(frozen=True)
class Loops:
    """Code of some steps, and the numbers that it takes.

    Attributes:
        text: The code.
        numbers: Numbers that are parameters.
        weights: Matrices and vectors that the code reads.
        work: Size of the memory for results, in numbers.
    """

    text: str
    numbers: Numbers
    weights: list[Array]
    work: int


def write_advance(program: Program) -> Loops:
    """Return the code of `advance`: some steps of a trajectory with its tangents.

    Two blocks of 1 + k rows change places after every step.
    """
    return _Advance(program).written()


class _Advance:
    def __init__(self, program: Program) -> None:
        self._program, self._schedule = program, scheduled(program)
        self._numbers, self._writer = Numbers(), Writer()
        self._bases: dict[int, str] = {}  # of blocks, by identity
        self._weights: list[Array] = []
        self._integers: dict[str, str] = {}  # constants that BLAS takes by address
        self._scopes: dict[int, int] = {}
        self._work = 0
        self._head: list[str] = []

    def written(self) -> Loops:
        f, size, numbers = self._writer, self._program.size, (1 + self._program.directions) * self._program.size
        b = f.open("%trajectories")
        f.add(f"  %point = getelementptr double, ptr %points, i64 {f.integer(f'mul i64 {b}, {numbers}')}")
        states = {name: f.row(f"%{name}", b, "%state_trajectory") for name in ("given", "kept")}
        driven = f.row("%inputs", b, "%input_trajectory")
        t = f.open("%steps", carried={"%here": ("ptr", "%point", "%there"), "%there": ("ptr", "%other", "%here")})
        moved = f.integer(f"mul i64 {t}, %state_step")
        for name, (target, source) in {"given": ("%here", "{}"), "kept": ("{}", "%here")}.items():
            f.add(f"  br i1 %{name}.any, label %{name}.some, label %{name}.none", f"{name}.some:")
            at = f.address(states[name], moved)
            f.copy(target.format(at), source.format(at), size)
            f.add(f"  br label %{name}.none", f"{name}.none:")
        if self._program.inputs:
            f.add(f"  %driven = getelementptr double, ptr {driven}, i64 {f.integer(f'mul i64 {t}, %input_step')}")
        for group in self._schedule.groups:
            first = group.statements[0]
            if isinstance(first, Product):
                self._product(first)
            elif isinstance(first, Reduction):
                self._reduction(first)
            else:
                self._loop(group)
        f.close()
        odd = f.integer("trunc i64 %steps to i1")
        f.add(f"  br i1 {odd}, label %elsewhere, label %there.already", "elsewhere:")
        f.copy("%point", "%other", numbers)
        f.add("  br label %there.already", "there.already:")
        f.close()
        head = [f"define void @advance({ADVANCE_ARGUMENTS}) {{", "entry:"]
        head += [f"  %{name}.any = icmp ne ptr %{name}, null" for name in ("given", "kept")]
        constants = [f"{name} = private constant {value}" for value, name in self._integers.items()]
        loads = self._numbers.loads()
        text = [*constants, *head, *self._head, *loads, *f.lines, "  ret void", "}", *f.notes, *self._notes()]
        return Loops("\n".join(text), self._numbers, self._weights, max(1, self._work))

    def _notes(self) -> list[str]:
        """Return notes which say that different blocks do not overlap."""
        scopes = {name: 100_000 + name for name in self._scopes.values()}
        lines = ["!99999 = distinct !{!99999}"]
        for name, number in scopes.items():
            others = ", ".join(f"!{other}" for other in scopes.values() if other != number)
            lines.append(f"!{number} = distinct !{{!{number}, !99999}}")
            lines.append(f"!{200_000 + name} = !{{!{number}}}")
            lines.append(f"!{300_000 + name} = !{{{others}}}")
        return lines

    def _apart(self, block: Block) -> str:
        name = self._scopes.setdefault(id(block), len(self._scopes))
        return f", !alias.scope !{200_000 + name}, !noalias !{300_000 + name}"

    def _base(self, block: Block) -> str:
        """Return the address where a block begins."""
        if block.kind in ("point", "next", "input"):
            return {"point": "%here", "next": "%there", "input": "%driven"}[block.kind]
        if id(block) not in self._bases:
            place = len(self._bases)
            self._bases[id(block)] = f"%block{place}"
            if block.kind == "weight":
                number = len(self._weights)
                self._weights.append(block.array)
                self._head += [
                    f"  %weight{number} = getelementptr ptr, ptr %weights, i64 {number}",
                    f"  %block{place} = load ptr, ptr %weight{number}",
                ]
            else:
                self._head.append(f"  %block{place} = getelementptr double, ptr %work, i64 {self._work}")
                self._work += -(-block.array.size // ALIGNED) * ALIGNED
        return self._bases[id(block)]

    def _address(self, part: Part) -> str:
        """Return the address of a part's first element."""
        return self._writer.address(self._base(part.block), part.offset)

    def _loop(self, group: Group) -> None:
        f = self._writer
        number = f.notes_made()
        f.notes.append(f"!{number} = distinct !{{}}")
        turns = [
            f.open(extent, f"!{number}" if place == len(group.shape) - 1 else "")
            for place, extent in enumerate(group.shape)
        ]
        e = Emitter(f"e{number}_", self._numbers)
        group_note = f", !llvm.access.group !{number}" if group.shape else ""
        known: dict[tuple[int, int, tuple[int, ...]], Value] = {}
        for statement in group.statements:
            assert isinstance(statement, Elementwise), "only these are done in loops"
            values = [
                self._read(e, operand, turns, known, group_note) if isinstance(operand, Part) else operand
                for operand in statement.operands
            ]
            value = statement.function(e, *values, **dict(statement.options))
            if statement.out.block.boolean:
                value = e.truth(value)
            known[_place(statement.out)] = value
            if id(statement.out.block) in self._schedule.stored:
                self._store(e, statement.out, turns, value, group_note)
        f.take(e)
        for _ in turns:
            f.close()

    def _index(self, e: Emitter, part: Part, turns: list[str]) -> str:
        index = str(part.offset)
        for turn, stride in zip(turns, moving_strides(part), strict=True):
            if stride:
                distance = turn if stride == 1 else e.line(f"mul nsw i64 {turn}, {stride}").name
                index = distance if index == "0" else e.line(f"add nsw i64 {index}, {distance}").name
        return index

    def _read(
        self, e: Emitter, part: Part, turns: list[str], known: dict[tuple[int, int, tuple[int, ...]], Value], note: str
    ) -> Value:
        block = part.block
        if block.kind == "number":
            value = float(block.array[0])
            return bool(value) if block.boolean else value
        if _place(part) in known:
            return known[_place(part)]
        found = self._load(e, part, turns, note)
        return e.truth(found) if block.boolean else found

    def _load(self, e: Emitter, part: Part, turns: list[str], note: str) -> Symbol:
        index = self._index(e, part, turns)
        address = e.line(f"getelementptr double, ptr {self._base(part.block)}, i64 {index}").name
        return e.line(f"load double, ptr {address}{self._apart(part.block)}{note}")

    def _store(self, e: Emitter, part: Part, turns: list[str], value: Value, note: str) -> None:
        text = e.text(e.number(value))
        index = self._index(e, part, turns)
        address = e.line(f"getelementptr double, ptr {self._base(part.block)}, i64 {index}").name
        e.lines.append(f"  store double {text}, ptr {address}{self._apart(part.block)}{note}")

    def _reduction(self, statement: Reduction) -> None:
        f, count = self._writer, statement.operand.shape[-1]
        number = f.notes_made()
        turns = [f.open(extent) for extent in statement.out.shape]
        e = Emitter(f"e{number}_", self._numbers)
        out, operand = statement.out, statement.operand
        index = self._index(e, out, [turn for turn, n in zip(turns, out.shape, strict=True) if n != 1])
        address = e.line(f"getelementptr double, ptr {self._base(out.block)}, i64 {index}").name
        f.take(e)
        first = {"sum": 0.0, "amax": float("-inf"), "amin": float("inf")}[statement.kind]
        total = f.name("total")
        inner = f.open(count, carried={total: ("double", hexadecimal(first), f"{total}.next")})
        inside = Emitter(f"r{number}_", self._numbers)
        lengths = (*statement.out.shape, count)
        value = self._load(
            inside, operand, [turn for turn, n in zip((*turns, inner), lengths, strict=True) if n != 1], ""
        )
        f.take(inside)
        if statement.kind == "sum":
            f.add(f"  {total}.next = fadd double {total}, {value.name}")
        else:
            keeps = "oge" if statement.kind == "amax" else "ole"
            f.add(f"  {total}.keeps = fcmp {keeps} double {total}, {value.name}")
            f.add(f"  {total}.next = select i1 {total}.keeps, double {total}, double {value.name}")
        f.close()
        f.add(f"  store double {total}.next, ptr {address}{self._apart(out.block)}")
        for _ in turns:
            f.close()

    def _product(self, statement: Product) -> None:
        out, left, right = statement.out, statement.left, statement.right
        rows, columns, inner = out.shape[0], out.shape[1], left.shape[1]
        left, right = self._regular(left), self._regular(right)
        # a product stored by rows equals that of the transposed matrices stored by columns, in reverse order
        one, one_step = _fortran(right)
        two, two_step = _fortran(left)
        assert out.strides[1] in (0, 1), "results lie row by row"
        out_step = max(1, out.strides[0] or columns)
        arguments = [
            self._letter(one), self._letter(two), self._integer(columns), self._integer(rows), self._integer(inner),
            self._double(1.0), self._address(right), self._integer(one_step), self._address(left),
            self._integer(two_step), self._double(0.0), self._address(out), self._integer(out_step),
        ]  # fmt: skip
        if rows == 1:  # y = B^T x
            letter, (height, width) = one, (columns, inner) if one == "N" else (inner, columns)
            step = left.strides[1] if inner > 1 else 1
            arguments = [
                self._letter(letter), self._integer(height), self._integer(width), self._double(1.0),
                self._address(right), self._integer(one_step), self._address(left), self._integer(max(1, step)),
                self._double(0.0), self._address(out), self._integer(1),
            ]  # fmt: skip
        name = "dgemv" if rows == 1 else "dgemm"
        self._writer.add(f'  call void @"blas.{name}"({", ".join(f"ptr {argument}" for argument in arguments)})')

    def _regular(self, part: Part) -> Part:
        """Return a matrix with dense rows or columns: the part itself, or a copy."""
        height, width = part.shape
        dense = width == 1 or height == 1 or 1 in part.strides
        if dense and all(stride > 0 for stride, length in zip(part.strides, part.shape, strict=True) if length > 1):
            return part
        block = Block("result", -1, np.empty(part.shape))
        copy = Part(block, 0, (width, 1), part.shape)
        f = self._writer
        number = f.notes_made()
        e = Emitter(f"c{number}_", self._numbers)
        turns = [f.open(length) for length in part.shape if length != 1]
        self._store(e, copy, turns, self._load(e, part, turns, ""), "")
        f.take(e)
        for _ in turns:
            f.close()
        return copy

    def _letter(self, letter: str) -> str:
        return self._constant(f"i8 {ord(letter)}")

    def _integer(self, value: int) -> str:
        return self._constant(f"i32 {value}")

    def _double(self, value: float) -> str:
        return self._constant(f"double {hexadecimal(value)}")

    def _constant(self, text: str) -> str:
        return self._integers.setdefault(text, f"@constant{len(self._integers)}")


def _place(part: Part) -> tuple[int, int, tuple[int, ...]]:
    """Return a key that is equal for two parts if they name the same element at the same turn of a loop."""
    return id(part.block), part.offset, moving_strides(part)


def _fortran(part: Part) -> tuple[str, int]:
    """Describe the transposed matrix as Fortran sees it.

    Returns:
        "N" to take it as stored or "T" to transpose it, and the distance of its columns.
    """
    (height, width), (down, across) = part.shape, part.strides
    if width == 1:
        return ("N", max(1, down if height > 1 else 1)) if down != 1 or height == 1 else ("T", max(1, height))
    if across == 1:
        return "N", max(width, down if height > 1 else width)
    return "T", across

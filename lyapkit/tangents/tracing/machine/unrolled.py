"""Write code for small systems: every element of state and frame is a number of its own, in a register.

One function runs many trajectories over many windows. A window is some steps and one decomposition, by Gram-Schmidt
done twice (see `lyapkit.lyapunov.orthonormal.gram_schmidt`). The function stops a trajectory before a window in which
something is suspect, and leaves that window to the caller.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from lyapkit.tangents.tracing.machine.emitter import Emitter, Value
from lyapkit.tangents.tracing.machine.numbers import Numbers
from lyapkit.tangents.tracing.machine.program import Elementwise, Part, Product, Program, Reduction
from lyapkit.tangents.tracing.machine.writing import Writer
from lyapkit.tangents.tracing.recording import Untraceable

MOST_LINES = 1500
"""Largest number of lines. Longer code compiles too slowly, and its numbers no longer stay in registers."""

RUN_ARGUMENTS = (
    "ptr noalias %states, ptr noalias %frames, ptr noalias %inputs, i64 %input_step, i64 %input_trajectory, "
    "ptr noalias %numbers, i64 %first, i64 %last, i64 %windows, i64 %every, ptr noalias %lengths, ptr noalias %shares, "
    "ptr noalias %kept, ptr noalias %before, i64 %certified, i64 %spacing, i64 %certificates, ptr noalias %floors, "
    "ptr noalias %limits, ptr noalias %done"
)


def elements(part: Part) -> Iterable[int]:
    """Return the places of the elements of a part in its block, in order."""
    for index in itertools.product(*(range(length) for length in part.shape)):
        yield part.offset + sum(place * stride for place, stride in zip(index, part.strides, strict=True))


def evaluate(
    program: Program, e: Emitter, state: Sequence[Value], rows: Sequence[Sequence[Value]], inputs: Sequence[Value]
) -> tuple[list[Value], list[list[Value]]]:
    """Write one step, element by element.

    Args:
        program: The step.
        e: Emitter that writes the code.
        state: List of N values.
        rows: List of k tangents of N values.
        inputs: List of M values.

    Returns:
        The next state and its tangents.

    Raises:
        Untraceable: If the code becomes too long.
    """
    known: dict[tuple[int, int], Value] = {}

    def read(part: Part | Value | None, place: int | None = None) -> list[Value]:
        assert isinstance(part, Part)
        block = part.block
        places = elements(part)
        if block.kind == "point":
            flat = [*state, *(value for row in rows for value in row)]
            return [flat[at] for at in places]
        if block.kind == "input":
            return [inputs[at] for at in places]
        if block.kind in ("weight", "number"):
            values = block.array.reshape(-1)
            return [bool(values[at]) if block.boolean else float(values[at]) for at in places]
        return [known[id(block), at] for at in places]

    def write(part: Part, values: Iterable[Value]) -> None:
        known.update(((id(part.block), at), value) for at, value in zip(elements(part), values, strict=True))
        if len(e.lines) > MOST_LINES:
            raise Untraceable("too many elements to be unrolled")

    for statement in program.statements:
        if isinstance(statement, Elementwise):
            options = dict(statement.options)
            count = sum(1 for _ in elements(statement.out))
            columns = [
                read(operand) if isinstance(operand, Part) else [operand] * count for operand in statement.operands
            ]
            write(statement.out, (statement.function(e, *values, **options) for values in zip(*columns, strict=True)))
        elif isinstance(statement, Product):
            (rows_out, columns_out), inner = statement.out.shape, statement.left.shape[1]
            left, right = read(statement.left), read(statement.right)
            write(
                statement.out,
                (
                    total(e, (e.multiply(left[i * inner + m], right[m * columns_out + j]) for m in range(inner)))
                    for i in range(rows_out)
                    for j in range(columns_out)
                ),
            )
        else:
            write(statement.out, _reduced(e, statement, read(statement.operand)))
    if not program.directions:
        return read(program.after), []
    pushed, size = read(program.pushed), program.size
    return read(program.after), [pushed[j * size : (j + 1) * size] for j in range(program.directions)]


def _reduced(e: Emitter, statement: Reduction, values: list[Value]) -> Iterable[Value]:
    count = statement.operand.shape[-1]
    for begin in range(0, len(values), count):
        group = values[begin : begin + count]
        if statement.kind == "sum":
            yield total(e, group)
            continue
        found = group[0]
        for value in group[1:]:
            relation = "gt" if statement.kind == "amax" else "lt"
            found = e.choose(e.compare(relation, found, value), found, value)
        yield found


def total(e: Emitter, values: Iterable[Value]) -> Value:
    """Add values, from the first to the last."""
    result: Value = 0.0
    for value in values:
        result = e.add(result, value)
    return result


def write_run(program: Program) -> tuple[str, Numbers]:
    """Return the code of a whole run, and the numbers that it takes."""
    size, k, numbers = program.size, program.directions, Numbers()
    f, body, ending = Writer(), Emitter("s", numbers), Emitter("w", numbers)
    cells = [f"%x{i}" for i in range(size)] + [f"%q{j}_{i}" for j in range(k) for i in range(size)]

    f.add("trajectory:", "  %b = phi i64 [%first, %entry], [%b.next, %following]")
    f.add("  %b.more = icmp slt i64 %b, %last", "  br i1 %b.more, label %begin, label %exit", "begin:")
    states, frames = f.row("%states", "%b", size), f.row("%frames", "%b", size * k)
    for place, cell in enumerate(cells):
        base, index = (states, place) if place < size else (frames, place - size)
        f.add(f"  store double {f.load(base, index).name}, ptr {cell}")
    own = f.integer("sub i64 %b, %first")
    steps = f.integer("mul i64 %windows, %every")
    kept = f.row("%kept", own, steps, size)
    own_inputs = f.row("%inputs", "%b", "%input_trajectory")
    own_windows = f.integer("mul i64 %b, %windows")
    before = f.row("%before", "%b", "%certificates", size * k)
    floor = f.load("%floors", "%b")
    limits = [f.load("%limits", place) for place in range(3)]
    f.add("  %keeps = icmp ne ptr %kept, null", "  br label %window")

    f.add("window:", "  %w = phi i64 [0, %begin], [%w.next, %sound]")
    f.add("  %w.more = icmp slt i64 %w, %windows", "  br i1 %w.more, label %opening, label %ended", "opening:")
    begin = f.integer("mul i64 %w, %every")
    f.add("  br label %step")

    f.add("step:", "  %s = phi i64 [0, %opening], [%s.next, %stepping]")
    f.add("  %s.more = icmp slt i64 %s, %every", "  br i1 %s.more, label %stepped, label %closing", "stepped:")
    now = f.integer(f"add i64 {begin}, %s")
    values: list[Value] = [f.load(cell) for cell in cells]
    f.add("  br i1 %keeps, label %keeping, label %stepping", "keeping:")
    at = f.row(kept, now, size)
    for place in range(size):
        f.store(body, values[place], at, place)
    f.add("  br label %stepping", "stepping:")
    given: list[Value] = []
    if program.inputs:
        at = f.row(own_inputs, now, "%input_step")
        given = [f.load(at, place) for place in range(program.inputs)]
    rows = [values[size * (j + 1) : size * (j + 2)] for j in range(k)]
    after, pushed = evaluate(program, body, values[:size], rows, given)
    result = [body.number(value) for value in (*after, *(value for row in pushed for value in row))]
    f.take(body)
    for cell, value in zip(cells, result, strict=True):
        f.add(f"  store double {body.text(value)}, ptr {cell}")
    f.add("  %s.next = add i64 %s, 1", "  br label %step")

    f.add("closing:")
    columns: list[list[Value]] = [[f.load(cell) for cell in cells[size * (j + 1) : size * (j + 2)]] for j in range(k)]
    f.add("  %certifies = icmp ne i64 %certificates, 0", "  br i1 %certifies, label %counting, label %decomposing")
    f.add("counting:")
    beyond = f.integer("sub i64 %w, %certified")
    number, rest = f.integer(f"sdiv i64 {beyond}, %spacing"), f.integer(f"srem i64 {beyond}, %spacing")
    due, positive = f.integer(f"icmp eq i64 {rest}, 0"), f.integer(f"icmp sge i64 {beyond}, 0")
    both = f.integer(f"and i1 {due}, {positive}")
    f.add(f"  br i1 {both}, label %certifying, label %decomposing", "certifying:")
    at = f.row(before, number, size * k)
    for index, value in enumerate(value for column in columns for value in column):
        f.store(ending, value, at, index)
    f.add("  br label %decomposing", "decomposing:")
    lengths, share, sound = gram_schmidt(ending, columns, floor, limits)
    f.take(ending)
    f.add(f"  br i1 {ending.text(sound)}, label %sound, label %stopped")

    f.add("sound:")
    row = f.integer(f"add i64 {own_windows}, %w")
    at = f.row("%lengths", row, k)
    for j, value in enumerate(lengths):
        f.store(ending, value, at, j)
    f.store(ending, share, "%shares", row)
    for cell, value in zip(cells[size:], (value for column in columns for value in column), strict=True):
        f.add(f"  store double {ending.text(value)}, ptr {cell}")
    f.add("  %w.next = add i64 %w, 1", "  br label %window")

    f.add("ended:")
    for place, cell in enumerate(cells):
        base, index = (states, place) if place < size else (frames, place - size)
        f.add(f"  store double {f.load(cell).name}, ptr {f.address(base, index)}")
    f.add("  br label %following", "stopped:", "  br label %following")
    f.add("following:", "  %count = phi i64 [%windows, %ended], [%w, %stopped]")
    at = f.integer("getelementptr i64, ptr %done, i64 %b")
    f.add(f"  store i64 %count, ptr {at}", "  %b.next = add i64 %b, 1", "  br label %trajectory")
    f.add("exit:", "  ret void", "}")
    head = [f"define void @run({RUN_ARGUMENTS}) {{", "entry:", *(f"  {cell} = alloca double" for cell in cells)]
    return "\n".join([*head, *numbers.loads(), "  br label %trajectory", *f.lines]), numbers


def gram_schmidt(
    e: Emitter, columns: list[list[Value]], floor: Value, limits: Sequence[Value]
) -> tuple[list[Value], Value, Value]:
    """Write a decomposition that makes the columns orthonormal.

    Args:
        e: Emitter that writes the code.
        columns: List of k columns of N values, which are replaced by those of Q.
        floor: Lower bound of |R_ii|.
        limits: Lower bound of the share of a column that the others leave, and bounds of |R_ii|.

    Returns:
        All R_ii, the smallest share, and true if all bounds hold.
    """
    lengths: list[Value] = []
    smallest: Value = 1.0
    sound: Value = True
    for position, column in enumerate(columns):
        whole = _length(e, column)
        for _ in range(2 if position else 0):
            for direction in columns[:position]:
                overlap = total(e, (e.multiply(a, b) for a, b in zip(direction, column, strict=True)))
                column[:] = [e.subtract(a, e.multiply(overlap, b)) for a, b in zip(column, direction, strict=True)]
        length = _length(e, column) if position else whole
        column[:] = [e.divide(value, length) for value in column]
        share = e.divide(length, whole) if position else 1.0
        conditions = [e.compare("gt", length, floor), e.compare("gt", length, limits[1])]
        conditions.append(e.compare("lt", length, limits[2]))
        if position:
            conditions.append(e.compare("gt", share, limits[0]))
            smallest = e.choose(e.compare("lt", share, smallest), share, smallest)
        for condition in conditions:
            sound = e.logic("and", sound, condition)
        lengths.append(length)
    return lengths, smallest, sound


def _length(e: Emitter, column: Sequence[Value]) -> Value:
    return e.call("llvm.sqrt.f64", total(e, (e.multiply(value, value) for value in column)))

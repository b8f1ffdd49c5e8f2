"""Write a function in LLVM's language: addresses, loads, stores and loops."""

from __future__ import annotations

from lyapkit.tangents.tracing.machine.emitter import Emitter, Symbol, Value


class Writer:
    """Writer of the lines of a function.

    Attributes:
        lines: The lines so far.
        notes: Lines behind the function that loops refer to.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.notes: list[str] = []
        self._count = 0
        self._open: list[tuple[int, str, str]] = []  # number, extent and note of each loop

    def name(self, stem: str = "a") -> str:
        """Return a new name."""
        self._count += 1
        return f"%{stem}.{self._count}"

    def add(self, *lines: str) -> None:
        """Add lines."""
        self.lines += lines

    def notes_made(self) -> int:
        """Return the number of a new note."""
        self._count += 1
        return self._count

    def integer(self, expression: str) -> str:
        """Compute an integer or an address."""
        name = self.name("i")
        self.add(f"  {name} = {expression}")
        return name

    def address(self, base: str, index: str | int) -> str:
        """Return the address of a number, counted from a base."""
        return self.integer(f"getelementptr double, ptr {base}, i64 {index}")

    def row(self, base: str, *factors: str | int) -> str:
        """Return the address that lies behind as many numbers as the product of the factors."""
        index = str(factors[0])
        for factor in factors[1:]:
            index = self.integer(f"mul i64 {index}, {factor}")
        return self.address(base, index)

    def load(self, base: str, index: str | int = 0) -> Symbol:
        """Read a number."""
        address, name = self.address(base, index), self.name("value")
        self.add(f"  {name} = load double, ptr {address}")
        return Symbol(name)

    def store(self, e: Emitter, value: Value, base: str, index: str | int = 0) -> None:
        """Write a number, after the lines that compute it."""
        value = e.number(value)
        text = e.text(value)
        self.take(e)
        self.add(f"  store double {text}, ptr {self.address(base, index)}")

    def copy(self, target: str, source: str, count: int) -> None:
        """Copy numbers."""
        self.add(f"  call void @llvm.memcpy.p0.p0.i64(ptr {target}, ptr {source}, i64 {8 * count}, i1 false)")

    def take(self, e: Emitter) -> None:
        """Add the lines that an emitter has written since the last time."""
        self.lines += e.lines[e.taken :]
        e.taken = len(e.lines)

    def open(
        self, extent: str | int, accesses: str = "", carried: dict[str, tuple[str, str, str]] | None = None
    ) -> str:
        """Begin a loop of at least one turn.

        Args:
            extent: Number of turns.
            accesses: Number of the note that marks memory accesses as independent between turns.
            carried: Names that change from turn to turn: type, value before the first turn, and value after each turn.

        Returns:
            The number of the turn, from 0.
        """
        self._count += 1
        number = self._count
        index = f"%turn.{number}"
        note = ""
        if accesses:
            place = 1000 + 2 * number
            self.notes += [
                f"!{place} = distinct !{{!{place}, !{place + 1}}}",
                f'!{place + 1} = !{{!"llvm.loop.parallel_accesses", {accesses}}}',
            ]
            note = f", !llvm.loop !{place}"
        self._open.append((number, str(extent), note))
        self.add(f"  br label %before.{number}", f"before.{number}:", f"  br label %body.{number}", f"body.{number}:")
        self.add(f"  {index} = phi i64 [0, %before.{number}], [%next.{number}, %latch.{number}]")
        for name, (kind, first, later) in (carried or {}).items():
            self.add(f"  {name} = phi {kind} [{first}, %before.{number}], [{later}, %latch.{number}]")
        return index

    def close(self) -> None:
        """End the innermost loop."""
        number, extent, note = self._open.pop()
        self.add(f"  br label %latch.{number}", f"latch.{number}:")
        self.add(f"  %next.{number} = add nuw nsw i64 %turn.{number}, 1")
        self.add(f"  %more.{number} = icmp slt i64 %next.{number}, {extent}")
        self.add(f"  br i1 %more.{number}, label %body.{number}, label %behind.{number}{note}", f"behind.{number}:")

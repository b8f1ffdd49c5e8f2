"""Write arithmetic as lines of LLVM's language; fold constants, and share equal expressions."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass

LITERALS = frozenset((0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5, 3.0, 4.0, 6.0))
"""Numbers that are part of the code. All others are parameters, so that other values need no new code."""

ORDERED = {"eq": "oeq", "ne": "une", "lt": "olt", "le": "ole", "gt": "ogt", "ge": "oge"}
"""Comparisons that are false for NaN, as PyTorch's are; only `ne` is true."""


@dataclass(frozen=True)
class Symbol:
    """A value that is known when the code runs.

    Attributes:
        name: Name in the code.
        boolean: True for the result of a comparison.
    """

    name: str
    boolean: bool = False


Value = Symbol | float | bool


def hexadecimal(value: float) -> str:
    """Return a number as LLVM's language writes it, to the bit."""
    return f"0x{struct.unpack('>Q', struct.pack('>d', value))[0]:016X}"


class Emitter:
    """Writer of lines of code; every method returns the value that its line computes.

    No operation is contracted or reordered: sums and products are rounded one by one, as PyTorch rounds them.

    Args:
        prefix: Start of all names, for uniqueness within a function.
        parameter: Function that returns the value standing for a number that is not a literal.

    Attributes:
        lines: The lines so far.
        taken: Number of lines that a function has taken already.
    """

    def __init__(self, prefix: str, parameter: Callable[[float], Symbol]) -> None:
        self.lines: list[str] = []
        self.taken = 0
        self._prefix, self._parameter = prefix, parameter
        self._known: dict[str, Symbol] = {}

    def line(self, expression: str, boolean: bool = False) -> Symbol:
        """Compute an expression, or reuse it if it has been computed before."""
        if expression not in self._known:
            symbol = Symbol(f"%{self._prefix}{len(self.lines)}", boolean)
            self.lines.append(f"  {symbol.name} = {expression}")
            self._known[expression] = symbol
        return self._known[expression]

    def text(self, value: Value) -> str:
        """Return the text of a value as an argument."""
        if isinstance(value, Symbol):
            return value.name
        if isinstance(value, bool):
            return "true" if value else "false"
        if value in LITERALS or not math.isfinite(value):
            return hexadecimal(value)
        return self._parameter(value).name

    def number(self, value: Value) -> Value:
        """Return a truth value as a number, 0 or 1."""
        if isinstance(value, Symbol) and value.boolean:
            return self.line(f"uitofp i1 {value.name} to double")
        return float(value) if isinstance(value, bool) else value

    def truth(self, value: Value) -> Value:
        """Return whether a number is not zero."""
        if isinstance(value, Symbol):
            return value if value.boolean else self.line(f"fcmp une double {value.name}, {hexadecimal(0.0)}", True)
        return bool(value)

    def _two(self, operation: str, one: Value, other: Value, commutes: bool = False) -> Symbol:
        left, right = self.text(one), self.text(other)
        if commutes and right < left:
            left, right = right, left
        return self.line(f"{operation} double {left}, {right}")

    def add(self, one: Value, other: Value) -> Value:
        """Add two values."""
        one, other = self.number(one), self.number(other)
        if not isinstance(one, Symbol) and not isinstance(other, Symbol):
            return one + other
        if not isinstance(one, Symbol) and one == 0:
            return other
        if not isinstance(other, Symbol) and other == 0:
            return one
        return self._two("fadd", one, other, commutes=True)

    def subtract(self, one: Value, other: Value) -> Value:
        """Subtract the other value from the first."""
        one, other = self.number(one), self.number(other)
        if not isinstance(one, Symbol) and not isinstance(other, Symbol):
            return one - other
        if not isinstance(one, Symbol) and one == 0:
            return self.negative(other)
        if not isinstance(other, Symbol) and other == 0:
            return one
        return self._two("fsub", one, other)

    def multiply(self, one: Value, other: Value) -> Value:
        """Multiply two values; the product is zero if a factor is zero by construction."""
        one, other = self.number(one), self.number(other)
        if not isinstance(one, Symbol) and not isinstance(other, Symbol):
            return one * other
        for factor, rest in ((one, other), (other, one)):
            if not isinstance(factor, Symbol):
                if factor == 0:
                    return 0.0
                if factor == 1:
                    return rest
                if factor == -1:
                    return self.negative(rest)
        return self._two("fmul", one, other, commutes=True)

    def divide(self, one: Value, other: Value) -> Value:
        """Divide the first value by the other."""
        one, other = self.number(one), self.number(other)
        if not isinstance(other, Symbol):
            if other == 1:
                return one
            if other == 0 or not isinstance(one, Symbol):
                return self._two("fdiv", one, other)  # the machine handles infinities
        if not isinstance(one, Symbol) and one == 0:
            return 0.0
        return self._two("fdiv", one, other)

    def divided_rest(self, one: Value, other: Value) -> Value:
        """Return the remainder of a division, with the sign of the first value."""
        return self._two("frem", self.number(one), self.number(other))

    def remainder(self, one: Value, other: Value) -> Value:
        """Return the remainder of a division, with the sign of the second value."""
        other = self.number(other)
        rest = self.divided_rest(one, other)
        wrong = self.logic("xor", self.compare("lt", rest, 0.0), self.compare("lt", other, 0.0))
        wrong = self.logic("and", wrong, self.compare("ne", rest, 0.0))
        return self.choose(wrong, self.add(rest, other), rest)

    def negative(self, one: Value) -> Value:
        """Reverse the sign of a value."""
        one = self.number(one)
        return self.line(f"fneg double {one.name}") if isinstance(one, Symbol) else -one

    def multiply_add(self, one: Value, other: Value, total: Value) -> Value:
        """Multiply two values and add a total, with a single rounding."""
        if not any(isinstance(value, Symbol) for value in (one, other, total)) or 0 in (one, other):
            return self.add(self.multiply(one, other), total)
        texts = [self.text(self.number(value)) for value in (one, other, total)]
        return self.line(f"call double @llvm.fma.f64(double {texts[0]}, double {texts[1]}, double {texts[2]})")

    def compare(self, relation: str, one: Value, other: Value) -> Value:
        """Compare two numbers: eq, ne, lt, le, gt or ge."""
        return self.line(
            f"fcmp {ORDERED[relation]} double {self.text(self.number(one))}, {self.text(self.number(other))}", True
        )

    def logic(self, operation: str, one: Value, other: Value) -> Value:
        """Combine two truth values: and, or, xor."""
        return self.line(f"{operation} i1 {self.text(self.truth(one))}, {self.text(self.truth(other))}", True)

    def choose(self, condition: Value, one: Value, other: Value) -> Value:
        """Choose one value if a condition holds, else the other."""
        condition = self.truth(condition)
        if not isinstance(condition, Symbol):
            return one if condition else other
        one, other = self.number(one), self.number(other)
        if one == other:
            return one
        return self.line(f"select i1 {condition.name}, double {self.text(one)}, double {self.text(other)}")

    def call(self, function: str, *arguments: Value) -> Value:
        """Call a function of numbers."""
        given = ", ".join(f"double {self.text(self.number(argument))}" for argument in arguments)
        return self.line(f"call double @{function}({given})")

    def power(self, one: Value, exponent: Value) -> Value:
        """Raise a value to a power, by the same steps as PyTorch."""
        one, exponent = self.number(one), self.number(exponent)
        if isinstance(exponent, Symbol):
            return self.call("pow", one, exponent)
        square = self.multiply(one, one)
        simple: dict[float, Callable[[], Value]] = {
            0.0: lambda: 1.0,
            1.0: lambda: one,
            2.0: lambda: square,
            3.0: lambda: self.multiply(square, one),
            0.5: lambda: self.call("llvm.sqrt.f64", one),
            -0.5: lambda: self.divide(1.0, self.call("llvm.sqrt.f64", one)),
            -1.0: lambda: self.divide(1.0, one),
            -2.0: lambda: self.divide(1.0, square),
        }
        return simple[exponent]() if exponent in simple else self.call("pow", one, exponent)

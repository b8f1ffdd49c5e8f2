"""Numbers that compiled code takes as parameters."""

from __future__ import annotations

from lyapkit.tangents.tracing.machine.emitter import Symbol


class Numbers:
    """Numbers that code takes as parameters, in the order of their first use."""

    def __init__(self) -> None:
        self.values: list[float] = []
        self._known: dict[float, Symbol] = {}

    def __call__(self, value: float) -> Symbol:
        """Return the parameter that holds a number."""
        if value not in self._known:
            self._known[value] = Symbol(f"%number{len(self.values)}")
            self.values.append(value)
        return self._known[value]

    def loads(self) -> list[str]:
        """Return the lines that read all of them."""
        return [
            line
            for place in range(len(self.values))
            for line in (
                f"  %address.number{place} = getelementptr double, ptr %numbers, i64 {place}",
                f"  %number{place} = load double, ptr %address.number{place}",
            )
        ]

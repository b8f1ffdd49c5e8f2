"""Write operations that act on each element by itself, in PyTorch's order of arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lyapkit.tangents.tracing.machine.emitter import Emitter, Value

Pointwise = Callable[..., Value]
"""A function of an emitter and the operation's arguments."""

PLAIN_FUNCTIONS = (
    "acos", "acosh", "asin", "asinh", "atan", "atanh", "cos", "cosh", "erf", "erfc", "exp", "expm1", "log", "log10",
    "log1p", "log2", "sin", "sinh", "tan", "tanh",
)  # fmt: skip
"""Functions of the C library that carry the same name in PyTorch."""


def _add(e: Emitter, one: Value, other: Value, alpha: float = 1) -> Value:
    return e.add(one, other) if alpha == 1 else e.multiply_add(float(alpha), other, one)


def _sub(e: Emitter, one: Value, other: Value, alpha: float = 1) -> Value:
    return e.subtract(one, other) if alpha == 1 else e.multiply_add(-float(alpha), other, one)


def _rsub(e: Emitter, one: Value, other: Value, alpha: float = 1) -> Value:
    return _sub(e, other, one, alpha)


def _sigmoid(e: Emitter, x: Value) -> Value:
    return e.divide(1.0, e.add(e.call("exp", e.negative(x)), 1.0))


def _tanh_backward(e: Emitter, tangent: Value, value: Value) -> Value:
    return e.multiply(tangent, e.subtract(1.0, e.multiply(value, value)))


def _sigmoid_backward(e: Emitter, tangent: Value, value: Value) -> Value:
    return e.multiply(tangent, e.multiply(e.subtract(1.0, value), value))


def _threshold_backward(e: Emitter, tangent: Value, x: Value, threshold: float) -> Value:
    return e.choose(e.compare("le", x, float(threshold)), 0.0, tangent)


def _maximum(e: Emitter, one: Value, other: Value) -> Value:
    larger = e.choose(e.compare("gt", one, other), one, other)
    return e.choose(e.compare("ne", one, one), one, larger)  # NaN stays NaN


def _minimum(e: Emitter, one: Value, other: Value) -> Value:
    smaller = e.choose(e.compare("lt", one, other), one, other)
    return e.choose(e.compare("ne", one, one), one, smaller)


def _clamp(e: Emitter, x: Value, least: float | None = None, largest: float | None = None) -> Value:
    bounded = x if least is None else e.choose(e.compare("lt", x, float(least)), float(least), x)
    return bounded if largest is None else e.choose(e.compare("gt", bounded, float(largest)), float(largest), bounded)


def _relu(e: Emitter, x: Value) -> Value:
    return e.choose(e.compare("le", x, 0.0), 0.0, x)


def _sign(e: Emitter, x: Value) -> Value:
    return e.subtract(e.number(e.compare("gt", x, 0.0)), e.number(e.compare("lt", x, 0.0)))


def _softplus(e: Emitter, x: Value, beta: float = 1.0, threshold: float = 20.0) -> Value:
    scaled = e.multiply(x, float(beta))
    curved = e.divide(e.call("log1p", e.call("exp", scaled)), float(beta))
    return e.choose(e.compare("gt", scaled, float(threshold)), x, curved)


def _softplus_backward(e: Emitter, tangent: Value, x: Value, beta: float, threshold: float) -> Value:
    scaled = e.multiply(x, float(beta))
    z = e.call("exp", scaled)
    curved = e.divide(e.multiply(tangent, z), e.add(z, 1.0))
    return e.choose(e.compare("gt", scaled, float(threshold)), tangent, curved)


def _leaky_relu(e: Emitter, x: Value, slope: float = 0.01) -> Value:
    return e.choose(e.compare("gt", x, 0.0), x, e.multiply(x, float(slope)))


def _leaky_relu_backward(e: Emitter, tangent: Value, x: Value, slope: float, is_result: bool) -> Value:
    return e.choose(e.compare("gt", x, 0.0), tangent, e.multiply(tangent, float(slope)))


def _elu(e: Emitter, x: Value, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Value:
    below = e.multiply(e.call("expm1", e.multiply(x, float(input_scale))), float(alpha) * float(scale))
    return e.choose(e.compare("le", x, 0.0), below, e.multiply(x, float(scale)))


def _elu_backward(
    e: Emitter, tangent: Value, alpha: float, scale: float, input_scale: float, is_result: bool, x: Value
) -> Value:
    power = x if is_result else e.call("exp", e.multiply(x, float(input_scale)))
    shifted = e.add(power, float(alpha)) if is_result else e.multiply(power, float(alpha) * float(scale))
    below = e.multiply(e.multiply(tangent, float(input_scale)), shifted)
    return e.choose(e.compare("le", x, 0.0), below, e.multiply(tangent, float(scale)))


def _lerp(e: Emitter, one: Value, other: Value, weight: float) -> Value:
    if weight < 0.5:
        return e.add(one, e.multiply(float(weight), e.subtract(other, one)))
    return e.subtract(other, e.multiply(e.subtract(other, one), 1 - float(weight)))


def _addcmul(e: Emitter, total: Value, one: Value, other: Value, value: float = 1) -> Value:
    return e.add(total, e.multiply(e.multiply(float(value), one), other))


def _addcdiv(e: Emitter, total: Value, one: Value, other: Value, value: float = 1) -> Value:
    return e.add(total, e.divide(e.multiply(float(value), one), other))


def _function(name: str) -> Pointwise:
    return lambda e, x: e.call(name, x)


def _comparison(name: str) -> Pointwise:
    return lambda e, one, other: e.compare(name, one, other)


def _logic(operation: str) -> Pointwise:
    return lambda e, one, other: e.logic(operation, one, other)


POINTWISE: dict[str, Pointwise] = {
    **{name: _function(name) for name in PLAIN_FUNCTIONS},
    **{name: _comparison(name) for name in ("eq", "ne", "lt", "le", "gt", "ge")},
    **{f"logical_{name}": _logic(name) for name in ("and", "or", "xor")},
    **{f"bitwise_{name}": _logic(name) for name in ("and", "or", "xor")},
    "logical_not": lambda e, x: e.logic("xor", x, True),
    "bitwise_not": lambda e, x: e.logic("xor", x, True),
    "abs": _function("llvm.fabs.f64"),
    "add": _add,
    "addcdiv": _addcdiv,
    "addcmul": _addcmul,
    "atan2": lambda e, one, other: e.call("atan2", one, other),
    "ceil": _function("llvm.ceil.f64"),
    "clamp": _clamp,
    "clamp_max": lambda e, x, largest: _clamp(e, x, None, largest),
    "clamp_min": lambda e, x, least: _clamp(e, x, least, None),
    "div": lambda e, one, other: e.divide(one, other),
    "elu": _elu,
    "elu_backward": _elu_backward,
    "fmod": lambda e, one, other: e.divided_rest(one, other),
    "floor": _function("llvm.floor.f64"),
    "leaky_relu": _leaky_relu,
    "leaky_relu_backward": _leaky_relu_backward,
    "lerp": _lerp,
    "masked_fill": lambda e, x, mask, value: e.choose(mask, value, x),
    "maximum": _maximum,
    "minimum": _minimum,
    "mul": lambda e, one, other: e.multiply(one, other),
    "neg": lambda e, x: e.negative(x),
    "pow": lambda e, one, other: e.power(one, other),
    "reciprocal": lambda e, x: e.divide(1.0, x),
    "relu": _relu,
    "remainder": lambda e, one, other: e.remainder(one, other),
    "rsqrt": lambda e, x: e.divide(1.0, e.call("llvm.sqrt.f64", x)),
    "rsub": _rsub,
    "sgn": _sign,
    "sigmoid": _sigmoid,
    "sigmoid_backward": _sigmoid_backward,
    "sign": _sign,
    "softplus": _softplus,
    "softplus_backward": _softplus_backward,
    "sqrt": _function("llvm.sqrt.f64"),
    "square": lambda e, x: e.multiply(x, x),
    "sub": _sub,
    "tanh_backward": _tanh_backward,
    "threshold_backward": _threshold_backward,
    "trunc": _function("llvm.trunc.f64"),
    "where": lambda e, condition, one, other: e.choose(condition, one, other),
}
"""The function of each operation, by the operation's name."""


def copy(e: Emitter, x: Value) -> Value:
    """Return a value as it is."""
    return x


def linear_in(name: str, position: int) -> bool:
    """Tell whether an operation gives zero if the argument at a position is zero."""
    return (name, position) in _LINEAR


_LINEAR: frozenset[tuple[str, int]] = frozenset(
    (("mul", 0), ("mul", 1), ("div", 0), ("neg", 0), ("tanh_backward", 0), ("sigmoid_backward", 0),
     ("threshold_backward", 0), ("softplus_backward", 0), ("leaky_relu_backward", 0))
)  # fmt: skip


def names(packet: Any) -> str:
    """Return the name of an operator, without namespace and overload."""
    return str(packet).rsplit(".", 1)[-1]

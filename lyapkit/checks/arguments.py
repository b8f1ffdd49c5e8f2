"""Checks of the arguments that analyses share."""

from __future__ import annotations

import math
import operator
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Real
from typing import Any

import torch


def check_integer(name: str, value: Any, expected: str = "an integer") -> int:
    """Return an integer, Python's or NumPy's, as an int.

    Raises:
        TypeError: If it is anything else, such as a boolean.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be {expected}, got {value!r}.") from None


def refuse_contexts(dtype: torch.dtype, device: torch.device) -> None:
    """Refuse contexts in which a step has no derivatives, or coarse ones, and warn of TF32.

    Args:
        dtype: Type that the map or model computes in; `torch.autocast` leaves float64 unchanged.
        device: Device on which it computes.

    Raises:
        RuntimeError: If inference mode or autocast is on, or the default device is meta.
    """
    if torch.is_inference_mode_enabled():
        raise RuntimeError(
            "torch.inference_mode() is on, so there are no derivatives; call the analysis outside of it."
        )
    if torch.get_default_device().type == "meta":
        raise RuntimeError(
            "the default device is meta, which holds no numbers; call the analysis outside of torch.device('meta'), or "
            "after torch.set_default_device('cpu')."
        )
    if torch.is_autocast_enabled(device.type) and dtype != torch.float64:
        raise RuntimeError(
            f"torch.autocast is on, which computes parts of a step in {torch.get_autocast_dtype(device.type)}, with "
            "two or three digits; call the analysis outside of it, or under "
            f"torch.autocast({device.type!r}, enabled=False)."
        )
    if device.type == "cuda" and dtype == torch.float32 and _multiplies_coarsely():
        warnings.warn(
            "float32 matrices are multiplied in TF32 on this device, with three digits, and so are the derivatives; "
            'call torch.set_float32_matmul_precision("highest") before the analysis, or give it .double().',
            stacklevel=3,
        )


def _multiplies_coarsely() -> bool:
    """Return true if matrix products of float32 may be rounded to TF32 on CUDA."""
    try:
        return bool(torch.backends.cuda.matmul.allow_tf32)
    except RuntimeError:  # PyTorch refuses to read this where TF32 was set by torch.backends.cuda.matmul.fp32_precision
        return True


@contextmanager
def inference_tensors_explained() -> Iterator[None]:
    """Explain how to replace tensors that were made in inference mode, which cannot be differentiated through.

    Raises:
        ValueError: If PyTorch complains of such a tensor while the context is open.
    """
    try:
        yield
    except (RuntimeError, ValueError) as error:
        if "Inference tensors cannot" not in str(error):
            raise
        raise ValueError(
            "a weight, input or target was made under torch.inference_mode(), so that nothing can be differentiated "
            "through it; outside of inference mode, pass copy.deepcopy(model) and .clone() of tensors."
        ) from error


def check_precision(dtype: torch.dtype, device: torch.device) -> None:
    """Check that a map computes in single or double precision, on a device that holds numbers.

    Raises:
        ValueError: If the type is half precision, or the device is meta.
    """
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"the map computes in {dtype}, whose derivatives carry two or three digits; convert it with .float() "
            "or .double()."
        )
    if device.type == "meta":
        raise ValueError("the map is on the meta device, which holds no numbers; load it on a real device.")


def check_floating(name: str, found: torch.dtype, wanted: torch.dtype) -> None:
    """Refuse sequences and states of other than floating-point numbers.

    Raises:
        TypeError: If they are complex, integers or truth values; each has its own remedy.
    """
    if found.is_complex:
        raise TypeError(
            f"{name} must be real, got {found}; carry complex numbers as pairs: torch.view_as_real({name}).flatten(-2)."
        )
    if found.is_floating_point:
        return
    remedy = f"convert with .to({wanted})"
    if name == "inputs" and found != torch.bool:
        remedy = EMBED
    raise TypeError(f"{name} must be floating point, got {found}; {remedy}.")


EMBED = (
    "embed tokens first, such as inputs = model.embedding(tokens).detach(), or name the parts of the model, "
    "as_map(model, core=..., encoder=...); scale counts and grey levels, such as inputs / 255"
)
"""The remedy for integers as inputs."""


def check_k(k: int | None, size: int) -> int:
    """Return the number of leading exponents, N by default.

    Raises:
        TypeError: If it is not an integer.
        ValueError: If it is outside 1..N.
    """
    if k is None:
        return size
    k = check_integer("k", k, "an integer or None")
    if not 1 <= k <= size:
        raise ValueError(f"k must be between 1 and the state size {size}, got {k}.")
    return k


def check_interval(interval: int, name: str = "qr_interval") -> int:
    """Check that a number of steps is at least 1, and return it as an int.

    Raises:
        TypeError: If it is not an integer.
        ValueError: If it is below 1.
    """
    interval = check_integer(name, interval, "an integer of at least 1")
    if interval < 1:
        raise ValueError(f"{name} must be at least 1, got {interval}.")
    return interval


def check_interval_of_run(interval: int, steps: int) -> int:
    """Check that a ``qr_interval`` fits into a run, and return it.

    Raises:
        TypeError: If it is not an integer.
        ValueError: If it is below 1 or above the number of steps.
    """
    interval = check_interval(interval)
    if interval > steps:
        raise ValueError(
            f"qr_interval must be at most the number of steps, {steps}, got {interval}; choose a smaller one."
        )
    return interval


def check_flag(name: str, value: Any) -> bool:
    """Check that a switch is True or False and nothing else, so that ``"no"`` does not count as true.

    Raises:
        TypeError: If it is neither.
    """
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {value!r}.")
    return value


def check_fraction(name: str, value: Any) -> float:
    """Check that a number lies between 0 and 1, and return it as a float.

    Raises:
        TypeError: If it is not a number.
        ValueError: If it is outside [0, 1].
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r}.")
    if not 0 <= float(value) <= 1:
        raise ValueError(f"{name} must be between 0 and 1, got {value}.")
    return float(value)


def check_positive(name: str, value: Any) -> float:
    """Check that a number is positive and finite, and return it as a float.

    Raises:
        TypeError: If it is not a number.
        ValueError: If it is not positive and finite.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a positive number or None, got {value!r}.")
    number = float(value)
    if not (number > 0 and math.isfinite(number)):
        raise ValueError(f"{name} must be positive and finite, got {number}.")
    return number


def check_dt(dt: float) -> float:
    """Check the duration of a step, and return it as a float.

    Raises:
        TypeError: If it is a boolean or not a number.
        ValueError: If it is not positive and finite.
    """
    try:
        if isinstance(dt, bool):
            raise TypeError
        dt = float(dt)
    except (TypeError, ValueError):
        raise TypeError(f"dt must be a number, got {dt!r}.") from None
    if not (dt > 0 and math.isfinite(dt)):
        raise ValueError(f"dt must be positive and finite, got {dt}.")
    return dt


def time_unit(dt: float) -> str:
    """Name the unit in which rates are counted: steps, or units of time where a step has a duration."""
    return "step" if dt == 1.0 else "unit time"

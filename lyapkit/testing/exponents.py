"""Assert that measured exponents agree with the expected ones, within the errors of the run."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t as student

from lyapkit.checks.arguments import check_integer
from lyapkit.lyapunov import lyapunov_spectrum
from lyapkit.testing.tables import network_in_words, table

FALSE_ALARMS = 1e-4
"""Chance that a run with the expected exponents fails. It is rare enough for a thousand runs of a test suite."""


CONDITION = 1e6
"""Largest condition number of a frame for which rounding is allowed. The automatic interval of QR stays below it."""


def assert_exponents(
    model: object,
    inputs: Any,
    expected: ArrayLike,
    *,
    within: float = 0.0,
    false_alarms: float = FALSE_ALARMS,
    **options: Any,
) -> xr.Dataset:
    r"""Assert that the Lyapunov exponents of a model agree with the expected ones.

    The exponents are measured by `lyapkit.lyapunov_spectrum`. Each may differ from the expected one by

    .. math:: |\lambda_i - \lambda_i^{expected}| \le w + q \, e_i + r,

    Here w is ``within``, :math:`e_i` is the standard error of the run, and q is the quantile of Student's t at which
    all comparisons together give a false alarm with probability ``false_alarms``. If the run is too short to tell its
    error (``error_reliable`` = 0), the error counts as 0, so a short run passes only by ``within``. An exponent of -inf
    equals -inf only. The allowance r for rounding is a few eps times the condition number of the frame, per dimension.

    Args:
        model: Anything that `lyapkit.as_map` takes.
        inputs: Inputs as for `lyapkit.lyapunov_spectrum`; None for an autonomous map, which takes ``steps=``.
        expected: The expected exponents, in any order, in the units of the result: shape (k,) for all trajectories, or
            (B, k) for each. If k is below the number of states, they are the k leading ones. A single number is the
            leading one.
        within: Allowed difference besides statistical errors, in the same units. It covers a transient of the run, or
            terms that a theory leaves out.
        false_alarms: Chance that a right model fails.
        options: Passed on to `lyapkit.lyapunov_spectrum`, such as ``transient=`` and ``rng=``.

    Returns:
        The Dataset of the run, for further assertions, such as on the size of its errors.

    Raises:
        AssertionError: If an exponent differs. The message is a table of exponents, errors, expected values and
            differences, the largest excess first.
        TypeError: If ``k`` is given, which ``expected`` says already.
        ValueError: If ``expected`` has another shape or holds NaN, or ``within`` or ``false_alarms`` is out of range.

    Example:
        >>> import math, torch
        >>> from lyapkit import as_map
        >>> from lyapkit.testing import assert_exponents
        >>> A = torch.diag(torch.tensor([0.9, 0.5], dtype=torch.float64))
        >>> run = assert_exponents(as_map(lambda x: A @ x, state=A[0]), None, [math.log(0.9), math.log(0.5)], steps=100)
        >>> run.lyapunov_exponent.values.round(4).tolist()
        [[-0.1054, -0.6931]]
    """
    values = np.asarray(expected, dtype=np.float64)
    if values.ndim > 2 or not values.size or np.isnan(values).any():
        raise ValueError(
            f"expected must hold numbers of shape (k,) or (B, k), none of them NaN, got {np.asarray(expected)!r}."
        )
    if not 0 <= within < math.inf:
        raise ValueError(f"within must be finite and at least 0, got {within}.")
    if not 0 < false_alarms < 1:
        raise ValueError(f"false_alarms must be between 0 and 1, got {false_alarms}.")
    if "k" in options:
        raise TypeError("k= is not an argument of assert_exponents: as many exponents are compared as are expected.")
    values = -np.sort(-np.atleast_1d(values), axis=-1)
    run = lyapunov_spectrum(model, inputs, k=check_integer("k", values.shape[-1]), **options)
    found = run["lyapunov_exponent"].values
    if values.ndim == 2 and len(values) != len(found):
        raise ValueError(
            f"expected must have one row for each of {len(found)} trajectories, got {len(values)}; or give one row."
        )
    values = np.broadcast_to(values, found.shape)
    allowed = within + _margin(run, false_alarms) + _rounding(run)[:, np.newaxis]
    with np.errstate(invalid="ignore"):  # -inf - (-inf)
        difference = np.where(found == values, 0.0, found - values)
    differs = np.abs(difference) > allowed
    if differs.any():
        raise AssertionError(_refusal(model, run, values, difference, allowed, differs))
    return run


def _margin(run: xr.Dataset, false_alarms: float) -> NDArray[np.float64]:
    """Return the statistical part of the allowed difference, shape (B, k)."""
    error = run["standard_error"].values
    reliable = (run["error_reliable"].values == 1) & np.isfinite(error)
    freedom = np.maximum(run["error_degrees_of_freedom"].values, 1.0)[:, np.newaxis]
    quantile = student.isf(false_alarms / 2 / error.size, freedom)
    return np.where(reliable, np.where(reliable, error, 0.0) * quantile, 0.0)


def _rounding(run: xr.Dataset) -> NDArray[np.float64]:
    """Return how far rounding of steps and frames may move an exponent, shape (B,)."""
    frame = np.finfo(json.loads(run.attrs["config_json"])["frame_dtype"]).eps
    condition = np.minimum(run["frame_condition"].values, CONDITION)  # inf where a direction was annihilated
    rounding: NDArray[np.float64] = run.sizes["unit"] * (64 * np.finfo(run.attrs["dtype"]).eps + 8 * frame * condition)
    return rounding


def _refusal(
    model: object,
    run: xr.Dataset,
    expected: NDArray[np.float64],
    difference: NDArray[np.float64],
    allowed: NDArray[np.float64],
    differs: NDArray[np.bool_],
) -> str:
    found, error = run["lyapunov_exponent"].values, run["standard_error"].values
    reliable = run["error_reliable"].values == 1
    excess = np.where(differs, np.abs(difference) - allowed, -np.inf)
    order = sorted(np.ndindex(found.shape), key=lambda place: (-excess[place], place))
    rows = [
        (
            place[0],
            place[1] + 1,
            float(found[place]),
            f"{error[place]:.2g}" if reliable[place] else "unknown",
            float(expected[place]),
            f"{difference[place]:+.3g}",
            f"{allowed[place]:.3g}",
            "differs" if differs[place] else "",
        )
        for place in order
    ]
    header = ("trajectory", "exponent", "found", "error", "expected", "difference", "allowed", "")
    hint = ""
    if bool((differs & ~reliable & np.isfinite(found)).any()):
        hint = (
            "\nAn unknown error counts as 0: the run is too short for its correlation time. Lengthen it, settle it "
            "with transient=, or say with within= by how much the exponents may differ."
        )
    return (
        f"{int(differs.sum())} of {found.size} exponents of {network_in_words(model)} differ from those expected, in "
        f"{run['lyapunov_exponent'].attrs['units']} over {int(run['last_step'].max())} steps:\n"
        f"{table(header, rows)}{hint}"
    )

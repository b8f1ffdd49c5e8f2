"""Strategies for residuals with known eigenvalues, and for WCRNNs made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from hypothesis import strategies as st

from lyapkit.checks.named_arguments import named_arguments
from lyapkit.testing import KnownMatrix, matrices
from wcrnn_models.models import residuals
from wcrnn_models.models.residuals import Residual, ResidualSpec
from wcrnn_models.models.wcrnn import WCRNN
from wcrnn_models.names import Form, Nonlinearity

ResidualKind = Literal["scalar", "diagonal", "rotation", "orthogonal", "informed", "product", "dense"]
KINDS: tuple[ResidualKind, ...] = ("scalar", "diagonal", "rotation", "orthogonal", "informed", "product", "dense")
_SEEDS = st.integers(0, 2**31)


def scalar_residual(size: int, r: float) -> Residual:
    """Return R = r I in float64.

    Args:
        size: N.
        r: The eigenvalue.
    """
    return _built(residuals.scalar(r), size)


def diagonal_residual(values: list[float]) -> Residual:
    """Return the diagonal R in float64.

    Args:
        values: Its N eigenvalues.
    """
    return _built(residuals.diagonal(torch.tensor(values, dtype=torch.float64)), len(values))


def rotation_residual(phi: list[float], r: float) -> Residual:
    """Return the R of N/2 rotations, times r, in float64.

    Args:
        phi: The N/2 angles.
        r: The modulus of all eigenvalues.
    """
    return _built(residuals.rotation(torch.tensor(phi, dtype=torch.float64), r=r), 2 * len(phi))


def orthogonal_residual(size: int, r: float, seed: int) -> Residual:
    """Return r times a random orthogonal matrix, in float64.

    Args:
        size: N.
        r: The modulus of all eigenvalues.
        seed: Which matrix.
    """
    return _built(residuals.orthogonal(r, rng=seed), size)


def informed_residual(pairs: int, seed: int) -> Residual:
    """Return the informed R of the paper, in float64.

    Args:
        pairs: N/2.
        seed: Which angles and magnitudes.
    """
    return _built(residuals.informed(rng=seed), 2 * pairs)


def product_residual(pairs: list[tuple[float, float, float]]) -> Residual:
    """Return rotations times a diagonal, in float64.

    Args:
        pairs: The angle of each pair of units, and the two entries of the diagonal.
    """
    phi, first, second = torch.tensor(pairs, dtype=torch.float64).T
    diagonal = residuals.diagonal(torch.stack((first, second), dim=-1).flatten())
    return _built(residuals.product(residuals.rotation(phi.contiguous()), diagonal), 2 * len(pairs))


def dense_residual(known: KnownMatrix) -> Residual:
    """Return a dense R in float64.

    Args:
        known: The matrix.
    """
    return _built(residuals.dense(known.matrix), known.size)


def wcrnn(
    input_size: int, residual: Residual, coupling: float, form: Form, nonlinearity: Nonlinearity, seed: int
) -> WCRNN:
    """Return a WCRNN with one output, in float64.

    Args:
        input_size: M.
        residual: R, which says N.
        coupling: Coupling gamma.
        form: Which of the three equations.
        nonlinearity: Nonlinearity sigma.
        seed: Which weights.
    """
    return WCRNN(
        input_size,
        residual.size,
        1,
        residual=residual,
        coupling=coupling,
        form=form,
        nonlinearity=nonlinearity,
        rng=seed,
        dtype=torch.float64,
    )


@named_arguments()
def residual_maps(
    *,
    kinds: Sequence[ResidualKind] = KINDS,
    max_size: int = 6,
    moduli: tuple[float, float] = (0.3, 1.2),
    max_condition: float = 10.0,
) -> st.SearchStrategy[Residual]:
    """Return a strategy for residuals R of all kinds, in float64.

    Examples shrink to R = r I with one unit.

    Args:
        kinds: Which kinds, by the names of their factories in `wcrnn_models.residuals`. The magnitudes of
            ``"informed"`` residuals are those of the paper.
        max_size: The largest number of units, at least 2.
        moduli: The smallest and the largest |eigenvalue|; for ``"product"`` those of its diagonal.
        max_condition: The largest condition number of the eigenbasis of ``"dense"`` residuals.

    Returns:
        A strategy of `Residual`.

    Raises:
        ValueError: If a kind is unknown, or a range is empty.

    Example:
        >>> from hypothesis import given
        >>> from wcrnn_models.testing import residual_maps
        >>> @given(residual_maps(moduli=(0.5, 0.9), kinds=["scalar", "rotation"]))
        ... def test_they_are_subcritical(residual):
        ...     assert residual.log_magnitudes()[0] < 0
        >>> test_they_are_subcritical()
    """
    low, high = moduli
    if not 0 <= low <= high < float("inf"):
        raise ValueError(f"moduli must fulfil 0 <= low <= high and be finite, got {moduli}.")
    if max_size < 2:
        raise ValueError(f"max_size must be at least 2, got {max_size}.")
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        raise ValueError(f"kinds must be some of {', '.join(KINDS)}, got {list(kinds)}.")
    modulus, angle, size = st.floats(low, high), st.floats(0, 3.14159), st.integers(1, max_size)
    most = max_size // 2
    known = matrices(max_size=max_size, moduli=moduli, max_condition=max_condition)
    strategies: dict[ResidualKind, st.SearchStrategy[Residual]] = {
        "scalar": st.builds(scalar_residual, size=size, r=modulus),
        "diagonal": st.builds(diagonal_residual, values=st.lists(modulus, min_size=1, max_size=max_size)),
        "rotation": st.builds(rotation_residual, phi=st.lists(angle, min_size=1, max_size=most), r=modulus),
        "orthogonal": st.builds(orthogonal_residual, size=size, r=modulus, seed=_SEEDS),
        "informed": st.builds(informed_residual, pairs=st.integers(1, most), seed=_SEEDS),
        "product": st.builds(
            product_residual, pairs=st.lists(st.tuples(angle, modulus, modulus), min_size=1, max_size=most)
        ),
        "dense": st.builds(dense_residual, known=known),
    }
    return st.one_of([strategies[kind] for kind in kinds])


@named_arguments()
def wcrnns(
    *,
    residuals: st.SearchStrategy[Residual] | None = None,
    couplings: tuple[float, float] = (0.0, 0.3),
    forms: Sequence[Form] = ("linear",),
    nonlinearities: Sequence[Nonlinearity] = ("tanh",),
    max_input_size: int = 2,
) -> st.SearchStrategy[WCRNN]:
    """Return a strategy for untrained WCRNNs with one output, in float64.

    Examples shrink to one input and few units.

    Args:
        residuals: A strategy for R; that of `residual_maps` by default.
        couplings: The smallest and the largest gamma.
        forms: Which of the equations: ``"linear"``, ``"A"``, ``"B"``.
        nonlinearities: Which sigma: ``"tanh"``, ``"identity"``.
        max_input_size: The largest number of inputs.

    Returns:
        A strategy of `wcrnn_models.WCRNN`.

    Raises:
        ValueError: If the range of couplings is empty or negative.

    Example:
        >>> from hypothesis import given
        >>> from lyapkit import as_map
        >>> from lyapkit.testing import check_map
        >>> from wcrnn_models.testing import residual_maps, wcrnns
        >>> @given(wcrnns(residuals=residual_maps(max_size=3)))
        ... def test_their_maps_keep_all_promises(network):
        ...     check_map(as_map(network), own_step=lambda x, s: network.states(s[None], x)[0])
        >>> test_their_maps_keep_all_promises()
    """
    low, high = couplings
    if not 0 <= low <= high < float("inf"):
        raise ValueError(f"couplings must fulfil 0 <= low <= high and be finite, got {couplings}.")
    return st.builds(
        wcrnn,
        input_size=st.integers(1, max_input_size),
        residual=residual_maps() if residuals is None else residuals,
        coupling=st.floats(low, high),
        form=st.sampled_from(list(forms)),
        nonlinearity=st.sampled_from(list(nonlinearities)),
        seed=_SEEDS,
    )


def _built(spec: ResidualSpec, size: int) -> Residual:
    return spec.build(size, dtype=torch.float64)

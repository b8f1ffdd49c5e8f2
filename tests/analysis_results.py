"""Analyses of sweeps with random but known numbers, in the form that result files have."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

STEPS = (10, 20, 30)


def _dataset(analysis: str, variables: Mapping[str, tuple], coordinates: Mapping[str, Sequence], units: str = "1"):
    made = xr.Dataset(variables, coordinates, {"analysis": analysis})
    for name, variable in made.data_vars.items():
        variable.attrs = {"long_name": name.replace("_", " "), "units": units}
    return made


def variational_term(coordinates: Mapping[str, Sequence], exponents: int = 30, rng: int = 0) -> xr.Dataset:
    """Over ``coordinates``, two trajectories, three steps and falling exponents within 0.1 of zero."""
    own = {"trajectory": [0, 1], "step": list(STEPS), "exponent": list(range(1, exponents + 1))}
    sizes = tuple(map(len, (*coordinates.values(), *own.values())))
    values = -np.sort(-np.random.default_rng(rng).uniform(-0.1, 0.1, sizes), axis=-1)
    running = ((*coordinates, *own), values)
    return _dataset("variational_term", {"running_exponent": running}, {**coordinates, **own}, "nats per step")


def gradient_propagation(coordinates: Mapping[str, Sequence], rng: int = 0) -> xr.Dataset:
    """Over ``coordinates``, two norms, three trajectories and three steps."""
    generator = np.random.default_rng(rng)
    own = {"norm": ["inf", "2"], "trajectory": [0, 1, 2], "step": list(STEPS)}
    grid, outer = {**coordinates, **own}, [*coordinates]
    variables = {"gradient_norm": ((*grid,), np.exp(generator.normal(size=tuple(map(len, grid.values())))))}
    for name, dims in (
        ("growth_rate", [*outer, "norm", "trajectory"]),
        ("growth_rate_error", [*outer, "norm", "trajectory"]),
        ("leading_exponent", [*outer, "trajectory"]),
        ("leading_exponent_error", [*outer, "trajectory"]),
    ):
        variables[name] = (dims, generator.uniform(0.01, 0.1, tuple(len(grid[dim]) for dim in dims)))
    return _dataset("gradient_propagation", variables, grid)


def hessian_spectrum(coordinates: Mapping[str, Sequence], ranks: int = 5, rng: int = 0) -> xr.Dataset:
    """Over ``coordinates`` and rank: magnitudes fall from below 100, signs are mixed."""
    generator = np.random.default_rng(rng)
    sizes = (*map(len, coordinates.values()), ranks)
    magnitudes = -np.sort(-np.exp(generator.uniform(-2, np.log(100), sizes)), axis=-1)
    signs = generator.choice([-1, 1], sizes)
    dims = (*coordinates, "rank")
    variables = {"eigenvalue": (dims, signs * magnitudes), "residual": (dims, magnitudes / 1000)}
    return _dataset("hessian_spectrum", variables, {**coordinates, "rank": list(range(1, ranks + 1))})

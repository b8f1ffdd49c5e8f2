"""All reference systems in one list."""

from __future__ import annotations

from lyapkit.checks.named_arguments import named_arguments
from lyapkit.systems.flows import lorenz, lorenz96, rossler
from lyapkit.systems.gated import gru_without_recurrence, lstm_without_recurrence
from lyapkit.systems.kinds import checked_kinds
from lyapkit.systems.linear import constant_matrix, orthogonal_matrix
from lyapkit.systems.maps import henon, kaplan_yorke_map, logistic
from lyapkit.systems.networks import leaky_random_network, random_network, resting_network, small_network
from lyapkit.systems.piecewise import gauss_map, skew_baker, skew_tent
from lyapkit.systems.products import gaussian_product, periodic_product, triangular_product
from lyapkit.systems.reference import ReferenceSystem
from lyapkit.systems.torus import cat_map, coupled_ring, standard_map


@named_arguments()
@checked_kinds
def catalogue() -> list[ReferenceSystem]:
    """Return every reference system with its usual parameters: first the exact ones, then the published ones.

    Example:
        >>> from lyapkit import systems
        >>> [system.name for system in systems.catalogue()][:3]
        ['constant matrix', 'orthogonal matrix', 'periodic product (Floquet)']
    """
    return [
        constant_matrix(),
        orthogonal_matrix(),
        periodic_product(),
        cat_map(),
        coupled_ring(),
        resting_network(),
        gru_without_recurrence(),
        lstm_without_recurrence(),
        triangular_product(),
        gaussian_product(),
        logistic(),
        skew_tent(),
        skew_baker(),
        gauss_map(),
        kaplan_yorke_map(),
        henon(),
        standard_map(),
        lorenz(),
        lorenz(16, 45.92, 4),
        rossler(),
        lorenz96(6),
        lorenz96(8),
        random_network(3),
        random_network(5),
        random_network(3, input_variance=1),
        random_network(1.5, input_variance=0.25),
        leaky_random_network(),
        small_network(),
    ]

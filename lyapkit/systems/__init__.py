"""Reference maps whose Lyapunov exponents are known, each with the source of its values."""

from lyapkit.systems.catalogue import catalogue as catalogue
from lyapkit.systems.flows import lorenz as lorenz
from lyapkit.systems.flows import lorenz96 as lorenz96
from lyapkit.systems.flows import rossler as rossler
from lyapkit.systems.flows import runge_kutta_step as runge_kutta_step
from lyapkit.systems.gated import gru_without_recurrence as gru_without_recurrence
from lyapkit.systems.gated import lstm_without_recurrence as lstm_without_recurrence
from lyapkit.systems.linear import constant_matrix as constant_matrix
from lyapkit.systems.linear import orthogonal_matrix as orthogonal_matrix
from lyapkit.systems.maps import henon as henon
from lyapkit.systems.maps import kaplan_yorke_map as kaplan_yorke_map
from lyapkit.systems.maps import logistic as logistic
from lyapkit.systems.mean_field import MeanField as MeanField
from lyapkit.systems.mean_field import tanh_mean_field as tanh_mean_field
from lyapkit.systems.networks import leaky_random_network as leaky_random_network
from lyapkit.systems.networks import random_network as random_network
from lyapkit.systems.networks import resting_network as resting_network
from lyapkit.systems.networks import small_network as small_network
from lyapkit.systems.networks import tanh_network as tanh_network
from lyapkit.systems.piecewise import gauss_map as gauss_map
from lyapkit.systems.piecewise import skew_baker as skew_baker
from lyapkit.systems.piecewise import skew_tent as skew_tent
from lyapkit.systems.products import MatrixProduct as MatrixProduct
from lyapkit.systems.products import gaussian_product as gaussian_product
from lyapkit.systems.products import gaussian_product_exponents as gaussian_product_exponents
from lyapkit.systems.products import periodic_product as periodic_product
from lyapkit.systems.products import triangular_product as triangular_product
from lyapkit.systems.reference import ReferenceSystem as ReferenceSystem
from lyapkit.systems.torus import cat_map as cat_map
from lyapkit.systems.torus import coupled_ring as coupled_ring
from lyapkit.systems.torus import standard_map as standard_map

__all__ = [
    "MatrixProduct",
    "MeanField",
    "ReferenceSystem",
    "cat_map",
    "catalogue",
    "constant_matrix",
    "coupled_ring",
    "gauss_map",
    "gaussian_product",
    "gaussian_product_exponents",
    "gru_without_recurrence",
    "henon",
    "kaplan_yorke_map",
    "leaky_random_network",
    "logistic",
    "lorenz",
    "lorenz96",
    "lstm_without_recurrence",
    "orthogonal_matrix",
    "periodic_product",
    "random_network",
    "resting_network",
    "rossler",
    "runge_kutta_step",
    "skew_baker",
    "skew_tent",
    "small_network",
    "standard_map",
    "tanh_mean_field",
    "tanh_network",
    "triangular_product",
]

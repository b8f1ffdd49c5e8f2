"""Arguments of reference systems that are of another kind are refused by name."""

import inspect
import math

import pytest
import torch

from lyapkit import systems

NEEDED = {"gain": 1.5, "size": 4, "weight": torch.eye(3, dtype=torch.float64), "field": torch.sin, "dt": 0.01}
NEEDED |= {"variance": 1.0}
FUNCTIONS = [name for name in systems.__all__ if inspect.isfunction(getattr(systems, name))]
WRONG = {
    "int": ("abc", None, 2.5, math.nan, True, -1),
    "float": ("abc", None, True, math.nan, math.inf, torch.ones(2)),
    "float | None": ("abc", True, math.nan),
    "bool": ("yes", None, 1),
    "Tensor": ("abc", None, 2.0, [[1.0]]),
    "tuple[float, ...]": ("abc", None, 1.0, (), (0.5, "a"), (math.nan,)),
}
CASES = [
    (name, parameter.name, value)
    for name in FUNCTIONS
    for parameter in inspect.signature(getattr(systems, name)).parameters.values()
    for value in WRONG.get(parameter.annotation, ())
]


@pytest.mark.parametrize(("name", "argument", "value"), CASES)
def test_an_argument_of_another_kind_is_named(name: str, argument: str, value: object) -> None:
    function = getattr(systems, name)
    needed = [
        each.name for each in inspect.signature(function).parameters.values() if each.default is inspect.Parameter.empty
    ]
    with pytest.raises((TypeError, ValueError), match=rf"^{argument}.* must be .*got"):
        function(**{each: NEEDED[each] for each in needed} | {argument: value})


def test_every_system_with_arguments_is_looked_at() -> None:
    assert {name for name, _, _ in CASES} >= {"lorenz", "random_network", "tanh_network", "triangular_product"}
    kinds = {
        parameter.annotation
        for name in FUNCTIONS
        for parameter in inspect.signature(getattr(systems, name)).parameters.values()
    }
    assert kinds - set(WRONG) <= {"Callable[[Tensor], Tensor]"}


def test_variances_are_positive() -> None:
    for call in (systems.gaussian_product, lambda variance: systems.gaussian_product_exponents(3, variance)):
        with pytest.raises(ValueError, match=r"variance must be positive and finite, got -1"):
            call(variance=-1.0)
    assert systems.gaussian_product_exponents(1, 0.5) == pytest.approx([(math.log(1.0) - 1.9635100260214235) / 2])

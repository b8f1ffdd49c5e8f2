"""Which values a `TrainConfig` may have, and which go together: each contradiction is refused in one line."""

from __future__ import annotations

import math
import sys
from dataclasses import fields
from typing import TYPE_CHECKING, get_args

from wcrnn_models.errors import UserError, suggestion
from wcrnn_models.names import FloatType, Form, LossName, ModelName, Nonlinearity, ResidualName, TaskName
from wcrnn_models.values import is_finite, is_integer, is_number

if TYPE_CHECKING:
    from wcrnn_models.training.config import TrainConfig

SEQUENCE_LENGTHS = {"smnist": 784, "psmnist": 784, "scifar10": 1024}
"""Steps of the tasks whose sequences are images."""

_LARGEST = 2**31 - 1  # of sizes and counts; no memory holds more
_LARGEST_NUMBERS = {"float32": (2 - 2**-23) * 2.0**127, "float64": sys.float_info.max}
_WCRNN_ONLY = ("form", "nonlinearity", "residual", "r", "phi", "delta_r", "residual_file", "coupling")


def check(config: TrainConfig) -> None:
    """Check everything; change nothing.

    Raises:
        UserError: If a value is of the wrong type, out of range or unknown, or does not go with the others.
    """
    for name, known in (
        ("task", get_args(TaskName)),
        ("model", get_args(ModelName)),
        ("form", get_args(Form)),
        ("nonlinearity", get_args(Nonlinearity)),
        ("residual", get_args(ResidualName)),
        ("dtype", get_args(FloatType)),
    ):
        _check_name(name, getattr(config, name), known)
    for name in ("hidden_size", "batch_size", "epochs"):
        _check_integer(name, getattr(config, name), 1)
    _check_integer("seed", config.seed, 0, maximum=None)
    optional = ("iterations_per_epoch", "train_size", "test_size", "validation_size", "evaluate_every")
    for name in (*optional, "layers", "modes", "input_size", "output_size"):
        if getattr(config, name) is not None:
            _check_integer(name, getattr(config, name), 1)
    for name in ("data", "residual_file"):
        if getattr(config, name) is not None and not isinstance(getattr(config, name), str):
            raise UserError(f"{name} must be the name of a file, got {getattr(config, name)!r}")
    _check_number("r", config.r)
    if isinstance(config.coupling, str):
        _check_name("coupling", config.coupling, ("informed",))
    else:
        _check_number("coupling", config.coupling, at_least=0.0)
    _check_number("learning_rate", config.learning_rate, above=0.0)
    _check_number("momentum", config.momentum, at_least=0.0, below=1.0)
    if config.gradient_clip is not None:
        _check_number("gradient_clip", config.gradient_clip, above=0.0)
    _check_task(config)
    _check_model(config)
    if config.model == "wcrnn":
        _check_residual(config)
    _check_size(config)


def _check_task(config: TrainConfig) -> None:
    if config.loss is not None:
        _check_name("loss", config.loss, get_args(LossName))
        if config.task not in ("adding", "arrays"):
            raise UserError(f"loss does not go with {config.task}, whose classes have cross-entropy; leave it out")
    if config.validation_size is not None and config.test_size is not None:
        raise UserError("validation_size replaces the test set, so test_size does not go with it; leave one out")
    for name in ("data", "input_size", "output_size"):
        if config.task == "arrays" and getattr(config, name) is None:
            raise UserError(f"the task arrays needs {name}; give --{name.replace('_', '-')}")
        if config.task != "arrays" and getattr(config, name) is not None:
            raise UserError(f"{name} does not go with the task {config.task}; leave it out, or use the task arrays")
    if config.task == "adding":
        if config.length is not None:
            _check_integer("length", config.length, 2)
        if config.train_size is not None:
            raise UserError(
                "train_size does not go with the adding problem, whose batches are generated afresh; "
                "leave it out and set iterations_per_epoch"
            )
        return
    if config.length is not None:
        steps = f"{SEQUENCE_LENGTHS[config.task]} steps" if config.task in SEQUENCE_LENGTHS else "the steps of its data"
        raise UserError(f"length does not go with {config.task}, whose sequences have {steps}; leave it out")
    if config.iterations_per_epoch is not None:
        raise UserError(
            f"iterations_per_epoch does not go with {config.task}, where an epoch is one pass through the "
            "data; leave it out, or set train_size"
        )


def _check_model(config: TrainConfig) -> None:
    if config.model != "wcrnn":
        for name in _WCRNN_ONLY:
            if getattr(config, name) != _defaults(config)[name]:
                raise UserError(f"{name} does not go with model {config.model!r}; leave it out, or use 'wcrnn'")
    if config.model != "s4d":
        for name in ("layers", "modes"):
            if getattr(config, name) is not None:
                raise UserError(f"{name} does not go with model {config.model!r}; leave it out, or use 's4d'")
    if config.model == "ur-lstm" and config.hidden_size < 2:
        raise UserError(f"a UR-LSTM needs a hidden_size of at least 2, got {config.hidden_size}")


def _check_residual(config: TrainConfig) -> None:
    if config.residual == "rotation":
        if config.phi is None:
            raise UserError("a rotation needs phi; give an angle in radians per step such as 0.2244, or 'random'")
        if isinstance(config.phi, str):
            _check_name("phi", config.phi, ("random",))
        else:
            _check_number("phi", config.phi)
    elif config.phi is not None:
        raise UserError(f"phi does not go with residual '{config.residual}'; leave it out, or use 'rotation'")
    if config.residual in ("rotation", "informed") and config.hidden_size % 2:
        raise UserError(
            f"a rotation acts on pairs of units and needs an even hidden_size, got {config.hidden_size}; "
            f"use {config.hidden_size + 1}"
        )
    if config.delta_r is not None:
        if config.residual not in ("heterogeneous", "rotation", "orthogonal"):
            raise UserError(
                f"delta_r does not go with residual '{config.residual}'; leave it out, or use 'heterogeneous'"
            )
        _check_number("delta_r", config.delta_r, at_least=0.0)
    elif config.residual == "heterogeneous":
        raise UserError("a heterogeneous residual needs delta_r, the width of its interval, such as 0.04")
    if config.residual == "dense" and config.residual_file is None:
        raise UserError("a dense residual needs residual_file, a NumPy file (.npy) with the matrix")
    if config.residual != "dense" and config.residual_file is not None:
        raise UserError(f"residual_file does not go with residual '{config.residual}'; leave it out, or use 'dense'")
    if config.residual in ("informed", "dense") and config.r != _defaults(config)["r"]:
        raise UserError(f"r does not go with residual '{config.residual}', which has its own magnitudes; leave it out")


def _check_size(config: TrainConfig) -> None:
    """Refuse numbers that the type of the network cannot hold."""
    largest = _LARGEST_NUMBERS[config.dtype]
    numbers = {name: getattr(config, name) for name in ("r", "coupling", "learning_rate")}
    if config.delta_r is not None:
        numbers["delta_r"] = config.delta_r
        numbers["|r| + delta_r / 2"] = abs(config.r) + config.delta_r / 2
    for name, value in numbers.items():
        if is_number(value) and abs(value) > largest:
            raise UserError(f"{name} must not exceed {largest:.9g}, the largest number of {config.dtype}, got {value}")


def _defaults(config: TrainConfig) -> dict[str, object]:
    return {field.name: field.default for field in fields(config)}


def _check_name(name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UserError(f"{name} must be one of {', '.join(known)}, got {value!r}." + suggestion(str(value), known))


def _check_integer(name: str, value: object, minimum: int, maximum: int | None = _LARGEST) -> None:
    if not is_integer(value):
        raise UserError(f"{name} must be an integer, got {value!r}")
    if value < minimum:
        raise UserError(f"{name} must be at least {minimum}, got {value}")
    if maximum is not None and value > maximum:
        raise UserError(f"{name} must be at most {maximum}, got {value}")


def _check_number(
    name: str,
    value: object,
    *,
    at_least: float = -math.inf,
    above: float = -math.inf,
    below: float = math.inf,
) -> None:
    if not is_number(value):
        raise UserError(f"{name} must be a number, got {value!r}")
    if not is_finite(value):
        found = str(value) if isinstance(value, float) else f"an integer of {value.bit_length()} bits"
        raise UserError(f"{name} must be finite, got {found}")
    if value < at_least:
        raise UserError(f"{name} must be at least {at_least:g}, got {value}")
    if value <= above:
        raise UserError(f"{name} must be greater than {above:g}, got {value}")
    if value >= below:
        raise UserError(f"{name} must be less than {below:g}, got {value}")

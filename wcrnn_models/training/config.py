"""The configuration of a training run: flat, immutable, readable as JSON and as command-line options."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Literal, get_args

from wcrnn_models.errors import UserError, suggestion
from wcrnn_models.files import sha256
from wcrnn_models.values import is_finite, is_integer, is_number

TaskName = Literal["adding", "smnist", "psmnist"]
ResidualName = Literal["scalar", "rotation", "heterogeneous"]
FloatType = Literal["float32", "float64"]

_LARGEST = 2**31 - 1  # of sizes and counts; no memory holds more


@dataclass(frozen=True)
class TrainConfig:
    """What is trained, on what, and how. Contradictions are refused when it is made.

    Raises:
        UserError: If a value is of the wrong type, out of range or unknown, or does not go with the others.
    """

    task: TaskName = "adding"
    """Adding problem, sequential MNIST, or permuted sequential MNIST (section 4 of the paper)."""

    length: int | None = None
    """Sequence length of the adding problem, at least 2; 100 if not given (ADD100). MNIST has 784 pixels."""

    hidden_size: int = 100
    """Units of the network. The paper presents results for 100."""

    residual: ResidualName = "scalar"
    """Residual matrix: r times the identity; 2 x 2 rotations (eq. 16); a random diagonal (eq. 17)."""

    r: float = 0.995
    """Residual strength: the magnitude of the eigenvalues of R, or the centre r_0 of a heterogeneous
    residual. 0.995 is the weakly subcritical network of Fig. 2; the paper's rotations have 1."""

    phi: float | Literal["random"] | None = None
    """Rotation only: angle in radians per step, or "random" for angles from U(0, 2 pi). The characteristic
    frequency of sMNIST is 2 pi / 28 = 0.2244 (section 4.2)."""

    delta_r: float | None = None
    """Heterogeneous only: width of the interval around r that the entries are drawn from (section 4.3)."""

    coupling: float = 0.01
    """Weak coupling gamma. 0.01 as in section 4.1; [0.001, 0.1] works well (section 3)."""

    learning_rate: float = 0.01
    """Step size of SGD. Chosen by trial; the paper names only 0.1 (unstable) and 0.01 (stable) for ADD100, in
    Fig. B.2."""

    momentum: float = 0.9
    """Momentum of SGD (section 4)."""

    batch_size: int = 128
    """Samples in a training batch (section 4)."""

    epochs: int = 150
    """Passes through the training data. The paper trains 150 on the adding problem and 200 on MNIST."""

    iterations_per_epoch: int | None = None
    """Adding problem only: batches that make an epoch, 1000 if not given (our choice; the paper does not
    say). For MNIST an epoch is one pass through the training images."""

    train_size: int | None = None
    """MNIST only: use the first so many training images; all 60,000 if not given."""

    test_size: int | None = None
    """Test samples: 2000 for the adding problem (our choice) and all 10,000 for MNIST if not given."""

    evaluate_every: int | None = None
    """Iterations between two evaluations on the test set, at which the run can be resumed; once an epoch if
    not given."""

    seed: int = 0
    """Determines the initial weights, a random residual, and the data."""

    dtype: FloatType = "float32"
    """Floating-point type of weights and states."""

    gradient_clip: float | None = None
    """Clip the norm of the gradient to this value; no clipping if not given."""

    def __post_init__(self) -> None:
        """Check everything; change nothing."""
        for name, known in (
            ("task", get_args(TaskName)),
            ("residual", get_args(ResidualName)),
            ("dtype", get_args(FloatType)),
        ):
            _check_name(name, getattr(self, name), known)
        for name in ("hidden_size", "batch_size", "epochs"):
            _check_integer(name, getattr(self, name), 1)
        _check_integer("seed", self.seed, 0, maximum=None)
        for name in ("iterations_per_epoch", "train_size", "test_size", "evaluate_every"):
            if getattr(self, name) is not None:
                _check_integer(name, getattr(self, name), 1)
        _check_number("r", self.r)
        _check_number("coupling", self.coupling, at_least=0.0)
        _check_number("learning_rate", self.learning_rate, above=0.0)
        _check_number("momentum", self.momentum, at_least=0.0, below=1.0)
        if self.gradient_clip is not None:
            _check_number("gradient_clip", self.gradient_clip, above=0.0)
        self._check_task()
        self._check_residual()

    def _check_task(self) -> None:
        if self.task == "adding":
            if self.length is not None:
                _check_integer("length", self.length, 2)
            if self.train_size is not None:
                raise UserError(
                    "train_size does not go with the adding problem, whose batches are generated afresh; "
                    "leave it out and set iterations_per_epoch"
                )
            return
        if self.length is not None:
            raise UserError(f"length does not go with {self.task}, whose sequences have 784 steps; leave it out")
        if self.iterations_per_epoch is not None:
            raise UserError(
                f"iterations_per_epoch does not go with {self.task}, where an epoch is one pass through the "
                "data; leave it out, or set train_size"
            )

    def _check_residual(self) -> None:
        if self.residual == "rotation":
            if self.phi is None:
                raise UserError("a rotation needs phi; give an angle in radians per step such as 0.2244, or 'random'")
            if isinstance(self.phi, str):
                _check_name("phi", self.phi, ("random",))
            else:
                _check_number("phi", self.phi)
            if self.hidden_size % 2:
                raise UserError(
                    "a rotation acts on pairs of units and needs an even hidden_size, got "
                    f"{self.hidden_size}; use {self.hidden_size + 1}"
                )
        elif self.phi is not None:
            raise UserError(f"phi does not go with residual '{self.residual}'; leave it out, or use 'rotation'")
        if self.residual == "heterogeneous":
            if self.delta_r is None:
                raise UserError("a heterogeneous residual needs delta_r, the width of its interval, such as 0.04")
            _check_number("delta_r", self.delta_r, at_least=0.0)
        elif self.delta_r is not None:
            raise UserError(
                f"delta_r does not go with residual '{self.residual}'; leave it out, or use 'heterogeneous'"
            )

    def to_json(self) -> str:
        """All fields as an indented JSON object."""
        return json.dumps(asdict(self), indent=2, allow_nan=False)

    def fingerprint(self) -> str:
        """SHA-256 of the configuration as JSON; equal configurations have equal ones, also if 1 stands for 1.0."""
        values = {
            name: int(value) if isinstance(value, float) and value.is_integer() else value
            for name, value in asdict(self).items()
        }
        return sha256(json.dumps(values, allow_nan=False).encode())

    @classmethod
    def from_json(cls, text: str | bytes) -> TrainConfig:
        """The configuration that `to_json` wrote.

        Raises:
            UserError: If it is not a JSON object with exactly the fields of this class, or a value is
            refused.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:  # the latter from brackets nested too deeply
            raise UserError(f"the configuration is not valid JSON: {error}") from error
        return cls.from_dict(values)

    @classmethod
    def from_dict(cls, values: object) -> TrainConfig:
        """The configuration with exactly these fields, as `dataclasses.asdict` gives them.

        Raises:
            UserError: If a field is missing or unknown, or a value is refused.
        """
        if not isinstance(values, Mapping):
            raise UserError(f"the configuration must be a JSON object, got {type(values).__name__}")
        names = [field.name for field in fields(cls)]
        if unknown := [str(key) for key in values if key not in names]:
            raise UserError(f"the configuration has no field {unknown[0]!r}.{suggestion(unknown[0], names)}")
        if missing := [name for name in names if name not in values]:
            raise UserError(f"the configuration lacks the field(s) {', '.join(missing)}; add them")
        return cls(**values)


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

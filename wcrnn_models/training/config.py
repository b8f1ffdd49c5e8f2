"""The configuration of a training run: flat, immutable, readable as JSON and as command-line options."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Literal

from wcrnn_models.errors import UserError, suggestion
from wcrnn_models.files import sha256
from wcrnn_models.names import FloatType, Form, LossName, ModelName, Nonlinearity, ResidualName, TaskName
from wcrnn_models.training.config_rules import check
from wcrnn_models.training.schedule import check_schedule, tuples_for_lists

LATER_FIELDS = (
    *("model", "form", "nonlinearity", "residual_file", "layers", "modes"),
    *("data", "input_size", "output_size"),
    *("save_at", "probe_every", "divergence_loss"),
    *("loss", "validation_size"),
)
"""Fields that the first version did not have: a file may lack them, and a fingerprint leaves out their defaults."""


@dataclass(frozen=True)
class TrainConfig:
    """What is trained, on what, and how. Contradictions are refused when it is made.

    Raises:
        UserError: If a value is of the wrong type, out of range or unknown, or does not go with the others.
    """

    task: TaskName = "adding"
    """Adding problem; sequential MNIST, or permuted; grey sequential CIFAR-10 (section 4 of the paper); or arrays of
    your own, see data."""

    length: int | None = None
    """Sequence length of the adding problem, at least 2; 100 if not given (ADD100). MNIST has 784 pixels, CIFAR-10
    has 1024."""

    loss: LossName | None = None
    """Adding problem, and arrays of numbers: train on and report the mean square error (mse), or its root (rms, the
    default). With rms the gradient does not shrink with the error, so that SGD at a constant rate stalls at an error
    proportional to the rate. Classes have cross-entropy."""

    model: ModelName = "wcrnn"
    """Weakly coupled residual network, or a baseline of Table 2: Elman network with identity residual (which the
    paper trains with gradient_clip), LSTM, UR-LSTM, or S4D."""

    hidden_size: int = 100
    """Units of the network. The paper presents results for 100, and for LSTMs of 47, which are about as large. For
    S4D the features of a layer; 34 are about as large."""

    form: Form = "linear"
    """WCRNN only: linear residual (eq. 11), type A (eq. 18) or type B (eq. 19), which is Elman_wc of Table 2."""

    nonlinearity: Nonlinearity = "tanh"
    """WCRNN only: identity is the network "no tanh" of Table 2."""

    residual: ResidualName = "scalar"
    """WCRNN only: residual matrix. r times the identity; 2 x 2 rotations (eq. 16); a random diagonal (eq. 17); a
    random orthogonal matrix; rotations times a diagonal drawn as in section 4.3 (informed; the paper's network also has
    --coupling informed); or any matrix from residual_file (dense)."""

    r: float = 0.995
    """Residual strength: the magnitude of the eigenvalues of R, or the centre r_0 of a heterogeneous
    residual. 0.995 is the weakly subcritical network of Fig. 2; the paper's rotations have 1."""

    phi: float | Literal["random"] | None = None
    """Rotation only: angle in radians per step, or "random" for angles from U(0, 2 pi). The characteristic
    frequency of sMNIST is 2 pi / 28 = 0.2244 (section 4.2)."""

    delta_r: float | None = None
    """Width of the interval around r that the entries of a heterogeneous residual are drawn from (section 4.3). Given
    with a rotation or an orthogonal residual, that matrix is multiplied by such a diagonal."""

    residual_file: str | None = None
    """Dense only: NumPy file (.npy) with R, of hidden_size rows and columns. Checkpoints hold their own copy."""

    coupling: float | Literal["informed"] = 0.01
    """Weak coupling gamma. 0.01 as in section 4.1; [0.001, 0.1] works well (section 3). "informed" draws one for each
    unit from U(0.005, 0.05) (section 4.3)."""

    layers: int | None = None
    """S4D only: number of layers, 2 if not given."""

    modes: int | None = None
    """S4D only: complex modes per feature, 16 if not given."""

    data: str | None = None
    """Task arrays only: NumPy archive (.npz) with train_inputs and test_inputs, shape (count, steps, input_size),
    and train_targets and test_targets: integer labels of shape (count,), or numbers of shape (count, output_size)."""

    input_size: int | None = None
    """Task arrays only: components of an input."""

    output_size: int | None = None
    """Task arrays only: number of classes, or components of a target."""

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
    say). Otherwise an epoch is one pass through the training data."""

    train_size: int | None = None
    """Use a random choice of so many training samples, the same for every seed; all if not given. Not for the adding
    problem, which has no end."""

    test_size: int | None = None
    """Use a random choice of so many test samples, the same for every seed (for the adding problem, of its own for
    each). If not given, 2000 for the adding problem (our choice) and otherwise all."""

    validation_size: int | None = None
    """Judge by so many samples held out from training, instead of by the test set: to choose a learning rate, say,
    without a look at the test set. Where not given, no sample is held out."""

    evaluate_every: int | None = None
    """Iterations between two evaluations on the test set, at which the run can be resumed; once an epoch if
    not given."""

    seed: int = 0
    """Determines the initial weights, a random residual, and the data."""

    dtype: FloatType = "float32"
    """Floating-point type of weights and states."""

    gradient_clip: float | None = None
    """Clip the norm of the gradient to this value; no clipping if not given."""

    save_at: tuple[int, ...] = ()
    """Iterations whose weights are kept as further checkpoints, to follow how a network changes."""

    probe_every: int | None = None
    """Iterations between two further measurements of the test metric, until minimal performance is reached; only
    at evaluations if not given. They leave no checkpoint. The paper reports 200 iterations for sMNIST (Table 1), which
    is less than an epoch."""

    divergence_loss: float | None = None
    """Training loss of a batch above which the run counts as diverged and ends; if not given, only numbers that
    are not finite end it."""

    def __post_init__(self) -> None:
        """Check everything; change nothing."""
        check(self)
        check_schedule(self)

    def to_json(self) -> str:
        """All fields as an indented JSON object."""
        return json.dumps(asdict(self), indent=2, allow_nan=False)

    def fingerprint(self) -> str:
        """SHA-256 of the configuration as JSON; equal configurations have equal ones, also if 1 stands for 1.0.

        Fields that were added later count only where they differ from their default, so that runs of an earlier version
        keep theirs.
        """
        values = {
            name: int(value) if isinstance(value, float) and value.is_integer() else value
            for name, value in asdict(self).items()
            if name not in LATER_FIELDS or value != self.__dataclass_fields__[name].default
        }
        return sha256(json.dumps(values, allow_nan=False).encode())

    @classmethod
    def from_json(cls, text: str | bytes) -> TrainConfig:
        """The configuration that `to_json` wrote.

        Raises:
            UserError: If it is not a JSON object with exactly the fields of this class, or a value is refused.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:  # the latter from brackets nested too deeply
            raise UserError(f"the configuration is not valid JSON: {error}") from error
        return cls.from_dict(values)

    @classmethod
    def from_dict(cls, values: object) -> TrainConfig:
        """The configuration with exactly these fields, as `dataclasses.asdict` gives them.

        Fields that an earlier version did not have may be missing; they then have their default.

        Raises:
            UserError: If a field is missing or unknown, or a value is refused.
        """
        if not isinstance(values, Mapping):
            raise UserError(f"the configuration must be a JSON object, got {type(values).__name__}")
        names = [field.name for field in fields(cls)]
        if unknown := [str(key) for key in values if key not in names]:
            raise UserError(f"the configuration has no field {unknown[0]!r}.{suggestion(unknown[0], names)}")
        if missing := [name for name in names if name not in values and name not in LATER_FIELDS]:
            raise UserError(f"the configuration lacks the field(s) {', '.join(missing)}; add them")
        return cls(**tuples_for_lists(values))

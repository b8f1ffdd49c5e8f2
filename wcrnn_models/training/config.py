"""Describe a training run by a configuration: flat, immutable, readable as JSON and as command-line options."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from wcrnn_models.errors import UserError, clause, suggestion
from wcrnn_models.files import read_regular, sha256
from wcrnn_models.names import FloatType, Form, LossName, LossOn, ModelName, Nonlinearity, ResidualName, TaskName
from wcrnn_models.run_files import CONFIG_FILE
from wcrnn_models.training.fields import Choice, Rule, check_fields, described_fields
from wcrnn_models.values import is_number

SHORT_NAMES = {"lr": "learning_rate"}
"""Other names of fields in sweeps; on the command line, the aliases of their options."""

_WCRNN = Choice("model", ("wcrnn",))
_S4D = Choice("model", ("s4d",))
_ARRAYS = Choice("task", ("arrays",))
_LONGEST_FILE = 2**20
"""Bytes of a file that may be a configuration; no source, a thousand times as many as one has."""
_LARGEST = {"float32": (2 - 2**-23) * 2.0**127, "float64": sys.float_info.max}


@dataclass(frozen=True)
class TrainConfig:
    """Configuration of a training. Its constructor refuses contradictions.

    Raises:
        UserError: If a value is of the wrong type, out of range or unknown, or does not go with the others.
    """

    task: TaskName = "adding"
    """Task to train on: the adding problem, sequential MNIST, permuted sequential MNIST, grey sequential CIFAR-10
    (section 4 of the paper), or arrays of your own (see data)."""

    length: Annotated[
        int | None,
        Rule(
            at_least=1, goes_with=(Choice("task", ("adding", "arrays"), "whose sequences have lengths of their own"),)
        ),
    ] = None
    """Steps of a sequence. Adding problem: at least 2, and 100 if not given (ADD100). Task arrays: the steps of the
    data if not given. MNIST always has 784 pixels, and CIFAR-10 has 1024."""

    loss: Annotated[
        LossName | None,
        Rule(
            goes_with=(Choice("task", ("adding", "arrays"), "whose classes have cross-entropy"),),
            counts_at_default=False,
        ),
    ] = None
    """Loss to train on and to report, for the adding problem and for arrays of numbers: the mean square error (mse), or
    its root (rms, the default). With rms the gradient does not shrink with the error, so SGD at a constant rate stalls
    at an error proportional to the rate. Classes always have cross-entropy."""

    model: Annotated[ModelName, Rule(counts_at_default=False)] = "wcrnn"
    """Network to train: the weakly coupled residual network, or a baseline of Table 2. These are an Elman network with
    identity residual (which the paper trains with gradient_clip), an LSTM, a UR-LSTM, and S4D."""

    hidden_size: Annotated[int, Rule(at_least=1)] = 100
    """Units of the network. The paper presents results for 100 units, and for LSTMs of 47, which have about as many
    parameters. For S4D, the features of a layer; 34 features have about as many parameters."""

    form: Annotated[Form, Rule(goes_with=(_WCRNN,), counts_at_default=False)] = "linear"
    """WCRNN only: equation of a step. Linear residual (eq. 11), type A (eq. 18), or type B (eq. 19), which is Elman_wc
    of Table 2."""

    nonlinearity: Annotated[Nonlinearity, Rule(goes_with=(_WCRNN,), counts_at_default=False)] = "tanh"
    """WCRNN only: nonlinearity of a step. With identity, it is the network "no tanh" of Table 2."""

    residual: Annotated[ResidualName, Rule(goes_with=(_WCRNN,), per_network=True)] = "scalar"
    """WCRNN only: residual matrix R. It is r times the identity (scalar), 2 x 2 rotations (eq. 16), a random diagonal
    (heterogeneous, eq. 17), a random orthogonal matrix, or the matrix in residual_file (dense). With informed, it is
    rotations times a diagonal, drawn as in section 4.3; the network of the paper also has --coupling informed."""

    r: Annotated[
        float,
        Rule(
            goes_with=(
                _WCRNN,
                Choice(
                    "residual", ("scalar", "rotation", "heterogeneous", "orthogonal"), "which has its own magnitudes"
                ),
            ),
            in_dtype=True,
            per_network=True,
        ),
    ] = 0.995
    """Residual strength: the magnitude of the eigenvalues of R, or the centre r_0 of a heterogeneous
    residual. The weakly subcritical network of Fig. 2 has 0.995, and the paper's rotations have 1."""

    phi: Annotated[
        float | Literal["random"] | None,
        Rule(
            goes_with=(_WCRNN, Choice("residual", ("rotation",))),
            needed_by=("residual", "rotation"),
            such_as="an angle in radians per step such as 0.2244, or 'random'",
            per_network=True,
        ),
    ] = None
    """Rotation only: angle in radians per step, or "random" for angles drawn from U(0, 2 pi). The characteristic
    frequency of sMNIST is 2 pi / 28 = 0.2244 (section 4.2)."""

    delta_r: Annotated[
        float | None,
        Rule(
            at_least=0,
            goes_with=(_WCRNN, Choice("residual", ("heterogeneous", "rotation", "orthogonal"))),
            needed_by=("residual", "heterogeneous"),
            such_as="the width of its interval, such as 0.04",
            in_dtype=True,
            per_network=True,
        ),
    ] = None
    """Width of the interval around r from which the entries of a heterogeneous residual are drawn (section 4.3). A
    rotation or an orthogonal residual is multiplied by such a diagonal matrix if this is given."""

    residual_file: Annotated[
        str | None,
        Rule(
            goes_with=(_WCRNN, Choice("residual", ("dense",))),
            needed_by=("residual", "dense"),
            such_as="a NumPy file (.npy) with the matrix",
            per_network=True,
            counts_at_default=False,
        ),
    ] = None
    """Dense only: NumPy file (.npy) with R, of hidden_size rows and columns. Checkpoints contain a copy of it."""

    coupling: Annotated[
        float | Literal["informed"], Rule(at_least=0, goes_with=(_WCRNN,), in_dtype=True, per_network=True)
    ] = 0.01
    """Weak coupling gamma. The default is that of section 4.1; values from 0.001 to 0.1 work well (section 3). With
    "informed", every unit has its own, drawn from U(0.005, 0.05) (section 4.3)."""

    layers: Annotated[int | None, Rule(at_least=1, goes_with=(_S4D,), counts_at_default=False)] = None
    """S4D only: number of layers, 2 if not given."""

    modes: Annotated[int | None, Rule(at_least=1, goes_with=(_S4D,), counts_at_default=False)] = None
    """S4D only: complex modes per feature, 16 if not given."""

    data: Annotated[str | None, Rule(goes_with=(_ARRAYS,), needed_by=("task", "arrays"), counts_at_default=False)] = (
        None
    )
    """Task arrays only: NumPy archive (.npz) with train_inputs and test_inputs, shape (count, steps, input_size),
    and train_targets and test_targets: integer labels of shape (count,), or numbers of shape (count, output_size).
    Targets at every step have the shapes (count, steps) and (count, steps, output_size)."""

    input_size: Annotated[int | None, Rule(at_least=1, goes_with=(_ARRAYS,), counts_at_default=False)] = None
    """Task arrays only: components of an input; as many as in the data if not given."""

    output_size: Annotated[int | None, Rule(at_least=1, goes_with=(_ARRAYS,), counts_at_default=False)] = None
    """Task arrays only: number of classes, or components of a target. If not given, it is the largest label plus 1, or
    the number of components in the data."""

    loss_on: Annotated[LossOn | None, Rule(goes_with=(_ARRAYS,), counts_at_default=False)] = None
    """Task arrays only: take loss and metric of the output at the last step (last) or at every step (every). If not
    given, the shape of the targets decides."""

    learning_rate: Annotated[float, Rule(above=0, in_dtype=True, per_network=True), tyro.conf.arg(aliases=["--lr"])] = (
        0.01
    )
    """Step size of SGD. The default was chosen by trial; the paper gives only 0.1 (unstable) and 0.01 (stable), for
    ADD100 in Fig. B.2."""

    momentum: Annotated[float, Rule(at_least=0, below=1, per_network=True)] = 0.9
    """Momentum of SGD (section 4)."""

    batch_size: Annotated[int, Rule(at_least=1)] = 128
    """Samples in a training batch (section 4)."""

    epochs: Annotated[int, Rule(at_least=1, per_network=True)] = 150
    """Passes through the training data. The paper makes 150 on the adding problem, and 200 on MNIST."""

    iterations_per_epoch: Annotated[
        int | None,
        Rule(at_least=1, goes_with=(Choice("task", ("adding",), "where an epoch is one pass through the data"),)),
    ] = None
    """Adding problem only: batches in an epoch, 1000 if not given (our choice; the paper does not say). For other
    tasks, an epoch is one pass through the training data."""

    train_size: Annotated[
        int | None,
        Rule(
            at_least=1,
            goes_with=(
                Choice("task", ("smnist", "psmnist", "scifar10", "arrays"), "whose batches are generated afresh"),
            ),
        ),
    ] = None
    """Number of training samples to use, chosen at random, the same for every seed; all if not given. Not for the
    adding problem, whose samples are generated without end."""

    test_size: Annotated[int | None, Rule(at_least=1)] = None
    """Number of test samples to use, chosen at random, the same for every seed (but others for each seed of the adding
    problem). If not given, 2000 for the adding problem (our choice), and all for other tasks."""

    validation_size: Annotated[int | None, Rule(at_least=1, counts_at_default=False)] = None
    """Number of training samples to hold out. They replace the test set in all evaluations, for instance to choose a
    learning rate without looking at the test set. If not given, no sample is held out."""

    evaluate_every: Annotated[int | None, Rule(at_least=1, per_network=True)] = None
    """Iterations between two evaluations on the test set; an epoch if not given. An interrupted run resumes from its
    last evaluation."""

    seed: Annotated[int, Rule(at_least=0, at_most=math.inf, per_network=True)] = 0
    """Seed of the initial weights, of a random residual, and of the data."""

    dtype: FloatType = "float32"
    """Floating-point type of weights and states."""

    gradient_clip: Annotated[float | None, Rule(above=0, per_network=True)] = None
    """Clip the norm of the gradient to this value; no clipping if not given."""

    save_at: Annotated[tuple[int, ...], Rule(at_least=0, per_network=True, counts_at_default=False)] = ()
    """Iterations at which the weights are saved as further checkpoints, to follow how a network changes."""

    probe_every: Annotated[int | None, Rule(at_least=1, per_network=True, counts_at_default=False)] = None
    """Iterations between additional measurements of the test metric, until minimal performance is reached. They save no
    checkpoint. If not given, the metric is measured only at evaluations. The paper reports 200 iterations for sMNIST
    (Table 1), which is less than an epoch."""

    divergence_loss: Annotated[float | None, Rule(above=0, per_network=True, counts_at_default=False)] = None
    """Training loss of a batch above which the run counts as diverged, and ends. If not given, it ends only if numbers
    are not finite."""

    def __post_init__(self) -> None:
        """Check all fields, and change none."""
        check_fields(vars(self), described_fields(TrainConfig))
        _check_together(self)

    def to_json(self) -> str:
        """Return all fields as an indented JSON object."""
        return json.dumps(asdict(self), indent=2, allow_nan=False)

    def fingerprint(self) -> str:
        """Return the SHA-256 of the configuration as JSON; it is the same if 1 stands for 1.0.

        Some fields count only if they differ from their default, see `Rule`.
        """
        described = described_fields(TrainConfig)
        values = {
            name: int(value) if isinstance(value, float) and value.is_integer() else value
            for name, value in asdict(self).items()
            if described[name].rule.counts_at_default or value != described[name].default
        }
        return sha256(json.dumps(values, allow_nan=False).encode())

    @classmethod
    def from_json(cls, text: str | bytes) -> TrainConfig:
        """Return the configuration that `to_json` wrote.

        Raises:
            UserError: If the text is not a JSON object with the fields of this class, see `from_dict`, or a value is
                refused.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:  # too deeply nested brackets raise the latter
            raise UserError(f"the configuration is not valid JSON: {clause(error)}.") from error
        return cls.from_dict(values)

    @classmethod
    def from_dict(cls, values: object) -> TrainConfig:
        """Return the configuration with these fields, as `dataclasses.asdict` or JSON gives them.

        Fields that do not count in the fingerprint at their default may be missing, as in files of earlier versions.

        Raises:
            UserError: If another field is missing, one is unknown, or a value is refused.
        """
        if not isinstance(values, Mapping):
            raise UserError(f"the configuration must be a JSON object, got {type(values).__name__}.")
        names = described_fields(TrainConfig)
        if unknown := [str(key) for key in values if key not in names]:
            raise UserError(f"the configuration has no field {unknown[0]!r}.{suggestion(unknown[0], names)}")
        if missing := [name for name, field in names.items() if field.rule.counts_at_default and name not in values]:
            raise UserError(f"the configuration lacks the field(s) {', '.join(missing)}; add them.")
        given: dict[str, Any] = {name: tuple(it) if isinstance(it, list) else it for name, it in values.items()}
        return cls(**given)


def read_config(path: Path) -> TrainConfig:
    """Return the configuration of a file that a run wrote.

    Args:
        path: A ``config.json``.

    Raises:
        UserError: If there is no such file, it is not a regular one or too large, or holds something else.
    """
    if path.is_dir():
        raise UserError(f"{path} is a directory; give a file in it, such as {path / CONFIG_FILE}.")
    if not path.exists():
        raise UserError(f"there is no file {path}; give the {CONFIG_FILE} that a run wrote.")
    try:
        return TrainConfig.from_json(read_regular(path, most=_LONGEST_FILE))
    except UserError as error:
        raise UserError(f"{path}: {clause(error)}; give the {CONFIG_FILE} that a run wrote.") from error


def _check_together(config: TrainConfig) -> None:
    """Refuse values that contradict each other, besides those that go with a choice."""
    if config.validation_size is not None and config.test_size is not None:
        raise UserError("validation_size replaces the test set, so test_size does not go with it; leave one out.")
    if config.task == "adding" and config.length == 1:
        raise UserError("the adding problem marks two steps, so length must be at least 2, got 1.")
    if config.model == "ur-lstm" and config.hidden_size < 2:
        raise UserError(f"a UR-LSTM needs a hidden_size of at least 2, got {config.hidden_size}.")
    if config.residual in ("rotation", "informed") and config.hidden_size % 2:
        raise UserError(
            f"a rotation acts on pairs of units and needs an even hidden_size, got {config.hidden_size}; "
            f"use {config.hidden_size + 1}."
        )
    numbers = {name: getattr(config, name) for name, it in described_fields(TrainConfig).items() if it.rule.in_dtype}
    if config.delta_r is not None:
        numbers["|r| + delta_r / 2"] = abs(config.r) + config.delta_r / 2
    for name, value in numbers.items():
        if is_number(value) and abs(value) > _LARGEST[config.dtype]:
            raise UserError(
                f"{name} must not exceed {_LARGEST[config.dtype]:.9g}, the largest number of {config.dtype}, "
                f"got {value}."
            )

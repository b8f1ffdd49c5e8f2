"""A task made of any arrays: sequences to classify, or to map to numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lyapkit_command.numpy_files import read_archive
from wcrnn_models.errors import UserError, clause
from wcrnn_models.names import LossName, LossOn
from wcrnn_models.tasks.finite import FiniteTask, choose_samples
from wcrnn_models.tasks.measures import DEFAULT_ERROR, ERRORS, ErrorMeasure, accuracy, cross_entropy
from wcrnn_models.tasks.task import Batch, MetricName

ARRAYS = ("train_inputs", "train_targets", "test_inputs", "test_targets")
"""Names of the arrays in a file."""


class ArrayTask(FiniteTask):
    """Sequences and targets from arrays, with integer targets as classes and other numbers as values to hit.

    There is one target per sequence, for the output of its last step, or one per step. Loss and metric then average
    over all steps alike.

    Classes are trained with cross-entropy and reported as accuracy, values trained with the error that ``loss`` names
    and reported as the same. Inputs are used as they are: scale them yourself, to about [0, 1] for the paper's
    coupling.

    Args:
        train_inputs: Numbers, shape (count, T, M), or (count, T) for M = 1. Any real type.
        train_targets: Labels from 0 on, integers, shape (count,); or values, floating-point, shape (count, O), or
            (count,) for O = 1. Targets at every step: labels (count, T), or values (count, T, O).
        test_inputs: As the training inputs, with the same T and M.
        test_targets: As the training targets.
        output_size: Number of classes, or components O of a target; by default the largest label plus 1, or O.
        minimal_performance: The metric that counts as having learnt something, if any.
        batch_size: Samples in a training batch.
        train_size: Use a random choice of so many training samples, see `finite.choose_samples`; None uses all.
        test_size: Use a random choice of so many test samples; None uses all.
        validation_size: Hold out a random choice of so many training samples and judge by them, not by test samples.
        loss: The error of values: mean square, or its root, which is the default; None for classes.
        loss_on: Steps whose outputs have targets, ``"last"`` or ``"every"``; targets of the other kind are refused. By
            default the shape of the targets decides. Values of shape (count, T) may be T components at the last step or
            one at every step, so with T > 1 they need ``loss_on``.
        seed: Determines the order of the training samples.
        dtype: Floating-point type of the inputs and of values.

    Raises:
        UserError: If shapes or types do not fit, a number is not finite, a label is out of range, or targets may be of
            either kind or are of the other kind than ``loss_on`` says.

    Example:
        >>> import numpy as np
        >>> from wcrnn_models.tasks import ArrayTask
        >>> waves = np.sin(np.outer(1 + np.arange(20) % 2, np.linspace(0, 6, 50)))  # slow or fast
        >>> task = ArrayTask(waves[:16], np.arange(16) % 2, waves[16:], np.arange(4) % 2, batch_size=8)
        >>> inputs, labels = task.train_batch(0)
        >>> inputs.shape, task.output_size, task.metric_name, task.iterations_per_epoch
        (torch.Size([50, 8, 1]), 2, 'accuracy', 2)
    """

    name = "arrays"

    def __init__(
        self,
        train_inputs: NDArray[Any] | Tensor,
        train_targets: NDArray[Any] | Tensor,
        test_inputs: NDArray[Any] | Tensor,
        test_targets: NDArray[Any] | Tensor,
        *,
        output_size: int | None = None,
        minimal_performance: float | None = None,
        batch_size: int = 128,
        train_size: int | None = None,
        test_size: int | None = None,
        validation_size: int | None = None,
        loss: LossName | None = None,
        loss_on: LossOn | None = None,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        given = dict(
            zip(ARRAYS, map(_array, ARRAYS, (train_inputs, train_targets, test_inputs, test_targets)), strict=True)
        )
        trained, judged = choose_samples(
            len(given["train_inputs"]),
            len(given["test_inputs"]),
            train_size=train_size,
            test_size=test_size,
            validation_size=validation_size,
        )
        inputs = {part: _sequences(f"{part}_inputs", given[f"{part}_inputs"], dtype) for part in ("train", "test")}
        steps = {part: inputs[part].shape[1] for part in inputs}
        arrays = {part: given[f"{part}_targets"] for part in inputs}
        kinds = {part: _kind(f"{part}_targets", arrays[part], steps[part], loss_on) for part in inputs}
        targets = {part: _targets(f"{part}_targets", arrays[part], kinds[part], dtype) for part in inputs}
        _check_alike(inputs, targets)
        self.loss_on = kinds["train"]
        self.is_classification = not targets["train"].is_floating_point()
        if self.is_classification and loss is not None:
            raise UserError(f"loss does not go with classes, which have cross-entropy; leave it out, got {loss!r}.")
        error: LossName = DEFAULT_ERROR if loss is None else loss
        self.metric_name: MetricName = "accuracy" if self.is_classification else error
        self._measure = ErrorMeasure(cross_entropy, accuracy) if self.is_classification else ERRORS[error]
        self.higher_is_better = self.is_classification
        self.minimal_performance = minimal_performance
        self.output_size = _output_size(targets, output_size)
        self.sequence_length, self.input_size = inputs["train"].shape[1:]
        judges = "test" if validation_size is None else "train"
        self._train = inputs["train"][trained], targets["train"][trained]
        self._test = inputs[judges][judged], targets[judges][judged]
        super().__init__(len(self._train[0]), len(self._test[0]), batch_size=batch_size, seed=seed)

    @classmethod
    def from_file(
        cls, path: str | Path, *, input_size: int | None = None, length: int | None = None, **options: Any
    ) -> ArrayTask:
        """Return the task of the arrays in a NumPy archive (.npz), which is read without executing anything.

        Args:
            path: The file, with the arrays `ARRAYS`.
            input_size: Components M that its inputs must have; any by default.
            length: Steps T that they must have; any by default.
            options: The other arguments of the class.

        Raises:
            UserError: If the file is missing, damaged, lacks an array, or does not fit.
        """
        path = Path(path)
        if not path.is_file():
            raise UserError(f"there is no file {path}; name a NumPy archive (.npz) with {', '.join(ARRAYS)}.")
        arrays = read_archive(path, ARRAYS)
        try:
            task = cls(*arrays, **options)
        except UserError as error:
            raise UserError(f"{path}: {clause(error)}.") from error
        for name, given, found, of_what in (
            ("input_size", input_size, task.input_size, "components"),
            ("length", length, task.sequence_length, "steps"),
        ):
            if given not in (None, found):
                raise UserError(
                    f"{path}: {name} must be {found}, the {of_what} of its inputs, got {given}; leave it out, which "
                    "takes it from the file."
                )
        return task

    def train_samples(self, chosen: Tensor) -> Batch:
        """Return inputs (T, B, M) and targets of the given training samples."""
        return self._batch(self._train, chosen)

    def test_samples(self, chosen: Tensor) -> Batch:
        """Return inputs (T, B, M) and targets of the given test samples."""
        return self._batch(self._test, chosen)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy for classes, the error that ``loss`` names for values, shape ()."""
        return self._measure.loss(outputs, targets)

    def metric(self, outputs: Tensor, targets: Tensor) -> float:
        """Return the accuracy for classes, the error that ``loss`` names for values."""
        return self._measure.metric(outputs, targets)

    def _batch(self, samples: tuple[Tensor, Tensor], chosen: Tensor) -> Batch:
        inputs, targets = (part[chosen] for part in samples)
        if self.loss_on == "every":
            targets = targets.transpose(0, 1).contiguous()
        return inputs.transpose(0, 1).contiguous(), targets


def _array(name: str, values: NDArray[Any] | Tensor) -> NDArray[Any]:
    """Return the array of a task, not empty and of a real type."""
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise UserError(f"{name} must be an array of real numbers, got type {array.dtype}.")
    if array.ndim == 0 or array.size == 0:
        raise UserError(f"{name} must have at least one sample, got shape {array.shape}.")
    return array


def _sequences(name: str, array: NDArray[Any], dtype: torch.dtype) -> Tensor:
    if array.ndim not in (2, 3):
        raise UserError(f"{name} must have shape (count, steps, components) or (count, steps), got {array.shape}.")
    return _finite(name, array if array.ndim == 3 else array[:, :, None], dtype)


def _kind(name: str, array: NDArray[Any], steps: int, wanted: LossOn | None) -> LossOn:
    """Tell whether an array holds targets of the last step or of every step."""
    shape = array.shape
    found: LossOn
    if array.dtype.kind in "iu":
        if array.ndim > 2 or shape[1:] not in ((), (steps,)):
            raise UserError(
                f"{name} are integers, so labels, and must have shape (count,), or (count, {steps}) for labels at "
                f"every step, got {shape}."
            )
        found = "last" if array.ndim == 1 else "every"
    elif array.dtype.kind == "b" or array.ndim > 3:
        raise UserError(
            f"{name} must be integer labels (count,) or floating-point values (count, components), or have a dimension "
            f"of {steps} steps after the first, got {array.dtype} of shape {shape}."
        )
    elif array.ndim == 3:
        if shape[1] != steps:
            raise UserError(f"{name} of shape {shape} must have as many steps as the inputs, {steps}, got {shape[1]}.")
        found = "every"
    elif shape[1:] == (steps,) and steps > 1:  # of either kind
        if wanted is None:
            raise UserError(
                f"{name} of shape {shape} may be {steps} values at the last step or one at each of the {steps} steps; "
                "give loss_on, 'last' or 'every'."
            )
        found = wanted
    else:
        found = "last"
    if wanted not in (None, found):
        raise UserError(
            f"loss_on must be {found!r} for {name} of shape {shape} and inputs of {steps} steps, got {wanted!r}; leave "
            "it out, which reads it from the shape."
        )
    return found


def _targets(name: str, array: NDArray[Any], loss_on: LossOn, dtype: torch.dtype) -> Tensor:
    """Return labels, shape (count,) or (count, T), or values, shape (count, O) or (count, T, O)."""
    if array.dtype.kind in "iu":
        labels = torch.from_numpy(array.astype(np.int64))
        if int(labels.min()) < 0:
            raise UserError(f"{name} are labels and must be >= 0, got {int(labels.min())}.")
        return labels
    has_components = array.ndim == (3 if loss_on == "every" else 2)
    return _finite(name, array if has_components else array[..., None], dtype)


def _finite(name: str, array: NDArray[Any], dtype: torch.dtype) -> Tensor:
    if not np.isfinite(array).all():
        position = tuple(int(index) for index in np.argwhere(~np.isfinite(array))[0])
        raise UserError(f"{name} must be finite, got {array[position]} at index {position}.")
    numbers = torch.from_numpy(array.astype(np.float64)).to(dtype)
    if not bool(numbers.isfinite().all()):
        largest = float(np.abs(array).max())
        short = str(dtype).removeprefix("torch.")
        raise UserError(
            f"{name} must be within the range of {short}, got {largest:g}; scale them, or use dtype float64."
        )
    return numbers


def _check_alike(inputs: dict[str, Tensor], targets: dict[str, Tensor]) -> None:
    for part in ("train", "test"):
        if len(inputs[part]) != len(targets[part]):
            raise UserError(
                f"there are {len(inputs[part])} {part}_inputs and {len(targets[part])} {part}_targets; "
                "give one target per sample."
            )
    train, test = (tuple(inputs[part].shape[1:]) for part in ("train", "test"))
    if train != test:
        raise UserError(
            f"train_inputs and test_inputs must have the same steps and components, got {train} and {test}."
        )
    if targets["train"].dtype != targets["test"].dtype or targets["train"].shape[1:] != targets["test"].shape[1:]:
        raise UserError(
            "train_targets and test_targets must both be labels, or values of the same size, and both of the last step "
            "or of every step."
        )


def _output_size(targets: dict[str, Tensor], wanted: int | None) -> int:
    if targets["train"].is_floating_point():
        found = targets["train"].shape[-1]
        if wanted not in (None, found):
            raise UserError(
                f"output_size must be {found}, the components of the targets, got {wanted}; leave it out, which takes "
                "it from them."
            )
        return found
    least = 1 + max(int(labels.max()) for labels in targets.values())
    if wanted is not None and wanted < least:
        raise UserError(
            f"output_size must be at least {least}, as the labels go up to {least - 1}, got {wanted}; leave it out for "
            "the least."
        )
    return least if wanted is None else wanted

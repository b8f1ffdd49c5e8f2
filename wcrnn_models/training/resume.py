"""Save and load the state from which a run resumes: tensors and plain Python values, read without executing code."""

from __future__ import annotations

import io
import zipfile
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wcrnn_models.errors import UserError, clause
from wcrnn_models.files import read_regular, write_atomically
from wcrnn_models.training.result import MEASURED, course_fault, is_iteration
from wcrnn_models.training.saved import misfit
from wcrnn_models.values import is_finite, is_integer

_FORMAT_VERSION = 4


@dataclass
class Progress:
    """Measurements of a run so far, see `TrainResult`. Batches need no state, as they depend only on the iteration.

    Attributes:
        reached: Number of iterations to minimal performance.
        done: Number of training iterations done.
        losses: Losses of the iterations since the last evaluation.
        norms: Gradient norms of these iterations.
    """

    iterations: list[int] = field(default_factory=list)
    train_losses: list[float] = field(default_factory=list)
    gradient_norms: list[float] = field(default_factory=list)
    test_metrics: list[float] = field(default_factory=list)
    reached: int | None = None
    done: int = 0
    losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)

    @property
    def iteration(self) -> int:
        """Number of training iterations done at the last evaluation."""
        return self.iterations[-1]


@dataclass(frozen=True)
class RunIdentity:
    """Properties by which states of different runs are told apart.

    Attributes:
        config_sha256: Value of `TrainConfig.fingerprint`.
        total: Number of training iterations of the whole run, which also depends on the size of the data set.
    """

    config_sha256: str
    total: int


def save_progress(
    path: Path, identity: RunIdentity, progress: Progress, model: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """Write the state of a run. A crash leaves the previous state or this one."""
    buffer = io.BytesIO()
    state = {
        "format_version": _FORMAT_VERSION,
        **asdict(identity),
        **asdict(progress),
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    torch.save(state, buffer)
    write_atomically(path, buffer.getvalue())


def load_progress(path: Path, identity: RunIdentity, model: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
    """Restore model and optimizer to the state of a file, and return its evaluations.

    Raises:
        UserError: If the file is damaged, was not written by `save_progress`, or belongs to another run.
    """
    remedy = f"delete {path} to start the run again"
    try:
        content = io.BytesIO(read_regular(path))
        if any(part.compress_type != zipfile.ZIP_STORED for part in zipfile.ZipFile(content).infolist()):
            raise ValueError("it is packed, which PyTorch does not do.")  # it may unpack to any size
        content.seek(0)
        state: Any = torch.load(content, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load promises no type of error for damaged files
        raise UserError(f"{path} is damaged ({_reason(error)}); {remedy}.") from error
    if not isinstance(state, dict) or not _same(state.get("format_version"), _FORMAT_VERSION):
        raise UserError(f"{path} is not a state of format version {_FORMAT_VERSION}; {remedy}.")
    names = [*(entry.name for entry in (*fields(RunIdentity), *fields(Progress))), "model", "optimizer"]
    if missing := [name for name in names if name not in state]:
        raise UserError(f"{path} lacks {', '.join(missing)}; {remedy}.")
    for name, wanted in asdict(identity).items():
        if not _same(state[name], wanted):
            raise UserError(
                f"{path} belongs to another run: {name} is {state[name]!r} there and {wanted!r} here; {remedy}."
            )
    progress = Progress(**{entry.name: state[entry.name] for entry in fields(Progress)})
    fault = course_fault(progress.iterations, **{name: getattr(progress, name) for name in MEASURED})
    if fault is None and not progress.iterations:
        fault = "iterations must have at least one entry"
    if fault is None and progress.iteration > identity.total:
        fault = f"iterations must not exceed the total {identity.total}, got {progress.iteration}"
    if fault is None and not (
        is_integer(progress.done)
        and progress.iteration <= progress.done <= identity.total
        and all(_are_numbers(given, progress.done - progress.iteration) for given in (progress.losses, progress.norms))
    ):
        fault = "done, losses and norms must be those of the iterations since the last evaluation"
    if fault is None and progress.reached is not None and not is_iteration(progress.reached, progress.done):
        fault = "reached must be an iteration of the run or None"
    if fault is not None:
        raise UserError(f"{path} is damaged ({fault}); {remedy}.")
    try:
        _restore(state, model, optimizer)
    except Exception as error:  # nor do optimizers for a state that does not fit
        raise UserError(f"{path} does not fit the run's configuration ({_reason(error)}); {remedy}.") from error
    return progress


def _restore(state: dict[str, Any], model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Load both states; raise an error if something does not fit."""
    if fault := misfit(state["model"], model):
        raise ValueError(f"the model {fault}.")
    model.load_state_dict(state["model"])
    options = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict(state["optimizer"])
    for wanted, group in zip(options, optimizer.state_dict()["param_groups"], strict=True):
        if changed := [name for name, value in wanted.items() if group[name] != value]:
            raise ValueError(f"the optimizer has another {changed[0]}.")
    for parameter, values in optimizer.state.items():
        buffer = values.get("momentum_buffer")
        if buffer is not None and (buffer.shape, buffer.dtype) != (parameter.shape, parameter.dtype):
            raise ValueError("a momentum does not have the shape of its parameter.")
    moving = [each for group in optimizer.param_groups if group["momentum"] for each in group["params"]]
    if state["done"] and any("momentum_buffer" not in optimizer.state[each] for each in moving):
        raise ValueError("the optimizer lacks momenta.")


def _are_numbers(given: object, count: int) -> bool:
    return isinstance(given, list) and len(given) == count and all(map(is_finite, given))


def _same(found: object, wanted: object) -> bool:
    """Tell whether two values have the same type and are equal, without comparing tensors entry by entry."""
    return type(found) is type(wanted) and found == wanted


def _reason(error: Exception) -> str:
    """Return the first line of PyTorch's message, which may have many."""
    return clause(next(iter(str(error).splitlines()), "") or type(error).__name__)

"""Measure chosen analyses of a network every few iterations or epochs of its training."""

from __future__ import annotations

import inspect
import json
import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
import xarray as xr
from torch import Tensor
from torch.utils import _pytree as pytree

from lyapkit.analyze import ANALYSES, analyze
from lyapkit.checks.arguments import check_integer, check_interval
from lyapkit.checks.clause import clause
from lyapkit.checks.modules import modules_of
from lyapkit.checks.named_arguments import named_arguments
from lyapkit.tracking.lightning import make_callback
from lyapkit.tracking.scalars import scalars
from lyapkit.tracking.undisturbed import undisturbed

Along = Literal["checkpoint", "epoch"]
LONG_NAMES = {"checkpoint": "training iteration", "epoch": "epoch"}
NOT_KEPT = ("final_state", "final_frame", "frame_order")
"""Variables from which a run resumes. They are useless here, because the network has changed since."""


class Tracker:
    """Measure a network while it is trained, and collect the results along the training.

    Call the tracker with the number of the iteration in a loop of your own, or hand `lightning_callback` to a Lightning
    trainer. The network is measured on the same inputs each time, in evaluation mode. The training is the same to the
    last bit with and without a tracker: modes, gradients, buffers and the states of the global random number generators
    are restored, also when an analysis is interrupted.

    A measurement at which the network overflows is left out with a warning, and noted in `failures`. Of
    ``lyapunov_spectrum``, the tracker keeps the exponents and values that follow from them, but not the values at every
    step.

    Args:
        model: Anything that `lyapkit.as_map` takes. It is read anew at every measurement.
        inputs: Inputs as for `lyapkit.analyze`; None with ``steps=``. Tensors are moved to the device of the model. For
            a whole model, as_map(model, core=...), give the inputs of the model, such as tokens. Its encoder, which
            learns too, is applied at every measurement.
        targets: Targets for analyses of gradients and curvature, as for `lyapkit.analyze`.
        loss: Loss for analyses of gradients and curvature, as for `lyapkit.analyze`. Exponents need neither targets nor
            a loss.
        every: Number of iterations or epochs between measurements: the tracker measures at its multiples.
        analyses: Analyses to do: names of analyses of `lyapkit.analyze`, or functions from the model to a Dataset,
            whose results go by the names of the functions.
        along: Dimension along which results are collected: ``"checkpoint"`` for iterations, or ``"epoch"``.
        tensorboard: A directory or a ``SummaryWriter``, to which the headline numbers of a measurement are written.
        options: Passed on to `lyapkit.analyze`, such as ``k=``, ``transient=`` and ``readout=``; ``rng`` is 0 by
            default.

    Attributes:
        along: The argument as given.
        steps: Numbers of the iterations or epochs that were measured.
        failures: Reason for each measurement that was left out.

    Raises:
        TypeError: If an argument is unknown or of the wrong kind.
        ValueError: If ``every`` is below 1, an analysis or ``along`` is unknown, or two analyses have the same name.
        ImportError: If ``tensorboard`` names a directory and TensorBoard is not installed.

    Example:
        >>> import lyapkit, torch
        >>> network, inputs = torch.nn.GRU(1, 8), torch.randn(60, 2, 1)
        >>> optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        >>> tracker = lyapkit.Tracker(network, inputs, every=10, k=3)
        >>> for iteration in range(21):
        ...     tree = tracker(iteration)
        ...     optimizer.zero_grad()
        ...     network(inputs)[0].square().mean().backward()
        ...     optimizer.step()
        >>> tracker.result["lyapunov_spectrum"].lyapunov_exponent.sizes["checkpoint"]
        3
        >>> ax = lyapkit.plots.exponents_over_checkpoints(tracker.result["lyapunov_spectrum"])
    """

    along: Along
    steps: list[int]
    failures: dict[int, str]

    @named_arguments(tuple(name for name in inspect.signature(analyze).parameters if name not in ("self", "include")))
    def __init__(
        self,
        model: object,
        inputs: Any,
        targets: Any = None,
        loss: Callable[[Any, Any], Tensor] | None = None,
        *,
        every: int = 1,
        analyses: Sequence[str | Callable[[Any], xr.Dataset]] | str = ("lyapunov_spectrum",),
        along: Along = "checkpoint",
        tensorboard: Any = None,
        **options: Any,
    ) -> None:
        self._every = check_interval(every, "every")
        if along not in LONG_NAMES:
            raise ValueError(f'along must be "checkpoint" or "epoch", got {along!r}.')
        self._names, self._functions = _chosen((analyses,) if isinstance(analyses, str) else analyses)
        if loss is None and {"gradient_propagation", "hessian_spectrum"} & set(self._names):
            raise TypeError("gradient_propagation and hessian_spectrum need targets= and loss=.")
        self._model, self._inputs, self._targets, self._loss = model, inputs, targets, loss
        self._options = {"rng": 0, **options}
        self._writer = _writer(tensorboard)
        self.along, self.steps, self.failures = along, [], {}
        self._results: dict[str, list[xr.Dataset]] = {name: [] for name in (*self._names, *self._functions)}

    def __repr__(self) -> str:
        """Say what is measured, and how often it was."""
        analyses = ", ".join(self._results)
        unit = "iterations" if self.along == "checkpoint" else "epochs"
        return f"Tracker of {analyses}, every {self._every} {unit}: {len(self.steps)} measurements"

    def __call__(self, step: int) -> xr.DataTree | None:
        """Measure the network if it is time to.

        Args:
            step: The number of iterations or epochs of training so far. The number must grow from call to call.

        Returns:
            The results of `measure`. None if ``step`` is not a multiple of ``every``, or if the measurement was left
            out.

        Raises:
            TypeError: If the step is not an integer, or as `measure`.
            ValueError: If the step is negative, or as `measure`.
        """
        step = check_integer("step", step)
        if step < 0:
            raise ValueError(f"step must be at least 0, got {step}.")
        return None if step % self._every else self.measure(step)

    def measure(self, step: int) -> xr.DataTree | None:
        """Measure the network now.

        Args:
            step: The number of iterations or epochs of training so far.

        Returns:
            The results of this measurement, as `lyapkit.analyze` returns them, or None if the network overflows.

        Raises:
            TypeError: If an analysis refuses an argument.
            ValueError: If the step is not above all earlier ones, or an analysis refuses an argument.
        """
        step = check_integer("step", step)
        last = max((*self.steps, *self.failures), default=-1)
        if step <= last:
            raise ValueError(
                f"steps have to grow: {step} comes after {last}. Make a new Tracker for another training, or call it "
                "once at each step."
            )
        with undisturbed(self._model):
            try:
                found = self._measured()
            except FloatingPointError as error:
                self._leave_out(step, str(error))
                return None
            except ValueError:
                if self._is_finite():
                    raise
                self._leave_out(step, "a weight is not finite.")
                return None
        self.steps.append(step)  # nothing can fail from here on, so all lists keep the same length
        for name, result in found.items():
            self._results[name].append(_kept(result))
        if self._writer is not None:
            for tag, number in self.scalars().items():
                self._writer.add_scalar(tag, number, step)
        return xr.DataTree.from_dict(found)

    @property
    def result(self) -> xr.DataTree:
        """Return all measurements so far: a tree with one Dataset for each analysis, along ``checkpoint`` or ``epoch``.

        Raises:
            ValueError: If nothing has been measured yet, or the results of one analysis differ in their coordinates.
        """
        if not self.steps:
            left_out = f"; {len(self.failures)} measurements were left out" if self.failures else ""
            raise ValueError(f"nothing has been measured yet{left_out}; call the tracker while the network is trained.")
        return xr.DataTree.from_dict({name: self._collected(name) for name in self._results})

    def scalars(self) -> dict[str, float]:
        """Return the headline numbers of the last measurement, by tags like ``lyapunov_spectrum/leading exponent``."""
        numbers: dict[str, float] = {}
        for name, results in self._results.items():
            numbers |= scalars(name, results[-1]) if results else {}
        return numbers

    def lightning_callback(self) -> Any:
        """Return a callback for the ``Trainer`` of PyTorch Lightning, which calls the tracker.

        It measures before training, and after every optimiser step (``along="checkpoint"``) or epoch that is a multiple
        of ``every``. The headline numbers go to the loggers of the trainer. If there are several processes, only the
        first one measures.

        Returns:
            A ``lightning.pytorch.Callback``.

        Raises:
            ImportError: If Lightning is not installed.
        """
        return make_callback(self)

    def _measured(self) -> dict[str, xr.Dataset]:
        found: dict[str, xr.Dataset] = {}
        if self._names:
            inputs, targets = self._on_device(self._inputs), self._on_device(self._targets)
            loss: Any = self._loss
            tree = analyze(self._model, inputs, targets, loss, include=self._names, **self._options)
            found = {name: tree[name].to_dataset() for name in self._names}
        for name, function in self._functions.items():
            result = function(self._model)
            if not isinstance(result, xr.Dataset):
                raise TypeError(f"the analysis {name} must return an xarray.Dataset, got {type(result).__name__}.")
            found[name] = result
        return found

    def _on_device(self, given: Any) -> Any:
        """Return tensors on the device of the model, which a trainer may have moved."""
        parameters = [each for module in modules_of(self._model) for each in module.parameters(recurse=False)]
        if not parameters:
            return given
        device = parameters[0].device
        return pytree.tree_map(lambda part: part.to(device) if isinstance(part, Tensor) else part, given)

    def _is_finite(self) -> bool:
        parameters = (each for module in modules_of(self._model) for each in module.parameters(recurse=False))
        return all(bool(torch.isfinite(parameter).all()) for parameter in parameters)

    def _leave_out(self, step: int, reason: str) -> None:
        self.failures[step] = reason
        warnings.warn(f"the measurement at {self.along} {step} was left out: {clause(reason)}.", stacklevel=4)

    def _collected(self, name: str) -> xr.Dataset:
        results = self._results[name]
        index = xr.Variable((self.along,), self.steps, {"long_name": LONG_NAMES[self.along]})
        try:
            together = xr.concat(
                [result.expand_dims({self.along: [step]}) for result, step in zip(results, self.steps, strict=True)],
                self.along,
                data_vars="all",
                coords="minimal",
                compat="equals",
                join="exact",
                combine_attrs="drop_conflicts",
            )
        except (ValueError, xr.MergeError) as error:
            raise ValueError(
                f"the results of {name} differ in their coordinates from one measurement to the next, so that they "
                f"cannot be put together: {clause(error)}."
            ) from error
        configs = [json.loads(result.attrs.get("config_json", "{}")) for result in results]
        common = {key: value for key, value in configs[-1].items() if all(other.get(key) == value for other in configs)}
        if common:
            together.attrs["config_json"] = json.dumps(common, sort_keys=True)
        if "created_at" in results[-1].attrs:
            together.attrs["created_at"] = results[-1].attrs["created_at"]
        return together.assign_coords({self.along: index})


def _chosen(
    analyses: Sequence[str | Callable[[Any], xr.Dataset]],
) -> tuple[list[str], dict[str, Callable[[Any], xr.Dataset]]]:
    """Return the names of the chosen analyses, and the chosen functions by their names.

    Raises:
        TypeError: If an entry is neither a name nor a function, or a function has no name of its own.
        ValueError: If there is no entry, a name is unknown, or one comes twice.
    """
    names: list[str] = []
    functions: dict[str, Callable[[Any], xr.Dataset]] = {}
    if not isinstance(analyses, Sequence):
        raise TypeError(f"analyses must be a sequence of names and functions, got {analyses!r}.")
    for each in analyses:
        name = each if isinstance(each, str) else getattr(each, "__name__", "<none>")
        if isinstance(each, str) and each not in ANALYSES:
            raise ValueError(
                f"analyses must be some of {', '.join(ANALYSES)}, or functions of the model; got {each!r}."
            )
        if not (isinstance(each, str) or callable(each)):
            raise TypeError(f"analyses must be names or functions of the model, got {each!r}.")
        if name.startswith("<"):
            raise TypeError(f"the function {each!r} has no name for its results; write it with def.")
        if name in names or name in functions:
            raise ValueError(f"the analysis {name} comes twice; give each a name of its own.")
        if isinstance(each, str):
            names.append(each)
        else:
            functions[name] = each
    if not names and not functions:
        raise ValueError(f"analyses must name some of {', '.join(ANALYSES)}; got none.")
    return names, functions


def _writer(tensorboard: Any) -> Any:
    """Return the writer of scalars, or None.

    Raises:
        TypeError: If ``tensorboard`` is neither a directory nor a writer.
        ImportError: If TensorBoard is not installed.
    """
    if tensorboard is None or callable(getattr(tensorboard, "add_scalar", None)):
        return tensorboard
    if not isinstance(tensorboard, str | os.PathLike):
        raise TypeError(f"tensorboard must be a directory or a SummaryWriter, got {tensorboard!r}.")
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError('TensorBoard is not installed; run: pip install "lyapkit[tensorboard]".') from error
    make: Any = SummaryWriter
    return make(os.fspath(tensorboard))


def _kept(result: xr.Dataset) -> xr.Dataset:
    """Return the part of a result that is collected."""
    if result.attrs.get("analysis") != "lyapunov_spectrum":
        return result
    over_steps = [name for name, value in result.data_vars.items() if "step" in value.dims]
    return result.drop_vars([*over_steps, *(name for name in NOT_KEPT if name in result)]).drop_dims(
        [dim for dim in ("step", "unit") if dim in result.dims], errors="ignore"
    )

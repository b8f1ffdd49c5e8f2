"""All analyses of one network on one set of sequences, in one tree."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Literal

import torch
import xarray as xr
from torch import Tensor, nn

from lyapkit.adapters import as_single_map
from lyapkit.checks.arguments import check_integer, check_k, check_positive
from lyapkit.checks.named_arguments import named_arguments
from lyapkit.checks.progress import progress_bar
from lyapkit.curvature import hessian_spectrum
from lyapkit.curvature.learning_rate import check_momentum
from lyapkit.curvature.parameters import ParameterChoice
from lyapkit.curvature.problem import check_operator, parameter_count
from lyapkit.curvature.products.operators import Operator
from lyapkit.gradients import gradient_propagation
from lyapkit.losses.scalar_loss import check_loss_callable
from lyapkit.losses.unrolled import resolve_readout
from lyapkit.lyapunov import lyapunov_spectrum, variational_term
from lyapkit.recurrent_map import RecurrentMap
from lyapkit.trajectories.closed_loop import with_feedback
from lyapkit.trajectories.encoded import Encoded
from lyapkit.trajectories.names import check_trajectory_names
from lyapkit.trajectories.sequences import as_tensor, encoded, lies_batch_first, time_first

ANALYSES = ("lyapunov_spectrum", "variational_term", "gradient_propagation", "hessian_spectrum")


@named_arguments()
def analyze(
    model: object,
    inputs: Any,
    targets: Any,
    loss: Callable[[Any, Any], Tensor],
    *,
    readout: Callable[[Tensor], Tensor] | None = None,
    include: Sequence[str] | str = ANALYSES,
    k: int | None = None,
    hessian_k: int | None = None,
    hessian_tolerance: float | None = None,
    operator: Operator = "hessian",
    parameters: ParameterChoice | None = None,
    loss_on: Literal["last", "every"] = "last",
    initial_state: Tensor | None = None,
    lengths: Any = None,
    batch_first: bool | None = None,
    feedback: Callable[[Tensor], Tensor] | None = None,
    teacher_forcing: float = 0.0,
    steps: int | None = None,
    trajectories: int | None = None,
    trajectory_names: Collection[str | float] | None = None,
    record_every: int = 1,
    transient: int = 0,
    learning_rate: float | None = None,
    momentum: float = 0.0,
    rng: torch.Generator | int | None = None,
    check: bool = True,
    progress: bool = False,
) -> xr.DataTree:
    r"""Compute Lyapunov spectrum, variational term, gradient propagation and Hessian spectrum of one network.

    Args:
        model: Anything `lyapkit.as_map` takes.
        inputs: A tensor or an array, (T, B, M), or (T, M) for one sequence; a PackedSequence; or None with ``steps``.
            For a whole model, as_map(model, core=...), they are those of a batch of the model, such as tokens: its
            encoder is applied once. All analyses see this one batch; `hessian_spectrum` by itself takes several.
        targets: Targets of a batch of B, as ``loss`` reads them.
        loss: A callable ``loss(outputs, targets)``, a scalar averaged over the batch (or summed, if its own
            ``reduction`` says so), on the outputs of the last step, or of every step with ``loss_on``.
        readout: Function from the map's output to the input of ``loss``; the model's own by default.
        include: Names of the analyses to do.
        k: Number of leading exponents; all by default.
        hessian_k: Number of Hessian eigenvalues; 20 by default, or as many as there are parameters.
        hessian_tolerance: The ``tolerance`` of `hessian_spectrum`.
        operator: Operator whose eigenvalues are computed: ``"hessian"``, or one of its parts, ``"ggn"`` and
            ``"residual"``; as for `lyapkit.hessian_spectrum`.
        parameters: The parameters of the Hessian: names, globs such as ``"*weight_hh*"``, one of either, or a
            predicate ``(name, tensor) -> bool``; all that require gradients by default. The leading eigenvectors of all
            parameters may involve the readout alone. Of a whole model, as_map(model, core=...), they are those of core
            and readout; `lyapkit.hessian_spectrum` of the model itself includes the encoder.
        loss_on: Steps whose outputs the loss reads, ``"last"`` or ``"every"``, as for `gradient_propagation`. With
            ``"every"``, the Hessian is that of a module that is called itself and returns the outputs of all steps.
        initial_state: Flat states (N,) or (B, N); the map's own by default. Not for the Hessian.
        lengths: Number of steps of each of B sequences of unequal length, (B,) integers. Each is read out at its own
            last step; later inputs are padding (any numbers), which changes nothing.
        batch_first: True if inputs have the layout (B, T, M) instead of (T, B, M). The default is the module's own
            ``batch_first``.
        feedback: Function from the map's output to its next input, such as a readout, to close the loop. The map then
            runs freely and takes ``steps`` instead of ``inputs``.
        teacher_forcing: Share a of the given inputs with ``feedback``; the input is a s_t + (1 - a) feedback.
        steps: Number of steps of an autonomous map. Not for the Hessian.
        trajectories: Number of sequences that the Lyapunov spectrum and the variational term follow, the first of the
            B; all by default. Gradients and Hessian use all B.
        trajectory_names: A text or a number for each of the B trajectories, such as the conditions of an experiment.
            They are the coordinate ``trajectory`` of the results, which counts from 0 by default, and plots show them.
        record_every: Steps between recorded singular values of the variational term.
        transient: Number of leading steps that the Lyapunov spectrum leaves out.
        learning_rate: The rate :math:`\eta` of the effective learning rates; left out by default.
        momentum: Momentum b of the largest stable learning rate, which comes with them.
        rng: Generator or seed; None is fresh entropy.
        check: Whether to probe the map and the loss first.
        progress: Whether to show progress bars: one for the analyses, and below it that of the current one.

    Returns:
        A DataTree with one child per analysis, named after it: the result of the function of that name.

    Raises:
        TypeError: If inputs have neither two nor three dimensions, the Hessian of an autonomous map or from another
            initial state is asked for, or an argument is of the wrong kind.
        ValueError: If an analysis is unknown, or one of them refuses its arguments.
        FloatingPointError: If a trajectory overflows.

    Example:
        >>> import lyapkit, torch
        >>> tree = lyapkit.analyze(
        ...     torch.nn.GRU(1, 3), torch.rand(12, 4, 1), torch.zeros(4, 1), torch.nn.functional.mse_loss,
        ...     readout=torch.nn.Linear(3, 1), hessian_k=2,
        ... )
        >>> sorted(tree.children)
        ['gradient_propagation', 'hessian_spectrum', 'lyapunov_spectrum', 'variational_term']
    """
    if isinstance(include, str):
        include = (include,)
    if not isinstance(include, Sequence):
        raise TypeError(f"include must be a sequence of names of analyses, got {include!r}.")
    unknown = [name for name in include if name not in ANALYSES]
    if unknown or not include:
        raise ValueError(f"include must name some of {', '.join(ANALYSES)}; got {list(include)}.")
    map = with_feedback(as_single_map(model, "analyze"), feedback, teacher_forcing)
    if inputs is None and map.input_size:
        raise TypeError(f"the map needs inputs of shape (T, B, {map.input_size}); none were given.")
    if initial_state is not None:
        initial_state = as_tensor("initial_state", initial_state)
    batch = 1 if initial_state is None or initial_state.ndim == 1 else len(initial_state)
    swapped = lies_batch_first(map, batch_first)
    own, is_encoded = inputs, False
    if inputs is not None:
        inputs = encoded(map, inputs)
        is_encoded = isinstance(inputs, Encoded)
        inputs, lengths = time_first(map, inputs, lengths, swapped)
        if inputs.ndim == 2 and not is_encoded:
            inputs = inputs.unsqueeze(1)  # one sequence is a batch of one
        if inputs.ndim != 3:
            layout = "(B, T, M), batch first" if swapped else "(T, B, M), time first"
            if is_encoded:
                raise TypeError(
                    f"the encoder must return a batch {layout}, got {tuple(inputs.shape)}; give one sequence as a "
                    "batch of one."
                )
            raise TypeError(f"inputs must have shape {layout}, or (T, M) for one sequence; got {tuple(inputs.shape)}.")
        batch = inputs.shape[1]
    if trajectories is not None:
        trajectories = check_integer("trajectories", trajectories)
    if trajectories is not None and not 1 <= trajectories <= batch:
        raise ValueError(f"trajectories must be between 1 and the batch size {batch}, got {trajectories}.")
    names = None if trajectory_names is None else check_trajectory_names(trajectory_names, batch)
    if "hessian_spectrum" in include and (inputs is None or initial_state is not None):
        raise TypeError(
            "hessian_spectrum runs over inputs from the map's own initial state, so it goes with neither steps= nor "
            f"initial_state=; leave it out: include={[name for name in include if name != 'hessian_spectrum']}."
        )
    whole = model if feedback is None and lengths is None else map  # a module that is called itself has neither
    called = readout is None and isinstance(whole, nn.Module) and not isinstance(whole, RecurrentMap)
    if loss_on not in ("last", "every"):
        raise ValueError(f"loss_on must be 'last' or 'every', got {loss_on!r}.")
    if "hessian_spectrum" in include and loss_on == "every" and not called:
        raise TypeError(
            "with loss_on='every', hessian_spectrum needs a module that is called itself and returns the outputs of "
            "all steps, without readout=, lengths= and feedback=; give one, or leave the analysis out: "
            f"include={[name for name in include if name != 'hessian_spectrum']}."
        )
    # refuse first what a later analysis would refuse after a long run
    check_k(k, map.state_size)
    if set(include) & {"gradient_propagation", "hessian_spectrum"}:
        check_loss_callable(loss)
    if learning_rate is not None:
        check_positive("learning_rate", learning_rate)
    check_momentum(momentum, learning_rate)
    if "gradient_propagation" in include:
        resolve_readout(map, readout)
    if "hessian_spectrum" in include:
        check_operator(operator)
        readout = map.readout if whole is map and readout is None else readout
        count = parameter_count(whole, readout, parameters)
        hessian_k = min(20, count) if hessian_k is None else check_integer("hessian_k", hessian_k, "an integer or None")
        if not 1 <= hessian_k <= count:
            raise ValueError(f"hessian_k must be between 1 and the number of parameters {count}, got {hessian_k}.")
        if hessian_tolerance is not None:
            check_positive("hessian_tolerance", hessian_tolerance)
    first = slice(trajectories)
    part = None if inputs is None else inputs[:, first]
    if inputs is not None and part is not None and swapped:  # as they were given, for messages
        inputs, part = inputs.transpose(0, 1), part.transpose(0, 1)
    if is_encoded and part is not None:
        inputs, part = inputs.as_subclass(Encoded), part.as_subclass(Encoded)
    run: dict[str, Any] = {"steps": steps, "batch_first": swapped, "check": check, "progress": progress}
    followed: dict[str, Any] = {
        **run,
        "inputs": part,
        "lengths": None if lengths is None else lengths[first],
        "initial_state": initial_state if initial_state is None or initial_state.ndim == 1 else initial_state[first],
        "trajectory_names": None if names is None else names[first],
    }
    todo: dict[str, Callable[[], xr.Dataset]] = {
        "lyapunov_spectrum": lambda: lyapunov_spectrum(map, k=k, transient=transient, rng=rng, **followed),
        "variational_term": lambda: variational_term(map, k=k, record_every=record_every, **followed),
        "gradient_propagation": lambda: gradient_propagation(
            map,
            inputs,
            targets,
            loss,
            readout=readout,
            loss_on=loss_on,
            initial_state=initial_state,
            lengths=lengths,
            trajectory_names=names,
            rng=rng,
            **run,
        ),
        "hessian_spectrum": lambda: hessian_spectrum(
            whole,
            (own if is_encoded and not isinstance(whole, RecurrentMap) else inputs, targets),
            loss,
            k=20 if hessian_k is None else hessian_k,
            tolerance=hessian_tolerance,
            operator=operator,
            readout=readout,
            parameters=parameters,
            lengths=lengths,
            batch_first=swapped,
            learning_rate=learning_rate,
            momentum=momentum,
            rng=rng,
            check=check,
            progress=progress,
        ),
    }
    chosen = [name for name in ANALYSES if name in include]
    results = {}
    with progress_bar(len(chosen), "analyze", progress) as bar:
        for number, name in enumerate(chosen, start=1):
            bar.set_description(f"{number} of {len(chosen)}: {name.replace('_', ' ')}")
            results[name] = todo[name]()
            bar.update()
    return xr.DataTree.from_dict(results)

"""The analysis `lyapunov_spectrum`: Algorithm 1 on any recurrent map, as a labelled result."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from lyapkit.adapters import as_map
from lyapkit.checks.arguments import check_dt, check_flag, check_interval, check_interval_of_run, check_k, time_unit
from lyapkit.checks.fingerprint import fingerprint
from lyapkit.checks.named_arguments import named_arguments
from lyapkit.checks.progress import progress_bar
from lyapkit.checks.randomness import make_generator
from lyapkit.lyapunov.chunks import in_chunks
from lyapkit.lyapunov.decomposition import random_refill, refill_seed
from lyapkit.lyapunov.growth import Growth
from lyapkit.lyapunov.qr import initial_frame
from lyapkit.lyapunov.resuming import growth_of, names_of, states_after
from lyapkit.lyapunov.spectrum_values import spectrum_values, values_of_lengths
from lyapkit.lyapunov.stopping import errors_reached, grow_until
from lyapkit.recurrent_map import RecurrentMap
from lyapkit.results import make_dataset, provenance
from lyapkit.tangents.along import TangentRun
from lyapkit.trajectories.closed_loop import with_feedback
from lyapkit.trajectories.kept_states import KeptStates
from lyapkit.trajectories.networks import Networks
from lyapkit.trajectories.prepare_drive import prepare_drive


@named_arguments()
def lyapunov_spectrum(
    model: object,
    inputs: Any = None,
    *,
    steps: int | None = None,
    k: int | None = None,
    initial_state: Tensor | None = None,
    lengths: Any = None,
    batch_first: bool | None = None,
    trajectory_names: Collection[str | float] | None = None,
    feedback: Callable[[Tensor], Tensor] | None = None,
    teacher_forcing: float = 0.0,
    transient: int = 0,
    qr_interval: int | Literal["auto"] = "auto",
    frame_dtype: torch.dtype | None = None,
    dt: float = 1.0,
    until: float | None = None,
    until_exponents: Literal["leading", "all"] = "leading",
    max_steps: int = 100_000,
    resume: xr.Dataset | None = None,
    keep_states: bool = False,
    keep: Literal["series", "summary"] = "series",
    chunk: int | None = None,
    rng: torch.Generator | int | None = None,
    check: bool = True,
    progress: bool = False,
) -> xr.Dataset:
    r"""Compute Lyapunov exponents of a recurrent map, by QR decomposition along a trajectory.

    With the Jacobians :math:`J_t` along the trajectory and a frame :math:`Q_0`,

    .. math:: J_t Q_{t-1} = Q_t R_t, \qquad \lambda_i = \frac{1}{T} \sum_{t=1}^{T} \log |(R_t)_{ii}|.

    This is Algorithm 1 of Dubinin & Effenberger (2024), after Benettin et al. (1980) and Sandri (1996), with exact
    derivatives of the step. Frames are decomposed by Householder QR, or by Cholesky QR or Gram-Schmidt if these are as
    good (see `lyapkit.lyapunov.orthonormal`). A driven map has *conditional* exponents. They describe how perturbations
    of the state fade or grow under the given input, and none of them need be zero.

    For runs of 256 steps or more (fewer for large states), one step in float64 is compiled into machine code on the
    CPU. It is recorded with tensors that have no values, so no decision in Python can depend on values. Along the run,
    compiled states are compared with the map itself at 64 steps or more, and compiled tangents with forward mode at
    some of these steps. A step of sums, products and quotients gives the map's own states to the bit. Functions and
    matrix products may round differently. A chaotic trajectory then departs from that of the map after a while, and
    stays on the same attractor. A step that cannot be compiled is traced into straight-line operations, and every
    traced step is compared with the map. If a compiled or traced step differs from the map, the whole run is repeated
    without it. In the attribute ``config_json``, ``tangents`` names the method; ``tangents_not_compiled_because`` and
    ``tangents_not_traced_because`` give the reasons.

    Several networks of one architecture, such as seeds, checkpoints or a grid, are one call: ``[network, ...]`` or
    ``{name: network, ...}``. They have the exponents that each has alone, up to rounding. A call took a quarter to a
    seventh of the CPU time of a loop over 32 networks of 16 units, a third for 16 of 64 units, and about the same from
    128 units on, where nearly all work is products of matrices.

    Args:
        model: Anything `lyapkit.as_map` takes; also several networks.
        inputs: Inputs of a driven map, (T, M) for one sequence or (T, B, M) for many; or a PackedSequence.
        steps: Number of steps of an autonomous map.
        k: Number of leading exponents; all N by default.
        initial_state: Flat states (N,) or (B, N); the map's own by default.
        lengths: Number of steps of each of B sequences of unequal length, (B,) integers. Inputs after these steps are
            padding; they may be any numbers and change nothing. Not with ``until`` or ``resume``.
        batch_first: True if inputs have the layout (B, T, M) instead of (T, B, M). The default is the module's own
            ``batch_first``.
        trajectory_names: A text or a number for each trajectory, such as the conditions of an experiment. They are the
            coordinate ``trajectory`` of the result, which counts from 0 by default, and plots show them.
        feedback: Function from the map's output to its next input, such as a readout. It closes the loop: the map then
            runs freely and takes ``steps`` instead of ``inputs``.
        teacher_forcing: Share a of the given inputs with ``feedback``; the input is a s_t + (1 - a) feedback.
        transient: Number of leading steps that settle state and frame and are not counted.
        qr_interval: Number of steps between QR decompositions, at most those of the run. ``"auto"`` starts with 1, as
            in Algorithm 1, and stretches the interval while the condition number of the frame stays below 1e4 (1e6 for
            k <= 3, 1e3 for a float32 frame). The condition number is estimated from max |R_ii| / min |R_ii| and from
            samples of the 1-norm condition number. The interval is at most 1/64 of the run, so that standard errors
            keep enough windows. An interval adds an error of about eps times the largest condition number
            (``frame_condition``) to the lowest exponents; see `lyapkit.lyapunov.interval` for measurements.
        frame_dtype: Type of the frame and its QR; float64 by default, for any type of the map.
        dt: Duration of a step; exponents are divided by it and their units say so.
        until: Standard error of the leading exponent at which to stop, in the units of the result. The run also stops
            if all exponents are -inf, which further steps cannot change (``converged`` is 0 then). An autonomous map
            takes no ``steps`` with it; a driven one stops with its inputs at the latest. The errors are checked after
            1,024 counted steps and whenever the run has doubled.
        until_exponents: Exponents of every trajectory whose standard errors must reach ``until``: ``"leading"`` or
            ``"all"``.
        max_steps: Largest number of steps of an autonomous map with ``until``.
        resume: Earlier result for the same map and ``dt``, to be continued. The run starts at its final state and
            frame, and its steps count with the new ones. For a driven map, ``inputs`` are the further ones. The result
            of another map, such as one with other weights, is refused: a result stores what a step does at a few
            states. A result of ``keep="summary"`` is refused.
        keep: Results over time: ``"series"`` returns ``running_exponent`` and ``local_growth`` at each QR window;
            ``"summary"`` leaves them out, with the dimension ``step``. The run then takes the same memory however long
            it is: neighbouring windows are joined on the way, up to 4,096 (with ``lengths``, all windows are held until
            the end). All other variables are the same either way, up to rounding, since standard errors, halves and
            verdicts are computed from joined windows in both.
        keep_states: True to keep the state after every counted step, too: 8 T B N bytes in float64.
        chunk: Largest number of networks that run together, if the model is several (see `lyapkit.as_map`); all by
            default. It bounds the memory. Each chunk stops and chooses windows by itself, so it takes
            ``keep="summary"``, or a fixed ``qr_interval`` without ``until``.
        rng: Generator or seed of the random initial frame when k < N (for k = N it is the identity).
        check: True to probe the map before the run (deterministic, pure, finite), and to compare it with the map of a
            result to resume. Afterwards, steps all over the run are repeated, and derivatives there are compared with
            finite differences: at steps that are spread evenly, and at the steps whose derivatives look most wrong,
            of all steps or of a million that are spread evenly.
        progress: True to show a progress bar.

    Returns:
        A Dataset over ``trajectory``, ``step`` (the last one of each QR window), ``exponent`` (sorted descending) and
        ``unit``. Exponents are in nats per step, or per unit time with ``dt``.

        The map annihilates a direction if one counted step, or several together as in a delay line, leave nothing of
        it. Its exponent is then -inf, with ``standard_error`` NaN. The exponents are those of the product of the
        counted steps: a reset in the transient does not count, and a reset of everything among the counted steps makes
        all exponents -inf. An annihilated direction is replaced by a random one (``rng``), orthogonal to the surviving
        ones and behind them in the order, so that it takes no part of their growth. If nothing of a full frame
        survives, it starts again with the identity.

        A direction counts as annihilated if its rest is no larger than rounding the entries of the Jacobian and of the
        frame could have made it, under any scaling of rows and columns. Directions that merely fade fast keep their
        exponents, even far below eps times the others, if the entries of the Jacobian show them
        (`lyapkit.lyapunov.one_step`). ``below_resolution`` is 1 if float64 cannot tell the two cases apart, and for all
        exponents below such a one, since its rounding leaks into them. A run that rests on a kink of the map, as
        rectifiers without bias and input do at 0, gives a warning.

        - ``lyapunov_exponent`` with ``standard_error``, which respects autocorrelation, and
          ``error_degrees_of_freedom`` of Student's t for confidence intervals (the attribute of that name is the
          smallest that is not 0). ``error_reliable`` is 0, and the error inf, if the run is too short for its
          correlation time, or has fewer than 4 windows. ``memory_timescale`` is -1/lambda; inf if perturbations do not
          fade.
        - ``running_exponent`` and ``local_growth`` at each QR window (with ``keep="series"``), and ``last_step``, the
          last counted step. After the end of a shorter sequence, the running exponents stay constant, and the local
          growth is 0.
        - ``probability_positive``, the probability that the leading exponent is positive; ``kaplan_yorke_dimension``,
          with ``kaplan_yorke_is_lower_bound`` = 1 if k is too small to give more than a lower bound; and
          ``entropy_rate``, the sum of the positive exponents. The last two come with ``..._error``.
        - ``converged``: with ``until``, it is 1 if that error was reached. Otherwise it is 1 if the run is long against
          its correlation times, and its two halves agree within the errors of ``half_difference``, the second half's
          exponents minus the first's (a test with 1 % false alarms).
        - ``frame_condition``, the largest 1-norm condition number of the frame before a decomposition, and
          ``log_volume_residual``, the difference between the sum of the exponents and volumes computed without QR. Both
          are computed in the first 16 windows and in every 8th; in between, the condition number is estimated from
          |R_ii|.
        - ``final_state``, ``final_frame`` and ``frame_order``, from which ``resume`` continues.
        - ``state`` (trajectory, recorded_step, unit), with ``keep_states=True``, holds the states that `lyapkit.states`
          returns, in the type that the map computes in. After the end of a shorter sequence, they stay constant. A
          resumed run appends to the states of the earlier one, if these were kept.

    Raises:
        TypeError: If an argument is of the wrong kind (integer inputs, both or neither of inputs and steps).
        ValueError: If an argument is out of range, shapes or dtypes disagree, the map fails the probe, or it has
            changed during the run.
        FloatingPointError: If the trajectory or the frame overflows; the message names step and trajectory.

    Example:
        >>> import lyapkit, torch
        >>> rotation = torch.tensor([[0.0, -0.9], [0.9, 0.0]], dtype=torch.float64)
        >>> x0 = torch.zeros(2, dtype=torch.float64)
        >>> ds = lyapkit.lyapunov_spectrum(lyapkit.as_map(lambda x: rotation @ x, state=x0), steps=100)
        >>> ds.lyapunov_exponent.values.round(4).tolist()  # log 0.9, twice
        [[-0.1054, -0.1054]]
    """
    options = dict(locals())
    map = with_feedback(as_map(options.pop("model")), feedback, teacher_forcing)
    del options["chunk"]
    if chunk is not None:
        return in_chunks(lyapunov_spectrum, map, chunk, options)
    given_k, given_dtype = k, frame_dtype
    k = check_k(k, map.state_size)
    dt = check_dt(dt)
    if keep not in ("series", "summary"):
        raise ValueError(f'keep must be "series" or "summary", got {keep!r}.')
    if frame_dtype not in (None, torch.float32, torch.float64):
        raise ValueError(f"frame_dtype must be torch.float32 or torch.float64, got {frame_dtype!r}.")
    frame_dtype = torch.float64 if frame_dtype is None else frame_dtype
    before = None
    if resume is not None:
        if isinstance(map, Networks):
            raise TypeError("resume= continues the run of one network; resume each of several by itself.")
        if initial_state is not None or transient:
            raise TypeError("a resumed run starts where the earlier one ended; give no initial_state and no transient.")
        before = growth_of(resume, map, dt, given_k, given_dtype, check)
        initial_state, k, frame_dtype = before.state, before.frame.shape[-1], before.frame.dtype
        trajectory_names = names_of(resume, trajectory_names)
    if until is not None:
        steps = _steps_until(map, steps, until, until_exponents, max_steps)
    if (lengths is not None or isinstance(inputs, PackedSequence)) and (until is not None or resume is not None):
        raise TypeError("lengths= goes with neither until= nor resume=: the sequences end at different steps.")
    drive = prepare_drive(map, inputs, steps, initial_state, transient, lengths, batch_first, trajectory_names)
    kept = KeptStates() if check_flag("keep_states", keep_states) else None
    drive = replace(drive, kept=kept)
    interval = None if qr_interval == "auto" else check_interval_of_run(qr_interval, drive.steps)
    generator = make_generator(rng)
    run = TangentRun.prepare(map, drive, k, frame_dtype, check=check)
    if before is None:
        frame = initial_frame(drive.state.shape[0], map.state_size, k, generator, drive.state.to(frame_dtype))
    else:
        frame = before.frame
    seed = refill_seed(generator)

    def reached(growth: Growth) -> bool:
        assert until is not None
        settled = errors_reached(growth, until * dt, until_exponents == "leading")
        return bool((settled | torch.isneginf(growth.log_growth).any(dim=0).all(dim=-1)).all())

    def grow(run: TangentRun) -> Growth:
        with progress_bar(drive.steps, "Lyapunov spectrum", progress) as bar:
            return grow_until(
                run,
                frame,
                interval=interval,
                refill=random_refill(seed),
                reached=None if until is None else reached,
                before=before,
                join=keep == "summary" and drive.lengths is None,
                on_steps=bar.update,
            )

    growth = run.follow(grow)
    run.confirm()
    settled = drive.transient if resume is None else json.loads(resume.attrs["config_json"])["transient"]
    config: dict[str, object] = {
        "steps": settled + growth.steps,
        "transient": settled,
        "k": k,
        "qr_interval": "auto" if interval is None else interval,
        "windows": growth.decompositions,
        "keep": keep,
        "trajectories": growth.state.shape[0],
        "frame_dtype": str(frame_dtype).removeprefix("torch."),
        "dt": dt,
        "until": until,
        "until_exponents": until_exponents,
        "driven": map.input_size > 0,
        "feedback": feedback is not None,
        "teacher_forcing": teacher_forcing,
        "rng_seed": generator.initial_seed(),
        **run.notes,
        "map_images": fingerprint(map, growth.state[0]) if check and not isinstance(map, Networks) else None,
    }
    with run.threads():
        if drive.lengths is None:
            stop = None if until is None else (until, until_exponents)
            values, freedom = spectrum_values(growth, map.state_size, dt, stop, keep == "series")
            last = torch.full(drive.state.shape[:1], settled + growth.steps, device="cpu")
        else:
            values, freedom = values_of_lengths(
                growth, map.state_size, dt, drive.transient, drive.lengths, keep == "series"
            )
            last = drive.lengths
    values["last_step"] = last
    coordinates: dict[str, Any] = {
        **drive.coordinates,
        "exponent": np.arange(1, k + 1),
        "unit": list(map.unit_names),
    }
    if keep == "series":
        coordinates["step"] = (settled + growth.window.cumsum(0)).long().cpu().numpy()
    arrays = {name: value.cpu().numpy() for name, value in values.items()}
    if kept is not None:
        done = 0 if before is None else before.steps
        states = kept.between(drive.transient, drive.transient + growth.steps - done).numpy()
        arrays["state"], coordinates["recorded_step"] = states_after(resume, states, settled + done)
    attributes = provenance(config, dtype=map.dtype, device=map.device)
    attributes["error_degrees_of_freedom"] = freedom
    return make_dataset("lyapunov_spectrum", arrays, coordinates, attributes, time_unit(dt))


def _steps_until(map: RecurrentMap, steps: int | None, until: float, exponents: str, max_steps: int) -> int | None:
    """Return the largest number of steps of a run with a stop rule: None for a driven map, whose inputs say it."""
    if isinstance(until, bool) or not isinstance(until, int | float):
        raise TypeError(f"until must be a number, a standard error, got {until!r}; convert it with float().")
    if not (until > 0 and math.isfinite(until)):
        raise ValueError(f"until must be a positive standard error, got {until!r}.")
    if exponents not in ("leading", "all"):
        raise ValueError(f'until_exponents must be "leading" or "all", got {exponents!r}.')
    if steps is not None:
        raise TypeError("give steps= for a run of fixed length, or until= and max_steps= for a stop rule, not both.")
    return None if map.input_size else check_interval(max_steps, "max_steps")

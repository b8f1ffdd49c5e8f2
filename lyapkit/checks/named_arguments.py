"""Refusal of calls with a misnamed, missing or superfluous argument, in one sentence that says what to write."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from difflib import get_close_matches
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

NAMES = {
    "hessian_k": "n_eigenvalues num_eigenvalues n_eigs num_eigs n_eig top_k",
    "k": "n_exponents num_exponents n_lyap n_lyapunov n_le nb_exponents num_lyap n_eigenvalues num_eigenvalues "
    "n_eigs num_eigs n_eig top_k topk n_vectors num_vectors n_components rank q",
    "transient": "burn_in burnin n_burn warmup warm_up n_warmup washout discard n_transient transient_steps "
    "n_discard skip spin_up settle_steps",
    "steps": "t n n_steps num_steps nsteps length n_iterations iterations n_iter t_max n_timesteps time_steps "
    "timesteps horizon duration",
    "rng": "seed random_state random_seed generator rng_seed key prng",
    "seed": "rng random_state random_seed generator",
    "initial_state": "h0 hx x0 init y0 z0 c0 s0 state initial h_0 hidden hidden_state init_state start",
    "starts": "initial_states init_states inits guesses x0 h0 states initial_state init candidates",
    "n_starts": "n_inits num_starts n_samples num_samples samples n_seeds n_points num_points n_restarts restarts",
    "max_iterations": "max_iters max_iter maxiter n_iter iterations max_n_iters max_steps",
    "state": "h0 hx x0 init y0 z0 initial_state example_state hidden example h",
    "input": "inputs example_input s u x sequence",
    "inputs": "input x xs s u data sequence sequences input_sequence driver signal drive",
    "targets": "target y ys labels label",
    "loss": "loss_fn loss_function criterion objective",
    "trajectory_names": "conditions condition condition_names names trials trial_names sequence_names "
    "trajectory_labels labels",
    "learning_rate": "lr eta step_size",
    "model": "net network rnn module map cell system obj f",
    "obj": "model net network module cell f function callable",
    "readout": "head decoder output_layer output",
    "progress": "verbose pbar progress_bar show_progress tqdm disp",
    "tolerance": "tol rtol atol eps epsilon threshold",
    "max_products": "max_iter maxiter n_iter max_iterations iterations max_steps max_matvecs",
    "max_steps": "max_iter maxiter t_max",
    "qr_interval": "qr_every qr_steps renorm_every reorthonormalize_every ortho_every interval renormalize",
    "dt": "delta_t time_step timestep step_size tau",
    "batches": "batch data dataloader loader dataset train_loader",
    "probes": "n_probes num_probes n_samples n_vectors num_samples samples",
    "order": "lanczos_steps n_lanczos lanczos_order degree",
    "path": "filename file fname file_name filepath file_path name target",
    "result": "ds dataset data results tree obj",
    "ds": "result dataset data results spectrum",
    "ax": "axes axis axs fig figure",
    "axes": "ax axis axs",
    "trajectory": "traj sequence sample batch index",
    "parameters": "params weights wrt",
    "record_every": "every save_every thinning stride subsample",
    "norms": "norm ord p",
    "norm": "norms ord p",
    "include": "analyses only which methods",
    "size": "n n_units units hidden_size dim dimension",
    "gain": "g sigma",
    "check": "validate verify checks strict",
    "device": "cuda gpu",
    "dtype": "precision float_type",
    "batch_first": "time_major time_first",
    "every": "every_n_epochs every_n_steps every_n_iterations freq frequency period",
    "core": "recurrent recurrent_part rnn_part",
    "encoder": "embedding embed input_layer",
    "reduction": "reduce",
    "batch_weight": "batch_weights weight_of_batch",
    "loss_on": "read_at loss_at",
}
"""Other common names of each argument."""

PARTS = "name the parts of a whole model with as_map(model, core=..., encoder=..., readout=...), and pass the map"

ELSEWHERE = {
    "device": "move the model and its inputs with .to(device) before the call",
    "dtype": "convert the model and its inputs with .to(dtype) before the call",
    "rng": "nothing is drawn at random here, so leave it out",
    "core": PARTS,
    "encoder": PARTS,
    "readout": "the outputs of the network are not read here, so leave it out",
    "targets": "no loss is taken here, so leave it out",
    "loss": "no loss is taken here, so leave it out",
    "learning_rate": "nothing depends on it here, so leave it out",
    "batch_first": "bring the inputs to (T, B, M) with .transpose(0, 1)",
    "progress": "there is no progress to show here, so leave it out",
    "reduction": "losses of several batches are not put together here, so leave it out",
    "batch_weight": "losses of several batches are not put together here, so leave it out",
    "loss_on": "a loss on every step takes a module that returns the outputs of all steps, without readout=",
}
"""The remedy for each argument that a function does not have."""

OF_THE_AXES = {
    "figsize": "make axes with plt.subplots(figsize=...), and pass them, ax=",
    "figure": "make axes with figure.subplots(), and pass them, ax=",
    "title": "set it on the axes that are returned, with .set_title(...)",
    "xlabel": "set it on the axes that are returned, with .set_xlabel(...)",
    "ylabel": "set it on the axes that are returned, with .set_ylabel(...)",
    "xlim": "set it on the axes that are returned, with .set_xlim(...)",
    "ylim": "set it on the axes that are returned, with .set_ylim(...)",
    "labels": "to compare several results, give them names, {name: result}",
    "names": "to compare several results, give them names, {name: result}",
}
"""The remedy for each common argument of plots that is a matter of their axes or of the dictionary of results."""


def named_arguments(passed_on: Collection[str] = ()) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a public function so that wrong calls are refused with the argument that was probably meant.

    Signature, types and docstring stay those of the function. A right call costs about a microsecond more.

    Args:
        passed_on: Names that the function takes as ``**keywords`` and passes on to another library.

    Returns:
        The decorator.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        kinds = inspect.Parameter
        shown = function.__qualname__.removesuffix(".__init__").rpartition(".")[-1]
        parameters = inspect.signature(function).parameters.values()
        by_position = [each.name for each in parameters if each.kind is kinds.POSITIONAL_OR_KEYWORD]
        known = [each.name for each in parameters if each.kind is not kinds.VAR_KEYWORD]
        taken = frozenset((*known, *passed_on))
        needed = [each.name for each in parameters if each.default is kinds.empty and each.name in known]

        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            if len(args) > len(by_position) or not taken.issuperset(kwargs):
                own = by_position[:1] == ["self"]  # which the caller does not write
                raise TypeError(_refusal(shown, by_position[own:], known[own:], passed_on, args[own:], kwargs))
            given = by_position[: len(args)]
            missing = [name for name in needed if name not in kwargs and name not in given]
            if missing:
                raise TypeError(_missing(shown, [name for name in needed if name != "self"], missing))
            return function(*args, **kwargs)

        return checked

    return decorate


def _refusal(
    name: str,
    by_position: Sequence[str],
    known: Sequence[str],
    passed_on: Collection[str],
    args: Sequence[object],
    kwargs: Mapping[str, object],
) -> str:
    listing = f" Its arguments are {_in_words(known)}." if known else ""
    unknown = [each for each in kwargs if each not in known and each not in passed_on]
    if unknown:
        remedies = (f"{name} has no argument {each!r}{_remedy(each, known, passed_on)}" for each in unknown)
        return " ".join(remedies) + listing
    remedy = "leave the others out" if len(known) == len(by_position) else "give the others by name"
    if "batches" in by_position and len(args) == len(by_position) + 1:
        remedy = f"inputs and targets are one pair: {name}(model, (inputs, targets), loss)"
    expected = _in_words(by_position) if by_position else "nothing"
    return f"{name} takes {expected} by position, got {len(args)} arguments; {remedy}.{listing}"


def _remedy(wrong: str, known: Sequence[str], passed_on: Collection[str]) -> str:
    """Say what to write instead of an argument that does not exist; a full stop where no guess is good."""
    lowered = wrong.casefold()
    meant = [right for right, names in NAMES.items() if lowered == right or lowered in names.split()]
    for right in meant:
        if right in known or right in passed_on:
            return f"; write {right}=."
    spelled = {each.casefold(): each for each in known}
    if close := get_close_matches(lowered, spelled, n=1, cutoff=0.8):
        return f"; did you mean {spelled[close[0]]}=?"
    if "batches" in known and {"inputs", "targets"} & set(meant):
        return "; inputs and targets are one pair, batches=(inputs, targets)."
    if "batches" in meant and {"inputs", "targets"} <= set(known):
        return "; inputs and targets are two arguments, inputs= and targets=."
    if "ax" in known and lowered in OF_THE_AXES:
        return f"; {OF_THE_AXES[lowered]}."
    for right in meant:
        if right in ELSEWHERE:
            loop = ", or close the loop with feedback=" if right == "readout" and "feedback" in known else ""
            return f"; {ELSEWHERE[right]}{loop}."
    spelled |= {each.casefold(): each for each in passed_on}
    close = get_close_matches(lowered, spelled, n=1)
    return f"; did you mean {spelled[close[0]]}=?" if close else "."


def _missing(name: str, needed: Sequence[str], missing: Sequence[str]) -> str:
    remedy = ""
    if missing == ["loss"] and "targets" in needed:
        remedy = "; inputs and targets are two arguments"
    verb = "is" if len(missing) == 1 else "are"
    return f"{name} needs {_in_words(needed)}, but {_in_words(missing)} {verb} missing{remedy}."


def _in_words(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1]))) if names else ""

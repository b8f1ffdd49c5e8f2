"""``lyapkit report``: analyse a network and write one page about it."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from lyapkit_command.arrays import read_named
from lyapkit_command.errors import UserError, clause, printable, suggestion
from lyapkit_command.functions import load_named, make_network
from lyapkit_command.guard import SUCCESS
from lyapkit_command.parse import parse
from lyapkit_command.weights import load_weights

if TYPE_CHECKING:
    from torch import Tensor, nn

SUMMARY = "analyse a network and write one page about it"

Analysis = Literal["lyapunov_spectrum", "variational_term", "gradient_propagation", "hessian_spectrum"]

LOSSES = (
    "mse_loss",
    "l1_loss",
    "smooth_l1_loss",
    "huber_loss",
    "cross_entropy",
    "nll_loss",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
)
"""Losses of torch.nn.functional that are known by their names."""


@dataclass(frozen=True)
class Arguments:
    """Analyse a recurrent network of your own and write one HTML page about it.

    The network is what a Python function returns, with weights from a safetensors file. Without --targets, Lyapunov
    spectrum and variational term are computed, with them gradients and Hessian too. Everything is done in evaluation
    mode.
    """

    network: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODULE:FACTORY")]
    """Function without arguments that returns the network, such as network.py:make or package.module:make."""

    output: Path
    """Page to write, ending in .html. An existing file is replaced."""

    checkpoint: Path | None = None
    """Weights, a safetensors file; those that the function gives the network if not given."""

    inputs: Annotated[str | None, tyro.conf.arg(metavar="FILE[:NAME]")] = None
    """Inputs (T, B, M), a .npy file or an array of a .npz archive, there named "inputs" or NAME."""

    targets: Annotated[str | None, tyro.conf.arg(metavar="FILE[:NAME]")] = None
    """Targets of the B sequences, as the loss reads them, an array named "targets" or NAME."""

    lengths: Annotated[str | None, tyro.conf.arg(metavar="FILE[:NAME]")] = None
    """Steps of each of B sequences of unequal length, an array named "lengths" or NAME."""

    loss: Annotated[str | None, tyro.conf.arg(metavar="NAME|MODULE:FUNCTION")] = None
    """Loss of outputs and targets: mse_loss, cross_entropy or another of torch.nn.functional, or a function. Needed
    with --targets."""

    batch_first: bool | None = None
    """Inputs lie (B, T, M); as the network's own batch_first says if not given."""

    core: str | None = None
    """Name of the recurrent part of a whole model, such as rnn or decoder.rnn."""

    encoder: Annotated[str | None, tyro.conf.arg(metavar="NAME|MODULE:FUNCTION")] = None
    """Part before the recurrent one, with --core: its name in the model, or a function."""

    readout: Annotated[str | None, tyro.conf.arg(metavar="NAME|MODULE:FUNCTION")] = None
    """Part after the recurrent one: its name in the model, with --core, or a function."""

    include: tuple[Analysis, ...] | None = None
    """Analyses to do; those that the given arguments allow if not given."""

    steps: int | None = None
    """Number of steps of a network without inputs."""

    transient: int = 0
    """Number of leading steps that the Lyapunov spectrum leaves out."""

    trajectories: int | None = None
    """Number of sequences that Lyapunov spectrum and variational term follow, the first of the B; all if not given."""

    k: int | None = None
    """Number of leading exponents; all if not given."""

    hessian_k: int | None = None
    """Number of Hessian eigenvalues; 20, or as many as there are parameters, if not given."""

    operator: Literal["hessian", "ggn", "residual"] = "hessian"
    """Operator whose eigenvalues are computed: the Hessian, or one of its parts, the generalised Gauss-Newton matrix
    and the residual term."""

    parameters: Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="GLOB [GLOB ...]")] = None
    """Parameters of the Hessian, by name or glob, such as "*weight_hh*"; all if not given."""

    dtype: Literal["float32", "float64"] | None = None
    """Type to compute in; that of the network if not given."""

    seed: int = 0
    """Seed of random start vectors."""

    title: str | None = None
    """Heading of the page; the name of its file if not given."""

    result: Path | None = None
    """Result file to write too, ending in .nc, which `lyapkit.load` opens. An existing file is replaced."""


def run(arguments: Sequence[str]) -> int:
    """Parse, analyse and write; returns the exit code."""
    parsed: Arguments = parse(Arguments, arguments, "lyapkit report", ())
    _check_targets(parsed)
    import lyapkit

    with _warnings_in_one_line():
        tree = _analyse(parsed)
        if parsed.result is not None:
            lyapkit.save(tree, parsed.result)
        lyapkit.report(tree, parsed.output, title=parsed.title)
    print(f"written to {' and '.join(str(path) for path in (parsed.result, parsed.output) if path is not None)}")
    return SUCCESS


def _check_targets(parsed: Arguments) -> None:
    """Refuse before the first long computation what would be refused after it."""
    for option, path, suffix in (("output", parsed.output, ".html"), ("result", parsed.result, ".nc")):
        if path is None:
            continue
        if path.suffix.casefold() != suffix:
            raise UserError(f"the name given by --{option} must end in {suffix}, got {path}.")
        if not path.parent.is_dir():
            raise UserError(f"the directory {path.parent} of --{option} does not exist; create it first.")
        if path.is_dir() or (path.exists() and not path.is_file()):
            raise UserError(f"{path}, given by --{option}, is not a regular file; name another.")
    if (parsed.inputs is None) == (parsed.steps is None):
        raise UserError("give --inputs FILE, or --steps NUMBER for a network without inputs.")
    if parsed.targets is not None and parsed.loss is None:
        raise UserError(f"--targets needs --loss: {', '.join(LOSSES)}, or MODULE:FUNCTION.")
    if parsed.encoder is not None and parsed.core is None:
        raise UserError("--encoder is the part before the recurrent part; name that with --core.")
    for name in sorted({"gradient_propagation", "hessian_spectrum"} & set(parsed.include or ())):
        if parsed.targets is None:
            raise UserError(f"{name} needs --targets and --loss.")


def _analyse(parsed: Arguments) -> Any:
    import lyapkit

    network = make_network(parsed.network)
    digest = _prepare(network, parsed)
    loss: Any = None if parsed.loss is None else _loss(parsed.loss)
    readout: Any = _part(parsed.readout, "readout", parsed.core)
    if parsed.core is not None:
        encoder = _part(parsed.encoder, "encoder", parsed.core)
        network, readout = lyapkit.as_map(network, core=parsed.core, encoder=encoder, readout=readout), None
    map = _map(network)
    inputs = None if parsed.inputs is None else _tensor(parsed.inputs, "inputs", map)
    if inputs is not None and parsed.core is not None:
        inputs = map.encode(inputs)
    tree = lyapkit.analyze(
        network,
        inputs,
        None if parsed.targets is None else _tensor(parsed.targets, "targets", map),
        loss,
        readout=readout,
        include=_analyses(parsed),
        k=parsed.k,
        hessian_k=parsed.hessian_k,
        operator=parsed.operator,
        parameters=parsed.parameters,
        lengths=None if parsed.lengths is None else read_named(parsed.lengths, "lengths"),
        batch_first=parsed.batch_first,
        steps=parsed.steps,
        trajectories=parsed.trajectories,
        transient=parsed.transient,
        rng=parsed.seed,
        progress=True,
    )
    for node in tree.children.values():
        node.attrs["checkpoint_sha256"] = digest
    return tree


def _analyses(parsed: Arguments) -> tuple[str, ...]:
    """Return the analyses that are asked for, or those that the given arguments allow."""
    if parsed.include is not None:
        return parsed.include
    with_targets = ("gradient_propagation",) if parsed.inputs is None else ("gradient_propagation", "hessian_spectrum")
    return ("lyapunov_spectrum", "variational_term", *(with_targets if parsed.targets is not None else ()))


def _prepare(network: Any, parsed: Arguments) -> str:
    """Bring a network into its type, weights and evaluation mode; return the digest of the weights file."""
    import torch

    is_module = isinstance(network, torch.nn.Module)
    if not is_module and (parsed.checkpoint is not None or parsed.dtype is not None):
        option = "checkpoint" if parsed.checkpoint is not None else "dtype"
        raise UserError(
            f"{parsed.network} returns {type(network).__name__}, and --{option} needs a torch.nn.Module; return that, "
            "and name its recurrent part with --core."
        )
    if not is_module:
        return ""
    if parsed.dtype is not None:
        network.to(getattr(torch, parsed.dtype))
    digest = "" if parsed.checkpoint is None else load_weights(network, parsed.checkpoint)
    network.eval()
    return digest


def _map(network: Any) -> Any:
    """Return the map of a network, for its type and its inputs."""
    import lyapkit

    try:
        return lyapkit.as_map(network)
    except TypeError as error:
        if "core=" in str(error):
            raise UserError(f"{clause(error)} On the command line, --core names it.") from error
        raise


def _loss(text: str) -> Callable[..., Tensor]:
    from torch.nn import functional

    if ":" in text:
        return _function(text, "loss")
    if text not in LOSSES:
        raise UserError(
            f"there is no loss {text!r}.{suggestion(text, LOSSES)} Known are {', '.join(LOSSES)}; or give "
            "MODULE:FUNCTION."
        )
    found: Callable[..., Tensor] = getattr(functional, text)
    return found


def _part(text: str | None, option: str, core: str | None) -> str | Callable[..., Tensor] | None:
    """Return a name of a part of the model as it is, and the function or module that another text names."""
    if text is None or (core is not None and ":" not in text):
        return text
    return _function(text, option)


def _function(text: str, what: str) -> Callable[..., Tensor]:
    found: Callable[..., Tensor] | nn.Module = load_named(text, what)
    if not callable(found):
        raise UserError(f"the {what} {text} is {type(found).__name__}; name a function.")
    return found


def _tensor(text: str, option: str, map: Any) -> Tensor:
    """Return an array as a tensor: floating-point numbers in the type of the map, integers as those of classes."""
    import torch

    array = read_named(text, option)
    kind = map.dtype if array.dtype.kind == "f" else torch.bool if array.dtype.kind == "b" else torch.int64
    return torch.as_tensor(array).to(map.device, kind)


@contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    """Print warnings as they come, without the line of the program that raises them."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        print(f"lyapkit: warning: {printable(str(message))}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield

"""The choice of parameters by names, globs or a predicate."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lyapkit.checks.clause import clause

ParameterChoice = str | Sequence[str] | Callable[[str, nn.Parameter], bool]
"""A predicate ``(name, tensor) -> bool``, or names and globs such as ``"*weight_hh*"``, one or several."""


def choose_parameters(available: Mapping[str, nn.Parameter], choice: ParameterChoice | None) -> dict[str, nn.Parameter]:
    """Return the chosen parameters by name, or all that require gradients.

    A text that is a name stands for that parameter. Any other text is a glob, and stands for all names that match it by
    `fnmatch.fnmatchcase`. Globs and predicates choose among the parameters that require gradients. A frozen parameter
    that is named is refused, and so is a glob that matches frozen ones only. Named parameters keep the order in which
    they are named; parameters that a glob or a predicate chooses keep that of the model. Each comes once. A tensor with
    several names, such as tied weights, is chosen by each of them, and comes under its first name.

    Args:
        available: The parameters, by all their names.
        choice: Names and globs, a predicate, or None for all that require gradients.

    Raises:
        TypeError: If the choice is something else, or a predicate returns neither true nor false.
        ValueError: If a text matches no parameter or only frozen ones, no parameter is chosen, or one has a type
            without curvature.
    """
    trainable = {name: tensor for name, tensor in available.items() if tensor.requires_grad}
    if choice is None:
        chosen = trainable
    elif callable(choice) and not isinstance(choice, nn.Module):
        chosen = {name: tensor for name, tensor in trainable.items() if _verdict(choice, name, tensor)}
        if trainable and not chosen:
            raise ValueError(
                f"the predicate of parameters chooses none of {list(trainable)}, those that require gradients. Let it "
                "choose at least one."
            )
    else:
        texts = [choice] if isinstance(choice, str) else choice
        chosen = {name: available[name] for name in _matching(available, texts)}
    first_names: dict[int, str] = {}
    for name, tensor in available.items():
        first_names.setdefault(id(tensor), name)
    chosen = {first_names[id(tensor)]: tensor for tensor in chosen.values()}
    if not chosen:
        raise ValueError(
            "the model has no parameters that require gradients, so it has no Hessian. Call .requires_grad_() on some."
        )
    for name, tensor in chosen.items():
        if tensor.is_complex():
            raise ValueError(
                f"parameters must be real (float32 or float64) to have a Hessian, got {name!r} of {tensor.dtype}. Keep "
                "its real and imaginary part as parameters (torch.view_as_real) and join them with torch.complex."
            )
        if tensor.dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"parameters must be float32 or float64, got {name!r} of {tensor.dtype}, which is too coarse for "
                "second derivatives. Convert model and inputs with .double()."
            )
    return chosen


def names_and_shapes(parameters: Mapping[str, Tensor]) -> list[list[object]]:
    """Return names and shapes in the order of their entries in vectors, ready for JSON."""
    return [[name, list(tensor.shape)] for name, tensor in parameters.items()]


def _verdict(predicate: Callable[[str, nn.Parameter], bool], name: str, tensor: nn.Parameter) -> bool:
    try:
        inspect.signature(predicate).bind(name, tensor)
    except TypeError as error:
        raise TypeError(
            f"the predicate of parameters must take the arguments (name, tensor), which it does not ({clause(error)})."
        ) from error
    except ValueError:
        pass  # functions written in C may have no signature
    answer = predicate(name, tensor)
    if not isinstance(answer, bool | np.bool_):
        raise TypeError(
            f"the predicate of parameters must return True or False, got {answer!r} for {name!r}. It is called as "
            "predicate(name, tensor); wrap what it returns in bool(...)."
        )
    return bool(answer)


def _matching(available: Mapping[str, nn.Parameter], texts: Any) -> list[str]:
    """Return the names that texts stand for, in the order of the texts."""
    _check_texts(texts)
    found: dict[str, list[str]] = {
        text: [text] if text in available else [name for name in available if fnmatchcase(name, text)] for text in texts
    }
    if unknown := [text for text, names in found.items() if not names]:
        parts = [f"{text}.*" for text in unknown if any(name.startswith(f"{text}.") for name in available)]
        remedy = f" Write {parts} for all parameters of a part." if parts else ""
        raise ValueError(
            f"unknown parameters {unknown}, which match no name. The model has {sorted(available)}.{remedy}"
        )
    kept = {text: [name for name in names if available[name].requires_grad] for text, names in found.items()}
    if frozen := [name for text, names in found.items() if not kept[text] for name in names]:
        raise ValueError(f"parameters {frozen} do not require gradients; call .requires_grad_() on them.")
    return [name for names in kept.values() for name in names]


def _check_texts(texts: Any) -> None:
    if isinstance(texts, Tensor | nn.Module | Iterator) or not isinstance(texts, Iterable):
        raise TypeError(
            f"parameters must be names, globs, or a predicate (name, tensor) -> bool, got {type(texts).__name__}. "
            "Write a list of names."
        )
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(
                f"parameters must be names, got {type(text).__name__} among them. Write [name for name, _ in "
                "model.named_parameters()] for all of a module."
            )
    if not list(texts):
        raise ValueError(
            "parameters must name at least one parameter, got none. Leave it out for all that require gradients."
        )

"""Python functions and networks that a command line names: MODULE:NAME."""

from __future__ import annotations

import sys
import traceback
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from lyapkit_command.errors import UserError, clause, suggestion

Result = TypeVar("Result")

WEIGHTS = (".safetensors", ".pt", ".pth", ".ckpt")
"""Endings of files of weights."""

_FILE_MODULE = "lyapkit_command_network"
"""Name of the module of a file, by which it shadows no other."""


def load_named(reference: str, what: str) -> Any:
    """Return what a reference names.

    Args:
        reference: The name, ``MODULE:NAME``; MODULE is a module, also in the current directory, or a path that ends in
            ``.py``.
        what: The thing that is named, for messages, such as ``"network"``.

    Raises:
        UserError: If it is no such reference but, for example, a file of weights, the module cannot be imported, or it
            has no such name.
    """
    place, _, name = reference.rpartition(":")
    if reference.endswith(WEIGHTS):
        raise UserError(
            f"the {what} {reference!r} is a file of weights; give it by --checkpoint, and as the network the function "
            "that makes it, such as network.py:make. A run of wcrnn is analysed by wcrnn analyze."
        )
    if not place or not name:
        raise UserError(
            f"the {what} {reference!r} must be MODULE:NAME, such as network.py:make or package.module:make."
        )
    module = _from_file(Path(place), what) if place.endswith(".py") else _from_path(place, what)
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise UserError(f"{place} has no {name!r}.{suggestion(part, dir(found))}")
        found = getattr(found, part)
    return found


def make_network(reference: str) -> Any:
    """Return the network that a function builds.

    Args:
        reference: The function, see `load_named`; a class is called too, and a module of PyTorch is taken as it is.

    Raises:
        UserError: If it cannot be found or called, or raises an error.
    """
    from torch import nn

    from lyapkit import RecurrentMap

    found = load_named(reference, "network")
    if isinstance(found, nn.Module | RecurrentMap):
        return found
    if not callable(found):
        raise UserError(
            f"{reference} is {type(found).__name__}; name a function without arguments that returns the network."
        )
    try:
        made = found()
    except (Exception, SystemExit) as error:
        raise UserError(_raised(reference, error)) from error
    if made is None:
        raise UserError(f"{reference} returns nothing; let it return the network.")
    return made


def _from_path(name: str, what: str) -> ModuleType:
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            remedy = f"; for a file, write {name}.py" if Path(f"{name}.py").is_file() else ""
            raise UserError(
                f"there is no module {name!r} for the {what}, here or among the installed ones{remedy}."
            ) from error
        raise UserError(_raised(name, error)) from error
    except (Exception, SystemExit) as error:
        raise UserError(_raised(name, error)) from error


def _from_file(path: Path, what: str) -> ModuleType:
    if not path.is_file():
        raise UserError(f"there is no file {path} for the {what}.")
    name = f"{_FILE_MODULE}_{abs(hash(path.resolve()))}"
    if name in sys.modules:
        return sys.modules[name]
    specification = spec_from_file_location(name, path)
    assert specification is not None, "the name ends in .py"
    assert specification.loader is not None
    module = module_from_spec(specification)
    if (folder := str(path.resolve().parent)) not in sys.path:
        sys.path.insert(0, folder)  # its own imports, as when Python runs the file
    sys.modules[name] = module  # dataclasses and pickles look their module up
    try:
        specification.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise UserError(_raised(str(path), error)) from error
    return module


def _raised(where: str, error: BaseException) -> str:
    """Say which error a user's code has raised, and in which line."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith("<frozen")]
    line = f" (line {own[-1].lineno} of {own[-1].filename})" if len(own) > 1 else ""
    return f"{where} raised {type(error).__name__}: {clause(error)}{line}."

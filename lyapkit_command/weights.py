"""Weights of a network from a safetensors file, which executes nothing."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lyapkit_command.errors import UserError, clause

if TYPE_CHECKING:
    from torch import Tensor, nn

PICKLES = (b"PK\x03\x04", b"\x80")
"""Beginnings of files that ``torch.save`` writes, of today and of before."""


def load_weights(model: nn.Module, path: Path) -> str:
    """Copy the weights of a file into a network.

    Args:
        model: The network.
        path: A safetensors file with all its weights. Of tied weights, one name is enough.

    Returns:
        The SHA-256 of the file.

    Raises:
        UserError: If there is no such file, it is of another kind or damaged, or its weights do not fit the network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    if not path.is_file():
        raise UserError(f"there is no file {path} for --checkpoint.")
    content = path.read_bytes()
    if content.startswith(PICKLES):
        raise UserError(
            f"{path} is a pickle of torch.save, which can execute code when it is read; convert it where you trust it: "
            f'safetensors.torch.save_file(torch.load("{path.name}", weights_only=True), "{path.stem}.safetensors").'
        )
    try:
        weights = load(content)
    except (SafetensorError, ValueError) as error:
        raise UserError(
            f"{path} is not a whole safetensors file ({clause(error)}); write it with safetensors.torch.save_file."
        ) from error
    own = {name: value for name, value in model.state_dict().items() if hasattr(value, "data_ptr")}
    _refuse_other_names(path, type(model).__name__, weights, own)
    for name, value in weights.items():
        if value.shape != own[name].shape:
            raise UserError(
                f"{path}: {name} has the shape {tuple(value.shape)}, in the network {tuple(own[name].shape)}; build "
                "the network with the sizes that it was trained with."
            )
        _refuse_rounding(path, name, value, own[name])
    model.load_state_dict(weights, strict=False)
    return sha256(content).hexdigest()


def _refuse_other_names(path: Path, kind: str, weights: dict[str, Tensor], own: dict[str, Tensor]) -> None:
    unknown = sorted(name for name in weights if name not in own)
    there = {_place(own[name]) for name in weights if name in own}
    lost = [name for name in own if name not in weights and _place(own[name]) not in there]
    if not unknown and not lost:
        return
    text = f"the weights in {path} do not fit {kind}: "
    text += "; ".join(
        f"{what} {_listed(names)}" for what, names in (("it lacks", lost), ("it has the unknown", unknown)) if names
    )
    ends = [(name, each) for name in unknown for each in lost if name.endswith(f".{each}")]
    if ends:
        name, each = ends[0]
        prefix = name.removesuffix(each)
        text += f"; take the prefix {prefix!r} off the names: {{name.removeprefix({prefix!r}): value for name, value "
        text += "in weights.items()}"
    raise UserError(f"{text}.")


def _place(value: Tensor) -> tuple[Any, ...]:
    """Return what tied weights share."""
    return value.data_ptr(), tuple(value.shape), value.stride()


def _refuse_rounding(path: Path, name: str, value: Tensor, own: Tensor) -> None:
    import torch

    if torch.promote_types(value.dtype, own.dtype) != own.dtype:
        given, there = (str(dtype).removeprefix("torch.") for dtype in (value.dtype, own.dtype))
        raise UserError(
            f"{path}: {name} is {given}, and {there} in the network, which would round it; give --dtype {given}."
        )


def _listed(names: list[str]) -> str:
    return ", ".join(names if len(names) <= 4 else [*names[:3], f"{len(names) - 3} more"])

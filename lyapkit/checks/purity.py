"""Checks of a map while it is called once: it must not use layers in training mode, nor change buffers."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from lyapkit.checks.one_at_a_time import WarningsHere

_HOOKED = WarningsHere("ignore", r"Using `torch.compile\(module\)` when there are global hooks")
"""Warning of compiled modules, for which a hook is called once more than for others."""

HIDDEN_STATE = (
    "two calls with the same state and input differ, so the map keeps a hidden state or draws random numbers; make "
    "what it keeps, in a module or a closure, part of the state, and what it draws an input, or call .eval()."
)

RANDOM_NUMBERS = (
    "the map draws random numbers, so its exponents are not defined; call .eval() on modules with dropout, or draw the "
    "noise beforehand and give it as inputs."
)


@dataclass(frozen=True)
class _Buffer:
    """A buffer as it was: the tensor, how often it had been changed in place, and its values."""

    tensor: Tensor
    version: int
    values: Tensor

    @classmethod
    def of(cls, tensor: Tensor) -> _Buffer:
        return cls(tensor, cls._version(tensor), tensor.detach().clone())

    @staticmethod
    def _version(tensor: Tensor) -> int:
        return -1 if tensor.is_inference() else tensor._version  # inference tensors cannot be changed outside of it

    def differs_from(self, now: Tensor | None) -> bool:
        if now is self.tensor:
            return self._version(now) != self.version
        if now is None or now.layout != torch.strided or now.shape != self.values.shape:
            return True
        return not torch.equal(now, self.values)

    def restore(self, module: nn.Module, name: str) -> None:
        if self._version(self.tensor) != self.version:
            with torch.no_grad():
                self.tensor.copy_(self.values)
        module._buffers[name] = self.tensor


class ModuleWatch:
    """Record of the modules called while the context is open, also those that a closure hides, and of their buffers.

    Args:
        function: The watched function; messages call the parts of a module by their names.

    Raises:
        ValueError: If a module in training mode is called whose result depends on chance or on the batch.
    """

    def __init__(self, function: object) -> None:
        self._names: dict[nn.Module, str] = {}
        if isinstance(function, nn.Module):
            self._names = {module: name for name, module in function.named_modules()}
        self._buffers: dict[nn.Module, dict[str, _Buffer]] = {}
        self._thread = threading.get_ident()  # the hook is called in all threads

    def __enter__(self) -> ModuleWatch:
        with ExitStack() as stack:
            stack.enter_context(_HOOKED.open())
            stack.callback(register_module_forward_pre_hook(self._note).remove)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def called(self) -> list[nn.Module]:
        """The modules that have been called."""
        return list(self._buffers)

    def _note(self, module: nn.Module, arguments: object) -> None:
        if torch.compiler.is_compiling() or module in self._buffers:  # a compiler must not trace into this
            return
        if threading.get_ident() != self._thread:
            return
        self._buffers[module] = {name: _Buffer.of(buffer) for name, buffer in module.named_buffers(recurse=False)}
        if module.training and _depends_on_mode(module):
            raise ValueError(
                f"{self._describe(module)} is in training mode, so a step depends on chance or on the batch; call "
                ".eval() first."
            )

    def refuse_changes(self) -> None:
        """Refuse a step that changes buffers, after restoring their values.

        Raises:
            ValueError: If a buffer has changed; the message names module and buffer.
        """
        changed = []
        for module, buffers in self._buffers.items():
            current = dict(module.named_buffers(recurse=False))
            for name, before in buffers.items():
                if before.differs_from(current.get(name)):
                    before.restore(module, name)
                    changed.append(f"{name!r} of {self._describe(module)}")
        if changed:
            raise ValueError(
                f"a step changes the buffer {', '.join(changed)}, so the map keeps a hidden state; make it part of the "
                "state, as_map(lambda state, input: ..., state=...), or switch its updates off, with .eval() where "
                "the module has a mode for that."
            )

    def _describe(self, module: nn.Module) -> str:
        name = self._names.get(module)
        return f"{type(module).__name__} ({name})" if name else type(module).__name__


def refuse_training_mode(module: nn.Module, name: str) -> None:
    """Refuse dropout, batch norm and the like in training mode, without calling anything.

    Args:
        module: The module to look through.
        name: The user's word for it, for messages.

    Raises:
        ValueError: If such a module is in training mode; the message names it.
    """
    for path, part in module.named_modules():
        if part.training and _depends_on_mode(part):
            where = f"{name}.{path}" if path else name
            raise ValueError(
                f"{type(part).__name__} ({where}) is in training mode, so a result depends on chance or on the batch; "
                f"call {name}.eval() first."
            )


def _depends_on_mode(module: nn.Module) -> bool:
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return module.p > 0
    if isinstance(module, nn.RNNBase):
        return module.dropout > 0 and module.num_layers > 1
    return isinstance(module, nn.modules.batchnorm._BatchNorm)

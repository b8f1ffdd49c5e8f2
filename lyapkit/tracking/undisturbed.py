"""Measure a model in the middle of its training without leaving a trace."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from lyapkit.checks.modules import modules_of


@contextmanager
def undisturbed(model: object) -> Iterator[None]:
    """Hold a model in evaluation mode while the context is open, and restore everything at its end.

    The context restores, even after an error, the modes of all modules, gradients, buffers, and the states of the
    global random number generators of PyTorch, NumPy and Python. Inside, gradients are on, and autocast and inference
    mode are off. Modes are set one by one, so that a ``train`` method of the user is not called.

    Args:
        model: Module, or a map or function that uses modules.
    """
    modules = modules_of(model)
    modes = [(module, module.training) for module in modules]
    parameters = list({id(each): each for module in modules for each in module.parameters(recurse=False)}.values())
    gradients = [(parameter, parameter.grad) for parameter in parameters]
    buffers = [_Buffer(module, name) for module in modules for name in module._buffers]
    put_back = _random_states()
    devices = {tensor.device.type for tensor in parameters} or {"cpu"}
    try:
        for module in modules:
            module.training = False
        for parameter in parameters:
            parameter.grad = None
        with ExitStack() as contexts:
            contexts.enter_context(torch.inference_mode(False))
            contexts.enter_context(torch.enable_grad())
            for device in devices:
                contexts.enter_context(torch.autocast(device, enabled=False))
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, gradient in gradients:
            parameter.grad = gradient
        for buffer in buffers:
            buffer.put_back()
        for each in put_back:
            each()


class _Buffer:
    """The tensor of a buffer and its values at the start.

    Fused kernels change buffers without counting a new version.
    """

    def __init__(self, module: nn.Module, name: str) -> None:
        self._module, self._name = module, name
        self._tensor = module._buffers[name]
        self._values = None if self._tensor is None else self._tensor.detach().clone()

    def put_back(self) -> None:
        """Restore the module's own tensor and its values."""
        self._module._buffers[self._name] = self._tensor
        if self._tensor is not None and self._values is not None and not torch.equal(self._tensor, self._values):
            self._tensor.data.copy_(self._values)  # a graph that has recorded the tensor stays valid


def _random_states() -> list[Callable[[], object]]:
    """Return functions that restore the present states of the global generators."""
    put_back: list[Callable[[], object]] = [
        functools.partial(torch.set_rng_state, torch.get_rng_state()),
        functools.partial(np.random.set_state, np.random.get_state()),  # noqa: NPY002  # the global one
        functools.partial(random.setstate, random.getstate()),
    ]
    cuda: Any = torch.cuda
    if cuda.is_available() and cuda.is_initialized():
        put_back.append(functools.partial(cuda.set_rng_state_all, cuda.get_rng_state_all()))
    if torch.backends.mps.is_available():
        put_back.append(functools.partial(torch.mps.set_rng_state, torch.mps.get_rng_state()))
    return put_back

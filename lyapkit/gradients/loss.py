"""The loss of a trajectory and its direct derivatives, for which other states are held fixed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from lyapkit.losses.broadcast import warn_of_broadcast
from lyapkit.losses.scalar_loss import scalar_loss
from lyapkit.losses.unrolled import UnrolledNetwork
from lyapkit.recurrent_map import RecurrentMap

Loss = Callable[[Any, Any], Tensor]
Readout = Callable[[Tensor], Tensor]


class TrajectoryLoss(ABC):
    """A loss L as a function of the states that it reads.

    Attributes:
        value: The loss L.
    """

    value: float

    @abstractmethod
    def direct(self, step: int, state: Tensor) -> Tensor | None:
        """Return (partial L / partial x_t) at t = ``step``, (B, N), from x_t; None if L does not read x_t."""

    @abstractmethod
    def of_parameters(self, step: int, state: Tensor, parameters: Sequence[Tensor]) -> list[Tensor] | None:
        """Return the contributions of the readout of x_t to dL/dtheta; None if L does not read x_t."""


class LossOnLast(TrajectoryLoss):
    """Loss on the last state, L = loss(readout(output(x_T)), targets).

    Args:
        map: The map, for its output.
        readout: Function from the map's output to what the loss reads.
        loss: A scalar loss.
        targets: Targets of the loss.
        final: Last state x_T, shape (B, N).
        last: The last step of each trajectory, shape (B,).
        check: True to compute the loss twice.

    Raises:
        ValueError: If the loss is not a finite scalar, not differentiable, or not deterministic.
    """

    def __init__(
        self, map: RecurrentMap, readout: Readout, loss: Loss, targets: Any, final: Tensor, last: Tensor, check: bool
    ) -> None:
        self._last = last
        self._ends = set(last.tolist())
        network = UnrolledNetwork(map, readout)
        with torch.enable_grad():
            self._seen = final.detach().requires_grad_()
            self._outputs = network.read(self._seen)
            self._loss = checked_loss(loss, self._outputs, targets)
        self.value = self._loss.item()
        if check and scalar_loss(loss, network.read(self._seen), targets).item() != self.value:
            raise ValueError(NOT_DETERMINISTIC)

    def direct(self, step: int, state: Tensor) -> Tensor | None:
        """Return the derivative, shape (B, N), for trajectories that end at this step, and 0 for the others."""
        if step not in self._ends:
            return None
        (derivative,) = torch.autograd.grad(self._loss, self._seen, retain_graph=True, materialize_grads=True)
        return torch.where(self._ending(step).unsqueeze(-1), derivative, 0.0)

    def of_parameters(self, step: int, state: Tensor, parameters: Sequence[Tensor]) -> list[Tensor] | None:
        """Return the contributions of the readout for trajectories that end at this step."""
        if step not in self._ends:
            return None
        if len(self._ends) == 1:
            return list(torch.autograd.grad(self._loss, list(parameters), retain_graph=True, materialize_grads=True))
        if not isinstance(self._outputs, Tensor) or self._outputs.shape[:1] != self._seen.shape[:1]:
            raise TypeError(
                "parameter_gradients with lengths= needs a readout that returns one tensor, (B, ...), to find the "
                "contribution of each sequence at its own last step."
            )
        (slope,) = torch.autograd.grad(self._loss, self._outputs, retain_graph=True)
        slope = torch.where(self._ending(step).view(-1, *[1] * (slope.ndim - 1)), slope, 0.0)
        return list(
            torch.autograd.grad(self._outputs, list(parameters), slope, retain_graph=True, materialize_grads=True)
        )

    def _ending(self, step: int) -> Tensor:
        return (self._last == step).to(self._seen.device)


class LossOnEvery(TrajectoryLoss):
    """Loss on every state, L = loss(outputs, targets) of the outputs readout(output(x_t)), shape (T, B, O).

    Outputs and their derivatives are kept, but states are not, so the readout must read every state by itself.

    Args:
        map: The map, for its output.
        readout: Function from the outputs of one or several steps to what the loss reads.
        loss: A scalar loss.
        targets: Targets of the loss.
        outputs: Outputs of all steps, shape (T, B, O).
        final: Last state x_T, shape (B, N).
        last: The last step of each trajectory, shape (B,). Later outputs repeat that of the last step, and the loss
            must not depend on them.
        batch_first: True if the loss takes the outputs as (B, T, O).
        check: True to compute the loss twice, and the last output by itself.

    Raises:
        ValueError: If the loss is not a finite scalar, not differentiable, or not deterministic; or it reads outputs
            after the end of a sequence; or the readout mixes steps.
    """

    def __init__(
        self,
        map: RecurrentMap,
        readout: Readout,
        loss: Loss,
        targets: Any,
        outputs: Tensor,
        final: Tensor,
        last: Tensor,
        *,
        batch_first: bool,
        check: bool,
    ) -> None:
        self._network = UnrolledNetwork(map, readout)
        with torch.enable_grad():
            seen = outputs.detach().requires_grad_()
            given = seen.transpose(0, 1) if batch_first else seen
            value = checked_loss(loss, given, targets)
        self.value = value.item()
        if check:
            self._check_readout(outputs, final)
            if scalar_loss(loss, given, targets).item() != self.value:
                raise ValueError(NOT_DETERMINISTIC)
        (self._slopes,) = torch.autograd.grad(value, seen, materialize_grads=True)  # (T, B, O)
        behind = torch.arange(1, len(outputs) + 1, device="cpu").unsqueeze(-1) > last  # (T, B)
        read = (self._slopes != 0).flatten(start_dim=2).any(dim=-1).cpu() & behind
        if bool(read.any()):
            step, sequence = read.nonzero()[0].tolist()
            raise ValueError(
                f"the loss reads the output of sequence {sequence} at step {step + 1}, after its end at step "
                f"{int(last[sequence])}. Mask later steps in the loss, with a weight of 0 or with ignore_index, since "
                "padding must not count."
            )

    def _check_readout(self, outputs: Tensor, final: Tensor) -> None:
        """Check that the last output, computed alone and twice, equals that of the run."""
        once, twice = (self._read(final).detach() for _ in range(2))
        if not torch.equal(once, twice):
            raise ValueError(NOT_DETERMINISTIC)
        size = outputs.abs().amax()
        if once.shape != outputs.shape[1:] or bool(((once - outputs[-1]).abs() > 1e-3 * size).any()):
            raise ValueError(
                "the readout gives a step alone another output than the same step among others, so it mixes steps. Let "
                'the loss combine the outputs of several steps, or read the last step only, with loss_on="last".'
            )

    def _read(self, state: Tensor) -> Tensor:
        read = self._network.read(state)
        if state.requires_grad and not read.requires_grad:
            raise ValueError(NOT_DIFFERENTIABLE)
        return read

    def direct(self, step: int, state: Tensor) -> Tensor | None:
        """Return the derivative, shape (B, N)."""
        with torch.enable_grad():
            state = state.detach().requires_grad_()
            read = self._read(state)
        (derivative,) = torch.autograd.grad(read, state, self._slopes[step - 1], materialize_grads=True)
        return derivative

    def of_parameters(self, step: int, state: Tensor, parameters: Sequence[Tensor]) -> list[Tensor] | None:
        """Return the contributions of the readout at every step."""
        with torch.enable_grad():
            read = self._read(state.detach())
        if not read.requires_grad:
            return None
        return list(torch.autograd.grad(read, list(parameters), self._slopes[step - 1], materialize_grads=True))


NOT_DETERMINISTIC = (
    "the loss differs between two calls, so it is not deterministic; call .eval() on the readout (dropout, batch "
    "norm), and draw no random numbers in the loss."
)
NOT_DIFFERENTIABLE = "the loss does not depend differentiably on the states; check loss and readout."


def checked_loss(loss: Loss, outputs: Any, targets: Any) -> Tensor:
    """Return the loss in the graph, without dimensions, after checking that it is differentiable.

    It warns if the loss broadcasts outputs against targets.

    Raises:
        TypeError: If `lyapkit.losses.scalar_loss.scalar_loss` refuses it.
        ValueError: If `lyapkit.losses.scalar_loss.scalar_loss` refuses it, or the loss is not differentiable.
    """
    value = scalar_loss(loss, outputs, targets)
    if not value.requires_grad:
        raise ValueError(NOT_DIFFERENTIABLE)
    warn_of_broadcast(loss, outputs, targets, value)
    return value.reshape(())


def outputs_of(map: RecurrentMap, readout: Readout, states: Tensor) -> Tensor:
    """Return the readout's outputs for states (L, B, N), without derivatives, shape (L, B, O).

    Raises:
        TypeError: If the readout returns no tensor.
        ValueError: If it returns no output for some steps.
    """
    with torch.no_grad():
        read = UnrolledNetwork(map, readout).read(states)
    if not isinstance(read, Tensor):
        raise TypeError(f'with loss_on="every" the readout must return a tensor, got {type(read).__name__}.')
    if read.shape[:1] != states.shape[:1]:
        raise ValueError(
            f"the readout must keep the time steps, (L, B, ...) with L = {states.shape[0]}, got {tuple(read.shape)}; "
            'to read the last step only, pass loss_on="last".'
        )
    return read

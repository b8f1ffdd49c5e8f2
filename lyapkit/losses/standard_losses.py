"""PyTorch's own losses: their reductions, the divisors of their means, and the shapes that they take."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_COMPARING: dict[Callable[..., Tensor], tuple[type[nn.Module], ...]] = {
    functional.mse_loss: (nn.MSELoss,),
    functional.l1_loss: (nn.L1Loss,),
    functional.smooth_l1_loss: (nn.SmoothL1Loss,),
    functional.huber_loss: (nn.HuberLoss,),
    functional.binary_cross_entropy: (nn.BCELoss,),
    functional.binary_cross_entropy_with_logits: (nn.BCEWithLogitsLoss,),
    functional.poisson_nll_loss: (nn.PoissonNLLLoss,),
    functional.gaussian_nll_loss: (),  # the module takes variances as a third argument
    functional.kl_div: (nn.KLDivLoss,),
    functional.soft_margin_loss: (nn.SoftMarginLoss,),
    functional.hinge_embedding_loss: (nn.HingeEmbeddingLoss,),
    functional.multilabel_margin_loss: (nn.MultiLabelMarginLoss,),
    functional.multilabel_soft_margin_loss: (nn.MultiLabelSoftMarginLoss,),
}
"""Losses that compare outputs and targets entry by entry, and their modules."""
_CLASSIFYING: dict[Callable[..., Tensor], tuple[type[nn.Module], ...]] = {
    functional.cross_entropy: (nn.CrossEntropyLoss,),
    functional.nll_loss: (nn.NLLLoss,),
}
"""Losses whose mean divides by the sum of the class weights of all targets that are not ignored."""
_OTHERS: dict[Callable[..., Tensor], tuple[type[nn.Module], ...]] = {
    functional.multi_margin_loss: (nn.MultiMarginLoss,),
}
_FUNCTIONS = _COMPARING | _CLASSIFYING | _OTHERS
_WEIGHTED_MEANS = (functional.mse_loss, functional.l1_loss, functional.huber_loss)
"""Losses whose ``weight`` has the shape of one batch, so that their divisor for other batches is not known."""


@dataclass(frozen=True)
class StandardLoss:
    """A loss of ``torch.nn`` or ``torch.nn.functional``, with the options that determine the divisor of its mean.

    Attributes:
        loss: The loss itself.
        function: The function that the loss calls.
        reduction: One of ``"mean"``, ``"sum"``, ``"none"`` or ``"batchmean"``.
        class_weight: Weights of the classes, or None.
        ignore_index: The class that is left out, or None.
    """

    loss: Callable[[Any, Any], Tensor]
    function: Callable[..., Tensor]
    reduction: str
    class_weight: Tensor | None
    ignore_index: int | None

    @property
    def name(self) -> str:
        """The name of the function or of the module's class."""
        return type(self.loss).__name__ if isinstance(self.loss, nn.Module) else self.function.__name__

    def __call__(self, outputs: Any, targets: Any) -> Tensor:
        """Return the loss of outputs and targets whose shapes belong together."""
        self.check_shapes(outputs, targets)
        return self.loss(outputs, targets)

    def check_shapes(self, outputs: Any, targets: Any) -> None:
        """Refuse outputs and targets that would be broadcast against each other.

        Raises:
            ValueError: If an entry of one would be compared with several of the other.
        """
        if self.function not in _COMPARING or not (isinstance(outputs, Tensor) and isinstance(targets, Tensor)):
            return
        if outputs.shape == targets.shape:
            return
        try:
            together = torch.broadcast_shapes(outputs.shape, targets.shape).numel()  # type: ignore[no-untyped-call]
        except RuntimeError:
            return  # the loss raises its own error
        if together == outputs.numel() == targets.numel():
            return  # dims of size 1 do not change which entries are paired
        remedy = "give both one shape, with .expand_as() if the broadcast is meant"
        if outputs.numel() == targets.numel():
            remedy = "reshape one of them, as in targets.reshape(outputs.shape)"
        raise ValueError(
            f"{self.name} would broadcast outputs {tuple(outputs.shape)} against targets {tuple(targets.shape)}, and "
            f"compare each output with targets of other samples; {remedy}."
        )

    def denominator(self, targets: Tensor) -> float:
        """Return the divisor of the mean over these targets, up to a factor that all batches share.

        Args:
            targets: The targets of one batch.

        Raises:
            ValueError: If targets name classes that have no weight.
        """
        if self.reduction == "batchmean":
            return float(targets.shape[0]) if targets.ndim else 1.0
        if self.function not in _CLASSIFYING or targets.is_floating_point():
            return float(targets.numel())
        classes = targets[targets != self.ignore_index]
        if self.class_weight is None:
            return float(classes.numel())
        if classes.numel() and not 0 <= int(classes.min()) <= int(classes.max()) < len(self.class_weight):
            raise ValueError(
                f"targets hold classes from {int(classes.min())} to {int(classes.max())}, but {self.name} has weights "
                f"for the classes 0 to {len(self.class_weight) - 1}. Give the weights of all classes."
            )
        return float(self.class_weight.detach().to(classes.device)[classes.long()].double().sum())


def standard_loss(loss: Callable[[Any, Any], Tensor]) -> StandardLoss | None:
    """Recognise a loss of PyTorch.

    Args:
        loss: A module of ``torch.nn``, its ``forward`` or ``__call__``, a function of ``torch.nn.functional``, or
            `functools.partial` of a function with named options, or of a module without any.

    Returns:
        The loss with its properties. None for any other callable, and for options that are not known here.
    """
    if isinstance(loss, StandardLoss):
        return loss
    module: Any = loss.func if isinstance(loss, partial) and not (loss.args or loss.keywords) else loss
    if inspect.ismethod(module) and isinstance(module.__self__, nn.Module):
        owner = module.__self__
        module = owner if module.__func__ in (type(owner).forward, nn.Module.__call__) else None
    if isinstance(module, nn.Module):
        function = _function_of(module)
        names = ("reduction", "weight", "ignore_index")
        options = {name: getattr(module, name) for name in names if hasattr(module, name)}
    else:
        function, options = loss, {}
        if isinstance(loss, partial):
            function, options = loss.func, loss.keywords
            if loss.args or not set(options) <= set(_options_of(function)):
                return None
    if not inspect.isfunction(function) or function not in _FUNCTIONS:
        return None
    classifying = function in _CLASSIFYING
    return StandardLoss(
        loss=loss,
        function=function,
        reduction=options.get("reduction", "mean"),
        class_weight=options.get("weight") if classifying else None,
        ignore_index=options.get("ignore_index", -100) if classifying else None,
    )


def _function_of(module: nn.Module) -> Callable[..., Tensor] | None:
    """Return the function that a loss module calls; None if a hook or another ``forward`` may change the result."""
    kind = type(module)
    if module._forward_hooks or module._forward_pre_hooks or kind.__call__ is not nn.Module.__call__:
        return None
    for function, modules in _FUNCTIONS.items():
        if any(isinstance(module, known) and kind.forward is known.forward for known in modules):
            return function if "forward" not in vars(module) else None
    return None


def _options_of(function: Any) -> list[str]:
    """Return the options of a loss that are known here."""
    if not inspect.isfunction(function) or function not in _FUNCTIONS:
        return []
    left_out = {"input", "target", "size_average", "reduce"} | ({"weight"} if function in _WEIGHTED_MEANS else set())
    return [name for name in inspect.signature(function).parameters if name not in left_out]

"""Activations and gradients of one layer, and gradients at the pixels; nothing is left behind in the network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from weakspot.errors import WeakspotError


class LayerRecord(NamedTuple):
    """A layer's activations and gradients for a batch.

    Attributes:
        activations: ``(n, channels, h, w)``.
        gradients: of each image's own class score (a logit) with respect to them, same shape.
    """

    activations: Tensor
    gradients: Tensor


def record_layer(module: nn.Module, pixels: Tensor, layer: str, targets: Tensor) -> LayerRecord:
    """Run the network once and differentiate no deeper than the layer.

    Only what lies above the layer is differentiated: the hook cuts the graph there, and gives the network a copy, so
    that a ReLU working in place changes nothing that is looked at. No parameter receives a gradient.

    Args:
        module: from pixels to logits ``(n, classes)``.
        pixels: ``(n, 3, H, W)``.
        layer: name of a layer whose output is ``(n, channels, h, w)``.
        targets: ``(n,)`` class of each image.
    """
    caught: list[Tensor] = []

    def cut(_layer: nn.Module, _given: tuple[Any, ...], output: Tensor) -> Tensor:
        caught.append(output.detach().clone().requires_grad_())
        return caught[-1].clone()

    handle = module.get_submodule(layer).register_forward_hook(cut)
    try:
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(_scores(module(pixels), targets), caught[-1])
    finally:
        handle.remove()
    return LayerRecord(caught[-1].detach(), gradient)


def guided_gradients(module: nn.Module, pixels: Tensor, targets: Tensor) -> Tensor:
    """Guided backpropagation (Springenberg et al., ICLR 2015 workshop): only positive gradients pass a ReLU backwards.

    Args:
        module: from pixels to logits; its only activations are ReLUs.
        pixels: ``(n, 3, H, W)``.
        targets: ``(n,)`` class of each image.

    Returns:
        Gradients of the class scores at the pixels, ``(n, 3, H, W)``.

    Raises:
        WeakspotError: for a network with other activations, for which the method is not defined.
    """
    given = pixels.detach().clone().requires_grad_()
    with torch.enable_grad(), _GuidedReLU():
        logits = module(given)
    (gradient,) = torch.autograd.grad(_scores(logits, targets), given)
    return gradient


def _scores(logits: Tensor, targets: Tensor) -> Tensor:
    """Images do not meet in evaluation mode, so the gradient of the sum is each image's own."""
    return logits.gather(1, targets[:, None]).sum()


_RELUS = frozenset(
    [
        functional.relu, functional.relu_, functional.relu6, functional.hardtanh, torch.relu, torch.relu_,
        Tensor.relu, Tensor.relu_,
    ]
)  # fmt: skip
_OTHERS = frozenset(
    [
        functional.gelu, functional.silu, functional.hardswish, functional.elu, functional.leaky_relu, functional.mish,
        functional.prelu, functional.selu, functional.celu, functional.softplus,
    ]
)  # fmt: skip


class _GuidedReLU(TorchFunctionMode):
    """While it is on, ReLUs let only positive gradients back, whether they are layers or functions."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the function gives
        if function in _OTHERS:
            raise WeakspotError(
                f"guided_grad_cam is defined for ReLUs, and this network uses {function.__name__}; choose one of: "
                "grad_cam, hires_cam, layer_cam, grad_cam_plus_plus, occlusion"
            )
        result = function(*args, **(kwargs or {}))
        if function in _RELUS and result.requires_grad:
            result.register_hook(lambda gradient: gradient.clamp(min=0))
        return result

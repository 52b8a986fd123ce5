"""The layers of a network as it runs: names, output shapes, which follow which, and where a heat map can be taken."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops.misc import Permute

from weakspot.errors import WeakspotError, did_you_mean
from weakspot.models.tokens import TokenLayer, TokenMap, uncut_name

ACTIVATIONS = (
    nn.ReLU, nn.ReLU6, nn.GELU, nn.SiLU, nn.Hardswish, nn.ELU, nn.LeakyReLU, nn.PReLU, nn.Mish, nn.SELU, nn.CELU,
    nn.Softplus, nn.Sigmoid, nn.Tanh, nn.Hardtanh,
)  # fmt: skip
NORMS = (nn.BatchNorm2d, nn.GroupNorm, nn.InstanceNorm2d)
USE = ("conv", "relu")
"""Choices of ``activation``: a convolution's own output, or what the ReLU behind it leaves of that."""


@dataclass(frozen=True)
class Layer:
    """One layer, or block of layers, of a network.

    Attributes:
        name: its place in the network, ``tail.28``.
        kind: its class, ``Conv2d``.
        shape: of its output for one image, without the batch: ``(channels, height, width)`` for a feature map.
        parameters: how many numbers it holds, those of the layers inside it included.
        trained: whether any of them is trained; False where it has none.
        is_map: the output is a feature map, channels first.
        convolution: it is a convolution itself, or the end of a vision transformer, whose tokens lie in a map.
        also: its usual name in the literature, ``conv5_3``, or in the library's uncut network, ``blocks.5.0.conv_dw``;
            empty where there is none.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    trained: bool
    is_map: bool
    convolution: bool
    also: str = ""

    @property
    def usable(self) -> bool:
        """Whether a heat map can be taken here: a feature map of more than one cell."""
        return self.is_map and self.shape[1] * self.shape[2] > 1


@dataclass(frozen=True)
class Layers:
    """Every layer of a network that ran, in the order in which they finished.

    Attributes:
        by_name: all of them.
        activation_of: of a convolution's name the layer that is its activation, with at most a batch normalisation
            between; absent where something else comes first, as in residual blocks.
    """

    by_name: Mapping[str, Layer]
    activation_of: Mapping[str, str]

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.by_name.values())

    @property
    def usable(self) -> list[str]:
        """Names of the layers that a heat map can be taken at."""
        return [layer.name for layer in self if layer.usable]

    def find(self, name: str) -> Layer:
        """A layer by its name, or by its usual name.

        Raises:
            WeakspotError: when there is none, or no map can be taken there; the message lists those that can be used.
        """
        layer = self.by_name.get(name) or next((layer for layer in self if layer.also == name and name), None)
        choices = f"choose one of: {', '.join(self.usable)}"
        if layer is None:
            raise WeakspotError(f"target layer {name} does not exist{did_you_mean(name, self.usable)}; {choices}")
        if not layer.usable:
            size = "×".join(str(side) for side in layer.shape[1:])
            why = f"its activation is {size}, a single place" if layer.is_map else "its output is no feature map"
            raise WeakspotError(f"target layer {name} cannot give a heat map: {why}; {choices}")
        return layer

    def deepest_convolution(self) -> Layer:
        """The last convolution whose output is larger than 1×1.

        Raises:
            WeakspotError: when the network has none.
        """
        convolutions = [layer for layer in self if layer.convolution and layer.usable]
        if not convolutions:
            raise WeakspotError(
                "this network has no convolution with a feature map larger than 1×1; use heatmap occlusion, which "
                "needs no layer, or give larger images"
            )
        return convolutions[-1]

    def resolve(self, target: str | None, activation: str | None) -> str:
        """The layer whose output is meant.

        Args:
            target: a layer's name; None for the deepest convolution whose activation is larger than 1×1. Where that
                is added to something before its activation (a residual block), the block's output is meant.
            activation: ``conv``, ``relu``, or None for ``relu`` where a ReLU follows.

        Raises:
            WeakspotError: for a layer that is not there or gives no map, and an activation that does not apply to it.
        """
        if activation is not None and activation not in USE:
            raise WeakspotError(
                f"activation {activation} is unknown{did_you_mean(activation, USE)}; choose one of: {', '.join(USE)}"
            )
        layer = self.deepest_convolution() if target is None else self.find(target)
        fused = self.activation_of.get(layer.name)
        if activation is not None and (not layer.convolution or (activation == "relu" and fused is None)):
            fit = [name for name, after in self.activation_of.items() if self.by_name[after].usable]
            raise WeakspotError(
                f"activation {activation} does not apply to {layer.name} ({layer.kind}): it chooses between a "
                f"convolution and the activation right behind it; leave it out, or choose one of: {', '.join(fit)}"
            )
        if activation == "conv":
            return layer.name
        if fused is None and target is None:
            return self._block_of(layer)
        return fused or layer.name

    def _block_of(self, layer: Layer) -> str:
        """The outermost block round a layer whose output has as many cells; the layer itself where there is none."""
        parts = layer.name.split(".")
        for depth in range(1, len(parts)):
            block = self.by_name.get(".".join(parts[:depth]))
            if block is not None and block.usable and block.shape[1:] == layer.shape[1:]:
                return block.name
        return layer.name


def list_layers(module: nn.Module, pixels: Tensor) -> Layers:
    """Run a network once and write down what each of its layers gives.

    Args:
        module: the network.
        pixels: what it is given, ``(1, 3, height, width)``.
    """
    watch = _Watch(module)
    with watching(module, watch), torch.no_grad():
        module(pixels)
    names = _usual_names(module, watch.layers)
    layers = {name: Layer(**{**vars(layer), "also": names.get(name, "")}) for name, layer in watch.layers.items()}
    return Layers(layers, watch.activation_of)


class _Watch:
    """Takes notes while a network runs. Outputs are kept until it is done, so that no two have the same identity."""

    def __init__(self, module: nn.Module) -> None:
        self.layers: dict[str, Layer] = {}
        self.activation_of: dict[str, str] = {}
        self._kept: list[Tensor] = []
        self._from: dict[int, str] = {}
        self._channels_last: dict[int, bool] = {}
        self._inside = {name: sum(1 for _ in child.modules()) > 1 for name, child in module.named_modules()}
        self._of_tokens = {
            f"{name}.{inner}"
            for name, child in module.named_modules()
            if isinstance(child, TokenLayer)
            for inner, _ in child.named_modules()
            if inner
        }
        self._with_prefix: set[int] = set()

    def __call__(self, name: str, module: nn.Module, given: tuple[Any, ...], output: Any) -> None:  # noqa: ANN401
        if not isinstance(output, Tensor):
            return
        source = given[0] if given and isinstance(given[0], Tensor) else None
        first = source is not None and self._channels_last.get(id(source), False)
        if isinstance(module, Permute):
            self._channels_last[id(output)] = list(module.dims) == [0, 2, 3, 1]
        else:
            self._channels_last.setdefault(id(output), first)
        self._kept.append(output)
        if isinstance(module, TokenLayer) and module.prefix and not isinstance(module, TokenMap):
            self._with_prefix.add(id(output))
        if source is not None and (not self._inside[name] or isinstance(module, NORMS)):
            self._follow(name, module, source, output)
        self.layers.pop(name, None)  # one that runs twice counts where it ran last
        self.layers[name] = Layer(
            name=name,
            kind=type(module).__name__,
            shape=tuple(output.shape[1:]),
            parameters=sum(p.numel() for p in module.parameters()),
            trained=any(p.requires_grad for p in module.parameters()),
            is_map=self._is_map(name, module, output),
            convolution=isinstance(module, nn.Conv2d | TokenMap),
        )

    def _is_map(self, name: str, module: nn.Module, output: Tensor) -> bool:
        """Whether it is ``(n, channels, h, w)``; what timm computes between a transformer's layers is not."""
        if name in self._of_tokens and not isinstance(module, nn.Conv2d):
            return False
        return output.ndim == 4 and not self._channels_last[id(output)] and id(output) not in self._with_prefix

    def _follow(self, name: str, module: nn.Module, source: Tensor, output: Tensor) -> None:
        """Note which convolution a tensor is still the output of."""
        convolution = self._from.pop(id(source), None)
        if isinstance(module, nn.Conv2d):
            self._from[id(output)] = name
        elif convolution is not None and isinstance(module, NORMS):
            if isinstance(getattr(module, "act", None), ACTIVATIONS):  # timm has both in one layer
                self.activation_of[convolution] = name
            else:
                self._from[id(output)] = convolution
        elif isinstance(module, ACTIVATIONS):
            # One that runs again (ResNet's blocks share theirs) is looked at where it ran last.
            self.activation_of = {before: after for before, after in self.activation_of.items() if after != name}
            if convolution is not None:
                self.activation_of[convolution] = name


@contextmanager
def watching(module: nn.Module, note: Callable[[str, nn.Module, tuple[Any, ...], Any], None]) -> Iterator[None]:
    """Call `note` for every layer that runs while the block does; afterwards nothing is left attached to the network.

    Args:
        module: the network.
        note: called with name, layer, inputs (a tuple) and output.
    """

    def hook(name: str, layer: nn.Module, given: tuple[Any, ...], output: Any) -> None:  # noqa: ANN401
        note(name, layer, given, output)

    handles = [
        layer.register_forward_hook(functools.partial(hook, name)) for name, layer in module.named_modules() if name
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _usual_names(module: nn.Module, layers: Mapping[str, Layer]) -> dict[str, str]:
    """``conv1_1`` … of a VGG: nothing but 3×3 convolutions, counted anew after every pool; of others the library's."""
    uncut: tuple[str, ...] = getattr(module, "layer_names", ())
    if uncut:
        return _library_names(module, layers, uncut)
    modules = dict(module.named_modules())
    convolutions = [modules[name] for name, layer in layers.items() if layer.convolution]
    leaves = [name for name in layers if not list(modules[name].children())]
    plain = (nn.Conv2d, nn.ReLU, nn.BatchNorm2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d, nn.Linear, nn.Dropout)
    is_vgg = len(convolutions) > 5 and all(isinstance(modules[name], plain) for name in leaves)
    if not is_vgg or any(layer.kernel_size != (3, 3) for layer in convolutions if isinstance(layer, nn.Conv2d)):
        return {}
    names: dict[str, str] = {}
    block, number = 1, 0
    for name in leaves:
        if isinstance(modules[name], nn.MaxPool2d):
            block, number = block + 1, 0
        elif isinstance(modules[name], nn.Conv2d):
            number += 1
            names[name] = f"conv{block}_{number}"
    return names


def _library_names(module: nn.Module, layers: Mapping[str, Layer], uncut: tuple[str, ...]) -> dict[str, str]:
    """Names in the uncut network, whose layers have been numbered anew in ``stem`` and ``tail``."""
    cut = [f"{part}.{number}" for part in ("stem", "tail") for number in range(len(module.get_submodule(part)))]  # type: ignore[arg-type]
    names = dict(zip(cut, uncut, strict=True))
    found: dict[str, str] = {}
    for name in layers:
        first, _, inner = name.partition(".")
        number, _, rest = inner.partition(".")
        known = names.get(f"{first}.{number}")
        if known is not None:
            found[name] = uncut_name(f"{known}.{rest}" if rest else known)
    return found

"""Networks of timm (Wightman, "PyTorch Image Models", 2019), cut at the point up to which they are frozen.

timm's networks have no common form. A convolutional network is cut where it is a plain chain of layers: its parts are
run one after the other on a small picture, and what comes out must be what the uncut network gives. A vision
transformer is cut between two of its blocks (:mod:`weakspot.models.tokens`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from weakspot.errors import WeakspotError, did_you_mean
from weakspot.models.cut import FREEZE_POINT, PREFIX, PROBE, Backbone, no_cut, probe
from weakspot.models.tokens import cut_transformer, is_transformer

LITE = {f"efficientnet_lite{number}": f"tf_efficientnet_lite{number}.in1k" for number in range(3)}
"""Of the EfficientNet-Lite networks that have a name of their own here, the name that timm gives them."""

AFTER_FEATURES = ("global_pool", "avgpool", "head", "head_drop", "classifier", "fc", "last_linear", "pre_logits")
"""Names that timm gives to what comes after the features."""


def import_timm() -> ModuleType:
    """Timm itself, which takes a second to import.

    Raises:
        WeakspotError: when it is not installed.
    """
    try:
        import timm
    except ImportError as error:
        raise WeakspotError(
            f"this model needs {error.name or 'timm'}, which is not installed; pip install timm"
        ) from error
    return timm


def timm_name(backbone: str) -> str | None:
    """What timm calls a backbone: architecture, and behind a dot the tag of its weights where there is one.

    Args:
        backbone: as in ``model.backbone``.

    Returns:
        The name; None for a backbone that does not come from timm.
    """
    return backbone.removeprefix(PREFIX) if backbone.startswith(PREFIX) else LITE.get(backbone)


def check_name(name: str) -> None:
    """Raise unless timm knows a network, and weights of that tag where a tag is given.

    Args:
        name: as timm lists it; anything else, such as the address of a network that would be downloaded, is refused.

    Raises:
        WeakspotError: for an unknown name, and when timm is not installed.
    """
    timm = import_timm()
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        raise WeakspotError(
            f"model.backbone={PREFIX}{name} is unknown to timm{did_you_mean(architecture, timm.list_models())}; "
            "python -c 'import timm; print(*timm.list_models())' lists what it knows"
        )
    tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{architecture}.*")] if tag else [""]
    if tag not in tags:
        raise WeakspotError(
            f"model.backbone={PREFIX}{name}: timm has no weights {tag} of {architecture}{did_you_mean(tag, tags)}; "
            f"it has: {', '.join(tags) or 'none'}"
        )


def create(name: str, **settings: Any) -> nn.Module:  # noqa: ANN401 - timm's own arguments
    """Build a network of timm.

    Args:
        name: as for :func:`check_name`.
        settings: further arguments of ``timm.create_model``.

    Raises:
        WeakspotError: as :func:`check_name`.
    """
    check_name(name)
    network: nn.Module = import_timm().create_model(name, **settings)
    return network


def parameter_count(backbone: str) -> int:
    """Count the numbers of a backbone of timm up to its features, without room for them; of any other it is 0.

    Args:
        backbone: as in ``model.backbone``.

    Raises:
        WeakspotError: as :func:`check_name`.
    """
    name = timm_name(backbone)
    if name is None:
        return 0
    with torch.device("meta"):
        named = create(name, num_classes=0).named_parameters()
        return sum(parameter.numel() for key, parameter in named if key.partition(".")[0] not in AFTER_FEATURES)


def efficientnet_lite(number: int) -> Backbone:
    """EfficientNet-Lite (Tan and Le, ICML 2019, without squeeze-and-excitation), frozen as far as its stride is 16.

    Args:
        number: 0, 1 or 2: the depth and width.
    """
    whole = create(LITE[f"efficientnet_lite{number}"])
    names = ("conv_stem", "bn1", *(f"blocks.{stage}" for stage in range(7)), "conv_head", "bn2")
    layers = [whole.get_submodule(name) for name in names]
    taps = {"stride4": 4, "stride8": 5}
    return _joined([_Part(*pair) for pair in zip(names, layers, strict=True)], 7, 1280, taps, 32)


def timm_backbone(name: str) -> Backbone:
    """Any network of timm that is a chain of layers, or a vision transformer.

    Args:
        name: as timm lists it.

    Raises:
        WeakspotError: for an unknown name, a network that cannot be cut, and when timm is not installed.
    """
    try:
        whole = create(name, dynamic_img_size=True).eval()
    except TypeError:  # most of timm's other networks do not know the argument
        whole = create(name).eval()
    if not is_transformer(whole):
        return _cut_chain(whole, name)
    if not getattr(whole, "dynamic_img_size", False):
        raise no_cut(name, "its pictures have one size")
    return cut_transformer(whole, name)


class _Part(NamedTuple):
    """A layer and its name in the uncut network."""

    name: str
    layer: nn.Module


@torch.no_grad()
def _cut_chain(whole: Any, name: str) -> Backbone:  # noqa: ANN401 - timm's networks have no common base
    if not hasattr(whole, "forward_features"):
        raise no_cut(name, "it does not say where its features end")
    try:
        parts, sides = _chain(whole)
        expected = whole.forward_features(probe())
        found = nn.Sequential(*(part.layer for part in parts))(probe())
    except Exception as error:  # whatever a layer says that is given what it does not expect
        logging.getLogger(__name__).debug("%s: %s", name, error)
        raise no_cut(name, "it is no chain of layers") from error
    alike = isinstance(expected, Tensor) and expected.ndim == 4 and expected.shape == found.shape
    if not alike or not torch.allclose(expected, found, rtol=1e-3, atol=1e-4 * float(expected.abs().max()) + 1e-6):
        raise no_cut(name, "it is no chain of layers")
    if found.shape[2] != found.shape[3] or found.shape[1] != getattr(whole, "num_features", found.shape[1]):
        raise no_cut(name, "its features are no maps with the channels in front")
    while len(parts) > 1 and sides[-1] < sides[-2] and not _has_parameters(parts[-1].layer):
        parts, sides = parts[:-1], sides[:-1]  # a pool behind the last convolution makes the map coarser and no better
    strides = [PROBE // side for side in sides]
    finest = min(16, strides[-1] // 2)
    frozen = max((i + 1 for i, stride in enumerate(strides) if stride <= finest), default=0)
    if not 0 < frozen < len(parts) or not any(_has_parameters(part.layer) for part in parts[frozen:]):
        raise no_cut(name, "its resolution is the same from beginning to end")
    taps = {f"stride{s}": max(i + 1 for i, stride in enumerate(strides) if stride == s) for s in (4, 8) if s in strides}
    taps = {tap: depth for tap, depth in taps.items() if depth < frozen}
    channels = int(nn.Sequential(*(part.layer for part in parts))(probe()).shape[1])
    return _joined(parts, frozen, channels, taps, max(32, strides[-1]))


def _chain(whole: nn.Module) -> tuple[list[_Part], list[int]]:
    """The layers before the pool, in order, and the side of what each of them gives for the probe.

    A sequence of layers that makes the map four times coarser or more is taken apart, so that it can be cut inside.
    """
    waiting = []
    for child_name, child in whole.named_children():
        if child_name in AFTER_FEATURES:
            break
        waiting.append(_Part(child_name, child))
    values, parts, sides = probe(), list[_Part](), list[int]()
    while waiting:
        part = waiting.pop(0)
        made = part.layer(values)
        if isinstance(part.layer, nn.Sequential) and values.shape[-1] >= 4 * made.shape[-1]:
            waiting = [_Part(f"{part.name}.{inner}", layer) for inner, layer in part.layer.named_children()] + waiting
            continue
        values = made
        parts.append(part)
        sides.append(int(values.shape[-1]))
    return parts, sides


def _has_parameters(layer: nn.Module) -> bool:
    return next(layer.parameters(), None) is not None


def _joined(parts: Sequence[_Part], frozen: int, channels: int, taps: dict[str, int], smallest: int) -> Backbone:
    """Stem and tail; what follows a tap does not work in place, since it would change the features that were taken."""
    for depth in (*taps.values(), frozen):
        for module in parts[depth].layer.modules() if depth < len(parts) else ():
            if getattr(module, "inplace", False) is True:
                module.inplace = False  # type: ignore[assignment]
    layers = [part.layer for part in parts]
    return Backbone(
        stem=nn.Sequential(*layers[:frozen]),
        tail=nn.Sequential(*layers[frozen:]).train(),
        channels=channels,
        smallest=smallest,
        taps=taps,
        pyramid=(*taps, FREEZE_POINT),
        layer_names=tuple(part.name for part in parts),
        tileable=False,
    )

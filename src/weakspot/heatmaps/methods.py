"""Every heat-map method behind one function: :func:`heat_maps`. A new one is one function and one line of METHODS.

``cam``, ``grad_cam`` and ``guided_grad_cam`` are our own; the others are pytorch-grad-cam's and captum's (extra
``cams``), given the same activations and gradients.
"""

from __future__ import annotations

import contextlib
import importlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from weakspot.errors import WeakspotError, did_you_mean
from weakspot.heatmaps.gradients import guided_gradients, record_layer
from weakspot.heatmaps.layers import Layers, list_layers
from weakspot.heatmaps.scaling import scale
from weakspot.models.tokens import TokenMap

Maps = npt.NDArray[np.float32]
Fill = Literal["mean", "black", "white", "grey"]
FILLS: tuple[Fill, ...] = ("mean", "black", "white", "grey")


@dataclass(frozen=True)
class Settings:
    """How a map is made; HALCON's parameters have HALCON's meaning.

    Attributes:
        target_layer: by name; None for the deepest convolution whose activation is larger than 1×1.
        activation: ``conv`` or ``relu``: the convolution's own output or that of the ReLU behind it; None: ``relu``
            where there is one. Of grad_cam alone.
        scaling: a key of :data:`~weakspot.heatmaps.scaling.SCALINGS`; None for ``none``. Of grad_cam alone.
        patch, stride: of occlusion, in pixels of the network's input; None: a seventh of the shorter side, and half
            of the patch.
        fill: what occlusion hides with: the image's mean colour, or a fixed one.
    """

    target_layer: str | None = None
    activation: str | None = None
    scaling: str | None = None
    patch: int | None = None
    stride: int | None = None
    fill: Fill = "mean"


@dataclass(frozen=True)
class Request:
    """What a method works on.

    Attributes:
        module: from pixels to logits ``(n, classes)``, in evaluation mode.
        pixels: preprocessed, ``(n, 3, H, W)``.
        targets: int64 ``(n,)``, the class to explain in each image.
        layers: of `module`, at this input size.
        layer: name of the layer that the map is taken at; empty for methods without one.
        settings: of the method.
        colours: value of each :data:`FILLS` colour but ``mean`` in network input, ``(3,)``.
    """

    module: nn.Module
    pixels: Tensor
    targets: Tensor
    layers: Layers
    layer: str
    settings: Settings
    colours: dict[str, Tensor]


@dataclass(frozen=True)
class Method:
    """A heat-map method.

    Attributes:
        make: from a request to raw maps ``(n, h, w)``.
        takes: which :class:`Settings` it takes.
        of_class: whether it depends on the target class.
        pixelwise: whether it works on pixels rather than places; no boxes are drawn on such a map.
        slow: whether it runs the network hundreds of times.
    """

    make: Callable[[Request], Maps]
    takes: frozenset[str] = frozenset({"target_layer"})
    of_class: bool = True
    pixelwise: bool = False
    slow: bool = False


# --- our own ------------------------------------------------------------------------------------------------------


def cam(request: Request) -> Maps:
    """Class activation maps: ``Σ_c w_kc · A_c`` with the dense layer's weights, in logit units.

    Raises:
        WeakspotError: for a network that does not end in global average pooling and one dense layer.
    """
    found: dict[str, Tensor] = {}
    dense = [module for module in request.module.modules() if isinstance(module, nn.Linear)]
    fit = [layer.name for layer in request.layers if dense and layer.usable and layer.shape[0] == dense[-1].in_features]
    if not fit:
        raise _no_cam()

    def keep(_layer: nn.Module, _given: tuple[Any, ...], output: Tensor) -> None:
        found["activations"] = output.detach().clone()

    handle = request.module.get_submodule(fit[-1]).register_forward_hook(keep)
    try:
        with torch.no_grad():
            logits = request.module(request.pixels)
    finally:
        handle.remove()
    return _weighted(found["activations"], dense[-1], logits, request.targets)


def _weighted(activations: Tensor, dense: nn.Linear, logits: Tensor, targets: Tensor) -> Maps:
    """The maps, after the proof that they are the logits' parts: their mean and the bias must give the logit."""
    with torch.no_grad():
        rows = targets - (logits.shape[1] - dense.out_features)  # a single logit is that of the last class
        if activations.shape[1] != dense.in_features:
            raise _no_cam()
        weights = torch.where((rows >= 0)[:, None], dense.weight[rows.clamp(min=0)], 0)
        maps = torch.einsum("nchw,nc->nhw", activations, weights)
        bias = torch.zeros(()) if dense.bias is None else torch.where(rows >= 0, dense.bias[rows.clamp(min=0)], 0)
        wanted = logits.gather(1, targets[:, None])[:, 0]
        if not torch.allclose(maps.mean((1, 2)) + bias, wanted, rtol=1e-3, atol=1e-3 * float(logits.abs().max())):
            raise _no_cam()
    return _array(maps)


def _no_cam() -> WeakspotError:
    return WeakspotError(
        "cam needs a network that ends in global average pooling and one dense layer, and this one does not; choose "
        "one of: grad_cam, hires_cam, layer_cam, grad_cam_plus_plus, score_cam, eigen_cam, occlusion"
    )


def grad_cam(request: Request) -> Maps:
    """Grad-CAM (Selvaraju et al., ICCV 2017) before its ReLU: activations weighted with their mean gradients."""
    activations, gradients = record_layer(request.module, request.pixels, request.layer, request.targets)
    return _array((activations * gradients.mean((2, 3), keepdim=True)).sum(1))


def guided_grad_cam(request: Request) -> Maps:
    """Guided Grad-CAM: at each pixel, the sum over colours of what :func:`guided_attributions` says, without sign."""
    return _array(guided_attributions(request).abs().sum(1))


def guided_attributions(request: Request) -> Tensor:
    """Guided gradients times the up-sampled, rectified Grad-CAM, ``(n, 3, H, W)``."""
    coarse = torch.from_numpy(np.maximum(grad_cam(request), 0)).to(request.pixels)
    size = [request.pixels.shape[2], request.pixels.shape[3]]
    fine = functional.interpolate(coarse[:, None], size, mode="bilinear", align_corners=False)
    return guided_gradients(request.module, request.pixels, request.targets) * fine


# --- pytorch-grad-cam's and captum's ------------------------------------------------------------------------------


def of_library(name: str, request: Request) -> Maps:
    """A method of pytorch-grad-cam, raw: before its ReLU and its scaling.

    Args:
        name: of its class.
        request: the layer's activations and gradients are taken our way, so that nothing of the library stays hooked.
    """
    library = _library("pytorch_grad_cam", "grad-cam")
    targets_of = importlib.import_module("pytorch_grad_cam.utils.model_targets").ClassifierOutputTarget
    activations, gradients = record_layer(request.module, request.pixels, request.layer, request.targets)
    method = getattr(library, name)(model=request.module, target_layers=[])
    targets = [targets_of(int(target)) for target in request.targets]
    with contextlib.redirect_stderr(io.StringIO()):  # its own progress bars
        maps = method.get_cam_image(
            request.pixels, None, targets, activations.cpu().numpy(), gradients.cpu().numpy(), False
        )
    return np.asarray(maps, dtype=np.float32)


def eigen_cam(request: Request) -> Maps:
    """Eigen-CAM (Muhammad and Yeasin, IJCNN 2020), with the sign that goes with the mean activation.

    The sign of a singular vector is arbitrary, and the library leaves it to chance.
    """
    maps = of_library("EigenCAM", request)
    mean = record_layer(request.module, request.pixels, request.layer, request.targets).activations.mean(1)
    return np.stack(
        [
            -map_ if float((map_ * (of - of.mean())).sum()) < 0 else map_
            for map_, of in zip(maps, _array(mean), strict=True)
        ]
    )


def occlusion(request: Request) -> Maps:
    """How far the confidence in the class falls when a patch is hidden (Zeiler and Fergus, ECCV 2014), 0…1 per place.

    Patches overlap; a place has the mean of those that hid it. At the resolution of the network's input.
    """
    captum = _library("captum.attr", "captum")
    settings, shorter = request.settings, min(request.pixels.shape[2:])
    patch = settings.patch or max(1, shorter // 7)
    stride = settings.stride or max(1, patch // 2)
    if not 1 <= patch <= shorter or not 1 <= stride <= patch:
        raise WeakspotError(
            f"occlusion patch {patch}, stride {stride}: the patch must be 1 to {shorter} (the input's shorter side) "
            "and the stride 1 to the patch, so that no pixel is left out"
        )
    if settings.fill == "mean":
        hidden = request.pixels.mean((2, 3), keepdim=True).expand_as(request.pixels)
    else:
        hidden = request.colours[settings.fill].to(request.pixels).view(1, 3, 1, 1).expand_as(request.pixels)
    with torch.no_grad():
        falls = captum.Occlusion(lambda pixels: request.module(pixels).softmax(1)).attribute(
            request.pixels,
            sliding_window_shapes=(3, patch, patch),
            strides=(3, stride, stride),
            baselines=hidden,
            target=request.targets,
            perturbations_per_eval=4,
        )
    return _array(falls[:, 0])


def _library(module: str, package: str) -> Any:  # noqa: ANN401 - untyped libraries
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise WeakspotError(
            f"this heat map comes from {package}, which is not installed; pip install 'weakspot[cams]', or choose one "
            "of: cam, grad_cam, guided_grad_cam"
        ) from error


def _array(values: Tensor) -> Maps:
    return np.ascontiguousarray(values.detach().float().cpu().numpy())


# --- the registry -------------------------------------------------------------------------------------------------

METHODS: dict[str, Method] = {
    "cam": Method(cam, frozenset()),  # Zhou et al. 2016
    # Selvaraju et al. 2017, both
    "grad_cam": Method(grad_cam, frozenset({"target_layer", "activation", "scaling"})),
    "guided_grad_cam": Method(guided_grad_cam, pixelwise=True),
    "grad_cam_plus_plus": Method(partial(of_library, "GradCAMPlusPlus")),  # Chattopadhay et al. 2018
    "layer_cam": Method(partial(of_library, "LayerCAM")),  # Jiang et al. 2021
    "hires_cam": Method(partial(of_library, "HiResCAM")),  # Draelos and Carin 2020
    "score_cam": Method(partial(of_library, "ScoreCAM"), slow=True),  # Wang et al. 2020
    "eigen_cam": Method(eigen_cam, of_class=False),  # Muhammad and Yeasin 2020
    "occlusion": Method(occlusion, frozenset({"patch", "stride", "fill"}), slow=True),  # Zeiler and Fergus 2014
}
"""Heat-map methods by their name in ``heatmap`` and ``--heatmap``."""


def check_method(name: str, settings: Settings) -> Method:
    """Find a heat-map method by its name, and check that it takes the settings.

    Args:
        name: a key of :data:`METHODS`.
        settings: those that differ from the defaults must be among the method's ``takes``.

    Returns:
        The method.

    Raises:
        WeakspotError: for an unknown method or fill, and for a setting that the method does not take; the message lists
            the choices.
    """
    if name not in METHODS:
        raise WeakspotError(
            f"heatmap {name} is unknown{did_you_mean(name, METHODS)}; choose one of: {', '.join(METHODS)}"
        )
    method, plain = METHODS[name], Settings()
    for key in vars(plain):
        if getattr(settings, key) != getattr(plain, key) and key not in method.takes:
            takers = ", ".join(other for other, of in METHODS.items() if key in of.takes)
            takes = ", ".join(sorted(method.takes)) or "nothing"
            raise WeakspotError(f"{key} does not apply to heatmap {name}, which takes {takes}; it belongs to: {takers}")
    if settings.fill not in FILLS:
        raise WeakspotError(f"fill {settings.fill} is unknown; choose one of: {', '.join(FILLS)}")
    return method


def heat_maps(
    module: nn.Module,
    pixels: Tensor,
    targets: Tensor | None = None,
    method: str = "cam",
    settings: Settings | None = None,
    colours: dict[str, Tensor] | None = None,
    layers: Layers | None = None,
) -> Maps:
    """Heat maps of a batch of images.

    Args:
        module: from pixels to logits ``(n, classes)``; run in evaluation mode, and left as it was.
        pixels: preprocessed, ``(n, 3, H, W)``; no more at once than fit into memory.
        targets: int64 ``(n,)``, the class looked at in each image; None for the one with the highest logit.
        method: a key of :data:`METHODS`.
        settings: see :class:`Settings`.
        colours: black, white and grey as network input, for occlusion; None takes them for 0.
        layers: of the network at this input size, where they are known already.

    Returns:
        float32 ``(n, h, w)``, raw unless ``settings.scaling`` says otherwise, at the method's own resolution.

    Raises:
        WeakspotError: for anything that does not go together; the message lists what there is.
    """
    settings = settings or Settings()
    chosen = check_method(method, settings)
    was = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        # A tensor made in inference mode could not be differentiated.
        pixels = pixels.clone() if pixels.is_inference() else pixels
        layers = layers or list_layers(module, pixels[:1])
        takes_layer = "target_layer" in chosen.takes
        if takes_layer:
            _refuse_attention(module, method)
        layer = layers.resolve(settings.target_layer, settings.activation) if takes_layer else ""
        if targets is None:
            with torch.no_grad():
                targets = module(pixels).argmax(1)
        zeros: dict[str, Tensor] = {fill: torch.zeros(3) for fill in FILLS}
        request = Request(module, pixels, targets, layers, layer, settings, colours or zeros)
        return scale(chosen.make(request), settings.scaling or "none").astype(np.float32)
    finally:
        for part, training in was:
            part.training = training


def _refuse_attention(module: nn.Module, method: str) -> None:
    kinds = {type(part).__name__ for part in module.modules()}
    attention = sorted(kind for kind in kinds if "Attention" in kind)
    if attention and TokenMap.__name__ not in kinds:  # which ends in a feature map, like a convolution
        raise WeakspotError(
            f"{method} reads a convolution's feature map, and behind this network's last one comes {attention[0]}; "
            "choose one of: occlusion"
        )

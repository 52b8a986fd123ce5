"""Heat-map methods: against independent implementations on real weights, and on hand-made networks and arrays."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable

import numpy as np
import pytest
import torch
from captum.attr import GuidedGradCam
from helpers.networks import Deep, Small, batch
from helpers.real import needs_data, needs_weights, real_batch, real_network
from pytorch_grad_cam import GradCAM, HiResCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from weakspot.errors import WeakspotError
from weakspot.heatmaps import classes
from weakspot.heatmaps.classes import ClassMaps
from weakspot.heatmaps.layers import list_layers
from weakspot.heatmaps.methods import METHODS, Settings, heat_maps
from weakspot.heatmaps.network import Logits
from weakspot.models.network import CamNet
from weakspot.types import ModelOutput

ANOMALY = torch.tensor([1, 1])


# --- small networks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_gives_what_single_images_give(method: str) -> None:
    network, images, targets = Small().eval(), batch(), torch.tensor([0, 2, 1])
    together = heat_maps(network, images, targets, method)
    for i in range(3):
        alone = heat_maps(network, images[i : i + 1], targets[i : i + 1], method)[0]
        assert np.allclose(together[i], alone, rtol=1e-4, atol=1e-6), i
    if METHODS[method].of_class:
        other = heat_maps(network, images, torch.tensor([1, 1, 1]), method)
        assert np.allclose(other[2], together[2])
        assert not np.allclose(other[1], together[1])


@pytest.mark.parametrize(("method", "sizes"), [("score_cam", [1, 1, 1] * 2), ("grad_cam", [3] * 2)])
def test_maps_of_a_run_by_score_cam_take_one_picture_at_a_time(
    method: str, sizes: list[int], monkeypatch: pytest.MonkeyPatch, tiny: None
) -> None:
    """The library holds pictures × channels masked pictures at once, which no GPU has room for in a batch."""
    network, images, asked = CamNet("tiny").eval(), batch(), list[int]()
    wanted = [heat_maps(Logits(network), images, torch.full((3,), k), method) for k in range(2)]

    def counted(module: nn.Module, pixels: Tensor, *more: object, **named: object) -> np.ndarray:
        asked.append(len(pixels))
        return heat_maps(module, pixels, *more, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(classes, "heat_maps", counted)
    outputs = [ModelOutput(np.zeros(2, np.float32), np.zeros((2, 1, 1), np.float32))] * 3
    found = ClassMaps(network, method)(outputs, images)
    assert asked == sizes
    np.testing.assert_allclose(np.stack([one.maps for one in found], axis=1), wanted, rtol=1e-4, atol=1e-6)


def test_without_a_class_it_is_the_top_one() -> None:
    network, images = Small().eval(), batch()
    top = network(images).argmax(1)
    assert np.array_equal(heat_maps(network, images, method="grad_cam"), heat_maps(network, images, top, "grad_cam"))


@pytest.mark.parametrize("activation", ["conv", "relu"])
def test_a_relu_in_place_changes_nothing(activation: str) -> None:
    settings = Settings(activation=activation)
    maps = [heat_maps(Small(inplace).eval(), batch(), None, "grad_cam", settings) for inplace in (True, False)]
    assert np.array_equal(*maps)


def test_conv_and_relu_are_before_and_after_the_relu() -> None:
    network, images = Small(inplace=False).eval(), batch(1)
    before = network.late(network.first(network.early(images)))
    weights = network.dense.weight[1] / before[0, 0].numel()
    with torch.no_grad():
        after = torch.einsum("chw,c->hw", before[0].relu(), weights).numpy()
        # Where the ReLU is closed the gradient of the convolution's output is zero.
        mean = (weights[:, None, None] * (before[0] > 0)).mean((1, 2))
        convolved = torch.einsum("chw,c->hw", before[0], mean).numpy()
    targets = torch.tensor([1])
    assert np.allclose(heat_maps(network, images, targets, "grad_cam")[0], after, atol=1e-7)
    assert np.allclose(
        heat_maps(network, images, targets, "grad_cam", Settings(activation="conv"))[0], convolved, atol=1e-7
    )


@pytest.mark.slow
def test_nothing_is_left_in_the_network_and_memory_stays_over_a_thousand_calls() -> None:
    network, images = Small(), batch(1)
    network.train()
    network.last.eval()
    names = list(METHODS)
    for name in names:  # whatever is kept at first use
        heat_maps(network, images, method=name)

    def tensors() -> int:
        gc.collect()
        return sum(issubclass(type(found), Tensor) for found in gc.get_objects())

    before = tensors()
    for number in range(1000):
        heat_maps(network, images, method=names[number % len(names)])
    assert tensors() == before
    for module in network.modules():
        assert not module._forward_hooks
        assert not module._backward_hooks
        assert not module._forward_pre_hooks
    assert all(parameter.grad is None for parameter in network.parameters())
    assert network.training
    assert not network.last.training


def test_hooks_are_released_when_the_network_fails() -> None:
    network = Small()
    with pytest.raises(RuntimeError):
        heat_maps(network, torch.zeros(1, 4, 24, 32))
    assert not any(module._forward_hooks for module in network.modules())


def test_cam_grad_cam_and_hires_cam_are_one_but_for_a_factor() -> None:
    network, images, targets = Small().eval(), batch(), torch.tensor([0, 1, 2])
    cam = heat_maps(network, images, targets)
    cells = cam[0].size
    assert np.allclose(cam, cells * heat_maps(network, images, targets, "grad_cam"), atol=1e-5)
    assert np.allclose(cam, cells * heat_maps(network, images, targets, "hires_cam"), atol=1e-5)
    assert np.allclose(cam, heat_maps(network, images, targets, "grad_cam", Settings(scaling="logits")), atol=1e-5)
    with torch.no_grad():
        logits = network(images).gather(1, targets[:, None])[:, 0].numpy()
    assert np.allclose(cam.mean((1, 2)) + network.dense.bias.detach().numpy()[targets], logits, atol=1e-5)


def test_occlusion_is_the_mean_fall_of_the_confidence() -> None:
    network, images, targets = Small().eval(), batch(2), torch.tensor([2, 0])
    found = heat_maps(network, images, targets, "occlusion", Settings(patch=8, stride=4, fill="black"))
    for i, target in enumerate(targets):
        falls, times = np.zeros((24, 32)), np.zeros((24, 32))
        with torch.no_grad():
            whole = network(images[i : i + 1]).softmax(1)[0, target]
            for y in range(0, 17, 4):
                for x in range(0, 25, 4):
                    hidden = images[i : i + 1].clone()
                    hidden[:, :, y : y + 8, x : x + 8] = 0
                    falls[y : y + 8, x : x + 8] += float(whole - network(hidden).softmax(1)[0, target])
                    times[y : y + 8, x : x + 8] += 1
        assert np.allclose(found[i], falls / times, atol=1e-6)


@pytest.mark.parametrize(
    ("network", "method", "settings", "message"),
    [
        (Small, "grad_cm", Settings(), r"did you mean 'grad_cam'\?\); choose one of: cam, grad_cam, guided_grad_cam"),
        (Small, "grad_cam", Settings("lat"), r"layer lat does not exist \(did you mean 'late'\?\).*early, first, late"),
        (Small, "grad_cam", Settings("dense"), r"dense cannot give a heat map: .*no feature map; choose one of: early"),
        (Deep, "grad_cam", Settings("squeeze"), r"squeeze cannot give.*1×1, a single place; choose one of: body"),
        (Small, "grad_cam", Settings(activation="rleu"), r"activation rleu .* choose one of: conv, relu"),
        (Small, "grad_cam", Settings("last", "conv"), r"does not apply to last \(ReLU\).*choose one of: early, late"),
        (Deep, "grad_cam", Settings(activation="relu"), r"activation relu does not apply to body"),
        (Small, "guided_grad_cam", Settings(activation="conv"), r"activation does not apply .*belongs to: grad_cam$"),
        (
            Small,
            "guided_grad_cam",
            Settings(scaling="none"),
            r"scaling does not apply .*takes target_layer; it",
        ),
        (Small, "layer_cam", Settings(scaling="none"), r"scaling does not apply to heatmap layer_cam"),
        (Small, "cam", Settings("late"), r"target_layer does not apply to heatmap cam, which takes nothing"),
        (Small, "grad_cam", Settings(scaling="non"), r"scaling non is unknown.*choose one of: none, scale_after_relu"),
        (Small, "occlusion", Settings(patch=99), r"occlusion patch 99.*1 to 24"),
        (Small, "occlusion", Settings(patch=4, stride=5), r"stride 5.*no pixel is left out"),
        (Small, "occlusion", Settings(fill="pink"), r"fill pink is unknown; choose one of: mean, black"),  # type: ignore[arg-type]
        (Deep, "cam", Settings(), r"cam needs .*global average pooling and one dense layer.*choose one of: grad_cam"),
        (Deep, "guided_grad_cam", Settings(), r"this network uses gelu; choose one of: grad_cam"),
    ],
)
def test_what_does_not_go_is_an_error_that_lists_what_does(
    network: Callable[[], nn.Module], method: str, settings: Settings, message: str
) -> None:
    with pytest.raises(WeakspotError, match=message):
        heat_maps(network().eval(), batch(1), None, method, settings)


def test_guided_grad_cam_takes_a_target_layer() -> None:
    network, images = Small().eval(), batch(1)
    deep, shallow = (
        heat_maps(network, images, method="guided_grad_cam", settings=Settings(layer)) for layer in (None, "early")
    )
    assert not np.allclose(deep, shallow)


def test_attention_is_refused_by_methods_that_read_a_layer() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 8, stride=8), nn.Flatten(2), nn.TransformerEncoderLayer(12, 2))
    with pytest.raises(WeakspotError, match="MultiheadAttention; choose one of: occlusion"):
        heat_maps(network, batch(1), torch.tensor([0]), "grad_cam")


# --- real weights, real pictures ----------------------------------------------------------------------------------


def close(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """To 1e-4 of the whole map's size, everywhere."""
    return ours.shape == theirs.shape and bool(np.abs(ours - theirs).max() <= 1e-4 * np.abs(theirs).max())


def by_library(kind: type[GradCAM], module: nn.Module, layer: nn.Module, images: Tensor) -> np.ndarray:
    """Their whole path, hooks and all, but for the scaling of every image at its end, which would hide a factor."""
    targets = [ClassifierOutputTarget(1)] * len(images)
    with kind(module.requires_grad_(True), [layer]) as cam:
        outputs = cam.activations_and_grads(images)
        module.zero_grad()
        sum(target(output) for target, output in zip(targets, outputs, strict=True)).backward()
        activations, gradients = (
            values[0].numpy() for values in (cam.activations_and_grads.activations, cam.activations_and_grads.gradients)
        )
        return np.asarray(cam.get_cam_image(images, layer, targets, activations, gradients, False))


def plain_copy(module: nn.Module) -> nn.Module:
    """The same network with ReLUs that do not work in place, which the libraries would trip over."""
    copied = copy.deepcopy(module)
    for layer in copied.modules():
        if isinstance(layer, nn.ReLU):
            layer.inplace = False
    return copied


def perturbed(module: nn.Module) -> nn.Module:
    """The same network with one weight of the dense layer changed, of a channel that is active."""
    copied = copy.deepcopy(module)
    with torch.no_grad():
        active = int(copied.tail(copied.stem(real_batch())).mean((0, 2, 3)).argmax())
        copied.head.weight[1, active] += 0.01
    return copied


@needs_weights
@needs_data
@pytest.mark.parametrize(("target_layer", "activation"), [(None, None), ("tail.28", "conv"), ("stem.21", "relu")])
def test_grad_cam_is_the_reference_library_s_on_real_weights(target_layer: str | None, activation: str | None) -> None:
    module, images = Logits(real_network()).eval(), real_batch()
    settings = Settings(target_layer, activation)
    hooked = list_layers(module, images[:1]).resolve(target_layer, activation)
    plain = plain_copy(module)
    theirs = by_library(GradCAM, plain, plain.get_submodule(hooked), images)
    assert close(heat_maps(module, images, ANOMALY, "grad_cam", settings), theirs)
    assert not close(heat_maps(perturbed(module), images, ANOMALY, "grad_cam", settings), theirs)


@needs_weights
@needs_data
def test_cam_is_the_reference_library_s_on_real_weights() -> None:
    """For global average pooling and one dense layer HiResCAM, an element-wise product, is CAM over the cells."""
    module, images = Logits(real_network()).eval(), real_batch()
    plain = plain_copy(module)
    theirs = by_library(HiResCAM, plain, plain.tail, images)
    ours = heat_maps(module, images, ANOMALY)
    assert close(ours / ours[0].size, theirs)
    assert not close(heat_maps(perturbed(module), images, ANOMALY) / ours[0].size, theirs)
    assert close(heat_maps(module, images, ANOMALY, "hires_cam"), theirs)  # and through our adapter
    with torch.no_grad():
        assert close(ours, real_network()(images).maps[:, 1].numpy())  # what predictions show


@needs_weights
@needs_data
def test_guided_grad_cam_is_captum_s_on_real_weights() -> None:
    module, images = Logits(real_network()).eval(), real_batch()
    plain = plain_copy(module)
    theirs = GuidedGradCam(plain, plain.tail).attribute(images, target=1, interpolate_mode="bilinear")
    theirs = theirs.detach().abs().sum(1).numpy()
    assert close(heat_maps(module, images, ANOMALY, "guided_grad_cam"), theirs)
    assert not close(heat_maps(perturbed(module), images, ANOMALY, "guided_grad_cam"), theirs)

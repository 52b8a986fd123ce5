"""The network against its definition, against pytorch-grad-cam, and against plain torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.real import needs_data, needs_weights, real_batch, real_network
from torch.nn import functional
from torchvision.models import vgg16

from weakspot.config.rules import BoxRule
from weakspot.data.preprocess import Preprocess
from weakspot.errors import WeakspotError
from weakspot.models.network import CamNet, field_of_view, inference_batch_size
from weakspot.postprocess.drawing import Drawing
from weakspot.types import ModelOutput


@needs_weights
@needs_data
@pytest.mark.parametrize("outputs", [1, 2])
def test_mean_of_the_map_plus_bias_is_the_logit_on_real_weights(outputs: int) -> None:
    network, batch = real_network(outputs), real_batch()
    with torch.no_grad():
        logits, maps = network(batch)
        pooled = network.tail(network.stem(batch)).mean((2, 3))
        independent = functional.linear(pooled, network.head.weight, network.head.bias)
    assert maps.shape == (2, 2, 6, 8)
    assert torch.allclose(maps.mean((2, 3)) + network.bias, logits, rtol=1e-5, atol=1e-5)
    assert torch.allclose(independent, logits[:, -independent.shape[1] :], rtol=1e-5, atol=1e-5)


@needs_weights
@needs_data
def test_cam_equals_grad_cam_of_the_reference_library_up_to_a_positive_factor() -> None:
    """For global average pooling + dense, Grad-CAM is CAM divided by the number of map cells, after a ReLU."""
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    class LogitsOnly(torch.nn.Module):
        def __init__(self, network: CamNet) -> None:
            super().__init__()
            self.network = network.requires_grad_(True)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.network.forward_tail(self.network.stem(images)).logits

    class RawGradCAM(GradCAM):
        """Without the library's per-image scaling, which would hide a factor."""

        def forward(self, *args: object, **kwargs: object) -> np.ndarray:
            self.outputs = self.activations_and_grads(args[0])
            self.model.zero_grad()
            sum(target(output) for target, output in zip(args[1], self.outputs, strict=True)).backward()
            layer = self.target_layers[0]
            gradients = self.activations_and_grads.gradients[0].numpy()
            activations = self.activations_and_grads.activations[0].numpy()
            return self.get_cam_image(args[0], layer, args[1], activations, gradients, False)

    network, batch = real_network(), real_batch()
    ours = network(batch).maps[:, 1].detach().numpy()
    with RawGradCAM(LogitsOnly(network), [network.tail]) as reference:
        theirs = reference.forward(batch, [ClassifierOutputTarget(1)] * 2)
    cells = ours[0].size
    assert np.allclose(theirs * cells, ours, rtol=1e-4, atol=1e-4 * np.abs(ours).max())
    with torch.no_grad():
        active = int(network.tail(network.stem(batch)).mean((0, 2, 3)).argmax())
        network.head.weight[1, active] += 0.01
        assert not np.allclose(network(batch).maps[:, 1].numpy(), ours, rtol=1e-4, atol=1e-4 * np.abs(ours).max())


@needs_weights
@needs_data
@pytest.mark.parametrize("kind", ["relative", "absolute"])
def test_boxes_from_one_image_equal_those_from_a_batch_on_real_weights(kind: str) -> None:
    network, batch = real_network(), real_batch(3)
    rule = BoxRule("components", kind, 0.5, 1, 10)  # type: ignore[arg-type]

    def boxes(maps: torch.Tensor) -> list[tuple[int, ...]]:
        output = ModelOutput(maps.mean(dim=(1, 2)).numpy(), maps.numpy())
        return [box.xyxy for box in Drawing(output, 1, (373, 248), (96, 128), rule).boxes("anomaly")]

    with torch.no_grad():
        together = [boxes(maps) for maps in network(batch).maps]
        alone = [boxes(network(batch[i : i + 1]).maps[0]) for i in range(3)]
    assert together == alone
    assert any(together)


@pytest.mark.usefixtures("tiny")
def test_one_logit_is_the_logistic_function_of_it() -> None:
    network = CamNet("tiny", outputs=1)
    images = torch.randn(3, 3, 32, 48)
    logits, maps = network(images)
    raw = functional.linear(network.tail(network.stem(images)).mean((2, 3)), network.head.weight, network.head.bias)
    assert torch.allclose(logits.softmax(1)[:, 1], raw[:, 0].sigmoid(), atol=1e-6)
    assert not maps[:, 0].any()
    assert float(network.bias[0].detach()) == 0


@pytest.mark.usefixtures("tiny")
def test_one_logit_is_refused_for_more_than_two_classes() -> None:
    with pytest.raises(WeakspotError, match=r"model\.outputs=1 needs two classes, not 6; set model\.outputs=2"):
        CamNet("tiny", classes=6, outputs=1)


def test_vgg16_freezes_ten_convolutions_and_trains_three() -> None:
    network = CamNet("vgg16")
    trained = [name for name, p in network.named_parameters() if p.requires_grad and p.ndim == 4]
    frozen = [name for name, p in network.named_parameters() if not p.requires_grad and p.ndim == 4]
    assert (len(frozen), trained) == (10, ["tail.24.weight", "tail.26.weight", "tail.28.weight"])
    assert isinstance(network.tail[-1], torch.nn.ReLU)  # no pooling between conv5_3 and the average


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backbone": "vgg61"}, "did you mean 'vgg16'"),
        ({"outputs": 3}, "model.outputs=3"),
        ({"classes": 3, "outputs": 1}, "needs two classes"),
    ],
)
def test_impossible_networks_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(WeakspotError, match=message):
        CamNet(**{"backbone": "tiny", **arguments})


@pytest.mark.usefixtures("tiny")
def test_an_image_too_small_for_the_network_is_refused() -> None:
    with pytest.raises(WeakspotError, match=r"1×1 pixels are too small.*data\.image_size"):
        CamNet("tiny")(torch.zeros(1, 3, 1, 1))


def test_vgg16_s_taps_are_torchvision_s_activations() -> None:
    features = vgg16(weights=None).features.eval()
    network = CamNet("vgg16").eval()
    network.load_pretrained({k: v for k, v in features.state_dict().items() if int(k.split(".")[0]) < 30})
    images = torch.randn(1, 3, 32, 48)
    ends = {"conv1_2": 4, "conv2_2": 9, "conv3_3": 16, "conv4_3": 23, "stem": 24}
    found = network.forward_taps(images, list(ends))
    for tap, end in ends.items():
        with torch.no_grad():
            assert torch.allclose(found[tap], features[:end](images), atol=1e-5), tap
    assert found["conv4_3"].shape == (1, 512, 4, 6)
    assert (found["conv4_3"] >= 0).all()


def test_batches_fit_the_device_and_the_image() -> None:
    assert inference_batch_size(torch.device("cpu"), Preprocess((224, 224), "caffe")) == 1
    assert inference_batch_size(torch.device("cuda"), Preprocess((224, 224), "caffe")) == 64
    assert inference_batch_size(torch.device("cuda"), Preprocess((448, 896), "caffe")) == 8
    assert inference_batch_size(torch.device("cuda"), Preprocess((4096, 4096), "caffe")) == 1
    assert inference_batch_size(torch.device("cuda"), Preprocess((224, 224), "caffe", "tile")) == 1


@pytest.mark.parametrize("size", [(160, 320), (352, 96), (96, 96)])
def test_tiles_are_joined_without_a_seam(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    network = CamNet().eval()
    images = torch.randn(1, 3, *size)
    taps = ("conv1_2", "conv3_3", "stem")
    whole = network.forward_taps(images, taps)
    network.tile = (96, 128)
    shown: list[torch.Size] = []
    network.stem[0].register_forward_pre_hook(lambda _, given: shown.append(given[0].shape))
    tiled = network.forward_taps(images, taps)
    assert len(shown) == -(-size[0] // 96) * -(-size[1] // 128)
    assert all(shape[2] <= 96 + 2 * 64 and shape[3] <= 128 + 2 * 64 for shape in shown)
    for tap in taps:
        assert tiled[tap].shape == whole[tap].shape
        assert torch.allclose(tiled[tap], whole[tap], atol=1e-5), tap


def test_the_field_of_view_is_where_an_output_changes_with_its_input() -> None:
    layers = CamNet().stem[:10].double()  # up to the second pool
    stride, reach = field_of_view(layers)
    image = torch.randn(1, 3, 64, 64, dtype=torch.float64, requires_grad=True)
    layers(image)[0, :, 8, 8].sum().backward()
    assert image.grad is not None
    touched = torch.nonzero(image.grad.abs().sum(dim=(0, 1, 2)))
    first, last = int(touched.min()), int(touched.max())
    assert stride == 4
    assert 8 * stride - first <= reach
    assert last - (9 * stride - 1) <= reach


def test_a_fresh_network_computes_frozen_features_with_the_statistics_it_came_with() -> None:
    """In training mode batch normalisation would use each picture's own statistics, and change what was learnt."""
    torch.manual_seed(0)
    network, images = CamNet("resnet18"), torch.randn(2, 3, 64, 64)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    fresh = network.forward_stem(images)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert torch.equal(fresh, network.eval().forward_stem(images))
    assert torch.equal(fresh, network.train().forward_stem(images))

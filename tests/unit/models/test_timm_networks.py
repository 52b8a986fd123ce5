"""Networks of timm: cut, they compute what they computed whole. Weights are random ones."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import timm
import torch
from helpers.exports import bundle_of, save_model
from torch import Tensor, nn

from weakspot.data.preprocess import Preprocess
from weakspot.errors import WeakspotError
from weakspot.heatmaps.layers import list_layers
from weakspot.heatmaps.network import Logits
from weakspot.models import timm_networks
from weakspot.models.backbones import build_backbone
from weakspot.models.bundle import load_bundle
from weakspot.models.cut import FREEZE_POINT
from weakspot.models.model import Model
from weakspot.models.network import CamNet
from weakspot.models.statistics import StatisticsHead
from weakspot.models.timm_networks import LITE, timm_name
from weakspot.models.tokens import Embedding, _folded, _unfolded, chain_names, without_prefix
from weakspot.types import GOOD

CHAINS = [*LITE, "timm:test_resnet", "timm:test_convnext", "timm:regnety_002", "timm:mobilenetv3_small_050"]
TRANSFORMERS = [
    "timm:test_vit",
    "timm:test_vit2",
    "timm:vit_small_patch14_reg4_dinov2",
    "timm:vit_small_patch16_dinov3",
]


def size_for(name: str) -> tuple[int, int]:
    """Height and width in whole cells of the network."""
    return (56, 84) if "patch14" in name else (64, 96)


def whole_network(name: str) -> nn.Module:
    """timm's own, with numbers of its own."""
    torch.manual_seed(3)
    settings = {"dynamic_img_size": True} if name in TRANSFORMERS else {}
    network: nn.Module = timm.create_model(timm_name(name), **settings).eval()
    for module in network.modules():  # at first they are all alike
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)  # type: ignore[arg-type]
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return network


def loaded(name: str, whole: nn.Module) -> CamNet:
    network = CamNet(name).eval()
    state = dict(whole.state_dict())
    if name in TRANSFORMERS:
        state = chain_names(state)
    prefixes = tuple(f"{layer}." for layer in network.layer_names)
    network.load_pretrained({key: tensor for key, tensor in state.items() if key.startswith(prefixes)})
    return network


@pytest.mark.parametrize("name", [*CHAINS, *TRANSFORMERS])
@torch.no_grad()
def test_the_cut_network_computes_what_timms_does_and_its_map_is_exact(name: str) -> None:
    whole = whole_network(name)
    network = loaded(name, whole)
    height, width = size_for(name)
    images = torch.randn(2, 3, height, width)
    expected: Tensor = whole.forward_features(images)  # type: ignore[operator]
    if name in TRANSFORMERS:
        rows = height // (14 if "patch14" in name else 16)
        expected = expected[:, network.prefix :].transpose(1, 2).unflatten(2, (rows, -1))
    output = network(images)
    maps = torch.einsum("kc,bchw->bkhw", network.head.weight, expected)
    torch.testing.assert_close(output.maps, maps, rtol=1e-3, atol=1e-4 * float(maps.abs().max()))
    torch.testing.assert_close(output.maps.mean(dim=(2, 3)) + network.bias, output.logits)


@pytest.mark.parametrize("name", CHAINS)
def test_taps_have_the_resolutions_of_a_pyramid_and_stay_as_they_are(name: str) -> None:
    network = CamNet(name).eval()
    images = torch.randn(1, 3, 64, 96)
    features = network.forward_taps(images, network.pyramid)
    assert network.pyramid == ("stride4", "stride8", FREEZE_POINT)
    assert [96 // features[tap].shape[-1] for tap in network.pyramid] == [4, 8, 16]
    network.forward_tail(features[FREEZE_POINT])
    for tap in network.pyramid:
        torch.testing.assert_close(features[tap], network.forward_taps(images, (tap,))[tap])


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_taps_of_a_transformer_are_its_patches(name: str) -> None:
    network = CamNet(name).eval()
    height, width = size_for(name)
    features = network.forward_taps(torch.randn(1, 3, height, width), (*network.pyramid, FREEZE_POINT))
    assert {tuple(features[tap].shape[-2:]) for tap in network.pyramid} == {(4, 6)}
    assert features[FREEZE_POINT].shape[-2:] == (4 + (network.prefix > 0), 6)
    last = without_prefix(features[FREEZE_POINT], network.prefix)
    assert torch.equal(features[network.pyramid[-1]], last)


def test_tokens_that_stand_for_no_place_may_fill_more_than_a_row() -> None:
    tokens = torch.arange(2 * (5 + 6) * 3.0).reshape(2, 11, 3)
    values = _folded(tokens, 5, 2)
    assert values.shape == (2, 3, 3 + 3, 2)
    assert torch.equal(_unfolded(values, 5), tokens)
    assert torch.equal(without_prefix(values, 5).flatten(2).transpose(1, 2), tokens[:, 5:])
    assert torch.equal(without_prefix(_folded(tokens, 0, 11), 0), tokens.transpose(1, 2)[:, :, None])


def test_a_transformer_settled_for_a_size_gives_the_same() -> None:
    stem = build_backbone("timm:vit_small_patch14_reg4_dinov2").stem
    images = torch.randn(2, 3, 56, 84)
    before = stem(images)
    assert isinstance(stem[0], Embedding)
    stem[0].settle((56, 84))
    torch.testing.assert_close(stem(images), before)


def test_pictures_that_are_not_made_of_whole_patches_are_refused() -> None:
    with pytest.raises(WeakspotError, match=r"64×98 pixels .* 14×14; set data\.image_size to multiples of 14"):
        CamNet("timm:vit_small_patch14_dinov2")(torch.zeros(1, 3, 64, 98))


@pytest.mark.parametrize(
    "name", ["hrnet_w18_small", "vit_relpos_small_patch16_224", "vit_small_patch16_rope_mixed_224"]
)
def test_a_network_that_cannot_be_cut_is_told_in_one_line(name: str) -> None:
    with pytest.raises(WeakspotError, match=rf"^model\.backbone=timm:{name} cannot be cut [^\n]*; choose another"):
        CamNet(f"timm:{name}")


def test_unknown_names_are_told_and_addresses_are_never_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: pytest.fail("built"))
    with pytest.raises(WeakspotError, match=r"timm:resnt18 is unknown to timm \(did you mean 'resnet18'\?\)"):
        CamNet("timm:resnt18")
    with pytest.raises(WeakspotError, match="unknown to timm"):
        CamNet("timm:hf_hub:somebody/network")
    with pytest.raises(WeakspotError, match=r"no weights a1_in2k of resnet18 \(did you mean 'a1_in1k'\?\)"):
        CamNet("timm:resnet18.a1_in2k")
    with pytest.raises(WeakspotError, match=r"or timm:NAME for a network of timm"):
        CamNet("resnet17")


def test_without_timm_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(WeakspotError, match=r"needs timm, which is not installed; pip install timm$"):
        CamNet("efficientnet_lite0")


def test_layers_are_found_by_timms_names() -> None:
    layers = list_layers(Logits(CamNet("efficientnet_lite0").eval()), torch.zeros(1, 3, 64, 96))
    assert layers.by_name["tail.0.0.conv_dw"].also == "blocks.5.0.conv_dw"
    assert layers.find("conv_head").name == "tail.2"
    assert layers.resolve("conv_head", None) == "tail.3"  # normalised and activated
    assert layers.resolve("conv_head", "conv") == "tail.2"
    assert layers.resolve(None, None) == "tail.3"
    assert not layers.find("blocks.4").trained
    transformer = list_layers(Logits(CamNet("timm:test_vit2").eval()), torch.zeros(1, 3, 64, 96))
    assert transformer.by_name["stem.1.block.attn.qkv"].also == "blocks.0.attn.qkv"
    assert transformer.usable == ["stem.0.net.patch_embed.proj", "tail.1", "tail"]
    assert transformer.resolve(None, None) == "tail"
    assert transformer.find("norm").shape == (64, 4, 6)


def test_a_bundle_is_read_back_and_cannot_ask_for_more_than_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = CamNet("timm:test_vit2").eval()
    bundle_of(tmp_path, network, "timm:test_vit2", (64, 96))
    model, meta = load_bundle(tmp_path)
    images = torch.randn(1, 3, 64, 96)
    assert meta.classes[0] == GOOD
    assert torch.equal(model.network(images).maps, network(images).maps)
    monkeypatch.setattr(timm_networks, "cut_transformer", lambda *_: pytest.fail("built"))
    bundle_of(tmp_path, network, "timm:vit_giant_patch14_dinov2", (64, 96))
    with pytest.raises(WeakspotError, match="does not hold a network timm:vit_giant_patch14_dinov2"):
        load_bundle(tmp_path)


def test_what_a_network_has_behind_its_features_does_not_count() -> None:
    """VGG has ten times as many numbers there, which no bundle holds."""
    parts = build_backbone("timm:vgg11")
    held = sum(parameter.numel() for part in (parts.stem, parts.tail) for parameter in part.parameters())
    assert timm_networks.parameter_count("timm:vgg11") == held


def test_a_bundle_whose_head_reads_features_that_there_are_not_is_refused(tmp_path: Path) -> None:
    head = StatisticsHead(["stem", "nowhere"], [4, 4])
    save_model(tmp_path, Model(CamNet("timm:test_vit2"), None, head), "timm:test_vit2", Preprocess((64, 96), "caffe"))
    with pytest.raises(WeakspotError, match="timm:test_vit2 has no features called nowhere"):
        load_bundle(tmp_path)

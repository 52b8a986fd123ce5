"""The stem feature cache: what it depends on, what it survives, and that training on it is the same training."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from weakspot.data.images import inspect_images, list_images, read_image
from weakspot.data.preprocess import Preprocess
from weakspot.data.views import ImageView
from weakspot.errors import WeakspotError
from weakspot.models.feature_cache import FeatureCache, compute_features, default_cache_dir, feature_keys
from weakspot.models.network import CamNet

PREPROCESS = Preprocess((32, 48), "caffe")


def seen(folder: Path, number: int) -> list[ImageView]:
    return [ImageView(info) for info in inspect_images(list_images(folder)[:number])]


def count_stem_passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The list that the number of images in each pass is put in from now on."""
    computed: list[int] = []
    run = CamNet.forward_taps

    def counting(self: CamNet, images: torch.Tensor, taps: Collection[str]) -> dict[str, torch.Tensor]:
        computed.append(len(images))
        return run(self, images, taps)

    monkeypatch.setattr(CamNet, "forward_taps", counting)
    return computed


def array(value: float = 1.0) -> np.ndarray:
    return np.full((2, 3, 4), value, dtype=np.float32)


def test_float16_and_float32_come_back(tmp_path: Path) -> None:
    for precision, tolerance in (("float16", 1e-3), ("float32", 0.0)):
        cache = FeatureCache(tmp_path / precision, precision=precision)  # type: ignore[arg-type]
        cache.store("ab12", array(1 / 3))
        found = cache.load("ab12")
        assert found is not None
        assert found.dtype == np.float32
        assert np.allclose(found, 1 / 3, rtol=tolerance, atol=0)
    assert cache.usage()[0] == 1


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty"])
def test_a_damaged_file_counts_as_missing(tmp_path: Path, damage: str) -> None:
    cache = FeatureCache(tmp_path)
    cache.store("ab12", array())
    path = cache.path("ab12")
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[-10] ^= 1
    path.write_bytes({"truncate": bytes(content[:-5]), "flip": bytes(content), "empty": b""}[damage])
    assert cache.load("ab12") is None


def test_the_key_depends_on_everything_the_features_depend_on(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    keys = {
        cache.key("image", PREPROCESS, "stem"),
        cache.key("other", PREPROCESS, "stem"),
        cache.key("image", Preprocess((48, 32), "caffe"), "stem"),
        cache.key("image", Preprocess((32, 48), "torchvision"), "stem"),
        cache.key("image", PREPROCESS, "other"),
        cache.key("image", PREPROCESS, "stem", "conv3_3"),
        replace(cache, precision="float32").key("image", PREPROCESS, "stem"),
    }
    assert len(keys) == 7


@pytest.mark.usefixtures("tiny")
def test_a_stem_without_its_pool_has_other_keys(fabric: Path, tmp_path: Path) -> None:
    network, cache = CamNet("tiny"), FeatureCache(tmp_path)
    items = seen(fabric, 1)
    before = feature_keys(network, items, PREPROCESS, cache)
    network.stem = network.stem[:-1]
    assert feature_keys(network, items, PREPROCESS, cache) != before


def test_trim_removes_the_least_recently_used(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    for age, key in enumerate(("aa1", "bb2", "cc3")):
        cache.store(key, array())
        os.utime(cache.path(key), (1000 - age, 1000 - age))
    cache.load("cc3")  # the oldest, but used just now
    size = cache.usage()[1] // 3
    assert replace(cache, max_bytes=2 * size).trim() == 1
    assert cache.load("bb2") is None
    assert replace(cache, max_bytes=0).trim(keep={"cc3"}) == 1
    assert cache.load("cc3") is not None
    assert cache.clear() == 1
    assert cache.usage() == (0, 0)


@pytest.mark.usefixtures("tiny")
def test_each_image_is_computed_once_and_a_damaged_one_again(
    fabric: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, cache = CamNet("tiny").eval(), FeatureCache(tmp_path, precision="float32")
    items, computed = seen(fabric, 6), count_stem_passes(monkeypatch)
    (keys,) = compute_features(network, items, PREPROCESS, cache, batch_size=4)
    assert (computed, len(set(keys))) == ([4, 2], 6)
    assert compute_features(network, items, PREPROCESS, cache) == [keys]
    cache.path(keys[2]).write_bytes(b"rubbish")
    compute_features(network, items, PREPROCESS, cache)
    assert computed == [4, 2, 1]


@pytest.mark.usefixtures("tiny")
def test_what_another_process_computed_meanwhile_is_not_computed_again(
    fabric: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, cache = CamNet("tiny").eval(), FeatureCache(tmp_path)
    items, computed = seen(fabric, 40), count_stem_passes(monkeypatch)
    nested: list[bool] = []

    def other_process(done: int, total: int) -> None:
        if not nested:
            nested.append(True)
            compute_features(network, items, PREPROCESS, cache)

    keys = compute_features(network, items, PREPROCESS, cache, progress=other_process)
    in_hand = 4 * 8  # decoded ahead, at most, whatever the number of cores
    assert 40 <= sum(computed) <= 40 + in_hand
    assert all(cache.check(key) for key in keys[0])


@pytest.mark.usefixtures("tiny")
def test_cached_features_are_the_stem_s_own(fabric: Path, tmp_path: Path) -> None:
    network, cache = CamNet("tiny").eval(), FeatureCache(tmp_path, precision="float32")
    items = seen(fabric, 3)
    for key, item in zip(compute_features(network, items, PREPROCESS, cache)[0], items, strict=True):
        expected = network.stem(torch.from_numpy(PREPROCESS(read_image(item.image.path)))[None])[0]
        assert np.allclose(cache.load(key), expected.detach().numpy(), atol=1e-4)


@pytest.mark.usefixtures("tiny")
def test_taps_and_views_come_from_one_pass_an_image_and_view(
    fabric: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, cache = CamNet("tiny").eval(), FeatureCache(tmp_path, precision="float32")
    images = [item.image for item in seen(fabric, 2)]
    items = [ImageView(image, view) for image in images for view in ("turn0", "turn90_mirrored")]
    computed = count_stem_passes(monkeypatch)
    early, late = compute_features(network, items, PREPROCESS, cache, taps=("early", "stem"))
    assert sum(computed) == 4
    assert len({*early, *late}) == 8
    pixels = torch.from_numpy(PREPROCESS(read_image(images[1].path)))
    turned = torch.rot90(pixels, 1, (1, 2)).flip(2)[None]
    assert np.allclose(cache.load(early[3]), network.stem[:2](turned)[0], atol=1e-5)
    assert np.allclose(cache.load(late[3]), network.stem(turned)[0], atol=1e-5)
    cache.path(early[0]).unlink()
    compute_features(network, items, PREPROCESS, cache, taps=("stem",))
    assert sum(computed) == 4
    compute_features(network, items, PREPROCESS, cache, taps=("early",))
    assert sum(computed) == 5
    with pytest.raises(WeakspotError, match=r"tap erly is unknown \(did you mean 'early'\?\)"):
        compute_features(network, items[:1], PREPROCESS, cache, taps=("erly",))


def test_an_unwritable_folder_names_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WeakspotError, match=r"cache\.dir=.*cache\.enabled=false"):
        FeatureCache(tmp_path / "file").store("ab12", array())


def test_xdg_cache_home_is_honoured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_dir().is_relative_to(tmp_path)


@pytest.mark.parametrize("error", [PermissionError, FileNotFoundError])
def test_another_s_file_is_read_and_a_removed_one_is_not_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[OSError]
) -> None:
    cache = FeatureCache(tmp_path)
    cache.store("ab" * 32, np.ones((2, 3), np.float32))

    def refuse(path: Path) -> None:
        if error is FileNotFoundError:
            path.unlink()
        raise error(path)

    monkeypatch.setattr(os, "utime", refuse)
    found = cache.load("ab" * 32)
    assert found is not None
    np.testing.assert_array_equal(found, np.ones((2, 3)))
    assert cache.path("ab" * 32).is_file() == (error is PermissionError)

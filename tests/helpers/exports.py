"""A run that can be exported, without training."""

from __future__ import annotations

from pathlib import Path

import torch

from helpers.runs import settings
from weakspot.config.rules import BoxRule
from weakspot.config.schema import write_config
from weakspot.data.picture_sizes import PictureSizes
from weakspot.data.preprocess import Preprocess
from weakspot.data.readers import read_samples
from weakspot.data.splits import split_samples, write_split
from weakspot.models.bundle import save_bundle
from weakspot.models.bundle_meta import BundleMeta
from weakspot.models.evidence import EvidenceNet
from weakspot.models.model import Model
from weakspot.models.network import CamNet
from weakspot.postprocess.decision import Decision
from weakspot.types import ANOMALY, GOOD, Size


def quiet(done: int, total: int) -> None:
    """No progress is shown."""


def make_run(folder: Path, fabric: Path, *, refined: bool) -> Path:
    """A run folder with a model of random weights: what is exported need not be good, only not blind."""
    torch.manual_seed(1)
    net = CamNet("tiny")
    with torch.no_grad():
        net.head.weight[1].abs_()
        net.head.bias.copy_(torch.tensor([-0.1, 0.1]))
    evidence = None
    if refined:
        evidence = EvidenceNet(net.pyramid, ((8, 4), (8, 4)), 6, 6).eval()
        with torch.no_grad():
            evidence.location_out.bias.fill_(0.5)
            evidence.mask_out.bias.fill_(0.0)
            for layer in (evidence.location_out, evidence.mask_out):
                layer.weight.mul_(30)
    save_model(folder / "bundle", Model(net, evidence), "tiny", Preprocess((64, 96), "torchvision", "keep_ratio"))
    samples = read_samples("mvtec", fabric, subset="fabric")
    write_split(folder / "split.csv", samples, split_samples(samples, test_size=0.2, seed=0), fabric)
    write_config(folder / "config.yaml", settings(fabric))
    return folder


def save_model(folder: Path, model: Model, backbone: str, preprocess: Preprocess) -> None:
    """A bundle with a decision that is not the plainest."""
    evidence = model.evidence
    meta = BundleMeta(
        classes=[GOOD, ANOMALY],
        preprocess=preprocess,
        backbone=backbone,
        outputs=2,
        boxes=BoxRule() if evidence is None else BoxRule("components", "absolute", 0.2, merge=0.5),
        thresholds={"boxes": {"value": 0.2, "origin": "test"}},
        pictures=PictureSizes.of([(96, 128)]),
        weights={"origin": "random", "sha256": ""},
        split_hash="",
        data_hash="",
        evidence=None if evidence is None else evidence.settings,
        statistics=None if model.statistics is None else model.statistics.settings,
        decision=Decision(temperature=1.7, threshold=0.3, bias=-0.4),
    )
    save_bundle(folder, model, meta)


def bundle_of(folder: Path, network: CamNet, backbone: str, size: Size, *, refined: bool = False) -> None:
    """A bundle of any network; with evidence heads of random weights where `refined`."""
    evidence = None
    if refined:
        features = network.forward_taps(torch.zeros(1, 3, *size), network.pyramid)
        channels = [(features[tap].shape[1], 4) for tap in network.pyramid]
        evidence = EvidenceNet(network.pyramid, channels, 6, 6).eval()
    save_model(folder, Model(network, evidence), backbone, Preprocess(size, "inception"))

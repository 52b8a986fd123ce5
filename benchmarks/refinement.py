"""What refinement adds to prediction: the same pictures, files to boxes, with and without the evidence heads.

The heads have random weights, which cost what trained ones do. Pictures alternate between the two, so that both see the
same state of the machine.

    python benchmarks/refinement.py DATA --weights FILE
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
import typer
from common import (
    DataArgument,
    ImagesOption,
    OutputOption,
    RoundsOption,
    WeightsOption,
    alternate,
    choose_files,
    described,
    in_rounds,
    milliseconds,
    predict_files,
    ratios,
    report,
    save_model,
    table,
    workplace,
)

from weakspot.config.rules import BoxRule
from weakspot.inference.localizer import Localizer
from weakspot.models.evidence import EvidenceNet
from weakspot.models.model import Model

SIDES = (224, 320)
PROJECTED = ((256, 64), (512, 128), (512, 256))
"""Channels of VGG16's conv3_3, conv4_3 and stem, and what training projects them to."""


def contenders(plain: Localizer) -> dict[tuple[int, str], Localizer]:
    """By input side: the model without refinement and with it, boxes a region in both."""
    torch.manual_seed(0)
    network = plain.model.network
    refined = Model(network, EvidenceNet(network.pyramid, PROJECTED).eval())
    rule = BoxRule("components", "absolute", 0.0, merge=0.5)
    found = {}
    for side in SIDES:
        preprocess = replace(plain.meta.preprocess, image_size=(side, side))
        meta = replace(plain.meta, preprocess=preprocess, boxes=rule)
        found[side, "plain"], found[side, "refined"] = Localizer(plain.model, meta), Localizer(refined, meta)
    return found


def main(
    data: DataArgument = None,
    weights: WeightsOption = "auto",
    images: ImagesOption = 40,
    rounds: RoundsOption = 5,
    output: OutputOption = None,
) -> None:
    """Measure what refinement adds to prediction."""
    with workplace(data, images) as (scratch, folder):
        localizers = contenders(Localizer.load(save_model(scratch / "model", weights)))
        paths = choose_files(folder, images)
        runs = {
            key: partial(predict_files, each, paths, scratch / f"{key[0]}-{key[1]}", overlays=False)
            for key, each in localizers.items()
        }
        seconds = alternate(runs, rounds)
    rows = [
        (
            f"{side} × {side}",
            milliseconds(seconds[side, "plain"], images),
            milliseconds(seconds[side, "refined"], images),
            ratios(seconds[side, "refined"], seconds[side, "plain"]),
        )
        for side in SIDES
    ]
    intro = f"{described(data, images)}. {in_rounds(rounds)} Files to boxes, without overlays."
    header = ("network input", "class map, ms a picture", "refined, ms a picture", "refined, × the class map")
    report("What refinement adds to prediction", [intro, table(header, rows)], output)


if __name__ == "__main__":
    typer.run(main)

"""How much faster is an exported model? The same pictures, files to boxes, by PyTorch, ONNX Runtime and OpenVINO.

All three take turns in one process, on the same number of threads, at 224×224 with the class map and at 320×320 with
refinement (random heads, which cost what trained ones do).

    python benchmarks/exported.py DATA --weights FILE
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

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
from refinement import contenders

from weakspot.export.graph import write_onnx, write_openvino
from weakspot.inference.localizer import Localizer

KINDS = {(224, "plain"): "224 × 224, class map", (320, "refined"): "320 × 320, refined"}
WANTED = 1.15
"""How many times as fast as PyTorch an export should be."""


def exports(original: Localizer, folder: Path) -> dict[str, Localizer]:
    """A model as PyTorch, ONNX Runtime and OpenVINO run it."""
    folder.mkdir()
    onnx, openvino = folder / "model.onnx", folder / "model.xml"
    write_onnx(onnx, original.model, original.meta)
    write_openvino(onnx, openvino, original.meta, half=False)
    return {"PyTorch": original, "ONNX Runtime": Localizer.load(onnx), "OpenVINO": Localizer.load(openvino)}


def main(
    data: DataArgument = None,
    weights: WeightsOption = "auto",
    images: ImagesOption = 16,
    rounds: RoundsOption = 3,
    output: OutputOption = None,
) -> None:
    """Measure exported models against the run they were made of."""
    with workplace(data, images) as (scratch, folder):
        originals = contenders(Localizer.load(save_model(scratch / "model", weights)))
        paths = choose_files(folder, images)
        runs = {
            (kind, name): partial(predict_files, each, paths, scratch / f"{kind[0]}-{name}", overlays=False)
            for kind in KINDS
            for name, each in exports(originals[kind], scratch / f"exports-{kind[0]}").items()
        }
        seconds = alternate(runs, rounds)
    rows = [
        (
            f"{shown}, {name}",
            milliseconds(seconds[kind, name], images),
            ratios(seconds[kind, "PyTorch"], seconds[kind, name]),
        )
        for kind, shown in KINDS.items()
        for name in ("PyTorch", "ONNX Runtime", "OpenVINO")
    ]
    intro = f"{described(data, images)}. {in_rounds(rounds)} Files to boxes, without overlays. Wanted: {WANTED} ×."
    header = ("", "ms a picture", "times as fast as PyTorch")
    report("Exported models", [intro, table(header, rows)], output)


if __name__ == "__main__":
    typer.run(main)

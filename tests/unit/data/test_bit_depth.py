"""12-bit pictures in 16-bit files are told before anything is trained on nearly black pictures."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from weakspot.data.bit_depth import depth_warning
from weakspot.data.images import inspect_image, inspect_images
from weakspot.data.readers import read_samples
from weakspot.data.summary import summarize


@pytest.mark.parametrize(
    ("brightest", "bits", "factor"), [(255, 8, 256), (1023, 10, 64), (1024, 12, 16), (4095, 12, 16), (16383, 14, 4)]
)
def test_the_depth_is_named_with_the_factor_that_mends_it(
    tmp_path: Path, brightest: int, bits: int, factor: int
) -> None:
    for name, value in (("a", brightest), ("b", 7)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((8, 9), value, np.uint16))
    cv2.imwrite(str(tmp_path / "c.png"), np.full((8, 9), 200, np.uint8))
    said = depth_warning(inspect_images([tmp_path / f"{name}.png" for name in "abc"]))
    assert said is not None
    assert said.startswith(f"warning: 2 of 3 images store {bits} bits in 16 (no value is above {brightest} of ")
    assert f"multiply their values by {factor}, " in said


@pytest.mark.parametrize("extension", ["png", "tiff"])
def test_colour_counts_too_to_its_high_byte(tmp_path: Path, extension: str) -> None:
    twelve, full = np.full((8, 9, 3), 90, np.uint16), np.full((8, 9, 4), 65535, np.uint16)
    twelve[2, 3, 1] = 4000
    for name, values in (("twelve", twelve), ("full", full), ("byte", np.full((8, 9, 3), 7, np.uint8))):
        cv2.imwrite(str(tmp_path / f"{name}.{extension}"), values)
    infos = [inspect_image(tmp_path / f"{name}.{extension}") for name in ("twelve", "full", "byte")]
    assert [info.brightest for info in infos] == [4095, 65535, None]
    said = depth_warning([infos[0], infos[2]])
    assert said is not None
    assert said.startswith("warning: 1 of 2 images store 12 bits in 16 (no value is above 4095 of 65535)")


def test_full_16_bit_and_8_bit_pictures_need_no_word(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "dark.png"), np.full((8, 9), 90, np.uint16))
    cv2.imwrite(str(tmp_path / "full.png"), np.full((8, 9), 16384, np.uint16))
    cv2.imwrite(str(tmp_path / "black.png"), np.zeros((8, 9, 3), np.uint8))
    infos = [inspect_image(tmp_path / f"{name}.png") for name in ("dark", "full", "black")]
    assert [info.brightest for info in infos] == [90, 16384, None]
    assert depth_warning(infos) is None
    assert depth_warning(infos[2:]) is None
    assert depth_warning([]) is None


def test_check_has_it_in_its_summary(tmp_path: Path) -> None:
    for name, value in (("good/a.png", 1000), ("good/b.png", 2000), ("bad/a.png", 3000)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / name), np.full((8, 9), value, np.uint16))
    samples = read_samples("folder", tmp_path)
    summary = summarize(samples, inspect_images([sample.path for sample in samples]))
    assert summary.dark is not None
    assert "3 of 3 images store 12 bits" in summary.dark
    assert summary.to_dict()["dark"] == summary.dark

"""The synthetic data set: same bytes every time, exact masks, nothing overwritten, no cheap solution."""

from __future__ import annotations

import json
import runpy
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.paths import ROOT

from weakspot.data import synthetic
from weakspot.errors import WeakspotError
from weakspot.types import GOOD

SMALL = (96, 128)
KINDS = {**synthetic.PRODUCTS, **synthetic.STRIKING}
CASES = [(name, defect) for name, subset in KINDS.items() for defect in subset.defects]
BENCHMARK = ROOT / "benchmarks" / "cheap_baseline.py"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic.generate(tmp_path_factory.mktemp("data"), "gear", seed=3, good=5, defect=2, size=SMALL)


@pytest.mark.parametrize(("subset", "defect"), CASES)
def test_defect_changes_nothing_outside_its_mask_and_much_inside(subset: str, defect: str) -> None:
    image, twin, mask = synthetic.render(subset, defect, 1)
    assert image.shape == (*KINDS[subset].size, 3)
    assert image.shape[0] != image.shape[1]
    assert mask.shape == image.shape[:2]
    assert set(np.unique(mask)) == {0, 255}
    np.testing.assert_array_equal(image[mask == 0], twin[mask == 0])
    change = np.abs(image.astype(int) - twin).max(axis=2)[mask > 0]
    assert change.mean() > 15
    assert (change > 0).mean() > 0.95
    low, high = KINDS[subset].area
    assert low <= (mask > 0).mean() <= high


@pytest.mark.parametrize("subset", KINDS)
def test_good_image_is_its_own_twin(subset: str) -> None:
    image, twin, mask = synthetic.render(subset, GOOD, 0, size=SMALL)
    assert image.shape == (*SMALL, 3)
    assert not mask.any()
    np.testing.assert_array_equal(image, twin)
    assert image.std() > 5


def test_every_part_of_the_key_makes_another_picture() -> None:
    keys = [("fabric", GOOD, 0, 0), ("fabric", GOOD, 1, 0), ("fabric", GOOD, 0, 1), ("fabric", "cut", 0, 0)]
    pictures = {synthetic.render(s, d, i, seed=seed, size=SMALL).image.tobytes() for s, d, i, seed in keys}
    assert len(pictures) == len(keys)


def test_subsets_offer_five_defects_and_sizes_that_are_not_square() -> None:
    assert len(synthetic.PRODUCTS) >= 3
    assert synthetic.DEMO_PRODUCT in synthetic.PRODUCTS
    for subset in synthetic.PRODUCTS.values():
        assert len(subset.defects) >= 5
        assert subset.size[0] != subset.size[1]


def test_layout_is_that_of_mvtec_ad(tiny: Path) -> None:
    defects = synthetic.PRODUCTS["gear"].defects
    expected = {"dataset.json", "test/good/000.png", *(f"train/good/00{i}.png" for i in range(4))}
    for defect in defects:
        expected |= {f"test/{defect}/00{i}.png" for i in range(2)}
        expected |= {f"ground_truth/{defect}/00{i}_mask.png" for i in range(2)}
    assert set(contents(tiny)) == expected
    for mask_path in tiny.glob("ground_truth/*/*.png"):
        mask = cv2.imread(str(mask_path), cv2.IMREAD_UNCHANGED)
        image = cv2.imread(str(tiny / "test" / mask_path.parent.name / mask_path.name.replace("_mask", "")))
        assert mask.shape == image.shape[:2] == SMALL
        assert set(np.unique(mask)) == {0, 255}


def test_files_hold_what_render_returns(tiny: Path) -> None:
    rendered = synthetic.render("gear", "rust", 1, seed=3, size=SMALL)
    image = cv2.cvtColor(cv2.imread(str(tiny / "test/rust/001.png")), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(image, rendered.image)
    mask = cv2.imread(str(tiny / "ground_truth/rust/001_mask.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(mask, rendered.mask)


def test_same_parameters_make_the_same_bytes_and_leave_nothing_behind(tiny: Path, tmp_path: Path) -> None:
    again = synthetic.generate(tmp_path / "new", "gear", seed=3, good=5, defect=2, size=SMALL)
    assert contents(again) == contents(tiny)
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["gear"]


def test_progress_counts_to_the_end_and_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    seen: list[tuple[int, int]] = []
    synthetic.generate(tmp_path, "fabric", good=1, defect=1, size=SMALL, progress=lambda *step: seen.append(step))
    assert seen == [(i, 6) for i in range(1, 7)]
    assert capfd.readouterr() == ("", "")


def test_ensure_does_not_generate_twice(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weakspot.data.synthetic.dataset.render", None)
    assert synthetic.ensure(tiny.parent, "gear", seed=3, good=5, defect=2, size=SMALL) == tiny


def test_ensure_refuses_other_parameters_and_says_which(tiny: Path) -> None:
    before = contents(tiny)
    with pytest.raises(WeakspotError, match=r"gear holds another synthetic data set \(seed=3\).*delete it"):
        synthetic.ensure(tiny.parent, "gear", seed=4, good=5, defect=2, size=SMALL)
    assert contents(tiny) == before


@pytest.mark.parametrize("content", [None, "not json", "[]", json.dumps({"seed": 0})])
def test_ensure_refuses_a_foreign_folder(tmp_path: Path, content: str | None) -> None:
    folder = tmp_path / "fabric"
    folder.mkdir()
    (folder / ("mine.txt" if content is None else "dataset.json")).write_text(content or "precious")
    before = contents(folder)
    with pytest.raises(WeakspotError, match=r"fabric .*delete it or choose another root$"):
        synthetic.ensure(tmp_path, "fabric", good=1, defect=1, size=SMALL)
    assert contents(folder) == before


def test_two_at_once_share_one_data_set(tmp_path: Path) -> None:
    barrier, results = threading.Barrier(2), []

    def work() -> None:
        barrier.wait()
        results.append(synthetic.ensure(tmp_path, "fabric", good=1, defect=1, size=SMALL))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [tmp_path / "fabric"] * 2
    assert [p.name for p in tmp_path.iterdir()] == ["fabric"]


def test_an_interrupted_run_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(done: int, _: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthetic.generate(tmp_path, "fabric", good=2, defect=1, size=SMALL, progress=interrupt)
    assert not list(tmp_path.iterdir())


def test_root_that_is_a_file_is_one_clear_line(tmp_path: Path) -> None:
    root = tmp_path / "file"
    root.write_text("")
    with pytest.raises(WeakspotError, match=r"cannot write the synthetic data set to .*file.*choose another root"):
        synthetic.ensure(root, "fabric", good=1, defect=1, size=SMALL)


def test_unknown_names_get_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(WeakspotError, match=r"did you mean 'fabric'\?.*brushed_metal, fabric, gear"):
        synthetic.ensure(tmp_path, "fabrik")
    with pytest.raises(WeakspotError, match=r"did you mean 'scratch'\?"):
        synthetic.render("gear", "scratches", 0)


@pytest.mark.parametrize("wrong", [{"good": 0}, {"defect": 0}, {"size": (63, 128)}])
def test_parameters_out_of_range_are_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(WeakspotError, match="at least"):
        synthetic.ensure(tmp_path, "fabric", **wrong)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_global_statistics_do_not_solve_it(tmp_path: Path) -> None:
    benchmark = runpy.run_path(str(BENCHMARK))
    folder = synthetic.ensure(tmp_path, "brushed_metal", good=48, defect=6, size=(104, 136))
    features, classes = benchmark["read_features"](folder)
    assert features.shape == (78, 39)
    assert classes.sum() == 30
    scores = benchmark["cheap_scores"](features, classes)
    assert scores.mean() < 0.75
    leaking = np.hstack([features, classes[:, None] + 0.01 * features[:, :1]])
    assert benchmark["cheap_scores"](leaking, classes).mean() > 0.9

"""Every example in a docstring runs, and the names that a user imports have one."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import weakspot

SOURCE = Path(weakspot.__file__).parent
WITH_EXAMPLES = (
    "weakspot.config.rules.BoxRule",
    "weakspot.data.preprocess.Preprocess",
    "weakspot.data.readers.read_samples",
    "weakspot.data.splits.split_samples",
    "weakspot.errors.WeakspotError",
    "weakspot.evaluation.measure.measure",
    "weakspot.inference.localizer.Localizer",
    "weakspot.metrics.intervals.proportion",
    "weakspot.ops.iou.box_iou",
    "weakspot.ops.resize.upsample",
    "weakspot.postprocess.boxes.find_boxes",
    "weakspot.types.Box",
    "weakspot.types.Prediction",
    "weakspot.types.Sample",
)


def modules_with_examples() -> list[str]:
    paths = [path for path in sorted(SOURCE.rglob("*.py")) if ">>>" in path.read_text(encoding="utf-8")]
    names = [path.relative_to(SOURCE.parent).with_suffix("").parts for path in paths]
    return [".".join(parts).removesuffix(".__init__") for parts in names]


def doctests(module: str) -> dict[str, doctest.DocTest]:
    found = doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(module))
    return {test.name: test for test in found if test.examples}


@pytest.mark.parametrize("module", modules_with_examples())
def test_examples_run(module: str) -> None:
    runner, report = doctest.DocTestRunner(verbose=False), list[str]()
    for test in doctests(module).values():
        runner.run(test, out=report.append)
    assert not runner.failures, "".join(report)
    assert runner.tries


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_names_that_users_import_have_an_example(name: str) -> None:
    test = doctests(name.rpartition(".")[0])[name]
    assert [example for example in test.examples if doctest.SKIP not in example.options]

"""Both ways to write a setting: the right one is put in order, the other one is answered by the line to type."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from weakspot.cli import main as cli
from weakspot.cli.syntax import check_options, hydra_arguments
from weakspot.errors import WeakspotError


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("data.root=x -m boxes.threshold=0.5,0.7", "-m data.root=x boxes.threshold=0.5,0.7"),
        ("data.root=x --cfg job seed=1", "--cfg job data.root=x seed=1"),
        ("seed=1 --multirun", "--multirun seed=1"),
        ("+a=1 ~b ++c=2", "+a=1 ~b ++c=2"),
        ("nonsense", "nonsense"),
        ("seed=-1", "seed=-1"),
    ],
)
def test_flags_may_stand_anywhere(typed: str, expected: str) -> None:
    assert hydra_arguments("train", typed.split(), "data.root") == expected.split()


def test_a_folder_needs_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("runs", "my photos, new"):
        (tmp_path / name).mkdir()
    assert hydra_arguments("evaluate", ["runs", "seed=1"], "run") == ["run=runs", "seed=1"]
    assert hydra_arguments("train", ["my photos, new"], "data.root") == ['data.root="my photos, new"']


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("--experiment recommended data.root=x", "weakspot train experiment=recommended data.root=x"),
        ("--experiment=recommended", "weakspot train experiment=recommended"),
        ("data.root=x --good-class OK", "weakspot train data.root=x data.good_class=OK"),
        ("--flip-tta seed=1", "weakspot train flip_tta=true seed=1"),
        ("-m --threshold 0.5,0.7", "weakspot train -m boxes.threshold=0.5,0.7"),
        ("-o runs seed=1", "weakspot train output=runs seed=1"),
        ("-o=runs", "weakspot train output=runs"),
    ],
)
def test_options_are_answered_by_the_line_to_type(typed: str, line: str) -> None:
    with pytest.raises(WeakspotError) as caught:
        hydra_arguments("train", typed.split(), "data.root")
    assert str(caught.value) == f"train takes key=value and no --options; type: {line}"
    hydra_arguments("train", shlex.split(line)[2:], "data.root")


@pytest.mark.parametrize(
    ("verb", "positional", "typed", "line"),
    [
        ("train", "data.root", "photos/ --output outputs/x", "weakspot train photos/ output=outputs/x"),
        ("train", "data.root", "-o photos photos/", "weakspot train output=photos photos/"),
        ("train", "data.root", "--root photos --seed 1", "weakspot train photos seed=1"),
        ("train", "data.root", "my\\ photos --output=my\\ run", "weakspot train 'my photos' 'output=\"my run\"'"),
        ("evaluate", "run", "photos/ --threshold 0.5", "weakspot evaluate photos/ boxes.threshold=0.5"),
        ("evaluate", "run", "photos -o measured", "weakspot evaluate photos output=measured"),
    ],
)
def test_a_folder_stays_as_it_was_typed(
    verb: str, positional: str, typed: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("photos", "my photos"):
        (tmp_path / name).mkdir()
    with pytest.raises(WeakspotError) as caught:
        hydra_arguments(verb, shlex.split(typed), positional)
    assert str(caught.value) == f"{verb} takes key=value and no --options; type: {line}"
    hydra_arguments(verb, shlex.split(line)[2:], positional)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("check photos data.good_class=OK", "type: weakspot check photos --good-class OK"),
        ("predict run new boxes.threshold=0.5", "type: weakspot predict run new --threshold 0.5"),
        ("export boxes run format=coco", "type: weakspot export boxes run --format coco"),
        ("check photos data.goodclass=OK", "check has no --goodclass (did you mean '--good-class'?); it takes options"),
    ],
)
def test_keys_are_answered_by_the_line_to_type(
    typed: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["weakspot", *typed.split()])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 1
    error = " ".join(capsys.readouterr().err.split())
    assert message in error
    assert error.startswith("error: ")


def test_a_path_with_an_equals_sign_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lot=7").mkdir()
    of_option = ["later", "--layout", "manifest", "--option", "file=labels.csv"]
    for words in (["lot=7"], ["run", "photos/lot=*/x.png", "photos/lot=7.png"], of_option):
        assert check_options("predict", words, {"--threshold"}) is None

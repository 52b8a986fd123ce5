"""``weakspot train FOLDER`` adds what the folder tells, and never asks where there is no terminal."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from weakspot.cli.newcomer import need_data, need_run, of_folder, refuse_other_layout
from weakspot.cli.syntax import as_options, hydra_arguments
from weakspot.config.hydra_app import compose
from weakspot.config.schema import TrainConfig, typed, with_values
from weakspot.config.values import quoted, unquoted
from weakspot.errors import WeakspotError


@pytest.fixture
def photos(here: Path) -> Path:
    """Three folders with two classes each."""
    for name in ("photos/OK", "photos/NG", "sides/left", "sides/right", "my photos, new/good", "my photos, new/bad"):
        (here / name).mkdir(parents=True)
        (here / name / "1.png").touch()
    return here


def settled(*typed: str) -> list[str]:
    return of_folder(typed, hydra_arguments("train", typed, "data.root"))


@pytest.mark.usefixtures("photos")
def test_a_folder_is_enough(capsys: pytest.CaptureFixture[str]) -> None:
    settings = settled("photos/")
    assert settings == ["data=folder", "data.root=photos", "data.good_class=OK", "experiment=recommended"]
    (said,) = capsys.readouterr().err.splitlines()
    others = "Good class 'OK' (all others are called 'anomaly')"
    for part in ("data=folder", others, "experiment=recommended", "experiment=plain_cam"):
        assert part in said
    config = compose("train", settings)
    assert (config.name, config.data.good_class, config.refine.method) == ("recommended", "OK", "segment")


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["photos", "experiment=plain_cam"], ["data=folder", "data.good_class=OK"]),
        (["photos", "refine=none", "boxes=components"], ["data=folder", "data.good_class=OK"]),
        (["photos", "data=folder", "experiment=plain_cam"], ["data.good_class=OK"]),
        (["photos", "data.good_class=NG", "experiment=plain_cam"], ["data=folder"]),
        (["sides", "data.good_class=right"], ["data=folder", "experiment=recommended"]),
        (["my photos, new"], ["data=folder", "experiment=recommended"]),
    ],
)
def test_what_is_given_stays(typed: list[str], expected: list[str]) -> None:
    settings = settled(*typed)
    given = {*hydra_arguments("train", typed, "data.root")}
    assert [setting for setting in settings if setting not in given] == expected
    assert compose("train", settings).data.root == typed[0]


@pytest.mark.parametrize("name", ["Prüfbilder", "1e3", "2026.10", "1_000", "null", "a'b", "(new), [old]", "a b"])
def test_any_name_of_a_folder_will_do(here: Path, name: str) -> None:
    for kind in ("OK", "NG"):
        (here / name / kind).mkdir(parents=True)
        (here / name / kind / "1.png").touch()
    assert compose("train", settled(name)).data.root == name


@pytest.mark.parametrize("text", ["a\\b", "a\\", 'a"b', 'a\\"', "C:\\new photos\\", "12.10", "plain/name"])
def test_quotation_marks_come_and_go(text: str) -> None:
    assert unquoted(quoted(text)) == text
    assert compose("train", [f"data.root={quoted(text)}"]).data.root == text


def test_a_pattern_in_quotation_marks_is_understood(here: Path) -> None:
    (here / "mixed").mkdir()
    for name in ("aok_1.png", "bng_1.png"):
        (here / "mixed" / name).touch()
    settings = settled("mixed", "data=filename", 'data.options.pattern="^.(ok|ng)"')
    assert "data.good_class=ok" in settings
    assert compose("train", settings).data.options["pattern"] == "^.(ok|ng)"


def test_a_layout_to_be_found_out_is_found_out(here: Path) -> None:
    (here / "listed").mkdir()
    for name in ("1.png", "2.png"):
        (here / "listed" / name).touch()
    (here / "listed" / "manifest.csv").write_text("path,label\n1.png,pass\n2.png,fail\n")
    config = compose("train", settled("listed", "data=auto"))
    assert (config.data.layout, config.data.options["file"]) == ("manifest", "manifest.csv")


def test_a_table_that_names_files_elsewhere(here: Path) -> None:
    (here / "listed").mkdir()
    for name in ("1.png", "2.png"):
        (here / name).touch()
    (here / "listed" / "labels.csv").write_text("path,label\n../1.png,pass\n../2.png,fail\n")
    config = compose("train", settled("listed", "data.options.file=labels.csv", "data.options.outside=true"))
    assert config.data.options == {"file": "labels.csv", "outside": True}
    with pytest.raises(WeakspotError, match="lies outside listed"):
        settled("listed", "data.options.file=labels.csv", "data.options.outside=false")


@pytest.mark.usefixtures("photos")
def test_a_stray_table_is_named_with_the_way_to_read_it(capsys: pytest.CaptureFixture[str]) -> None:
    Path("photos/old.csv").write_text("path,label\nOK/1.png,OK\nNG/1.png,NG\n")
    assert "data=folder" in settled("photos")
    assert "photos: old.csv is not read, as the names of the folders tell the classes; data=manifest reads it" in (
        capsys.readouterr().err
    )
    assert "data.options.file=old.csv" in settled("photos", "data=manifest")


@pytest.mark.usefixtures("photos")
def test_a_folder_behind_an_option_is_not_a_second_one() -> None:
    with pytest.raises(WeakspotError, match=r"type: weakspot train photos output=sides"):
        settled("photos", "--output", "sides")


@pytest.mark.usefixtures("photos")
def test_a_command_that_names_its_keys_means_what_it_did() -> None:
    assert settled("data.root=photos", "seed=1") == ["data.root=photos", "seed=1"]


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize(
    ("typed", "line"),
    [
        (["data.root=photos"], "weakspot train photos"),
        (["-m", "data.root=photos/", "seed=1,2"], "weakspot train -m photos/ seed=1,2"),
        (['data.root="my photos, new"', "output=x"], "weakspot train 'my photos, new' output=x"),
    ],
)
def test_a_key_alone_for_a_folder_of_classes_is_answered_by_the_line_to_type(typed: list[str], line: str) -> None:
    with pytest.raises(WeakspotError) as caught:
        refuse_other_layout(typed, hydra_arguments("train", typed, "data.root"))
    assert f"not laid out like MVTec AD, which data.root= alone takes for granted; type: {line} " in str(caught.value)
    assert "data=folder" in settled(*shlex.split(line)[2:])


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize(
    "typed",
    [
        ["photos"],
        ["data.root=photos", "data=folder"],
        ["data.root=photos", "data.layout=folder"],
        ["data.root=photos", "experiment=fast"],
        ["data.root=photos", "+experiment=mine"],
        ["data.root=photos", "--config-dir", "mine"],
        ["data.root=photos", "--cfg", "job"],
        ["data.root=nowhere"],
        ["data.root=photos,sides", "-m"],
        ["data.root=my photos, new"],
        ["data.root=parts"],
        ["data.root=parts", "data.subset=gear"],
        ["data.root=parts/gear"],
        ["seed=1"],
    ],
)
def test_whatever_else_tells_the_layout_is_left_alone(typed: list[str], here: Path) -> None:
    (here / "parts/gear/train/good").mkdir(parents=True)
    assert refuse_other_layout(typed, hydra_arguments("train", typed, "data.root")) is None


def test_a_further_part_is_not_left_out_without_a_word(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for part in ("train", "val", "test"):
        for label in ("OK", "NG"):
            (here / "parts" / part / label).mkdir(parents=True)
            (here / "parts" / part / label / "1.png").touch()
    with pytest.raises(WeakspotError) as caught:
        refuse_other_layout(["data.root=parts"], ["data.root=parts"])
    assert str(caught.value).startswith("parts/val holds classes as train and test do, so the folder is not laid out")
    assert "data=folder" in settled("parts")
    assert "parts: the folders test, train, val are not taken as the split" in capsys.readouterr().err


@pytest.mark.parametrize("typed", [[], ["-m"], ["output=outputs/x"]])
def test_nothing_to_train_on_is_said_with_the_line_to_type(typed: list[str]) -> None:
    with pytest.raises(WeakspotError) as caught:
        need_data(typed)
    assert shlex.join(["weakspot", "train", "photos/", *typed]) in str(caught.value)
    assert "weakspot demo" in str(caught.value)


@pytest.mark.parametrize(
    "typed", [["experiment=demo"], ["data=synthetic"], ["--help"], ["photos"], ["dta.root=x"], ["seed=-1"]]
)
def test_what_may_name_data_goes_on(typed: list[str]) -> None:
    assert need_data(typed) is None
    assert need_run(typed) is None


def test_nothing_to_measure_is_said_with_the_line_to_type() -> None:
    with pytest.raises(WeakspotError, match=r"weakspot evaluate outputs/photos boxes\.threshold=0\.5"):
        need_run([])


@pytest.mark.usefixtures("photos")
def test_without_a_terminal_the_line_to_type_is_printed() -> None:
    with pytest.raises(WeakspotError, match=r"type: weakspot train sides seed=1 data\.good_class=left"):
        settled("sides", "seed=1")


@pytest.mark.usefixtures("photos")
def test_two_folders_are_refused() -> None:
    with pytest.raises(WeakspotError, match="train takes one folder, not photos and sides"):
        settled("photos", "sides")


def test_a_message_of_train_for_a_verb_with_options() -> None:
    assert as_options("set data.good_class=OK") == "set --good-class OK"
    assert as_options("set data.good_class to one of them") == "set --good-class to one of them"
    assert as_options("data.options.file names the table") == "--option file names the table"
    assert as_options("data.root=photos does not exist") == "data.root=photos does not exist"


def test_the_demo_is_fast_on_generated_pictures_and_fast_is_recommended_made_short() -> None:
    demo, fast, whole = (
        typed(compose("train", [f"experiment={name}", "data=synthetic"]), TrainConfig)
        for name in ("demo", "fast", "recommended")
    )
    assert demo.name == "demo"
    assert with_values(demo, {"name": "fast", "data.image_size": "auto", "trainer.max_epochs": None}) == fast
    longer = {"name": "recommended", "split.val_size": 0.0, "refine.effort": 1.0}
    assert with_values(fast, longer) == whole
    assert whole.model.backbone == "auto"

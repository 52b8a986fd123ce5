"""Documents among pictures are counted and named."""

from __future__ import annotations

from pathlib import Path

from weakspot.data.left_out import left_out, left_out_words


def test_documents_and_foreign_formats_are_named_and_side_files_are_not(tmp_path: Path) -> None:
    for name in ("a/1.png", "a/plan.PDF", "b/2.heic", "b/labels.csv", "b/.hidden.pdf", "b/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = left_out(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in found] == ["a/plan.PDF", "b/2.heic"]
    words = left_out_words(found)
    assert words is not None
    assert words.startswith("warning: 2 files are left out")
    assert "plan.PDF" in words


def test_many_are_counted_and_a_few_named() -> None:
    words = left_out_words([Path(f"{number}.pdf") for number in range(7)])
    assert words is not None
    assert "7 files" in words
    assert words.count(".pdf") == 3
    assert left_out_words([]) is None


def test_a_folder_that_is_not_there_or_leads_back_to_itself(tmp_path: Path) -> None:
    assert left_out(tmp_path / "nowhere") == []
    (tmp_path / "a.pdf").touch()
    (tmp_path / "again").symlink_to(tmp_path)
    assert left_out(tmp_path) == [tmp_path / "a.pdf"]

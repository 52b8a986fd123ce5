"""The house keeps to its plan, and the contracts in pyproject.toml would notice if it did not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"
LINES = 350


def checked(source: Path, contract: str | None = None) -> subprocess.CompletedProcess[str]:
    """What import-linter says of the packages in ``source``, held against pyproject.toml's contracts."""
    only = [] if contract is None else ["--contract", contract]
    code = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
    return subprocess.run(
        [sys.executable, "-c", code, str(ROOT / "pyproject.toml"), "--no-cache", "--no-logo", *only],
        cwd=source,
        env={**os.environ, "PYTHONPATH": str(source), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages once more, to plant imports in."""
    copied = tmp_path_factory.mktemp("house") / "src"
    shutil.copytree(SOURCE, copied, ignore=shutil.ignore_patterns("__pycache__"))
    return copied


def test_every_import_is_allowed() -> None:
    found = checked(SOURCE)
    assert found.returncode == 0, found.stdout + found.stderr


# Of each contract: file, import that it forbids there, and how it is named.
PLANTED = {
    "layers": [
        ("metrics/paired.py", "from weakspot.report import page", "weakspot.metrics.paired -> weakspot.report.page"),
        ("utils/files.py", "import weakspot.cli.main", "weakspot.utils.files -> weakspot.cli.main"),
        ("explain/explanation.py", "from weakspot import serve", "weakspot.explain.explanation -> weakspot.serve"),
    ],
    "cycles": [
        ("ops/iou.py", "from weakspot.metrics import detection", "No cycles are allowed in weakspot.\n"),
        ("data/rle.py", "from weakspot.data import annotations", "No cycles are allowed in weakspot.data.\n"),
    ],
    "torch": [
        ("ops/iou.py", "import torch", "weakspot.ops.iou -> torch"),
        ("data/rle.py", "from torchvision.ops import nms", "weakspot.data.rle -> torchvision"),
        ("postprocess/trust.py", "from weakspot.models import network", "weakspot.models.network -> torch"),
    ],
    "hydra": [
        ("evaluation/truth.py", "from omegaconf import DictConfig", "weakspot.evaluation.truth -> omegaconf"),
        ("cli/serve.py", "import hydra.core.plugins", "weakspot.cli.serve -> hydra"),
    ],
    "typer": [
        ("report/page.py", "import typer", "weakspot.report.page -> typer"),
        ("commands/predict.py", "from typer import Option", "weakspot.commands.predict -> typer"),
    ],
}


@contextmanager
def planted(source: Path, file: str, text: str) -> Iterator[None]:
    """``text`` at the end of a file, for as long as this lasts."""
    path = source / "weakspot" / file
    before = path.read_text("utf-8") if path.exists() else None
    path.write_text(f"{before or ''}\n{text}\n", "utf-8")
    try:
        yield
    finally:
        if before is None:
            path.unlink()
        else:
            path.write_text(before, "utf-8")


@pytest.mark.parametrize("template", ["{}", "def planted():\n    {}"], ids=["at the top", "in a function"])
@pytest.mark.parametrize("contract", PLANTED)
def test_planted_imports_break_their_contract_and_are_named(copy: Path, contract: str, template: str) -> None:
    with ExitStack() as stack:
        for file, line, _ in PLANTED[contract]:
            stack.enter_context(planted(copy, file, template.format(line)))
        found = checked(copy, contract)
    assert found.returncode == 1, found.stderr
    assert [named for *_, named in PLANTED[contract] if named not in found.stdout] == []


def test_a_package_without_a_place_is_noticed(copy: Path) -> None:
    with planted(copy, "attic.py", '"""Where should it go?"""'):
        found = checked(copy, "layers")
    assert found.returncode == 1
    assert "weakspot.attic" in found.stdout


def test_what_is_imported_for_types_alone_is_free(copy: Path) -> None:
    for_types = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import typer"
    with planted(copy, "report/page.py", for_types):
        assert checked(copy, "typer").returncode == 0


def test_at_most_four_loose_modules() -> None:
    loose = [path.name for path in (SOURCE / "weakspot").glob("*.py") if not path.name.startswith("_")]
    assert len(loose) <= 4, loose


def test_no_file_is_too_long() -> None:
    lengths = {path.relative_to(SOURCE): len(path.read_text("utf-8").splitlines()) for path in SOURCE.rglob("*.py")}
    assert {str(path): length for path, length in lengths.items() if length > LINES} == {}


def ruff(*arguments: str, code: str | None = None) -> subprocess.CompletedProcess[str]:
    """Ruff's opinion, with the project's own limits, of files or of ``code``."""
    return subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format=concise", *arguments],
        cwd=ROOT,
        input=code,
        capture_output=True,
        text=True,
        check=False,
    )


def test_functions_fit_a_screen_and_no_comment_excuses_one() -> None:
    found = ruff("--ignore-noqa", "--select=PLR0915,PLR0912,C901", "src")
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize("folder", ["src/weakspot", "tests", "benchmarks"])
@pytest.mark.parametrize(
    ("rule", "lines"),
    [
        ("PLR0915", ["x = 0"] * 51),  # statements
        ("PLR0912", ["if x: pass"] * 13),  # branches
        ("C901", ["x = x or [y for y in x]", "while x: pass"] * 12),  # ways through
    ],
)
def test_a_function_that_is_too_long_is_noticed(folder: str, rule: str, lines: list[str]) -> None:
    code = "\n    ".join(["def planted(x):", *lines])
    assert f" {rule} " in ruff(f"--stdin-filename={folder}/planted.py", "-", code=code).stdout

"""The wheel holds everything, and works where there is no checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as for a release, but with the tools that are installed."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel unpacked, away from the checkout."""
    folder = tmp_path_factory.mktemp("elsewhere") / "site"
    shutil.unpack_archive(wheel, folder, "zip")
    return folder


def run(site: Path, *arguments: str) -> str:
    """What Python prints in a folder with nothing but the wheel beside it."""
    result = subprocess.run(
        [sys.executable, *arguments],
        cwd=site.parent,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_it_holds_every_file_of_the_packages_and_of_conf(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    wanted = {
        prefix + path.relative_to(folder).as_posix()
        for folder, prefix in ((ROOT / "src", ""), (ROOT / "conf", "weakspot/conf/"))
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert names == wanted
    assert {
        "weakspot/conf/train.yaml",
        "weakspot/py.typed",
        "weakspot/report/templates/report.html",
        "weakspot/report/templates/parts/head.html",
        "weakspot/serve/page.html",
        "hydra_plugins/weakspot_ray_launcher/launcher.py",
    } <= names


def test_it_says_whose_it_is_and_where_to_read_on(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    lines = archive.read(metadata).decode("utf-8").splitlines()
    assert "License-Expression: MIT" in lines
    assert "Classifier: Typing :: Typed" in lines
    assert [line.split(",")[0] for line in lines if line.startswith("Project-URL: ")] == [
        f"Project-URL: {name}" for name in ("Homepage", "Documentation", "Changelog", "Issues")
    ]
    assert f"Version: {wheel.name.split('-')[1]}" in lines


def test_the_command_says_its_version(wheel: Path, site: Path) -> None:
    assert wheel.name.split("-")[1] in run(site, "-m", "weakspot", "--version")


def test_it_finds_its_own_configuration_and_templates(site: Path) -> None:
    code = """
import weakspot
from weakspot.config.hydra_app import compose, conf_dir
from weakspot.report import page

print(weakspot.__file__)
print(conf_dir())
print(page.__file__)
print(compose("train", ["experiment=demo"]).name)
"""
    package, conf, pages, name = run(site, "-c", code).splitlines()
    assert Path(package) == site / "weakspot" / "__init__.py"
    assert Path(conf) == site / "weakspot" / "conf"
    assert (Path(pages).parent / "templates" / "report.html").is_file()
    assert name == "demo"

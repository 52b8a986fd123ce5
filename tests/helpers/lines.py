"""Command lines of a page, run in this process on tiny data."""

from __future__ import annotations

import glob
import shlex
import sys
from pathlib import Path

import pytest

from helpers.runs import ALL_ANOMALY, FEW_STEPS, tiny_run
from weakspot.cli import main as cli

TINY = tiny_run(epochs=1)


def _expanded(word: str) -> list[str]:
    """What a shell makes of an unquoted pattern; the one of ``predict`` is quoted."""
    return glob.glob(word) if "cv3-*" in word else [word]  # noqa: PTH207 - as a shell does


def run(monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    arguments = [name for word in shlex.split(line, comments=True) for name in _expanded(word)]
    if arguments[1] == "train":
        arguments += TINY
        if "output=outputs/photos" in arguments:  # so that there are boxes to audit
            arguments += ALL_ANOMALY
        if "experiment=recommended" in arguments or Path(arguments[2]).is_dir():  # a folder takes it
            arguments += FEW_STEPS
        if "experiment=plain_cam,recommended" in arguments:  # a key that the other one does not have
            arguments += [f"++{setting}" for setting in FEW_STEPS]
    monkeypatch.setattr(sys, "argv", arguments)
    code: object = 0
    try:
        cli.main()
    except SystemExit as end:
        code = end.code
    assert not code, line

"""A few hundred pictures, one in twenty broken, through predict and the service; ``make soak`` takes 20,000."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the serve extra is not installed")

from robustness import soak
from robustness.soak import broken_pictures

from weakspot.data.images import inspect_image

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")]


def test_every_good_picture_is_answered_once_and_every_broken_one_reported_once() -> None:
    # In a process of its own, whose memory is nothing but the soak's.
    command = [sys.executable, soak.__file__, "--images", "300"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("predict", "serve"):
        assert re.search(rf"{name}\W", done.stdout), done.stdout


def test_what_the_soak_takes_for_broken_is(tmp_path: Path) -> None:
    for kind, content in broken_pictures().items():
        (tmp_path / "a.png").write_bytes(content)
        assert inspect_image(tmp_path / "a.png").error, kind

"""A hundred pictures to a watcher that is killed three times; ``make soak-watch`` takes 20,000 and 50 kills."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

for name in ("watchdog", "httpx", "paho.mqtt"):
    pytest.importorskip(name, reason="the line extra is not installed")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc, and forks")]


def test_every_picture_has_one_verdict_everywhere_whatever_is_killed() -> None:
    script = Path(__file__).with_name("soak_watch.py")
    command = [sys.executable, str(script), "--images", "120", "--kills", "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kills: 3" in done.stdout
    assert "pictures: 120" in done.stdout

"""A few hundred pictures, one in twenty broken, through predict and the service; ``make soak`` takes 20,000."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the serve extra is not installed")

from soak import broken_pictures, soak

from weakspot.data.images import inspect_image

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")


def test_every_good_picture_is_answered_once_and_every_broken_one_reported_once(tmp_path: Path) -> None:
    tallies = soak(tmp_path, 300)
    assert {name: tally.findings for name, tally in tallies.items()} == {"predict": [], "serve": []}
    assert all(tally.faults > 5 for tally in tallies.values())


def test_what_the_soak_takes_for_broken_is(tmp_path: Path) -> None:
    for kind, content in broken_pictures().items():
        (tmp_path / "a.png").write_bytes(content)
        assert inspect_image(tmp_path / "a.png").error, kind

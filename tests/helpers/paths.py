"""Where things are. Tests look for files of the checkout from here, and from nowhere else."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The checkout."""

TESTS = ROOT / "tests"
BUNDLES = TESTS / "data" / "bundles"
"""A bundle of each format, kept for ever (``keep_bundle.py``)."""

SHARED = ROOT.parent / "shared"
"""Real data and weights, beside the checkout; tests that need them are left out where they are not."""

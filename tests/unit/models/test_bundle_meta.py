"""What a bundle says of itself."""

from __future__ import annotations

import pytest

from weakspot import __version__
from weakspot.models import bundle_meta


def test_a_bundle_names_the_version_of_this_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the one that an editable install was made with."""
    monkeypatch.setattr(bundle_meta.importlib.metadata, "version", lambda name: "0.0.1")
    versions = bundle_meta.library_versions()
    assert (versions["weakspot"], versions["torch"]) == (__version__, "0.0.1")

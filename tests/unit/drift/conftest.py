"""What a model knows of imagined training pictures."""

from __future__ import annotations

import pytest
from helpers.familiar import imagined

from weakspot.postprocess.familiarity import Familiarity


@pytest.fixture
def known_familiarity() -> Familiarity:
    return imagined()

"""Maps of classes."""

from __future__ import annotations

import numpy as np

from weakspot.ops.maps import class_map, margin_map


def test_margin_is_class_minus_good() -> None:
    maps = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    assert np.array_equal(class_map(maps, 2), [[8, 9], [10, 11]])
    assert np.array_equal(margin_map(maps, 2), np.full((2, 2), 8))
    assert not margin_map(maps, 0).any()

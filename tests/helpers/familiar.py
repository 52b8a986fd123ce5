"""What a model knows of training pictures that there never were."""

from __future__ import annotations

import numpy as np

from weakspot.data.looks import LOOKS, THUMBNAIL
from weakspot.postprocess.familiarity import Familiarity, packed


def imagined(held_out: int = 40) -> Familiarity:
    """One tap of two channels; held-out pictures at distances 0, 0.1, …, every fifth of them defective."""
    distances = [i / 10 for i in range(held_out)]
    template = np.add.outer(np.arange(THUMBNAIL), np.arange(THUMBNAIL)).astype(np.uint8)
    return Familiarity(
        taps=("early",), channels=(2,), ranks=(1,), centre=(0.0, 0.0), spread=(1.0, 1.0),
        typical=(0.0,) * len(LOOKS), precision=tuple(map(tuple, np.eye(len(LOOKS)).tolist())),
        template=packed(template),
        good=tuple(d for i, d in enumerate(distances) if i % 5), defective=tuple(distances[::5]),
        heights=(48, 48), widths=(80, 80),
    )  # fmt: skip

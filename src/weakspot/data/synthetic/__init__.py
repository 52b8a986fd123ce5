"""A generated data set in MVTec AD layout, for the demo and the tests: no download, no licence, exact masks.

Every picture is a small physical scene: colour and height of a surface, what lies under it, a lamp. A *surface* builds
the scene, a *defect* changes it, *nuisances* (dirt, lint, light, colour, focus) disturb good and defective parts alike,
so that brightness, contrast or histogram do not tell the classes apart. Each picture is rendered with and without its
defect; the mask is where the two differ visibly, and outside the mask they are the same picture bit by bit.

To add a subset, write one function in ``surfaces.py`` and one entry of :data:`PRODUCTS` in ``picture.py``; to add a
defect, one function in ``defects.py`` and its name there.
"""

from __future__ import annotations

from weakspot.data.synthetic.dataset import GENERATOR_VERSION, ensure, generate
from weakspot.data.synthetic.picture import DEMO_PRODUCT, PRODUCTS, STRIKING, Product, Rendered, render

__all__ = [
    "DEMO_PRODUCT",
    "GENERATOR_VERSION",
    "PRODUCTS",
    "STRIKING",
    "Product",
    "Rendered",
    "ensure",
    "generate",
    "render",
]

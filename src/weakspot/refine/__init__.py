"""Image + features → evidence at a finer resolution than the class activation map; the ``refine`` group of settings."""

from weakspot.refine.fit import Source, fit_evidence

__all__ = ["Source", "fit_evidence"]

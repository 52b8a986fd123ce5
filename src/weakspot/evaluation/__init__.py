"""Measure a model from its saved outputs: numbers, controls, comparisons. Only the erasure control runs the model."""

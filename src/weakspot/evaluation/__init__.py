"""Measuring a model from its saved outputs: numbers, controls, comparisons. The model is not run, but for erasure."""

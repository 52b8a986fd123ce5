"""Predictions and metrics made visible: overlays, figures, tables and pages."""

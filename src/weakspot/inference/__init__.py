"""Trained and exported models that take images and return predictions."""
